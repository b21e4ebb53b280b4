//! POST: new user metadata, and if wanted a new content type; the data stays.

use super::error::Refusal;
use super::get::is_true;
use super::object::{self, CONTENT_TYPE, NAME, Part};
use super::put::refuse_older;
use super::updates::{self, overridden};
use super::{ObjectRequest, Server, timestamp};
use crate::engine::{Change, StoredBody};
use crate::format::RecordKind;
use http::{StatusCode, header};
use std::sync::Arc;
use wire::{ObjectUpdate, Request, Response};

pub(super) async fn post(
    server: &Arc<Server>,
    object: ObjectRequest,
    request: Request,
) -> Result<Response, Refusal> {
    let at = timestamp(&request)?;
    let headers = request.headers();
    let mut metadata = object::metadata_of(headers, false);
    let delete_at = object::delete_at(&metadata)?;
    if delete_at != 0 && delete_at < at.seconds() {
        return Err(Refusal::Bad("X-Delete-At in past".to_owned()));
    }
    let state = object.engine.state(object.hash).await?;
    let open_expired = headers.get(wire::headers::X_BACKEND_OPEN_EXPIRED).is_some_and(is_true);
    let now = (!open_expired).then(|| server.env.clock.now().seconds());
    let existing = object.open(&state, now, Part::Head).await?;

    let content_type = headers.get(header::CONTENT_TYPE).filter(|value| !value.is_empty());
    let content_type = content_type.filter(|_| at > existing.content_type_timestamp);
    if content_type.is_none() {
        refuse_older(Some(existing.timestamp), at)?;
    }
    metadata.set(NAME, object.name().as_bytes());
    if let Some(content_type) = content_type {
        metadata.set(CONTENT_TYPE, content_type.as_bytes());
    }
    let targets = updates::targets(headers)?;
    let update = match &targets {
        None => None,
        Some(_) => {
            let shown = match content_type {
                Some(new) => String::from_utf8_lossy(new.as_bytes()).into_owned(),
                None => existing.metadata.text(CONTENT_TYPE),
            };
            let typed_at = content_type.map_or(existing.content_type_timestamp, |_| at);
            let mut update = ObjectUpdate {
                size: existing.data.data_len,
                content_type: shown,
                etag: existing.etag(),
                content_type_timestamp: Some(typed_at),
                meta_timestamp: Some(at.max(existing.timestamp)),
                delete_at,
                ..updates::row(&object.path, existing.data.timestamp, object.policy)?
            };
            overridden(&mut update, headers);
            Some(update)
        }
    };
    let change = Change {
        kind: RecordKind::Meta,
        hash: object.hash,
        timestamp: at,
        content_type_timestamp: content_type.map(|_| at),
        delete_at,
        fragment: None,
        metadata: &metadata,
        body: StoredBody::default(),
        update: update.as_ref(),
    };
    let token = object.engine.commit(change).await?;
    if let (Some(targets), Some(update), Some(token)) = (targets, update, token) {
        updates::send(server, &object, targets, update, token).await;
    }
    Ok(daemon::empty(StatusCode::ACCEPTED))
}

//! POST: new user metadata, and if wanted a new content type; the data stays.

use super::error::Refusal;
use super::get::opens_expired;
use super::object::{self, CONTENT_TYPE, NAME, Opened, Part, SYSMETA};
use super::put::refuse_older;
use super::updates::{self, overridden};
use super::{ObjectRequest, Server, parsed, timestamp};
use crate::engine::{Change, StoredBody};
use crate::format::RecordKind;
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::sync::Arc;
use wire::{ObjectUpdate, Request, Response, headers};

pub(super) async fn post(
    server: &Arc<Server>,
    object: ObjectRequest,
    request: Request,
) -> Result<Response, Refusal> {
    let at = timestamp(&request)?;
    let asked = request.headers();
    let (mut metadata, delete_at) = object::new_metadata(asked, at, &server.limits, false)?;
    let typed_at = match asked.get(headers::CONTENT_TYPE_TIMESTAMP) {
        None => at,
        Some(value) => parsed(value)
            .ok_or_else(|| Refusal::Bad("Bad Content-Type-Timestamp header value".to_owned()))?,
    };
    let state = object.engine.state(object.hash).await?;
    let now = (!opens_expired(asked)).then(|| at.seconds());
    let existing = object.open(&state, now, Part::Head).await?;

    let content_type = asked.get(header::CONTENT_TYPE).filter(|value| !value.is_empty());
    let content_type = content_type.filter(|_| typed_at > existing.content_type_timestamp);
    if content_type.is_none() {
        refuse_older(Some(existing.timestamp), at)?;
    }
    metadata.set(NAME, object.name().as_bytes());
    if let Some(content_type) = content_type {
        metadata.set(CONTENT_TYPE, content_type.as_bytes());
    }
    let counts = match content_type {
        Some(new) => String::from_utf8_lossy(new.as_bytes()).into_owned(),
        None => existing.metadata.text(CONTENT_TYPE),
    };
    let targets = updates::targets(asked)?;
    let update = match &targets {
        None => None,
        Some(_) => {
            let shown = listed_content_type(&existing, &counts, content_type.is_some());
            let typed_at = content_type.map_or(existing.content_type_timestamp, |_| typed_at);
            let mut update = ObjectUpdate {
                size: existing.data.data_len,
                content_type: shown,
                etag: existing.etag(),
                content_type_timestamp: Some(typed_at),
                meta_timestamp: Some(at.max(existing.timestamp)),
                delete_at,
                ..updates::row(&object.path, existing.data.timestamp, object.policy)?
            };
            overridden(&mut update, |name| existing.metadata.get(name));
            Some(update)
        }
    };
    let change = Change {
        kind: RecordKind::Meta,
        hash: object.hash,
        timestamp: at,
        content_type_timestamp: content_type.map(|_| typed_at),
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
    Ok(accepted(&existing, &counts))
}

/// The content type as the listing is told it. The size that a large object shows there is a parameter of the content
/// type it was made with, and stays when another takes its place.
fn listed_content_type(existing: &Opened, counts: &str, is_new: bool) -> String {
    if !is_new && existing.content_type_timestamp == existing.data.timestamp {
        return counts.to_owned();
    }
    let of_data = existing.record.record.metadata.text(CONTENT_TYPE);
    wire::with_swift_bytes(counts, wire::extract_swift_bytes(&of_data).1.as_deref())
}

/// Says what the object is, for those who put it together of others: a link is told by its metadata.
fn accepted(existing: &Opened, content_type: &str) -> Response {
    let mut response = daemon::empty(StatusCode::ACCEPTED);
    let into = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(content_type) {
        into.insert(headers::X_BACKEND_CONTENT_TYPE, value);
    }
    for (name, value) in existing.metadata.iter().filter(|(name, _)| name.starts_with(SYSMETA)) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value))
        {
            into.insert(name, value);
        }
    }
    response
}

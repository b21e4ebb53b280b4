//! DELETE: a tombstone, also for what was never there, so that a late copy cannot bring it back.

use super::error::{Refusal, stamped};
use super::object::NAME;
use super::updates;
use super::{ObjectRequest, Server, timestamp};
use crate::engine::{Change, StoredBody};
use crate::format::{Metadata, RecordKind};
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use wire::{ObjectUpdate, Request, Response, headers};

pub(super) async fn delete(
    server: &Arc<Server>,
    object: ObjectRequest,
    request: Request,
) -> Result<Response, Refusal> {
    let at = timestamp(&request)?;
    let wanted_expiry = if_delete_at(request.headers())?;
    let state = object.engine.state(object.hash).await?;
    let known = state.data_timestamp();
    let delete_at = state.delete_at();
    let expired = delete_at != 0 && delete_at <= at.seconds();
    let exists = state.data().is_some();

    if let Some(wanted) = wanted_expiry {
        if !exists {
            let at = state.tombstone().map(|version| version.timestamp);
            return Err(Refusal::NotFound(at));
        }
        if delete_at != wanted {
            return Err(Refusal::Precondition);
        }
    }
    if let Some(known) = known.filter(|known| *known >= at) {
        return match exists && (!expired || wanted_expiry.is_some()) {
            true => Err(Refusal::Conflict(known)),
            false => Err(Refusal::NotFound(Some(known))),
        };
    }
    let targets = updates::targets(request.headers())?;
    let update = match &targets {
        None => None,
        Some(_) => {
            Some(ObjectUpdate { deleted: true, ..updates::row(&object.path, at, object.policy)? })
        }
    };
    let mut metadata = Metadata::default();
    metadata.set(NAME, object.name().as_bytes());
    let change = Change {
        kind: RecordKind::Tombstone,
        hash: object.hash,
        timestamp: at,
        content_type_timestamp: None,
        delete_at: 0,
        fragment: None,
        metadata: &metadata,
        body: StoredBody::default(),
        update: update.as_ref(),
    };
    let token = object.engine.commit(change).await?;
    if let (Some(targets), Some(update), Some(token)) = (targets, update, token) {
        updates::send(server, &object, targets, update, token).await;
    }
    if exists && (!expired || wanted_expiry.is_some()) {
        Ok(stamped(daemon::empty(StatusCode::NO_CONTENT), Some(at)))
    } else {
        Err(Refusal::NotFound(Some(at)))
    }
}

fn if_delete_at(from: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = from.get(headers::X_IF_DELETE_AT) else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.parse().ok());
    seconds.map(Some).ok_or_else(|| Refusal::Bad("Bad X-If-Delete-At header value".to_owned()))
}

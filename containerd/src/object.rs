//! Rows: what object servers tell.

use crate::server::{Asked, Server};
use http::{HeaderMap, StatusCode};
use listing::{ObjectRow, Refusal, answer, lifecycle, request};
use types::Timestamp;
use wire::{ObjectUpdate, Response};

/// Merges the row of an object that was written (201) or deleted (204); 404 when there is no such container.
pub(crate) async fn change(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let from = &asked.parts.headers;
    let at = request::timestamp(from)?;
    let update = ObjectUpdate::decode(&asked.parts.method, &asked.path, from)?;
    let database = server.database(&asked)?;
    if !update.deleted {
        database.check_room().await?;
    }
    let deleted = update.deleted;
    // The offset of an object's timestamp is its own.
    let created_at = Timestamp { offset: 0, ..at };
    let created = asked
        .auto_creates()
        .then(|| lifecycle::create(&asked.names, created_at, server.clock.now(), update.policy));
    let hash = asked.hash;
    let merged = database
        .write(move |transaction| {
            if transaction.entity(&hash)?.is_none() {
                let Some(created) = created else { return Ok(false) };
                transaction.store_entity(&hash, created);
            }
            let row = ObjectRow::from(&update);
            transaction.merge_row(&hash, update.policy, update.object.as_str(), &row)?;
            Ok(true)
        })
        .await?;
    match (merged, deleted) {
        (false, _) => Ok(answer::not_found(HeaderMap::new())),
        (true, true) => Ok(daemon::empty(StatusCode::NO_CONTENT)),
        (true, false) => Ok(daemon::empty(StatusCode::CREATED)),
    }
}

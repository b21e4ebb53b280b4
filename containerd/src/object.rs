//! Rows: what object servers tell.

use crate::server::{Asked, Server};
use crate::shards;
use http::{HeaderMap, StatusCode};
use listing::{Database, ObjectRow, Refusal, answer, lifecycle, request};
use types::{ObjectName, PolicyIndex, Timestamp};
use wire::{ObjectUpdate, Response};

/// Merges the row of an object that was written (201) or deleted (204); 404 when there is no such container; 301
/// when the row belongs elsewhere and its sender would go there.
pub(crate) async fn change(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let from = &asked.parts.headers;
    let at = request::timestamp(from)?;
    let update = ObjectUpdate::decode(&asked.parts.method, &asked.path, from)?;
    if let Some(elsewhere) = Box::pin(shards::redirect(server, &asked, &update.object)).await? {
        return Ok(elsewhere);
    }
    let database = server.database(&asked)?;
    if !update.deleted {
        database.check_room().await?;
    }
    let deleted = update.deleted;
    let row = Placed {
        policy: update.policy,
        name: update.object.clone(),
        row: ObjectRow::from(&update),
    };
    let merged = merge_rows(server, database, &asked, at, update.policy, vec![row]).await?;
    match (merged, deleted) {
        (false, _) => Ok(answer::not_found(HeaderMap::new())),
        (true, true) => Ok(daemon::empty(StatusCode::NO_CONTENT)),
        (true, false) => Ok(daemon::empty(StatusCode::CREATED)),
    }
}

/// A row, and where it goes.
pub(crate) struct Placed {
    pub(crate) policy: PolicyIndex,
    pub(crate) name: ObjectName,
    pub(crate) row: ObjectRow,
}

/// Merges rows, all of them or none. A container that may come into being with them does so, with this policy; false when
/// there is none.
pub(crate) async fn merge_rows(
    server: &Server,
    database: &Database<ObjectRow>,
    asked: &Asked,
    at: Timestamp,
    policy: PolicyIndex,
    rows: Vec<Placed>,
) -> Result<bool, Refusal> {
    // The offset of an object's timestamp is its own.
    let created_at = Timestamp { offset: 0, ..at };
    let created = asked
        .auto_creates()
        .then(|| lifecycle::create(&asked.names, created_at, server.clock.now(), policy));
    let hash = asked.hash;
    let merged = database.write(move |transaction| {
        if transaction.entity(&hash)?.is_none() {
            let Some(created) = created else { return Ok(false) };
            transaction.store_entity(&hash, created);
        }
        for Placed { policy, name, row } in &rows {
            transaction.merge_row(&hash, *policy, name.as_str(), row)?;
        }
        Ok(true)
    });
    Ok(merged.await?)
}

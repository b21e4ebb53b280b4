//! Rows: what container servers and the replicator tell.

use crate::server::{Asked, Server};
use http::{HeaderMap, StatusCode};
use listing::request::{self, AUTO_CREATE_PREFIX};
use listing::{ContainerRow, Refusal, Row, answer, lifecycle};
use types::PolicyIndex;
use wire::{AccountUpdate, Response, headers};

/// Merges the row of a container that was created or changed (201) or deleted (204); 404 when there is no such
/// account, or a deleted one.
pub(crate) async fn put(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let from = &asked.parts.headers;
    let at = match from.contains_key(headers::X_TIMESTAMP) {
        true => request::timestamp(from)?,
        false => server.clock.now(),
    };
    let update = AccountUpdate::decode(&asked.path, from)?;
    let override_deleted = from
        .get(headers::X_ACCOUNT_OVERRIDE_DELETED)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"yes"));
    let database = server.database(&asked)?;
    database.check_room().await?;
    let no_policy = PolicyIndex::default();
    let created = asked
        .names
        .account
        .starts_with(AUTO_CREATE_PREFIX)
        .then(|| lifecycle::create(&asked.names, at, server.clock.now(), no_policy));
    let (hash, deleted) = (asked.hash, update.delete_timestamp > update.put_timestamp);
    let merged = database
        .write(move |transaction| {
            match (transaction.entity(&hash)?, created) {
                (None, Some(created)) => transaction.store_entity(&hash, created),
                (None, None) => return Ok(false),
                (Some(entity), _) if ContainerRow::is_deleted(&entity) && !override_deleted => {
                    return Ok(false);
                }
                _ => {}
            }
            let row = ContainerRow::from(&update);
            // Names are one per account, whatever the policy.
            transaction.merge_row(&hash, no_policy, update.container.as_str(), &row)?;
            Ok(true)
        })
        .await?;
    match (merged, deleted) {
        (false, _) => Ok(answer::not_found(HeaderMap::new())),
        (true, true) => Ok(daemon::empty(StatusCode::NO_CONTENT)),
        (true, false) => Ok(daemon::empty(StatusCode::CREATED)),
    }
}

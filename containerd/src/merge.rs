//! The verb UPDATE: many rows at once, as who moves rows between containers sends them. Swift: container/server.py, `UPDATE`.

use crate::object::{Placed, merge_rows};
use crate::server::{Asked, Server};
use http::{HeaderMap, StatusCode};
use listing::{ObjectRow, Refusal, answer, request};
use types::{ObjectName, PolicyIndex, decode_row_timestamps};
use wire::{Body, MergedRow, Response, extract_swift_bytes, headers};

/// Most rows of it.
const ROWS_MAX: usize = 10_000;

fn place(row: MergedRow, server: &Server) -> Result<Placed, Refusal> {
    let at = decode_row_timestamps(&row.created_at)
        .map_err(|error| Refusal::Invalid(format!("Invalid created_at: {error}")))?;
    let name = ObjectName::parse(row.name)
        .map_err(|error| Refusal::Invalid(format!("Invalid name: {error}")))?;
    let policy = server.known(PolicyIndex(row.storage_policy_index))?;
    let (content_type, swift_bytes) = extract_swift_bytes(&row.content_type);
    let row = ObjectRow {
        data: at.data,
        content_type_at: at.content_type,
        meta: at.meta,
        size: row.size,
        content_type,
        swift_bytes,
        etag: row.etag,
        deleted: row.deleted != 0,
        // Swift's rows do not tell.
        delete_at: 0,
    };
    Ok(Placed { policy, name, row })
}

/// Merges rows: 202, or 404 when there is no such container. All of them, or none.
pub(crate) async fn merge(server: &Server, asked: Asked, body: Body) -> Result<Response, Refusal> {
    let from = &asked.parts.headers;
    let at = request::timestamp(from)?;
    let policy = server.policy(from, headers::X_BACKEND_STORAGE_POLICY_INDEX)?;
    let database = server.database(&asked)?;
    database.check_room().await?;
    let items: Vec<MergedRow> = request::json(body).await?;
    if items.len() > ROWS_MAX {
        return Err(Refusal::Limit(ROWS_MAX as u32));
    }
    let rows: Vec<Placed> =
        items.into_iter().map(|item| place(item, server)).collect::<Result<_, _>>()?;
    let policy = policy.unwrap_or_default();
    let merged = merge_rows(server, database, &asked, at, policy, rows).await?;
    match merged {
        true => Ok(daemon::empty(StatusCode::ACCEPTED)),
        false => Ok(answer::not_found(HeaderMap::new())),
    }
}

//! Deletions that are left to a replicator: rows of [`wire::deletions`], as many with one request as fit.

use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderValue};
use std::sync::Arc;
use types::{AccountName, quorum_size};
use wire::deletions::{self, Deletion};
use wire::{MergedRow, headers};

use super::entity::Entity;
use super::fanout::Fanout;
use super::{Store, Unavailable};

/// Rows of one request. Each has at most a few kilobytes of names, so that all are far below what a node takes.
const ROWS: usize = 1000;

impl Store {
    /// Has objects deleted as they are now, soon. All requests about the same `cause` are put into the same container.
    pub(crate) async fn delete_later(
        self: &Arc<Self>,
        cause: &Entity,
        objects: &[Entity],
    ) -> Result<(), Unavailable> {
        let at = self.env.clock.now();
        let container = cause.container.as_ref().map_or("", |name| name.as_str());
        let object = cause.object.as_ref().map_or("", |name| name.as_str());
        let hash = self.hash_paths.object(cause.account.as_str(), container, object);
        let queue = Entity {
            account: AccountName::parse(deletions::ACCOUNT).map_err(|_| Unavailable)?,
            container: Some(deletions::container(at, &hash).map_err(|_| Unavailable)?),
            object: None,
        };
        let rows: Vec<MergedRow> = objects
            .iter()
            .filter_map(|object| {
                let Entity { account, container, object } = object.clone();
                Some(Deletion { at, account, container: container?, object: object? }.row())
            })
            .collect();
        for rows in rows.chunks(ROWS) {
            self.merge_rows(&queue, rows).await?;
        }
        Ok(())
    }

    async fn merge_rows(
        self: &Arc<Self>,
        container: &Entity,
        rows: &[MergedRow],
    ) -> Result<(), Unavailable> {
        let body = serde_json::to_vec(rows).map_err(|_| Unavailable)?;
        let method = Method::from_bytes(b"UPDATE").map_err(|_| Unavailable)?;
        let place = self.place(container);
        let mut headers = HeaderMap::new();
        self.stamp(&mut headers);
        headers.insert(headers::X_BACKEND_STORAGE_POLICY_INDEX, HeaderValue::from(0));
        let (nodes, node_count) = place.nodes();
        let headers = vec![headers; node_count];
        let fanout = Fanout { method, headers, body: Bytes::from(body), nodes, node_count };
        let outcomes = self.gather(&place, fanout).await;
        let answer = self.best_answer(outcomes, quorum_size(node_count), &[]).await;
        answer.filter(|answer| answer.status.is_success()).map(|_| ()).ok_or(Unavailable)
    }
}

//! What has expired in a container that is to be deleted.
//!
//! It is listed no more, so to its owner the container is empty; but the replicator may not have come around to deleting
//! it yet. Then it is deleted here, by the same rules (`replicator`, `expirer`): the newest replica must have expired, and
//! the tombstone is of the moment at which it did, so that whatever was written after it stays.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::Method;
use http::header::{HeaderMap, HeaderValue};
use std::sync::Arc;
use types::{ObjectName, Timestamp};
use wire::{ContainerRow, headers};

use super::entity::Entity;
use super::info::ContainerInfo;
use super::read::Read;
use super::{Store, Unavailable};

/// More than so many are left to the replicator.
const OBJECTS_MAX: usize = 1000;
/// A listing of so many is not larger: of each up to 1,024 bytes of name, six times as long in JSON, and what else there is.
const LISTING_BYTES_MAX: usize = OBJECTS_MAX * 8192;
const CONCURRENCY: usize = 8;

impl Store {
    /// Deletes the objects of a container if all of them have expired. Says whether they are gone.
    pub(crate) async fn delete_expired(
        self: &Arc<Self>,
        container: &Entity,
    ) -> Result<bool, Unavailable> {
        let Some(info) = self.container_info(container).await? else { return Ok(false) };
        let names = self.names_with_expired(container).await?;
        if names.len() >= OBJECTS_MAX {
            return Ok(false);
        }
        let deletions = names.into_iter().map(|name| {
            let (store, info) = (Arc::clone(self), Arc::clone(&info));
            let object = container.with_object(name);
            async move { store.delete_if_expired(&object, &info).await }
        });
        let mut deletions: BoxStream<'_, _> =
            Box::pin(stream::iter(deletions).buffered(CONCURRENCY));
        while let Some(deleted) = deletions.next().await {
            if !deleted? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn names_with_expired(
        self: &Arc<Self>,
        container: &Entity,
    ) -> Result<Vec<ObjectName>, Unavailable> {
        let yes = HeaderValue::from_static("true");
        let headers = HeaderMap::from_iter(
            [
                (headers::X_BACKEND_OPEN_EXPIRED, yes.clone()),
                (headers::X_BACKEND_ALLOW_RESERVED_NAMES, yes),
            ]
            .map(|(name, value)| (http::HeaderName::from_static(name), value)),
        );
        let query = Some(format!("format=json&limit={OBJECTS_MAX}"));
        let read = Read { method: Method::GET, query, headers, newest: true, policy: None };
        let response = Box::pin(self.read(&container.to_container(), read)).await?;
        if !response.status().is_success() {
            return Err(Unavailable);
        }
        let page = axum::body::to_bytes(response.into_body(), LISTING_BYTES_MAX).await;
        let rows: Vec<ContainerRow> =
            serde_json::from_slice(&page.map_err(|_| Unavailable)?).map_err(|_| Unavailable)?;
        let name = |row| match row {
            ContainerRow::Object { name, .. } => ObjectName::parse(name).ok(),
            ContainerRow::Subdir { .. } => None,
        };
        Ok(rows.into_iter().filter_map(name).collect())
    }

    /// Says whether the object is gone: it was already, or it has expired.
    async fn delete_if_expired(
        self: &Arc<Self>,
        object: &Entity,
        container: &ContainerInfo,
    ) -> Result<bool, Unavailable> {
        let open = HeaderValue::from_static("true");
        let mut head = Read { newest: true, policy: Some(container.policy), ..Read::head() };
        head.headers.insert(headers::X_BACKEND_OPEN_EXPIRED, open);
        let found = Box::pin(self.read(object, head)).await?;
        let delete_at = found.headers().get(headers::X_DELETE_AT).and_then(|at| at.to_str().ok());
        let delete_at = delete_at.and_then(|at| at.parse::<u64>().ok());
        let now = self.env.clock.now().seconds();
        let Some(delete_at) = delete_at.filter(|at| found.status().is_success() && *at <= now)
        else {
            return Ok(found.status() == http::StatusCode::NOT_FOUND);
        };
        let mut condition = HeaderMap::new();
        let at = Timestamp::from_seconds(delete_at).internal();
        for (name, value) in
            [(headers::X_TIMESTAMP, at), (headers::X_IF_DELETE_AT, delete_at.to_string())]
        {
            condition.insert(name, HeaderValue::try_from(value).map_err(|_| Unavailable)?);
        }
        let answer = self.delete_object(object, container, &condition).await?;
        Ok(answer.status.is_success() || answer.status == http::StatusCode::NOT_FOUND)
    }
}

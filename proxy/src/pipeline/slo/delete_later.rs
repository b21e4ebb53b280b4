//! DELETE of a manifest whose segments may be deleted later: `multipart-manifest=delete&async=on`. Swift:
//! common/middleware/slo.py, `handle_async_delete`.
//!
//! The segments are put into the queue of deletions ([`wire::deletions`]), from where a replicator takes them, and only
//! then is the manifest deleted, in the ordinary way. For that they must lie in one container, in which the caller may
//! write, and be no manifests themselves.

use http::{Method, StatusCode};
use std::sync::Arc;
use wire::{Response, encode_segment};

use super::stored::Part;
use super::walk::within;
use super::{SOURCE, StaticLargeObjects};
use crate::auth::Judge;
use crate::call::Call;
use crate::pipeline::Handler;
use crate::pipeline::segments::Asked;
use crate::store::Entity;
use crate::swift::error::Refusal;

/// Puts segments into the queue.
pub(super) struct Later(pub(super) Judge);

impl StaticLargeObjects {
    pub(super) async fn delete_later(
        self: Arc<Self>,
        call: Call,
        next: Handler,
    ) -> Result<Response, Refusal> {
        // Without a queue it is not asked for.
        let Some(later) = &self.later else { return Ok(next.answer(call).await) };
        let mut get = Asked::of(&call).sub(Method::GET, call.entity.clone(), SOURCE);
        if let Some(version) = call.query.get("version-id") {
            get.query.set("version-id", version);
        }
        let parts = self.stored_parts(get, &next).await;
        let parts = parts.map_err(|(status, why)| match status {
            StatusCode::BAD_REQUEST => Refusal::bad_request(why),
            StatusCode::UNAUTHORIZED => call.unauthorized(),
            other => Refusal::Status(other),
        })?;
        if let Some(segments) = one_container(&call.entity, parts)? {
            later.authorize(&call, &call.entity).await?;
            if segments[0].container != call.entity.container {
                later.authorize(&call, &segments[0]).await?;
            }
            later.0.store.delete_later(&call.entity, &segments).await?;
        }
        Ok(next.answer(call).await)
    }
}

/// A refusal names so many containers at most.
const NAMED_MAX: usize = 10;

/// The segments that are objects, if they all lie in one container. `None` if there are none.
fn one_container(manifest: &Entity, parts: Vec<Part>) -> Result<Option<Vec<Entity>>, Refusal> {
    let mut segments: Vec<Entity> = Vec::with_capacity(parts.len());
    let mut containers: Vec<String> = Vec::new();
    let mut has_manifests = false;
    for part in parts {
        let Part::Object(object) = part else { continue };
        has_manifests |= object.is_manifest;
        let segment = within(manifest, &object.name)
            .ok_or(Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR))?;
        let container = segment.container.as_ref().map_or("", |name| name.as_str());
        let container = format!("\"{}\"", encode_segment(container));
        if containers.len() < NAMED_MAX && !containers.contains(&container) {
            containers.push(container);
        }
        segments.push(segment);
    }
    if containers.len() > 1 {
        let found = containers.join(", ");
        return Err(Refusal::bad_request(format!(
            "All segments must be in one container. Found segments in {found}"
        )));
    }
    if has_manifests {
        return Err(Refusal::bad_request("No segments may be large objects."));
    }
    Ok(Some(segments).filter(|segments| !segments.is_empty()))
}

impl Later {
    /// Whether the caller may delete an object by the rules of its container.
    async fn authorize(&self, call: &Call, object: &Entity) -> Result<(), Refusal> {
        let info = self.0.store.container_info(object).await?;
        let acl = info.as_ref().and_then(|info| info.write_acl.as_deref());
        let asked = Asked::of(call).sub(Method::DELETE, object.clone(), SOURCE);
        self.0.authorize(&asked, acl).await.map(|_| ())
    }
}

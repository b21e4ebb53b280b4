//! Versions of objects: what is overwritten or deleted is kept. Swift: common/middleware/versioned_writes.
//!
//! There are three ways, one to a container:
//!
//! - `X-Versions-Enabled: true` (`object_versioning` in `/info`): the bytes of every version lie in a hidden container,
//!   and the object itself is a static link to the latest. Versions have ids, and can be listed, read and deleted by them.
//!   `objects` and `by_id` answer for objects, `containers`, `listing` and `accounts` for lists.
//! - `X-Versions-Location` and `X-History-Location` (`legacy`): what was there before a write is copied into another
//!   container of the user's; a deletion brings the previous version back, or is remembered as one.
//!
//! Everything is stored in Swift's own form, so another proxy on the same nodes sees the same.

mod accounts;
mod by_id;
mod containers;
mod copies;
mod legacy;
mod listing;
mod names;
mod objects;

use http::header::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use wire::{Response, headers};

use super::{Answer, Handler, Middleware, Parts};
use crate::auth::Judge;
use crate::call::Call;
use crate::config::StartError;
use crate::store::{ContainerInfo, Entity, Level, Store};
use crate::swift::constraints::is_true;
use crate::swift::error::Refusal;

/// `[proxy.versioned_writes]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether containers may have a location for versions (`X-Versions-Location`, `X-History-Location`).
    pub allow_versioned_writes: bool,
    /// Whether containers may have versions with ids (`X-Versions-Enabled`).
    pub allow_object_versioning: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { allow_versioned_writes: true, allow_object_versioning: true }
    }
}

/// What marks the deletion of an object, among versions. No client can give this content type.
const DELETE_MARKER: &str = "application/x-deleted;swift_versions_deleted=1";

/// Whether versions are made, and where they lie; stored with a container.
const SYSMETA_ENABLED: &str = "x-container-sysmeta-versions-enabled";
const SYSMETA_CONTAINER: &str = "x-container-sysmeta-versions-container";
/// Marks the links that are made here.
const SYSMETA_LINK: &str = "x-object-sysmeta-versions-symlink";

const ENABLED: &str = "x-versions-enabled";
const VERSION_ID: &str = "x-object-version-id";
const NULL: &str = "null";

struct VersionedWrites {
    store: Arc<Store>,
    judge: Judge,
    settings: Config,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let settings = parts.config.versioned_writes.clone();
    let links = parts.config.pipeline.iter().any(|name| name == "symlink");
    if settings.allow_object_versioning && !links {
        let why = "versioned_writes needs symlink, unless allow_object_versioning is false";
        return Err(StartError::Pipeline(why.to_owned()));
    }
    let (store, judge) = (Arc::clone(&parts.store), parts.judge());
    Ok(Arc::new(VersionedWrites { store, judge, settings }))
}

impl Middleware for VersionedWrites {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        match call.entity.level() {
            Level::Account if call.method != http::Method::GET => next.answer(call),
            Level::Account if !self.settings.allow_object_versioning => next.answer(call),
            _ => Box::pin(async move {
                let answer = match call.entity.level() {
                    Level::Account => accounts::list(call, &next).await,
                    Level::Container => self.container(call, &next).await,
                    Level::Object => self.object(call, next).await,
                };
                answer.unwrap_or_else(Response::from)
            }),
        }
    }

    fn sections(&self) -> Vec<(&'static str, Value)> {
        let mut sections = Vec::new();
        if self.settings.allow_versioned_writes {
            let flags = [legacy::VERSIONS_LOCATION, legacy::HISTORY_LOCATION];
            sections.push(("versioned_writes", json!({ "allowed_flags": flags })));
        }
        if self.settings.allow_object_versioning {
            sections.push(("object_versioning", json!({})));
        }
        sections
    }
}

impl VersionedWrites {
    async fn container(
        self: &Arc<Self>,
        mut call: Call,
        next: &Handler,
    ) -> Result<Response, Refusal> {
        legacy::translate(&mut call, self.settings.allow_versioned_writes)?;
        let mut response = match self.settings.allow_object_versioning {
            true => containers::answer(&self.judge, call, next).await?,
            false => {
                refuse_disabled(&call)?;
                next.answer(call).await
            }
        };
        legacy::tell(response.headers_mut());
        Ok(response)
    }

    async fn object(self: Arc<Self>, call: Call, next: Handler) -> Result<Response, Refusal> {
        let changes = matches!(call.method.as_str(), "PUT" | "DELETE");
        // Without knowing whether there are versions, a write could take away what it has to keep.
        let info = self.store.container_info(&call.entity).await?;
        let location = info.as_ref().and_then(|info| legacy::Location::of(info));
        let location = location.filter(|_| changes && self.settings.allow_versioned_writes);
        if let (Some(location), Some(info)) = (location, &info) {
            self.judge.authorize(&call, info.write_acl.as_deref()).await?;
            let inner = Arc::clone(&self);
            let inside = Handler::new(move |call| {
                let (inner, next) = (Arc::clone(&inner), next.clone());
                Box::pin(async move {
                    inner.versioned(call, &next).await.unwrap_or_else(Response::from)
                })
            });
            let bytes_max = self.store.config.limits.max_file_size;
            let legacy = legacy::Versioning { location, next: inside, bytes_max };
            return legacy.answer(call, self.store.env.clock.now()).await;
        }
        self.versioned(call, &next).await
    }

    /// An object's request within the legacy modes.
    async fn versioned(&self, call: Call, next: &Handler) -> Result<Response, Refusal> {
        if !self.settings.allow_object_versioning {
            refuse_disabled(&call)?;
            return Ok(next.answer(call).await);
        }
        let info = self.store.container_info(&call.entity).await?;
        let versions = info.as_ref().and_then(|info| info.sysmeta("versions-container"));
        let versions = versions.and_then(names::stored_container);
        let id = call.query.get("version-id").filter(|id| !id.is_empty()).map(str::to_owned);
        let (Some(versions), Some(info)) = (versions, info) else {
            return match id {
                Some(id) => by_id::unversioned(call, next, &id).await,
                None => Ok(next.answer(call).await),
            };
        };
        let enabled = info.sysmeta("versions-enabled").and_then(|text| text.parse().ok());
        let enabled = is_true(enabled.as_ref());
        let (judge, next) = (self.judge.clone(), next.clone());
        let versioned = objects::Versioned { judge, next, info, versions, enabled };
        match id {
            Some(id) => versioned.answer_by_id(call, &id).await,
            None => versioned.answer(call).await,
        }
    }
}

/// Where the versions of a container's objects lie. Their bytes count as the container's.
pub(super) fn versions_of(container: &Entity, info: &ContainerInfo) -> Option<Entity> {
    let versions = info.sysmeta("versions-container").and_then(names::stored_container)?;
    Some(container.with_container(versions))
}

/// What would mean something else where versions do not exist.
fn refuse_disabled(call: &Call) -> Result<(), Refusal> {
    let asks = call.query.has("version-id")
        || call.query.has("versions")
        || !call.is_read() && is_true(call.headers.get(ENABLED));
    if asks { Err(Refusal::NotAvailable("Object versioning")) } else { Ok(()) }
}

/// A call by the cluster's own right that may name what is reserved.
fn inside(call: Call) -> Call {
    reserved(call.granted())
}

/// A call that may name what is reserved.
fn reserved(call: Call) -> Call {
    call.with(headers::X_BACKEND_ALLOW_RESERVED_NAMES, HeaderValue::from_static("true"))
}

/// Sets a header of an answer to a text.
fn tell(response: &mut Response, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(name, value);
    }
}

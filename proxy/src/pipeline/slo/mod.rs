//! Static large objects: a manifest lists segments, and a read of it gives their bytes, one segment after the other.
//! Swift: common/middleware/slo.py.
//!
//! - PUT with `multipart-manifest=put` (`put`): the manifest of the client (`given`) is checked against its segments, and
//!   stored in Swift's form (`stored`).
//! - GET and HEAD (`get`) answer for the whole; what is sent is found segment by segment (`walk`), through nested
//!   manifests.
//! - DELETE with `multipart-manifest=delete` (`delete`) deletes the segments, too; with `async=on` as well (`delete_later`)
//!   a replicator does.
//!
//! Storage nodes keep the ETag and the length of the whole as system metadata, so that conditions and HEAD cost no more
//! than those of other objects. Listings show both: the length behind the content type (`swift_bytes`), the ETag behind the
//! manifest's own, from where it is taken out again here.

mod delete;
mod delete_later;
mod get;
mod given;
mod put;
mod stored;
#[cfg(test)]
mod tests;
mod walk;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use wire::Response;

use self::delete_later::Later;
use super::segments::Pace;
use super::{Answer, Handler, Middleware, Parts};
use crate::call::Call;
use crate::config::StartError;
use crate::store::Level;
use crate::swift::constraints::{is_true, means_true};
use crate::swift::error::Refusal;
use crate::swift::rewrite_listing::{self, Fields, Hash};

/// What requests of this middleware are called.
pub(crate) const SOURCE: &str = "SLO";

/// Tells a manifest from other objects.
const STATIC_LARGE_OBJECT: HeaderName = HeaderName::from_static("x-static-large-object");
/// The ETag and the length of the whole.
const SLO_ETAG: HeaderName = HeaderName::from_static("x-object-sysmeta-slo-etag");
const SLO_SIZE: HeaderName = HeaderName::from_static("x-object-sysmeta-slo-size");
/// What stands before the ETag of the whole in listings.
const LISTED_ETAG: &str = "slo_etag";

/// `[proxy.slo]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many objects a manifest may name.
    pub max_manifest_segments: u32,
    /// How long the manifest that a client sends may be, in bytes.
    pub max_manifest_size: u32,
    /// How often something is sent while a client waits for its manifest to be checked, or for segments to be deleted.
    pub yield_frequency_s: u32,
    /// How many segments are looked at at a time while a manifest is checked.
    pub concurrency: u32,
    /// How many segments are deleted at a time.
    pub delete_concurrency: u32,
    /// Whether a client may leave it to the cluster to delete segments.
    pub allow_async_delete: bool,
    /// How long a read may take.
    pub max_get_time_s: u64,
    /// Segments below this size are small …
    pub rate_limit_under_size: u64,
    /// … of which a read gets so many at once …
    pub rate_limit_after_segment: u32,
    /// … and then so many a second; 0 for no limit.
    pub rate_limit_segments_per_sec: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_manifest_segments: 1000,
            max_manifest_size: 8 * 1024 * 1024,
            yield_frequency_s: 10,
            concurrency: 2,
            delete_concurrency: 2,
            allow_async_delete: true,
            max_get_time_s: 86_400,
            rate_limit_under_size: 1024 * 1024,
            rate_limit_after_segment: 10,
            rate_limit_segments_per_sec: 1,
        }
    }
}

/// A stored manifest is never longer than this, whatever is set now: it may have been stored when more was allowed.
const STORED_BYTES_MIN: usize = 32 * 1024 * 1024;
/// What storing adds to a segment at most: the content type, and names of fields.
const STORED_SEGMENT_BYTES: usize = 16 * 1024;

impl Config {
    fn stored_bytes_max(&self) -> usize {
        let segments = (self.max_manifest_segments as usize).saturating_mul(STORED_SEGMENT_BYTES);
        segments.saturating_add(self.max_manifest_size as usize).max(STORED_BYTES_MIN)
    }

    fn pace(&self) -> Pace {
        Pace {
            under_size: self.rate_limit_under_size,
            after: self.rate_limit_after_segment,
            per_second: self.rate_limit_segments_per_sec,
        }
    }

    fn yield_frequency(&self) -> Duration {
        Duration::from_secs(self.yield_frequency_s.into())
    }
}

struct StaticLargeObjects {
    config: Config,
    /// How long a client may pause within a manifest.
    client_timeout: Duration,
    /// What deletes segments later, if clients may ask for that.
    later: Option<Later>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let config = parts.config.slo.clone();
    for (key, value) in [
        ("slo.yield_frequency_s", config.yield_frequency_s),
        ("slo.concurrency", config.concurrency),
        ("slo.delete_concurrency", config.delete_concurrency),
    ] {
        if value == 0 {
            return Err(StartError::Setting { key, why: "it must be at least 1" });
        }
    }
    let client_timeout = parts.config.client_timeout();
    let later = config.allow_async_delete.then(|| Later(parts.judge()));
    Ok(Arc::new(StaticLargeObjects { config, client_timeout, later }))
}

impl Middleware for StaticLargeObjects {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        match call.entity.level() {
            Level::Account => next.answer(call),
            Level::Container if call.method == Method::GET => Box::pin(listed(call, next)),
            Level::Container => next.answer(call),
            Level::Object => self.object(call, next),
        }
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        let section = json!({
            "max_manifest_segments": self.config.max_manifest_segments,
            "max_manifest_size": self.config.max_manifest_size,
            "yield_frequency": self.config.yield_frequency_s,
            "min_segment_size": 1,
            "allow_async_delete": self.later.is_some(),
        });
        Some(("slo", section))
    }
}

impl StaticLargeObjects {
    /// Whether a deletion is not to be waited for.
    fn may_wait(&self, call: &Call) -> bool {
        self.later.is_some() && call.query.get("async").is_some_and(means_true)
    }

    fn object(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        let manifest = call.query.get("multipart-manifest");
        match (call.method.as_str(), manifest) {
            ("GET" | "HEAD", _) => boxed(self.read(call, next)),
            ("PUT", Some("put")) => boxed(self.put(call, next)),
            ("DELETE", Some("delete")) if self.may_wait(&call) => {
                boxed(self.delete_later(call, next))
            }
            ("DELETE", Some("delete")) => Box::pin(self.delete(call, next)),
            _ if call.headers.contains_key(STATIC_LARGE_OBJECT) => Box::pin(async {
                let sentence = "X-Static-Large-Object is a reserved header. To create a static large object \
                                add query param multipart-manifest=put.";
                Response::from(Refusal::bad_request(sentence))
            }),
            _ => next.answer(call),
        }
    }
}

fn boxed(work: impl Future<Output = Result<Response, Refusal>> + Send + 'static) -> Answer {
    Box::pin(async move { work.await.unwrap_or_else(Response::from) })
}

/// A listing, with the ETags of large objects as clients know them.
async fn listed(call: Call, next: Handler) -> Response {
    let listing = next.answer(call).await;
    rewrite_listing::rewrite(listing, "slo_etag=", |hash: &mut Hash| -> Fields {
        let etag = hash.take(LISTED_ETAG);
        let field = |etag| (LISTED_ETAG, Value::String(format!("\"{etag}\"")));
        etag.map(field).into_iter().collect()
    })
    .await
}

/// Reads a text as the manifest of a client and as a stored one; for fuzzing.
pub(crate) fn read_anything(text: &[u8]) {
    let _ = given::parse(text, "c/o", 1000);
    let _ = stored::as_written_by_clients(text);
    if let Ok(parts) = stored::parse(text) {
        let _ = (stored::len(&parts), stored::etag(&parts));
    }
}

fn is_manifest(headers: &HeaderMap) -> bool {
    is_true(headers.get(STATIC_LARGE_OBJECT))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let value = headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    value.filter(|value| !value.is_empty())
}

/// Longer texts are worked on outside of the runtime.
const AT_ONCE_BYTES_MAX: usize = 64 * 1024;

/// Does work on a text of a length, on a thread of its own if it will take long.
async fn work_on<T: Send + 'static>(
    len: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if len <= AT_ONCE_BYTES_MAX {
        return Ok(work());
    }
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|_| Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR))
}

//! Much in one request: an archive that becomes objects, a list of what is to be deleted. Swift: common/middleware/bulk.py.
//!
//! - `PUT ?extract-archive=tar|tar.gz|tar.bz2` ([`extract`], [`tar`], [`unpack`]) stores each file of an archive as an
//!   object, while the archive arrives: no more of it than a few pieces is in memory.
//! - `POST ?bulk-delete` ([`delete`]) deletes what the lines of its body name, objects before containers.
//!
//! The answer is always 200; how it went stands in its body ([`report`]). As that can take long, spaces are sent
//! before it ([`kept_alive`]). It stands before those who ask who somebody is, so each thing that it does is asked for with the
//! client's token, and judged by itself.

mod delete;
mod extract;
mod report;
mod tar;
mod unpack;

use http::header::{self, HeaderName};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use types::Limits;
use wire::Response;

use super::{Answer, Handler, Middleware, Parts};
use crate::call::{Call, Query};
use crate::config::StartError;
use crate::store::{ClientBody, Entity};
use crate::swift::error::Refusal;
use crate::swift::listing::{self, Format};
use crate::swift::report::{KeepAlive, kept_alive};
use report::Report;
use unpack::Coding;

/// `[proxy.bulk]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Containers that one archive may make.
    pub max_containers_per_extraction: usize,
    /// Files of one archive that may fail before the rest is given up.
    pub max_failed_extractions: usize,
    /// Archives that may be taken apart at a time; more are told 503.
    pub max_concurrent_extractions: u32,
    /// Lines that one request to delete may have.
    pub max_deletes_per_request: usize,
    /// Deletions of one request that may fail before the rest is given up.
    pub max_failed_deletes: usize,
    /// Deletions of one request at a time.
    pub delete_concurrency: usize,
    /// How often a container is tried again that is not empty yet.
    pub delete_container_retry_count: u32,
    /// After how long a client that still waits gets a space to read.
    pub yield_frequency_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_containers_per_extraction: 10_000,
            max_failed_extractions: 1_000,
            max_concurrent_extractions: 64,
            max_deletes_per_request: 10_000,
            max_failed_deletes: 1_000,
            delete_concurrency: 2,
            delete_container_retry_count: 0,
            yield_frequency_ms: 10_000,
        }
    }
}

struct Bulk {
    config: Arc<Config>,
    limits: Limits,
    client_timeout: Duration,
    extractions: Arc<Semaphore>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let mut config = parts.config.bulk.clone();
    config.delete_concurrency = config.delete_concurrency.clamp(1, 1000);
    config.yield_frequency_ms = config.yield_frequency_ms.max(100);
    let extractions = usize::try_from(config.max_concurrent_extractions).unwrap_or(usize::MAX);
    Ok(Arc::new(Bulk {
        extractions: Arc::new(Semaphore::new(extractions.min(Semaphore::MAX_PERMITS))),
        config: Arc::new(config),
        limits: parts.config.limits.clone(),
        client_timeout: parts.config.client_timeout(),
    }))
}

impl Middleware for Bulk {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        let deletes = call.method == Method::POST || call.method == Method::DELETE;
        if deletes && call.query.has("bulk-delete") {
            return Box::pin(self.delete(call, next));
        }
        match call.query.get("extract-archive") {
            Some(coding) if call.method == Method::PUT => match Coding::of(coding) {
                Some(coding) => Box::pin(self.extract(coding, call, next)),
                None => {
                    let refusal = Refusal::bad_request("Unsupported archive format");
                    Box::pin(std::future::ready(refusal.into()))
                }
            },
            _ => next.answer(call),
        }
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        let section = json!({
            "max_containers_per_extraction": self.config.max_containers_per_extraction,
            "max_failed_extractions": self.config.max_failed_extractions,
        });
        Some(("bulk_upload", section))
    }

    fn sections(&self) -> Vec<(&'static str, Value)> {
        let section = json!({
            "max_deletes_per_request": self.config.max_deletes_per_request,
            "max_failed_deletes": self.config.max_failed_deletes,
        });
        self.info().into_iter().chain([("bulk_delete", section)]).collect()
    }
}

/// What the client says that it carries over to each thing that is done for it.
const CARRIED: [&str; 5] =
    ["x-auth-token", "x-storage-token", "x-service-token", "referer", "user-agent"];

/// Makes the requests that a bulk request is made of.
struct Asking {
    /// The client's, without its body.
    call: Call,
    next: Handler,
    source: &'static str,
}

impl Asking {
    /// A request of the same client to something else.
    fn sub(&self, method: Method, entity: Entity) -> Call {
        let mut sub = self.call.sub(method, entity, self.source);
        for name in CARRIED {
            if let Some(value) = self.call.headers.get(name) {
                sub.headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
        sub
    }
}

/// Names in reports are not longer than this.
fn path_bytes_max(limits: &Limits) -> usize {
    (limits.max_object_name_length + limits.max_container_name_length + 2) as usize
}

/// A name as a client may say it: text, and none of the cluster's own, which have NULs in them.
fn client_text(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name).ok().filter(|name| !name.contains('\0'))
}

/// What is read of a body that is not wanted any more, so that the client gets to read the answer.
const DRAINED_BYTES_MAX: usize = 4 * 1024 * 1024;

async fn drain(mut body: ClientBody) {
    let mut drained = 0;
    while let Ok(Some(piece)) = body.next().await {
        drained += piece.len();
        if drained > DRAINED_BYTES_MAX {
            break;
        }
    }
}

impl Bulk {
    /// The form of the report; `None` when the client accepts none of them.
    fn format(call: &Call) -> Option<Format> {
        listing::wanted(&Query::default(), &call.headers).ok().map(|wanted| wanted.format)
    }

    fn body(&self, call: &mut Call) -> Option<ClientBody> {
        let chunked = call
            .headers
            .get("transfer-encoding")
            .is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
        let length = call.header("content-length").and_then(|length| length.trim().parse().ok());
        let known = chunked || length.is_some();
        let body = call.take_body();
        known.then(|| ClientBody::new(body, length, u64::MAX, self.client_timeout))
    }

    async fn respond(
        &self,
        format: Option<Format>,
        work: impl Future<Output = Report> + Send + 'static,
    ) -> Response {
        let shown = format.unwrap_or(Format::Plain);
        let every = Duration::from_millis(self.config.yield_frequency_ms);
        let document = async move { work.await.render(shown) };
        // The body is asked for before anything is answered, so that a client that waits for 100 Continue is told to.
        let keep_alive = KeepAlive { every, declaration: shown.declaration(), at_once: false };
        let mut response = Response::new(kept_alive(document, keep_alive).await);
        response.headers_mut().insert(header::CONTENT_TYPE, shown.content_type());
        response
    }

    async fn extract(self: Arc<Self>, coding: Coding, mut call: Call, next: Handler) -> Response {
        let format = Self::format(&call);
        let body = self.body(&mut call);
        let bulk = Arc::clone(&self);
        let work = async move {
            let report = Report::extraction();
            if format.is_none() {
                return report.aborted(StatusCode::NOT_ACCEPTABLE, "");
            }
            let Some(body) = body else {
                return report.aborted(StatusCode::LENGTH_REQUIRED, "");
            };
            let Ok(_slot) = Arc::clone(&bulk.extractions).try_acquire_owned() else {
                return report.aborted(StatusCode::SERVICE_UNAVAILABLE, "");
            };
            let asking = Asking { call, next, source: "EA" };
            extract::all(&bulk.config, &bulk.limits, asking, coding, body).await
        };
        self.respond(format, work).await
    }

    async fn delete(self: Arc<Self>, mut call: Call, next: Handler) -> Response {
        let format = Self::format(&call);
        let plain = call.header("content-type").unwrap_or_default();
        let plain = plain.is_empty() || plain.starts_with("text/plain");
        let body = self.body(&mut call);
        let bulk = Arc::clone(&self);
        let work = async move {
            let report = Report::deletion();
            if format.is_none() || !plain {
                return report.aborted(StatusCode::NOT_ACCEPTABLE, "");
            }
            let Some(body) = body else {
                return report.aborted(StatusCode::LENGTH_REQUIRED, "");
            };
            let asking = Asking { call, next, source: "BD" };
            delete::all(&bulk.config, &bulk.limits, asking, body).await
        };
        self.respond(format, work).await
    }
}
/// See [`crate::parsers::bulk`].
pub(crate) fn read_anything(data: &[u8]) {
    let [kind, piece, document @ ..] = data else { return };
    let pieces = document.chunks(usize::from(*piece).max(1));
    match kind % 4 {
        0 => tar::read_anything(pieces),
        1 => {
            let mut lines = delete::Lines::new(1000, 3000);
            if pieces.map(|piece| lines.feed(piece)).all(|fed| fed.is_ok()) {
                let _ = lines.finish();
            }
        }
        2 => unpack::read_anything(Coding::Gzip, pieces),
        _ => unpack::read_anything(Coding::Bzip2, pieces),
    }
}

//! DELETE of a manifest with all its segments, those of nested manifests included. Swift: common/middleware/slo.py,
//! `handle_multipart_delete`, and bulk.py, `handle_delete_iter`.
//!
//! Everybody's segments are deleted by the right of who asks. The answer is always 200, and says in its body what happened.

use futures_util::{StreamExt, stream};
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use wire::{Response, headers};

use super::stored::{self, Part};
use super::walk::within;
use super::{SOURCE, StaticLargeObjects, is_manifest, work_on};
use crate::call::{Call, Query};
use crate::pipeline::Handler;
use crate::pipeline::segments::{Asked, add_name};
use crate::swift::error::status_line;
use crate::swift::listing::{self, Format};
use crate::swift::report::{KeepAlive, Report, kept_alive, quoted};

/// More objects waiting to be deleted than this many times the segments of one manifest are too many to remember.
const WAITING_MANIFESTS: usize = 10;
/// After so many failures it is given up.
const FAILURES_MAX: usize = 1000;

/// An object that is to be deleted.
#[derive(Debug)]
struct Doomed {
    /// `/container/object`.
    name: String,
    version: Option<String>,
    /// Whether its segments are still to be found out.
    is_manifest: bool,
    /// Why it is not deleted after all.
    problem: Option<(StatusCode, &'static str)>,
}

struct Deletion {
    slo: Arc<StaticLargeObjects>,
    next: Handler,
    asked: Arc<Asked>,
    waiting: VecDeque<Doomed>,
    deleted: u64,
    not_found: u64,
    failed: Vec<(String, String)>,
    /// What the failures make of it all.
    worst: StatusCode,
}

impl StaticLargeObjects {
    pub(super) async fn delete(self: Arc<Self>, call: Call, next: Handler) -> Response {
        let wanted = listing::wanted(&Query::default(), &call.headers);
        let format = wanted.ok().map(|wanted| wanted.format);
        let shown = format.unwrap_or(Format::Plain);
        let every = self.config.yield_frequency();
        let keep_alive = KeepAlive { every, declaration: shown.declaration(), at_once: false };
        let deletion = Deletion::of(self, &call, next);
        let work = async move {
            let report = match format {
                Some(_) => deletion.run().await,
                None => report(StatusCode::NOT_ACCEPTABLE, "", 0, 0),
            };
            report.render(shown, "delete")
        };
        let mut response = Response::new(kept_alive(work, keep_alive).await);
        response.headers_mut().insert(header::CONTENT_TYPE, shown.media_type());
        response
    }
}

/// Why it is not known what a manifest consists of.
pub(super) type Unreadable = (StatusCode, &'static str);

const UNREADABLE: Unreadable = (StatusCode::INTERNAL_SERVER_ERROR, "Unable to load SLO manifest");

impl StaticLargeObjects {
    /// What the manifest that a GET is about consists of.
    pub(super) async fn stored_parts(
        &self,
        mut call: Call,
        next: &Handler,
    ) -> Result<Vec<Part>, Unreadable> {
        call.query.set("multipart-manifest", "get");
        // Nothing is wanted of what is no manifest.
        call.headers.insert(header::RANGE, HeaderValue::from_static("bytes=-1"));
        let unless = headers::X_BACKEND_IGNORE_RANGE_IF_METADATA_PRESENT;
        add_name(&mut call.headers, unless, "x-static-large-object");
        let response = next.answer(call).await;
        match response.status() {
            status if status.is_success() && is_manifest(response.headers()) => {}
            status if status.is_success() => {
                return Err((StatusCode::BAD_REQUEST, "Not an SLO manifest"));
            }
            StatusCode::NOT_FOUND => return Err((StatusCode::NOT_FOUND, "SLO manifest not found")),
            StatusCode::UNAUTHORIZED => {
                return Err((StatusCode::UNAUTHORIZED, "401 Unauthorized"));
            }
            status => {
                return Err((status, "Unable to load SLO manifest or segment."));
            }
        }
        let limit = self.config.stored_bytes_max();
        let text = axum::body::to_bytes(response.into_body(), limit).await;
        let text = text.map_err(|_| UNREADABLE)?;
        let parsed = work_on(text.len(), move || stored::parse(&text)).await;
        parsed.map_err(|_| UNREADABLE)?.map_err(|_| UNREADABLE)
    }
}

fn report(status: StatusCode, body: &str, deleted: u64, not_found: u64) -> Report {
    let mut report = Report::default();
    report.say("Response Status", status_line(status));
    report.say("Response Body", body);
    report.say("Number Deleted", Value::from(deleted));
    report.say("Number Not Found", Value::from(not_found));
    report
}

impl Deletion {
    fn of(slo: Arc<StaticLargeObjects>, call: &Call, next: Handler) -> Self {
        let container = call.entity.container.as_ref().map_or("", |name| name.as_str());
        let object = call.entity.object.as_ref().map_or("", |name| name.as_str());
        let first = Doomed {
            name: format!("/{container}/{object}"),
            version: call.query.get("version-id").map(str::to_owned),
            is_manifest: true,
            problem: None,
        };
        Deletion {
            slo,
            next,
            asked: Arc::new(Asked::of(call)),
            waiting: VecDeque::from([first]),
            deleted: 0,
            not_found: 0,
            failed: Vec::new(),
            worst: StatusCode::BAD_REQUEST,
        }
    }

    async fn run(mut self) -> Report {
        while !self.waiting.is_empty() {
            let most = self.slo.config.max_manifest_segments as usize;
            if self.waiting.len() > most.saturating_mul(WAITING_MANIFESTS) {
                return self.given_up("Too many buffered slo segments to delete.");
            }
            if self.failed.len() >= FAILURES_MAX {
                return self.given_up("Max delete failures exceeded");
            }
            match self.waiting.front().is_some_and(|next| next.is_manifest) {
                true => self.open().await,
                false => self.delete_some().await,
            }
        }
        let (status, body) = match (self.failed.is_empty(), self.deleted + self.not_found) {
            (false, _) => (self.worst, ""),
            (true, 0) => (StatusCode::BAD_REQUEST, "Invalid bulk delete."),
            (true, _) => (StatusCode::OK, ""),
        };
        let mut report = report(status, body, self.deleted, self.not_found);
        report.errors = self.failed;
        report
    }

    fn given_up(self, why: &str) -> Report {
        let mut report = report(StatusCode::BAD_REQUEST, why, self.deleted, self.not_found);
        report.errors = self.failed;
        report
    }

    /// Puts the segments of the next manifest behind all others, and the manifest behind them.
    async fn open(&mut self) {
        let Some(mut manifest) = self.waiting.pop_front() else { return };
        match self.segments(&manifest).await {
            Ok(parts) => {
                let objects = parts.into_iter().filter_map(|part| match part {
                    Part::Data(_) => None,
                    Part::Object(object) => Some(Doomed {
                        name: object.name,
                        version: None,
                        is_manifest: object.is_manifest,
                        problem: None,
                    }),
                });
                self.waiting.extend(objects);
            }
            Err(problem) => manifest.problem = Some(problem),
        }
        manifest.is_manifest = false;
        self.waiting.push_back(manifest);
    }

    async fn segments(&self, manifest: &Doomed) -> Result<Vec<Part>, Unreadable> {
        let call = self.call(Method::GET, manifest).ok_or(UNREADABLE)?;
        self.slo.stored_parts(call, &self.next).await
    }

    fn call(&self, method: Method, doomed: &Doomed) -> Option<Call> {
        let entity = within(&self.asked.entity, &doomed.name)?;
        let mut call = self.asked.sub(method, entity, SOURCE);
        if let Some(version) = &doomed.version {
            call.query.set("version-id", version.as_str());
        }
        Some(call)
    }

    /// Deletes what stands before the next manifest, some at a time.
    async fn delete_some(&mut self) {
        let mut some = Vec::new();
        while self.waiting.front().is_some_and(|next| !next.is_manifest) {
            let Some(doomed) = self.waiting.pop_front() else { break };
            match doomed.problem {
                Some((StatusCode::NOT_FOUND, _)) => self.not_found += 1,
                Some((_, why)) => self.failed.push((quoted(&doomed.name), why.to_owned())),
                None => some.push(doomed),
            }
        }
        let calls: Vec<(String, Option<Call>)> = some
            .into_iter()
            .map(|doomed| (quoted(&doomed.name), self.call(Method::DELETE, &doomed)))
            .collect();
        let next = self.next.clone();
        let deletions = stream::iter(calls).map(move |(name, call)| {
            let next = next.clone();
            async move {
                let Some(call) = call else { return (name, StatusCode::PRECONDITION_FAILED) };
                (name, next.answer(call).await.status())
            }
        });
        let mut deletions =
            Box::pin(deletions.buffered(self.slo.config.delete_concurrency as usize));
        while let Some((name, status)) = deletions.next().await {
            match status {
                status if status.is_success() => self.deleted += 1,
                StatusCode::NOT_FOUND => self.not_found += 1,
                status => {
                    if status.is_server_error() {
                        self.worst = StatusCode::BAD_GATEWAY;
                    }
                    self.failed.push((name, status_line(status)));
                    if self.failed.len() >= FAILURES_MAX {
                        return;
                    }
                }
            }
        }
    }
}

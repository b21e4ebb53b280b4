//! Telling container servers what changed.
//!
//! The update lies in the same frame as the change, so it outlives everything that can happen here. It is sent
//! at once, and forgotten when every server that the proxy named has taken it; otherwise it stays and the
//! replicator, which asks for what is pending, sends it again.

use super::error::Refusal;
use super::{ObjectRequest, Server};
use crate::index::UpdateToken;
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode_str;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use types::{PolicyIndex, Timestamp};
use wire::pending_object::{PendingObjectUpdate, PendingObjectUpdates};
use wire::{
    BackendPath, Body, ObjectUpdate, ReportedAck, Request, Response, UpdateTargets, headers,
};

/// Most updates of one page.
const PAGE_MAX: u64 = 10_000;
/// Longest acknowledgement.
const ACK_BYTES_MAX: usize = 1 << 20;

/// Updates that a request is sending right now; the replicator leaves them alone.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<HashSet<(PolicyIndex, String, UpdateToken)>>);

struct Sending<'a> {
    all: &'a InFlight,
    this: (PolicyIndex, String, UpdateToken),
}

impl InFlight {
    fn begin(&self, policy: PolicyIndex, device: &str, token: UpdateToken) -> Sending<'_> {
        let this = (policy, device.to_owned(), token);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(this.clone());
        Sending { all: self, this }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.this);
    }
}

/// The container servers that the proxy wants told, if any.
pub(super) fn targets(from: &HeaderMap) -> Result<Option<UpdateTargets>, Refusal> {
    let targets = UpdateTargets::decode(headers::CONTAINER, from);
    targets.map_err(|error| Refusal::Bad(error.to_string()))
}

/// A row of an object of which nothing is known yet but its name and moment.
pub(super) fn row(
    path: &BackendPath,
    at: Timestamp,
    policy: PolicyIndex,
) -> Result<ObjectUpdate, Refusal> {
    let (Some(account), Some(container), Some(object)) =
        (path.account.clone(), path.container.clone(), path.object.clone())
    else {
        return Err(Refusal::NoObject);
    };
    Ok(ObjectUpdate {
        account,
        container,
        object,
        deleted: false,
        timestamp: at,
        content_type_timestamp: None,
        meta_timestamp: None,
        size: 0,
        content_type: String::new(),
        etag: String::new(),
        policy,
        delete_at: 0,
    })
}

/// What middleware wants listings to show instead of the object's own size, ETag or content type: what a PUT says, and
/// of that, for a POST, what the object keeps.
pub(super) fn overridden<'a>(
    update: &mut ObjectUpdate,
    metadata: impl Fn(&str) -> Option<&'a [u8]>,
) {
    for prefix in
        ["x-backend-container-update-override-", "x-object-sysmeta-container-update-override-"]
    {
        let text = |what: &str| {
            let value = metadata(&format!("{prefix}{what}"))?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        if let Some(etag) = text("etag") {
            update.etag = etag;
        }
        if let Some(size) = text("size").and_then(|size| size.parse().ok()) {
            update.size = size;
        }
        if let Some(content_type) = text("content-type") {
            update.content_type = content_type;
        }
    }
}

/// Sends an update now. Whatever comes of it, the change itself is done.
pub(super) async fn send(
    server: &Server,
    object: &ObjectRequest,
    targets: UpdateTargets,
    update: ObjectUpdate,
    token: UpdateToken,
) {
    let _sending = server.in_flight.begin(object.policy, &object.path.device, token);
    let calls = targets.targets.iter().map(|target| {
        let request = update.encode(&target.device, targets.partition, &object.trans_id);
        server.env.client.call(&target.endpoint, request, server.update_timeout)
    });
    let answers = join_all(calls).await;
    let taken = answers.iter().all(|answer| match answer {
        Ok(response) => response.status().is_success(),
        Err(error) => {
            tracing::debug!(error = daemon::telemetry::chain(error), "a listing update waits");
            false
        }
    });
    if !taken {
        metrics::counter!("apus_object_updates_deferred_total").increment(1);
        return;
    }
    object.engine.update_done(token);
}

/// `UPDATES /<device>`: see the module above.
pub(super) async fn serve(server: &Arc<Server>, request: Request) -> Result<Response, Refusal> {
    let device = percent_decode_str(request.uri().path().trim_start_matches('/'));
    let device = device.decode_utf8().map_err(|_| Refusal::Device)?.into_owned();
    let (policy, engines) = server.policy(request.headers())?;
    let engine = engines.engine(&device)?.clone();
    let query = wire::parse_query(request.uri().query());
    let query = query.map_err(|error| Refusal::Bad(error.to_string()))?;
    if query.iter().any(|(name, _)| name == "ack") {
        let body = axum::body::to_bytes(request.into_body(), ACK_BYTES_MAX).await;
        let body = body.map_err(|_| Refusal::Disconnected)?;
        let ack: ReportedAck = serde_json::from_slice(&body)
            .map_err(|error| Refusal::Bad(format!("the acknowledgement is malformed: {error}")))?;
        let tokens = ack.tokens.into_iter().map(UpdateToken).collect();
        engine.updates_done(tokens).await?;
        return Ok(daemon::empty(StatusCode::NO_CONTENT));
    }
    let number = |name: &'static str, default: u64| match query.iter().find(|(key, _)| key == name)
    {
        None => Ok(default),
        Some((_, text)) => text.parse().map_err(|_| Refusal::Bad(format!("{name} is no number"))),
    };
    let limit = number("limit", PAGE_MAX)?.min(PAGE_MAX) as usize;
    let mut after = UpdateToken(number("marker", 0)?);
    // What is being sent right now is left out, and what stands behind it takes its place.
    let mut updates = Vec::new();
    while updates.len() < limit {
        let wanted = limit - updates.len();
        let pending = engine.pending_updates(after, wanted).await?;
        let last = pending.len() < wanted;
        after = pending.last().map_or(after, |(token, _)| *token);
        let in_flight = server.in_flight.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = pending
            .iter()
            .filter(|(token, _)| !in_flight.contains(&(policy, device.clone(), *token)));
        updates.extend(waiting.map(|(token, update)| PendingObjectUpdate::new(token.0, update)));
        if last {
            break;
        }
    }
    let page = serde_json::to_vec(&PendingObjectUpdates { updates });
    let page = page.map_err(|error| Refusal::Bad(error.to_string()))?;
    let mut response = Response::new(Body::from(page));
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}

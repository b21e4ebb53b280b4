//! What this replicator says of itself: `/healthcheck`, and `/recon/updater/object` and `…/container` with the
//! keys of Swift's recon (Swift: common/middleware/recon.py, `get_updater_info`).

use crate::updater::{Kind, Pass};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use types::Timestamp;
use wire::{Body, Request, Response, Service};

/// The last sweep of every queue.
#[derive(Default)]
pub(crate) struct Recon(Mutex<BTreeMap<(Kind, String), Sweep>>);

struct Sweep {
    ended: Timestamp,
    seconds: f64,
    pass: Pass,
}

impl Recon {
    /// Notes that a whole queue has been gone through.
    pub(crate) fn swept(
        &self,
        kind: Kind,
        device: &str,
        ended: Timestamp,
        seconds: f64,
        pass: Pass,
    ) {
        let mut sweeps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sweeps.insert((kind, device.to_owned()), Sweep { ended, seconds, pass });
    }

    /// All queues of a kind together. `None` stands where nothing was swept yet.
    fn of(&self, kind: Kind) -> Value {
        let sweeps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sweeps: Vec<&Sweep> =
            sweeps.iter().filter(|((of, _), _)| *of == kind).map(|(_, sweep)| sweep).collect();
        let sum =
            |part: fn(&Pass) -> u64| sweeps.iter().map(|sweep| part(&sweep.pass)).sum::<u64>();
        let seconds = sweeps.iter().map(|sweep| sweep.seconds).reduce(f64::max);
        let last = sweeps.iter().map(|sweep| sweep.ended).min();
        let oldest = sweeps.iter().filter_map(|sweep| sweep.pass.oldest).min();
        let name = kind.name();
        json!({
            format!("{name}_updater_sweep"): seconds,
            format!("{name}_updater_last"): last.map(|at| at.seconds()),
            format!("{name}_updater_stats"): {
                "devices": sweeps.len(),
                "sent": sum(|pass| pass.sent),
                "failed": sum(|pass| pass.failed),
                "failures_oldest_timestamp": oldest.map(|at| at.normal()),
            },
        })
    }
}

/// Answers by what was noted.
pub(crate) fn service(recon: Arc<Recon>) -> Service {
    wire::service_fn(recon, |recon, request: Request| async move { answer(&recon, &request) })
}

fn answer(recon: &Recon, request: &Request) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return daemon::error_page(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are here.");
    }
    match request.uri().path() {
        "/healthcheck" => daemon::text(StatusCode::OK, "OK"),
        "/recon/updater/object" => json_response(&recon.of(Kind::Object)),
        "/recon/updater/container" => json_response(&recon.of(Kind::Container)),
        _ => daemon::error_page(StatusCode::NOT_FOUND, "There is nothing at this path."),
    }
}

fn json_response(value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

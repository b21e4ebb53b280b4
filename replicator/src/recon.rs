//! What this replicator says of itself: `/healthcheck`, and with the keys of Swift's recon (Swift:
//! common/middleware/recon.py) `/recon/updater/object` and `…/container`, `/recon/auditor/object`, `/recon/expirer/object`,
//! `/recon/quarantined`.
//!
//! The last counts objects that are damaged and not mended yet; damaged records that are kept although their objects are
//! whole again are told of by their device. Two keys are ours: `devices` of the auditor, with how far each has come, and
//! of what is in quarantine, with what keeps it from being mended.

use crate::auditor::Place;
use crate::device::ObjectDevice;
use crate::expirer;
use crate::updater::{Kind, Pass};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use types::{PolicyIndex, Timestamp};
use wire::{Body, Request, Response, Service};

/// What there is to tell.
#[derive(Default)]
pub(crate) struct Recon {
    sweeps: Mutex<BTreeMap<(Kind, String, PolicyIndex), Sweep>>,
    healings: Mutex<BTreeMap<(PolicyIndex, String), Healing>>,
    audits: Mutex<BTreeMap<String, Audit>>,
    expirations: Mutex<BTreeMap<String, Expiration>>,
}

/// How it goes with the damaged objects of a device.
#[derive(Default)]
pub(crate) struct Healing {
    /// Mended since the start.
    pub(crate) healed: u64,
    /// Not mended yet.
    pub(crate) unhealed: u64,
    /// When the first of those was found.
    pub(crate) oldest: Option<Timestamp>,
    /// What stood in the way last.
    pub(crate) error: Option<String>,
}

struct Audit {
    place: Place,
    error: Option<String>,
}

/// The last look at what of a device has expired.
struct Expiration {
    pass: expirer::Pass,
    seconds: f64,
    /// Deleted since the start.
    deleted: u64,
}

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
        (device, policy): (&str, PolicyIndex),
        ended: Timestamp,
        seconds: f64,
        pass: Pass,
    ) {
        let mut sweeps = self.sweeps.lock().unwrap_or_else(PoisonError::into_inner);
        sweeps.insert((kind, device.to_owned(), policy), Sweep { ended, seconds, pass });
    }

    /// Notes how it goes with what is damaged on a device.
    pub(crate) fn healed(&self, device: &ObjectDevice, note: impl FnOnce(&mut Healing)) {
        let mut healings = self.healings.lock().unwrap_or_else(PoisonError::into_inner);
        note(healings.entry((device.policy, device.label())).or_default());
    }

    /// Notes how far the audit of a device has come.
    pub(crate) fn audited(&self, device: &ObjectDevice, place: &Place, error: Option<String>) {
        let mut audits = self.audits.lock().unwrap_or_else(PoisonError::into_inner);
        audits.insert(device.label(), Audit { place: place.clone(), error });
    }

    /// Notes a look at what of a device has expired.
    pub(crate) fn expired(&self, device: &ObjectDevice, pass: expirer::Pass, seconds: f64) {
        let mut expirations = self.expirations.lock().unwrap_or_else(PoisonError::into_inner);
        let before = expirations.get(&device.label()).map_or(0, |before| before.deleted);
        let deleted = before + pass.deleted;
        expirations.insert(device.label(), Expiration { pass, seconds, deleted });
    }

    fn expirer(&self) -> Value {
        let expirations = self.expirations.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = expirations.values().map(|last| last.seconds).reduce(f64::max);
        let deleted: u64 = expirations.values().map(|last| last.pass.deleted).sum();
        let devices = expirations.iter().map(|(device, last)| {
            (device.clone(), json!({ "deleted": last.deleted, "left": last.pass.left }))
        });
        let devices: Map<String, Value> = devices.collect();
        json!({
            "object_expiration_pass": seconds,
            "expired_last_pass": deleted,
            "devices": devices,
        })
    }

    fn quarantined(&self) -> Value {
        let healings = self.healings.lock().unwrap_or_else(PoisonError::into_inner);
        let objects: u64 = healings.values().map(|healing| healing.unhealed).sum();
        let mut policies: BTreeMap<PolicyIndex, u64> = BTreeMap::new();
        for ((policy, _), healing) in healings.iter() {
            *policies.entry(*policy).or_default() += healing.unhealed;
        }
        let policies = policies.iter();
        let policies =
            policies.map(|(policy, count)| (policy.to_string(), json!({ "objects": count })));
        let policies: Map<String, Value> = policies.collect();
        let devices = healings.iter().map(|((_, device), healing)| {
            let told = json!({
                "healed": healing.healed,
                "unhealed": healing.unhealed,
                "oldest_timestamp": healing.oldest.map(|at| at.normal()),
                "last_error": healing.error,
            });
            (device.clone(), told)
        });
        let devices: Map<String, Value> = devices.collect();
        json!({
            "accounts": 0,
            "containers": 0,
            "objects": objects,
            "policies": policies,
            "devices": devices,
        })
    }

    /// All devices together, of the pass that is going on or else of the last.
    fn auditor(&self) -> Value {
        let audits = self.audits.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut objects, mut bytes, mut damaged, mut unreadable, mut worked) = (0, 0, 0, 0, 0.0);
        let mut began: Option<u64> = None;
        let mut devices = Map::new();
        for (device, Audit { place, error }) in audits.iter() {
            if let Some(pass) = place.current.as_ref().or(place.last.as_ref()) {
                objects += pass.objects;
                bytes += pass.bytes;
                damaged += pass.damaged - pass.unreadable.min(pass.damaged);
                unreadable += pass.unreadable;
                worked += pass.worked_ms as f64 / 1000.0;
                began = Some(began.map_or(pass.began, |began| began.min(pass.began)));
            }
            let share = place.current.as_ref().map(|pass| pass.share_done());
            devices.insert(
                device.clone(),
                json!({
                    "passes_completed": place.passes,
                    "share_done": share,
                    "current": place.current,
                    "last": place.last,
                    "last_error": error,
                }),
            );
        }
        json!({
            "object_auditor_stats_ALL": {
                "audit_time": worked,
                "bytes_processed": bytes,
                "errors": unreadable,
                "passes": objects,
                "quarantined": damaged,
                "start_time": began,
            },
            "object_auditor_stats_ZBF": {},
            "devices": devices,
        })
    }

    /// All queues of a kind together. `None` stands where nothing was swept yet.
    fn of(&self, kind: Kind) -> Value {
        let sweeps = self.sweeps.lock().unwrap_or_else(PoisonError::into_inner);
        let sweeps: Vec<&Sweep> =
            sweeps.iter().filter(|((of, ..), _)| *of == kind).map(|(_, sweep)| sweep).collect();
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
        "/recon/auditor/object" => json_response(&recon.auditor()),
        "/recon/expirer/object" => json_response(&recon.expirer()),
        "/recon/quarantined" => json_response(&recon.quarantined()),
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

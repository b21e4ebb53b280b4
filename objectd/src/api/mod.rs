//! Swift's backend API for objects (Swift: obj/server.py), a thin face on the engine.
//!
//! `/<device>/<partition>/<account>/<container>/<object>` takes PUT, GET, HEAD, POST and DELETE.
//! `REPLICATE /<device>/<partition>` tells the hash of each suffix.
//!
//! `UPDATES /<device>` is our own verb for the replicator: `?limit=N&marker=T` lists listing updates behind token T
//! that no container server has taken yet, `?ack` with a [`wire::ReportedAck`] forgets those that were taken.
//! What else is asked of a device as a whole is told in [`wire::device`].

mod delete;
mod device;
mod document;
mod error;
mod get;
#[cfg(test)]
mod manifest_tests;
mod object;
mod post;
mod put;
mod replicate;
#[cfg(test)]
mod tests;
mod updates;

use crate::engine::Engine;
use daemon::Env;
use error::Refusal;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use lanes::Md5Lanes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use types::{HashPaths, Limits, ObjectHash, PartPower, PolicyIndex, Timestamp};
use updates::InFlight;
use wire::{BackendPath, Request, Response, headers};

/// What all requests share.
pub(crate) struct Server {
    pub(crate) policies: BTreeMap<PolicyIndex, PolicyEngines>,
    pub(crate) env: Env,
    pub(crate) hash_paths: HashPaths,
    pub(crate) limits: Limits,
    pub(crate) client_timeout: Duration,
    pub(crate) update_timeout: Duration,
    pub(crate) in_flight: InFlight,
    /// In MiB.
    pub(crate) body_memory: Semaphore,
    /// Of bodies while they arrive. Reading computes none.
    pub(crate) md5: Md5Lanes,
}

/// The engines of one storage policy.
#[derive(Default)]
pub(crate) struct PolicyEngines {
    /// Of its ring, where that is known.
    pub(crate) part_power: Option<PartPower>,
    /// By device.
    pub(crate) devices: HashMap<String, Engine>,
}

impl Server {
    /// What a request means by the policy in its headers, and by a device.
    fn policy(&self, headers: &HeaderMap) -> Result<(PolicyIndex, &PolicyEngines), Refusal> {
        let policy = match headers.get(headers::X_BACKEND_STORAGE_POLICY_INDEX) {
            None => PolicyIndex(0),
            Some(value) => {
                let index = value.to_str().ok().and_then(|text| text.parse().ok());
                index.ok_or(Refusal::Policy)?
            }
        };
        let engines = self.policies.get(&policy).ok_or(Refusal::Policy)?;
        Ok((policy, engines))
    }
}

impl PolicyEngines {
    fn engine(&self, device: &str) -> Result<&Engine, Refusal> {
        self.devices.get(device).ok_or(Refusal::Device)
    }
}

/// An object request whose path and common headers have been read.
struct ObjectRequest {
    engine: Engine,
    path: BackendPath,
    hash: ObjectHash,
    trans_id: Arc<str>,
    policy: PolicyIndex,
}

/// Answers one request.
pub(crate) async fn answer(server: Arc<Server>, request: Request) -> Response {
    if request.uri().path() == "/healthcheck" {
        return daemon::text(StatusCode::OK, "OK");
    }
    let head = *request.method() == Method::HEAD;
    let response = dispatch(&server, request).await.unwrap_or_else(Refusal::response);
    if head { without_body(response) } else { response }
}

async fn dispatch(server: &Arc<Server>, request: Request) -> Result<Response, Refusal> {
    match request.method().as_str() {
        wire::UPDATES => return Box::pin(updates::serve(server, request)).await,
        replicate::REPLICATE => return Box::pin(replicate::replicate(server, request)).await,
        method if device::METHODS.contains(&method) => {
            return Box::pin(device::serve(server, request)).await;
        }
        _ => {}
    }
    let known = [Method::PUT, Method::GET, Method::HEAD, Method::POST, Method::DELETE];
    if !known.contains(request.method()) {
        return Err(Refusal::Method(request.method().to_string()));
    }
    let object = ObjectRequest::read(server, &request)?;
    // Boxed, or every request would carry around, and have copied, the room that the longest of them needs.
    match *request.method() {
        Method::PUT => Box::pin(put::put(server, object, request)).await,
        Method::POST => Box::pin(post::post(server, object, request)).await,
        Method::DELETE => Box::pin(delete::delete(server, object, request)).await,
        _ => Box::pin(get::get(server, object, request)).await,
    }
}

impl ObjectRequest {
    fn read(server: &Server, request: &Request) -> Result<Self, Refusal> {
        let path = BackendPath::decode(request.uri().path())?;
        let (Some(account), Some(container), Some(object)) =
            (&path.account, &path.container, &path.object)
        else {
            return Err(Refusal::NoObject);
        };
        let hash = server.hash_paths.object(account.as_str(), container.as_str(), object.as_str());
        let (policy, engines) = server.policy(request.headers())?;
        let engine = engines.engine(&path.device)?.clone();
        let trans_id = daemon::TransId::of(request).0;
        Ok(ObjectRequest { engine, hash, policy, trans_id, path })
    }

    /// The object's name as its metadata keeps it.
    fn name(&self) -> String {
        let part = |name: Option<&str>| name.unwrap_or_default().to_owned();
        format!(
            "/{}/{}/{}",
            part(self.path.account.as_ref().map(|n| n.as_str())),
            part(self.path.container.as_ref().map(|n| n.as_str())),
            part(self.path.object.as_ref().map(|n| n.as_str()))
        )
    }
}

/// The moment of a change.
fn timestamp(request: &Request) -> Result<Timestamp, Refusal> {
    let value = request.headers().get(headers::X_TIMESTAMP);
    let missing = || Refusal::Bad("Missing or malformed X-Timestamp header".to_owned());
    value.and_then(parsed).ok_or_else(missing)
}

/// The moment at which a read is judged: whoever asks may say it, so that all replicas judge alike.
fn moment(from: &HeaderMap, env: &Env) -> Result<Timestamp, Refusal> {
    let Some(value) = from.get(headers::X_TIMESTAMP) else { return Ok(env.clock.now()) };
    parsed(value).ok_or_else(|| {
        let was = String::from_utf8_lossy(value.as_bytes());
        Refusal::Bad(format!("X-Timestamp should be a UNIX timestamp float value; was '{was}'"))
    })
}

fn parsed(value: &HeaderValue) -> Option<Timestamp> {
    Timestamp::parse(value.to_str().ok()?).ok()
}

/// A HEAD's answer says how long the body would be, and has none.
fn without_body(response: Response) -> Response {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, wire::Body::empty())
}

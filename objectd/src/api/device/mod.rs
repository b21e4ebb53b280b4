//! What is asked of a device as a whole; [`wire::device`] tells the words.

mod expired;
mod fingerprints;
mod merge;
mod partitions;
mod quarantined;
mod records;
#[cfg(test)]
mod tests;
mod verify;

use super::Server;
use super::error::Refusal;
use crate::engine::Engine;
use crate::io::Class;
use http::{HeaderValue, header};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use std::sync::Arc;
use types::{HashRange, ObjectHash, PartPower};
use wire::device::{
    EXPIRED, FINGERPRINTS, Hashes, MERGE, PARTITIONS, QUARANTINED, RECORDS, VERIFY,
};
use wire::{Body, Request, Response};

pub(super) const METHODS: [&str; 7] =
    [EXPIRED, FINGERPRINTS, MERGE, PARTITIONS, QUARANTINED, RECORDS, VERIFY];

/// Most items of one answer.
const PAGE_MAX: u64 = 10_000;
/// Most objects that one question names.
const HASHES_MAX: usize = 10_000;
/// Longest body that names objects.
const HASHES_BYTES_MAX: usize = 1 << 20;

/// A question about a device.
struct DeviceRequest {
    server: Arc<Server>,
    engine: Engine,
    part_power: Option<PartPower>,
    query: Vec<(String, String)>,
}

/// Answers one.
pub(super) async fn serve(server: &Arc<Server>, request: Request) -> Result<Response, Refusal> {
    let method = request.method().clone();
    let (parts, body) = request.into_parts();
    let class = match method.as_str() {
        EXPIRED | VERIFY | FINGERPRINTS | PARTITIONS | QUARANTINED => Class::Audit,
        _ => Class::Replication,
    };
    let device = DeviceRequest::read(server, &parts, class)?;
    match method.as_str() {
        EXPIRED => expired::expired(device).await,
        FINGERPRINTS => fingerprints::fingerprints(device).await,
        MERGE => merge::merge(device, body).await,
        PARTITIONS => partitions::partitions(device).await,
        QUARANTINED => quarantined::quarantined(device, body).await,
        RECORDS => records::records(device, body).await,
        VERIFY => verify::verify(device).await,
        other => Err(Refusal::Method(other.to_owned())),
    }
}

impl DeviceRequest {
    fn read(
        server: &Arc<Server>,
        request: &http::request::Parts,
        class: Class,
    ) -> Result<Self, Refusal> {
        let uri = &request.uri;
        let name = percent_decode_str(uri.path().trim_start_matches('/'));
        let name = name.decode_utf8().map_err(|_| Refusal::Device)?;
        let (_, engines) = server.policy(&request.headers)?;
        let engine = engines.engine(name.as_ref())?.share(class);
        let query = wire::parse_query(uri.query());
        let query = query.map_err(|error| Refusal::Bad(error.to_string()))?;
        let part_power = engines.part_power;
        Ok(DeviceRequest { server: Arc::clone(server), engine, part_power, query })
    }

    fn asks(&self, name: &str) -> bool {
        self.query.iter().any(|(key, _)| key == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let number = self.text(name).map(str::parse).transpose();
        number.map_err(|_| Refusal::Bad(format!("{name} is no number")))
    }

    /// How many things are wanted, at least one.
    fn limit(&self, name: &str, default: u64, max: u64) -> Result<u64, Refusal> {
        Ok(self.number(name)?.unwrap_or(default).clamp(1, max))
    }

    /// The range that is asked about.
    fn range(&self) -> Result<HashRange, Refusal> {
        let bound = |name| self.text(name).unwrap_or_default();
        let range = HashRange::between(bound("from"), bound("until"));
        range.map_err(|error| Refusal::Bad(error.to_string()))
    }
}

/// The objects that a body names, in order and each once; `None` when there is no body.
async fn named_hashes(server: &Server, body: Body) -> Result<Option<Vec<ObjectHash>>, Refusal> {
    let read = axum::body::to_bytes(body, HASHES_BYTES_MAX);
    let body =
        tokio::time::timeout(server.client_timeout, read).await.map_err(|_| Refusal::Slow)?;
    let body = body.map_err(|_| Refusal::Disconnected)?;
    if body.is_empty() {
        return Ok(None);
    }
    let named: Hashes = serde_json::from_slice(&body)
        .map_err(|error| Refusal::Bad(format!("the hashes are malformed: {error}")))?;
    if named.hashes.len() > HASHES_MAX {
        return Err(Refusal::Bad(format!("more than {HASHES_MAX} hashes are named")));
    }
    let mut hashes = Vec::with_capacity(named.hashes.len());
    for text in named.hashes {
        let hash = text.parse().map_err(|_| Refusal::Bad(format!("{text:?} is no hash")))?;
        hashes.push(hash);
    }
    hashes.sort();
    hashes.dedup();
    Ok(Some(hashes))
}

fn json(value: &impl Serialize) -> Result<Response, Refusal> {
    let body = serde_json::to_vec(value).map_err(|error| Refusal::Bad(error.to_string()))?;
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

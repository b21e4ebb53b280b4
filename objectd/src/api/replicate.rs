//! REPLICATE: the hash of each suffix of a partition, by which Swift's replicators compare (Swift: obj/server.py).
//!
//! They are made on demand from the index, which holds objects in the order of their hashes; there is no cache that
//! could be stale. So a request that names suffixes, by which Swift has them hashed again, has nothing to do.

use super::Server;
use super::error::Refusal;
use crate::suffix::SuffixDigests;
use http::{HeaderValue, header};
use std::ops::ControlFlow;
use std::sync::Arc;
use types::{HashRange, Timestamp};
use wire::{BackendPath, Body, Request, Response, SuffixHashes};

/// The method.
pub(super) const REPLICATE: &str = "REPLICATE";

pub(super) async fn replicate(server: &Arc<Server>, request: Request) -> Result<Response, Refusal> {
    // Behind the partition, where others have an account, stand suffixes.
    let path = BackendPath::decode(request.uri().path())?;
    let (_, engines) = server.policy(request.headers())?;
    let engine = engines.engine(&path.device)?;
    if path.account.is_some() {
        return Ok(pickled(SuffixHashes::encode_none()));
    }
    let power = engines.part_power.ok_or(Refusal::PartPower)?;
    let Some(range) = HashRange::of_partition(power, path.partition) else {
        return Ok(pickled(SuffixHashes::default().encode()));
    };
    let reclaim = Timestamp::from_seconds(engine.reclaim_age());
    let now = server.env.clock.now();
    let reclaim_before = Timestamp::from_raw(now.raw.saturating_sub(reclaim.raw));
    let digests = SuffixDigests::new(engine.rule(), reclaim_before);
    let gathered = engine.scan(range, digests, |digests, hash, state| {
        digests.add(&hash, &state);
        ControlFlow::Continue(())
    });
    Ok(pickled(gathered.await?.finish().encode()))
}

fn pickled(bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let binary = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, binary);
    response
}

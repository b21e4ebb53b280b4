//! QUARANTINED: damaged records that are kept, so that somebody may look at them, until they are given up.

use super::{DeviceRequest, json, named_hashes};
use crate::api::error::Refusal;
use crate::index::Quarantined;
use types::{Timestamp, hex_decode, hex_encode};
use wire::device::{Quarantine, QuarantinedRecord, Released};
use wire::{Body, Response};

/// Most records of one answer: to tell its name, each is read.
const PAGE_MAX: u64 = 1000;
/// Records that are given up at a time.
const RELEASE_AT_ONCE: usize = 256;

pub(super) async fn quarantined(device: DeviceRequest, body: Body) -> Result<Response, Refusal> {
    if device.asks("release") {
        return release(device, body).await;
    }
    let from = hex_decode(device.text("marker").unwrap_or_default());
    let from = from.map_err(|_| Refusal::Bad("marker is not hexadecimal".to_owned()))?;
    let limit = device.limit("limit", PAGE_MAX, PAGE_MAX)? as usize;
    let mut found = device.engine.quarantined(&from, limit + 1).await?;
    let next = (found.len() > limit).then(|| found.pop()).flatten();
    let mut page = Quarantine {
        records: Vec::with_capacity(found.len()),
        marker: next.map(|next| hex_encode(&next.key())),
    };
    for record in &found {
        let metadata = device.engine.quarantined_metadata(record).await;
        let name = metadata.and_then(|metadata| {
            metadata.get("name").map(|name| String::from_utf8_lossy(name).into_owned())
        });
        page.records.push(described(record, name));
    }
    json(&page)
}

fn described(record: &Quarantined, name: Option<String>) -> QuarantinedRecord {
    let version = &record.version;
    QuarantinedRecord {
        hash: record.hash.to_string(),
        name,
        kind: version.kind.name().to_owned(),
        timestamp: version.timestamp.internal(),
        fragment: version.fragment.map(|fragment| fragment.index),
        data_len: version.data_len,
        found: Timestamp::from_micros(record.found_micros).internal(),
        segment: version.location.segment,
        offset: version.location.offset,
    }
}

async fn release(device: DeviceRequest, body: Body) -> Result<Response, Refusal> {
    let DeviceRequest { server, engine, .. } = device;
    let named = named_hashes(&server, body).await?;
    let named = named.ok_or_else(|| Refusal::Bad("no hashes are named".to_owned()))?;
    let mut done = Released::default();
    for hash in named {
        loop {
            let mut kept = engine.quarantined(&hash.0, RELEASE_AT_ONCE).await?;
            kept.retain(|record| record.hash == hash);
            let count = kept.len();
            if count > 0 {
                engine.release(kept).await?;
                done.released += count as u64;
            }
            if count < RELEASE_AT_ONCE {
                break;
            }
        }
    }
    json(&done)
}

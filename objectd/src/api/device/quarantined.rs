//! QUARANTINED: damaged records that are kept, so that somebody may mend the object and look at them, until they are
//! given up.

use super::{DeviceRequest, json, named_hashes};
use crate::api::error::Refusal;
use crate::engine::{Engine, EngineError};
use crate::format::RecordKind;
use crate::index::Quarantined;
use crate::state::is_news;
use std::time::Duration;
use types::{ObjectHash, Timestamp, hex_decode, hex_encode};
use wire::device::{Quarantine, QuarantinedRecord, Released};
use wire::{Body, Response};

/// Most records of one answer: to tell its name, each is read.
const PAGE_MAX: u64 = 1000;
/// Records that are looked at to make one answer, which then says where to go on.
const LOOKED_AT_MAX: usize = 10_000;
/// Records that are read or given up at a time.
const AT_ONCE: usize = 256;
/// Longest wait for the next damaged record.
const WAIT_MAX_MS: u64 = 60_000;

pub(super) async fn quarantined(device: DeviceRequest, body: Body) -> Result<Response, Refusal> {
    match (device.asks("release"), device.asks("healed")) {
        (true, true) => release_healed(device).await,
        (true, false) => release(device, body).await,
        (false, _) => list(device).await,
    }
}

async fn list(device: DeviceRequest) -> Result<Response, Refusal> {
    let from = hex_decode(device.text("marker").unwrap_or_default());
    let from = from.map_err(|_| Refusal::Bad("marker is not hexadecimal".to_owned()))?;
    let limit = device.limit("limit", PAGE_MAX, PAGE_MAX)? as usize;
    let unhealed = device.asks("unhealed");
    if let Some(seen) = device.number("seen")? {
        let wait = device.number("wait")?.unwrap_or(0).min(WAIT_MAX_MS);
        tokio::select! {
            () = device.engine.quarantine_turned(seen) => {}
            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            () = device.server.env.shutdown.wait() => {}
        }
    }
    // Of before the list: what comes to it meanwhile makes the next question be answered at once.
    let turn = device.engine.quarantine_turn();
    let mut page = Quarantine { turn, ..Quarantine::default() };
    let mut walk = Walk::from(from);
    while let Some(record) = walk.next(&device.engine).await? {
        if page.records.len() == limit || walk.looked_at > LOOKED_AT_MAX {
            page.marker = Some(hex_encode(&record.key()));
            break;
        }
        let healed = is_healed(&device, &record).await?;
        if unhealed && healed {
            continue;
        }
        let metadata = device.engine.quarantined_metadata(&record).await;
        let name = metadata.and_then(|metadata| {
            metadata.get("name").map(|name| String::from_utf8_lossy(name).into_owned())
        });
        page.records.push(described(&record, name, healed));
    }
    json(&page)
}

/// Damaged records one after another.
struct Walk {
    /// Where to go on; `None` at the end.
    from: Option<Vec<u8>>,
    read: std::vec::IntoIter<Quarantined>,
    looked_at: usize,
}

impl Walk {
    fn from(key: Vec<u8>) -> Self {
        Walk { from: Some(key), read: Vec::new().into_iter(), looked_at: 0 }
    }

    async fn next(&mut self, engine: &Engine) -> Result<Option<Quarantined>, EngineError> {
        if self.read.len() == 0
            && let Some(from) = self.from.take()
        {
            let read = engine.quarantined(&from, AT_ONCE).await?;
            // The next key is this one and a byte of nothing behind it.
            let last = read.last().filter(|_| read.len() == AT_ONCE);
            self.from = last.map(|last| [last.key().as_slice(), &[0]].concat());
            self.read = read.into_iter();
        }
        self.looked_at += 1;
        Ok(self.read.next())
    }
}

/// Whether nothing of an object is missing here because of a damaged record.
async fn is_healed(device: &DeviceRequest, record: &Quarantined) -> Result<bool, EngineError> {
    let engine = &device.engine;
    let old = || {
        let now = device.server.env.clock.now().seconds();
        record.version.timestamp.seconds().saturating_add(engine.reclaim_age()) < now
    };
    match record.version.kind {
        // It is about this device alone, and has done what it had to do.
        RecordKind::Purge => Ok(true),
        // Everybody forgets a deletion that is so old.
        RecordKind::Tombstone if old() => Ok(true),
        _ => {
            let state = engine.state(record.hash).await?;
            Ok(!is_news(&state, &record.version, engine.rule()))
        }
    }
}

fn described(record: &Quarantined, name: Option<String>, healed: bool) -> QuarantinedRecord {
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
        healed,
    }
}

async fn release(device: DeviceRequest, body: Body) -> Result<Response, Refusal> {
    let DeviceRequest { server, engine, .. } = device;
    let named = named_hashes(&server, body).await?;
    let named = named.ok_or_else(|| Refusal::Bad("no hashes are named".to_owned()))?;
    let mut done = Released::default();
    for hash in named {
        loop {
            let mut kept = engine.quarantined(&hash.0, AT_ONCE).await?;
            kept.retain(|record| record.hash == hash);
            let count = give_up(&engine, kept, &mut done).await?;
            if count < AT_ONCE {
                break;
            }
        }
    }
    json(&done)
}

/// Whoever asks does not name the records: between the question what is healed and this one, the healed copy of an
/// object may itself have been found damaged.
async fn release_healed(device: DeviceRequest) -> Result<Response, Refusal> {
    let before = device.number("found_before")?;
    let before = before.ok_or_else(|| Refusal::Bad("found_before is missing".to_owned()))?;
    let before_micros = before.saturating_mul(1_000_000);
    let mut done = Released::default();
    let mut walk = Walk::from(ObjectHash([0; 16]).0.to_vec());
    let mut healed = Vec::new();
    while let Some(record) = walk.next(&device.engine).await? {
        if record.found_micros < before_micros && is_healed(&device, &record).await? {
            healed.push(record);
        }
        if healed.len() == AT_ONCE {
            give_up(&device.engine, std::mem::take(&mut healed), &mut done).await?;
        }
    }
    give_up(&device.engine, healed, &mut done).await?;
    json(&done)
}

async fn give_up(
    engine: &Engine,
    records: Vec<Quarantined>,
    done: &mut Released,
) -> Result<usize, EngineError> {
    let count = records.len();
    if count > 0 {
        engine.release(records).await?;
        done.released += count as u64;
    }
    Ok(count)
}

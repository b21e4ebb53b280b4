//! VERIFY: reads all there is of a range, and checks every byte.

use super::{DeviceRequest, PAGE_MAX, json};
use crate::api::error::Refusal;
use crate::engine::{Engine, EngineError};
use crate::state::Version;
use types::ObjectHash;
use wire::Response;
use wire::device::{DamagedRecord, Verified};

/// Objects looked up at a time.
const LOOK_UP: usize = 64;
/// Bytes of data after which an answer ends, unless the question says otherwise.
const BYTES: u64 = 64 << 20;
/// The most that a question may say.
const BYTES_MAX: u64 = 16 << 30;

pub(super) async fn verify(device: DeviceRequest) -> Result<Response, Refusal> {
    let engine = &device.engine;
    let limit = device.limit("limit", PAGE_MAX, PAGE_MAX)?;
    let bytes_max = device.limit("bytes", BYTES, BYTES_MAX)?;
    let mut done = Verified::default();
    let mut left = Some(device.range()?);
    'all: while let Some(range) = left {
        let states = engine.states(range, LOOK_UP).await?;
        for (hash, state) in &states {
            if done.objects >= limit || done.bytes >= bytes_max {
                done.marker = Some(hash.to_string());
                break 'all;
            }
            for version in state.versions() {
                verify_record(engine, *hash, version, &mut done).await?;
            }
            done.objects += 1;
        }
        let last = states.last().filter(|_| states.len() == LOOK_UP);
        left = last.and_then(|(last, _)| range.behind(last));
    }
    metrics::counter!("apus_object_verified_bytes_total").increment(done.bytes);
    settle(engine, &mut done).await?;
    json(&done)
}

async fn verify_record(
    engine: &Engine,
    hash: ObjectHash,
    version: &Version,
    done: &mut Verified,
) -> Result<(), EngineError> {
    let why = match read(engine, hash, version, &mut done.bytes).await {
        Ok(()) => {
            done.records += 1;
            return Ok(());
        }
        // Something else is in its place now, and is checked another time.
        Err(EngineError::Changed) => return Ok(()),
        Err(error @ (EngineError::Damaged(_) | EngineError::Read(_))) => {
            daemon::telemetry::chain(&error).to_string()
        }
        Err(error) => return Err(error),
    };
    done.records += 1;
    done.damaged.push(DamagedRecord {
        hash: hash.to_string(),
        kind: version.kind.name().to_owned(),
        timestamp: version.timestamp.internal(),
        fragment: version.fragment.map(|fragment| fragment.index),
        why,
        quarantined: false,
    });
    Ok(())
}

async fn read(
    engine: &Engine,
    hash: ObjectHash,
    version: &Version,
    bytes: &mut u64,
) -> Result<(), EngineError> {
    let record = engine.open_record(hash, version).await?;
    let mut data = engine.data(&record, 0..record.record.head.data_len);
    while let Some(piece) = data.next().await {
        *bytes += piece?.len() as u64;
    }
    Ok(())
}

/// What was found damaged is put into quarantine by another thread: looks what came of it, so that the answer can
/// tell.
async fn settle(engine: &Engine, done: &mut Verified) -> Result<(), EngineError> {
    if done.damaged.is_empty() {
        return Ok(());
    }
    // Things are done in the order in which they are asked for.
    engine.updates_done(Vec::new()).await?;
    for damaged in &mut done.damaged {
        let Ok(hash) = damaged.hash.parse::<ObjectHash>() else { continue };
        let kept = engine.quarantined(&hash.0, 256).await?;
        damaged.quarantined = kept.iter().any(|record| {
            let version = &record.version;
            record.hash == hash
                && version.kind.name() == damaged.kind
                && version.timestamp.internal() == damaged.timestamp
                && version.fragment.map(|fragment| fragment.index) == damaged.fragment
        });
    }
    Ok(())
}

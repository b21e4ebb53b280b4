//! VERIFY: reads all there is of a range, and checks every byte.
//!
//! Several objects are read at a time, and an answer ends between two. What was begun is finished, so one answer may take
//! as long as the longest object; until it is there, blanks are sent.

use super::{DeviceRequest, PAGE_MAX, json};
use crate::api::Server;
use crate::api::error::Refusal;
use crate::engine::{Engine, EngineError};
use crate::format::RecordKind;
use crate::state::{ObjectState, Rule, Version};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use http::{HeaderValue, header};
use lanes::Stopped;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use types::{HashRange, ObjectHash, hex_encode};
use wire::device::{DamagedRecord, Verified};
use wire::{Body, Response};

/// Objects looked up at a time.
const LOOK_UP: usize = 256;
/// Objects read at a time. Each may take a window of bulk data.
const AT_ONCE: usize = 8;
/// Bytes of data after which an answer ends, unless the question says otherwise.
const BYTES: u64 = 64 << 20;
/// The most that a question may say.
const BYTES_MAX: u64 = 16 << 30;
/// Milliseconds after which an answer ends, unless the question says otherwise, and the most that it may say.
const MS: u64 = 10_000;
const MS_MAX: u64 = 600_000;
/// So long whoever asked hears nothing.
const BLANK_EVERY: Duration = Duration::from_secs(1);
/// Hexadecimal digits of an MD5.
const MD5_DIGITS: usize = 32;

pub(super) async fn verify(device: DeviceRequest) -> Result<Response, Refusal> {
    let ms = device.limit("ms", MS, MS_MAX)?;
    let bounds = Bounds {
        objects: device.limit("limit", PAGE_MAX, PAGE_MAX)?,
        bytes: device.limit("bytes", BYTES, BYTES_MAX)?,
        until: Instant::now() + Duration::from_millis(ms),
    };
    let check = Check {
        md5: device.asks("md5"),
        unreadable: device.asks("unreadable"),
        engine: device.engine.clone(),
        server: Arc::clone(&device.server),
    };
    let range = device.range()?;
    let mut work = async move { check.range(range, bounds).await }.boxed();
    match tokio::time::timeout(BLANK_EVERY, &mut work).await {
        Ok(done) => json(&done?),
        Err(_) => Ok(later(work)),
    }
}

/// An answer that has begun before its content is known.
fn later(work: BoxFuture<'static, Result<Verified, EngineError>>) -> Response {
    let pieces = stream::unfold(Some(work), |work| async {
        let mut work = work?;
        let piece = match tokio::time::timeout(BLANK_EVERY, &mut work).await {
            Err(_) => return Some((Ok(Bytes::from_static(b" ")), Some(work))),
            Ok(Ok(done)) => serde_json::to_vec(&done).map(Bytes::from).map_err(Broken::Json),
            Ok(Err(error)) => Err(Broken::Engine(error)),
        };
        if let Err(error) = &piece {
            let error = daemon::telemetry::chain(error);
            tracing::warn!(error, "an answer to VERIFY broke off");
        }
        Some((piece, None))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Why an answer breaks off that has begun.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the engine did not do it")]
    Engine(#[source] EngineError),
    #[error("the answer cannot be written")]
    Json(#[source] serde_json::Error),
}

/// Where an answer ends.
struct Bounds {
    objects: u64,
    bytes: u64,
    until: Instant,
}

/// What is checked, and how.
struct Check {
    server: Arc<Server>,
    engine: Engine,
    /// Whether MD5s are computed.
    md5: bool,
    /// Whether what the disk fails to read is damaged.
    unreadable: bool,
}

/// What one object came to.
#[derive(Default)]
struct Checked {
    records: u64,
    bytes: u64,
    damaged: Vec<DamagedRecord>,
}

/// What is wrong with a record.
enum Wrong {
    Engine(EngineError),
    Md5,
}

impl<E: Into<EngineError>> From<E> for Wrong {
    fn from(error: E) -> Self {
        Wrong::Engine(error.into())
    }
}

impl Check {
    async fn range(&self, range: HashRange, bounds: Bounds) -> Result<Verified, EngineError> {
        let mut done = Verified::default();
        // Of the data of objects that were begun.
        let mut planned = 0;
        let mut left = Some(range);
        while let Some(range) = left {
            let states = self.engine.states(range, LOOK_UP).await?;
            let mut waiting = states.iter();
            let mut running = FuturesUnordered::new();
            loop {
                while running.len() < AT_ONCE {
                    let begun = done.objects + running.len() as u64;
                    let late = begun > 0 && Instant::now() >= bounds.until;
                    if late || begun >= bounds.objects || planned >= bounds.bytes {
                        break;
                    }
                    let Some((hash, state)) = waiting.next() else { break };
                    let lengths = state.versions().iter().map(|version| version.data_len);
                    planned += lengths.sum::<u64>();
                    running.push(self.object(*hash, state));
                }
                let Some(checked) = running.next().await else { break };
                let Checked { records, bytes, damaged } = checked?;
                done.objects += 1;
                done.records += records;
                done.bytes += bytes;
                done.damaged.extend(damaged);
            }
            if let Some((hash, _)) = waiting.next() {
                done.marker = Some(hash.to_string());
                break;
            }
            let last = states.last().filter(|_| states.len() == LOOK_UP);
            left = last.and_then(|(last, _)| range.behind(last));
        }
        metrics::counter!("apus_object_verified_bytes_total").increment(done.bytes);
        settle(&self.engine, &mut done).await?;
        Ok(done)
    }

    async fn object(&self, hash: ObjectHash, state: &ObjectState) -> Result<Checked, EngineError> {
        let mut checked = Checked::default();
        for version in state.versions() {
            let why = match self.record(hash, version, &mut checked.bytes).await {
                Ok(()) => {
                    checked.records += 1;
                    continue;
                }
                // Something else is in its place now, and is checked another time.
                Err(Wrong::Engine(EngineError::Changed)) => continue,
                Err(Wrong::Engine(error)) => {
                    let condemned = match &error {
                        EngineError::Damaged(_) => true,
                        EngineError::Read(_) => self.unreadable,
                        _ => return Err(error),
                    };
                    // It may be known already, and is then condemned in vain.
                    if condemned {
                        self.engine.condemn(hash, version).await?;
                    }
                    daemon::telemetry::chain(&error).to_string()
                }
                Err(Wrong::Md5) => {
                    self.engine.condemn(hash, version).await?;
                    "the MD5 of its data is not its ETag".to_owned()
                }
            };
            checked.records += 1;
            checked.damaged.push(DamagedRecord {
                hash: hash.to_string(),
                kind: version.kind.name().to_owned(),
                timestamp: version.timestamp.internal(),
                fragment: version.fragment.map(|fragment| fragment.index),
                why,
                quarantined: false,
            });
        }
        Ok(checked)
    }

    async fn record(
        &self,
        hash: ObjectHash,
        version: &Version,
        bytes: &mut u64,
    ) -> Result<(), Wrong> {
        let record = self.engine.open_record(hash, version).await?;
        let etag = record.record.metadata.text("etag").to_ascii_lowercase();
        // The ETag of a fragment's object is not of the fragment.
        let whole = version.kind == RecordKind::Data && self.engine.rule() == Rule::Replicated;
        let wanted = self.md5 && whole && etag.len() == MD5_DIGITS;
        let mut md5 = wanted.then(|| self.server.md5.stream());
        let mut data = self.engine.data(&record, 0..record.record.head.data_len);
        let stopped = |Stopped| EngineError::Stopping;
        while let Some(piece) = data.next().await {
            let piece = piece?;
            *bytes += piece.len() as u64;
            if let Some(md5) = &mut md5 {
                md5.update(piece).await.map_err(stopped)?;
            }
        }
        let Some(md5) = md5 else { return Ok(()) };
        let found = md5.finish().await.map_err(stopped)?;
        if hex_encode(&found) == etag { Ok(()) } else { Err(Wrong::Md5) }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_long_hears_that_somebody_is_there() {
        let work = |done| {
            async {
                tokio::time::sleep(BLANK_EVERY * 7 / 2).await;
                done
            }
            .boxed()
        };
        let done = Verified { objects: 3, ..Verified::default() };
        let body = later(work(Ok(done.clone()))).into_body();
        let body = axum::body::to_bytes(body, 1000).await.expect("a body");
        assert!(body.starts_with(b"   {"), "{body:?}");
        assert_eq!(serde_json::from_slice::<Verified>(&body).expect("JSON"), done);
        let broken = later(work(Err(EngineError::Poisoned))).into_body();
        assert!(axum::body::to_bytes(broken, 1000).await.is_err());
    }
}

//! Looking for damage before anybody needs what is damaged: each object device is read through, every byte against its
//! checksum, at a set speed (Swift: obj/auditor.py).
//!
//! The device reads itself, a step at a time ([`wire::device::VERIFY`]), with the disk's share for audits, and puts what is
//! damaged into quarantine; the [healer](crate::healer) learns of it there. Here is decided how fast that goes and where it
//! goes on, which is kept over restarts. A pass goes through all hashes in their order. Every Nth pass compares the MD5s
//! of all data with their ETags too: what was damaged before it got its checksum shows in no other way.
//!
//! A record that the disk fails to read is tried again shortly after. If it fails again while most others can be read, it
//! counts as damaged: the same bytes would not come back, and a disk that does not answer at all fails at everything.

mod place;
#[cfg(test)]
mod tests;

pub(crate) use place::{AuditPass, Place};

use crate::config::Config;
use crate::device::{Asker, DeviceError, ObjectDevice};
use crate::recon::Recon;
use daemon::SharedClock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wire::Body;
use wire::device::{DamagedRecord, VERIFY, Verified};

/// So much of a second's work is asked for at a time.
const STEPS_PER_SECOND: u64 = 4;
/// How long a step may take, but for the object that it ends with.
const STEP_MS: u64 = 1000;
/// Most objects of a step: what the device gives in one answer.
const OBJECTS_MAX: u64 = 10_000;
/// How often the place is written down.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How often somebody looks whether it is time for the next pass.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After so long a record that could not be read is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Most records of a step that are tried again, or told of one by one.
const TOLD_MAX: usize = 100;

/// Audits one device.
pub(crate) struct Auditor {
    pub(crate) device: ObjectDevice,
    pub(crate) config: Config,
    pub(crate) asker: Asker,
    pub(crate) clock: SharedClock,
    pub(crate) recon: Arc<Recon>,
}

impl Auditor {
    /// Goes on for ever.
    pub(crate) async fn run(&self) {
        let mut place = self.load().await;
        let mut saved = Instant::now();
        let (mut rest, mut failing) = (self.rest_min(), false);
        loop {
            self.recon.audited(&self.device, &place, None);
            if let Some(wait) = self.until_next_pass(&place) {
                tokio::time::sleep(wait).await;
                continue;
            }
            let pass = place.current.get_or_insert_with(|| AuditPass {
                began: self.now(),
                md5: is_md5_pass(self.config.audit_md5_every, place.passes),
                ..AuditPass::default()
            });
            let begun = Instant::now();
            match self.step(pass).await {
                Ok(pace) => {
                    (rest, failing) = (self.rest_min(), false);
                    if pass.ended.is_some() {
                        self.end(&mut place);
                    }
                    if place.current.is_none() || saved.elapsed() >= SAVE_EVERY {
                        self.save(&place).await;
                        saved = Instant::now();
                    }
                    tokio::time::sleep_until(begun + pace).await;
                }
                Err(error) => {
                    let error = daemon::telemetry::chain(&error).to_string();
                    if !failing {
                        let device = self.device.label();
                        tracing::warn!(device, error, "a device cannot be audited");
                    }
                    self.recon.audited(&self.device, &place, Some(error));
                    tokio::time::sleep(rest).await;
                    let longest = Duration::from_millis(self.config.retry_ms_max);
                    (rest, failing) = ((rest * 2).min(longest.max(self.rest_min())), true);
                }
            }
        }
    }

    fn now(&self) -> u64 {
        self.clock.now().seconds()
    }

    fn rest_min(&self) -> Duration {
        Duration::from_millis(self.config.interval_ms)
    }

    /// How long to wait before one looks again; `None` when there is something to do.
    fn until_next_pass(&self, place: &Place) -> Option<Duration> {
        let last = place.last.as_ref().filter(|_| place.current.is_none())?;
        let now = self.clock.micros();
        let due = last.began.saturating_add(self.config.audit_interval_s).saturating_mul(1_000_000);
        // A clock that was set back must not stop audits for ever.
        let due = if last.began.saturating_mul(1_000_000) > now { now } else { due };
        (due > now).then(|| Duration::from_micros(due - now).min(LOOK_EVERY))
    }

    /// Has a piece of the device read. Gives how long that should take at least.
    async fn step(&self, pass: &mut AuditPass) -> Result<Duration, DeviceError> {
        let Config { audit_objects_per_second: objects, audit_bytes_per_second: bytes, .. } =
            self.config;
        let limit = (objects / STEPS_PER_SECOND).clamp(1, OBJECTS_MAX);
        let most = (bytes / STEPS_PER_SECOND).max(1);
        let from = pass.marker.as_deref().unwrap_or_default();
        let md5 = if pass.md5 { "&md5" } else { "" };
        let query = format!("from={from}&limit={limit}&bytes={most}&ms={STEP_MS}{md5}");
        let begun = Instant::now();
        let step: Verified = self.verify(&query).await?;
        let damaged = self.settle(&step).await?;
        let worked = begun.elapsed();
        let unreadable = damaged.iter().filter(|record| !record.quarantined).count() as u64;
        pass.objects += step.objects;
        pass.bytes += step.bytes;
        pass.damaged += damaged.len() as u64;
        pass.unreadable += unreadable;
        pass.worked_ms += u64::try_from(worked.as_millis()).unwrap_or(u64::MAX);
        pass.marker = step.marker;
        if pass.marker.is_none() {
            pass.ended = Some(self.now());
        }
        metrics::counter!("apus_replicator_audited_objects_total").increment(step.objects);
        metrics::counter!("apus_replicator_audited_bytes_total").increment(step.bytes);
        metrics::counter!("apus_replicator_audit_damaged_total").increment(damaged.len() as u64);
        metrics::gauge!("apus_replicator_audit_position", "device" => self.device.label())
            .set(pass.share_done());
        let share = |done: u64, most: u64| done as f64 / most as f64;
        let pace = share(step.objects, objects).max(share(step.bytes, bytes));
        Ok(Duration::try_from_secs_f64(pace).unwrap_or_default())
    }

    async fn verify(&self, query: &str) -> Result<Verified, DeviceError> {
        self.asker.json(&self.device, VERIFY, query, Body::empty(), Duration::ZERO).await
    }

    /// Tries once more what could not be read, and tells of what is damaged.
    async fn settle(&self, step: &Verified) -> Result<Vec<DamagedRecord>, DeviceError> {
        let (mut damaged, unreadable): (Vec<_>, Vec<_>) =
            step.damaged.iter().cloned().partition(|record| record.quarantined);
        let sound = step.records.saturating_sub(step.damaged.len() as u64);
        let mut hashes: Vec<&str> = unreadable.iter().map(|record| record.hash.as_str()).collect();
        hashes.dedup();
        if hashes.is_empty() || hashes.len() > TOLD_MAX || sound < hashes.len() as u64 {
            // The disk is ill as a whole, or so it looks.
            damaged.extend(unreadable);
        } else {
            tokio::time::sleep(AGAIN_AFTER).await;
            for hash in hashes {
                let again = self.verify(&format!("from={hash}&until={hash}&unreadable")).await?;
                damaged.extend(again.damaged);
            }
        }
        let device = self.device.label();
        for record in damaged.iter().take(TOLD_MAX) {
            let DamagedRecord { hash, kind, timestamp, why, quarantined, .. } = record;
            tracing::warn!(
                device,
                hash,
                kind,
                timestamp,
                why,
                quarantined,
                "the auditor found a damaged record"
            );
        }
        Ok(damaged)
    }

    /// A pass is complete.
    fn end(&self, place: &mut Place) {
        let Some(pass) = place.current.take() else { return };
        let device = self.device.label();
        let AuditPass { objects, bytes, damaged, unreadable, worked_ms, md5, .. } = pass;
        if damaged > 0 {
            tracing::warn!(
                device,
                objects,
                bytes,
                damaged,
                unreadable,
                md5,
                "a device was audited"
            );
        } else if objects > 0 {
            tracing::info!(device, objects, bytes, worked_ms, md5, "a device was audited");
        }
        let ended = pass.ended.unwrap_or_default();
        metrics::gauge!("apus_replicator_audit_last_pass", "device" => device).set(ended as f64);
        place.passes += 1;
        place.last = Some(pass);
    }

    fn file(&self) -> Option<PathBuf> {
        let dir = self.config.audit_dir.as_deref()?;
        Some(place::file(dir, &self.device.label()))
    }

    async fn load(&self) -> Place {
        let Some(path) = self.file() else { return Place::default() };
        let loaded = tokio::task::spawn_blocking(move || place::load(&path)).await;
        let error = match loaded {
            Ok(Ok(place)) => return place,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let device = self.device.label();
        tracing::warn!(device, error, "how far the audit had come cannot be read; it begins anew");
        Place::default()
    }

    async fn save(&self, place: &Place) {
        let Some(path) = self.file() else { return };
        let place = place.clone();
        let saved = tokio::task::spawn_blocking(move || place::save(&path, &place)).await;
        let error = match saved {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let device = self.device.label();
        tracing::warn!(device, error, "how far the audit has come cannot be written down");
    }
}

/// Whether MD5s are compared in the pass after so many. The first is no such pass.
fn is_md5_pass(every: u64, passes: u64) -> bool {
    every > 0 && (passes + 1).is_multiple_of(every)
}

//! Mending damaged copies: what an object device has put into quarantine is fetched from another device that has the
//! same object, and merged into the damaged one.
//!
//! Who finds the damage does not matter: a client's read, compaction, the [auditor](crate::auditor), somebody's VERIFY.
//! The device answers as soon as it has found some, so nothing is polled. A damaged device takes what it is given by the
//! same rule as every other change: what it knows that is newer stays, and a deletion that others know of counts.
//!
//! The damaged record itself is kept for [`Config::quarantine_keep_s`] after it was found, so that an operator may look at
//! it, and is then given up: until then its segment is not compacted. A record whose object could not be mended is never
//! given up here, since there may be no other copy; it is tried again with growing pauses, for ever.

mod patient;
mod pauses;
#[cfg(test)]
mod tests;
mod transfer;

use crate::config::Config;
use crate::device::{Asker, DeviceError, ObjectDevice};
use crate::recon::{Healing, Recon};
use daemon::SharedClock;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream;
use patient::{Outcome, Patient, patients};
use pauses::Pauses;
use ring_builder::Ring;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use types::Timestamp;
use wire::Body;
use wire::device::{QUARANTINED, Quarantine, QuarantinedRecord, Released};

/// Damaged records that are asked for at a time.
const PAGE: usize = 100;
/// How long a device may think about whether anything is damaged.
const WAIT: Duration = Duration::from_secs(10);
/// Between two questions, whatever is found.
const BREATH: Duration = Duration::from_millis(50);
/// How often what was kept long enough is given up.
const RELEASE_EVERY: Duration = Duration::from_secs(60);

/// Mends one device.
pub(crate) struct Healer {
    pub(crate) device: ObjectDevice,
    /// Names the devices that have the same objects.
    pub(crate) ring: Arc<Ring>,
    pub(crate) config: Config,
    pub(crate) asker: Asker,
    pub(crate) clock: SharedClock,
    /// Shared by all healers of the process.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) recon: Arc<Recon>,
}

/// What one look at a device came to.
#[derive(Default)]
struct Pass {
    healed: u64,
    /// Objects that stay damaged.
    unhealed: u64,
    oldest: Option<Timestamp>,
    error: Option<String>,
}

impl Healer {
    /// Goes on for ever.
    pub(crate) async fn run(&self) {
        let mut pauses = Pauses::new(self.interval(), self.rest_max());
        let mut seen = None;
        let mut rest = self.interval();
        let mut release_at = Instant::now();
        let mut failing = false;
        loop {
            let begun = Instant::now();
            match self.look(&mut seen, &mut pauses).await {
                Ok(pass) => {
                    self.tell(&pass);
                    (rest, failing) = (self.interval(), false);
                }
                Err(error) => {
                    self.tell_failure(&error, !failing);
                    tokio::time::sleep(rest).await;
                    let longest = Duration::from_millis(self.config.retry_ms_max);
                    (rest, failing) = ((rest * 2).min(longest.max(self.interval())), true);
                }
            }
            if release_at <= Instant::now() {
                self.release().await;
                let keep = Duration::from_secs(self.config.quarantine_keep_s);
                release_at = Instant::now() + RELEASE_EVERY.min(keep.max(self.interval()));
            }
            tokio::time::sleep_until(begun + BREATH).await;
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.config.interval_ms)
    }

    fn rest_max(&self) -> Duration {
        Duration::from_millis(self.config.heal_retry_ms_max).max(self.interval())
    }

    /// Waits until something is damaged or is to be tried again, and mends what can be mended.
    async fn look(&self, seen: &mut Option<u64>, pauses: &mut Pauses) -> Result<Pass, DeviceError> {
        let wait = pauses.next().map_or(WAIT, |next| WAIT.min(next - Instant::now().min(next)));
        let mut pass = Pass::default();
        // The first page of all but the first pass is waited for.
        let (mut waiting, mut work) = match *seen {
            Some(turn) => (format!("&seen={turn}&wait={}", wait.as_millis()), wait),
            None => (String::new(), Duration::ZERO),
        };
        let mut marker = String::new();
        pauses.begin();
        loop {
            let query = format!("unhealed&limit={PAGE}&marker={marker}{waiting}");
            let page = self.asker.json(&self.device, QUARANTINED, &query, Body::empty(), work);
            let page: Quarantine = page.await?;
            if marker.is_empty() {
                *seen = Some(page.turn);
            }
            (waiting, work) = (String::new(), Duration::ZERO);
            let begun = Instant::now();
            let tried = self.mend(page.records, pauses, &mut pass).await;
            let pace = Duration::from_secs(1) / self.config.heals_per_second;
            tokio::time::sleep_until(begun + pace.saturating_mul(tried)).await;
            match page.marker {
                Some(next) => marker = next,
                None => break,
            }
        }
        pauses.end();
        Ok(pass)
    }

    /// Tries to mend the objects of a page whose time has come, and gives how many that were.
    async fn mend(
        &self,
        records: Vec<QuarantinedRecord>,
        pauses: &mut Pauses,
        pass: &mut Pass,
    ) -> u32 {
        let mut due = Vec::new();
        for patient in patients(records) {
            let found = patient.records.iter();
            let found = found.filter_map(|record| Timestamp::parse(&record.found).ok()).min();
            if pauses.is_due(&patient.hash) {
                due.push((patient, found));
            } else {
                pass.unhealed += 1;
                pass.oldest = [pass.oldest, found].into_iter().flatten().min();
            }
        }
        let calls: Vec<BoxFuture<'_, Outcome>> =
            due.iter().map(|(patient, _)| self.heal(patient).boxed()).collect();
        let outcomes: Vec<Outcome> =
            stream::iter(calls).buffered(self.config.heal_concurrency as usize).collect().await;
        for ((patient, found), outcome) in due.iter().zip(outcomes) {
            let error = match outcome {
                Outcome::Healed(from) => {
                    pass.healed += 1;
                    self.tell_healed(patient, &from);
                    continue;
                }
                Outcome::Nobody => "no device has a sound copy".to_owned(),
                Outcome::Failed(error) => error,
            };
            pass.unhealed += 1;
            pass.oldest = [pass.oldest, *found].into_iter().flatten().min();
            metrics::counter!("apus_replicator_heal_failures_total").increment(1);
            if pauses.failed(&patient.hash) {
                let (device, name) = (self.device.label(), patient.name());
                let hash = patient.hash.to_string();
                tracing::warn!(device, hash, name, error, "a damaged object cannot be mended yet");
            }
            pass.error = Some(error);
        }
        due.len() as u32
    }

    /// Gives up what was kept long enough.
    async fn release(&self) {
        let now = self.clock.now().seconds();
        let before = now.saturating_sub(self.config.quarantine_keep_s);
        let query = format!("release&healed&found_before={before}");
        let done = self.asker.json(&self.device, QUARANTINED, &query, Body::empty(), WAIT).await;
        let device = self.device.label();
        match done {
            Ok(Released { released: 0 }) => {}
            Ok(Released { released }) => {
                metrics::counter!("apus_replicator_quarantine_released_total").increment(released);
                tracing::info!(device, released, "damaged records of mended objects were given up");
            }
            Err(error) => {
                let error = daemon::telemetry::chain(&error);
                tracing::debug!(device, error, "nothing was given up");
            }
        }
    }

    fn tell_healed(&self, patient: &Patient, from: &ObjectDevice) {
        metrics::counter!("apus_replicator_healed_total").increment(1);
        for record in &patient.records {
            let QuarantinedRecord { kind, timestamp, found, segment, offset, .. } = record;
            tracing::info!(
                device = self.device.label(),
                hash = record.hash,
                name = patient.name(),
                kind,
                timestamp,
                found,
                segment,
                offset,
                %from,
                "a damaged record was mended"
            );
        }
    }

    fn tell(&self, pass: &Pass) {
        let device = self.device.label();
        metrics::gauge!("apus_replicator_unhealed", "device" => device).set(pass.unhealed as f64);
        self.recon.healed(&self.device, |healing: &mut Healing| {
            healing.healed += pass.healed;
            healing.unhealed = pass.unhealed;
            healing.oldest = pass.oldest;
            healing.error.clone_from(&pass.error);
        });
    }

    fn tell_failure(&self, error: &DeviceError, news: bool) {
        let error = daemon::telemetry::chain(error).to_string();
        let device = self.device.label();
        if news {
            tracing::warn!(device, error, "a device cannot be asked what is damaged");
        }
        self.recon.healed(&self.device, |healing| healing.error = Some(error));
    }
}

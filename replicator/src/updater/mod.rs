//! Emptying one queue of updates: when to look, how fast to send, what to do with failures.
//!
//! A *sweep* goes through the whole queue, each interval. Once something fails, sweeps become rarer and rarer until
//! nothing fails any more; in between, each interval, only what is new is looked at, so that a queue full of
//! updates for a dead peer costs little and holds nothing up.

mod deliver;
mod kind;
mod owner;

pub(crate) use kind::Kind;

use crate::config::Config;
use crate::recon::Recon;
use crate::share::mine;
use daemon::{SharedClock, TransId};
use deliver::{Delivery, Outcome, Progress};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::{StreamExt, stream};
use kind::Pending;
use owner::OwnerError;
use ring_builder::Ring;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use types::{HashPaths, PolicyIndex, Timestamp};
use wire::{Endpoint, NodeClient};

/// Empties the queue of one device.
pub(crate) struct Updater {
    pub(crate) policy: PolicyIndex,
    pub(crate) kind: Kind,
    /// Who owns the device.
    pub(crate) owner: Endpoint,
    pub(crate) device: String,
    /// Names the servers to send to.
    pub(crate) ring: Arc<Ring>,
    pub(crate) hash_paths: HashPaths,
    pub(crate) config: Config,
    pub(crate) client: NodeClient,
    pub(crate) clock: SharedClock,
    /// Shared by all updaters of the process.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) recon: Arc<Recon>,
}

/// What one look through a queue, or through its new end, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Updates delivered and acknowledged.
    pub(crate) sent: u64,
    /// Updates that stay in the queue.
    pub(crate) failed: u64,
    /// When the oldest of those was made, if the queue says.
    pub(crate) oldest: Option<Timestamp>,
    /// The greatest token seen.
    last: u64,
}

impl Pass {
    fn failed(&mut self, at: Option<Timestamp>) {
        self.failed += 1;
        self.oldest = [self.oldest, at].into_iter().flatten().min();
    }
}

/// When to sweep next.
struct Schedule {
    cursor: u64,
    sweep_at: Instant,
    rest: Duration,
    failing: bool,
}

impl Updater {
    /// Goes on for ever.
    pub(crate) async fn run(&self) {
        let interval = Duration::from_millis(self.config.interval_ms);
        let mut progress = Progress::default();
        let mut schedule =
            Schedule { cursor: 0, sweep_at: Instant::now(), rest: interval, failing: false };
        loop {
            self.look(&mut schedule, &mut progress).await;
            tokio::time::sleep(interval).await;
        }
    }

    async fn look(&self, schedule: &mut Schedule, progress: &mut Progress) {
        let started = Instant::now();
        let sweep = schedule.sweep_at <= started;
        let from = if sweep { 0 } else { schedule.cursor };
        let mut pass = Pass::default();
        if sweep {
            progress.begin_sweep();
        }
        let ended = self.pass(from, progress, &mut pass).await;
        schedule.cursor = schedule.cursor.max(pass.last);
        let complete = ended.is_ok();
        let fine = complete && pass.failed == 0;
        self.tell(&pass, ended.err(), sweep || !schedule.failing);

        let interval = Duration::from_millis(self.config.interval_ms);
        let rest_max = Duration::from_millis(self.config.retry_ms_max).max(interval);
        let now = Instant::now();
        if sweep {
            let seconds = now.duration_since(started).as_secs_f64();
            metrics::histogram!("apus_replicator_sweep_duration_seconds", "kind" => self.kind.name())
                .record(seconds);
            progress.end_sweep(complete);
            schedule.failing = !fine;
            schedule.rest = if fine { interval } else { (schedule.rest * 2).min(rest_max) };
            // Without failures nothing is left in the queue, and to sweep an empty one costs nothing.
            schedule.sweep_at = if fine { now } else { now + schedule.rest };
            self.recon.swept(
                self.kind,
                (self.device.as_str(), self.policy),
                self.clock.now(),
                seconds,
                pass,
            );
        } else if !fine {
            schedule.failing = true;
            schedule.sweep_at = schedule.sweep_at.min(now + schedule.rest);
        }
    }

    /// One line for a whole pass, and only when it says something that the last line did not.
    fn tell(&self, pass: &Pass, error: Option<OwnerError>, news: bool) {
        let (kind, device) = (self.kind.name(), self.device.as_str());
        metrics::counter!("apus_replicator_updates_sent_total", "kind" => kind)
            .increment(pass.sent);
        metrics::counter!("apus_replicator_updates_failed_total", "kind" => kind)
            .increment(pass.failed);
        let error = error.map(|error| daemon::telemetry::chain(&error));
        match error {
            Some(error) if news => {
                tracing::warn!(kind, device, error, "a queue of updates cannot be emptied");
            }
            None if news && pass.failed > 0 => {
                let (sent, failed) = (pass.sent, pass.failed);
                tracing::warn!(kind, device, sent, failed, "updates stay in the queue until later");
            }
            _ => tracing::debug!(kind, device, ?pass, error, "a queue of updates was looked at"),
        }
    }

    /// Goes through the queue from a token on.
    async fn pass(
        &self,
        from: u64,
        progress: &mut Progress,
        pass: &mut Pass,
    ) -> Result<(), OwnerError> {
        let mut marker = from;
        let trans_id = TransId::new(self.clock.micros() / 1_000_000, None);
        let delivery = Delivery::new(self, &trans_id.0);
        loop {
            let started = Instant::now();
            let mut page = self.fetch(marker).await?;
            // Also an owner that knows no markers is not made to repeat what has just failed.
            page.items.retain(|item| item.token > marker);
            for _ in 0..page.malformed {
                pass.failed(None);
            }
            pass.last = pass.last.max(page.last);
            let mine = |pending: &Pending| {
                mine(self.config.worker, self.config.workers, pending.update.share_key().as_bytes())
            };
            let items: Vec<Pending> = page.items.into_iter().filter(mine).collect();
            let sent = self.deliver(&delivery, items, progress, pass).await?;
            // An owner that does not know markers has shown all it will.
            if page.count < self.config.batch as usize || page.last <= marker {
                return Ok(());
            }
            marker = page.last;
            let pace = Duration::from_secs(1) / self.config.updates_per_second;
            tokio::time::sleep_until(started + pace.saturating_mul(sent)).await;
        }
    }

    /// Sends a page and acknowledges what is settled; returns how many were sent.
    async fn deliver(
        &self,
        delivery: &Delivery<'_>,
        items: Vec<Pending>,
        progress: &mut Progress,
        pass: &mut Pass,
    ) -> Result<u32, OwnerError> {
        let calls: Vec<BoxFuture<'_, Outcome>> =
            items.iter().map(|item| delivery.send(item, progress.of(item.token)).boxed()).collect();
        let outcomes: Vec<Outcome> =
            stream::iter(calls).buffered(self.config.concurrency as usize).collect().await;
        let mut settled = Vec::new();
        let mut sent = 0u32;
        for (item, outcome) in items.iter().zip(outcomes) {
            sent += u32::from(outcome.tried);
            progress.note(item.token, outcome.taken);
            if outcome.settled {
                settled.push(item.token);
            } else {
                pass.failed(item.update.since());
            }
        }
        if !settled.is_empty() {
            self.acknowledge(&settled).await?;
            settled.iter().for_each(|token| progress.forget(*token));
            pass.sent += settled.len() as u64;
        }
        Ok(sent)
    }
}

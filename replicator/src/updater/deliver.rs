//! Delivering one update to the servers the ring names.
//!
//! Swift acknowledges an object's update when all container servers have taken it, and a container's report when
//! a majority of the account servers has. Here both are settled when every server has answered 2xx or 404, and
//! a majority 2xx. As long as a server is away nothing is acknowledged, because nobody else would tell it; but
//! one that answers 404 (it was away when the container was created) gets all rows when the container is
//! copied to it, and repeating them until then would tell it nothing.

use super::Updater;
use super::kind::Pending;
use http::StatusCode;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use types::Partition;
use wire::{CallError, Endpoint};

/// A server that failed to answer so often in a row is left alone for the rest of the pass.
const CALLS_IN_VAIN_MAX: u32 = 3;

/// Beyond so many undelivered updates of one device, which servers have them is not remembered: they are then
/// sent to all servers again, which costs work but changes nothing.
const REMEMBERED_MAX: usize = 100_000;

/// An answer to a row is empty or a line.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Which servers have taken which of the updates that are still pending: a bit for each of the listing's
/// primaries, in the ring's order.
#[derive(Default)]
pub(super) struct Progress {
    taken: HashMap<u64, u64>,
    /// What was known before the sweep that is going on.
    before: HashMap<u64, u64>,
}

impl Progress {
    pub(super) fn of(&self, token: u64) -> u64 {
        self.taken.get(&token).or_else(|| self.before.get(&token)).copied().unwrap_or(0)
    }

    pub(super) fn note(&mut self, token: u64, taken: u64) {
        if taken != 0 && (self.taken.len() < REMEMBERED_MAX || self.taken.contains_key(&token)) {
            self.taken.insert(token, taken);
        }
    }

    pub(super) fn forget(&mut self, token: u64) {
        self.taken.remove(&token);
        self.before.remove(&token);
    }

    pub(super) fn begin_sweep(&mut self) {
        self.before = std::mem::take(&mut self.taken);
    }

    /// A complete sweep has met everything that is pending; what it did not meet was replaced by something newer.
    pub(super) fn end_sweep(&mut self, complete: bool) {
        let before = std::mem::take(&mut self.before);
        if !complete {
            before.into_iter().for_each(|(token, taken)| {
                if !self.taken.contains_key(&token) {
                    self.note(token, taken);
                }
            });
        }
    }
}

/// What became of one update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether anybody was called at all.
    pub(super) tried: bool,
    /// Who has it, now or from before; see [`Progress`].
    pub(super) taken: u64,
    /// Whether its owner may forget it.
    pub(super) settled: bool,
}

/// Sends updates during one pass.
pub(super) struct Delivery<'u> {
    updater: &'u Updater,
    trans_id: &'u str,
    in_vain: Mutex<HashMap<Endpoint, u32>>,
}

impl<'u> Delivery<'u> {
    pub(super) fn new(updater: &'u Updater, trans_id: &'u str) -> Self {
        Delivery { updater, trans_id, in_vain: Mutex::default() }
    }

    /// Sends to all servers that have not taken it before.
    pub(super) async fn send(&self, item: &Pending, taken_before: u64) -> Outcome {
        let ring = &self.updater.ring;
        let partition = ring.partition(&item.update.hash(&self.updater.hash_paths));
        let primaries = ring.primaries(partition);
        let mut outcome = Outcome { taken: taken_before, ..Outcome::default() };
        let mut absent = 0;
        for (node, bit) in primaries.iter().zip(0..u64::BITS) {
            if outcome.taken & (1 << bit) != 0 {
                continue;
            }
            let device = node.device;
            let to = Endpoint::new(&device.replication_ip, device.replication_port);
            if self.is_left_alone(&to) {
                continue;
            }
            outcome.tried = true;
            match self.call(&to, &device.device, item, partition).await {
                Ok(status) if status.is_success() => outcome.taken |= 1 << bit,
                Ok(StatusCode::NOT_FOUND) => absent += 1,
                Ok(_) | Err(_) => {}
            }
        }
        let taken = outcome.taken.count_ones() as usize;
        let all = primaries.len();
        outcome.settled = all > 0 && taken + absent >= all && taken > all / 2;
        outcome
    }

    async fn call(
        &self,
        to: &Endpoint,
        device: &str,
        item: &Pending,
        partition: Partition,
    ) -> Result<StatusCode, CallError> {
        // The semaphore is never closed; if it were, the work would only be less bounded.
        let _permit = self.updater.permits.acquire().await.ok();
        let request = item.update.encode(device, partition, self.trans_id);
        let timeout = Duration::from_millis(self.updater.config.node_timeout_ms);
        let answer = self.updater.client.call(to, request, timeout).await;
        self.note(to, answer.is_ok());
        let response = answer?;
        let status = response.status();
        // Read to its end, so that the connection can be used again.
        let body = axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX);
        let _ = tokio::time::timeout(timeout, body).await;
        Ok(status)
    }

    fn is_left_alone(&self, to: &Endpoint) -> bool {
        let in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        in_vain.get(to).is_some_and(|calls| *calls >= CALLS_IN_VAIN_MAX)
    }

    fn note(&self, to: &Endpoint, answered: bool) {
        let mut in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        match answered {
            true => in_vain.remove(to),
            false => {
                let calls = in_vain.get(to).copied().unwrap_or(0);
                in_vain.insert(to.clone(), calls + 1)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_outlives_a_broken_sweep_but_not_what_is_gone() {
        let mut progress = Progress::default();
        progress.note(1, 0b01);
        progress.note(2, 0b10);
        progress.begin_sweep();
        assert_eq!((progress.of(1), progress.of(2)), (0b01, 0b10));
        progress.note(1, 0b11);
        progress.end_sweep(false);
        assert_eq!((progress.of(1), progress.of(2)), (0b11, 0b10));
        progress.begin_sweep();
        progress.note(2, progress.of(2));
        progress.end_sweep(true);
        assert_eq!((progress.of(1), progress.of(2)), (0, 0b10));
        progress.forget(2);
        assert_eq!(progress.of(2), 0);
    }
}

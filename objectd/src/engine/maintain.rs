//! What runs beside the requests: freeing segments, choosing which to empty, giving up old tombstones.

use super::commit::Job;
use super::compact::Moved;
use super::segments::Use;
use super::{Engine, EngineError};
use crate::format::SegmentClass;
use crate::io::Class;
use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Segments that one round empties at most.
const VICTIMS: usize = 4;
/// Free space, in percent of the device, below which every segment with garbage in it may be emptied.
const URGENT_PERCENT: u64 = 8;
/// Garbage, in percent of what is in use, up to which nothing is done while there is room.
const GARBAGE_PERCENT: u64 = 20;
/// While there is room, only segments of which at most so many percent live are emptied.
const LIVE_PERCENT: u64 = 50;
/// With little room, those above this give too little back.
const LIVE_PERCENT_MAX: u64 = 95;
/// So often the segment with the oldest garbage is emptied, so that tombstones can be given up some time.
const OLDEST_EVERY: u64 = 8;
const MICROS: u64 = 1_000_000;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// Segments that were freed.
    pub freed: usize,
    /// Segments that were emptied, and will be freed when nobody reads them any more.
    pub emptied: usize,
    /// Bytes that were written again.
    pub moved_bytes: u64,
    /// Tombstones that were given up.
    pub retired: u64,
}

/// What one round leaves for the next.
#[derive(Default)]
pub(super) struct Rounds {
    victims: u64,
    /// Segments that could not be read, by their epochs: they stay as they are.
    unreadable: HashSet<u64>,
}

/// What a choice is made from.
pub(super) struct Situation<'a> {
    pub(super) uses: &'a [Use],
    /// Epochs of those that are not to be chosen.
    pub(super) passed_over: &'a HashSet<u64>,
    pub(super) free_percent: u64,
    pub(super) now_micros: u64,
    /// Tombstones are kept so long, in µs.
    pub(super) reclaim_micros: u64,
}

impl Engine {
    /// One round of what runs beside. Blocks, maybe for long.
    pub fn maintain(&self) -> Result<Maintenance, EngineError> {
        let mut rounds = self.0.maintaining.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Maintenance::default();
        if self.0.shared.stopping.load(Ordering::Acquire) || self.is_poisoned() {
            return Ok(done);
        }
        self.close_old()?;
        self.free_dead(&mut done)?;
        let mut passed_over = rounds.unreadable.clone();
        for _ in 0..VICTIMS {
            let uses = self.0.segments.uses();
            let now_micros = self.0.clock.micros();
            let reclaim_micros = self.0.reclaim_age.saturating_mul(MICROS);
            let situation = Situation {
                uses: &uses,
                passed_over: &passed_over,
                free_percent: self.0.segments.free_percent(),
                now_micros,
                reclaim_micros,
            };
            let oldest = rounds.victims % OLDEST_EVERY == OLDEST_EVERY - 1;
            let Some(victim) = situation.victim(oldest) else { break };
            rounds.victims += 1;
            let reclaim_before = now_micros.saturating_sub(reclaim_micros) / 10;
            let waterline = situation.waterline(victim.header.id);
            let compactor = self.share(Class::Compaction);
            let Moved { bytes, retired } = match compactor.empty(victim, reclaim_before, waterline)
            {
                // Another may need less room, or none at all.
                Err(EngineError::Full) => {
                    passed_over.insert(victim.header.epoch);
                    continue;
                }
                Err(error @ (EngineError::Read(_) | EngineError::Damaged(_))) => {
                    let (segment, epoch) = (victim.header.id, victim.header.epoch);
                    let error = daemon::telemetry::chain(&error);
                    tracing::error!(error, segment, "a segment cannot be emptied, and stays");
                    rounds.unreadable.insert(epoch);
                    passed_over.insert(epoch);
                    continue;
                }
                other => other?,
            };
            done.emptied += 1;
            done.moved_bytes += bytes;
            done.retired += retired;
            self.free_dead(&mut done)?;
            if self.0.shared.stopping.load(Ordering::Acquire) {
                break;
            }
        }
        self.0.segments.measure_room();
        Ok(done)
    }

    /// Frees what holds nothing any more.
    fn free_dead(&self, done: &mut Maintenance) -> Result<(), EngineError> {
        let dead = self.0.segments.dead();
        if dead.is_empty() || self.is_poisoned() {
            return Ok(());
        }
        // An index from before would look for these segments after a crash.
        self.checkpoint()?;
        let next_lsn = self.0.shared.next_lsn.load(Ordering::Acquire);
        for id in dead {
            if futures_executor::block_on(self.0.segments.free(id, next_lsn))? {
                done.freed += 1;
            }
        }
        Ok(())
    }

    /// Closes segments that have been open for so long that tombstones wait for what is in them.
    fn close_old(&self) -> Result<(), EngineError> {
        let before =
            self.0.clock.micros().saturating_sub(self.0.reclaim_age.saturating_mul(MICROS));
        for used in self.0.segments.uses() {
            let class = used.header.class;
            let old = !used.sealed && used.header.used_micros < before;
            if old && class != SegmentClass::Bulk && used.account.written > 0 {
                self.tell(|answer| Job::Rotate(class, answer))?;
            }
        }
        Ok(())
    }
}

impl Situation<'_> {
    /// The segment whose emptying gives most, or none if that would not pay now. `oldest` prefers the one with the
    /// oldest garbage.
    pub(super) fn victim(&self, oldest: bool) -> Option<&Use> {
        let sealed = || self.uses.iter().filter(|used| used.sealed);
        let candidates = sealed().filter(|used| {
            used.account.quarantined == 0
                && used.reserved == 0
                && used.account.live > 0
                && !self.passed_over.contains(&used.header.epoch)
        });
        let (garbage, room) = sealed().fold((0, 0), |(garbage, room), used| {
            (garbage + used.room() - self.needed(used), room + used.room())
        });
        let most = match self.free_percent < URGENT_PERCENT {
            true => LIVE_PERCENT_MAX,
            false if garbage * 100 > room * GARBAGE_PERCENT => LIVE_PERCENT,
            false => return None,
        };
        let pays = candidates.filter(|used| self.needed(used) * 100 <= used.room() * most);
        if oldest {
            return pays.min_by_key(|used| {
                let needs = used.needs_tombstones_from().unwrap_or(u64::MAX);
                (needs, used.header.epoch)
            });
        }
        pays.max_by(|a, b| {
            let older = b.header.first_lsn.cmp(&a.header.first_lsn);
            self.benefit(a).total_cmp(&self.benefit(b)).then(older)
        })
    }

    /// Garbage times age over the cost of reading all and writing what lives (Rosenblum and Ousterhout).
    fn benefit(&self, used: &Use) -> f64 {
        let share = self.needed(used) as f64 / used.room().max(1) as f64;
        let age = self.now_micros.saturating_sub(used.header.used_micros) + MICROS;
        (1.0 - share) * age as f64 / (1.0 + share)
    }

    /// Bytes that would have to be moved: tombstones that are old enough need not.
    fn needed(&self, used: &Use) -> u64 {
        let old = used.header.used_micros.saturating_add(self.reclaim_micros) < self.now_micros;
        let kept = if old {
            used.account.live - used.account.tombstones.min(used.account.live)
        } else {
            used.account.live
        };
        kept.min(used.room())
    }

    /// No frame before this one is left, outside of one segment, that holds garbage: what a tombstone from before
    /// has deleted is gone, and so the tombstone may go.
    pub(super) fn waterline(&self, except: u32) -> u64 {
        let logs = self.uses.iter().filter(|used| used.header.class != SegmentClass::Bulk);
        let other = logs.filter(|used| used.header.id != except);
        other.filter_map(Use::needs_tombstones_from).min().unwrap_or(u64::MAX)
    }
}

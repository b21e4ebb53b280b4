//! What runs beside the requests: freeing segments, choosing which to empty, giving up old tombstones.

use super::body::piece_len;
use super::commit::Job;
use super::compact::Moved;
use super::segments::Use;
use super::{Engine, EngineError};
use crate::format::SegmentClass;
use crate::io::{BLOCK, Class};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Segments that one round empties at most. They are freed together, since the index is made durable for that.
const VICTIMS: usize = 8;
/// So many of them at a time: while one waits for the disk, another goes on.
const WORKERS: usize = 3;
/// Garbage, in percent of what is in use, up to which nothing is done while there is room.
const GARBAGE_PERCENT: u64 = 20;
/// While there is room, only segments of which at most so many percent live are emptied.
const LIVE_PERCENT: u64 = 50;
/// With little room, those above this give too little back.
const LIVE_PERCENT_MAX: u64 = 95;
/// A cold or a bulk segment is never filled to the last byte. What is missing is won back by nobody, so it is no reason
/// to move what lives: so many percent must have died.
const DEAD_PERCENT: u64 = 3;
/// While tombstones wait for that, so often the segment with the oldest garbage is emptied.
const OLDEST_EVERY: u64 = 8;
const MICROS: u64 = 1_000_000;
/// A segment out of which not everything could be moved is tried again after so long, in µs.
const LEFT_MICROS: u64 = 600 * MICROS;
/// The same if there was no room to move it to.
const FULL_MICROS: u64 = 5 * MICROS;

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
    /// Segments in which something stayed: how much, and until when they are left alone.
    left: HashMap<u64, (u64, u64)>,
}

impl Rounds {
    /// Which segments are not to be chosen.
    fn passed_over(&mut self, uses: &[Use], now_micros: u64) -> HashSet<u64> {
        let live: HashMap<u64, u64> =
            uses.iter().map(|used| (used.header.epoch, used.account.live)).collect();
        self.unreadable.retain(|epoch| live.contains_key(epoch));
        self.left
            .retain(|epoch, (left, until)| live.get(epoch) == Some(left) && *until > now_micros);
        self.unreadable.iter().chain(self.left.keys()).copied().collect()
    }
}

/// What a choice is made from.
pub(super) struct Situation<'a> {
    pub(super) uses: &'a [Use],
    /// Epochs of those that are not to be chosen.
    pub(super) passed_over: &'a HashSet<u64>,
    /// Whether room has to be made.
    pub(super) scarce: bool,
    pub(super) now_micros: u64,
    /// Tombstones are kept so long, in µs.
    pub(super) reclaim_micros: u64,
    /// The two lowest of what segments need tombstones from, and the segment of the first.
    needs: (Option<(u64, u32)>, Option<u64>),
}

/// While it lives, those who write new data may have to wait for room.
struct Compacting<'a>(&'a Engine);

impl<'a> Compacting<'a> {
    fn begin(engine: &'a Engine) -> Self {
        engine.0.segments.set_compacting(true);
        Compacting(engine)
    }
}

impl Drop for Compacting<'_> {
    fn drop(&mut self) {
        self.0.0.segments.set_compacting(false);
    }
}

impl Engine {
    /// One round of what runs beside. Blocks, maybe for long.
    pub fn maintain(&self) -> Result<Maintenance, EngineError> {
        let mut rounds = self.0.maintaining.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Maintenance::default();
        if self.0.shared.stopping.load(Ordering::Acquire) || self.is_poisoned() {
            return Ok(done);
        }
        let _compacting = Compacting::begin(self);
        self.close_old()?;
        self.free_dead(&mut done)?;
        self.empty_some(&mut rounds, &mut done)?;
        self.free_dead(&mut done)?;
        self.0.segments.measure_room();
        Ok(done)
    }

    fn empty_some(&self, rounds: &mut Rounds, done: &mut Maintenance) -> Result<(), EngineError> {
        let reclaim_micros = self.0.reclaim_age.saturating_mul(MICROS);
        let now_micros = self.0.clock.micros();
        let victims = self.choose(rounds, now_micros, reclaim_micros);
        let reclaim_before = now_micros.saturating_sub(reclaim_micros) / 10;
        let mut failed = None;
        for (victim, emptied) in victims.iter().zip(self.empty_all(&victims, reclaim_before)) {
            let (segment, epoch) = (victim.header.id, victim.header.epoch);
            let mut leave = |live, micros| {
                rounds.left.insert(epoch, (live, now_micros + micros));
            };
            match emptied {
                Ok(Moved { bytes, retired }) => {
                    done.moved_bytes += bytes;
                    done.retired += retired;
                    match self.0.segments.account(segment).filter(|it| it.epoch == epoch) {
                        Some(account) if account.live > 0 => leave(account.live, LEFT_MICROS),
                        _ => done.emptied += 1,
                    }
                }
                // Another may need less room, or none at all.
                Err(EngineError::Full) => leave(victim.account.live, FULL_MICROS),
                Err(error @ (EngineError::Read(_) | EngineError::Damaged(_))) => {
                    let error = daemon::telemetry::chain(&error);
                    tracing::error!(error, segment, "a segment cannot be emptied, and stays");
                    rounds.unreadable.insert(epoch);
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Which segments are to be emptied now. What they hold must find room before they are freed.
    fn choose(&self, rounds: &mut Rounds, now_micros: u64, reclaim_micros: u64) -> Vec<Use> {
        let (uses, room) = (self.0.segments.uses(), self.0.segments.room());
        let mut passed_over = rounds.passed_over(&uses, now_micros);
        let mut chosen: Vec<Use> = Vec::new();
        let mut needed = 0;
        while chosen.len() < VICTIMS {
            let scarce = room.is_scarce();
            let situation = Situation::new(&uses, &passed_over, scarce, now_micros, reclaim_micros);
            let oldest = rounds.victims % OLDEST_EVERY == OLDEST_EVERY - 1;
            let Some(victim) = situation.victim(oldest) else { break };
            needed += situation.needed(victim);
            // Of tombstones that are given up, none must be left when the next are: one segment after the other.
            let alone = situation.is_for_tombstones(victim);
            if !chosen.is_empty() && (alone || needed > room.free / 2) {
                break;
            }
            rounds.victims += 1;
            chosen.push(victim.clone());
            if alone {
                break;
            }
            passed_over.insert(victim.header.epoch);
        }
        chosen
    }

    /// Empties segments, some at a time, and tells what came of each.
    fn empty_all(&self, victims: &[Use], reclaim_before: u64) -> Vec<Result<Moved, EngineError>> {
        let compactor = self.share(Class::Compaction);
        let runtime = tokio::runtime::Handle::try_current().ok();
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::with_capacity(victims.len()));
        let work = || {
            // What is not in memory of the index is looked up on its threads.
            let _within = runtime.as_ref().map(tokio::runtime::Handle::enter);
            while let Some(victim) = victims.get(next.fetch_add(1, Ordering::Relaxed)) {
                let emptied = compactor.empty(victim, reclaim_before);
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                outcomes.push((victim.header.epoch, emptied));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..WORKERS.min(victims.len()) {
                let thread = std::thread::Builder::new().name("disk-compact".to_owned());
                if let Err(error) = thread.spawn_scoped(scope, work) {
                    tracing::debug!(%error, "no thread to empty segments beside");
                }
            }
            work();
        });
        let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcomes.sort_by_key(|(epoch, _)| {
            victims.iter().position(|victim| victim.header.epoch == *epoch)
        });
        outcomes.into_iter().map(|(_, emptied)| emptied).collect()
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
        self.0.segments.measure_room();
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

impl<'a> Situation<'a> {
    pub(super) fn new(
        uses: &'a [Use],
        passed_over: &'a HashSet<u64>,
        scarce: bool,
        now_micros: u64,
        reclaim_micros: u64,
    ) -> Self {
        let mut needs: (Option<(u64, u32)>, Option<u64>) = (None, None);
        for used in uses.iter().filter(|used| used.header.class != SegmentClass::Bulk) {
            let Some(from) = used.needs_tombstones_from() else { continue };
            match needs.0 {
                Some((lowest, _)) if lowest <= from => {
                    needs.1 = Some(needs.1.map_or(from, |second| second.min(from)));
                }
                before => {
                    needs = (Some((from, used.header.id)), before.map(|(lowest, _)| lowest));
                }
            }
        }
        Situation { uses, passed_over, scarce, now_micros, reclaim_micros, needs }
    }

    /// The segment whose emptying gives most, or none if that would not pay now. `oldest` prefers the one with the
    /// oldest garbage, if tombstones wait for that to go.
    pub(super) fn victim(&self, oldest: bool) -> Option<&'a Use> {
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
        let most = match self.scarce {
            true => LIVE_PERCENT_MAX,
            false if garbage * 100 > room * GARBAGE_PERCENT => LIVE_PERCENT,
            false => return None,
        };
        let pays = candidates
            .filter(|used| self.needed(used) * 100 <= used.room() * most && self.has_died(used));
        let waits = |used: &Use| used.account.tombstones > 0 && self.is_aged(used);
        if oldest && self.uses.iter().any(waits) {
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

    /// Whether enough in it died, so that moving the rest would not only move what can be packed no closer.
    fn has_died(&self, used: &Use) -> bool {
        let room = used.room();
        let filled = match used.header.class {
            // Frames that hold few records are packed closer when they are moved the first time.
            SegmentClass::Hot | SegmentClass::Short | SegmentClass::Free => return true,
            SegmentClass::Cold => used.account.written,
            SegmentClass::Bulk => {
                let piece = (piece_len(used.header.blocks) / BLOCK) as u64;
                room / BLOCK as u64 / piece * piece * BLOCK as u64
            }
        };
        filled.saturating_sub(self.needed(used)) * 100 >= room * DEAD_PERCENT
    }

    /// Whether what would go is tombstones, more or less.
    fn is_for_tombstones(&self, used: &Use) -> bool {
        self.is_aged(used) && used.account.tombstones * 10 > used.account.live
    }

    fn is_aged(&self, used: &Use) -> bool {
        used.header.used_micros.saturating_add(self.reclaim_micros) < self.now_micros
    }

    /// Bytes that would have to be moved: tombstones that are old enough need not, if nothing needs them.
    fn needed(&self, used: &Use) -> u64 {
        let waterline = match self.needs {
            (Some((_, id)), second) if id == used.header.id => second,
            (lowest, _) => lowest.map(|(from, _)| from),
        };
        let given_up = match waterline.is_none_or(|from| from > used.header.first_lsn) {
            true if self.is_aged(used) => used.account.tombstones,
            _ => 0,
        };
        used.account.live.saturating_sub(given_up).min(used.room())
    }
}

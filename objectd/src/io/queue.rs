//! Which operation goes to the disk next: start-time fair queueing with a bounded number in flight, SFQ(D).
//!
//! Each class has a line and a tag, its virtual time. Of the lines that have somebody waiting, the one with the
//! lowest tag goes first, and its tag grows by the operation's cost divided by the class's weight. The clock is
//! the highest tag that was served; a class that comes back from a pause starts at the clock, so that nobody
//! saves up a claim. No history beyond one tag, and no timer.
//!
//! What is in flight is bounded by a [`Window`]. While no client waits, all classes but [`Class::Client`]
//! together may fill half of it: enough to keep a disk busy, and a client that comes finds room at once.
//!
//! A client's operation that finds room takes one compare-and-swap and no lock, on the word that counts what
//! is in flight. One bit of that word says that somebody waits for room in it; it is set in the same
//! step in which room is found missing, so whoever gives room back afterwards sees it and serves the lines.
//! `model.rs` checks this.

use super::sync::{AtomicU64, Mutex, Ordering, PoisonError};
use std::collections::BTreeMap;
use std::task::Waker;

/// For whom an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Requests of clients.
    Client,
    /// Copies that other nodes lack.
    Replication,
    /// Reading everything again to find damage.
    Audit,
    /// Moving live data out of segments that are mostly dead.
    Compaction,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 4] =
        [Class::Client, Class::Replication, Class::Audit, Class::Compaction];

    /// Its part of a disk that all want, beside the weights of the others.
    pub fn weight(self) -> u64 {
        match self {
            Class::Client => 8,
            Class::Replication => 2,
            Class::Audit | Class::Compaction => 1,
        }
    }

    fn is_client(self) -> bool {
        self == Class::Client
    }
}

/// Virtual time of a unit of cost is this by the weight, a whole number for each of them.
const SCALE: u64 = 8;

/// How much may be in flight at the disk at a time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Operations.
    pub operations: u32,
    /// Blocks that they move together. An operation larger than that goes alone.
    pub blocks: u32,
}

impl Default for Window {
    /// 64 operations and 16 MiB: deep enough for a disk of today, and its wait is milliseconds.
    fn default() -> Self {
        Window { operations: 64, blocks: 4096 }
    }
}

/// What an operation takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Of the window.
    pub(super) blocks: u32,
    /// Of the class's share, in blocks; more than `blocks` where the disk must also flush.
    pub(super) cost: u32,
}

/// A place in the line of a class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u64);

/// The lines before one disk.
pub(super) struct Queue {
    word: Word,
    window: Window,
    background: Window,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    of_class: [Line; 4],
    clock: u64,
    next_ticket: u64,
    /// In flight for all classes but clients.
    background: Flying,
    /// Those who were let through, to be woken without the lock.
    passed: Vec<Waker>,
}

/// Holds one entry for each unfinished future that waits, so it is as bounded as its callers are.
#[derive(Default)]
struct Line {
    waiting: BTreeMap<u64, Waiting>,
    tag: u64,
}

struct Waiting {
    demand: Demand,
    waker: Waker,
}

#[derive(Clone, Copy, Default)]
struct Flying {
    operations: u32,
    blocks: u32,
}

impl Flying {
    /// With one more, if the window has room for it.
    fn plus(self, blocks: u32, window: &Window) -> Option<Flying> {
        let operations = self.operations + 1;
        let blocks = self.blocks + blocks;
        let fits = operations <= window.operations && blocks <= window.blocks;
        fits.then_some(Flying { operations, blocks })
    }
}

/// What is in flight, and whether somebody waits for that to shrink.
struct Word(AtomicU64);

impl Word {
    const WAITED_FOR: u64 = 1 << 63;
    const OPERATION: u64 = 1 << 32;
    /// Of operations and of blocks; sums of two stay within their fields.
    const MOST: u32 = 1 << 30;

    fn new() -> Self {
        Word(AtomicU64::new(0))
    }

    fn flying(word: u64) -> Flying {
        let operations = (word & !Self::WAITED_FOR) >> 32;
        Flying { operations: operations as u32, blocks: word as u32 }
    }

    fn entry(blocks: u32) -> u64 {
        Self::OPERATION | u64::from(blocks)
    }

    /// Takes room, unless somebody already waits for it.
    fn take_fast(&self, blocks: u32, window: &Window) -> bool {
        self.change(|word| {
            let free =
                word & Self::WAITED_FOR == 0 && Self::flying(word).plus(blocks, window).is_some();
            free.then(|| word + Self::entry(blocks))
        })
    }

    /// Takes room, or leaves word that it is waited for.
    fn take_or_mark(&self, blocks: u32, window: &Window) -> bool {
        let mut taken = false;
        self.change(|word| {
            taken = Self::flying(word).plus(blocks, window).is_some();
            Some(if taken { word + Self::entry(blocks) } else { word | Self::WAITED_FOR })
        });
        taken
    }

    /// Gives room back. True if somebody waits for it.
    fn give(&self, blocks: u32) -> bool {
        let before = self.0.fetch_sub(Self::entry(blocks), Ordering::AcqRel);
        before & Self::WAITED_FOR != 0
    }

    fn unmark(&self) {
        if self.0.load(Ordering::Acquire) & Self::WAITED_FOR != 0 {
            self.0.fetch_and(!Self::WAITED_FOR, Ordering::AcqRel);
        }
    }

    fn change(&self, mut next: impl FnMut(u64) -> Option<u64>) -> bool {
        let mut seen = self.0.load(Ordering::Acquire);
        while let Some(new) = next(seen) {
            let swapped =
                self.0.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire);
            match swapped {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
        false
    }
}

impl Queue {
    pub(super) fn new(window: Window) -> Self {
        let bound = |n: u32, most: u32| n.clamp(1, most);
        let window = Window {
            operations: bound(window.operations, Word::MOST),
            blocks: bound(window.blocks, Word::MOST),
        };
        let background = Window {
            operations: bound(window.operations / 2, Word::MOST),
            blocks: bound(window.blocks / 2, Word::MOST),
        };
        Queue { word: Word::new(), window, background, lines: Mutex::default() }
    }

    /// Lets an operation through, or gives it a place in the line of its class.
    pub(super) fn enter(&self, class: Class, demand: Demand, waker: &Waker) -> Option<Ticket> {
        if class.is_client() && self.word.take_fast(self.share(class, demand), &self.window) {
            return None;
        }
        self.with(|lines| {
            let ticket = lines.next_ticket;
            lines.next_ticket += 1;
            let clock = lines.clock;
            let line = &mut lines.of_class[class as usize];
            if line.waiting.is_empty() {
                line.tag = line.tag.max(clock);
            }
            line.waiting.insert(ticket, Waiting { demand, waker: waker.clone() });
            self.serve(lines, Some(ticket));
            let waits = lines.of_class[class as usize].waiting.contains_key(&ticket);
            waits.then_some(Ticket(ticket))
        })
    }

    /// Whether a waiting operation was let through.
    pub(super) fn passed(&self, class: Class, ticket: Ticket, waker: &Waker) -> bool {
        let former = self.with(|lines| {
            let waiting = lines.of_class[class as usize].waiting.get_mut(&ticket.0)?;
            Some(std::mem::replace(&mut waiting.waker, waker.clone()))
        });
        former.is_none()
    }

    /// A waiting operation is given up, also if it has just been let through.
    pub(super) fn give_up(&self, class: Class, ticket: Ticket, demand: Demand) {
        let waited = self.with(|lines| {
            let waited = lines.of_class[class as usize].waiting.remove(&ticket.0);
            // Whoever stands behind may need less room.
            self.serve(lines, None);
            waited
        });
        if waited.is_none() {
            self.leave(class, demand);
        }
    }

    /// An operation that was let through is done.
    pub(super) fn leave(&self, class: Class, demand: Demand) {
        let blocks = self.share(class, demand);
        if class.is_client() {
            if self.word.give(blocks) {
                self.with(|lines| self.serve(lines, None));
            }
            return;
        }
        self.with(|lines| {
            self.word.give(blocks);
            lines.background.operations -= 1;
            lines.background.blocks -= blocks;
            self.serve(lines, None);
        });
    }

    /// What an operation takes of the window: all that its class may have, if it is larger than that.
    fn share(&self, class: Class, demand: Demand) -> u32 {
        let most = if class.is_client() { self.window.blocks } else { self.background.blocks };
        demand.blocks.min(most)
    }

    /// Acts under the lock. Wakers run, and go, without it: they are foreign code.
    fn with<T>(&self, act: impl FnOnce(&mut Lines) -> T) -> T {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut lines);
        let passed = std::mem::take(&mut lines.passed);
        drop(lines);
        for waker in passed {
            waker.wake();
        }
        done
    }

    /// Lets through whoever may go now. `newcomer` is not woken, since it is the caller.
    fn serve(&self, lines: &mut Lines, newcomer: Option<u64>) {
        loop {
            let clients_wait = !lines.of_class[Class::Client as usize].waiting.is_empty();
            let background_window = if clients_wait { &self.window } else { &self.background };
            let mut next: Option<(Class, Option<Flying>, u64)> = None;
            for class in Class::ALL {
                let line = &lines.of_class[class as usize];
                let Some((_, first)) = line.waiting.first_key_value() else { continue };
                let mut background = None;
                if !class.is_client() {
                    let share = self.share(class, first.demand);
                    background = lines.background.plus(share, background_window);
                    if background.is_none() {
                        // Room for it comes when one of its kind leaves, and that serves the lines.
                        continue;
                    }
                }
                if next.as_ref().is_none_or(|(_, _, tag)| line.tag < *tag) {
                    next = Some((class, background, line.tag));
                }
            }
            let Some((class, background, tag)) = next else {
                self.word.unmark();
                return;
            };
            let line = &mut lines.of_class[class as usize];
            let Some(first) = line.waiting.first_entry() else { return };
            let demand = first.get().demand;
            if !self.word.take_or_mark(self.share(class, demand), &self.window) {
                return;
            }
            let (ticket, waiting) = first.remove_entry();
            line.tag += u64::from(demand.cost) * (SCALE / class.weight());
            lines.clock = lines.clock.max(tag);
            lines.background = background.unwrap_or(lines.background);
            if newcomer != Some(ticket) {
                lines.passed.push(waiting.waker);
            }
        }
    }

    /// Operations and blocks in flight, and how many wait.
    #[cfg(test)]
    pub(super) fn state(&self) -> (u32, u32, usize) {
        self.with(|lines| {
            let flying = Word::flying(self.word.0.load(Ordering::Acquire));
            let waiting = lines.of_class.iter().map(|line| line.waiting.len()).sum();
            (flying.operations, flying.blocks, waiting)
        })
    }
}

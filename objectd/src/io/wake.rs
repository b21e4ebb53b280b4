//! Whether a thread that takes work from a queue must be roused from its sleep.
//!
//! Those who bring work put it into the queue first and look for a sleeper then. The thread says that it
//! sleeps first and looks into the queue then. Whichever comes second sees the other, so no work is left
//! lying beside a sleeper; and while the thread is busy nobody pays for rousing it. `model.rs` checks this.

use super::sync::{AtomicBool, Ordering, fence};

/// The word between one thread and those who bring it work.
pub(super) struct Wake {
    sleeping: AtomicBool,
}

impl Wake {
    pub(super) fn new() -> Self {
        Wake { sleeping: AtomicBool::new(false) }
    }

    /// After work was put into the queue: true for the one caller that must rouse the thread.
    pub(super) fn must_rouse(&self) -> bool {
        // The queue's own operations do not order a store before a load; without the fence on both sides, each
        // could miss what the other did.
        fence(Ordering::SeqCst);
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel)
    }

    /// The thread is about to sleep. False if there is work after all, and it must not.
    pub(super) fn may_sleep(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may = is_empty();
        if !may {
            self.awake();
        }
        may
    }

    /// The thread is up, for whatever reason.
    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

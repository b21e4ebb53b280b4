//! Time comes in from outside, so that tests and simulations can make it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use types::Timestamp;

/// A source of the time of day.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970.
    fn micros(&self) -> u64;

    /// The same as a timestamp.
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros())
    }
}

/// A clock that many parts share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock, made strictly monotonic by units of 10 µs within this process: two writes that one
/// proxy stamps never carry the same timestamp.
#[derive(Default)]
pub struct SystemClock {
    last: AtomicU64,
}

impl Clock for SystemClock {
    fn micros(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since.as_micros()).unwrap_or(u64::MAX) / 10;
        let previous = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)))
            .unwrap_or(now);
        now.max(previous + 1) * 10
    }
}

/// A clock that moves when it is told to.
#[derive(Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at a moment.
    pub fn at_seconds(seconds: u64) -> Self {
        ManualClock(AtomicU64::new(seconds * 1_000_000))
    }

    /// Moves on.
    pub fn advance_micros(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_repeats_itself() {
        let clock = SystemClock::default();
        let mut last = clock.now();
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now > last);
            last = now;
        }
    }
}

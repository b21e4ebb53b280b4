//! When to try again what could not be mended.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use types::ObjectHash;

/// Beyond so many objects nothing is remembered of each: they are tried again together, rarely.
const REMEMBERED_MAX: usize = 10_000;

/// The pause of each object that could not be mended: it doubles from one attempt to the next.
pub(super) struct Pauses {
    shortest: Duration,
    longest: Duration,
    /// Of objects that a pass has met so far, or of all between two passes.
    met: HashMap<ObjectHash, Pause>,
    /// Of the pass before.
    before: HashMap<ObjectHash, Pause>,
    /// When those are due that are not remembered.
    others_at: Option<Instant>,
    /// Whether this pass has failed at such.
    others_failed: bool,
}

#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Pauses {
    pub(super) fn new(shortest: Duration, longest: Duration) -> Self {
        let (met, before) = (HashMap::new(), HashMap::new());
        Pauses { shortest, longest, met, before, others_at: None, others_failed: false }
    }

    /// When the next object is due; `None` when none waits.
    pub(super) fn next(&self) -> Option<Instant> {
        let pauses = self.met.values().chain(self.before.values());
        pauses.map(|pause| pause.until).chain(self.others_at).min()
    }

    /// A pass begins: what it does not meet is forgotten at its end.
    pub(super) fn begin(&mut self) {
        // What a pass met that broke off counts more than what was known before.
        let met = std::mem::take(&mut self.met);
        self.before.extend(met);
    }

    /// The pass has met everything.
    pub(super) fn end(&mut self) {
        self.before.clear();
        let now = Instant::now();
        if std::mem::take(&mut self.others_failed) {
            self.others_at = Some(now + self.longest);
        } else if self.others_at.is_some_and(|at| at <= now) || self.met.len() < REMEMBERED_MAX {
            self.others_at = None;
        }
    }

    /// Whether an object is to be tried now. If not, its pause is kept.
    pub(super) fn is_due(&mut self, hash: &ObjectHash) -> bool {
        let now = Instant::now();
        match self.before.get(hash) {
            Some(pause) if pause.until > now => {
                self.met.insert(*hash, *pause);
                false
            }
            Some(_) => true,
            None => self.others_at.is_none_or(|at| at <= now),
        }
    }

    /// An object could not be mended. Whether that is new.
    pub(super) fn failed(&mut self, hash: &ObjectHash) -> bool {
        let known = self.before.get(hash).map(|pause| pause.length);
        let length = known.map_or(self.shortest, |length| (length * 2).min(self.longest));
        let now = Instant::now();
        if self.met.len() < REMEMBERED_MAX {
            self.met.insert(*hash, Pause { until: now + length, length });
        } else {
            self.others_failed = true;
        }
        known.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> ObjectHash {
        let mut hash = [0; 16];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        ObjectHash(hash)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_with_what_they_are_of() {
        let second = Duration::from_secs(1);
        let mut pauses = Pauses::new(second, second * 3);
        assert_eq!(pauses.next(), None);
        for (attempt, expected) in [1, 2, 3, 3].into_iter().enumerate() {
            pauses.begin();
            assert!(pauses.is_due(&hash(1)));
            assert_eq!(pauses.failed(&hash(1)), attempt == 0);
            pauses.end();
            assert_eq!(pauses.next(), Some(Instant::now() + second * expected));
            // Others are not held up, and to look in between changes nothing.
            tokio::time::advance(second / 2).await;
            pauses.begin();
            assert!(!pauses.is_due(&hash(1)) && pauses.is_due(&hash(2)));
            pauses.end();
            tokio::time::advance(second * expected - second / 2).await;
        }
        pauses.begin();
        pauses.end();
        assert_eq!(pauses.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_breaks_off_forgets_nothing() {
        let second = Duration::from_secs(1);
        let mut pauses = Pauses::new(second, second * 30);
        pauses.begin();
        assert!(pauses.failed(&hash(1)) && pauses.failed(&hash(2)));
        pauses.begin();
        assert!(!pauses.is_due(&hash(1)));
        pauses.begin();
        assert!(!pauses.is_due(&hash(1)) && !pauses.is_due(&hash(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_to_remember_is_tried_rarely() {
        let second = Duration::from_secs(1);
        let mut pauses = Pauses::new(second, second * 60);
        let all = REMEMBERED_MAX as u32 + 5;
        pauses.begin();
        for number in 0..all {
            assert!(pauses.is_due(&hash(number)));
            pauses.failed(&hash(number));
        }
        pauses.end();
        tokio::time::advance(second * 2).await;
        pauses.begin();
        let due = (0..all).filter(|number| pauses.is_due(&hash(*number))).count();
        assert_eq!(due, REMEMBERED_MAX);
        tokio::time::advance(second * 60).await;
        pauses.begin();
        assert!(pauses.is_due(&hash(all - 1)));
    }
}

//! Rates by size, and the clocks that count them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use super::RateAt;

/// Rates by size: a straight line between two points, level after the last, none before the first.
pub(super) struct Curve {
    points: Vec<RateAt>,
}

impl Curve {
    /// `None` when a rate cannot be, or a size is there twice.
    pub(super) fn new(rates: &[RateAt]) -> Option<Self> {
        let mut points = rates.to_vec();
        points.sort_by_key(|point| point.size);
        let different = points.windows(2).all(|pair| pair[0].size < pair[1].size);
        let possible = points.iter().all(|point| point.rate.is_finite() && point.rate > 0.0);
        (different && possible).then_some(Curve { points })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Nothing limits a container that is empty, or not there.
    pub(super) fn at(&self, size: u64) -> Option<f64> {
        let after = self.points.partition_point(|point| point.size <= size);
        let from = self.points.get(after.checked_sub(1).filter(|_| size > 0)?)?;
        let Some(to) = self.points.get(after) else { return Some(from.rate) };
        let share = (size - from.size) as f64 / (to.size - from.size) as f64;
        Some(from.rate + share * (to.rate - from.rate))
    }
}

/// No wait is longer than this, whatever is configured.
pub(super) const SECONDS_MAX: f64 = 86_400.0;
/// Things that are counted at a time. Beyond it, what was counted so far is forgotten rather than memory taken.
const KEYS_MAX: usize = 65_536;

/// For each key, until when its requests so far would take if they came at their rate.
pub(super) struct Meter {
    buffer: Duration,
    longest: Duration,
    busy_until: Mutex<HashMap<Box<str>, Instant>>,
}

impl Meter {
    /// `buffer` is how long unused time can be made up for; `longest`, how long somebody may have to wait.
    pub(super) fn new(buffer: Duration, longest: Duration) -> Self {
        Meter { buffer, longest, busy_until: Mutex::new(HashMap::new()) }
    }

    /// Counts a request and says how long it has to wait; `None` when that is too long, and it does not count.
    pub(super) fn take(&self, key: &str, rate: f64) -> Option<Duration> {
        let now = Instant::now();
        let each = Duration::from_secs_f64((1.0 / rate).min(SECONDS_MAX));
        let mut all = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        // What ended before the buffer began is as good as never counted.
        let is_fresh = |until: &Instant| *until + self.buffer >= now;
        let begin = all.get(key).copied().filter(is_fresh);
        let wait = begin.map_or(Duration::ZERO, |begin| begin.saturating_duration_since(now));
        if wait + Duration::from_millis(10) >= self.longest && !wait.is_zero() {
            return None;
        }
        if all.len() >= KEYS_MAX && !all.contains_key(key) {
            all.retain(|_, until| is_fresh(until));
            if all.len() >= KEYS_MAX {
                all.clear();
            }
        }
        all.insert(key.into(), begin.unwrap_or(now) + each);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(size: u64, rate: f64) -> RateAt {
        RateAt { size, rate }
    }

    #[test]
    fn rates_lie_on_lines_between_sizes() {
        let curve = Curve::new(&[at(300, 10.0), at(100, 50.0)]).expect("valid");
        assert_eq!(curve.at(0), None);
        assert_eq!(curve.at(99), None);
        assert_eq!(curve.at(100), Some(50.0));
        assert_eq!(curve.at(200), Some(30.0));
        assert_eq!((curve.at(300), curve.at(u64::MAX)), (Some(10.0), Some(10.0)));
        assert_eq!(Curve::new(&[at(0, 5.0)]).expect("valid").at(0), None);
        assert!(Curve::new(&[at(1, 1.0), at(1, 2.0)]).is_none());
        assert!(Curve::new(&[at(1, 0.0)]).is_none() && Curve::new(&[at(1, f64::NAN)]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_too_fast_waits_and_then_is_refused() {
        let meter = Meter::new(Duration::from_secs(5), Duration::from_secs(2));
        let waits = |count: usize| (0..count).map(|_| meter.take("a", 1.0)).collect::<Vec<_>>();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(waits(4), [seconds(0), seconds(1), None, None]);
        assert_eq!(meter.take("b", 1.0), seconds(0), "others are not concerned");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(waits(1), [seconds(0)]);
        // Four idle seconds can be made up for, but not ten.
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(
            waits(6),
            [seconds(0), seconds(0), seconds(0), seconds(0), seconds(0), seconds(1)]
        );
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(waits(2), [seconds(0), seconds(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let meter = Meter::new(Duration::from_secs(5), Duration::from_secs(2));
        for number in 0..KEYS_MAX + 10 {
            meter.take(&number.to_string(), 1.0);
        }
        assert!(meter.busy_until.lock().expect("lock").len() <= KEYS_MAX);
    }
}

//! The timer by which a connection waits for the head of a request.
//!
//! hyper makes a sleep for every request and throws it away when the head is there. To put each into the runtime's
//! wheel of timers, and take it out again, costs two turns at a lock that all threads want. So the sleeps of a
//! connection share one alarm that stays in the wheel: it rings at or before the deadline of whoever waits, and
//! is set anew only when it rang too early, which is once for each timeout and not once for each request.

use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// A timer for one connection. No two sleeps of it may be awaited at a time.
pub(crate) struct HeadTimer(Arc<Alarm>);

type Alarm = Mutex<Pin<Box<tokio::time::Sleep>>>;

impl HeadTimer {
    /// With sleeps of about so long.
    pub(crate) fn new(usual: Duration) -> Self {
        HeadTimer(Arc::new(Mutex::new(Box::pin(tokio::time::sleep(usual)))))
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadSleep { alarm: Arc::clone(&self.0), deadline: deadline.into() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

struct HeadSleep {
    alarm: Arc<Alarm>,
    deadline: tokio::time::Instant,
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        if alarm.deadline() > self.deadline {
            alarm.as_mut().reset(self.deadline);
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() == self.deadline || tokio::time::Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            // Set for a request before.
            alarm.as_mut().reset(self.deadline);
        }
    }
}

impl Sleep for HeadSleep {}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(60);

    /// How long the sleep takes from now on.
    async fn slept(sleep: Pin<Box<dyn Sleep>>) -> Duration {
        let started = tokio::time::Instant::now();
        sleep.await;
        started.elapsed()
    }

    fn about(is: Duration, wanted: Duration) -> bool {
        is >= wanted && is < wanted + Duration::from_millis(5)
    }

    #[tokio::test(start_paused = true)]
    async fn each_sleep_ends_at_its_own_deadline() {
        let timer = HeadTimer::new(USUAL);
        for pause in [0, 1, 59, 61, 200] {
            // One that is begun and given up, as when a head comes in time.
            let given_up = timer.sleep(USUAL);
            let waited = tokio::time::timeout(Duration::from_secs(1), given_up).await;
            assert!(waited.is_err(), "a head has its whole time");
            tokio::time::advance(Duration::from_secs(pause)).await;
            let is = slept(timer.sleep(USUAL)).await;
            assert!(about(is, USUAL), "after {pause} s: {is:?}");
        }
        let short = Duration::from_secs(3);
        assert!(
            about(slept(timer.sleep(short)).await, short),
            "also one that is shorter than usual"
        );
        let again = timer.sleep(short);
        tokio::time::advance(2 * short).await;
        assert!(about(slept(again).await, Duration::ZERO), "one that is over");
    }
}

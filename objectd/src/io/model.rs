//! What is locked and atomic in this module, under random schedules of shuttle.
//!
//! The files are those of the product, included again with shuttle's primitives for std's. Shuttle explores
//! interleavings, not weak memory: orderings are argued where they stand.

use shuttle::sync::{Arc, Condvar, Mutex as Lock};

mod sync {
    pub(super) use shuttle::sync::atomic::{AtomicBool, Ordering, fence};
}

#[expect(clippy::duplicate_mod, reason = "the same code on other primitives")]
#[path = "wake.rs"]
mod wake;

use wake::Wake;

const SCHEDULES: usize = 10_000;

/// A thread that takes work and sleeps on a counter, as the ring's thread does on its eventfd.
#[test]
fn no_wake_up_is_lost() {
    const PRODUCERS: usize = 3;
    const EACH: usize = 2;
    let run = || {
        let wake = Arc::new(Wake::new());
        let work = Arc::new(Lock::new(0));
        let event = Arc::new((Lock::new(0), Condvar::new()));
        let producer = |_| {
            let (wake, work, event) = (Arc::clone(&wake), Arc::clone(&work), Arc::clone(&event));
            shuttle::thread::spawn(move || {
                for _ in 0..EACH {
                    *work.lock().expect("a lock") += 1;
                    if wake.must_rouse() {
                        *event.0.lock().expect("a lock") += 1;
                        event.1.notify_one();
                    }
                }
            })
        };
        let producers = [0; PRODUCERS].map(producer);
        let mut done = 0;
        while done < PRODUCERS * EACH {
            done += std::mem::take(&mut *work.lock().expect("a lock"));
            if done < PRODUCERS * EACH && wake.may_sleep(|| *work.lock().expect("a lock") == 0) {
                let mut count = event.0.lock().expect("a lock");
                while *count == 0 {
                    count = event.1.wait(count).expect("a lock");
                }
                *count = 0;
            }
            wake.awake();
        }
        for producer in producers {
            producer.join().expect("no panic");
        }
    };
    shuttle::check_random(run, SCHEDULES);
}

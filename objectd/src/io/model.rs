//! What is locked and atomic in this module, under random schedules of shuttle.
//!
//! The files are those of the product, included again with shuttle's primitives for std's. Shuttle explores
//! interleavings, not weak memory: orderings are argued where they stand.

use shuttle::sync::{Arc, Condvar, Mutex as Lock};
use std::future::poll_fn;
use std::task::Poll;

mod sync {
    pub(super) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
    pub(super) use shuttle::sync::{Mutex, PoisonError};
}

#[expect(clippy::duplicate_mod, reason = "the same code on other primitives")]
#[expect(unreachable_pub, reason = "public in the product")]
#[path = "queue.rs"]
mod queue;
#[expect(clippy::duplicate_mod, reason = "the same code on other primitives")]
#[path = "wake.rs"]
mod wake;

use queue::{Class, Demand, Queue, Window};
use sync::{AtomicU64, Ordering};
use wake::Wake;

const SCHEDULES: usize = 10_000;

/// In flight in the model's disk, by its own count.
#[derive(Default)]
struct Disk {
    operations: AtomicU64,
    blocks: AtomicU64,
}

impl Disk {
    fn work(&self, blocks: u32) {
        let operations = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        let blocks_now = self.blocks.fetch_add(u64::from(blocks), Ordering::SeqCst);
        assert!(operations <= 2 && blocks_now + u64::from(blocks) <= 4, "the window holds");
        shuttle::thread::yield_now();
        self.blocks.fetch_sub(u64::from(blocks), Ordering::SeqCst);
        self.operations.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One operation; an impatient one gives up if it is not let through the second time it asks.
async fn operation(queue: &Queue, disk: &Disk, class: Class, blocks: u32, impatient: bool) {
    let demand = Demand { blocks, cost: blocks };
    let mut ticket = None;
    let mut asked = 0;
    let passed = poll_fn(|cx| {
        asked += 1;
        let passed = match ticket {
            None => {
                ticket = queue.enter(class, demand, cx.waker());
                ticket.is_none()
            }
            Some(ticket) => queue.passed(class, ticket, cx.waker()),
        };
        match passed {
            true => Poll::Ready(true),
            false if impatient && asked == 2 => Poll::Ready(false),
            false => {
                if impatient {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    })
    .await;
    match (passed, ticket) {
        (false, Some(ticket)) => queue.give_up(class, ticket, demand),
        _ => {
            disk.work(blocks);
            queue.leave(class, demand);
        }
    }
}

/// A waiter that nobody wakes is a deadlock, which shuttle finds.
#[test]
fn nobody_waits_forever_and_the_window_holds() {
    let users = [
        [(Class::Client, 1, false), (Class::Client, 3, false)],
        [(Class::Client, 4, true), (Class::Client, 2, false)],
        [(Class::Audit, 2, false), (Class::Compaction, 1, true)],
        [(Class::Compaction, 2, false), (Class::Client, 1, true)],
    ];
    let run = move || {
        let queue = Arc::new(Queue::new(Window { operations: 2, blocks: 4 }));
        let disk = Arc::new(Disk::default());
        let user = |plan: [(Class, u32, bool); 2]| {
            let (queue, disk) = (Arc::clone(&queue), Arc::clone(&disk));
            shuttle::thread::spawn(move || {
                for (class, blocks, impatient) in plan {
                    let one = operation(&queue, &disk, class, blocks, impatient);
                    shuttle::future::block_on(one);
                }
            })
        };
        for thread in users.map(user) {
            thread.join().expect("no panic");
        }
        assert_eq!(queue.state(), (0, 0, 0), "all is given back");
    };
    shuttle::check_random(run, SCHEDULES);
}

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

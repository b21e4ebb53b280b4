//! A disk that fails one single call, wherever that is: nothing that failed is acknowledged, nothing that was
//! acknowledged is lost, and a device that failed to write takes nothing any more.

use super::*;
use crate::io::{Calls, Failure};

/// What was acknowledged, and what failed.
#[derive(Default)]
struct Life {
    acknowledged: HashMap<u64, (u64, Option<usize>)>,
    failed: usize,
}

impl Life {
    fn note(&mut self, number: u64, raw: u64, len: Option<usize>, done: Result<(), EngineError>) {
        match done {
            Ok(()) => drop(self.acknowledged.insert(number, (raw, len))),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                self.failed += 1;
            }
        }
    }
}

/// A short life with everything in it: small and large data, deletions, checkpoints, compaction, full segments.
async fn live(engine: &Engine) -> Life {
    let mut life = Life::default();
    let mut raw = 100;
    for round in 0..5u64 {
        for number in 0..14 {
            raw += 1;
            let len = match number % 7 {
                0 => 90_000 + 1000 * number as usize,
                number => 3_000 * number as usize,
            };
            if round > 0 && number % 5 == 1 {
                continue;
            }
            let done = put(engine, number, raw, &content(raw, len)).await;
            life.note(number, raw, Some(len), done);
        }
        raw += 1;
        let done = delete(engine, round, raw).await;
        life.note(round, raw, None, done);
        let again = engine.clone();
        let maintained = tokio::task::spawn_blocking(move || again.maintain());
        life.failed += usize::from(maintained.await.expect("joined").is_err());
        for number in 0..14 {
            life.failed += usize::from(get(engine, number).await.is_err());
        }
    }
    life
}

fn open_small(disk: &SimIo, budget: &IndexBudget, index: &str) -> Result<Engine, OpenError> {
    let clock = Arc::new(ManualClock::at_seconds(1_700_000_000));
    let options = EngineOptions {
        segment_blocks: 96,
        capacity_bytes: 12 * 96 * 4096,
        reclaim_age: 100,
        ..EngineOptions::default()
    };
    let disk: Arc<dyn BlockIo> = Arc::new(disk.clone());
    Engine::open(disk, Path::new(index), budget, &identity(), &options, clock)
}

fn memory() -> IndexBudget {
    IndexBudget::new(1 << 20, 1 << 20).in_memory().expect("memory")
}

async fn end(engine: Engine) {
    tokio::task::spawn_blocking(move || engine.end()).await.expect("ended");
}

/// After a crash, from the log alone, all that was acknowledged is there.
async fn check(what: &str, disk: &SimIo, life: &Life) {
    let disk = disk.crash();
    let engine = open_small(&disk, &memory(), "/anew").unwrap_or_else(|e| panic!("{what}: {e}"));
    for (number, (raw, len)) in &life.acknowledged {
        let state = engine.state(hash_of(*number)).await.expect("state");
        match state.data_timestamp() {
            None => assert!(len.is_none(), "{what}: object {number} is lost"),
            Some(at) => {
                assert!(at.raw >= *raw, "{what}: object {number} went back in time");
                let found = get(&engine, *number).await;
                let found = found.unwrap_or_else(|e| panic!("{what}: object {number}: {e}"));
                if let Some((_, found)) = found {
                    assert!(found == content(at.raw, found.len()), "{what}: object {number}");
                }
            }
        }
    }
    end(engine).await;
}

/// Walks over calls from `first`, each `step`-th of a kind.
async fn walk(calls: Calls, first: u64, step: usize) {
    let disk = SimIo::new(1 << 30, 1);
    let engine = open_small(&disk, &memory(), "/index").expect("opens");
    let life = live(&engine).await;
    end(engine).await;
    assert_eq!(life.failed, 0, "without faults nothing fails");
    let all = disk.calls(calls);
    assert!(all > 60, "only {all} calls are made");
    let mut noticed = 0;
    for number in (first..all).step_by(step) {
        for failure in [Failure::Error, Failure::Full, Failure::Short] {
            let what = format!("{failure:?} of call {number} of {calls:?}");
            let disk = SimIo::new(1 << 30, number);
            disk.fail_call(calls, number, failure);
            let Ok(engine) = open_small(&disk, &memory(), "/index") else {
                // It says so, and the next start finds a disk that works.
                noticed += 1;
                check(&what, &disk, &Life::default()).await;
                continue;
            };
            let life = live(&engine).await;
            noticed += u64::from(life.failed > 0 || engine.is_poisoned());
            if engine.is_poisoned() {
                let refused = put(&engine, 99, 1 << 40, b"more").await;
                assert!(matches!(refused, Err(EngineError::Poisoned)), "{what}");
            }
            end(engine).await;
            check(&what, &disk, &life).await;
        }
    }
    assert!(noticed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_and_flush_may_fail_once_1() {
    walk(Calls::Changes, 0, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_and_flush_may_fail_once_2() {
    walk(Calls::Changes, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_may_fail_once() {
    walk(Calls::Reads, 0, 3).await;
}

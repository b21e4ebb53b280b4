//! The service under callers that stop, go away, or hand over memory that bites.

use bytes::Bytes;
use lanes::{Kernel, Md5Lanes, Stopped};
use md5::{Digest, Md5};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

const MIB: usize = 1 << 20;

fn bytes(length: usize, seed: usize) -> Bytes {
    (0..length).map(|i| ((i + seed).wrapping_mul(0x9e37_79b1) >> 11) as u8).collect()
}

async fn digest(service: &Md5Lanes, bytes: Bytes) -> Result<[u8; 16], Stopped> {
    let mut stream = service.stream();
    stream.update(bytes).await?;
    stream.finish().await
}

/// Polls once, for nobody.
fn polled<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Memory whose owner panics when it is given back.
struct Biting(Bytes);

impl AsRef<[u8]> for Biting {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Biting {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("as the test wants it"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_from_many_tasks() {
    for workers in [1, 3] {
        let service = Arc::new(Md5Lanes::start(workers).expect("threads"));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..100 {
            let service = Arc::clone(&service);
            tasks.spawn(async move {
                let bytes = bytes(number * 7919 + number % 3, number);
                let expected: [u8; 16] = Md5::digest(&bytes).into();
                assert_eq!(digest(&service, bytes).await, Ok(expected), "{number}");
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no panic");
        }
    }
}

#[tokio::test]
async fn a_stopped_service_fails_its_streams() {
    for kernel in Kernel::available() {
        let service = Md5Lanes::start_with(kernel, 1).expect("threads");
        let mut streams: Vec<_> = (0..50).map(|_| service.stream()).collect();
        for stream in &mut streams {
            stream.update(bytes(100_000, 1)).await.expect("it runs");
        }
        let mut late = service.stream();
        drop(service);
        for stream in streams {
            // What was computed before the stop is good.
            let digest = stream.finish().await;
            let expected: [u8; 16] = Md5::digest(bytes(100_000, 1)).into();
            assert!(digest == Ok(expected) || digest == Err(Stopped));
        }
        late.update(bytes(100, 1)).await.expect("a short stream needs no service");
        let told = late.update(bytes(MIB, 1)).await;
        assert_eq!(told.and(late.finish().await.map(drop)), Err(Stopped));
    }
}

#[tokio::test]
async fn streams_that_are_dropped_harm_nobody() {
    let service = Md5Lanes::start(1).expect("threads");
    for round in 0..200 {
        let mut stream = service.stream();
        stream.update(bytes(100_000, round)).await.expect("it runs");
        drop(stream);
        // Given up in the middle of an update.
        let mut stream = service.stream();
        {
            let update = stream.update(bytes(MIB, round));
            tokio::pin!(update);
            let _ = polled(update.as_mut());
        }
    }
    let expected: [u8; 16] = Md5::digest(bytes(MIB, 9)).into();
    assert_eq!(digest(&service, bytes(MIB, 9)).await, Ok(expected));
}

#[tokio::test]
async fn memory_that_bites_harms_its_own_stream_only() {
    let service = Md5Lanes::start(1).expect("threads");
    for _ in 0..10 {
        let good = digest(&service, bytes(MIB, 4));
        let bad = digest(&service, Bytes::from_owner(Biting(bytes(60_000, 5))));
        let (good, bad) = tokio::join!(good, bad);
        assert_eq!(good, Ok(Md5::digest(bytes(MIB, 4)).into()));
        assert_eq!(bad, Err(Stopped));
    }
}

/// Memory that tells which thread gave it back, which is the one that computed.
struct Telling(Bytes, std::sync::mpsc::Sender<Option<String>>);

impl AsRef<[u8]> for Telling {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.1.send(std::thread::current().name().map(str::to_owned));
    }
}

#[tokio::test]
async fn a_stream_that_is_alone_is_computed_by_its_caller() {
    let here = std::thread::current().name().map(str::to_owned);
    for kernel in Kernel::available() {
        let service = Md5Lanes::start_with(kernel, 1).expect("threads");
        let (tell, told) = std::sync::mpsc::channel();
        let telling = || Bytes::from_owner(Telling(bytes(60_000, 3), tell.clone()));
        let mut first = service.stream();
        first.update(telling()).await.expect("it runs");
        assert_eq!(told.recv(), Ok(here.clone()), "{kernel:?}");
        let mut second = service.stream();
        second.update(telling()).await.expect("it runs");
        first.update(telling()).await.expect("it runs");
        for _ in 0..2 {
            let shared = told.recv().expect("told");
            assert_eq!(shared != here, kernel != Kernel::Scalar, "{kernel:?}");
        }
        drop(second);
        let expected: [u8; 16] = Md5::digest([bytes(60_000, 3), bytes(60_000, 3)].concat()).into();
        assert_eq!(first.finish().await, Ok(expected));
        let mut last = service.stream();
        last.update(telling()).await.expect("it runs");
        assert_eq!(told.recv(), Ok(here.clone()), "alone again, with {kernel:?}");
    }
}

#[tokio::test]
async fn streams_change_between_their_callers_and_the_workers() {
    let service = Md5Lanes::start(1).expect("threads");
    for round in 0..50 {
        let whole = bytes(500_000, round);
        let (mut long, mut rest) = (service.stream(), whole.clone());
        let mut other = None;
        while !rest.is_empty() {
            long.update(rest.split_to(rest.len().min(30_000 + round))).await.expect("it runs");
            // Another one comes and goes.
            other = match other {
                None => {
                    let mut other = service.stream();
                    other.update(bytes(20_000, round)).await.expect("it runs");
                    Some(other)
                }
                Some(_) => None,
            };
        }
        assert_eq!(long.finish().await, Ok(Md5::digest(&whole).into()), "{round}");
    }
}

#[tokio::test]
async fn a_long_update_lets_others_have_their_turn() {
    let service = Md5Lanes::start(1).expect("threads");
    let memory = bytes(64 * MIB, 1);
    let mut stream = service.stream();
    {
        // So much cannot be computed while it is handed over, and so much may not wait.
        let update = stream.update(memory.clone());
        tokio::pin!(update);
        assert!(polled(update.as_mut()).is_pending());
        update.await.expect("it runs");
    }
    assert_eq!(stream.finish().await, Ok(Md5::digest(&memory).into()));
}

//! The threads that compute, and the queue of streams that have something to be computed.

use crate::batch;
use crate::kernel::Kernel;
use crate::stream::{Desk, Md5Stream};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Cores for each thread that [`Md5Lanes::workers_for_cores`] counts. One thread keeps up with far more streams than
/// four cores can receive.
const CORES_PER_WORKER: usize = 4;

/// Why the service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system has no thread to spare.
    #[error("cannot start a thread for MD5: {0}")]
    Thread(#[from] std::io::Error),
}

/// The service. When it is dropped its threads end, and streams that are not finished fail.
#[derive(Debug)]
pub struct Md5Lanes {
    ready: Arc<Ready>,
}

impl Md5Lanes {
    /// Starts so many threads, at least one, on the fastest kernel there is.
    pub fn start(workers: usize) -> Result<Self, StartError> {
        Md5Lanes::start_with(Kernel::best(), workers)
    }

    /// Starts with a kernel of the caller's choice.
    pub fn start_with(kernel: Kernel, workers: usize) -> Result<Self, StartError> {
        let workers = workers.max(1);
        // Made first, so that threads that were started end if one cannot be.
        let lanes = Md5Lanes { ready: Arc::new(Ready::new(kernel, workers)) };
        for number in 0..workers {
            let ready = Arc::clone(&lanes.ready);
            let thread = std::thread::Builder::new().name(format!("md5-{number}"));
            thread.spawn(move || ready.work())?;
        }
        Ok(lanes)
    }

    /// How many threads suit this machine.
    pub fn workers_for_cores() -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores / CORES_PER_WORKER).max(1)
    }

    /// Begins a stream, which costs nothing until it is long.
    pub fn stream(&self) -> Md5Stream {
        Md5Stream::new(Arc::clone(&self.ready))
    }
}

impl Drop for Md5Lanes {
    fn drop(&mut self) {
        self.ready.stop();
    }
}

/// Streams that have something to be computed, each at most once.
#[derive(Debug)]
pub(crate) struct Ready {
    kernel: Kernel,
    workers: usize,
    queue: Mutex<Queue>,
    called: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    streams: VecDeque<Arc<Desk>>,
    /// Workers that compute, or have been called to.
    awake: usize,
    /// Workers that have been called and have not come yet.
    calls: usize,
    stopped: bool,
}

impl Ready {
    fn new(kernel: Kernel, workers: usize) -> Self {
        Ready { kernel, workers, queue: Mutex::default(), called: Condvar::new() }
    }

    /// Each change under the lock is whole, so a poisoned lock is as good as any.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a stream into the queue, unless the service has been stopped. A worker that is awake will come by between
    /// two groups of blocks and fill its lanes, so another is called only when there is enough for one more.
    pub(crate) fn push(&self, stream: Arc<Desk>) -> bool {
        let mut queue = self.queue();
        if queue.stopped {
            return false;
        }
        queue.streams.push_back(stream);
        let enough = queue.streams.len() > self.kernel.lanes() / 2;
        if queue.awake == 0 || (enough && queue.awake < self.workers) {
            queue.awake += 1;
            queue.calls += 1;
            drop(queue);
            self.called.notify_one();
        }
        true
    }

    fn pop(&self) -> Option<Arc<Desk>> {
        self.queue().streams.pop_front()
    }

    fn stop(&self) {
        let mut queue = self.queue();
        queue.stopped = true;
        let streams = std::mem::take(&mut queue.streams);
        drop(queue);
        self.called.notify_all();
        for stream in streams {
            stream.lose();
        }
    }

    /// The life of a worker.
    fn work(&self) {
        while self.wait_for_call() {
            loop {
                // Nothing is known to panic. If it does all the same, the streams in the lanes are lost, and no other.
                let _ = catch_unwind(AssertUnwindSafe(|| self.compute()));
                if self.rest() {
                    break;
                }
            }
        }
    }

    /// Waits until there is work; `false` when the service has been stopped.
    fn wait_for_call(&self) -> bool {
        let queue = self.queue();
        let called = self.called.wait_while(queue, |queue| queue.calls == 0 && !queue.stopped);
        let mut queue = called.unwrap_or_else(PoisonError::into_inner);
        queue.calls = queue.calls.saturating_sub(1);
        !queue.stopped
    }

    /// Goes to rest if there is nothing to do.
    fn rest(&self) -> bool {
        let mut queue = self.queue();
        let nothing = queue.streams.is_empty();
        if nothing {
            queue.awake -= 1;
        }
        nothing
    }

    fn compute(&self) {
        let next = || {
            loop {
                if let Some(piece) = self.pop()?.take() {
                    return Some(piece);
                }
            }
        };
        batch::run(self.kernel, next, |piece| {
            if let Some(stream) = piece.finish()
                && !self.push(Arc::clone(&stream))
            {
                stream.lose();
            }
        });
    }
}

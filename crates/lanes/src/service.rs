//! The threads that compute, and the queue of streams that have something to be computed.

use crate::batch;
use crate::kernel::Kernel;
use crate::stream::{Desk, Md5Stream};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Cores for each thread that [`Md5Lanes::workers_for_cores`] counts. One thread keeps up with far more streams than
/// four cores can receive.
const CORES_PER_WORKER: usize = 4;

/// How long a worker waits for more streams before it begins with few, at least and at most. A few lanes take as long as
/// many, so each stream that comes meanwhile is computed almost for nothing.
const PATIENCE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(2));
/// No stream that has given nothing for longer than two of these is waited for.
const SPELL: Duration = Duration::from_millis(10);

/// Bit of [`Ready::open`]: there are no workers any more.
const STOPPED: usize = 1 << (usize::BITS - 1);

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
    /// Enough streams are in the queue for a worker that waits for more.
    enough: Condvar,
    /// Streams that are long and not finished, and [`STOPPED`].
    open: AtomicUsize,
}

#[derive(Debug, Default)]
struct Queue {
    streams: VecDeque<Arc<Desk>>,
    /// Workers that compute, or have been called to.
    awake: usize,
    /// Workers that have been called and have not come yet.
    calls: usize,
    /// Workers that wait for more streams.
    gathering: usize,
    spell: Spell,
    stopped: bool,
}

/// Who has given something lately.
#[derive(Debug, Default)]
struct Spell {
    /// Of the spell that is now; see [`Desk::comes_in`].
    number: u32,
    ends: Option<Instant>,
    /// Streams that have come in it, and in the one before.
    streams: (usize, usize),
}

impl Spell {
    fn comes(&mut self, stream: &Desk) {
        self.streams.0 += usize::from(stream.comes_in(self.number));
    }

    fn pass(&mut self, now: Instant) {
        if self.ends.is_none_or(|ends| ends <= now) {
            self.number = self.number.wrapping_add(1);
            self.ends = Some(now + SPELL);
            self.streams = (0, self.streams.0);
        }
    }
}

impl Queue {
    /// Whether more streams are in the queue than it is worth to wait for: those that were there lately, or enough for
    /// the smaller vectors.
    fn is_worth_it(&self, kernel: Kernel) -> bool {
        let lately = self.spell.streams.0.max(self.spell.streams.1);
        self.streams.len() >= lately.min(kernel.lanes() / 2)
    }
}

impl Ready {
    fn new(kernel: Kernel, workers: usize) -> Self {
        let (called, enough) = (Condvar::new(), Condvar::new());
        let open = AtomicUsize::new(0);
        Ready { kernel, workers, queue: Mutex::default(), called, enough, open }
    }

    /// A stream has become long.
    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A long stream is finished, or given up.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether one stream cannot share lanes with another, and is best computed by its caller.
    pub(crate) fn is_alone(&self) -> bool {
        let open = self.open.load(Ordering::Relaxed);
        open <= 1 || self.kernel.lanes() == 1 && open & STOPPED == 0
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
        queue.spell.comes(&stream);
        queue.streams.push_back(stream);
        let enough = queue.streams.len() > self.kernel.lanes() / 2;
        if queue.awake == 0 || (enough && queue.awake < self.workers) {
            queue.awake += 1;
            queue.calls += 1;
            drop(queue);
            self.called.notify_one();
        } else if queue.gathering > 0 && queue.is_worth_it(self.kernel) {
            drop(queue);
            self.enough.notify_all();
        }
        true
    }

    fn pop(&self) -> Option<Arc<Desk>> {
        self.queue().streams.pop_front()
    }

    fn stop(&self) {
        self.open.fetch_or(STOPPED, Ordering::Relaxed);
        let mut queue = self.queue();
        queue.stopped = true;
        let streams = std::mem::take(&mut queue.streams);
        drop(queue);
        self.called.notify_all();
        self.enough.notify_all();
        for stream in streams {
            stream.lose();
        }
    }

    /// The life of a worker.
    fn work(&self) {
        let mut patience = PATIENCE.0;
        while self.wait_for_call() {
            loop {
                patience = self.gather(patience);
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

    /// Waits a while for more streams if that is worth it, and gives how long to wait the next time: longer if others
    /// came, shorter if none did.
    fn gather(&self, patience: Duration) -> Duration {
        let (now, mut queue) = (Instant::now(), self.queue());
        queue.spell.pass(now);
        let began_with = queue.streams.len();
        if queue.is_worth_it(self.kernel) {
            return patience;
        }
        queue.gathering += 1;
        while !queue.is_worth_it(self.kernel) && !queue.stopped {
            let left = (now + patience).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.enough.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.gathering -= 1;
        // It grows faster than it shrinks, or it would settle where every second wait is for nothing.
        match queue.streams.len() > began_with {
            true => (patience * 4).min(PATIENCE.1),
            false => (patience / 2).max(PATIENCE.0),
        }
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

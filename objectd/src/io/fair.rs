//! One disk shared fairly by those who use it.
//!
//! A [`FairIo`] stands before a device and gives out shares of it, one for each [`Class`]. A share is a
//! [`BlockIo`] whose reads, writes and flushes wait in the queue of `queue.rs` while the disk has enough to do.
//! Listing, creating and opening files is rare and goes straight through.
//!
//! An operation counts as in flight until the disk is done with it, also if its future is dropped before: what
//! is left of it is then driven by its own waker, on whatever thread completes it, until it can be told from
//! done. That costs something only when a future is dropped.

use super::queue::{Class, Demand, Queue, Ticket, Window};
use super::{BlockBuf, BlockIo, FileId, IoFuture, WriteMode};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// What a flush, or a write that includes one, costs beside what it moves, in blocks.
const FLUSH_COST: u32 = 16;

/// A device shared by classes of users.
#[derive(Clone)]
pub struct FairIo(Arc<Gate>);

struct Gate {
    inner: Arc<dyn BlockIo>,
    queue: Queue,
}

impl FairIo {
    /// Stands before a device with the usual window.
    pub fn new(inner: Arc<dyn BlockIo>) -> Self {
        FairIo::with_window(inner, Window::default())
    }

    /// Stands before a device that takes another amount of work at a time.
    pub fn with_window(inner: Arc<dyn BlockIo>, window: Window) -> Self {
        FairIo(Arc::new(Gate { inner, queue: Queue::new(window) }))
    }

    /// The device as a class may use it.
    pub fn share(&self, class: Class) -> Arc<dyn BlockIo> {
        Arc::new(Share { gate: Arc::clone(&self.0), class })
    }

    /// Operations and blocks in flight, and how many wait.
    #[cfg(test)]
    pub(super) fn state(&self) -> (u32, u32, usize) {
        self.0.queue.state()
    }
}

struct Share {
    gate: Arc<Gate>,
    class: Class,
}

impl Share {
    fn passage<T, S>(&self, blocks: u32, flushes: bool, start: S) -> IoFuture<T>
    where
        T: Send + 'static,
        S: FnOnce(&dyn BlockIo) -> IoFuture<T> + Send + Unpin + 'static,
    {
        let cost = blocks.saturating_add(if flushes { FLUSH_COST } else { 0 });
        let demand = Demand { blocks, cost };
        let (gate, class) = (Arc::clone(&self.gate), self.class);
        Box::pin(Passage(Stage::New(Place { gate, class, demand }, start)))
    }
}

impl BlockIo for Share {
    fn kind(&self) -> &'static str {
        self.gate.inner.kind()
    }

    fn list(&self) -> IoFuture<Vec<String>> {
        self.gate.inner.list()
    }

    fn create(&self, name: &str, blocks: u32) -> IoFuture<FileId> {
        self.gate.inner.create(name, blocks)
    }

    fn open(&self, name: &str) -> IoFuture<(FileId, u32)> {
        self.gate.inner.open(name)
    }

    fn read(&self, file: FileId, at: u32, blocks: u32) -> IoFuture<BlockBuf> {
        self.passage(blocks, false, move |disk| disk.read(file, at, blocks))
    }

    fn write(&self, file: FileId, at: u32, buf: BlockBuf, mode: WriteMode) -> IoFuture<BlockBuf> {
        let flushes = mode == WriteMode::Durable;
        self.passage(buf.blocks(), flushes, move |disk| disk.write(file, at, buf, mode))
    }

    fn flush(&self, file: FileId) -> IoFuture<()> {
        self.passage(0, true, move |disk| disk.flush(file))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.gate.inner.free_bytes()
    }
}

/// Who an operation is to the queue.
struct Place {
    gate: Arc<Gate>,
    class: Class,
    demand: Demand,
}

/// Room in the window, given back when it goes.
struct Permit(Place);

impl Drop for Permit {
    fn drop(&mut self) {
        let Place { gate, class, demand } = &self.0;
        gate.queue.leave(*class, *demand);
    }
}

/// An operation on its way through the queue. It is asked of the disk when it is let through, not before.
struct Passage<T: Send + 'static, S>(Stage<T, S>);

enum Stage<T, S> {
    New(Place, S),
    Waiting(Place, Ticket, S),
    Flying(IoFuture<T>, Permit),
    Done,
}

impl<T, S: FnOnce(&dyn BlockIo) -> IoFuture<T>> Stage<T, S> {
    fn flying(place: Place, start: S) -> Self {
        let permit = Permit(place);
        Stage::Flying(start(&*permit.0.gate.inner), permit)
    }
}

impl<T, S> Future for Passage<T, S>
where
    T: Send + 'static,
    S: FnOnce(&dyn BlockIo) -> IoFuture<T> + Unpin,
{
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            self.0 = match std::mem::replace(&mut self.0, Stage::Done) {
                Stage::New(place, start) => {
                    match place.gate.queue.enter(place.class, place.demand, cx.waker()) {
                        None => Stage::flying(place, start),
                        Some(ticket) => {
                            self.0 = Stage::Waiting(place, ticket, start);
                            return Poll::Pending;
                        }
                    }
                }
                Stage::Waiting(place, ticket, start) => {
                    if !place.gate.queue.passed(place.class, ticket, cx.waker()) {
                        self.0 = Stage::Waiting(place, ticket, start);
                        return Poll::Pending;
                    }
                    Stage::flying(place, start)
                }
                Stage::Flying(mut flying, permit) => {
                    let done = flying.as_mut().poll(cx);
                    if done.is_pending() {
                        self.0 = Stage::Flying(flying, permit);
                    }
                    return done;
                }
                Stage::Done => return Poll::Pending,
            };
        }
    }
}

impl<T: Send + 'static, S> Drop for Passage<T, S> {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.0, Stage::Done) {
            Stage::Waiting(place, ticket, _) => {
                place.gate.queue.give_up(place.class, ticket, place.demand);
            }
            Stage::Flying(flying, permit) => Orphan::adopt(flying, permit),
            Stage::New(..) | Stage::Done => {}
        }
    }
}

/// An operation in flight that nobody waits for any more: a future that its own waker polls, wherever that is
/// called. What it does when polled is to look into a channel.
struct Orphan<T>(Mutex<Life<T>>);

enum Life<T> {
    Asleep(IoFuture<T>, Permit),
    /// Being polled; true if it was woken meanwhile.
    Polled(bool),
    Done,
}

impl<T: Send + 'static> Orphan<T> {
    fn adopt(flying: IoFuture<T>, permit: Permit) {
        // The budget of the task that drops it is not its own; without one, tokio's channels never wake it just
        // to make it yield.
        let flying = Box::pin(tokio::task::unconstrained(flying));
        Arc::new(Orphan(Mutex::new(Life::Asleep(flying, permit)))).drive();
    }

    fn drive(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let Some((mut flying, permit)) = self.begin() else { return };
        loop {
            if flying.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                *self.life() = Life::Done;
                return;
            }
            let mut life = self.life();
            if matches!(*life, Life::Polled(false)) {
                *life = Life::Asleep(flying, permit);
                return;
            }
            *life = Life::Polled(false);
        }
    }

    /// Takes the future out to be polled, or leaves word with whoever polls it.
    fn begin(&self) -> Option<(IoFuture<T>, Permit)> {
        let mut life = self.life();
        match std::mem::replace(&mut *life, Life::Polled(false)) {
            Life::Asleep(flying, permit) => return Some((flying, permit)),
            Life::Polled(_) => *life = Life::Polled(true),
            Life::Done => *life = Life::Done,
        }
        None
    }

    fn life(&self) -> MutexGuard<'_, Life<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Wake for Orphan<T> {
    fn wake(self: Arc<Self>) {
        self.drive();
    }
}

#[cfg(test)]
mod tests;

//! One stream of the service, as its caller and as a worker see it.

use crate::batch::Job;
use crate::digest::Digest;
use crate::kernel::{Block, State};
use crate::service::Ready;
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A stream that is no longer than this is computed where it is: handing it over would cost more.
const INLINE_MAX: u64 = 8 << 10;
/// What is computed in one go for one stream.
const PIECE_MAX: usize = 64 << 10;
/// Bytes of a stream that wait for a worker, besides the piece that a worker has.
const WAITING_BYTES_MAX: usize = 2 * PIECE_MAX;
/// Pieces of a stream that wait, however short they are.
const WAITING_PIECES_MAX: usize = 16;

/// The service has been stopped, or has failed at this stream, so there is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the threads that compute MD5 are gone")]
pub struct Stopped;

/// A stream of the service. Whoever drops it before it is finished leaves nothing behind.
#[derive(Debug)]
pub struct Md5Stream {
    ready: Arc<Ready>,
    side: Side,
}

/// Who has the digest.
#[derive(Debug)]
enum Side {
    /// The caller alone: the stream is short so far.
    Caller(Digest),
    /// The caller and the workers in turn.
    Both(Arc<Desk>),
}

impl Md5Stream {
    pub(crate) fn new(ready: Arc<Ready>) -> Self {
        Md5Stream { ready, side: Side::Caller(Digest::default()) }
    }

    /// Takes more. Beside other long streams it waits only while more than two pieces of 64 KiB of this stream would be
    /// waiting, so what is computed is usually not yet all that was given. Alone it is computed here: there is nothing
    /// to be shared, and handing it over would cost more. After each piece others have their turn, so the caller's
    /// thread is held for a tenth of a millisecond at most.
    ///
    /// A stream whose update was not awaited to its end may have taken a part of `bytes`, and is good for nothing.
    pub async fn update(&mut self, mut bytes: Bytes) -> Result<(), Stopped> {
        let desk = match &mut self.side {
            Side::Caller(digest) if digest.length() + bytes.len() as u64 <= INLINE_MAX => {
                digest.update(&bytes);
                return Ok(());
            }
            Side::Caller(digest) => {
                let desk = Arc::new(Desk::new(std::mem::take(digest)));
                self.ready.opened();
                self.side = Side::Both(Arc::clone(&desk));
                desk
            }
            Side::Both(desk) => Arc::clone(desk),
        };
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_MAX));
            let piece = match self.ready.is_alone() {
                true => desk.take_home(piece),
                false => Err(piece),
            };
            let piece = match piece {
                Ok(mut piece) => {
                    piece.compute();
                    piece.finish();
                    yield_once().await;
                    continue;
                }
                Err(piece) => piece,
            };
            poll_fn(|context| desk.poll_room(context, piece.len())).await?;
            if desk.give(piece)? && !self.ready.push(Arc::clone(&desk)) {
                desk.lose();
            }
        }
        Ok(())
    }

    /// The MD5 of all that was taken.
    pub async fn finish(mut self) -> Result<[u8; 16], Stopped> {
        let digest = match &mut self.side {
            Side::Caller(digest) => std::mem::take(digest),
            Side::Both(desk) => poll_fn(|context| desk.poll_digest(context)).await?,
        };
        Ok(digest.finish())
    }
}

impl Drop for Md5Stream {
    fn drop(&mut self) {
        if let Side::Both(desk) = &self.side {
            desk.lose();
            self.ready.closed();
        }
    }
}

/// Lets other tasks of this thread have their turn.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What a caller and a worker share of a stream.
#[derive(Debug)]
pub(crate) struct Desk {
    papers: Mutex<Papers>,
    /// The last spell in which it was put into the queue.
    spell: AtomicU32,
}

#[derive(Debug)]
struct Papers {
    place: Place,
    waiting: VecDeque<Bytes>,
    /// Of the caller, who waits for room or for the digest.
    waker: Option<Waker>,
}

/// Where the digest is.
#[derive(Debug)]
enum Place {
    /// Here, and nothing waits.
    Home(Digest),
    /// Here, and in the queue of the service.
    Queued(Digest),
    /// At a worker.
    Away,
    /// Nowhere: no digest will come of it.
    Lost,
}

impl Papers {
    fn wait(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

impl Desk {
    fn new(digest: Digest) -> Self {
        let place = Place::Home(digest);
        let papers = Mutex::new(Papers { place, waiting: VecDeque::new(), waker: None });
        Desk { papers, spell: AtomicU32::new(0) }
    }

    /// Notes the spell in which it comes, and says whether it is the first time in that one.
    pub(crate) fn comes_in(&self, spell: u32) -> bool {
        self.spell.swap(spell, Ordering::Relaxed) != spell
    }

    /// Nothing that may panic runs under the lock, so there is nothing half done behind a poisoned one.
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a piece of so many bytes may be given.
    fn poll_room(&self, context: &Context<'_>, len: usize) -> Poll<Result<(), Stopped>> {
        let mut papers = self.papers();
        if matches!(papers.place, Place::Lost) {
            return Poll::Ready(Err(Stopped));
        }
        let bytes: usize = papers.waiting.iter().map(Bytes::len).sum();
        if bytes + len <= WAITING_BYTES_MAX && papers.waiting.len() < WAITING_PIECES_MAX {
            return Poll::Ready(Ok(()));
        }
        papers.wait(context);
        Poll::Pending
    }

    /// Waits until all that was given is computed.
    fn poll_digest(&self, context: &Context<'_>) -> Poll<Result<Digest, Stopped>> {
        let mut papers = self.papers();
        match &mut papers.place {
            Place::Home(digest) => Poll::Ready(Ok(std::mem::take(digest))),
            Place::Lost => Poll::Ready(Err(Stopped)),
            Place::Queued(_) | Place::Away => {
                papers.wait(context);
                Poll::Pending
            }
        }
    }

    /// Lays a piece down, and says whether the stream must be put into the queue for that.
    fn give(&self, piece: Bytes) -> Result<bool, Stopped> {
        let mut papers = self.papers();
        let queue = match &mut papers.place {
            Place::Lost => return Err(Stopped),
            Place::Queued(_) | Place::Away => false,
            Place::Home(digest) => {
                papers.place = Place::Queued(std::mem::take(digest));
                true
            }
        };
        papers.waiting.push_back(piece);
        Ok(queue)
    }

    /// Gives a piece to its own caller, to be computed at once; back if the digest is not here or not all before it is
    /// in it.
    fn take_home(self: &Arc<Self>, bytes: Bytes) -> Result<Piece, Bytes> {
        let mut papers = self.papers();
        let Place::Home(digest) = &mut papers.place else { return Err(bytes) };
        let mut digest = std::mem::take(digest);
        papers.place = Place::Away;
        drop(papers);
        let whole = digest.take_ends(&bytes);
        Ok(Piece { desk: Arc::clone(self), digest, bytes, whole, back: false })
    }

    /// Gives a worker the next piece, with the digest it goes into; nothing if the stream was given up.
    pub(crate) fn take(self: Arc<Self>) -> Option<Piece> {
        let mut papers = self.papers();
        let Place::Queued(digest) = &mut papers.place else { return None };
        let mut digest = std::mem::take(digest);
        let Some(bytes) = papers.waiting.pop_front() else {
            papers.place = Place::Home(digest);
            return None;
        };
        papers.place = Place::Away;
        let waker = papers.waker.take();
        drop(papers);
        if let Some(waker) = waker {
            waker.wake();
        }
        let whole = digest.take_ends(&bytes);
        Some(Piece { desk: self, digest, bytes, whole, back: false })
    }

    /// Takes the digest back from a worker, and says whether more waits, so that the stream is to be queued again.
    fn give_back(&self, digest: Digest) -> bool {
        let mut papers = self.papers();
        if matches!(papers.place, Place::Lost) {
            return false;
        }
        if !papers.waiting.is_empty() {
            papers.place = Place::Queued(digest);
            return true;
        }
        papers.place = Place::Home(digest);
        let waker = papers.waker.take();
        drop(papers);
        if let Some(waker) = waker {
            waker.wake();
        }
        false
    }

    /// No digest will come of this stream.
    pub(crate) fn lose(&self) {
        let mut papers = self.papers();
        papers.place = Place::Lost;
        let waker = papers.waker.take();
        // Dropped behind the lock: it may be anybody's memory.
        let waiting = std::mem::take(&mut papers.waiting);
        drop(papers);
        if let Some(waker) = waker {
            waker.wake();
        }
        drop(waiting);
    }
}

/// What a worker computes in one go. A stream whose piece is dropped, because something panicked, is lost.
pub(crate) struct Piece {
    desk: Arc<Desk>,
    digest: Digest,
    bytes: Bytes,
    /// The whole blocks among `bytes`.
    whole: Range<usize>,
    back: bool,
}

impl Piece {
    /// Computes it here.
    fn compute(&mut self) {
        let blocks = self.bytes[self.whole.clone()].as_chunks().0;
        md5::block_api::compress(&mut self.digest.state, blocks);
    }

    /// Gives the digest back. If more waits, the stream is given, to be queued again.
    pub(crate) fn finish(mut self) -> Option<Arc<Desk>> {
        // It may be anybody's memory, and what goes wrong in giving it back must not harm other streams.
        let bytes = std::mem::take(&mut self.bytes);
        if catch_unwind(AssertUnwindSafe(|| drop(bytes))).is_err() {
            return None;
        }
        self.back = true;
        let more = self.desk.give_back(std::mem::take(&mut self.digest));
        more.then(|| Arc::clone(&self.desk))
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if !self.back {
            self.desk.lose();
        }
    }
}

impl Job for Piece {
    fn blocks(&self) -> &[Block] {
        self.bytes[self.whole.clone()].as_chunks().0
    }

    fn state(&mut self) -> &mut State {
        &mut self.digest.state
    }
}

//! The pack engine: one device's objects in a log of frames.
//!
//! A write is prepared by its request (metadata encoded, small data taken along, large data streamed into a
//! bulk segment and flushed), handed to the device's commit thread over a bounded queue, and acknowledged when
//! the frame that it shares with its neighbours is durable and visible in the index. A read looks the object
//! up in the index, reads its record in one go, and checks the CRC of every chunk that it hands out.
//!
//! Any error from a write or a flush poisons the device: it answers [`EngineError::Poisoned`] from then on,
//! until a restart has recovered what is durable. A flush is never tried again.
//!
//! The log has three streams, each with a segment of its own that is being filled: `hot` for new data, `short` for what
//! does not live long, `cold` for what compaction moves. Frames of all streams are numbered and chained as one.
//! [`Engine::maintain`] is what runs beside: it gives segments back in which nothing lives, moves what lives out of
//! segments that hold mostly garbage, gives up old tombstones, and makes the index durable.

pub(crate) mod apply;
mod body;
mod cache;
mod commit;
mod compact;
pub(crate) mod frames;
mod maintain;
mod open;
mod read;
mod rebuild;
mod recover;
mod scan;
mod segments;
#[cfg(test)]
mod tests;

pub use body::{BodyWriter, StoredBody};
pub use cache::RecordCache;
pub use maintain::Maintenance;
pub use open::{EngineOptions, Identity, OpenError};
pub use read::{ChunkStream, OpenRecord};

use crate::format::{FormatError, Metadata, RecordKind, RecordParts};
use crate::index::{Index, IndexError, Peek, Quarantined, UpdateToken};
use crate::io::{BlockIo, Class, FairIo};
use crate::state::{Fragment, ObjectState, Rule};
use commit::{CommitRequest, Committed, Job};
use daemon::SharedClock;
use segments::Segments;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use types::{ObjectHash, Timestamp};
use wire::ObjectUpdate;

/// Why the engine did not do it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The device failed before; nothing is written to it any more.
    #[error("the device has failed and takes no writes until it is restarted")]
    Poisoned,
    /// No room.
    #[error("the device is full")]
    Full,
    /// More writes wait than the queue holds.
    #[error("the device is overloaded")]
    Overloaded,
    /// The engine is stopping.
    #[error("the device is being closed")]
    Stopping,
    /// The record would be longer than a frame.
    #[error("the object's metadata and tables do not fit into a frame")]
    TooLarge,
    /// What is on disk is damaged.
    #[error("a record is damaged")]
    Damaged(#[from] FormatError),
    /// The object changed while it was being opened; what is there now is to be looked up again.
    #[error("the object changed meanwhile")]
    Changed,
    /// The index failed.
    #[error("the index failed")]
    Index(#[from] IndexError),
    /// The disk failed to read.
    #[error("the disk failed to read")]
    Read(#[source] std::io::Error),
}

/// One change of one object.
pub struct Change<'a> {
    /// What it is.
    pub kind: RecordKind,
    /// Of which object.
    pub hash: ObjectHash,
    /// When.
    pub timestamp: Timestamp,
    /// When the content type was set, if at a moment of its own.
    pub content_type_timestamp: Option<Timestamp>,
    /// When the object expires; 0 for never.
    pub delete_at: u64,
    /// Of an erasure-coded object: which piece this is.
    pub fragment: Option<Fragment>,
    /// The object's metadata.
    pub metadata: &'a Metadata,
    /// Its data; empty for all but [`RecordKind::Data`].
    pub body: StoredBody,
    /// What the container servers are to be told.
    pub update: Option<&'a ObjectUpdate>,
}

/// What a device's bytes are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Records and data that some object's state names.
    pub live: u64,
    /// All else in segments in use: what was deleted or replaced, and what was not filled yet or cannot be.
    pub garbage: u64,
    /// What no segment takes.
    pub free: u64,
}

/// A device's engine, and the share of the disk by which this handle uses it. Clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>, Arc<dyn BlockIo>, Option<RecordCache>);

struct Inner {
    disk: FairIo,
    index: Arc<Index>,
    segments: Arc<Segments>,
    device_id: [u8; 16],
    commits: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    clock: SharedClock,
    rule: Rule,
    /// Room for those who read much of the index at a time.
    scans: Arc<Semaphore>,
    /// In seconds.
    reclaim_age: u64,
    commit_thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    maintaining: Mutex<maintain::Rounds>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Whoever did not close the engine must still not leave a thread behind that works on what is going away.
        let (nobody, _) = mpsc::channel(1);
        self.commits = nobody;
        let thread = self.commit_thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// What the commit thread tells everybody.
#[derive(Default)]
struct Shared {
    poisoned: Arc<AtomicBool>,
    /// Of the next frame.
    next_lsn: AtomicU64,
    /// See [`crate::format::FrameHeader::updates_from`].
    updates_from: AtomicU64,
    /// Bytes of log since the index was made durable.
    unflushed: AtomicU64,
    stopping: AtomicBool,
    /// Another number after each record that is put into quarantine.
    quarantine_turn: watch::Sender<u64>,
}

impl Engine {
    /// The same engine, whose disk is used as by others of a class: clients come first. Who is no client means the
    /// disk itself, and neither uses nor fills what is kept in memory of it.
    pub fn share(&self, class: Class) -> Engine {
        let cache = self.2.clone().filter(|_| class == Class::Client);
        Engine(Arc::clone(&self.0), self.0.disk.share(class), cache)
    }

    /// What is known of an object.
    pub async fn state(&self, hash: ObjectHash) -> Result<ObjectState, EngineError> {
        match self.0.index.peek(&hash)? {
            Peek::Known(state) => Ok(state),
            Peek::NotInMemory => {
                let inner = Arc::clone(&self.0);
                let state = tokio::task::spawn_blocking(move || inner.index.state(&hash)).await;
                Ok(state.map_err(|_| EngineError::Stopping)??)
            }
        }
    }

    /// Makes a change durable and visible. Gives the name of its listing update, if it carries one.
    pub async fn commit(&self, change: Change<'_>) -> Result<Option<UpdateToken>, EngineError> {
        let update = change.update.map(crate::format::encode_update).unwrap_or_default();
        let body = &change.body;
        let record = RecordParts {
            kind: change.kind,
            hash: change.hash,
            timestamp: change.timestamp,
            content_type_timestamp: change.content_type_timestamp,
            data_len: body.len,
            delete_at: change.delete_at,
            fragment: change.fragment,
            metadata: change.metadata,
            update: &update,
            extents: &body.extents,
            chunk_crcs: &body.chunk_crcs,
            inline: &body.inline,
        }
        .encode();
        if record.len() > commit::record_max(self.0.segments.blocks()) {
            return Err(EngineError::TooLarge);
        }
        if change.kind == RecordKind::Data
            && let Some(pause) = self.0.segments.brake()
        {
            tokio::time::sleep(pause).await;
        }
        let (answer, wait) = oneshot::channel();
        let request = CommitRequest { record, reservation: change.body.reservation, answer };
        if self.is_poisoned() {
            return Err(EngineError::Poisoned);
        }
        self.0.commits.try_send(Job::Commit(request)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EngineError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => EngineError::Stopping,
        })?;
        let Committed { token } = wait.await.map_err(|_| EngineError::Stopping)??;
        Ok(token)
    }

    /// Whether the device has failed.
    pub fn is_poisoned(&self) -> bool {
        self.0.shared.poisoned.load(Ordering::Acquire)
    }

    /// Whether the device has room for new data. Deletions need little and are taken to the very end.
    pub fn has_room(&self) -> bool {
        self.0.segments.has_room()
    }

    /// Finds out how much room there is. Blocks.
    pub fn measure_room(&self) {
        self.0.segments.measure_room();
    }

    /// What of the device is used. Asks the file system.
    pub fn space(&self) -> Space {
        let room = self.0.segments.room();
        let used = room.all.saturating_sub(room.free);
        let live = self.0.segments.live().min(used);
        Space { live, garbage: used - live, free: room.free }
    }

    /// Waits until room has to be made, that is, until [`Engine::maintain`] has urgent work.
    pub async fn scarce(&self) {
        self.0.segments.scarce().await;
    }

    /// Which disk interface serves the device.
    pub fn io_kind(&self) -> &'static str {
        self.1.kind()
    }

    /// Listing updates behind `after` that no container server has taken yet, oldest first.
    pub async fn pending_updates(
        &self,
        after: UpdateToken,
        limit: usize,
    ) -> Result<Vec<(UpdateToken, ObjectUpdate)>, EngineError> {
        let inner = Arc::clone(&self.0);
        let pending =
            tokio::task::spawn_blocking(move || inner.index.pending_updates(after, limit)).await;
        Ok(pending.map_err(|_| EngineError::Stopping)??)
    }

    /// Forgets updates that were taken, and waits until they are no longer listed. After a crash some may be
    /// listed again.
    pub async fn updates_done(&self, tokens: Vec<UpdateToken>) -> Result<(), EngineError> {
        let (answer, wait) = oneshot::channel();
        let job = Job::Forget(tokens, Some(answer));
        self.0.commits.send(job).await.map_err(|_| EngineError::Stopping)?;
        wait.await.map_err(|_| EngineError::Stopping)
    }

    /// Forgets an update that was taken, some time soon. When too much waits already it stays, and is sent again.
    pub fn update_done(&self, token: UpdateToken) {
        let _ = self.0.commits.try_send(Job::Forget(vec![token], None));
    }

    /// Gives damaged records up, each named once: their space may be used again.
    pub async fn release(&self, records: Vec<Quarantined>) -> Result<(), EngineError> {
        let (answer, wait) = oneshot::channel();
        let job = Job::Release(records, answer);
        self.0.commits.send(job).await.map_err(|_| EngineError::Stopping)?;
        wait.await.map_err(|_| EngineError::Stopping)?
    }

    /// Makes the index durable, so that a restart replays little. Blocks.
    pub fn checkpoint(&self) -> Result<(), EngineError> {
        let Inner { index, shared, .. } = &*self.0;
        // In this order: an update that comes later is in a later frame.
        let next = shared.next_lsn.load(Ordering::Acquire);
        let oldest = index.oldest_update()?.map_or(next, |token| token.lsn().min(next));
        shared.updates_from.fetch_max(oldest, Ordering::AcqRel);
        shared.unflushed.store(0, Ordering::Release);
        Ok(index.flush()?)
    }

    /// Has a round of maintenance end soon.
    pub fn stop(&self) {
        self.0.shared.stopping.store(true, Ordering::Release);
    }

    /// Lets waiting commits end and closes the device. Blocks.
    pub fn close(self) {
        self.end();
        if let Err(error) = self.checkpoint() {
            let error = daemon::telemetry::chain(&error);
            tracing::warn!(error, "the index was not flushed when closing");
        }
    }

    fn end(&self) {
        self.stop();
        drop(self.0.maintaining.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = self.0.commits.blocking_send(Job::Close);
        let thread = self.0.commit_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

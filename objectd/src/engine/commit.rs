//! The commit thread: everything that waits becomes one frame, one durable write, one index batch.

use super::body::{Reservation, poison};
use super::segments::{Activated, Segments, blocks_of};
use super::{EngineError, Index};
use crate::format::{
    FRAME_BLOCKS_MAX, FRAME_HEADER_LEN, FRAME_TRAILER_LEN, FrameAddress, FrameHeader, Record,
    RecordHead, SegmentClass, seal, seal_frame,
};
use crate::index::{Applied, IndexError, UpdateToken};
use crate::io::{BLOCK, BlockBuf, FileId, WriteMode};
use crate::state::{Location, ObjectState, Version, merge};
use daemon::SharedClock;
use futures_executor::block_on;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use types::ObjectHash;

/// Changes that may wait for the thread; more are refused.
pub(super) const QUEUE: usize = 1024;
/// Records of one frame; their numbers fit into a byte of [`UpdateToken`].
const RECORDS_MAX: usize = 256;
/// Bytes of records at which a frame is closed.
const FRAME_FULL: usize = 1 << 20;
/// Longest record: with one more before it, a frame still fits.
pub(super) const RECORD_MAX: usize =
    FRAME_BLOCKS_MAX as usize * BLOCK - FRAME_FULL - FRAME_HEADER_LEN - FRAME_TRAILER_LEN;

/// What the thread is told.
pub(super) enum Job {
    /// Make a record durable.
    Commit(CommitRequest),
    /// Forget listing updates that were taken; answered, if wanted, when they are no longer listed.
    Forget(Vec<UpdateToken>, Option<oneshot::Sender<()>>),
    /// Take no more, and end.
    Close,
}

/// A prepared record and who waits for it.
pub(super) struct CommitRequest {
    pub(super) record: Vec<u8>,
    pub(super) reservation: Option<Reservation>,
    pub(super) answer: oneshot::Sender<Result<Committed, EngineError>>,
}

/// A record that is durable and visible.
#[derive(Clone, Copy)]
pub(super) struct Committed {
    pub(super) token: Option<UpdateToken>,
}

/// Where the next frame goes.
pub(super) struct Tail {
    pub(super) segment: u32,
    pub(super) file: FileId,
    pub(super) epoch: u64,
    pub(super) blocks: u32,
    pub(super) next_block: u32,
}

impl From<Activated> for Tail {
    fn from(new: Activated) -> Self {
        let Activated { id, file, epoch, blocks } = new;
        Tail { segment: id, file, epoch, blocks, next_block: 1 }
    }
}

/// The end of the log.
pub(super) struct Log {
    pub(super) tail: Option<Tail>,
    pub(super) next_lsn: u64,
    pub(super) previous_crc: u32,
}

/// What the thread owns.
pub(super) struct Committer {
    pub(super) segments: Arc<Segments>,
    pub(super) log: Log,
    pub(super) poisoned: Arc<AtomicBool>,
    pub(super) clock: SharedClock,
    pub(super) queue: mpsc::Receiver<Job>,
    pub(super) index: Arc<Index>,
}

impl Committer {
    /// Runs until it is told to close, or nobody can tell it anything any more.
    pub(super) fn run(mut self) {
        // Should this thread ever die of a mistake, the device must not look alive.
        let _guard = PoisonOnDrop(Arc::clone(&self.poisoned));
        let mut group = Group::default();
        let mut frame = BlockBuf::default();
        loop {
            let first = match group.held.take() {
                Some(held) => Some(Job::Commit(held)),
                None => self.queue.blocking_recv(),
            };
            let Some(first) = first else { return };
            let mut open = group.take(first);
            while open && !group.is_full() {
                let Ok(next) = self.queue.try_recv() else { break };
                open = group.take(next);
            }
            self.finish(&mut group, &mut frame);
            if group.close {
                return;
            }
        }
    }

    /// Does what has come together.
    fn finish(&mut self, group: &mut Group, frame: &mut BlockBuf) {
        let (bytes, forget) = (std::mem::take(&mut group.bytes), std::mem::take(&mut group.forget));
        if group.waiting.is_empty() {
            if let Err(error) = self.index.updates_done(&forget) {
                // They will be sent again, which changes nothing.
                let error = daemon::telemetry::chain(&error);
                tracing::warn!(error, "listing updates were not forgotten");
            }
        } else {
            let result = self.commit(&mut group.waiting, bytes, &forget, frame);
            answer(&mut group.waiting, result);
            self.segments.measure_room();
        }
        for forgotten in group.forgotten.drain(..) {
            let _ = forgotten.send(());
        }
    }

    fn commit(
        &mut self,
        waiting: &mut [CommitRequest],
        record_bytes: usize,
        forget: &[UpdateToken],
        frame: &mut BlockBuf,
    ) -> Result<Vec<Committed>, EngineError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(EngineError::Poisoned);
        }
        let blocks = blocks_of(FRAME_HEADER_LEN + record_bytes + FRAME_TRAILER_LEN);
        let (segments, poisoned) = (&self.segments, &self.poisoned);
        let fits = |tail: &&mut Tail| tail.next_block + blocks <= tail.blocks;
        let tail = match self.log.tail.as_mut().filter(fits) {
            Some(tail) => tail,
            None => {
                let activated = block_on(segments.activate(SegmentClass::Log, self.log.next_lsn));
                let new = activated.inspect_err(|error| {
                    if matches!(error, EngineError::Poisoned) {
                        poisoned.store(true, Ordering::Release);
                    }
                })?;
                self.log.tail.insert(new.into())
            }
        };
        if tail.next_block * 4 >= tail.blocks {
            segments.prepare_next();
        }
        let lsn = self.log.next_lsn;
        frame.resize(blocks);
        let heads = lay_records(frame, waiting, lsn);
        let header = FrameHeader {
            lsn,
            address: FrameAddress {
                epoch: tail.epoch,
                segment: tail.segment,
                block: tail.next_block,
            },
            blocks,
            records: heads.len() as u32,
            record_bytes: record_bytes as u32,
            written_micros: self.clock.micros(),
            previous_crc: self.log.previous_crc,
            crc: 0,
        };
        let crc = seal_frame(frame, &header);
        let started = Instant::now();
        let buf = std::mem::take(frame);
        let written =
            block_on(segments.io().write(tail.file, tail.next_block, buf, WriteMode::Durable));
        *frame = written.map_err(|error| poison(poisoned, "write of a frame", &error))?;
        metrics::histogram!("apus_object_commit_seconds").record(started.elapsed().as_secs_f64());
        metrics::counter!("apus_object_frames_total").increment(1);
        metrics::counter!("apus_object_records_total").increment(heads.len() as u64);
        let applied = Applied {
            lsn,
            segment: tail.segment,
            next_block: tail.next_block + blocks,
            header_crc: crc,
        };
        let base = tail.next_block as usize * BLOCK;
        tail.next_block += blocks;
        self.log.next_lsn += 1;
        self.log.previous_crc = crc;
        // From here on a restart would find the frame, so the blocks it names are no longer ours to give away.
        for request in &mut *waiting {
            if let Some(reservation) = request.reservation.take() {
                reservation.keep();
            }
        }
        let bytes = frame.as_ref();
        let tokens = apply(&self.index, base, bytes, &heads, applied, forget).map_err(|error| {
            // Durable but not visible: only a restart, which replays the log, can mend that.
            self.poisoned.store(true, Ordering::Release);
            tracing::error!(
                error = daemon::telemetry::chain(&error),
                "the index failed; the device takes no writes until a restart"
            );
            EngineError::Poisoned
        })?;
        Ok(tokens.into_iter().map(|token| Committed { token }).collect())
    }
}

/// What will share a frame.
#[derive(Default)]
struct Group {
    waiting: Vec<CommitRequest>,
    bytes: usize,
    forget: Vec<UpdateToken>,
    forgotten: Vec<oneshot::Sender<()>>,
    /// Came too late to fit, and begins the next group.
    held: Option<CommitRequest>,
    close: bool,
}

impl Group {
    fn is_full(&self) -> bool {
        self.waiting.len() >= RECORDS_MAX || self.bytes >= FRAME_FULL || self.forget.len() >= QUEUE
    }

    /// Takes one more; false when the group is to end here.
    fn take(&mut self, job: Job) -> bool {
        match job {
            Job::Commit(request)
                if !self.waiting.is_empty()
                    && self.bytes + padded(&request) > RECORD_MAX.max(FRAME_FULL) =>
            {
                self.held = Some(request);
                return false;
            }
            Job::Commit(request) => {
                self.bytes += padded(&request);
                self.waiting.push(request);
            }
            Job::Forget(tokens, answer) => {
                self.forget.extend(tokens);
                self.forgotten.extend(answer);
            }
            // Those who still wait are told by the closed channel.
            Job::Close => self.close = true,
        }
        !self.close
    }
}

struct PoisonOnDrop(Arc<AtomicBool>);

impl Drop for PoisonOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn padded(request: &CommitRequest) -> usize {
    request.record.len().next_multiple_of(8)
}

fn answer(waiting: &mut Vec<CommitRequest>, result: Result<Vec<Committed>, EngineError>) {
    match result {
        Ok(committed) => {
            for (request, committed) in waiting.drain(..).zip(committed) {
                let _ = request.answer.send(Ok(committed));
            }
        }
        Err(error) => {
            for request in waiting.drain(..) {
                let again = match &error {
                    EngineError::Full => EngineError::Full,
                    _ => EngineError::Poisoned,
                };
                // A frame that may be on disk may name these blocks after a restart.
                if let (EngineError::Poisoned, Some(reservation)) = (&again, request.reservation) {
                    reservation.keep();
                }
                let _ = request.answer.send(Err(again));
            }
        }
    }
}

/// Copies the records into the frame, and tells where each stands.
fn lay_records(
    frame: &mut BlockBuf,
    waiting: &mut [CommitRequest],
    lsn: u64,
) -> Vec<(u32, RecordHead)> {
    let bytes = frame.as_mut();
    let mut heads = Vec::with_capacity(waiting.len());
    let mut at = FRAME_HEADER_LEN;
    for request in waiting {
        seal(&mut request.record, lsn);
        let end = at + request.record.len();
        bytes[at..end].copy_from_slice(&request.record);
        let next = end.next_multiple_of(8);
        bytes[end..next].fill(0);
        // The record was encoded by us a moment ago.
        if let Ok(head) = RecordHead::decode(&request.record) {
            heads.push((at as u32, head));
        }
        at = next;
    }
    bytes[at..].fill(0);
    heads
}

/// Applies a durable frame to the index. `base` is where in its segment the frame begins.
pub(super) fn apply(
    index: &Index,
    base: usize,
    frame: &[u8],
    heads: &[(u32, RecordHead)],
    applied: Applied,
    forget: &[UpdateToken],
) -> Result<Vec<Option<UpdateToken>>, IndexError> {
    let mut batch = index.batch();
    let mut states: HashMap<ObjectHash, ObjectState> = HashMap::with_capacity(heads.len());
    let mut bulk: HashMap<u32, u32> = HashMap::new();
    let mut tokens = Vec::with_capacity(heads.len());
    for (number, (at, head)) in heads.iter().enumerate() {
        let state = match states.remove(&head.hash) {
            Some(state) => state,
            None => index.state(&head.hash)?,
        };
        let location = Location {
            segment: applied.segment,
            offset: (base + *at as usize) as u32,
            len: head.record_len,
            lsn: head.lsn,
        };
        let version = Version {
            kind: head.kind,
            timestamp: head.timestamp,
            content_type_timestamp: head.content_type_timestamp,
            delete_at: head.delete_at,
            data_len: head.data_len,
            location,
        };
        states.insert(head.hash, merge(&state, version));
        let mut token = None;
        if head.has_update() || head.has_extents() {
            let record = Record::decode(&frame[*at as usize..])?;
            if head.has_update() {
                let name = UpdateToken::new(head.lsn, number as u8);
                batch.put_update(name, &record.update);
                token = Some(name);
            }
            for extent in &record.extents {
                let taken = bulk.entry(extent.segment).or_default();
                *taken = (*taken).max(extent.block.saturating_add(extent.blocks));
            }
        }
        tokens.push(token);
    }
    for (hash, state) in &states {
        batch.put_state(hash, state);
    }
    for (segment, taken) in bulk {
        if taken > index.bulk_taken(segment)? {
            batch.put_bulk_taken(segment, taken);
        }
    }
    for token in forget {
        batch.forget_update(*token);
    }
    batch.write(&applied)?;
    Ok(tokens)
}

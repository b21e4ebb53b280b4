//! The commit thread: everything that waits becomes one frame, one durable write, one index batch.
//!
//! It is the only one that writes frames and the only one that changes states in the index, so whatever must not
//! race with a change (compaction's compare-and-set, quarantine) is done here too.

use super::apply::{Applier, Changes, Event, FramePlace, events_of};
use super::body::{Reservation, poison};
use super::frames::{last_frame, list, place_of};
use super::segments::{Activated, Purpose, blocks_of};
use super::{EngineError, Shared};
use crate::format::{
    FRAME_BLOCKS_MAX, FRAME_HEADER_LEN, FRAME_TRAILER_LEN, FooterTable, FrameAddress, FrameHeader,
    LastFrame, RecordHead, RecordKind, SegmentClass, SegmentHeader, footer_entry_len, seal,
    seal_frame,
};
use crate::index::{Applied, IndexError, Place, Quarantined, UpdateToken};
use crate::io::{BLOCK, BlockBuf, FileId, WriteMode};
use crate::state::Location;
use daemon::SharedClock;
use futures_executor::block_on;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use types::ObjectHash;

/// Changes that may wait for the thread; more are refused.
pub(super) const QUEUE: usize = 1024;
/// Records of one frame; their numbers fit into a byte of [`UpdateToken`].
pub(super) const RECORDS_MAX: usize = 256;
/// Bytes of records at which a frame is closed.
pub(super) const FRAME_FULL: usize = 1 << 20;
/// Longest record: with one more before it, a frame still fits.
const RECORD_MAX: usize =
    FRAME_BLOCKS_MAX as usize * BLOCK - FRAME_FULL - FRAME_HEADER_LEN - FRAME_TRAILER_LEN;
/// Bytes of log after which the index is made durable at the latest, so that recovery never replays more.
const REPLAY_MAX: u64 = 2 << 30;
/// What expires within so many seconds does not live long.
const SHORT_LIFE: u64 = 24 * 3600;

/// Longest record of a device with segments of so many blocks.
pub(super) fn record_max(segment_blocks: u32) -> usize {
    // Less its header, its footer of one block, and as much again for another record of the same frame.
    RECORD_MAX.min(segment_blocks.saturating_sub(4) as usize * BLOCK / 2)
}

/// What the thread is told.
pub(super) enum Job {
    /// Make a record durable.
    Commit(CommitRequest),
    /// Put copies of records in the place of the originals.
    Relocate(Vec<Relocation>, oneshot::Sender<Result<u64, EngineError>>),
    /// Forget tombstones in a segment that mean nothing any more; the answer is those that still do.
    Retire(u32, Vec<Marker>, oneshot::Sender<Result<Vec<Marker>, EngineError>>),
    /// Serve a damaged record no longer, and keep it.
    Quarantine(ObjectHash, Location),
    /// Close the segment of a stream.
    Rotate(SegmentClass, oneshot::Sender<Result<(), EngineError>>),
    /// Give up damaged records that were kept.
    Release(Vec<Quarantined>, oneshot::Sender<Result<(), EngineError>>),
    /// Forget listing updates that were taken; answered, if wanted, when they are no longer listed.
    Forget(Vec<UpdateToken>, Option<oneshot::Sender<()>>),
    /// Take no more, and end.
    Close,
}

/// The record of a tombstone or a purge.
pub(super) type Marker = (ObjectHash, Location);

/// A prepared record and who waits for it.
pub(super) struct CommitRequest {
    pub(super) record: Vec<u8>,
    pub(super) reservation: Option<Reservation>,
    pub(super) answer: oneshot::Sender<Result<Committed, EngineError>>,
}

/// A copy of a record.
pub(super) struct Relocation {
    pub(super) hash: ObjectHash,
    pub(super) from: Location,
    pub(super) record: Vec<u8>,
    /// Names the listing update that both carry.
    pub(super) token: Option<UpdateToken>,
    pub(super) reservation: Option<Reservation>,
}

/// A record that is durable and visible.
#[derive(Clone, Copy)]
pub(super) struct Committed {
    pub(super) token: Option<UpdateToken>,
}

/// Where the next frame of a stream goes.
pub(super) struct Tail {
    pub(super) segment: SegmentHeader,
    pub(super) file: FileId,
    pub(super) next_block: u32,
    /// What the segment holds so far; `None` when that is not known, and then it gets no footer.
    pub(super) table: Option<FooterTable>,
    pub(super) last: Option<LastFrame>,
}

impl From<Activated> for Tail {
    fn from(Activated { header, file }: Activated) -> Self {
        let table = Some(FooterTable::default());
        Tail { segment: header, file, next_block: 1, table, last: None }
    }
}

impl Tail {
    fn fits(&self, blocks: u32, footer_bytes: usize) -> bool {
        let footer = self.table.as_ref().map_or(0, |table| table.blocks(footer_bytes));
        self.next_block + blocks + footer <= self.segment.blocks
    }
}

/// The end of the log.
pub(super) struct Log {
    /// Of each stream.
    pub(super) tails: Vec<Option<Tail>>,
    pub(super) next_lsn: u64,
    pub(super) previous_crc: u32,
    /// See [`FrameHeader::updates_from`].
    pub(super) updates_from: u64,
}

impl Log {
    /// The end as an index is told it that knows every frame.
    pub(super) fn applied(&self) -> Applied {
        let place = |tail: &Tail| Place { segment: tail.segment.id, block: tail.next_block };
        let mut applied =
            Applied { lsn: self.next_lsn - 1, header_crc: self.previous_crc, ..Applied::default() };
        for (to, tail) in applied.places.iter_mut().zip(&self.tails) {
            *to = tail.as_ref().map(place);
        }
        applied
    }
}

/// What the thread owns.
pub(super) struct Committer {
    pub(super) applier: Applier,
    pub(super) log: Log,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: SharedClock,
    pub(super) queue: mpsc::Receiver<Job>,
    pub(super) frame: BlockBuf,
    /// Segments that were full, and are sealed once the index knows what came after.
    pub(super) full: Vec<u32>,
}

/// A frame that is durable and not yet visible.
struct Durable {
    applied: Applied,
    events: Vec<Event>,
}

impl Committer {
    /// Runs until it is told to close, or nobody can tell it anything any more.
    pub(super) fn run(mut self) {
        // Should this thread ever die of a mistake, the device must not look alive.
        let _guard = PoisonOnDrop(Arc::clone(&self.shared));
        let limit = FRAME_FULL.min(record_max(self.applier.segments.blocks()));
        let mut group = Group { limit, ..Group::default() };
        loop {
            let next = group.held.take().or_else(|| self.queue.blocking_recv());
            let Some(job) = next else { return };
            match job {
                Job::Close => return,
                Job::Commit(_) | Job::Forget(..) => {
                    group.take(job);
                    while !group.is_full() {
                        let Ok(next) = self.queue.try_recv() else { break };
                        group.take(next);
                    }
                    self.finish(&mut group);
                }
                Job::Relocate(mut moves, answer) => {
                    let moved = self.relocate(&mut moves);
                    if matches!(moved, Err(EngineError::Poisoned)) {
                        // A frame that may be on disk may name these blocks after a restart.
                        let reservations = moves.into_iter().filter_map(|it| it.reservation);
                        reservations.for_each(Reservation::keep);
                    }
                    let _ = answer.send(moved);
                }
                Job::Retire(segment, markers, answer) => {
                    let _ = answer.send(self.retire(segment, markers));
                }
                Job::Release(records, answer) => {
                    let _ = answer.send(self.change(|changes| {
                        records.iter().try_for_each(|record| changes.release(record))
                    }));
                }
                Job::Rotate(class, answer) => {
                    let _ = answer.send(self.rotate(class));
                }
                Job::Quarantine(hash, location) => self.quarantine(&hash, &location),
            }
        }
    }

    /// Does what has come together.
    fn finish(&mut self, group: &mut Group) {
        let forget = std::mem::take(&mut group.forget);
        if group.waiting.is_empty() {
            let forgotten = self.change(|changes| {
                forget.iter().for_each(|token| changes.forget_update(*token));
                Ok(())
            });
            if let Err(error) = forgotten {
                // They will be sent again, which changes nothing.
                let error = daemon::telemetry::chain(&error);
                tracing::warn!(error, "listing updates were not forgotten");
            }
        } else {
            let result = self.commit(&mut group.waiting, &forget);
            answer(&mut group.waiting, result);
            self.applier.segments.measure_room();
        }
        group.bytes = 0;
        for forgotten in group.forgotten.drain(..) {
            let _ = forgotten.send(());
        }
    }

    fn commit(
        &mut self,
        waiting: &mut [CommitRequest],
        forget: &[UpdateToken],
    ) -> Result<Vec<Committed>, EngineError> {
        let mut records: Vec<&mut [u8]> =
            waiting.iter_mut().map(|request| request.record.as_mut_slice()).collect();
        let class = self.class_of(&records);
        let durable = match self.put_frame(class, &mut records) {
            // No room for a segment of their own, but maybe for a few more frames.
            Err(EngineError::Full) if class == SegmentClass::Short => {
                self.put_frame(SegmentClass::Hot, &mut records)
            }
            other => other,
        };
        let Durable { applied, events } = durable?;
        let tokens = |event: &Event| Committed { token: event.update.as_ref().map(|u| u.0) };
        let committed = events.iter().map(tokens).collect();
        let mut changes = self.applier.changes();
        let applied = (|| {
            for event in events {
                changes.event(event)?;
            }
            forget.iter().for_each(|token| changes.forget_update(*token));
            changes.write(Some(&applied))
        })();
        applied.map_err(|error| self.invisible(&error))?;
        self.visible();
        for request in waiting {
            // They are accounted for as living now.
            if let Some(reservation) = request.reservation.take() {
                reservation.keep();
            }
        }
        Ok(committed)
    }

    /// What does not live long is kept apart, so that its segments die whole.
    fn class_of(&self, records: &[&mut [u8]]) -> SegmentClass {
        let soon = self.clock.micros() / 1_000_000 + SHORT_LIFE;
        let short = |record: &&mut [u8]| {
            RecordHead::decode(record).is_ok_and(|head| {
                head.kind == RecordKind::Tombstone || head.delete_at > 0 && head.delete_at < soon
            })
        };
        match records.iter().all(short) {
            true => SegmentClass::Short,
            false => SegmentClass::Hot,
        }
    }

    /// Writes one frame, and waits until it is durable.
    fn put_frame(
        &mut self,
        class: SegmentClass,
        records: &mut [&mut [u8]],
    ) -> Result<Durable, EngineError> {
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(EngineError::Poisoned);
        }
        let lsn = self.log.next_lsn;
        let mut footer_bytes = 0;
        let mut record_bytes = 0;
        for record in records.iter_mut() {
            seal(record, lsn);
            footer_bytes += footer_entry_len(&RecordHead::decode(record)?);
            record_bytes += record.len().next_multiple_of(8);
        }
        let blocks = blocks_of(FRAME_HEADER_LEN + record_bytes + FRAME_TRAILER_LEN);
        let stream = class.stream().unwrap_or_default();
        self.make_room(class, stream, blocks, footer_bytes)?;
        let Some(tail) = &mut self.log.tails[stream] else { return Err(EngineError::Poisoned) };
        let (segments, poisoned) = (&self.applier.segments, &self.shared.poisoned);
        if tail.next_block * 4 >= tail.segment.blocks {
            segments.prepare_next();
        }
        self.frame.resize(blocks);
        let heads = lay_records(&mut self.frame, records)?;
        let place = FramePlace { segment: tail.segment.id, block: tail.next_block };
        let events = events_of(place, self.frame.as_ref(), &heads)?;
        let within = match self.shared.updates_from.load(Ordering::Acquire) {
            0 => 0,
            from => u32::try_from((lsn + 1).saturating_sub(from).max(1)).unwrap_or(0),
        };
        let mut header = FrameHeader {
            lsn,
            address: FrameAddress {
                epoch: tail.segment.epoch,
                segment: tail.segment.id,
                block: tail.next_block,
            },
            blocks,
            records: heads.len() as u32,
            record_bytes: record_bytes as u32,
            updates_within: within,
            written_micros: self.clock.micros(),
            previous_crc: self.log.previous_crc,
            crc: 0,
        };
        header.crc = seal_frame(&mut self.frame, &header);
        let started = Instant::now();
        let buf = std::mem::take(&mut self.frame);
        let written =
            block_on(segments.io().write(tail.file, tail.next_block, buf, WriteMode::Durable));
        self.frame = written.map_err(|error| poison(poisoned, "write of a frame", &error))?;
        metrics::histogram!("apus_object_commit_seconds").record(started.elapsed().as_secs_f64());
        metrics::counter!("apus_object_frames_total", "class" => class.name()).increment(1);
        metrics::counter!("apus_object_records_total").increment(heads.len() as u64);
        if let Some(table) = &mut tail.table {
            list(table, &events);
        }
        tail.last = Some(last_frame(&header));
        tail.next_block += blocks;
        self.log.next_lsn += 1;
        self.log.previous_crc = header.crc;
        let bytes = u64::from(blocks) * BLOCK as u64;
        let unflushed = self.shared.unflushed.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if unflushed > REPLAY_MAX {
            self.shared.unflushed.store(0, Ordering::Release);
            self.applier.index.flush().map_err(|error| self.invisible(&error))?;
        }
        Ok(Durable { applied: self.log.applied(), events })
    }

    /// Makes sure that the stream's segment has room for a frame; if need be it is sealed and another put to use.
    fn make_room(
        &mut self,
        class: SegmentClass,
        stream: usize,
        blocks: u32,
        footer_bytes: usize,
    ) -> Result<(), EngineError> {
        let tail = &self.log.tails[stream];
        if tail.as_ref().is_some_and(|tail| tail.fits(blocks, footer_bytes)) {
            return Ok(());
        }
        // First, so that a stream which finds no other segment can still take what is shorter.
        let purpose = match class {
            SegmentClass::Cold => Purpose::Compaction,
            _ => Purpose::Requests,
        };
        let new = block_on(self.applier.segments.activate(class, self.log.next_lsn, purpose))?;
        self.write_footer(stream)?;
        if let Some(full) = self.log.tails[stream].replace(new.into()) {
            self.full.push(full.segment.id);
        }
        Ok(())
    }

    /// All frames so far are in the index. Only now a full segment may be freed: until then the index says that the
    /// log goes on in it.
    fn visible(&mut self) {
        self.shared.next_lsn.store(self.log.next_lsn, Ordering::Release);
        for segment in self.full.drain(..) {
            self.applier.segments.seal(segment);
        }
    }

    /// Closes the segment of a stream, so that compaction can have it.
    fn rotate(&mut self, class: SegmentClass) -> Result<(), EngineError> {
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(EngineError::Poisoned);
        }
        let stream = class.stream().unwrap_or_default();
        self.write_footer(stream)?;
        let Some(tail) = self.log.tails[stream].take() else { return Ok(()) };
        self.full.push(tail.segment.id);
        let applied = self.log.applied();
        let written = self.applier.changes().write(Some(&applied));
        written.map_err(|error| self.invisible(&error))?;
        self.visible();
        Ok(())
    }

    /// Writes the footer of a stream's segment, to which no frame is added afterwards.
    fn write_footer(&mut self, stream: usize) -> Result<(), EngineError> {
        let Some(tail) = &mut self.log.tails[stream] else { return Ok(()) };
        if let Tail { segment, file, table: Some(table), last: Some(last), .. } = tail {
            let footer = table.encode(&place_of(segment), last);
            let footer = BlockBuf::from_bytes(&footer);
            let at = segment.blocks - footer.blocks();
            let io = self.applier.segments.io();
            let written = block_on(io.write(*file, at, footer, WriteMode::Durable));
            let failed = |error| poison(&self.shared.poisoned, "write of a footer", &error);
            written.map_err(failed)?;
        }
        Ok(())
    }

    /// Puts copies in the place of their originals, if these still count. Gives the bytes that were written.
    fn relocate(&mut self, moves: &mut [Relocation]) -> Result<u64, EngineError> {
        let applier = self.applier.clone();
        let mut changes = applier.changes();
        let mut current = Vec::with_capacity(moves.len());
        for relocation in moves {
            let state = changes.state(&relocation.hash)?;
            if state.at(&relocation.from).is_some_and(|version| state.may_move(version)) {
                current.push(relocation);
            }
        }
        if current.is_empty() {
            return Ok(0);
        }
        let mut records: Vec<&mut [u8]> =
            current.iter_mut().map(|relocation| relocation.record.as_mut_slice()).collect();
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        let Durable { applied, events } = self.put_frame(SegmentClass::Cold, &mut records)?;
        let visible = (|| {
            for (relocation, mut event) in current.iter().zip(events) {
                if let Some(old) = relocation.token {
                    match self.applier.index.is_pending(old)? {
                        true => changes.forget_update(old),
                        // It was taken since.
                        false => event.update = None,
                    }
                }
                changes.event(event)?;
            }
            changes.write(Some(&applied))
        })();
        visible.map_err(|error| self.invisible(&error))?;
        self.visible();
        for relocation in current {
            if let Some(reservation) = relocation.reservation.take() {
                reservation.keep();
            }
        }
        metrics::counter!("apus_object_compacted_bytes_total").increment(bytes);
        Ok(bytes)
    }

    /// Forgets tombstones, but not those that something on the disk may be needed against. Decided here, where
    /// nothing can come in between. Gives those that stay.
    fn retire(&self, segment: u32, mut markers: Vec<Marker>) -> Result<Vec<Marker>, EngineError> {
        let waterline = self.applier.segments.waterline(segment);
        let needed = markers.extract_if(.., |(_, at)| at.lsn >= waterline).collect();
        self.change(|changes| {
            for (hash, location) in &markers {
                changes.retire(hash, location)?;
            }
            Ok(())
        })?;
        Ok(needed)
    }

    /// A change of the index alone, which a crash may undo.
    fn change(
        &self,
        make: impl FnOnce(&mut Changes<'_>) -> Result<(), IndexError>,
    ) -> Result<(), EngineError> {
        let mut changes = self.applier.changes();
        make(&mut changes)?;
        Ok(changes.write(None)?)
    }

    fn quarantine(&self, hash: &ObjectHash, location: &Location) {
        let now = self.clock.micros();
        let mut found = false;
        let done = self.change(|changes| {
            found = changes.quarantine(hash, location, now)?;
            Ok(())
        });
        match done {
            Ok(()) if found => {
                metrics::counter!("apus_object_quarantined_total").increment(1);
                self.shared.quarantine_turn.send_modify(|turn| *turn += 1);
                tracing::error!(
                    hash = types::hex_encode(&hash.0),
                    segment = location.segment,
                    offset = location.offset,
                    "a record is damaged; it is kept, and no longer served"
                );
            }
            Ok(()) => {}
            Err(error) => {
                let error = daemon::telemetry::chain(&error);
                tracing::error!(error, "a damaged record could not be put into quarantine");
            }
        }
    }

    /// Durable but not visible: only a restart, which replays the log, can mend that.
    fn invisible(&self, error: &IndexError) -> EngineError {
        self.shared.poisoned.store(true, Ordering::Release);
        let error = daemon::telemetry::chain(error);
        tracing::error!(error, "the index failed; the device takes no writes until a restart");
        EngineError::Poisoned
    }
}

/// What will share a frame.
#[derive(Default)]
struct Group {
    waiting: Vec<CommitRequest>,
    bytes: usize,
    limit: usize,
    forget: Vec<UpdateToken>,
    forgotten: Vec<oneshot::Sender<()>>,
    /// Came too late to fit, or is of another sort; it comes next.
    held: Option<Job>,
}

impl Group {
    fn is_full(&self) -> bool {
        self.held.is_some()
            || self.waiting.len() >= RECORDS_MAX
            || self.bytes >= self.limit
            || self.forget.len() >= QUEUE
    }

    /// Takes one more, or holds it back for the next round.
    fn take(&mut self, job: Job) {
        match job {
            Job::Commit(request) => {
                let len = request.record.len().next_multiple_of(8);
                if !self.waiting.is_empty() && self.bytes + len > self.limit {
                    self.held = Some(Job::Commit(request));
                } else {
                    self.bytes += len;
                    self.waiting.push(request);
                }
            }
            Job::Forget(tokens, answer) => {
                self.forget.extend(tokens);
                self.forgotten.extend(answer);
            }
            other => self.held = Some(other),
        }
    }
}

struct PoisonOnDrop(Arc<Shared>);

impl Drop for PoisonOnDrop {
    fn drop(&mut self) {
        self.0.poisoned.store(true, Ordering::Release);
    }
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
    records: &[&mut [u8]],
) -> Result<Vec<(u32, RecordHead)>, EngineError> {
    let bytes = frame.as_mut();
    let mut heads = Vec::with_capacity(records.len());
    let mut at = FRAME_HEADER_LEN;
    for record in records {
        let end = at + record.len();
        bytes[at..end].copy_from_slice(record);
        let next = end.next_multiple_of(8);
        bytes[end..next].fill(0);
        heads.push((at as u32, RecordHead::decode(record)?));
        at = next;
    }
    bytes[at..].fill(0);
    Ok(heads)
}

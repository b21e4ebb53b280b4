//! Compaction: moving what lives out of a segment that holds mostly garbage, so that the segment can be freed.
//!
//! Nothing is changed in place. Records are read, checked in full, and written again, sorted by hash, into frames of
//! the cold stream; the commit thread drops each copy whose original is no longer what the index means.

use super::body::{Reservation, append, piece_len};
use super::commit::{FRAME_FULL, Job, RECORDS_MAX, Relocation, record_max};
use super::frames::{FrameReader, Listed};
use super::segments::{Purpose, Use, blocks_of};
use super::{Engine, EngineError, Inner, OpenError};
use crate::format::{
    CHUNK, Extent, FormatError, Record, RecordKind, RecordParts, SegmentClass, SegmentHeader,
};
use crate::index::UpdateToken;
use crate::io::{BLOCK, BlockBuf, WriteMode};
use crate::state::{Fragment, Location, ObjectState, Version};
use futures_executor::block_on;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;
use types::ObjectHash;

/// Owners of bulk data that are looked up at a time.
const OWNERS: usize = 256;

/// What came of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) bytes: u64,
    pub(super) retired: u64,
}

/// Copies that share a frame.
#[derive(Default)]
struct Batch {
    moves: Vec<Relocation>,
    bytes: usize,
}

impl Engine {
    /// Moves everything out of a segment. Tombstones that are older than `reclaim_before`, in 10 µs since 1970, are
    /// given up instead, if nothing older than frame `waterline` is left that they could be needed against.
    pub(super) fn empty(
        &self,
        victim: &Use,
        reclaim_before: u64,
        waterline: u64,
    ) -> Result<Moved, EngineError> {
        match victim.header.class {
            SegmentClass::Bulk => self.empty_bulk(&victim.header),
            _ => self.empty_log(&victim.header, reclaim_before, waterline),
        }
    }

    fn empty_log(
        &self,
        victim: &SegmentHeader,
        reclaim_before: u64,
        waterline: u64,
    ) -> Result<Moved, EngineError> {
        let (Inner { segments, index, .. }, io) = (&*self.0, &self.1);
        let file = segments.file(victim.id).ok_or(FormatError::Misplaced)?;
        let listing = block_on(FrameReader::new(io, victim, file, 1).listing());
        let mut alive: Vec<Listed> = Vec::new();
        let mut retired = Vec::new();
        for listed in listing.map_err(unreadable)?.records {
            let Some(version) = index.state(&listed.hash)?.at(&listed.version.location).cloned()
            else {
                continue;
            };
            let aged = version.kind == RecordKind::Purge || version.timestamp.raw < reclaim_before;
            if version.kind.is_marker() && aged && version.location.lsn < waterline {
                retired.push((listed.hash, version.location));
            } else {
                alive.push(Listed { version, ..listed });
            }
        }
        alive.sort_by_key(|listed| listed.hash.0);
        let mut moved = Moved { bytes: 0, retired: retired.len() as u64 };
        self.retire(retired)?;
        let mut batch = Batch::default();
        for Listed { hash, version, token } in alive {
            if let Some(relocation) = self.copy(hash, &version, token)? {
                self.add(&mut batch, relocation, &mut moved)?;
            }
        }
        self.relocate(batch, &mut moved)?;
        Ok(moved)
    }

    fn empty_bulk(&self, victim: &SegmentHeader) -> Result<Moved, EngineError> {
        let Inner { segments, index, .. } = &*self.0;
        segments.forget_returned(victim.id);
        let mut moved = Moved::default();
        let mut from = ObjectHash([0; 16]);
        loop {
            let owners = index.owners(victim.id, &from, OWNERS)?;
            for hash in &owners {
                let state = index.state(hash)?;
                let of_victim = |version: &&Version| {
                    version.bulk.iter().any(|share| share.segment == victim.id)
                };
                for version in state.versions().iter().filter(of_victim) {
                    self.move_bulk(*hash, &state, version, victim.id, &mut moved)?;
                }
            }
            match owners.last().and_then(|last| u128::from_be_bytes(last.0).checked_add(1)) {
                Some(next) if owners.len() == OWNERS => from = ObjectHash(next.to_be_bytes()),
                _ => return Ok(moved),
            }
        }
    }

    fn add(
        &self,
        batch: &mut Batch,
        relocation: Relocation,
        moved: &mut Moved,
    ) -> Result<(), EngineError> {
        let limit = FRAME_FULL.min(record_max(self.0.segments.blocks()));
        let len = relocation.record.len().next_multiple_of(8);
        if batch.moves.len() == RECORDS_MAX || batch.bytes + len > limit {
            self.relocate(std::mem::take(batch), moved)?;
        }
        batch.bytes += len;
        batch.moves.push(relocation);
        Ok(())
    }

    fn relocate(&self, batch: Batch, moved: &mut Moved) -> Result<(), EngineError> {
        if batch.moves.is_empty() {
            return Ok(());
        }
        moved.bytes += self.tell(|answer| Job::Relocate(batch.moves, answer))?;
        Ok(())
    }

    /// Has the commit thread do something that no request asked for, and waits.
    pub(super) fn tell<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, EngineError>>) -> Job,
    ) -> Result<T, EngineError> {
        if self.0.shared.stopping.load(Ordering::Acquire) {
            return Err(EngineError::Stopping);
        }
        let (answer, wait) = oneshot::channel();
        block_on(self.0.commits.send(job(answer))).map_err(|_| EngineError::Stopping)?;
        block_on(wait).map_err(|_| EngineError::Stopping)?
    }

    fn retire(&self, versions: Vec<(ObjectHash, Location)>) -> Result<(), EngineError> {
        for some in versions.chunks(RECORDS_MAX) {
            self.tell(|answer| Job::Retire(some.to_vec(), answer))?;
        }
        Ok(())
    }

    /// A copy of a record as it is to be written again; `None` when it is damaged or has changed.
    fn copy(
        &self,
        hash: ObjectHash,
        version: &Version,
        token: Option<UpdateToken>,
    ) -> Result<Option<Relocation>, EngineError> {
        let opened = match block_on(self.open_record(hash, version)) {
            Ok(opened) if opened.version().location == version.location => opened,
            Ok(_) | Err(EngineError::Changed | EngineError::Damaged(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if opened.record.extents.is_empty() {
            let len = opened.record.head.data_len;
            match block_on(self.data(&opened, 0..len).whole()) {
                Ok(_) => {}
                Err(EngineError::Changed | EngineError::Damaged(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let state = self.0.index.state(&hash)?;
        let token = match token {
            Some(token) if self.0.index.is_pending(token)? => Some(token),
            _ => None,
        };
        let extents = opened.record.extents.clone();
        let record =
            encode(&opened.record, &state, version, &extents, &opened.inline(), token.is_some());
        Ok(Some(Relocation { hash, from: version.location, record, token, reservation: None }))
    }

    /// Moves what an object has in a bulk segment.
    fn move_bulk(
        &self,
        hash: ObjectHash,
        state: &ObjectState,
        version: &Version,
        victim: u32,
        moved: &mut Moved,
    ) -> Result<(), EngineError> {
        let opened = match block_on(self.open_record(hash, version)) {
            Ok(opened) if opened.version().location == version.location => opened,
            Ok(_) | Err(EngineError::Changed | EngineError::Damaged(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let (extents, reservation) = match block_on(self.copy_extents(&opened.record, victim)) {
            Ok(copied) => copied,
            Err(EngineError::Damaged(_)) => {
                let job = Job::Quarantine(hash, version.location);
                let _ = block_on(self.0.commits.send(job));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let copied: u64 = reservation.bytes();
        // The update stays where it is: a record of bulk data is moved by the segment it stands in.
        let token = self.token_of(version, &opened.record)?;
        let record = encode(&opened.record, state, version, &extents, &[], token.is_some());
        let relocation = Relocation {
            hash,
            from: version.location,
            record,
            token,
            reservation: Some(reservation),
        };
        moved.bytes += copied;
        self.relocate(Batch { bytes: relocation.record.len(), moves: vec![relocation] }, moved)
    }

    /// The name of a record's listing update, if that still waits.
    fn token_of(
        &self,
        version: &Version,
        record: &Record,
    ) -> Result<Option<UpdateToken>, EngineError> {
        if record.update.is_empty() {
            return Ok(None);
        }
        // Its number in the frame is not known here, but what it says.
        for row in self.0.index.updates(UpdateToken::new(version.location.lsn, 0)) {
            let (token, update) = row?;
            if token.lsn() != version.location.lsn {
                break;
            }
            if *update == record.update {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    async fn copy_extents(
        &self,
        record: &Record,
        victim: u32,
    ) -> Result<(Vec<Extent>, Reservation), EngineError> {
        let segments = &self.0.segments;
        let mut reservation = Reservation::of(segments);
        let mut extents = Vec::new();
        let mut files = Vec::new();
        let piece = (piece_len(segments.blocks()) / BLOCK) as u32;
        let mut position = 0u64;
        for extent in &record.extents {
            if extent.segment != victim {
                append(&mut extents, *extent);
                position += u64::from(extent.blocks) * BLOCK as u64;
                continue;
            }
            let file = segments.file(victim).ok_or(FormatError::Misplaced)?;
            for first in (0..extent.blocks).step_by(piece as usize) {
                let blocks = piece.min(extent.blocks - first);
                let left = record.head.data_len.saturating_sub(position) as usize;
                let read = self.1.read(file, extent.block + first, blocks).await;
                let read = read.map_err(EngineError::Read)?;
                let data = &read.as_ref()[..left.min(blocks as usize * BLOCK)];
                check(record, position, data)?;
                let (new, to) =
                    segments.reserve(blocks_of(data.len()), Purpose::Compaction).await?;
                reservation.push(new);
                let buf = BlockBuf::from_bytes(data);
                let written = self.1.write(to, new.block, buf, WriteMode::Volatile).await;
                written.map_err(|error| self.poison("write of bulk data", &error))?;
                append(&mut extents, new);
                if !files.contains(&to) {
                    files.push(to);
                }
                position += u64::from(blocks) * BLOCK as u64;
            }
        }
        for file in files {
            let flushed = self.1.flush(file).await;
            flushed.map_err(|error| self.poison("flush of bulk data", &error))?;
        }
        Ok((extents, reservation))
    }
}

/// Checks the chunks of data that begins at a position, which is that of a chunk.
fn check(record: &Record, position: u64, data: &[u8]) -> Result<(), FormatError> {
    let first = (position / CHUNK as u64) as usize;
    let mut crcs = record.chunk_crcs.get(first..).unwrap_or_default().iter();
    let holds = |piece: &[u8]| crcs.next() == Some(&crc32fast::hash(piece));
    if data.chunks(CHUNK).all(holds) { Ok(()) } else { Err(FormatError::Checksum) }
}

/// The record as it is to be written again. A listing update that was taken is left out.
fn encode(
    record: &Record,
    state: &ObjectState,
    version: &Version,
    extents: &[Extent],
    inline: &[u8],
    with_update: bool,
) -> Vec<u8> {
    let durable = state.is_durable(version);
    let head = &record.head;
    RecordParts {
        kind: head.kind,
        hash: head.hash,
        timestamp: head.timestamp,
        content_type_timestamp: head.content_type_timestamp,
        data_len: head.data_len,
        delete_at: head.delete_at,
        fragment: head.fragment.map(|fragment| Fragment { durable, ..fragment }),
        metadata: &record.metadata,
        update: if with_update { &record.update } else { &[] },
        extents,
        chunk_crcs: &record.chunk_crcs,
        inline,
    }
    .encode()
}

fn unreadable(error: OpenError) -> EngineError {
    match error {
        OpenError::Io(error) => EngineError::Read(error),
        _ => EngineError::Damaged(FormatError::Checksum),
    }
}

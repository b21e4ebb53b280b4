//! Compaction: moving what lives out of a segment that holds mostly garbage, so that the segment can be freed.
//!
//! Nothing is changed in place. Records are read in the order in which they lie, checked in full, and written again,
//! sorted by hash, into frames of the cold stream; the commit thread drops each copy whose original is no longer what
//! the index means.

use super::body::{Reservation, append, piece_len};
use super::commit::{FRAME_FULL, Job, Marker, RECORDS_MAX, Relocation, record_max};
use super::frames::{FrameReader, InOrder, Listed};
use super::segments::{Purpose, Use, blocks_of};
use super::{Engine, EngineError, Inner, OpenError};
use crate::format::{
    CHUNK, Extent, FormatError, Record, RecordKind, RecordParts, SegmentClass, SegmentHeader,
};
use crate::index::UpdateToken;
use crate::io::{BLOCK, BlockBuf, FileId, WriteMode};
use crate::state::{Fragment, ObjectState, Version};
use futures_executor::block_on;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;
use types::ObjectHash;

/// Owners of bulk data that are looked up at a time.
const OWNERS: usize = 256;
/// Bytes of records that are sorted together in memory.
const SORTED: usize = 16 << 20;
/// Bytes of bulk data that are written before they are flushed.
const BULK_UNFLUSHED: u64 = 16 << 20;

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
    /// Bulk data that they name, and the files that it was written to.
    copied: u64,
    files: Vec<FileId>,
}

/// A record that lives.
struct Alive {
    hash: ObjectHash,
    version: Version,
    token: Option<UpdateToken>,
    /// Whether fragments of its moment count.
    durable: bool,
}

impl Engine {
    /// Moves everything out of a segment. Tombstones that are older than `reclaim_before`, in 10 µs since 1970, are
    /// given up instead, if nothing is left that they could be needed against.
    pub(super) fn empty(&self, victim: &Use, reclaim_before: u64) -> Result<Moved, EngineError> {
        match victim.header.class {
            SegmentClass::Bulk => self.empty_bulk(&victim.header),
            _ => self.empty_log(&victim.header, reclaim_before),
        }
    }

    fn empty_log(&self, victim: &SegmentHeader, reclaim_before: u64) -> Result<Moved, EngineError> {
        let file = self.0.segments.file(victim.id).ok_or(FormatError::Misplaced)?;
        let listing = block_on(FrameReader::new(&self.1, victim, file, 1).listing());
        let (mut alive, aged) = self.alive(listing.map_err(unreadable)?.records, reclaim_before)?;
        let mut moved = Moved { bytes: 0, retired: aged.len() as u64 };
        let needed = self.retire(victim.id, &aged)?;
        moved.retired -= needed.len() as u64;
        let given_up: HashSet<&Marker> = aged.iter().filter(|it| !needed.contains(it)).collect();
        alive.retain(|it| !given_up.contains(&(it.hash, it.version.location)));
        let mut reader = InOrder::new(&self.1, victim, file);
        let mut sorted: Vec<Relocation> = Vec::new();
        let mut bytes = 0;
        for it in alive {
            let Some(relocation) = self.copy(&mut reader, &it)? else { continue };
            bytes += relocation.record.len();
            sorted.push(relocation);
            if bytes >= SORTED {
                bytes = 0;
                self.write_sorted(std::mem::take(&mut sorted), &mut moved)?;
            }
        }
        self.write_sorted(sorted, &mut moved)?;
        Ok(moved)
    }

    /// What lives of a segment's records, and those among it that are old enough to be given up.
    fn alive(
        &self,
        records: Vec<Listed>,
        reclaim_before: u64,
    ) -> Result<(Vec<Alive>, Vec<Marker>), EngineError> {
        let index = &self.0.index;
        let (mut alive, mut aged) = (Vec::new(), Vec::new());
        for Listed { hash, version: Version { location, .. }, token } in records {
            let state = index.state(&hash)?;
            let Some(version) = state.at(&location) else { continue };
            let token = match token {
                Some(token) if index.is_pending(token)? => Some(token),
                _ => None,
            };
            let old = version.kind == RecordKind::Purge || version.timestamp.raw < reclaim_before;
            // What its container was not told yet must be found again, should the index be lost.
            if version.kind.is_marker() && old && token.is_none() {
                aged.push((hash, location));
            }
            let durable = state.is_durable(version);
            alive.push(Alive { hash, version: version.clone(), token, durable });
        }
        Ok((alive, aged))
    }

    fn write_sorted(
        &self,
        mut relocations: Vec<Relocation>,
        moved: &mut Moved,
    ) -> Result<(), EngineError> {
        relocations.sort_by_key(|relocation| relocation.hash.0);
        let mut batch = Batch::default();
        for relocation in relocations {
            self.add(&mut batch, relocation, moved)?;
        }
        self.relocate(&mut batch, moved)
    }

    fn empty_bulk(&self, victim: &SegmentHeader) -> Result<Moved, EngineError> {
        let Inner { segments, index, .. } = &*self.0;
        segments.forget_returned(victim.id);
        let mut moved = Moved::default();
        let mut batch = Batch::default();
        let mut from = ObjectHash([0; 16]);
        loop {
            let owners = index.owners(victim.id, &from, OWNERS)?;
            for hash in &owners {
                let state = index.state(hash)?;
                let of_victim = |version: &&Version| {
                    version.bulk.iter().any(|share| share.segment == victim.id)
                };
                for version in state.versions().iter().filter(of_victim) {
                    let copied = self.copy_bulk(*hash, &state, version, victim.id, &mut batch)?;
                    if let Some(relocation) = copied {
                        self.add(&mut batch, relocation, &mut moved)?;
                    }
                }
            }
            match owners.last().and_then(|last| u128::from_be_bytes(last.0).checked_add(1)) {
                Some(next) if owners.len() == OWNERS => from = ObjectHash(next.to_be_bytes()),
                _ => break,
            }
        }
        self.relocate(&mut batch, &mut moved)?;
        Ok(moved)
    }

    fn add(
        &self,
        batch: &mut Batch,
        relocation: Relocation,
        moved: &mut Moved,
    ) -> Result<(), EngineError> {
        let limit = FRAME_FULL.min(record_max(self.0.segments.blocks()));
        let len = relocation.record.len().next_multiple_of(8);
        let full = batch.moves.len() == RECORDS_MAX || batch.copied >= BULK_UNFLUSHED;
        if full || batch.bytes + len > limit {
            self.relocate(batch, moved)?;
        }
        batch.bytes += len;
        batch.copied += relocation.reservation.as_ref().map_or(0, Reservation::bytes);
        batch.moves.push(relocation);
        Ok(())
    }

    fn relocate(&self, batch: &mut Batch, moved: &mut Moved) -> Result<(), EngineError> {
        let Batch { moves, copied, files, .. } = std::mem::take(batch);
        if moves.is_empty() {
            return Ok(());
        }
        for file in files {
            let flushed = block_on(self.1.flush(file));
            flushed.map_err(|error| self.poison("flush of bulk data", &error))?;
        }
        moved.bytes += copied + self.tell(|answer| Job::Relocate(moves, answer))?;
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

    /// Gives tombstones in a segment up, but not those that are still needed, which are the answer.
    fn retire(&self, segment: u32, markers: &[Marker]) -> Result<HashSet<Marker>, EngineError> {
        let mut needed = HashSet::new();
        for some in markers.chunks(RECORDS_MAX) {
            needed.extend(self.tell(|answer| Job::Retire(segment, some.to_vec(), answer))?);
        }
        Ok(needed)
    }

    /// A copy of a record as it is to be written again; `None` when it is damaged or has changed.
    fn copy(&self, reader: &mut InOrder, alive: &Alive) -> Result<Option<Relocation>, EngineError> {
        let read = block_on(reader.record(&alive.version.location));
        if let Some(relocation) = read.map_err(EngineError::Read)?.and_then(|it| alive.again(it)) {
            return Ok(Some(relocation));
        }
        // It moved meanwhile, or is damaged. Whoever reads it as everybody does finds out, and says so.
        let opened = match block_on(self.open_record(alive.hash, &alive.version)) {
            Ok(opened) if opened.version().location == alive.version.location => opened,
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
        Ok(alive.again(opened.bytes()))
    }

    /// Copies what an object has in a bulk segment.
    fn copy_bulk(
        &self,
        hash: ObjectHash,
        state: &ObjectState,
        version: &Version,
        victim: u32,
        batch: &mut Batch,
    ) -> Result<Option<Relocation>, EngineError> {
        let opened = match block_on(self.open_record(hash, version)) {
            Ok(opened) if opened.version().location == version.location => opened,
            Ok(_) | Err(EngineError::Changed | EngineError::Damaged(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let copied = block_on(self.copy_extents(&opened.record, victim, &mut batch.files));
        let (extents, reservation) = match copied {
            Ok(copied) => copied,
            Err(EngineError::Damaged(_)) => {
                let job = Job::Quarantine(hash, version.location);
                let _ = block_on(self.0.commits.send(job));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // The update stays where it is: a record of bulk data is moved by the segment it stands in.
        let token = self.token_of(version, &opened.record)?;
        let durable = state.is_durable(version);
        let record = encode(&opened.record, durable, &extents, &[], token.is_some());
        let from = version.location;
        Ok(Some(Relocation { hash, from, record, token, reservation: Some(reservation) }))
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

    /// Bulk data at another place; it is durable when the files are flushed.
    async fn copy_extents(
        &self,
        record: &Record,
        victim: u32,
        files: &mut Vec<FileId>,
    ) -> Result<(Vec<Extent>, Reservation), EngineError> {
        let segments = &self.0.segments;
        let mut reservation = Reservation::of(segments);
        let mut extents = Vec::new();
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
        Ok((extents, reservation))
    }
}

impl Alive {
    /// The record as it is to be written again, if these are its bytes and all of them hold.
    fn again(&self, bytes: &[u8]) -> Option<Relocation> {
        let record = Record::decode(bytes).ok()?;
        let at = &self.version.location;
        let same = record.head.hash == self.hash && record.head.lsn == at.lsn;
        let inline = bytes.get(record.inline_at..at.len as usize).filter(|_| same)?;
        if record.extents.is_empty() {
            check(&record, 0, inline).ok()?;
        }
        let (token, extents) = (self.token, &record.extents);
        let record = encode(&record, self.durable, extents, inline, token.is_some());
        Some(Relocation { hash: self.hash, from: *at, record, token, reservation: None })
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
    durable: bool,
    extents: &[Extent],
    inline: &[u8],
    with_update: bool,
) -> Vec<u8> {
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

//! Segments: which there are, preparing the next, and room for bulk data.

use super::body::poison;
use super::{EngineError, OpenError};
use crate::format::{Extent, FormatError, SegmentClass, SegmentHeader};
use crate::index::Index;
use crate::io::{BLOCK, BlockBuf, BlockIo, FileId, WriteMode};
use daemon::SharedClock;
use futures_executor::block_on;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Blocks that one zeroing write covers.
const ZERO_BLOCKS: u32 = 256;

/// All segments of a device.
pub(super) struct Segments {
    io: Arc<dyn BlockIo>,
    device_id: [u8; 16],
    blocks: u32,
    reserve_bytes: u64,
    clock: SharedClock,
    files: RwLock<HashMap<u32, FileId>>,
    state: Mutex<State>,
    preparing: AtomicBool,
    poisoned: Arc<AtomicBool>,
    room: AtomicBool,
}

struct State {
    next_id: u32,
    next_epoch: u64,
    /// Made ahead of need, and zero throughout.
    prepared: Vec<u32>,
    bulk: Option<BulkTail>,
    /// Reservations that were given back; no durable record names them.
    returned: Vec<Extent>,
}

struct BulkTail {
    segment: u32,
    next_block: u32,
    blocks: u32,
}

/// A segment that was just put to use.
pub(super) struct Activated {
    pub(super) id: u32,
    pub(super) file: FileId,
    pub(super) epoch: u64,
    pub(super) blocks: u32,
}

/// What recovery found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) files: HashMap<u32, FileId>,
    pub(super) headers: Vec<SegmentHeader>,
    pub(super) prepared: Vec<(u32, FileId)>,
}

impl Segments {
    pub(super) fn new(
        io: Arc<dyn BlockIo>,
        device_id: [u8; 16],
        options: &super::EngineOptions,
        clock: SharedClock,
        found: &Found,
        poisoned: Arc<AtomicBool>,
    ) -> Self {
        let next_id = found.files.keys().max().map_or(0, |id| id + 1);
        let next_epoch = found.headers.iter().map(|header| header.epoch).max().unwrap_or(0) + 1;
        Segments {
            io,
            device_id,
            blocks: options.segment_blocks,
            reserve_bytes: options.reserve_bytes,
            clock,
            files: RwLock::new(found.files.clone()),
            state: Mutex::new(State {
                next_id,
                next_epoch,
                prepared: found.prepared.iter().map(|(id, _)| *id).collect(),
                bulk: None,
                returned: Vec::new(),
            }),
            preparing: AtomicBool::new(false),
            poisoned,
            room: AtomicBool::new(true),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open file of a segment.
    pub(super) fn file(&self, id: u32) -> Option<FileId> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    /// Whether new data may be taken: a reserve stays for tombstones. As of the last measurement.
    pub(super) fn has_room(&self) -> bool {
        self.room.load(Ordering::Acquire)
    }

    /// Asks the file system, which may take its time when the disk does.
    pub(super) fn measure_room(&self) {
        let room = self.io.free_bytes().is_ok_and(|free| free > self.reserve_bytes);
        self.room.store(room, Ordering::Release);
    }

    /// Goes on filling the bulk segment that was in use before a restart.
    pub(super) fn resume_bulk(&self, segment: u32, next_block: u32, blocks: u32) {
        self.state().bulk = Some(BulkTail { segment, next_block, blocks });
    }

    async fn create(&self, id: u32) -> Result<FileId, EngineError> {
        let created = self.io.create(&SegmentHeader::file_name(id), self.blocks).await;
        let file = created.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                EngineError::Full
            }
            _ => {
                tracing::error!(%error, "a segment could not be made");
                EngineError::Poisoned
            }
        })?;
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(id, file);
        Ok(file)
    }

    /// Puts a prepared segment, or a new one, to use. Its header is durable afterwards.
    pub(super) async fn activate(
        &self,
        class: SegmentClass,
        first_lsn: u64,
    ) -> Result<Activated, EngineError> {
        let (id, prepared, epoch) = {
            let mut state = self.state();
            let prepared = state.prepared.pop();
            let id = prepared.unwrap_or(state.next_id);
            state.next_id = state.next_id.max(id + 1);
            let epoch = state.next_epoch;
            state.next_epoch += 1;
            (id, prepared.is_some(), epoch)
        };
        let file = match self.file(id) {
            Some(file) if prepared => file,
            _ => self.create(id).await?,
        };
        let header = SegmentHeader {
            class,
            id,
            blocks: self.blocks,
            device_id: self.device_id,
            epoch,
            first_lsn,
            used_micros: self.clock.micros(),
        };
        let block = BlockBuf::from_bytes(&header.encode());
        if let Err(error) = self.io.write(file, 0, block, WriteMode::Durable).await {
            tracing::error!(%error, "a segment's header could not be written");
            return Err(EngineError::Poisoned);
        }
        metrics::counter!("apus_object_segments_total").increment(1);
        Ok(Activated { id, file, epoch, blocks: self.blocks })
    }

    /// Makes and zeroes a segment in the background, unless one is ready: writes into blocks that were
    /// written before are more than twice as fast as into such as were only allocated.
    pub(super) fn prepare_next(self: &Arc<Self>) {
        if !self.state().prepared.is_empty() || self.preparing.swap(true, Ordering::AcqRel) {
            return;
        }
        let segments = Arc::clone(self);
        let work = move || match block_on(segments.prepare()) {
            Ok(()) => segments.preparing.store(false, Ordering::Release),
            // Trying again would leave one more file behind each time; a segment is made when it is needed.
            Err(error) => {
                let error = daemon::telemetry::chain(&error);
                tracing::warn!(error, "no segments are prepared ahead any more, until a restart");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("disk-prepare".to_owned()).spawn(work)
        {
            tracing::debug!(%error, "no thread to prepare a segment");
            self.preparing.store(false, Ordering::Release);
        }
    }

    async fn prepare(&self) -> Result<(), EngineError> {
        if !self.has_room() {
            return Ok(());
        }
        let id = {
            let mut state = self.state();
            state.next_id += 1;
            state.next_id - 1
        };
        let file = self.create(id).await?;
        let failed = |error| poison(&self.poisoned, "zeroing of a segment", &error);
        let mut zeros = BlockBuf::zeroed(ZERO_BLOCKS);
        for at in (0..self.blocks).step_by(ZERO_BLOCKS as usize) {
            zeros.resize(ZERO_BLOCKS.min(self.blocks - at));
            zeros = self.io.write(file, at, zeros, WriteMode::Volatile).await.map_err(failed)?;
        }
        self.io.flush(file).await.map_err(failed)?;
        self.state().prepared.push(id);
        Ok(())
    }

    /// Takes up to `blocks` contiguous blocks for bulk data.
    pub(super) async fn reserve(&self, blocks: u32) -> Result<(Extent, FileId), EngineError> {
        loop {
            if let Some(extent) = self.try_reserve(blocks) {
                let file = self.file(extent.segment).ok_or(EngineError::Poisoned)?;
                return Ok((extent, file));
            }
            let new = self.activate(SegmentClass::Bulk, 0).await?;
            let mut state = self.state();
            if let Some(old) = state.bulk.take()
                && old.next_block < old.blocks
            {
                // Another task opened a segment at the same time, or a piece was too long for the rest.
                state.returned.push(Extent {
                    segment: old.segment,
                    block: old.next_block,
                    blocks: old.blocks - old.next_block,
                });
            }
            state.bulk = Some(BulkTail { segment: new.id, next_block: 1, blocks: new.blocks });
        }
    }

    fn try_reserve(&self, blocks: u32) -> Option<Extent> {
        let mut state = self.state();
        if let Some(at) = state.returned.iter().position(|extent| extent.blocks >= blocks) {
            let extent = &mut state.returned[at];
            let taken = Extent { blocks, ..*extent };
            extent.block += blocks;
            extent.blocks -= blocks;
            if extent.blocks == 0 {
                state.returned.swap_remove(at);
            }
            return Some(taken);
        }
        let tail = state.bulk.as_mut()?;
        if tail.next_block + blocks > tail.blocks {
            return None;
        }
        let extent = Extent { segment: tail.segment, block: tail.next_block, blocks };
        tail.next_block += blocks;
        Some(extent)
    }

    /// Gives back what no record will name.
    pub(super) fn give_back(&self, extents: &[Extent]) {
        self.state().returned.extend_from_slice(extents);
    }

    pub(super) fn io(&self) -> &Arc<dyn BlockIo> {
        &self.io
    }
}

/// Reads the headers of all segments.
pub(super) async fn find(io: &Arc<dyn BlockIo>, device_id: &[u8; 16]) -> Result<Found, OpenError> {
    let mut found = Found::default();
    let names = io.list().await.map_err(OpenError::Io)?;
    for id in names.iter().filter_map(|name| SegmentHeader::parse_file_name(name)) {
        let name = SegmentHeader::file_name(id);
        let (file, blocks) = io.open(&name).await.map_err(OpenError::Io)?;
        found.files.insert(id, file);
        let block = io.read(file, 0, 1).await.map_err(OpenError::Io)?;
        let damaged = |what: String| OpenError::Damaged(format!("segment {name}: {what}"));
        match SegmentHeader::decode(block.as_ref()) {
            Ok(None) => found.prepared.push((id, file)),
            Ok(Some(header))
                if header.id == id && header.blocks == blocks && header.device_id == *device_id =>
            {
                found.headers.push(header);
            }
            Ok(Some(_)) => return Err(damaged("its header belongs to another".to_owned())),
            // A header is durable before anything else is written to its segment, so a torn one is of a
            // segment that was never used; `refuse_used` sees whether that is so.
            Err(FormatError::Magic | FormatError::Checksum) => found.prepared.push((id, file)),
            Err(error) => return Err(damaged(error.to_string())),
        }
    }
    found.headers.sort_by_key(|header| header.epoch);
    Ok(found)
}

/// Refuses segments that pass for unused, by their header, but are not: a damaged header must never make room
/// for new data over old. `index` has the whole log applied, so it knows every bulk segment that is named.
pub(super) async fn refuse_used(
    io: &Arc<dyn BlockIo>,
    found: &Found,
    index: &Index,
) -> Result<(), OpenError> {
    for (id, file) in &found.prepared {
        let first = io.read(*file, 1, 1).await.map_err(OpenError::Io)?;
        let written = first.as_ref().iter().any(|byte| *byte != 0);
        if written || index.bulk_taken(*id)? > 0 {
            let name = SegmentHeader::file_name(*id);
            return Err(OpenError::Damaged(format!("segment {name}: its header is gone")));
        }
    }
    Ok(())
}

/// Blocks that hold so many bytes.
pub(super) fn blocks_of(bytes: usize) -> u32 {
    bytes.div_ceil(BLOCK) as u32
}

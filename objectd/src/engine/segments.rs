//! Segments: which there are, what each is used for, and which are free.
//!
//! A segment is *free* (its header says so, or it was prepared and never used), *open* (frames or bulk data are
//! being added) or *sealed*. It goes back from sealed to free when nothing in it lives any more; see
//! [`Segments::free`] for what must hold before. Files are never removed, only used again: blocks that were written
//! before are written again at more than twice the speed of such as were only allocated.

use super::body::poison;
use super::{EngineError, OpenError};
use crate::format::{Extent, FormatError, SegmentClass, SegmentHeader};
use crate::index::{Account, Index};
use crate::io::{BLOCK, BlockBuf, BlockIo, FileId, WriteMode};
use daemon::SharedClock;
use futures_executor::block_on;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use types::ObjectHash;

/// Blocks that one zeroing write covers.
const ZERO_BLOCKS: u32 = 256;
/// Share of the device, in percent, that new data leaves free.
const RESERVED_PERCENT: u64 = 2;
/// And at least so many segments: for deletions, and for compaction to make room with.
const RESERVED_SEGMENTS: u64 = 4;
/// So much more, in percent of the device, is kept free by compaction; the later it begins, the more has died until
/// then, and the less is to be moved.
const SCARCE_PERCENT: u64 = 1;
/// And at least so many segments.
const SCARCE_SEGMENTS: u64 = 2;
/// The last free segments are for compaction alone: one for bulk data, one for frames.
const LAST_SEGMENTS: usize = 2;
/// How long, in ms, a PUT waits for compaction when there is hardly any room left.
const BRAKE_MAX: u64 = 256;

/// All segments of a device.
pub(super) struct Segments {
    io: Arc<dyn BlockIo>,
    device_id: [u8; 16],
    blocks: u32,
    reserve_bytes: u64,
    capacity_bytes: u64,
    clock: SharedClock,
    table: RwLock<HashMap<u32, Arc<Segment>>>,
    state: Mutex<State>,
    /// Held while a bulk segment is opened, so that bodies which start together open one and not one each.
    opening_bulk: tokio::sync::Mutex<()>,
    preparing: AtomicBool,
    poisoned: Arc<AtomicBool>,
    measuring: Mutex<()>,
    room: AtomicBool,
    /// How long new data is to wait, in ms.
    brake: AtomicU64,
    /// Somebody empties segments.
    compacting: AtomicBool,
    is_scarce: AtomicBool,
    scarce: Notify,
}

/// How much room there is, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// The whole device, as far as it may be used.
    pub(super) all: u64,
    /// What new data could take, free segments and the file system's room together.
    pub(super) free: u64,
    /// What of that is left to deletions and compaction.
    kept: u64,
    /// With less free than this, segments are emptied.
    wanted: u64,
}

impl Room {
    /// Of a device of so many bytes.
    fn of(free: u64, all: u64, segment: u64) -> Self {
        let kept = (all * RESERVED_PERCENT / 100).max(RESERVED_SEGMENTS * segment);
        let margin = (all * SCARCE_PERCENT / 100).max(SCARCE_SEGMENTS * segment);
        Room { all, free, kept, wanted: kept + margin }
    }

    /// Whether new data may be taken.
    pub(super) fn is_there(&self) -> bool {
        self.free > self.kept
    }

    /// Whether room has to be made.
    pub(super) fn is_scarce(&self) -> bool {
        self.free < self.wanted
    }

    /// How long new data is to wait, in ms: nothing at first, and twice as long with each eighth of the margin that is
    /// gone. So whoever writes more than can be won back becomes slower, instead of being refused.
    fn brake(&self) -> u64 {
        let margin = self.wanted.saturating_sub(self.kept).max(1);
        let gone = self.wanted.saturating_sub(self.free).min(margin);
        match gone * 8 / margin {
            0 => 0,
            eighths => BRAKE_MAX >> (8 - eighths),
        }
    }
}

/// What a segment is put to use for. The last ones are kept for compaction, or no other could ever be won back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// What clients and replicators want.
    Requests,
    /// Making room.
    Compaction,
}

/// A segment's file, and who reads it.
pub(super) struct Segment {
    id: u32,
    file: FileId,
    readers: AtomicU32,
}

/// While it lives, its segment is not used for anything else.
pub(super) struct Pin(Arc<Segment>);

impl Pin {
    pub(super) fn file(&self) -> FileId {
        self.0.file
    }

    pub(super) fn segment(&self) -> u32 {
        self.0.id
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

struct State {
    next_id: u32,
    next_epoch: u64,
    uses: BTreeMap<u32, Use>,
    /// Prepared or used before.
    free: Vec<u32>,
    /// Those among them that were zeroed ahead, for frames: bulk data gains nothing by that.
    prepared: HashSet<u32>,
    bulk: Option<BulkTail>,
    /// Reservations that were given back; no durable record names them.
    returned: Vec<Extent>,
    /// All frames from this one on stand in segments in use.
    unbroken_from: u64,
}

/// A segment in use.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) header: SegmentHeader,
    pub(super) sealed: bool,
    /// Blocks reserved for bodies that no record names yet.
    pub(super) reserved: u32,
    pub(super) account: Account,
}

impl Use {
    /// Bytes that can hold something.
    pub(super) fn room(&self) -> u64 {
        u64::from(self.header.blocks.saturating_sub(1)) * BLOCK as u64
    }

    /// Of a log segment: tombstones in frames before this one are not needed against anything in it. `None` when no
    /// record in it is dead, and so none could come back.
    pub(super) fn needs_tombstones_from(&self) -> Option<u64> {
        match self.account {
            Account { late: true, .. } => Some(0),
            Account { written, live, .. } => (written > live).then_some(self.header.first_lsn),
        }
    }

    /// Whether nothing in it is needed, or may come to be.
    fn is_dead(&self) -> bool {
        self.sealed && self.account.live == 0 && self.account.quarantined == 0 && self.reserved == 0
    }
}

struct BulkTail {
    segment: u32,
    next_block: u32,
    blocks: u32,
}

/// A segment that was just put to use.
pub(super) struct Activated {
    pub(super) header: SegmentHeader,
    pub(super) file: FileId,
}

/// What recovery found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) files: HashMap<u32, FileId>,
    /// Of segments in use, by epoch.
    pub(super) headers: Vec<SegmentHeader>,
    /// Of segments that were freed.
    pub(super) freed: Vec<SegmentHeader>,
    /// Never used, by their headers; see [`Found::refuse_used`].
    pub(super) unused: Vec<(u32, FileId)>,
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
        let all = || found.headers.iter().chain(&found.freed);
        let segment = |(id, file): (&u32, &FileId)| {
            (*id, Arc::new(Segment { id: *id, file: *file, readers: AtomicU32::new(0) }))
        };
        let in_use = |header: &SegmentHeader| {
            let account = Account { epoch: header.epoch, ..Account::default() };
            (header.id, Use { header: header.clone(), sealed: true, reserved: 0, account })
        };
        let free = found.freed.iter().map(|header| header.id);
        Segments {
            io,
            device_id,
            blocks: options.segment_blocks,
            reserve_bytes: options.reserve_bytes,
            capacity_bytes: options.capacity_bytes,
            clock,
            table: RwLock::new(found.files.iter().map(segment).collect()),
            state: Mutex::new(State {
                next_id,
                next_epoch: all().map(|header| header.epoch).max().unwrap_or(0) + 1,
                uses: found.headers.iter().map(in_use).collect(),
                free: free.chain(found.unused.iter().map(|(id, _)| *id)).collect(),
                prepared: found.unused.iter().map(|(id, _)| *id).collect(),
                bulk: None,
                returned: Vec::new(),
                unbroken_from: found.unbroken_from(),
            }),
            opening_bulk: tokio::sync::Mutex::default(),
            preparing: AtomicBool::new(false),
            poisoned,
            measuring: Mutex::default(),
            room: AtomicBool::new(true),
            brake: AtomicU64::new(0),
            compacting: AtomicBool::new(false),
            is_scarce: AtomicBool::new(false),
            scarce: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segment(&self, id: u32) -> Option<Arc<Segment>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The open file of a segment.
    pub(super) fn file(&self, id: u32) -> Option<FileId> {
        self.segment(id).map(|segment| segment.file)
    }

    /// Keeps a segment as it is while somebody reads it. What it holds must be looked at *after* that.
    pub(super) fn pin(&self, id: u32) -> Option<Pin> {
        let segment = self.segment(id)?;
        segment.readers.fetch_add(1, Ordering::AcqRel);
        Some(Pin(segment))
    }

    /// Whether new data may be taken, as of the last measurement.
    pub(super) fn has_room(&self) -> bool {
        self.room.load(Ordering::Acquire)
    }

    /// Finds out how much room there is. The file system may take its time when the disk does.
    pub(super) fn room(&self) -> Room {
        let segment_bytes = self.segment_bytes();
        let free = self.state().free.len() as u64;
        let made = self.made_bytes();
        let mut more = self.io.free_bytes().unwrap_or(0).saturating_sub(self.reserve_bytes);
        if self.capacity_bytes > 0 {
            more = more.min(self.capacity_bytes.saturating_sub(made));
        }
        // A part of a segment is no use.
        let more = more / segment_bytes * segment_bytes;
        Room::of(free * segment_bytes + more, made + more, segment_bytes)
    }

    /// The same, and remembers it.
    pub(super) fn measure_room(&self) {
        // One after the other: what was found before a segment was freed must not be remembered after that.
        let _measuring = self.measuring.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.room();
        self.room.store(room.is_there(), Ordering::Release);
        self.brake.store(room.brake(), Ordering::Release);
        self.is_scarce.store(room.is_scarce(), Ordering::Release);
        if room.is_scarce() {
            self.scarce.notify_one();
        }
    }

    /// What lives, in bytes.
    pub(super) fn live(&self) -> u64 {
        self.state().uses.values().map(|used| used.account.live).sum()
    }

    /// Waits until room has to be made.
    pub(super) async fn scarce(&self) {
        loop {
            self.scarce.notified().await;
            // It may have been made since that was said.
            if self.is_scarce.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Says whether segments are being emptied.
    pub(super) fn set_compacting(&self, compacting: bool) {
        self.compacting.store(compacting, Ordering::Release);
    }

    /// How long new data is to wait for those who make room, while they do.
    pub(super) fn brake(&self) -> Option<Duration> {
        let millis = self.brake.load(Ordering::Acquire);
        let waits = millis > 0 && self.compacting.load(Ordering::Acquire);
        waits.then(|| Duration::from_millis(millis))
    }

    /// No frame before this one is left, outside of one segment, that holds garbage: what a tombstone from before
    /// has deleted is gone, and so the tombstone may go.
    pub(super) fn waterline(&self, except: u32) -> u64 {
        let state = self.state();
        let logs = state.uses.values().filter(|used| used.header.class != SegmentClass::Bulk);
        let other = logs.filter(|used| used.header.id != except);
        other.filter_map(Use::needs_tombstones_from).min().unwrap_or(u64::MAX)
    }

    fn keep_file(&self, id: u32, file: FileId) {
        let segment = Arc::new(Segment { id, file, readers: AtomicU32::new(0) });
        self.table.write().unwrap_or_else(PoisonError::into_inner).insert(id, segment);
    }

    /// Whether the device may have one more segment.
    fn may_grow(&self) -> bool {
        let with_one_more = self.made_bytes() + self.segment_bytes();
        self.capacity_bytes == 0 || with_one_more <= self.capacity_bytes
    }

    /// What all segments take together, those among them that are being zeroed or put to use.
    fn made_bytes(&self) -> u64 {
        let made = self.table.read().unwrap_or_else(PoisonError::into_inner).len() as u64;
        made * self.segment_bytes()
    }

    /// Whether the file system has room for it, too.
    fn can_grow(&self) -> bool {
        self.may_grow() && self.io.free_bytes().is_ok_and(|free| free >= self.segment_bytes())
    }

    fn segment_bytes(&self) -> u64 {
        u64::from(self.blocks) * BLOCK as u64
    }

    async fn create(&self, id: u32) -> Result<FileId, EngineError> {
        if !self.may_grow() {
            return Err(EngineError::Full);
        }
        let created = self.io.create(&SegmentHeader::file_name(id), self.blocks).await;
        let file = created.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                EngineError::Full
            }
            _ => poison(&self.poisoned, "making of a segment", &error),
        })?;
        self.keep_file(id, file);
        Ok(file)
    }

    /// Puts a free segment, or a new one, to use. Its header is durable afterwards.
    pub(super) async fn activate(
        &self,
        class: SegmentClass,
        first_lsn: u64,
        purpose: Purpose,
    ) -> Result<Activated, EngineError> {
        let more = self.can_grow();
        let (id, free, epoch, first_lsn, unbroken) = {
            let mut state = self.state();
            if purpose == Purpose::Requests && !more && state.free.len() <= LAST_SEGMENTS {
                return Err(EngineError::Full);
            }
            // No frame belongs to a bulk segment, but what its header said before must still be said.
            let first_lsn =
                if class == SegmentClass::Bulk { state.unbroken_from } else { first_lsn };
            let free = state.take_free(class == SegmentClass::Bulk && more);
            let id = free.unwrap_or(state.next_id);
            state.next_id = state.next_id.max(id + 1);
            let epoch = state.next_epoch;
            state.next_epoch += 1;
            let unbroken = first_lsn.saturating_sub(state.unbroken_from);
            (id, free.is_some(), epoch, first_lsn, u32::try_from(unbroken).unwrap_or(u32::MAX))
        };
        let file = match self.file(id) {
            Some(file) if free => file,
            _ => self.create(id).await?,
        };
        let header = SegmentHeader {
            class,
            id,
            blocks: self.blocks,
            device_id: self.device_id,
            epoch,
            first_lsn,
            unbroken,
            used_micros: self.clock.micros(),
        };
        let block = BlockBuf::from_bytes(&header.encode());
        let written = self.io.write(file, 0, block, WriteMode::Durable).await;
        written.map_err(|error| poison(&self.poisoned, "write of a segment's header", &error))?;
        metrics::counter!("apus_object_segments_total", "class" => class.name()).increment(1);
        let account = Account { epoch, ..Account::default() };
        let used = Use { header: header.clone(), sealed: false, reserved: 0, account };
        self.state().uses.insert(id, used);
        Ok(Activated { header, file })
    }

    /// Nothing is added to a segment any more.
    pub(super) fn seal(&self, id: u32) {
        if let Some(used) = self.state().uses.get_mut(&id) {
            used.sealed = true;
        }
    }

    /// Something may be added to a segment: it was open when the device was closed.
    pub(super) fn reopen(&self, id: u32) {
        if let Some(used) = self.state().uses.get_mut(&id) {
            used.sealed = false;
        }
    }

    /// Gives a segment back whose content nobody needs. Only right when an index that knows this is durable, since
    /// recovery could otherwise look for frames in it. False when somebody still uses it.
    pub(super) async fn free(&self, id: u32, next_lsn: u64) -> Result<bool, EngineError> {
        let Some(segment) = self.segment(id) else { return Ok(false) };
        let header = {
            let mut state = self.state();
            let dead = |used: &&Use| used.is_dead();
            let Some(used) = state.uses.get(&id).filter(dead) else { return Ok(false) };
            // A reader pins first and looks then whether what it wants is still there; it is not.
            if segment.readers.load(Ordering::Acquire) > 0 {
                return Ok(false);
            }
            let blocks = used.header.blocks;
            state.uses.remove(&id);
            state.returned.retain(|extent| extent.segment != id);
            let epoch = state.next_epoch;
            state.next_epoch += 1;
            state.unbroken_from = state.unbroken_from.max(next_lsn);
            SegmentHeader {
                class: SegmentClass::Free,
                id,
                blocks,
                device_id: self.device_id,
                epoch,
                first_lsn: next_lsn,
                unbroken: 0,
                used_micros: self.clock.micros(),
            }
        };
        let same_size = header.blocks == self.blocks;
        let block = BlockBuf::from_bytes(&header.encode());
        let written = self.io.write(segment.file, 0, block, WriteMode::Durable).await;
        written.map_err(|error| poison(&self.poisoned, "freeing of a segment", &error))?;
        metrics::counter!("apus_object_segments_freed_total").increment(1);
        // One of another size, from before the setting was changed, is not used again.
        if same_size {
            self.state().free.push(id);
        }
        Ok(true)
    }

    /// Makes and zeroes a segment in the background, unless one is ready.
    pub(super) fn prepare_next(self: &Arc<Self>) {
        if !self.state().free.is_empty() || self.preparing.swap(true, Ordering::AcqRel) {
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
        if !self.has_room() || !self.can_grow() {
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
        let mut state = self.state();
        state.prepared.insert(id);
        state.free.push(id);
        Ok(())
    }

    /// Goes on filling the bulk segment that was in use before a restart.
    pub(super) fn resume_bulk(&self) {
        let mut state = self.state();
        let bulk = state.uses.values_mut().filter(|used| used.header.class == SegmentClass::Bulk);
        let Some(newest) = bulk.max_by_key(|used| used.header.epoch) else { return };
        newest.sealed = false;
        let (segment, blocks) = (newest.header.id, newest.header.blocks);
        let next_block = newest.account.taken.max(1);
        state.bulk = Some(BulkTail { segment, next_block, blocks });
    }

    /// Takes `blocks` contiguous blocks for bulk data.
    pub(super) async fn reserve(
        &self,
        blocks: u32,
        purpose: Purpose,
    ) -> Result<(Extent, FileId), EngineError> {
        if blocks >= self.blocks {
            return Err(EngineError::TooLarge);
        }
        let file_of = |extent: &Extent| self.file(extent.segment).ok_or(EngineError::Poisoned);
        if let Some(extent) = self.try_reserve(blocks) {
            return Ok((extent, file_of(&extent)?));
        }
        let opening = self.opening_bulk.lock().await;
        // Somebody else may have opened one meanwhile.
        while self.try_reserve_is_vain(blocks) {
            let new = self.activate(SegmentClass::Bulk, 0, purpose).await?.header;
            self.state().put_bulk(BulkTail { segment: new.id, next_block: 1, blocks: new.blocks });
        }
        let extent = self.try_reserve(blocks);
        drop(opening);
        match extent {
            Some(extent) => Ok((extent, file_of(&extent)?)),
            None => Box::pin(self.reserve(blocks, purpose)).await,
        }
    }

    fn try_reserve_is_vain(&self, blocks: u32) -> bool {
        let state = self.state();
        let fits = |tail: &BulkTail| tail.next_block + blocks <= tail.blocks;
        !state.bulk.as_ref().is_some_and(fits)
            && !state.returned.iter().any(|extent| extent.blocks >= blocks)
    }

    fn try_reserve(&self, blocks: u32) -> Option<Extent> {
        let mut state = self.state();
        let extent = state.take_returned(blocks).or_else(|| state.take_tail(blocks))?;
        if let Some(used) = state.uses.get_mut(&extent.segment) {
            used.reserved += blocks;
        }
        Some(extent)
    }

    /// Gives back what no record will name.
    pub(super) fn give_back(&self, extents: &[Extent]) {
        let mut state = self.state();
        state.keep(extents);
        // At once: of a segment that was freed in between, nothing may be given out.
        state.returned.extend_from_slice(extents);
    }

    /// Blocks of a segment that is being emptied are not given to anybody.
    pub(super) fn forget_returned(&self, id: u32) {
        self.state().returned.retain(|extent| extent.segment != id);
    }

    /// Records name these blocks now, or nobody does any more.
    pub(super) fn keep(&self, extents: &[Extent]) {
        self.state().keep(extents);
    }

    /// What lives in a segment in use.
    pub(super) fn account(&self, id: u32) -> Option<Account> {
        self.state().uses.get(&id).map(|used| used.account)
    }

    /// Remembers what lives where.
    pub(super) fn set_accounts(&self, accounts: &[(u32, Account)]) {
        let mut state = self.state();
        for (id, account) in accounts {
            if let Some(used) = state.uses.get_mut(id).filter(|u| u.account.epoch == account.epoch)
            {
                used.account = *account;
            }
        }
    }

    /// Segments that hold nothing any more, and that nobody reads.
    pub(super) fn dead(&self) -> Vec<u32> {
        let state = self.state();
        let dead = state.uses.iter().filter(|(_, used)| used.is_dead()).map(|(id, _)| *id);
        let unread =
            |id: &u32| self.segment(*id).is_some_and(|it| it.readers.load(Ordering::Acquire) == 0);
        dead.filter(unread).collect()
    }

    /// All segments in use.
    pub(super) fn uses(&self) -> Vec<Use> {
        self.state().uses.values().cloned().collect()
    }

    pub(super) fn io(&self) -> &Arc<dyn BlockIo> {
        &self.io
    }

    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }
}

impl State {
    fn keep(&mut self, extents: &[Extent]) {
        for extent in extents {
            if let Some(used) = self.uses.get_mut(&extent.segment) {
                used.reserved = used.reserved.saturating_sub(extent.blocks);
            }
        }
    }

    /// A free segment, if there is one. `leave_prepared`: only one that was used before.
    fn take_free(&mut self, leave_prepared: bool) -> Option<u32> {
        let fits = |id: &u32| !leave_prepared || !self.prepared.contains(id);
        let at = self.free.iter().rposition(fits)?;
        let id = self.free.swap_remove(at);
        self.prepared.remove(&id);
        Some(id)
    }

    fn put_bulk(&mut self, new: BulkTail) {
        let Some(old) = self.bulk.replace(new) else { return };
        if let Some(used) = self.uses.get_mut(&old.segment) {
            used.sealed = true;
        }
        if old.next_block < old.blocks {
            // A piece was too long for the rest; a shorter one may not be.
            self.returned.push(Extent {
                segment: old.segment,
                block: old.next_block,
                blocks: old.blocks - old.next_block,
            });
        }
    }

    fn take_returned(&mut self, blocks: u32) -> Option<Extent> {
        let at = self.returned.iter().position(|extent| extent.blocks >= blocks)?;
        let extent = &mut self.returned[at];
        let taken = Extent { blocks, ..*extent };
        extent.block += blocks;
        extent.blocks -= blocks;
        if extent.blocks == 0 {
            self.returned.swap_remove(at);
        }
        Some(taken)
    }

    fn take_tail(&mut self, blocks: u32) -> Option<Extent> {
        let tail = self.bulk.as_mut()?;
        if tail.next_block + blocks > tail.blocks {
            return None;
        }
        let extent = Extent { segment: tail.segment, block: tail.next_block, blocks };
        tail.next_block += blocks;
        Some(extent)
    }
}

impl Found {
    /// Reads the headers of all segments.
    pub(super) async fn read(
        io: &Arc<dyn BlockIo>,
        device_id: &[u8; 16],
    ) -> Result<Self, OpenError> {
        let mut found = Found::default();
        let names = io.list().await.map_err(OpenError::Io)?;
        for id in names.iter().filter_map(|name| SegmentHeader::parse_file_name(name)) {
            let name = SegmentHeader::file_name(id);
            let (file, blocks) = io.open(&name).await.map_err(OpenError::Io)?;
            found.files.insert(id, file);
            let block = io.read(file, 0, 1).await.map_err(OpenError::Io)?;
            let damaged = |what: String| OpenError::Damaged(format!("segment {name}: {what}"));
            match SegmentHeader::decode(block.as_ref()) {
                Ok(None) => found.unused.push((id, file)),
                Ok(Some(header))
                    if header.id != id
                        || header.blocks != blocks
                        || header.device_id != *device_id =>
                {
                    return Err(damaged("its header belongs to another".to_owned()));
                }
                Ok(Some(header)) if header.class == SegmentClass::Free => found.freed.push(header),
                Ok(Some(header)) => found.headers.push(header),
                // A header is durable before anything else is written to its segment, and is written over another
                // one in a single sector, so a torn one is of a segment that was never used; `refuse_used` sees
                // whether that is so.
                Err(FormatError::Magic | FormatError::Checksum) => found.unused.push((id, file)),
                Err(error) => return Err(damaged(error.to_string())),
            }
        }
        found.headers.sort_by_key(|header| header.epoch);
        Ok(found)
    }

    /// All frames from this one on stood in segments in use when the last header was written.
    pub(super) fn unbroken_from(&self) -> u64 {
        let from =
            |header: &SegmentHeader| header.first_lsn.saturating_sub(u64::from(header.unbroken));
        self.headers.iter().chain(&self.freed).map(from).max().unwrap_or(0).max(1)
    }

    /// Refuses segments that pass for unused, by their header, but are not: a damaged header must never make room for
    /// new data over old. The index has the whole log applied, so it knows each bulk segment that is named; frames are
    /// never zeros.
    pub(super) async fn refuse_used(
        &self,
        io: &Arc<dyn BlockIo>,
        index: &Index,
    ) -> Result<(), OpenError> {
        for (id, file) in &self.unused {
            let first = io.read(*file, 1, 1).await.map_err(OpenError::Io)?;
            let written = first.as_ref().iter().any(|byte| *byte != 0);
            if written || !index.owners(*id, &ObjectHash([0; 16]), 1)?.is_empty() {
                let name = SegmentHeader::file_name(*id);
                return Err(OpenError::Damaged(format!("segment {name}: its header is gone")));
            }
        }
        Ok(())
    }
}

/// Blocks that hold so many bytes.
pub(super) fn blocks_of(bytes: usize) -> u32 {
    bytes.div_ceil(BLOCK) as u32
}

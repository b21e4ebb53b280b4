//! Reading records and their data, every byte checked.

use super::commit::Job;
use super::segments::{Pin, blocks_of};
use super::{Engine, EngineError};
use crate::format::{CHUNK, Extent, FormatError, Metadata, Record};
use crate::index::Quarantined;
use crate::io::{BLOCK, BlockBuf};
use crate::state::{BulkShare, Location, Version};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use types::ObjectHash;

/// Bytes of bulk data read at a time: sixteen chunks.
const WINDOW: u64 = 16 * CHUNK as u64;

/// How often a record that moves while it is being read is looked for again.
const MOVES_MAX: usize = 8;

/// A record that was read, with its inline data if that was wanted.
#[derive(Clone)]
pub struct OpenRecord {
    /// The record.
    pub record: Arc<Record>,
    bytes: Bytes,
    version: Arc<Version>,
    /// Keeps bulk segments from being used again.
    pins: Arc<Vec<Pin>>,
}

impl Engine {
    /// Reads the record of a version and checks that it is the one that the index means. If compaction moves it
    /// meanwhile it is read at its new place.
    pub async fn open_record(
        &self,
        hash: ObjectHash,
        version: &Version,
    ) -> Result<OpenRecord, EngineError> {
        if let Some(record) = self.cached(&hash, version) {
            return Ok(record);
        }
        let record = self.open_bytes(hash, version, |at| at.len).await?;
        if let Some(cache) = &self.2 {
            cache.put(&self.0.device_id, &record);
        }
        Ok(record)
    }

    /// The same without inline data, for whoever wants no data. Where the data costs the disk hardly more, it is read all
    /// the same, so that the record can be kept.
    pub async fn open_head(
        &self,
        hash: ObjectHash,
        version: &Version,
    ) -> Result<OpenRecord, EngineError> {
        if version.bulk.is_empty() && is_read_with_its_head(&version.location) {
            return self.open_record(hash, version).await;
        }
        match self.cached(&hash, version) {
            Some(record) => Ok(record),
            None => self.open_bytes(hash, version, |at| at.head_len).await,
        }
    }

    fn cached(&self, hash: &ObjectHash, version: &Version) -> Option<OpenRecord> {
        let found = self.2.as_ref()?.get(&self.0.device_id, &version.location);
        found.filter(|record| record.record.head.hash == *hash)
    }

    async fn open_bytes(
        &self,
        hash: ObjectHash,
        version: &Version,
        length: fn(&Location) -> u32,
    ) -> Result<OpenRecord, EngineError> {
        let mut version = version.clone();
        for _ in 0..MOVES_MAX {
            let read = self.read_record(hash, &version, length(&version.location)).await;
            // What lies in bulk segments is not marked as belonging to this object, so only the index can tell, now
            // that they are pinned, whether it still does.
            if read.is_ok() && version.bulk.is_empty() {
                return read;
            }
            let state = self.state(hash).await?;
            let same = state.versions().iter().find(|known| known.says_the_same(&version));
            match (same, read) {
                (None, _) => return Err(EngineError::Changed),
                (Some(known), read) if known.location == version.location => {
                    return read.inspect_err(|error| self.suspect(hash, &version, error));
                }
                (Some(moved), _) => version = moved.clone(),
            }
        }
        Err(EngineError::Changed)
    }

    async fn read_record(
        &self,
        hash: ObjectHash,
        version: &Version,
        length: u32,
    ) -> Result<OpenRecord, EngineError> {
        let segments = &self.0.segments;
        let at = &version.location;
        let file = segments.file(at.segment).ok_or(FormatError::Misplaced)?;
        let pin = |share: &BulkShare| segments.pin(share.segment).ok_or(FormatError::Misplaced);
        let pins = version.bulk.iter().map(pin).collect::<Result<Vec<Pin>, FormatError>>()?;
        let within = at.offset as usize % BLOCK;
        let blocks = blocks_of(within + length as usize);
        let first = (at.offset as usize / BLOCK) as u32;
        let buf = self.1.read(file, first, blocks).await.map_err(EngineError::Read)?;
        let bytes = Bytes::from_owner(buf).slice(within..within + length as usize);
        let record = Record::decode_head(&bytes)?;
        if record.head.hash != hash || record.head.lsn != at.lsn {
            return Err(FormatError::Misplaced.into());
        }
        Ok(OpenRecord {
            record: Arc::new(record),
            bytes,
            version: Arc::new(version.clone()),
            pins: Arc::new(pins),
        })
    }

    /// The metadata of a damaged record, if that part of it can still be read.
    pub async fn quarantined_metadata(&self, record: &Quarantined) -> Option<Metadata> {
        // No data is wanted, so none need be there.
        let version = Version { bulk: Vec::new(), ..record.version.clone() };
        let read = self.read_record(record.hash, &version, version.location.head_len).await;
        read.ok().map(|opened| opened.record.metadata.clone())
    }

    /// What was read is not what was written, and it had not moved: it goes into quarantine.
    fn suspect(&self, hash: ObjectHash, version: &Version, error: &EngineError) {
        if matches!(error, EngineError::Damaged(_)) {
            // When too much waits already, the next reader will notice again.
            let _ = self.0.commits.try_send(Job::Quarantine(hash, version.location));
            if let Some(cache) = &self.2 {
                cache.forget(&self.0.device_id, &version.location);
            }
        }
    }

    /// The data of a record from `range.start` to before `range.end`, which lies within it.
    pub fn data(&self, record: &OpenRecord, range: Range<u64>) -> ChunkStream {
        ChunkStream {
            engine: self.clone(),
            record: record.clone(),
            range,
            ready: VecDeque::new(),
            failed: false,
        }
    }
}

/// Whether the whole record takes at most one block more than its head.
fn is_read_with_its_head(at: &Location) -> bool {
    let within = at.offset as usize % BLOCK;
    let blocks = |len: u32| blocks_of(within + len as usize);
    blocks(at.len) <= blocks(at.head_len) + 1
}

impl OpenRecord {
    /// The version that it is the record of, with where it stands now.
    pub fn version(&self) -> &Version {
        &self.version
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same record in other memory.
    pub(super) fn with_bytes(&self, bytes: Bytes) -> Self {
        OpenRecord { bytes, ..self.clone() }
    }

    pub(super) fn inline(&self) -> Bytes {
        self.bytes.slice(self.record.inline_at.min(self.bytes.len())..)
    }
}

/// Checked pieces of an object's data, in order.
pub struct ChunkStream {
    engine: Engine,
    record: OpenRecord,
    range: Range<u64>,
    ready: VecDeque<Bytes>,
    failed: bool,
}

impl ChunkStream {
    /// The next piece, or `None` at the end. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(Ok(piece));
        }
        if self.failed || self.range.is_empty() {
            return None;
        }
        match self.read_window().await {
            Ok(()) => self.ready.pop_front().map(Ok),
            Err(error) => {
                self.failed = true;
                Some(Err(self.judge(error).await))
            }
        }
    }

    /// Inline data may have been written over after its object was moved, while it was being read.
    async fn judge(&self, error: EngineError) -> EngineError {
        let (hash, version) = (self.record.record.head.hash, self.record.version());
        match self.engine.state(hash).await {
            Ok(state) if state.at(&version.location).is_none() => EngineError::Changed,
            _ => {
                self.engine.suspect(hash, version, &error);
                error
            }
        }
    }

    /// All of it, for data that is known to be small.
    pub async fn whole(mut self) -> Result<Bytes, EngineError> {
        let first = self.next().await.transpose()?.unwrap_or_default();
        if self.ready.is_empty() && self.range.is_empty() {
            return Ok(first);
        }
        let mut all = first.to_vec();
        while let Some(piece) = self.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all.into())
    }

    /// Reads and checks the chunks from the start of the range on, up to a window's end.
    async fn read_window(&mut self) -> Result<(), EngineError> {
        let chunk = CHUNK as u64;
        let first_chunk = self.range.start / chunk;
        let start = first_chunk * chunk;
        let data_len = self.record.record.head.data_len;
        let end = self.range.end.next_multiple_of(chunk).min(start + WINDOW).min(data_len);
        let bytes = if self.record.record.extents.is_empty() {
            let inline = self.record.inline();
            if inline.len() < end as usize {
                return Err(FormatError::Short.into());
            }
            inline.slice(start as usize..end as usize)
        } else {
            self.read_extents(start..end).await?
        };
        let crcs = self.record.record.chunk_crcs.get(first_chunk as usize..).unwrap_or_default();
        let mut crcs = crcs.iter();
        for piece in bytes.chunks(CHUNK) {
            if crcs.next() != Some(&crc32fast::hash(piece)) {
                return Err(FormatError::Checksum.into());
            }
        }
        let until = self.range.end.min(end);
        self.ready
            .push_back(bytes.slice((self.range.start - start) as usize..(until - start) as usize));
        self.range.start = until;
        Ok(())
    }

    /// Reads data of extents; `range` begins on a block.
    async fn read_extents(&self, range: Range<u64>) -> Result<Bytes, EngineError> {
        let wanted = (range.end - range.start) as usize;
        let mut out: Option<BlockBuf> = None;
        let mut position = 0u64;
        for extent in &self.record.record.extents {
            let len = u64::from(extent.blocks) * BLOCK as u64;
            let from = range.start.max(position);
            let until = range.end.min(position + len);
            if from < until {
                let within = Extent {
                    block: extent.block + ((from - position) / BLOCK as u64) as u32,
                    blocks: blocks_of((until - from) as usize),
                    ..*extent
                };
                let mut pins = self.record.pins.iter();
                let pin = pins.find(|pin| pin.segment() == within.segment);
                let file = pin.ok_or(FormatError::Misplaced)?.file();
                let read = self.engine.1.read(file, within.block, within.blocks).await;
                let read = read.map_err(EngineError::Read)?;
                out = Some(match out {
                    None => read,
                    Some(before) => joined(before, &read),
                });
            }
            position += len;
        }
        let bytes = Bytes::from_owner(out.unwrap_or_default());
        if bytes.len() < wanted {
            return Err(FormatError::Short.into());
        }
        Ok(bytes.slice(..wanted))
    }
}

/// Pieces of one body are whole blocks, all but the last, so they can be put one behind the other.
fn joined(mut before: BlockBuf, next: &BlockBuf) -> BlockBuf {
    let len = before.as_ref().len();
    before.resize(before.blocks() + next.blocks());
    before.as_mut()[len..].copy_from_slice(next.as_ref());
    before
}

//! Reading records and their data, every byte checked.

use super::segments::blocks_of;
use super::{Engine, EngineError};
use crate::format::{CHUNK, Extent, FormatError, Record};
use crate::io::{BLOCK, BlockBuf};
use crate::state::Location;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use types::ObjectHash;

/// Bytes of bulk data read at a time: sixteen chunks.
const WINDOW: u64 = 16 * CHUNK as u64;

/// A record that was read, with its inline data.
#[derive(Clone)]
pub struct OpenRecord {
    /// The record.
    pub record: Record,
    bytes: Bytes,
}

impl Engine {
    /// Reads the record at a location and checks that it is the one that the index means.
    pub async fn open_record(
        &self,
        hash: ObjectHash,
        at: Location,
    ) -> Result<OpenRecord, EngineError> {
        let file = self.0.segments.file(at.segment).ok_or(FormatError::Misplaced)?;
        let offset = at.offset as usize;
        let first = offset / BLOCK;
        let blocks = blocks_of(offset % BLOCK + at.len as usize);
        let buf = self.0.io.read(file, first as u32, blocks).await.map_err(EngineError::Read)?;
        let bytes = Bytes::from_owner(buf).slice(offset % BLOCK..offset % BLOCK + at.len as usize);
        let record = Record::decode(&bytes)?;
        if record.head.hash != hash || record.head.lsn != at.lsn {
            return Err(FormatError::Misplaced.into());
        }
        Ok(OpenRecord { record, bytes })
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

impl OpenRecord {
    fn inline(&self) -> Bytes {
        self.bytes.slice(self.record.inline_at..)
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
                Some(Err(error))
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
            self.record.inline().slice(start as usize..end as usize)
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
                let file =
                    self.engine.0.segments.file(within.segment).ok_or(FormatError::Misplaced)?;
                let read = self.engine.0.io.read(file, within.block, within.blocks).await;
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

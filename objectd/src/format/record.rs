//! Records: one change of one object, with its data or where that lies.

use super::bytes::{FormatError, Reader, Writer};
use super::metadata::Metadata;
use crate::state::Fragment;
use types::{ObjectHash, Timestamp};

const MAGIC: &[u8; 4] = b"PKR1";
const FIXED_LEN: usize = 104;
const LSN_AT: usize = 32;
const CRC_AT: usize = 12;
const EXTENT_LEN: usize = 12;
const FLAG_FRAGMENT: u8 = 1;
const FLAG_DURABLE: u8 = 2;
/// Bytes of data under one CRC.
pub const CHUNK: usize = 64 * 1024;
/// Longest data that is kept in the record itself.
pub const INLINE_MAX: usize = 64 * 1024;

/// What a record does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// New data with its metadata (Swift's `.data`).
    Data,
    /// New user metadata (Swift's `.meta`).
    Meta,
    /// It was deleted (Swift's `.ts`).
    Tombstone,
    /// Fragments of that moment are durable now (Swift's `#d`).
    Durable,
    /// What this device had until then, up to that moment, is gone from here; it may come again.
    Purge,
}

impl RecordKind {
    /// The byte that stands for it on disk.
    pub fn code(self) -> u8 {
        match self {
            RecordKind::Data => 1,
            RecordKind::Meta => 2,
            RecordKind::Tombstone => 3,
            RecordKind::Durable => 4,
            RecordKind::Purge => 5,
        }
    }

    /// The word for it, in texts.
    pub fn name(self) -> &'static str {
        match self {
            RecordKind::Data => "data",
            RecordKind::Meta => "meta",
            RecordKind::Tombstone => "tombstone",
            RecordKind::Durable => "durable",
            RecordKind::Purge => "purge",
        }
    }

    /// Whether it says what is *not* there, and is given up some time.
    pub fn is_marker(self) -> bool {
        matches!(self, RecordKind::Tombstone | RecordKind::Purge)
    }

    /// The kind that a byte stands for.
    pub fn from_code(code: u8) -> Result<Self, FormatError> {
        match code {
            1 => Ok(RecordKind::Data),
            2 => Ok(RecordKind::Meta),
            3 => Ok(RecordKind::Tombstone),
            4 => Ok(RecordKind::Durable),
            5 => Ok(RecordKind::Purge),
            _ => Err(FormatError::Field("kind")),
        }
    }
}

/// A piece of data in a bulk segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The segment.
    pub segment: u32,
    /// The first block.
    pub block: u32,
    /// How many.
    pub blocks: u32,
}

impl Extent {
    fn decode(fields: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Extent { segment: fields.u32()?, block: fields.u32()?, blocks: fields.u32()? })
    }
}

/// The fixed part of a record: what the index needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Bytes in the whole record.
    pub record_len: u32,
    /// What it does.
    pub kind: RecordKind,
    /// To which object.
    pub hash: ObjectHash,
    /// In which frame.
    pub lsn: u64,
    /// When.
    pub timestamp: Timestamp,
    /// When the content type was set, if the record sets one at a moment of its own.
    pub content_type_timestamp: Option<Timestamp>,
    /// Bytes of data.
    pub data_len: u64,
    /// When it expires, in seconds; 0 for never.
    pub delete_at: u64,
    /// Of an erasure-coded object: which piece.
    pub fragment: Option<Fragment>,
    meta_len: u32,
    update_len: u32,
    extents: u32,
    chunks: u32,
    inline_len: u32,
}

impl RecordHead {
    /// Reads the fixed part. Its CRC covers more than that and is checked by [`Record::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes);
        if &fields.array::<4>()? != MAGIC {
            return Err(FormatError::Magic);
        }
        let record_len = fields.u32()?;
        let kind = RecordKind::from_code(fields.u8()?)?;
        let (flags, index) = (fields.u8()?, fields.u8()?);
        let durable = flags & FLAG_DURABLE != 0;
        let fragment = (flags & FLAG_FRAGMENT != 0).then_some(Fragment { index, durable });
        fields.take(1 + 4)?;
        let hash = ObjectHash(fields.array()?);
        let lsn = fields.u64()?;
        let timestamp = Timestamp { raw: fields.u64()?, offset: fields.u64()? };
        let content_type_raw = fields.u64()?;
        let (data_len, delete_at) = (fields.u64()?, fields.u64()?);
        let (meta_len, update_len, extents) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (chunks, inline_len) = (fields.u32()?, fields.u32()?);
        let head = RecordHead {
            record_len,
            kind,
            hash,
            lsn,
            timestamp,
            content_type_timestamp: content_type_at(content_type_raw, timestamp),
            data_len,
            delete_at,
            fragment,
            meta_len,
            update_len,
            extents,
            chunks,
            inline_len,
        };
        head.check()
    }

    fn check(self) -> Result<Self, FormatError> {
        let whole = self.head_len() + u64::from(self.inline_len);
        if whole != u64::from(self.record_len) {
            return Err(FormatError::Field("length"));
        }
        if self.data_len.div_ceil(CHUNK as u64) != u64::from(self.chunks) {
            return Err(FormatError::Field("chunks"));
        }
        if self.extents == 0 && self.data_len != u64::from(self.inline_len) {
            return Err(FormatError::Field("inline length"));
        }
        Ok(self)
    }

    /// Bytes before the inline data.
    pub fn head_len(&self) -> u64 {
        FIXED_LEN as u64
            + u64::from(self.meta_len)
            + u64::from(self.update_len)
            + u64::from(self.extents) * EXTENT_LEN as u64
            + u64::from(self.chunks) * 4
    }

    /// How many pieces of bulk segments the data lies in.
    pub fn extent_count(&self) -> u32 {
        self.extents
    }

    /// Whether the data lies elsewhere.
    pub fn has_extents(&self) -> bool {
        self.extents > 0
    }

    /// Whether a listing update stands in the record.
    pub fn has_update(&self) -> bool {
        self.update_len > 0
    }

    /// Bytes of the listing update in a record whose bytes are known to be whole.
    pub fn update_in<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        let from = FIXED_LEN + self.meta_len as usize;
        record.get(from..from + self.update_len as usize).unwrap_or_default()
    }

    /// Where the data lies, of a record whose bytes are known to be whole.
    pub fn extents_in(&self, record: &[u8]) -> Result<Vec<Extent>, FormatError> {
        let from = FIXED_LEN + self.meta_len as usize + self.update_len as usize;
        let mut fields = Reader::new(record.get(from..).ok_or(FormatError::Short)?);
        (0..self.extents).map(|_| Extent::decode(&mut fields)).collect()
    }
}

/// A whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its fixed part.
    pub head: RecordHead,
    /// The object's metadata as of this record.
    pub metadata: Metadata,
    /// The encoded listing update; empty when there is none.
    pub update: Vec<u8>,
    /// Where the data lies when it is not inline.
    pub extents: Vec<Extent>,
    /// CRC of each chunk of data.
    pub chunk_crcs: Vec<u32>,
    /// Where in the record's bytes the inline data begins.
    pub inline_at: usize,
}

/// What a new record is made of.
pub struct RecordParts<'a> {
    /// What it does.
    pub kind: RecordKind,
    /// To which object.
    pub hash: ObjectHash,
    /// When.
    pub timestamp: Timestamp,
    /// When the content type was set, if the record sets one at a moment of its own.
    pub content_type_timestamp: Option<Timestamp>,
    /// Bytes of data.
    pub data_len: u64,
    /// When it expires, in seconds; 0 for never.
    pub delete_at: u64,
    /// Of an erasure-coded object: which piece.
    pub fragment: Option<Fragment>,
    /// The object's metadata.
    pub metadata: &'a Metadata,
    /// The encoded listing update, or nothing.
    pub update: &'a [u8],
    /// Where the data lies, if not inline.
    pub extents: &'a [Extent],
    /// CRC of each chunk of data.
    pub chunk_crcs: &'a [u32],
    /// The data, if inline.
    pub inline: &'a [u8],
}

impl RecordParts<'_> {
    /// The record's bytes, complete but for LSN and CRC; see [`seal`].
    pub fn encode(&self) -> Vec<u8> {
        let meta = self.metadata.encode();
        let whole = FIXED_LEN
            + meta.len()
            + self.update.len()
            + self.extents.len() * EXTENT_LEN
            + self.chunk_crcs.len() * 4
            + self.inline.len();
        let mut out = Writer(Vec::with_capacity(whole));
        let flags = self.fragment.map_or(0, |fragment| match fragment.durable {
            true => FLAG_FRAGMENT | FLAG_DURABLE,
            false => FLAG_FRAGMENT,
        });
        out.put(MAGIC).u32(whole as u32).u8(self.kind.code()).u8(flags);
        out.u8(self.fragment.map_or(0, |fragment| fragment.index)).u8(0).u32(0);
        out.put(&self.hash.0).u64(0).u64(self.timestamp.raw).u64(self.timestamp.offset);
        out.u64(self.content_type_timestamp.map_or(0, |ts| ts.raw));
        out.u64(self.data_len).u64(self.delete_at);
        out.u32(meta.len() as u32).u32(self.update.len() as u32).u32(self.extents.len() as u32);
        out.u32(self.chunk_crcs.len() as u32).u32(self.inline.len() as u32).u32(0);
        out.put(&meta).put(self.update);
        for extent in self.extents {
            out.u32(extent.segment).u32(extent.block).u32(extent.blocks);
        }
        for crc in self.chunk_crcs {
            out.u32(*crc);
        }
        out.put(self.inline);
        out.0
    }
}

/// When a content type was set, from what a record keeps of it: a moment without offset, and 0 for none. One that was
/// set at the record's own moment has its offset too (Swift: common/utils/timestamp.py, `decode_timestamps`).
pub fn content_type_at(raw: u64, timestamp: Timestamp) -> Option<Timestamp> {
    match raw {
        0 => None,
        raw if raw == timestamp.raw => Some(timestamp),
        raw => Some(Timestamp::from_raw(raw)),
    }
}

/// Writes LSN and CRC into an encoded record, once its frame is known.
pub fn seal(record: &mut [u8], lsn: u64) {
    record[LSN_AT..LSN_AT + 8].copy_from_slice(&lsn.to_le_bytes());
    let inline_len = Reader::new(&record[96..]).u32().unwrap_or(0) as usize;
    let crc = head_crc(&record[..record.len() - inline_len]);
    record[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}

fn head_crc(head: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..CRC_AT]);
    crc.update(&head[CRC_AT + 4..]);
    crc.finalize()
}

impl Record {
    /// Reads a record and checks all of it but the data, which [`Record::chunk_crcs`] is for.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let record = Self::decode_head(bytes)?;
        if bytes.len() < record.head.record_len as usize {
            return Err(FormatError::Short);
        }
        Ok(record)
    }

    /// The same of bytes that end anywhere behind the record's head.
    pub fn decode_head(bytes: &[u8]) -> Result<Self, FormatError> {
        let head = RecordHead::decode(bytes)?;
        let head_len = head.head_len() as usize;
        let head_bytes = bytes.get(..head_len).ok_or(FormatError::Short)?;
        if Reader::new(&bytes[CRC_AT..]).u32()? != head_crc(head_bytes) {
            return Err(FormatError::Checksum);
        }
        let mut fields = Reader::new(&head_bytes[FIXED_LEN..]);
        let metadata = Metadata::decode(fields.take(head.meta_len as usize)?)?;
        let update = fields.take(head.update_len as usize)?.to_vec();
        let mut extents = Vec::with_capacity(head.extents as usize);
        for _ in 0..head.extents {
            extents.push(Extent::decode(&mut fields)?);
        }
        let mut chunk_crcs = Vec::with_capacity(head.chunks as usize);
        for _ in 0..head.chunks {
            chunk_crcs.push(fields.u32()?);
        }
        Ok(Record { head, metadata, update, extents, chunk_crcs, inline_at: head_len })
    }
}

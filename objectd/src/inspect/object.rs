//! One object: what is known of it, and its bytes, as far as they are whole.

use super::{Device, InspectError};
use crate::format::{CHUNK, FormatError, Record, RecordKind};
use crate::io::BLOCK;
use crate::state::{ObjectState, Version, merge};
use std::io;
use types::ObjectHash;

/// Chunks that are read at a time, while nothing is wrong with them.
const WINDOW: u64 = 16 * CHUNK as u64;

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk does not give it.
    #[error("the disk cannot read it: {0}")]
    Disk(#[from] io::Error),
    /// It is not what was written.
    #[error("{0}")]
    Damaged(#[from] FormatError),
}

/// All that is known of one object.
pub struct ObjectView {
    /// Its hash.
    pub hash: ObjectHash,
    /// Whether the log told something that the index does not know yet.
    pub completed: bool,
    /// Its versions, as they are ordered in its state.
    pub versions: Vec<StoredVersion>,
    /// Damaged records of it that are kept.
    pub quarantined: Vec<KeptVersion>,
}

/// A version that was found damaged once, and is kept as it is.
pub struct KeptVersion {
    /// What is known of it.
    pub version: Version,
    /// When that was, in µs since 1970.
    pub found_micros: u64,
    /// Its record, which may well hold; its data may be what does not.
    pub stored: Result<StoredRecord, ReadError>,
}

/// One version of an object.
pub struct StoredVersion {
    /// What is known of it.
    pub version: Version,
    /// What it is good for.
    pub role: Role,
    /// Its record.
    pub stored: Result<StoredRecord, ReadError>,
}

/// What a version is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its data is served.
    Data,
    /// Its metadata is served with that data.
    Metadata,
    /// Its content type is served with that data.
    ContentType,
    /// The object is served as deleted.
    Deletion,
    /// Nothing of it is served.
    None,
}

impl Role {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Data => "data is served",
            Role::Metadata => "metadata is served",
            Role::ContentType => "content type is served",
            Role::Deletion => "says that it is deleted",
            Role::None => "not served",
        }
    }
}

/// A record that was read, with its inline data.
pub struct StoredRecord {
    /// The record.
    pub record: Record,
    pub(super) bytes: Vec<u8>,
}

impl Device {
    /// All that is known of an object. Where the index ends, or when there is none, the log is asked.
    pub fn object(&self, hash: &ObjectHash) -> Result<ObjectView, InspectError> {
        let (state, completed) = self.state_now(hash)?;
        let mut quarantined = match &self.index {
            Some(index) => index.quarantined(&[], usize::MAX)?,
            None => Vec::new(),
        };
        quarantined.retain(|found| found.hash == *hash);
        let quarantined = quarantined.into_iter().map(|found| KeptVersion {
            stored: self.stored(hash, &found.version),
            found_micros: found.found_micros,
            version: found.version,
        });
        let versions = state.versions().iter().map(|version| StoredVersion {
            version: version.clone(),
            role: role(&state, version),
            stored: self.stored(hash, version),
        });
        let (versions, quarantined) = (versions.collect(), quarantined.collect());
        Ok(ObjectView { hash: *hash, completed, versions, quarantined })
    }

    /// An object's state with what the log says behind the index, and whether that said anything.
    fn state_now(&self, hash: &ObjectHash) -> Result<(ObjectState, bool), InspectError> {
        let Some(index) = &self.index else {
            let records = self.records_of(|known| known == hash).into_iter();
            let merged = |state, (_, version)| merge(&state, version, self.rule);
            return Ok((records.fold(ObjectState::default(), merged), true));
        };
        let mut state = index.state(hash)?;
        let mut completed = false;
        self.beyond(|event| {
            if event.hash == *hash {
                state = merge(&state, event.version, self.rule);
                completed = true;
            }
        });
        Ok((state, completed))
    }

    /// Reads the record of a version, and checks that it is that of this object.
    pub(super) fn stored(
        &self,
        hash: &ObjectHash,
        version: &Version,
    ) -> Result<StoredRecord, ReadError> {
        let at = &version.location;
        let within = at.offset as usize % BLOCK;
        let blocks = (within + at.len as usize).div_ceil(BLOCK) as u32;
        let read = self.read(at.segment, at.offset / BLOCK as u32, blocks)?;
        let bytes =
            read.as_ref().get(within..within + at.len as usize).ok_or(FormatError::Short)?;
        let record = Record::decode(bytes)?;
        let head = &record.head;
        let same = (head.hash, head.lsn, head.kind, head.timestamp, head.data_len)
            == (*hash, at.lsn, version.kind, version.timestamp, version.data_len);
        if same {
            Ok(StoredRecord { record, bytes: bytes.to_vec() })
        } else {
            Err(FormatError::Misplaced.into())
        }
    }

    /// The data of a record.
    pub fn data(&self, stored: StoredRecord) -> DataReader<'_> {
        DataReader { device: self, stored, offset: 0, ready: Vec::new(), ready_at: 0 }
    }
}

fn role(state: &ObjectState, version: &Version) -> Role {
    let is = |other: Option<&Version>| other == Some(version);
    match version.kind {
        RecordKind::Data if is(state.data()) => Role::Data,
        RecordKind::Meta if is(state.meta()) => Role::Metadata,
        RecordKind::Meta if is(state.content_type()) => Role::ContentType,
        RecordKind::Tombstone if is(state.tombstone()) => Role::Deletion,
        _ => Role::None,
    }
}

/// Gives the data of a record chunk by chunk, and goes on behind what is damaged.
pub struct DataReader<'a> {
    device: &'a Device,
    stored: StoredRecord,
    offset: u64,
    ready: Vec<u8>,
    ready_at: u64,
}

/// A piece of data under one checksum.
pub struct Chunk<'a> {
    /// Where in the data it begins.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// Its bytes, if they are what was written.
    pub bytes: Result<&'a [u8], ReadError>,
}

impl DataReader<'_> {
    /// The record that it reads the data of.
    pub fn stored(&self) -> &StoredRecord {
        &self.stored
    }

    /// The next chunk, in order, until all have been given.
    pub fn next_chunk(&mut self) -> Option<Chunk<'_>> {
        let all = self.stored.record.head.data_len;
        let offset = self.offset;
        if offset >= all {
            return None;
        }
        let len = (CHUNK as u64).min(all - offset);
        self.offset += len;
        let bytes = self.fill(offset, len).and_then(|()| {
            let from = (offset - self.ready_at) as usize;
            let bytes = self.ready.get(from..from + len as usize).ok_or(FormatError::Short)?;
            let crc = self.stored.record.chunk_crcs.get((offset / CHUNK as u64) as usize);
            if crc == Some(&crc32fast::hash(bytes)) {
                Ok(bytes)
            } else {
                Err(FormatError::Checksum.into())
            }
        });
        Some(Chunk { offset, len, bytes })
    }

    /// Sees to it that a chunk has been read, and with it some behind it.
    fn fill(&mut self, offset: u64, len: u64) -> Result<(), ReadError> {
        let ready = self.ready_at..self.ready_at + self.ready.len() as u64;
        if ready.contains(&offset) && offset + len <= ready.end {
            return Ok(());
        }
        let until = (offset + WINDOW).min(self.stored.record.head.data_len);
        self.ready_at = offset;
        self.ready = match self.read(offset, until) {
            Ok(window) => window,
            // What is bad may be behind this chunk.
            Err(_) => self.read(offset, offset + len).inspect_err(|_| self.ready.clear())?,
        };
        Ok(())
    }

    fn read(&self, from: u64, until: u64) -> Result<Vec<u8>, ReadError> {
        if self.stored.record.extents.is_empty() {
            let bytes = self.stored.inline().get(from as usize..until as usize);
            return Ok(bytes.ok_or(FormatError::Short)?.to_vec());
        }
        let mut out = Vec::with_capacity((until - from) as usize);
        let mut position = 0;
        for extent in &self.stored.record.extents {
            let end = position + u64::from(extent.blocks) * BLOCK as u64;
            let (begin, stop) = (from.max(position), until.min(end));
            if begin < stop {
                let (first, within) =
                    ((begin - position) / BLOCK as u64, (begin - position) % BLOCK as u64);
                let len = within + stop - begin;
                let blocks = len.div_ceil(BLOCK as u64) as u32;
                let at = extent.block.checked_add(first as u32).ok_or(FormatError::Misplaced)?;
                let read = self.device.read(extent.segment, at, blocks)?;
                out.extend_from_slice(&read.as_ref()[within as usize..len as usize]);
            }
            position = end;
        }
        if out.len() as u64 == until - from { Ok(out) } else { Err(FormatError::Short.into()) }
    }
}

impl StoredRecord {
    fn inline(&self) -> &[u8] {
        self.bytes.get(self.record.inline_at..).unwrap_or_default()
    }

    /// In which segment and block a byte of the data lies.
    pub fn place_of(&self, version: &Version, byte: u64) -> (u32, u32) {
        let at = &version.location;
        let mut position = 0;
        for extent in &self.record.extents {
            let end = position + u64::from(extent.blocks) * BLOCK as u64;
            if byte < end {
                let block = (byte.saturating_sub(position) / BLOCK as u64) as u32;
                return (extent.segment, extent.block.saturating_add(block));
            }
            position = end;
        }
        let inline = u64::from(at.offset) + self.record.inline_at as u64 + byte;
        (at.segment, (inline / BLOCK as u64) as u32)
    }
}

//! Small rows of the index.

use crate::format::{FormatError, Reader, RecordKind, SegmentClass, Writer};
use crate::state::{Location, ObjectState, Version};
use sha2::{Digest, Sha256};
use types::ObjectHash;

/// Where the next frame of a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: u32,
    /// The block in it.
    pub block: u32,
}

/// The end of what the index knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last frame applied; 0 for none.
    pub lsn: u64,
    /// The CRC of its header, which the next frame chains to.
    pub header_crc: u32,
    /// Where each stream goes on, in the order of [`SegmentClass::LOG`].
    pub places: [Option<Place>; SegmentClass::LOG.len()],
}

impl Applied {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(2).u64(self.lsn).u32(self.header_crc);
        for place in self.places {
            // A frame never begins at block 0.
            let place = place.unwrap_or(Place { segment: 0, block: 0 });
            out.u32(place.segment).u32(place.block);
        }
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes);
        match fields.u8()? {
            2 => {}
            other => return Err(FormatError::Version(other.into())),
        }
        let mut applied =
            Applied { lsn: fields.u64()?, header_crc: fields.u32()?, ..Applied::default() };
        for place in &mut applied.places {
            let read = Place { segment: fields.u32()?, block: fields.u32()? };
            *place = (read.block > 0).then_some(read);
        }
        Ok(applied)
    }
}

/// Names a pending update: its frame's LSN and its number among the at most 256 records there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateToken(pub u64);

impl UpdateToken {
    /// Of a record in a frame.
    pub fn new(lsn: u64, number: u8) -> Self {
        UpdateToken(lsn << 8 | u64::from(number))
    }

    /// The frame.
    pub fn lsn(self) -> u64 {
        self.0 >> 8
    }

    pub(super) fn key(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(super) fn parse(key: &[u8]) -> Option<Self> {
        Some(UpdateToken(u64::from_be_bytes(key.try_into().ok()?)))
    }
}

/// What lives in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The use of the segment that this is of.
    pub epoch: u64,
    /// Bytes of records, or of bulk data, that some object's state names.
    pub live: u64,
    /// Of a log segment: bytes of all records in it.
    pub written: u64,
    /// Those among them that are tombstones.
    pub tombstones: u64,
    /// Of a bulk segment: blocks up to the last one that a record ever named.
    pub taken: u32,
    /// Damaged records in it, which are kept.
    pub quarantined: u32,
    /// Of a log segment: whether something stands in it that was deleted or replaced before it came. A tombstone from
    /// an earlier frame is needed against it.
    pub late: bool,
}

impl Account {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u64(self.epoch).u64(self.live).u64(self.written).u64(self.tombstones);
        out.u32(self.taken).u32(self.quarantined).u8(self.late.into());
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes);
        Ok(Account {
            epoch: fields.u64()?,
            live: fields.u64()?,
            written: fields.u64()?,
            tombstones: fields.u64()?,
            taken: fields.u32()?,
            quarantined: fields.u32()?,
            // Rows of before this was counted: it cannot be ruled out.
            late: fields.is_empty() || fields.u8()? != 0,
        })
    }
}

/// A summary of many objects: two devices that hold the same have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Objects of which something is known, deleted ones among them.
    pub objects: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// XOR of a digest of each object's state.
    pub fingerprint: u128,
}

impl Cell {
    /// One object has changed.
    pub fn change(&mut self, hash: &ObjectHash, before: &ObjectState, after: &ObjectState) {
        let there = |state: &ObjectState| u64::from(!state.is_empty());
        let bytes = |state: &ObjectState| state.data().map_or(0, |data| data.data_len);
        self.objects = self.objects.wrapping_sub(there(before)).wrapping_add(there(after));
        self.bytes = self.bytes.wrapping_sub(bytes(before)).wrapping_add(bytes(after));
        self.fingerprint ^= state_digest(hash, before) ^ state_digest(hash, after);
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u64(self.objects).u64(self.bytes).put(&self.fingerprint.to_le_bytes());
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes);
        Ok(Cell {
            objects: fields.u64()?,
            bytes: fields.u64()?,
            fingerprint: u128::from_le_bytes(fields.array()?),
        })
    }
}

/// Of what is known of an object, wherever its records lie.
pub fn state_digest(hash: &ObjectHash, state: &ObjectState) -> u128 {
    state.versions().iter().fold(0, |digest, version| digest ^ version_digest(hash, version))
}

/// Of what a version says, wherever its record lies.
pub fn version_digest(hash: &ObjectHash, version: &Version) -> u128 {
    if version.kind == RecordKind::Purge {
        // It is about this device alone.
        return 0;
    }
    let fragment = version.fragment;
    let mut out = Writer(Vec::with_capacity(64));
    out.put(&hash.0).u8(version.kind.code());
    out.u8(fragment.map_or(255, |fragment| fragment.index));
    out.u8(fragment.is_some_and(|fragment| fragment.durable).into());
    out.u64(version.timestamp.raw).u64(version.timestamp.offset);
    out.u64(version.content_type_timestamp.map_or(0, |at| at.raw));
    let digest: [u8; 32] = Sha256::digest(&out.0).into();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(first)
}

/// A record that is damaged. Its bytes are kept until somebody gives them up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Of which object.
    pub hash: ObjectHash,
    /// What was known of it.
    pub version: Version,
    /// When that was found out, in µs since 1970.
    pub found_micros: u64,
}

impl Quarantined {
    /// Its place among all: by hash, then by when it was written.
    pub fn key(&self) -> Vec<u8> {
        let Location { lsn, offset, .. } = self.version.location;
        [self.hash.0.as_slice(), &lsn.to_be_bytes(), &offset.to_be_bytes()].concat()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.put(&self.hash.0).u64(self.found_micros);
        out.put(&ObjectState::of_one(self.version.clone()).encode());
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes);
        let hash = ObjectHash(fields.array()?);
        let found_micros = fields.u64()?;
        let state = ObjectState::decode(fields.rest())?;
        let version = state.versions().first().cloned().ok_or(FormatError::Field("version"))?;
        Ok(Quarantined { hash, version, found_micros })
    }
}

//! An object's state as the value of an index row.

use super::{BulkShare, Fragment, Location, ObjectState, Version};
use crate::format::{FormatError, Reader, RecordKind, Writer, content_type_at};
use types::Timestamp;

const FORMAT: u8 = 2;

/// Which fields of a version are there; what is absent is zero.
mod has {
    pub(super) const OFFSET: u8 = 1;
    pub(super) const CONTENT_TYPE: u8 = 2;
    pub(super) const DELETE_AT: u8 = 4;
    pub(super) const DATA: u8 = 8;
    pub(super) const BULK: u8 = 16;
    pub(super) const FRAGMENT: u8 = 32;
    pub(super) const DURABLE: u8 = 64;
}

impl ObjectState {
    /// Value of an index row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(2 + self.versions.len() * 48));
        out.u8(FORMAT).u8(self.versions.len() as u8);
        for version in &self.versions {
            encode_version(&mut out, version);
        }
        out.0
    }

    /// Reads what [`ObjectState::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes);
        match fields.u8()? {
            FORMAT => {}
            newer => return Err(FormatError::Version(newer.into())),
        }
        let count = fields.u8()?;
        let mut versions = Vec::with_capacity(count.into());
        for _ in 0..count {
            versions.push(decode_version(&mut fields)?);
        }
        if fields.is_empty() {
            Ok(ObjectState { versions })
        } else {
            Err(FormatError::Field("state"))
        }
    }
}

fn encode_version(out: &mut Writer, version: &Version) {
    let Version { kind, timestamp, content_type_timestamp, fragment, bulk, location, .. } = version;
    let flag = |there: bool, flag: u8| if there { flag } else { 0 };
    let flags = flag(timestamp.offset != 0, has::OFFSET)
        | flag(content_type_timestamp.is_some(), has::CONTENT_TYPE)
        | flag(version.delete_at != 0, has::DELETE_AT)
        | flag(version.data_len != 0, has::DATA)
        | flag(!bulk.is_empty(), has::BULK)
        | flag(fragment.is_some(), has::FRAGMENT)
        | flag(fragment.is_some_and(|fragment| fragment.durable), has::DURABLE);
    out.u8(kind.code()).u8(flags).u64(timestamp.raw);
    out.u32(location.segment).u32(location.offset).u32(location.len).u32(location.head_len);
    out.u64(location.lsn);
    if timestamp.offset != 0 {
        out.u64(timestamp.offset);
    }
    if let Some(at) = content_type_timestamp {
        out.u64(at.raw);
    }
    if version.delete_at != 0 {
        out.u64(version.delete_at);
    }
    if version.data_len != 0 {
        out.u64(version.data_len);
    }
    if !bulk.is_empty() {
        out.u16(bulk.len() as u16);
        for share in bulk {
            out.u32(share.segment).u32(share.blocks);
        }
    }
    if let Some(fragment) = fragment {
        out.u8(fragment.index);
    }
}

fn decode_version(fields: &mut Reader<'_>) -> Result<Version, FormatError> {
    let (kind, flags) = (RecordKind::from_code(fields.u8()?)?, fields.u8()?);
    let raw = fields.u64()?;
    let location = Location {
        segment: fields.u32()?,
        offset: fields.u32()?,
        len: fields.u32()?,
        head_len: fields.u32()?,
        lsn: fields.u64()?,
    };
    let mut optional = |flag| if flags & flag != 0 { fields.u64() } else { Ok(0) };
    let offset = optional(has::OFFSET)?;
    let timestamp = Timestamp { raw, offset };
    let content_type_raw = optional(has::CONTENT_TYPE)?;
    let delete_at = optional(has::DELETE_AT)?;
    let data_len = optional(has::DATA)?;
    let mut bulk = Vec::new();
    if flags & has::BULK != 0 {
        for _ in 0..fields.u16()? {
            bulk.push(BulkShare { segment: fields.u32()?, blocks: fields.u32()? });
        }
    }
    let fragment = match flags & has::FRAGMENT {
        0 => None,
        _ => Some(Fragment { index: fields.u8()?, durable: flags & has::DURABLE != 0 }),
    };
    Ok(Version {
        kind,
        timestamp,
        content_type_timestamp: content_type_at(content_type_raw, timestamp),
        delete_at,
        data_len,
        fragment,
        bulk,
        location,
    })
}

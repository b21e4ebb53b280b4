//! The row of an object in a container.
//!
//! Stored as: flags; data timestamp; content-type timestamp if other than data's; meta timestamp if other
//! than content type's; size; ETag (16 bytes if it is an MD5 in lower-case hex, else a text); content type;
//! `swift_bytes` if there is one; the second of its expiry if it has one. Flags, from the lowest bit: deleted,
//! content-type timestamp follows, meta timestamp follows, ETag is an MD5, `swift_bytes` follows, expiry follows.
//!
//! Swift keeps the three timestamps in one text which loses the offsets of the second and third; here all
//! are kept whole, so that merging is the same in every order. Only the list's hash is made of that text.

use crate::entity::Entity;
use crate::record::{Corrupt, Reader, put_integer, put_text, put_timestamp};
use crate::row::{Row, Totals};
use types::{PolicyIndex, RowTimestamps, Timestamp, encode_row_timestamps, hex_decode, hex_encode};
use wire::{ObjectUpdate, extract_swift_bytes};

/// An object, or the memory of its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    /// When its data was written or it was deleted.
    pub data: Timestamp,
    /// When its content type was set.
    pub content_type_at: Timestamp,
    /// When its metadata was set.
    pub meta: Timestamp,
    /// Its length.
    pub size: u64,
    /// Its content type, without `swift_bytes`.
    pub content_type: String,
    /// The length to show instead, as it was sent; goes with the data.
    pub swift_bytes: Option<String>,
    /// Its ETag.
    pub etag: String,
    /// Whether it was deleted.
    pub deleted: bool,
    /// When it expires, in seconds; 0 for never. Goes with the metadata.
    pub delete_at: u64,
}

const DELETED: u8 = 1;
const CONTENT_TYPE_AT: u8 = 2;
const META: u8 = 4;
const ETAG_IS_MD5: u8 = 8;
const SWIFT_BYTES: u8 = 16;
const DELETE_AT: u8 = 32;

impl From<&ObjectUpdate> for ObjectRow {
    fn from(update: &ObjectUpdate) -> Self {
        let content_type_at = update.content_type_timestamp.unwrap_or(update.timestamp);
        let (content_type, swift_bytes) = match update.deleted {
            true => ("application/deleted".to_owned(), None),
            false => extract_swift_bytes(&update.content_type),
        };
        ObjectRow {
            data: update.timestamp,
            content_type_at,
            meta: update.meta_timestamp.unwrap_or(content_type_at),
            size: if update.deleted { 0 } else { update.size },
            content_type,
            swift_bytes,
            etag: if update.deleted { "noetag".to_owned() } else { update.etag.clone() },
            deleted: update.deleted,
            delete_at: if update.deleted { 0 } else { update.delete_at },
        }
    }
}

impl ObjectRow {
    /// The length that listings show.
    pub fn listed_size(&self) -> u64 {
        self.swift_bytes.as_ref().and_then(|bytes| bytes.parse().ok()).unwrap_or(self.size)
    }
}

/// The bytes of an MD5 that `hex_encode` would give back as it was.
fn md5_bytes(etag: &str) -> Option<Vec<u8>> {
    let bytes = hex_decode(etag).ok().filter(|bytes| bytes.len() == 16)?;
    etag.bytes().all(|digit| !digit.is_ascii_uppercase()).then_some(bytes)
}

impl Row for ObjectRow {
    const DIRECTORY: &'static str = "containers";
    const RECREATABLE: bool = true;
    const DELETED_EMPTY_ONLY: bool = true;
    const REPORTS: bool = true;
    const METADATA_KEPT: &'static [&'static str] =
        &["x-container-sysmeta-shard-quoted-root", "x-container-sysmeta-shard-root"];

    fn encode(&self, out: &mut Vec<u8>) {
        let md5 = md5_bytes(&self.etag);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            flag(self.deleted, DELETED)
                | flag(self.content_type_at != self.data, CONTENT_TYPE_AT)
                | flag(self.meta != self.content_type_at, META)
                | flag(md5.is_some(), ETAG_IS_MD5)
                | flag(self.swift_bytes.is_some(), SWIFT_BYTES)
                | flag(self.delete_at != 0, DELETE_AT),
        );
        put_timestamp(out, self.data);
        if self.content_type_at != self.data {
            put_timestamp(out, self.content_type_at);
        }
        if self.meta != self.content_type_at {
            put_timestamp(out, self.meta);
        }
        put_integer(out, self.size);
        match md5 {
            Some(md5) => out.extend_from_slice(&md5),
            None => put_text(out, &self.etag),
        }
        put_text(out, &self.content_type);
        if let Some(bytes) = &self.swift_bytes {
            put_text(out, bytes);
        }
        if self.delete_at != 0 {
            put_integer(out, self.delete_at);
        }
    }

    fn decode(mut reader: Reader<'_>) -> Result<Self, Corrupt> {
        let flags = reader.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let data = reader.timestamp()?;
        let content_type_at = if has(CONTENT_TYPE_AT) { reader.timestamp()? } else { data };
        let meta = if has(META) { reader.timestamp()? } else { content_type_at };
        let size = reader.integer()?;
        let etag = if has(ETAG_IS_MD5) {
            hex_encode(&reader.array::<16>()?)
        } else {
            reader.text()?.to_owned()
        };
        let content_type = reader.text()?.to_owned();
        let swift_bytes = if has(SWIFT_BYTES) { Some(reader.text()?.to_owned()) } else { None };
        let delete_at = if has(DELETE_AT) { reader.integer()? } else { 0 };
        reader.end()?;
        let deleted = has(DELETED);
        Ok(ObjectRow {
            data,
            content_type_at,
            meta,
            size,
            content_type,
            swift_bytes,
            etag,
            deleted,
            delete_at,
        })
    }

    /// Data, content type and metadata each by their own timestamps; at equal ones what is there stays
    /// (Swift: container/backend.py, `update_new_item_from_existing`).
    fn merged(&self, existing: &Self) -> Option<Self> {
        let mut row = existing.clone();
        if self.data > existing.data {
            row.data = self.data;
            row.size = self.size;
            row.etag = self.etag.clone();
            row.deleted = self.deleted;
            row.swift_bytes = self.swift_bytes.clone();
        }
        if self.content_type_at > existing.content_type_at {
            row.content_type_at = self.content_type_at;
            row.content_type = self.content_type.clone();
        }
        if self.meta > existing.meta {
            row.meta = self.meta;
            row.delete_at = self.delete_at;
        }
        (row != *existing).then_some(row)
    }

    fn is_gone(&self) -> bool {
        self.deleted
    }

    fn has_expired(&self, now_seconds: u64) -> bool {
        self.delete_at != 0 && self.delete_at <= now_seconds
    }

    fn totals(&self) -> Totals {
        let live = u64::from(!self.deleted);
        Totals { rows: live, objects: live, bytes: self.size }
    }

    fn counted_policy(&self, policy: PolicyIndex) -> PolicyIndex {
        policy
    }

    fn digest_text(&self) -> String {
        encode_row_timestamps(RowTimestamps {
            data: self.data,
            content_type: self.content_type_at,
            meta: self.meta,
        })
    }

    /// Deleted last, and no object in the container's own policy.
    fn is_deleted(entity: &Entity) -> bool {
        entity.totals_of(entity.policy).objects == 0
            && entity.delete_timestamp > entity.put_timestamp
    }
}

#[cfg(test)]
#[path = "object_row_tests.rs"]
mod tests;

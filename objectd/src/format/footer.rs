//! Footers: at the end of a full log segment, a table of its records, so that an index can be made anew without
//! reading every frame. A footer only saves time: where it is missing or damaged the frames are read.

use super::bytes::{FormatError, Reader, Writer};
use super::record::{Extent, RecordHead, RecordKind, content_type_at};
use crate::io::BLOCK;
use crate::state::{BulkShare, Fragment, Location, Version};
use types::{ObjectHash, Timestamp};

const MAGIC: &[u8; 4] = b"PKT1";
const VERSION: u16 = 1;
/// Bytes at the very end of the segment that say where the table is.
const TRAILER_LEN: usize = 64;
/// Bytes of an entry without its bulk shares.
const ENTRY_LEN: usize = 82;
const SHARE_LEN: usize = 8;

/// What a footer says of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FooterEntry {
    /// Of which object.
    pub hash: ObjectHash,
    /// The record, as an event.
    pub version: Version,
    /// Whether the record carries a listing update.
    pub has_update: bool,
}

/// The segment that a footer stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterPlace {
    /// Its number.
    pub segment: u32,
    /// Its epoch.
    pub epoch: u64,
    /// Its length in blocks.
    pub blocks: u32,
}

/// The end of the last frame in a full segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastFrame {
    /// Its number.
    pub lsn: u64,
    /// The CRC field of its header.
    pub header_crc: u32,
    /// See [`super::FrameHeader::updates_within`].
    pub updates_within: u32,
}

impl LastFrame {
    /// See [`super::FrameHeader::updates_from`].
    pub fn updates_from(&self) -> u64 {
        super::frame::updates_from(self.lsn, self.updates_within)
    }
}

/// A table that grows with its segment.
#[derive(Clone, Default)]
pub struct FooterTable {
    bytes: Writer,
    entries: u32,
}

/// Which bulk segments a record's extents lie in, each once.
pub fn bulk_shares(extents: &[Extent]) -> Vec<BulkShare> {
    let mut shares: Vec<BulkShare> = Vec::new();
    for extent in extents {
        match shares.iter_mut().find(|share| share.segment == extent.segment) {
            Some(share) => share.blocks += extent.blocks,
            None => shares.push(BulkShare { segment: extent.segment, blocks: extent.blocks }),
        }
    }
    shares
}

/// Blocks of a footer whose table is so long.
fn blocks_for(table_bytes: usize) -> u32 {
    (table_bytes + TRAILER_LEN).div_ceil(BLOCK) as u32
}

/// Bytes that a record takes in a table at most.
pub fn footer_entry_len(head: &RecordHead) -> usize {
    ENTRY_LEN + head.extent_count() as usize * SHARE_LEN
}

impl FooterTable {
    /// One more record.
    pub fn push(&mut self, entry: &FooterEntry) {
        let FooterEntry { hash, version, has_update } = entry;
        let at = &version.location;
        let fragment = version.fragment;
        let flags = u8::from(*has_update)
            | u8::from(fragment.is_some()) << 1
            | u8::from(fragment.is_some_and(|fragment| fragment.durable)) << 2;
        let out = &mut self.bytes;
        out.u8(version.kind.code()).u8(flags).u8(fragment.map_or(0, |fragment| fragment.index));
        out.u8(0).put(&hash.0).u32(at.offset).u32(at.len).u32(at.head_len).u64(at.lsn);
        out.u64(version.timestamp.raw).u64(version.timestamp.offset);
        out.u64(version.content_type_timestamp.map_or(0, |ts| ts.raw));
        out.u64(version.delete_at).u64(version.data_len).u16(version.bulk.len() as u16);
        for share in &version.bulk {
            out.u32(share.segment).u32(share.blocks);
        }
        self.entries += 1;
    }

    /// Blocks that the footer takes when `more` bytes of entries have been added.
    pub fn blocks(&self, more: usize) -> u32 {
        blocks_for(self.bytes.0.len() + more)
    }

    /// The footer's blocks, which belong at the end of their segment.
    pub fn encode(&self, place: &FooterPlace, last: &LastFrame) -> Vec<u8> {
        let blocks = self.blocks(0);
        let mut out = Writer(self.bytes.0.clone());
        let crc = crc32fast::hash(&out.0);
        out.0.resize(blocks as usize * BLOCK - TRAILER_LEN, 0);
        let from = out.0.len();
        out.put(MAGIC).u16(VERSION).u16(0).u64(place.epoch).u32(place.segment).u32(blocks);
        out.u32(self.entries).u32(self.bytes.0.len() as u32).u32(crc);
        out.u64(last.lsn).u32(last.header_crc).u32(last.updates_within).u64(0);
        let crc = crc32fast::hash(&out.0[from..]);
        out.u32(crc);
        out.0
    }
}

/// Reads the last block of a segment: how many blocks the footer has, and the last frame before it.
pub fn footer_blocks(
    last_block: &[u8],
    place: &FooterPlace,
) -> Result<(u32, LastFrame), FormatError> {
    let trailer = Trailer::decode(last_block, place)?;
    Ok((trailer.blocks, trailer.last))
}

/// Reads the last block of a segment: how many records its footer lists.
pub fn footer_entries(last_block: &[u8], place: &FooterPlace) -> Result<u32, FormatError> {
    Ok(Trailer::decode(last_block, place)?.entries)
}

struct Trailer {
    blocks: u32,
    entries: u32,
    table_bytes: u32,
    table_crc: u32,
    last: LastFrame,
}

impl Trailer {
    fn decode(footer: &[u8], place: &FooterPlace) -> Result<Self, FormatError> {
        let at = footer.len().checked_sub(TRAILER_LEN).ok_or(FormatError::Short)?;
        let bytes = &footer[at..];
        let mut fields = Reader::new(bytes);
        if fields.take(MAGIC.len())? != MAGIC {
            return Err(FormatError::Magic);
        }
        let crc = Reader::new(&bytes[TRAILER_LEN - 4..]).u32()?;
        if crc != crc32fast::hash(&bytes[..TRAILER_LEN - 4]) {
            return Err(FormatError::Checksum);
        }
        match fields.u16()? {
            VERSION => {}
            newer => return Err(FormatError::Version(newer)),
        }
        fields.u16()?;
        if fields.u64()? != place.epoch || fields.u32()? != place.segment {
            return Err(FormatError::Misplaced);
        }
        let trailer = Trailer {
            blocks: fields.u32()?,
            entries: fields.u32()?,
            table_bytes: fields.u32()?,
            table_crc: fields.u32()?,
            last: LastFrame {
                lsn: fields.u64()?,
                header_crc: fields.u32()?,
                updates_within: fields.u32()?,
            },
        };
        let right = blocks_for(trailer.table_bytes as usize) == trailer.blocks;
        if right && trailer.blocks < place.blocks {
            Ok(trailer)
        } else {
            Err(FormatError::Field("length"))
        }
    }
}

/// Reads a whole footer.
pub fn decode_footer(footer: &[u8], place: &FooterPlace) -> Result<Vec<FooterEntry>, FormatError> {
    let trailer = Trailer::decode(footer, place)?;
    let table = footer.get(..trailer.table_bytes as usize).ok_or(FormatError::Short)?;
    if crc32fast::hash(table) != trailer.table_crc {
        return Err(FormatError::Checksum);
    }
    let mut fields = Reader::new(table);
    let mut entries = Vec::new();
    for _ in 0..trailer.entries {
        entries.push(decode_entry(&mut fields, place.segment)?);
    }
    if fields.is_empty() { Ok(entries) } else { Err(FormatError::Field("entries")) }
}

fn decode_entry(fields: &mut Reader<'_>, segment: u32) -> Result<FooterEntry, FormatError> {
    let (kind, flags, index) = (RecordKind::from_code(fields.u8()?)?, fields.u8()?, fields.u8()?);
    fields.u8()?;
    let hash = ObjectHash(fields.array()?);
    let location = Location {
        segment,
        offset: fields.u32()?,
        len: fields.u32()?,
        head_len: fields.u32()?,
        lsn: fields.u64()?,
    };
    let timestamp = Timestamp { raw: fields.u64()?, offset: fields.u64()? };
    let content_type_raw = fields.u64()?;
    let (delete_at, data_len, shares) = (fields.u64()?, fields.u64()?, fields.u16()?);
    let mut bulk = Vec::new();
    for _ in 0..shares {
        bulk.push(BulkShare { segment: fields.u32()?, blocks: fields.u32()? });
    }
    let fragment = (flags & 2 != 0).then_some(Fragment { index, durable: flags & 4 != 0 });
    let content_type_timestamp = content_type_at(content_type_raw, timestamp);
    let version = Version {
        kind,
        timestamp,
        content_type_timestamp,
        delete_at,
        data_len,
        fragment,
        bulk,
        location,
    };
    Ok(FooterEntry { hash, version, has_update: flags & 1 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::HashPaths;

    const PLACE: FooterPlace = FooterPlace { segment: 3, epoch: 9, blocks: 64 };

    fn entry(number: u32) -> FooterEntry {
        let version = Version {
            kind: if number.is_multiple_of(3) { RecordKind::Tombstone } else { RecordKind::Data },
            timestamp: Timestamp { raw: 1000 + u64::from(number), offset: u64::from(number % 2) },
            content_type_timestamp: (number.is_multiple_of(5)).then(|| Timestamp::from_raw(7)),
            delete_at: 5,
            data_len: 70_000,
            fragment: number
                .is_multiple_of(4)
                .then_some(Fragment { index: 2, durable: number.is_multiple_of(8) }),
            bulk: (0..number % 3).map(|segment| BulkShare { segment, blocks: 18 }).collect(),
            location: Location {
                segment: PLACE.segment,
                offset: number * 200,
                len: 200,
                head_len: 150,
                lsn: u64::from(number),
            },
        };
        let hash = HashPaths::default().object("a", "c", &number.to_string());
        FooterEntry { hash, version, has_update: number.is_multiple_of(2) }
    }

    fn footer(entries: u32) -> Vec<u8> {
        let mut table = FooterTable::default();
        for number in 0..entries {
            table.push(&entry(number));
        }
        let last = LastFrame { lsn: 77, header_crc: 5, updates_within: 4 };
        table.encode(&PLACE, &last)
    }

    #[test]
    fn round_trips() {
        for entries in [0, 1, 40, 500] {
            let bytes = footer(entries);
            let (blocks, last) = footer_blocks(&bytes[bytes.len() - BLOCK..], &PLACE).expect("one");
            assert_eq!((blocks as usize * BLOCK, last.lsn), (bytes.len(), 77));
            let read = decode_footer(&bytes, &PLACE).expect("a footer");
            assert_eq!(read, (0..entries).map(entry).collect::<Vec<_>>());
        }
        let elsewhere = FooterPlace { epoch: 8, ..PLACE };
        assert_eq!(decode_footer(&footer(1), &elsewhere), Err(FormatError::Misplaced));
    }

    #[test]
    fn every_flipped_bit_that_means_something_is_noticed() {
        let whole = footer(3);
        let table = 3 * ENTRY_LEN + 3 * SHARE_LEN;
        let trailer = whole.len() - TRAILER_LEN;
        for bit in (0..table * 8).chain(trailer * 8..whole.len() * 8) {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_footer(&damaged, &PLACE).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn never_panics() {
        let whole = footer(5);
        for cut in 0..whole.len() {
            let _ = decode_footer(&whole[..cut], &PLACE);
            let _ = decode_footer(&whole[cut..], &PLACE);
        }
    }
}

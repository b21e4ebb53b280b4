//! Segments: what a file of the log is used for.

use super::bytes::{FormatError, Reader, Writer, open_block};
use crate::io::BLOCK;

const MAGIC: &[u8; 4] = b"PKS1";
/// Version 1 had its CRC at the end of the block; it is still read.
const VERSION: u16 = 2;
/// Where the CRC stands: in the first sector, which a disk writes whole or not at all, so that a header which is
/// written over another one is never neither.
const CRC_AT: usize = 60;

/// What a segment holds. Frames of all log classes make one log; the classes keep apart what dies early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentClass {
    /// Frames with data.
    Hot,
    /// Frames of what does not live long: tombstones, and objects that expire within a day.
    Short,
    /// Frames that compaction wrote: what has lived long, sorted by hash.
    Cold,
    /// Data of large objects, named by extents of records.
    Bulk,
    /// Nothing any more; whatever stands behind the header means nothing.
    Free,
}

impl SegmentClass {
    /// The classes that hold frames, in the order of [`SegmentClass::stream`].
    pub const LOG: [SegmentClass; 3] = [SegmentClass::Hot, SegmentClass::Short, SegmentClass::Cold];

    /// The number of a class that holds frames.
    pub fn stream(self) -> Option<usize> {
        SegmentClass::LOG.iter().position(|class| *class == self)
    }

    /// The word for it, in texts.
    pub fn name(self) -> &'static str {
        match self {
            SegmentClass::Hot => "hot",
            SegmentClass::Short => "short",
            SegmentClass::Cold => "cold",
            SegmentClass::Bulk => "bulk",
            SegmentClass::Free => "free",
        }
    }

    fn code(self) -> u8 {
        match self {
            SegmentClass::Hot => 1,
            SegmentClass::Bulk => 2,
            SegmentClass::Short => 3,
            SegmentClass::Cold => 4,
            SegmentClass::Free => 5,
        }
    }

    fn from_code(code: u8) -> Result<Self, FormatError> {
        match code {
            1 => Ok(SegmentClass::Hot),
            2 => Ok(SegmentClass::Bulk),
            3 => Ok(SegmentClass::Short),
            4 => Ok(SegmentClass::Cold),
            5 => Ok(SegmentClass::Free),
            _ => Err(FormatError::Field("class")),
        }
    }
}

/// The first block of a segment in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What it holds.
    pub class: SegmentClass,
    /// Its number, as in its file's name.
    pub id: u32,
    /// Its length, this block included.
    pub blocks: u32,
    /// Whose it is.
    pub device_id: [u8; 16],
    /// Grows with every use of any segment.
    pub epoch: u64,
    /// The first frame that was to be written after this header.
    pub first_lsn: u64,
    /// So many frames before that one stood in segments in use, every one of them, when this header was written.
    pub unbroken: u32,
    /// In µs since 1970.
    pub used_micros: u64,
}

impl SegmentHeader {
    /// One block.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.put(MAGIC).u16(VERSION).u8(self.class.code()).u8(0).u32(self.id).u32(self.blocks);
        out.put(&self.device_id).u64(self.epoch).u64(self.first_lsn).u64(self.used_micros);
        out.u32(self.unbroken);
        let crc = crc32fast::hash(&out.0);
        out.u32(crc);
        out.0.resize(BLOCK, 0);
        out.0
    }

    /// Reads one block. `None` when the segment is prepared and was never used.
    pub fn decode(block: &[u8]) -> Result<Option<Self>, FormatError> {
        if block.len() < BLOCK {
            return Err(FormatError::Short);
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut fields = Reader::new(block);
        if fields.take(MAGIC.len())? != MAGIC {
            return Err(FormatError::Magic);
        }
        let version = fields.u16()?;
        match version {
            VERSION => check(block)?,
            1 => {
                fields = open_block(block, MAGIC)?;
                fields.u16()?;
            }
            // A damaged version looks like a newer one; only a whole header may say so.
            newer if check(block).is_ok() => return Err(FormatError::Version(newer)),
            _ => return Err(FormatError::Checksum),
        }
        let class = SegmentClass::from_code(fields.u8()?)?;
        fields.u8()?;
        Ok(Some(SegmentHeader {
            class,
            id: fields.u32()?,
            blocks: fields.u32()?,
            device_id: fields.array()?,
            epoch: fields.u64()?,
            first_lsn: fields.u64()?,
            used_micros: fields.u64()?,
            unbroken: if version == 1 { 0 } else { fields.u32()? },
        }))
    }

    /// The file's name for a segment's number.
    pub fn file_name(id: u32) -> String {
        format!("{id:08x}.seg")
    }

    /// The number in a file's name, if it is a segment's.
    pub fn parse_file_name(name: &str) -> Option<u32> {
        let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 8)?;
        u32::from_str_radix(digits, 16).ok().filter(|id| SegmentHeader::file_name(*id) == name)
    }
}

/// The CRC, and that nothing stands behind it.
fn check(block: &[u8]) -> Result<(), FormatError> {
    let crc = Reader::new(&block[CRC_AT..]).u32()?;
    let rest = &block[CRC_AT + 4..];
    match crc == crc32fast::hash(&block[..CRC_AT]) && rest.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(FormatError::Checksum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_every_flipped_bit_is_noticed() {
        let header = SegmentHeader {
            class: SegmentClass::Bulk,
            id: 9,
            blocks: 16384,
            device_id: [1; 16],
            epoch: 12,
            first_lsn: 0,
            unbroken: 3,
            used_micros: 5,
        };
        let block = header.encode();
        assert_eq!(SegmentHeader::decode(&block), Ok(Some(header)));
        for bit in 0..block.len() * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&[0; crate::io::BLOCK]), Ok(None));
    }

    #[test]
    fn file_names_round_trip() {
        assert_eq!(SegmentHeader::parse_file_name(&SegmentHeader::file_name(0x1a)), Some(0x1a));
        for other in ["SUPER", "1.seg", "0000000G.seg", "0000001A.seg", "+000001a.seg"] {
            assert_eq!(SegmentHeader::parse_file_name(other), None, "{other}");
        }
    }
}

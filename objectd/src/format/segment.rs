//! Segments: what a file of the log is used for.

use super::bytes::{FormatError, Writer, open_block, seal_block};

const MAGIC: &[u8; 4] = b"PKS1";
const VERSION: u16 = 1;

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentClass {
    /// Frames.
    Log,
    /// Data of large objects, named by extents of records.
    Bulk,
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
    /// Of a log segment: the first frame that belongs here.
    pub first_lsn: u64,
    /// In µs since 1970.
    pub used_micros: u64,
}

impl SegmentHeader {
    /// One block.
    pub fn encode(&self) -> Vec<u8> {
        let class = match self.class {
            SegmentClass::Log => 1,
            SegmentClass::Bulk => 2,
        };
        let mut out = Writer::default();
        out.put(MAGIC).u16(VERSION).u8(class).u8(0).u32(self.id).u32(self.blocks);
        out.put(&self.device_id).u64(self.epoch).u64(self.first_lsn).u64(self.used_micros);
        seal_block(out.0)
    }

    /// Reads one block. `None` when the segment is prepared and unused.
    pub fn decode(block: &[u8]) -> Result<Option<Self>, FormatError> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut fields = open_block(block, MAGIC)?;
        match fields.u16()? {
            VERSION => {}
            newer => return Err(FormatError::Version(newer)),
        }
        let class = match fields.u8()? {
            1 => SegmentClass::Log,
            2 => SegmentClass::Bulk,
            _ => return Err(FormatError::Field("class")),
        };
        fields.u8()?;
        Ok(Some(SegmentHeader {
            class,
            id: fields.u32()?,
            blocks: fields.u32()?,
            device_id: fields.array()?,
            epoch: fields.u64()?,
            first_lsn: fields.u64()?,
            used_micros: fields.u64()?,
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

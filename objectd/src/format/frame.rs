//! Frames: groups of records that become durable together.

use super::bytes::{FormatError, Reader, Writer};
use super::record::RecordHead;
use crate::io::{BLOCK, BlockBuf};

const MAGIC: &[u8; 4] = b"PKF1";
const END_MAGIC: &[u8; 4] = b"PKFE";
const VERSION: u16 = 1;
/// Bytes of a frame's header.
pub const FRAME_HEADER_LEN: usize = 64;
/// Bytes of a frame's trailer.
pub const FRAME_TRAILER_LEN: usize = 16;
/// Blocks of the longest frame: 2 MiB, which holds the tables of an object of 5 GiB.
pub const FRAME_BLOCKS_MAX: u32 = 512;

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAddress {
    /// The segment's epoch.
    pub epoch: u64,
    /// The segment.
    pub segment: u32,
    /// The block in it.
    pub block: u32,
}

/// The first bytes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Its number.
    pub lsn: u64,
    /// Where it stands.
    pub address: FrameAddress,
    /// Its length.
    pub blocks: u32,
    /// How many records it holds.
    pub records: u32,
    /// How many bytes they take.
    pub record_bytes: u32,
    /// Of the last so many frames, this one among them, some listing update may still wait, and of none before;
    /// 0 when that is not known.
    pub updates_within: u32,
    /// In µs since 1970.
    pub written_micros: u64,
    /// The CRC field of the frame before it.
    pub previous_crc: u32,
    /// Its own CRC field.
    pub crc: u32,
}

impl FrameHeader {
    /// The first frame that may carry a listing update which still waited when this frame was written.
    pub fn updates_from(&self) -> u64 {
        updates_from(self.lsn, self.updates_within)
    }

    fn encode(&self) -> [u8; FRAME_HEADER_LEN] {
        let mut out = Writer::default();
        out.put(MAGIC).u16(VERSION).u16(0).u64(self.lsn).u64(self.address.epoch);
        out.u32(self.address.segment).u32(self.address.block).u32(self.blocks).u32(self.records);
        out.u32(self.record_bytes)
            .u32(self.updates_within)
            .u64(self.written_micros)
            .u32(self.previous_crc);
        let crc = crc32fast::hash(&out.0);
        out.u32(crc);
        let mut header = [0; FRAME_HEADER_LEN];
        header.copy_from_slice(&out.0);
        header
    }

    /// Reads a header and holds it against the place where it was found.
    pub fn decode(bytes: &[u8], found_at: FrameAddress) -> Result<Self, FormatError> {
        let bytes = bytes.get(..FRAME_HEADER_LEN).ok_or(FormatError::Short)?;
        let mut fields = Reader::new(bytes);
        if &fields.array::<4>()? != MAGIC {
            return Err(FormatError::Magic);
        }
        let crc = Reader::new(&bytes[60..]).u32()?;
        if crc32fast::hash(&bytes[..60]) != crc {
            return Err(FormatError::Checksum);
        }
        match fields.u16()? {
            VERSION => {}
            newer => return Err(FormatError::Version(newer)),
        }
        fields.u16()?;
        let lsn = fields.u64()?;
        let address =
            FrameAddress { epoch: fields.u64()?, segment: fields.u32()?, block: fields.u32()? };
        if address != found_at {
            return Err(FormatError::Misplaced);
        }
        let (blocks, records, record_bytes) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let updates_within = fields.u32()?;
        let content = FRAME_HEADER_LEN + FRAME_TRAILER_LEN + record_bytes as usize;
        if blocks == 0 || blocks > FRAME_BLOCKS_MAX || content > blocks as usize * BLOCK {
            return Err(FormatError::Field("length"));
        }
        let (written_micros, previous_crc) = (fields.u64()?, fields.u32()?);
        Ok(FrameHeader {
            lsn,
            address,
            blocks,
            records,
            record_bytes,
            updates_within,
            written_micros,
            previous_crc,
            crc,
        })
    }
}

/// See [`FrameHeader::updates_from`].
pub(super) fn updates_from(lsn: u64, updates_within: u32) -> u64 {
    match updates_within {
        0 => 0,
        within => (lsn + 1).saturating_sub(within.into()),
    }
}

/// Completes a frame whose records were laid from byte [`FRAME_HEADER_LEN`] on; the header's CRC is returned
/// for the next frame to chain to.
pub fn seal_frame(buf: &mut BlockBuf, header: &FrameHeader) -> u32 {
    let header_bytes = header.encode();
    let bytes = buf.as_mut();
    bytes[..FRAME_HEADER_LEN].copy_from_slice(&header_bytes);
    let end = bytes.len() - FRAME_TRAILER_LEN;
    let crc = crc32fast::hash(&bytes[FRAME_HEADER_LEN..end]);
    let mut trailer = Writer::default();
    trailer.u64(header.lsn).u32(crc).put(END_MAGIC);
    bytes[end..].copy_from_slice(&trailer.0);
    let mut crc = [0; 4];
    crc.copy_from_slice(&header_bytes[60..]);
    u32::from_le_bytes(crc)
}

/// Checks a whole frame, and gives its records' heads with where in the frame each record stands.
pub fn frame_records(
    frame: &[u8],
    header: &FrameHeader,
) -> Result<Vec<(u32, RecordHead)>, FormatError> {
    if frame.len() != header.blocks as usize * BLOCK {
        return Err(FormatError::Short);
    }
    let end = frame.len() - FRAME_TRAILER_LEN;
    let mut trailer = Reader::new(&frame[end..]);
    let (lsn, crc) = (trailer.u64()?, trailer.u32()?);
    if lsn != header.lsn || &trailer.array::<4>()? != END_MAGIC {
        return Err(FormatError::Misplaced);
    }
    if crc32fast::hash(&frame[FRAME_HEADER_LEN..end]) != crc {
        return Err(FormatError::Checksum);
    }
    let mut records = Vec::new();
    let mut at = FRAME_HEADER_LEN;
    for _ in 0..header.records {
        let head = RecordHead::decode(frame.get(at..end).ok_or(FormatError::Short)?)?;
        if head.lsn != header.lsn {
            return Err(FormatError::Misplaced);
        }
        records.push((at as u32, head.clone()));
        at += (head.record_len as usize).next_multiple_of(8);
    }
    Ok(records)
}

//! Bytes through everything that reads what lies on a disk. Nothing may panic, and what is accepted must be whole.

use objectd::format::{
    FRAME_HEADER_LEN, FRAME_TRAILER_LEN, FooterPlace, FrameAddress, FrameHeader, Metadata, Record,
    RecordHead, SegmentHeader, Superblock, decode_footer, decode_update, footer_blocks,
    frame_records, seal, seal_frame,
};
use objectd::io::{BLOCK, BlockBuf};
use objectd::state::ObjectState;

const ADDRESS: FrameAddress = FrameAddress { epoch: 3, segment: 2, block: 5 };
const PLACE: FooterPlace = FooterPlace { segment: 2, epoch: 3, blocks: 64 };
/// What a record has before its metadata.
const RECORD_FIXED: usize = 104;

/// The bytes as they are, and again under checksums that hold, so that what is behind those is reached too.
pub(crate) fn run(bytes: &[u8]) {
    let _ = Superblock::decode(bytes);
    let _ = SegmentHeader::decode(bytes);
    let _ = footer_blocks(bytes, &PLACE);
    let _ = decode_footer(bytes, &PLACE);
    let _ = decode_update(bytes);
    let _ = RecordHead::decode(bytes);
    if let Ok(metadata) = Metadata::decode(bytes) {
        assert_eq!(metadata.encode(), bytes);
    }
    if let Ok(state) = ObjectState::decode(bytes) {
        assert_eq!(ObjectState::decode(&state.encode()), Ok(state));
    }
    if let Ok(header) = FrameHeader::decode(bytes, ADDRESS) {
        let _ = frame_records(bytes, &header);
    }
    record(bytes);
    frame(bytes);
}

fn record(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let inline = |bytes: &[u8]| {
        let field = bytes.get(96..100).and_then(|field| field.try_into().ok());
        field.map_or(0, u32::from_le_bytes) as usize
    };
    if bytes.len() >= RECORD_FIXED && inline(&bytes) <= bytes.len() - RECORD_FIXED {
        seal(&mut bytes, 9);
    }
    if let Ok(record) = Record::decode(&bytes) {
        assert!(record.inline_at <= record.head.record_len as usize);
        assert_eq!(record.extents.len(), record.head.extent_count() as usize);
        let extents = record.head.extents_in(&bytes);
        assert_eq!(extents.as_deref(), Ok(record.extents.as_slice()));
        assert_eq!(record.head.update_in(&bytes), record.update);
    }
}

fn frame(bytes: &[u8]) {
    let len = bytes.len().min(16 * BLOCK);
    let blocks = (FRAME_HEADER_LEN + len + FRAME_TRAILER_LEN).div_ceil(BLOCK) as u32;
    let mut buf = BlockBuf::zeroed(blocks);
    buf.as_mut()[FRAME_HEADER_LEN..FRAME_HEADER_LEN + len].copy_from_slice(&bytes[..len]);
    let mut header = FrameHeader {
        lsn: 9,
        address: ADDRESS,
        blocks,
        records: u32::from(bytes.first().copied().unwrap_or_default()),
        record_bytes: len as u32,
        updates_within: 1,
        written_micros: 5,
        previous_crc: 7,
        crc: 0,
    };
    header.crc = seal_frame(&mut buf, &header);
    let read = FrameHeader::decode(buf.as_ref(), ADDRESS).expect("it was just sealed");
    assert_eq!(read, header);
    for (at, head) in frame_records(buf.as_ref(), &read).unwrap_or_default() {
        assert!(at as usize + head.record_len as usize <= buf.as_ref().len());
    }
}

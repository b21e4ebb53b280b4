#![doc = include_str!("../../../docs/formats/pack.md")]

mod bytes;
mod footer;
mod frame;
#[cfg(test)]
mod golden;
mod metadata;
mod record;
mod segment;
mod superblock;
mod update;

pub use bytes::{FormatError, Reader, Writer};
pub use footer::{
    FooterEntry, FooterPlace, FooterTable, LastFrame, bulk_shares, decode_footer, footer_blocks,
    footer_entries, footer_entry_len,
};
pub use frame::{
    FRAME_BLOCKS_MAX, FRAME_HEADER_LEN, FRAME_TRAILER_LEN, FrameAddress, FrameHeader,
    frame_records, seal_frame,
};
pub use metadata::Metadata;
pub use record::{
    CHUNK, Extent, INLINE_MAX, Record, RecordHead, RecordKind, RecordParts, content_type_at, seal,
};
pub use segment::{SegmentClass, SegmentHeader};
pub use superblock::Superblock;
pub use update::{decode_update, encode_update};

//! Following the frames of one segment.

use super::OpenError;
use super::apply::{Event, FramePlace, events_of};
use crate::format::{
    FRAME_BLOCKS_MAX, FooterEntry, FooterPlace, FooterTable, FormatError, FrameAddress,
    FrameHeader, LastFrame, RecordHead, SegmentHeader, decode_footer, footer_blocks, frame_records,
};
use crate::index::{Applied, UpdateToken};
use crate::io::{BLOCK, BlockBuf, BlockIo, FileId};
use crate::state::{Location, Version};
use std::sync::Arc;
use types::ObjectHash;

/// Blocks that are read at a time: frames are short and stand one behind the other.
const WINDOW: u32 = 512;

/// A frame that holds.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) block: u32,
    pub(crate) header: FrameHeader,
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: Vec<(u32, RecordHead)>,
}

/// What stands at a place of a segment.
pub(crate) enum Step {
    /// A frame that holds.
    Frame(Frame),
    /// Something that is not, but was.
    Damaged(Damage),
}

/// Blocks where a frame stood that does not hold, or several.
pub(crate) struct Damage {
    pub(crate) block: u32,
    pub(crate) blocks: u32,
    /// The frame's number, when its header holds.
    pub(crate) lsn: Option<u64>,
    pub(crate) error: FormatError,
    /// The first blocks as they are.
    pub(crate) bytes: Vec<u8>,
}

/// Reads a segment frame by frame.
pub(crate) struct FrameReader {
    io: Arc<dyn BlockIo>,
    pub(crate) segment: SegmentHeader,
    pub(crate) file: FileId,
    /// Where the next frame is expected.
    pub(crate) block: u32,
    /// What was read last, and where it begins.
    window: (u32, BlockBuf),
    /// The frame at `block`, once it has been looked for.
    ahead: Option<Option<Frame>>,
}

impl FrameReader {
    pub(crate) fn new(
        io: &Arc<dyn BlockIo>,
        segment: &SegmentHeader,
        file: FileId,
        block: u32,
    ) -> Self {
        FrameReader {
            io: Arc::clone(io),
            segment: segment.clone(),
            file,
            block,
            window: (0, BlockBuf::default()),
            ahead: None,
        }
    }

    /// Blocks of the segment, from the window if they are in it. They must lie within the segment.
    async fn read(&mut self, at: u32, blocks: u32) -> Result<&[u8], OpenError> {
        let (start, window) = &self.window;
        if at < *start || at + blocks > start + window.blocks() {
            let length = WINDOW.max(blocks).min(self.segment.blocks - at);
            let read = self.io.read(self.file, at, length).await.map_err(OpenError::Io)?;
            self.window = (at, read);
        }
        let from = (at - self.window.0) as usize * BLOCK;
        Ok(&self.window.1.as_ref()[from..from + blocks as usize * BLOCK])
    }

    /// The frame where the reader stands, if a whole one stands there.
    pub(super) async fn peek(&mut self) -> Result<Option<&Frame>, OpenError> {
        if self.ahead.is_none() {
            let frame = self.read_frame().await?;
            self.ahead = Some(frame);
        }
        Ok(self.ahead.as_ref().and_then(Option::as_ref))
    }

    /// Takes that frame, and goes on behind it.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, OpenError> {
        self.peek().await?;
        let frame = self.ahead.take().flatten();
        if let Some(frame) = &frame {
            self.block += frame.header.blocks;
        }
        Ok(frame)
    }

    /// As [`FrameReader::next`], if it is later than a frame before it.
    pub(super) async fn next_after(&mut self, lsn: u64) -> Result<Option<Frame>, OpenError> {
        match self.peek().await? {
            Some(frame) if frame.header.lsn > lsn => self.next().await,
            _ => Ok(None),
        }
    }

    async fn read_frame(&mut self) -> Result<Option<Frame>, OpenError> {
        let block = self.block;
        let Some(header) = self.read_header(block).await? else { return Ok(None) };
        if block + header.blocks > self.segment.blocks {
            return Ok(None);
        }
        let bytes = self.read(block, header.blocks).await?;
        match frame_records(bytes, &header) {
            Ok(records) => Ok(Some(Frame { block, bytes: bytes.to_vec(), header, records })),
            Err(_) => Ok(None),
        }
    }

    async fn read_header(&mut self, block: u32) -> Result<Option<FrameHeader>, OpenError> {
        if block >= self.segment.blocks {
            return Ok(None);
        }
        match self.header_at(block).await? {
            Ok(header) => Ok(Some(header)),
            Err(FormatError::Version(version)) => Err(OpenError::Damaged(format!(
                "frame version {version} is newer than this apus knows"
            ))),
            Err(_) => Ok(None),
        }
    }

    async fn header_at(
        &mut self,
        block: u32,
    ) -> Result<Result<FrameHeader, FormatError>, OpenError> {
        let address = FrameAddress { epoch: self.segment.epoch, segment: self.segment.id, block };
        Ok(FrameHeader::decode(self.read(block, 1).await?, address))
    }

    /// What stands where the reader stands, for whoever looks at everything: goes on behind what is damaged. Frames
    /// that are not later than `after` count as damage. `None` when nothing later stands behind.
    pub(crate) async fn step(&mut self, after: u64) -> Result<Option<Step>, OpenError> {
        let mut step = self.look(after).await?;
        if let Some(Step::Damaged(_)) = step {
            // Somebody may have been writing it while it was read. What stands behind it was written later, so what is
            // not whole now will never be.
            self.window = (0, BlockBuf::default());
            step = self.look(after).await?;
        }
        match &step {
            Some(Step::Frame(frame)) => self.block += frame.header.blocks,
            Some(Step::Damaged(damage)) => self.block += damage.blocks,
            None => {}
        }
        Ok(step)
    }

    async fn look(&mut self, after: u64) -> Result<Option<Step>, OpenError> {
        let (block, end) = (self.block, self.segment.blocks);
        if block >= end {
            return Ok(None);
        }
        let error = match self.header_at(block).await? {
            Ok(header) if header.lsn > after && header.blocks <= end - block => {
                let bytes = self.read(block, header.blocks).await?.to_vec();
                return Ok(Some(match frame_records(&bytes, &header) {
                    Ok(records) => Step::Frame(Frame { block, header, bytes, records }),
                    Err(error) => Step::Damaged(Damage {
                        block,
                        blocks: header.blocks,
                        lsn: Some(header.lsn),
                        error,
                        bytes,
                    }),
                }));
            }
            Ok(_) => FormatError::Misplaced,
            Err(error) => error,
        };
        for next in block + 1..end {
            if self.header_at(next).await?.is_ok_and(|header| header.lsn > after) {
                let blocks = next - block;
                let bytes = self.read(block, blocks.min(FRAME_BLOCKS_MAX)).await?.to_vec();
                return Ok(Some(Step::Damaged(Damage { block, blocks, lsn: None, error, bytes })));
            }
        }
        Ok(None)
    }

    /// No frame that continues the log holds where the reader stands. That is the end, unless a frame later than
    /// `lsn` stands at `from` or behind: frames are written one at a time, so a later one proves that what is missing
    /// before it had been acknowledged.
    pub(super) async fn refuse_lost(&mut self, from: u32, lsn: u64) -> Result<(), OpenError> {
        let until = self.segment.blocks.min(self.block.saturating_add(FRAME_BLOCKS_MAX + 1));
        for block in from..until {
            if let Some(header) = self.read_header(block).await?
                && header.lsn > lsn
            {
                return Err(OpenError::Damaged(format!(
                    "a frame at or before block {block} of segment {:08x} cannot be read, but frame {} there can",
                    self.segment.id, header.lsn
                )));
            }
        }
        Ok(())
    }

    /// All records of the segment, from its footer if it was sealed and that holds, else from its frames. Begins
    /// where the reader stands, which is to be the first block behind the header.
    pub(crate) async fn listing(&mut self) -> Result<Listing, OpenError> {
        if let Some(listing) = self.footer().await? {
            return Ok(listing);
        }
        let mut listing = Listing { records: Vec::new(), last: None, end_block: self.block };
        while let Some(frame) = self.next_after(listing.last.map_or(0, |last| last.lsn)).await? {
            let events = frame.events().map_err(|error| {
                let (lsn, segment) = (frame.header.lsn, self.segment.id);
                OpenError::Damaged(format!("frame {lsn} in segment {segment:08x}: {error}"))
            })?;
            let (lsn, numbers) = (frame.header.lsn, 0u8..=u8::MAX);
            listing.records.extend(events.into_iter().zip(numbers).map(|(event, number)| {
                let token = event.update.is_some().then(|| UpdateToken::new(lsn, number));
                Listed { hash: event.hash, version: event.version, token }
            }));
            listing.last = Some(last_frame(&frame.header));
            listing.end_block = self.block;
        }
        Ok(listing)
    }

    async fn footer(&mut self) -> Result<Option<Listing>, OpenError> {
        let place = place_of(&self.segment);
        let last_block = self.segment.blocks - 1;
        let trailer = footer_blocks(self.read(last_block, 1).await?, &place);
        let Ok((blocks, last)) = trailer else { return Ok(None) };
        let from = self.segment.blocks - blocks;
        let footer = self.io.read(self.file, from, blocks).await.map_err(OpenError::Io)?;
        let entries = match decode_footer(footer.as_ref(), &place) {
            Ok(entries) => entries,
            Err(error) => {
                let segment = SegmentHeader::file_name(self.segment.id);
                tracing::warn!(%error, segment, "a footer is damaged; the frames are read instead");
                return Ok(None);
            }
        };
        let mut records = Vec::with_capacity(entries.len());
        let (mut frame, mut number) = (0, 0u8);
        for FooterEntry { hash, version, has_update } in entries {
            let lsn = version.location.lsn;
            number = if lsn == frame { number.wrapping_add(1) } else { 0 };
            frame = lsn;
            let token = has_update.then(|| UpdateToken::new(lsn, number));
            records.push(Listed { hash, version, token });
        }
        Ok(Some(Listing { records, last: Some(last), end_block: self.segment.blocks }))
    }
}

/// Reads records of a segment in the order in which they lie, several with one read.
pub(super) struct InOrder {
    io: Arc<dyn BlockIo>,
    file: FileId,
    end: u32,
    /// What was read last, and where it begins.
    window: (u32, BlockBuf),
}

impl InOrder {
    pub(super) fn new(io: &Arc<dyn BlockIo>, segment: &SegmentHeader, file: FileId) -> Self {
        let window = (0, BlockBuf::default());
        InOrder { io: Arc::clone(io), file, end: segment.blocks, window }
    }

    /// The bytes where a record is said to lie; `None` when that is not within the segment.
    pub(super) async fn record(&mut self, at: &Location) -> std::io::Result<Option<&[u8]>> {
        let (from, until) = (at.offset as usize, at.offset as usize + at.len as usize);
        let (first, end) = ((from / BLOCK) as u32, until.div_ceil(BLOCK) as u32);
        if end > self.end {
            return Ok(None);
        }
        let (start, buf) = &self.window;
        if first < *start || end > start + buf.blocks() {
            let length = (end - first).max(WINDOW / 2).min(self.end - first);
            self.window = (first, self.io.read(self.file, first, length).await?);
        }
        let start = self.window.0 as usize * BLOCK;
        Ok(self.window.1.as_ref().get(from - start..until - start))
    }
}

/// A record, as a listing of its segment shows it.
pub(crate) struct Listed {
    pub(crate) hash: ObjectHash,
    pub(crate) version: Version,
    /// Names the listing update that it carries.
    pub(crate) token: Option<UpdateToken>,
}

/// What a segment holds.
pub(crate) struct Listing {
    /// In the order of their frames.
    pub(crate) records: Vec<Listed>,
    /// The last frame; `None` when there is none.
    pub(crate) last: Option<LastFrame>,
    /// Where nothing stands any more.
    pub(crate) end_block: u32,
}

/// What a footer says of the last frame before it.
pub(super) fn last_frame(header: &FrameHeader) -> LastFrame {
    let FrameHeader { lsn, crc, updates_within, .. } = *header;
    LastFrame { lsn, header_crc: crc, updates_within }
}

/// Where a segment's footer belongs.
pub(crate) fn place_of(segment: &SegmentHeader) -> FooterPlace {
    FooterPlace { segment: segment.id, epoch: segment.epoch, blocks: segment.blocks }
}

impl Frame {
    /// Whether it is the one that comes next.
    pub(super) fn continues(&self, applied: &Applied) -> bool {
        self.header.lsn == applied.lsn + 1 && self.header.previous_crc == applied.header_crc
    }

    /// Its events, as a footer lists them and as the index takes them.
    pub(crate) fn events(&self) -> Result<Vec<Event>, FormatError> {
        let place = FramePlace { segment: self.header.address.segment, block: self.block };
        events_of(place, &self.bytes, &self.records)
    }
}

/// Adds events to a segment's table.
pub(super) fn list(table: &mut FooterTable, events: &[Event]) {
    for event in events {
        table.push(&FooterEntry {
            hash: event.hash,
            version: event.version.clone(),
            has_update: event.update.is_some(),
        });
    }
}

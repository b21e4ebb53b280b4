//! Recovery: following the log from where the index ends to where the log ends.

use super::OpenError;
use super::commit::{Log, Tail, apply};
use super::segments::Found;
use crate::format::{
    FRAME_BLOCKS_MAX, FormatError, FrameAddress, FrameHeader, SegmentClass, SegmentHeader,
    frame_records,
};
use crate::index::{Applied, Index};
use crate::io::{BLOCK, BlockBuf, BlockIo, FileId};
use std::sync::Arc;

/// Blocks that are read at a time: frames are short and stand one behind the other.
const WINDOW: u32 = 512;

/// Where the reader stands.
struct Cursor<'a> {
    header: &'a SegmentHeader,
    file: FileId,
    block: u32,
    /// What was read last, and where it begins.
    window: (u32, BlockBuf),
}

impl<'a> Cursor<'a> {
    fn new(header: &'a SegmentHeader, file: FileId, block: u32) -> Self {
        Cursor { header, file, block, window: (0, BlockBuf::default()) }
    }

    /// Blocks of the segment, from the window if they are in it. They must lie within the segment.
    async fn read(
        &mut self,
        io: &Arc<dyn BlockIo>,
        at: u32,
        blocks: u32,
    ) -> Result<&[u8], OpenError> {
        let (start, window) = &self.window;
        if at < *start || at + blocks > start + window.blocks() {
            let length = WINDOW.max(blocks).min(self.header.blocks - at);
            let read = io.read(self.file, at, length).await.map_err(OpenError::Io)?;
            self.window = (at, read);
        }
        let from = (at - self.window.0) as usize * BLOCK;
        Ok(&self.window.1.as_ref()[from..from + blocks as usize * BLOCK])
    }
}

/// Applies what the index does not know yet, and tells where the log goes on.
pub(super) async fn replay(
    io: &Arc<dyn BlockIo>,
    found: &Found,
    index: &Index,
) -> Result<Log, OpenError> {
    let logs: Vec<_> = found.headers.iter().filter(|h| h.class == SegmentClass::Log).collect();
    let mut applied = index.applied()?;
    let mut cursor = begin(found, &logs, &applied)?;
    let mut replayed = 0u64;
    while let Some(at) = &mut cursor {
        match read_frame(io, at, &applied).await? {
            Some((header, frame)) => {
                let records = frame_records(&frame, &header);
                let records = records.map_err(|error| damaged(at, &error))?;
                let next = Applied {
                    lsn: header.lsn,
                    segment: at.header.id,
                    next_block: at.block + header.blocks,
                    header_crc: header.crc,
                };
                apply(index, at.block as usize * BLOCK, &frame, &records, next, &[])?;
                applied = next;
                replayed += 1;
                at.block += header.blocks;
            }
            None => {
                refuse_lost_frames(io, at, &applied).await?;
                let next = logs.iter().find(|h| h.epoch > at.header.epoch);
                match next {
                    None => break,
                    Some(next) if next.first_lsn == applied.lsn + 1 => {
                        cursor = Some(Cursor::new(next, file_of(found, next)?, 1));
                    }
                    Some(next) => {
                        return Err(OpenError::Damaged(format!(
                            "frames {} to {} are missing",
                            applied.lsn + 1,
                            next.first_lsn - 1
                        )));
                    }
                }
            }
        }
    }
    if replayed > 0 {
        tracing::info!(frames = replayed, "the log was replayed");
    }
    let tail = cursor.map(|at| Tail {
        segment: at.header.id,
        file: at.file,
        epoch: at.header.epoch,
        blocks: at.header.blocks,
        next_block: at.block,
    });
    Ok(Log { tail, next_lsn: applied.lsn + 1, previous_crc: applied.header_crc })
}

fn file_of(found: &Found, header: &SegmentHeader) -> Result<FileId, OpenError> {
    let missing = || OpenError::Damaged(format!("segment {:08x} is missing", header.id));
    found.files.get(&header.id).copied().ok_or_else(missing)
}

fn begin<'a>(
    found: &Found,
    logs: &[&'a SegmentHeader],
    applied: &Applied,
) -> Result<Option<Cursor<'a>>, OpenError> {
    let (header, block) = if applied.lsn == 0 {
        match logs.first() {
            None => return Ok(None),
            Some(first) if first.first_lsn == 1 => (*first, 1),
            Some(_) => {
                return Err(OpenError::Damaged("its first segment is missing".to_owned()));
            }
        }
    } else {
        let known = logs.iter().find(|header| header.id == applied.segment);
        let missing = || {
            OpenError::Damaged(format!("segment {:08x}.seg is missing or empty", applied.segment))
        };
        (*known.ok_or_else(missing)?, applied.next_block)
    };
    Ok(Some(Cursor::new(header, file_of(found, header)?, block)))
}

/// The frame at the cursor, if a whole one that continues the log stands there.
async fn read_frame(
    io: &Arc<dyn BlockIo>,
    at: &mut Cursor<'_>,
    applied: &Applied,
) -> Result<Option<(FrameHeader, Vec<u8>)>, OpenError> {
    if at.block >= at.header.blocks {
        return Ok(None);
    }
    let Some(header) = read_header(io, at, at.block).await? else { return Ok(None) };
    let continues = header.lsn == applied.lsn + 1 && header.previous_crc == applied.header_crc;
    if !continues || at.block + header.blocks > at.header.blocks {
        return Ok(None);
    }
    let frame = at.read(io, at.block, header.blocks).await?;
    match frame_records(frame, &header) {
        Ok(_) => Ok(Some((header, frame.to_vec()))),
        Err(_) => Ok(None),
    }
}

async fn read_header(
    io: &Arc<dyn BlockIo>,
    at: &mut Cursor<'_>,
    block: u32,
) -> Result<Option<FrameHeader>, OpenError> {
    let address = FrameAddress { epoch: at.header.epoch, segment: at.header.id, block };
    match FrameHeader::decode(at.read(io, block, 1).await?, address) {
        Ok(header) => Ok(Some(header)),
        Err(FormatError::Version(version)) => Err(OpenError::Damaged(format!(
            "frame version {version} is newer than this apus knows"
        ))),
        Err(_) => Ok(None),
    }
}

/// The log ends here, unless a later frame stands behind: frames are written one at a time, so a whole later
/// one proves that what is missing before it had been acknowledged.
async fn refuse_lost_frames(
    io: &Arc<dyn BlockIo>,
    at: &mut Cursor<'_>,
    applied: &Applied,
) -> Result<(), OpenError> {
    let until = at.header.blocks.min(at.block.saturating_add(FRAME_BLOCKS_MAX + 1));
    for block in at.block + 1..until {
        if let Some(header) = read_header(io, at, block).await?
            && header.lsn > applied.lsn + 1
        {
            return Err(OpenError::Damaged(format!(
                "frame {} in segment {:08x} cannot be read, but frame {} behind it can",
                applied.lsn + 1,
                at.header.id,
                header.lsn
            )));
        }
    }
    Ok(())
}

fn damaged(at: &Cursor<'_>, error: &FormatError) -> OpenError {
    OpenError::Damaged(format!(
        "frame at block {} of segment {:08x}: {error}",
        at.block, at.header.id
    ))
}

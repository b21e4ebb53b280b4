//! Recovery: following the log from where the index ends to where the log ends.
//!
//! Frames of all streams make one log, in which each frame names the one before it. So the next frame is where one of
//! the streams goes on: behind the last frame of it, or at the beginning of its next segment. When it is nowhere, the
//! log ends, unless something proves that it went on.

use super::OpenError;
use super::apply::Applier;
use super::commit::{Log, Tail};
use super::frames::{FrameReader, last_frame, list};
use super::segments::Found;
use crate::format::{FooterTable, SegmentClass, SegmentHeader};
use crate::index::{Applied, Place};
use crate::io::{BlockIo, FileId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Streams of the log, in the order of [`SegmentClass::LOG`].
pub(super) const STREAMS: usize = SegmentClass::LOG.len();

/// One stream of the log on its way to the end.
pub(super) struct Stream {
    pub(super) reader: Option<FrameReader>,
    /// Segments behind that of the reader, oldest first.
    later: VecDeque<SegmentHeader>,
}

impl Stream {
    /// Once the next frame is one that may stand in the stream's next segment, none comes in this one any more.
    fn go_on(
        &mut self,
        io: &Arc<dyn BlockIo>,
        found: &Found,
        applied: &Applied,
    ) -> Result<(), OpenError> {
        while let Some(next) = self.later.front()
            && next.first_lsn <= applied.lsn + 1
        {
            self.reader = Some(FrameReader::new(io, next, file_of(found, next.id)?, 1));
            self.later.pop_front();
        }
        Ok(())
    }
}

/// All streams, from where an index ends.
fn begin(
    io: &Arc<dyn BlockIo>,
    found: &Found,
    applied: &Applied,
) -> Result<Vec<Stream>, OpenError> {
    let mut streams = Vec::with_capacity(STREAMS);
    for (class, place) in SegmentClass::LOG.iter().zip(applied.places) {
        let of_class = found.headers.iter().filter(|header| header.class == *class);
        let mut stream = Stream { reader: None, later: VecDeque::new() };
        match place {
            // Its segments so far, if there are any, were closed.
            None => {
                let new = of_class.filter(|header| header.first_lsn > applied.lsn);
                stream.later.extend(new.cloned());
            }
            Some(Place { segment, block }) => {
                let mut of_class = of_class.skip_while(|header| header.id != segment);
                let missing = format!("segment {segment:08x}.seg is missing or empty");
                let header = of_class.next().ok_or(OpenError::Damaged(missing))?;
                stream.reader =
                    Some(FrameReader::new(io, header, file_of(found, header.id)?, block));
                stream.later.extend(of_class.cloned());
            }
        }
        streams.push(stream);
    }
    Ok(streams)
}

/// Applies what the index does not know yet, and tells where the log goes on.
pub(super) async fn replay(
    io: &Arc<dyn BlockIo>,
    found: &Found,
    applier: &Applier,
    mut applied: Applied,
) -> Result<Log, OpenError> {
    let mut streams = begin(io, found, &applied)?;
    let mut replayed = 0u64;
    let mut updates_from = 0;
    loop {
        let mut next = None;
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.go_on(io, found, &applied)?;
            let Some(reader) = &mut stream.reader else { continue };
            if reader.peek().await?.is_some_and(|frame| frame.continues(&applied)) {
                next = reader.next().await?.map(|frame| (number, frame));
                break;
            }
        }
        let Some((number, frame)) = next else { break };
        let damaged = |error| {
            let segment = frame.header.address.segment;
            OpenError::Damaged(format!(
                "frame at block {} of segment {segment:08x}: {error}",
                frame.block
            ))
        };
        applied.lsn = frame.header.lsn;
        applied.header_crc = frame.header.crc;
        applied.places[number] = Some(Place {
            segment: frame.header.address.segment,
            block: frame.block + frame.header.blocks,
        });
        updates_from = frame.header.updates_from();
        let mut changes = applier.changes();
        for event in frame.events().map_err(damaged)? {
            changes.event(event)?;
        }
        changes.write(Some(&applied))?;
        replayed += 1;
    }
    if replayed > 0 {
        tracing::info!(frames = replayed, "the log was replayed");
    }
    for stream in &mut streams {
        if let Some(reader) = &mut stream.reader {
            reader.refuse_lost(reader.block, applied.lsn + 1).await?;
        }
        if let Some(later) = stream.later.front() {
            return Err(OpenError::Damaged(format!(
                "frames {} to {} are missing",
                applied.lsn + 1,
                later.first_lsn.saturating_sub(1)
            )));
        }
    }
    let mut tails = Vec::with_capacity(STREAMS);
    for stream in streams {
        tails.push(match stream.reader {
            Some(reader) => Some(tail(io, reader).await?),
            None => None,
        });
    }
    let next_lsn = applied.lsn + 1;
    let log = Log { tails, next_lsn, previous_crc: applied.header_crc, updates_from };
    // A segment may have been opened without a frame in it. The one before may be freed from now on, so the index
    // must not look for the end of the log in it after the next crash.
    let end = log.applied();
    if end != applied {
        applier.changes().write(Some(&end))?;
    }
    Ok(log)
}

/// Where a stream goes on, with the table of what its segment holds so far.
async fn tail(io: &Arc<dyn BlockIo>, end: FrameReader) -> Result<Tail, OpenError> {
    let mut reader = FrameReader::new(io, &end.segment, end.file, 1);
    let mut table = FooterTable::default();
    let mut last = None;
    while reader.block < end.block {
        let events = match reader.next().await? {
            Some(frame) => {
                last = Some(last_frame(&frame.header));
                frame.events().ok()
            }
            None => None,
        };
        // A frame that was damaged since it was applied: what it holds is found out when it is read. The segment
        // has no footer then.
        let Some(events) = events else {
            last = None;
            break;
        };
        list(&mut table, &events);
    }
    let complete = reader.block >= end.block;
    Ok(Tail {
        segment: end.segment,
        file: end.file,
        next_block: end.block,
        table: complete.then_some(table),
        last,
    })
}

pub(super) fn file_of(found: &Found, id: u32) -> Result<FileId, OpenError> {
    let missing = || OpenError::Damaged(format!("segment {id:08x} is missing"));
    found.files.get(&id).copied().ok_or_else(missing)
}

//! Making an index anew from the log.
//!
//! What is read of a sealed segment is its footer; only open segments, and such whose footer is damaged, are read
//! frame by frame. Records are applied in the order of their frames, as they first were, so that what comes out is
//! what was there, but for records that are gone because nothing needed them.

use super::OpenError;
use super::apply::{Applier, Event};
use super::frames::{FrameReader, Listed, Listing};
use super::recover::{STREAMS, file_of};
use super::segments::Found;
use crate::format::{Record, SegmentClass, SegmentHeader};
use crate::index::{Applied, Place};
use crate::io::{BLOCK, BlockIo};
use std::collections::VecDeque;
use std::sync::Arc;

/// Records that become visible in the index together.
const BATCH: usize = 4096;

/// The records of one class of segments, in the order of their frames.
struct Records {
    segments: VecDeque<SegmentHeader>,
    events: VecDeque<Event>,
}

/// Fills an empty index, and tells where the log ends.
pub(super) async fn rebuild(
    io: &Arc<dyn BlockIo>,
    found: &Found,
    applier: &Applier,
) -> Result<Applied, OpenError> {
    let mut applied = Applied::default();
    let mut updates_from = 0;
    let mut streams = Vec::with_capacity(STREAMS);
    for (number, class) in SegmentClass::LOG.iter().enumerate() {
        let of_class = found.headers.iter().filter(|header| header.class == *class);
        let segments: VecDeque<SegmentHeader> = of_class.cloned().collect();
        for header in &segments {
            let mut reader = FrameReader::new(io, header, file_of(found, header.id)?, 1);
            let Listing { last, end_block, .. } = reader.listing().await?;
            if end_block < header.blocks {
                let lsn = last.map_or(0, |last| last.lsn);
                reader.refuse_lost(end_block + 1, lsn).await?;
            }
            applied.places[number] = Some(Place { segment: header.id, block: end_block });
            if let Some(last) = last.filter(|last| last.lsn > applied.lsn) {
                (applied.lsn, applied.header_crc) = (last.lsn, last.header_crc);
                updates_from = last.updates_from();
            }
        }
        streams.push(Records { segments, events: VecDeque::new() });
    }
    if applied.lsn > 0 {
        tracing::info!(frames = applied.lsn, "the index is being made anew from the log");
    }
    let unbroken_from = found.unbroken_from();
    let mut previous = 0;
    let mut waiting = 0;
    let mut changes = applier.changes();
    while let Some(event) = next(io, found, updates_from, &mut streams).await? {
        let lsn = event.version.location.lsn;
        if lsn > previous + 1 && lsn > unbroken_from {
            let from = (previous + 1).max(unbroken_from);
            return Err(OpenError::Damaged(format!("frames {from} to {} are missing", lsn - 1)));
        }
        previous = lsn;
        changes.event(event)?;
        waiting += 1;
        if waiting == BATCH {
            waiting = 0;
            std::mem::replace(&mut changes, applier.changes()).write(None)?;
        }
    }
    // How far bulk segments were filled is not known exactly, so they are not filled any further.
    for header in found.headers.iter().filter(|header| header.class == SegmentClass::Bulk) {
        changes.take_whole(header);
    }
    changes.write(Some(&applied))?;
    Ok(applied)
}

/// The next record of the log.
async fn next(
    io: &Arc<dyn BlockIo>,
    found: &Found,
    updates_from: u64,
    streams: &mut [Records],
) -> Result<Option<Event>, OpenError> {
    for stream in streams.iter_mut() {
        while stream.events.is_empty()
            && let Some(header) = stream.segments.pop_front()
        {
            stream.events = records(io, found, &header, updates_from).await?;
        }
    }
    let lsn = |stream: &&mut Records| stream.events.front().map(|e| e.version.location.lsn);
    let ready = streams.iter_mut().filter(|stream| !stream.events.is_empty());
    Ok(ready.min_by_key(lsn).and_then(|stream| stream.events.pop_front()))
}

/// All records of a segment.
async fn records(
    io: &Arc<dyn BlockIo>,
    found: &Found,
    header: &SegmentHeader,
    updates_from: u64,
) -> Result<VecDeque<Event>, OpenError> {
    let mut reader = FrameReader::new(io, header, file_of(found, header.id)?, 1);
    let mut events = VecDeque::new();
    for listed in reader.listing().await?.records {
        let update = match listed.token.filter(|token| token.lsn() >= updates_from) {
            Some(token) => update(io, &reader, &listed).await?.map(|update| (token, update)),
            None => None,
        };
        let Listed { hash, version, .. } = listed;
        events.push_back(Event { hash, version, update, taken: Vec::new() });
    }
    Ok(events)
}

/// The listing update in a record.
async fn update(
    io: &Arc<dyn BlockIo>,
    reader: &FrameReader,
    listed: &Listed,
) -> Result<Option<Vec<u8>>, OpenError> {
    let at = listed.version.location;
    let (first, within) = (at.offset as usize / BLOCK, at.offset as usize % BLOCK);
    let blocks = super::segments::blocks_of(within + at.head_len as usize);
    let bytes = io.read(reader.file, first as u32, blocks).await.map_err(OpenError::Io)?;
    match Record::decode_head(bytes.as_ref().get(within..).unwrap_or_default()) {
        Ok(record) => Ok(Some(record.update)),
        Err(error) => {
            // The listing stays behind until the container is audited; everything else is as it was.
            tracing::error!(%error, lsn = at.lsn, "a listing update is lost with a damaged record");
            Ok(None)
        }
    }
}

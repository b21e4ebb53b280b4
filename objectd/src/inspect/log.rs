//! Following the log: the frames of several segments in the order of their numbers, and on behind what is damaged.

use super::Device;
use crate::engine::OpenError;
use crate::engine::apply::Event;
use crate::engine::frames::{Damage, Frame, FrameReader, Step};
use crate::format::{SegmentClass, SegmentHeader};
use crate::index::{Applied, Place};
use crate::state::Version;
use futures_executor::block_on;
use std::collections::VecDeque;
use types::ObjectHash;

/// What comes next in the log.
pub(super) enum Passed {
    /// A segment begins.
    Begin(SegmentHeader),
    /// A frame.
    Frame(SegmentHeader, Frame),
    /// Damage.
    Damaged(SegmentHeader, Damage),
    /// A segment cannot be read from a block on.
    Unreadable(SegmentHeader, u32, OpenError),
    /// A segment ends: no frame stands at this block or behind it.
    End(SegmentHeader, u32),
}

/// The streams of the log, side by side.
pub(super) struct LogWalk {
    streams: Vec<StreamWalk>,
}

/// One stream, with at most one frame of it in memory.
struct StreamWalk {
    /// Segments to come, and where to begin in each.
    later: VecDeque<(SegmentHeader, u32)>,
    reader: Option<FrameReader>,
    ahead: Option<Step>,
    lsn: u64,
}

impl LogWalk {
    /// All of the log.
    pub(super) fn whole(device: &Device) -> Self {
        let all = |class: &SegmentClass| {
            let headers = device.of_class(*class).into_iter();
            headers.map(|header| (header.clone(), 1)).collect()
        };
        LogWalk {
            streams: SegmentClass::LOG.iter().map(|class| StreamWalk::on(all(class), 0)).collect(),
        }
    }

    /// Nothing at all.
    pub(super) fn nothing() -> Self {
        LogWalk { streams: Vec::new() }
    }

    /// One segment.
    pub(super) fn of(header: &SegmentHeader, from: u32) -> Self {
        let only = VecDeque::from([(header.clone(), from)]);
        LogWalk { streams: vec![StreamWalk::on(only, 0)] }
    }

    /// What is not in an index that ends so.
    pub(super) fn behind(device: &Device, applied: &Applied) -> Self {
        let mut streams = Vec::new();
        for (class, place) in SegmentClass::LOG.iter().zip(applied.places) {
            let mut later = VecDeque::new();
            for header in device.of_class(*class) {
                let begun =
                    |place: &Place| place.segment == header.id && header.first_lsn <= applied.lsn;
                if let Some(place) = place.filter(begun) {
                    later.push_back((header.clone(), place.block));
                } else if header.first_lsn > applied.lsn {
                    later.push_back((header.clone(), 1));
                }
            }
            streams.push(StreamWalk::on(later, applied.lsn));
        }
        LogWalk { streams }
    }

    /// The next thing, the frame with the lowest number first.
    pub(super) fn next(&mut self, device: &Device) -> Option<Passed> {
        let mut first: Option<(u64, usize)> = None;
        for (number, stream) in self.streams.iter_mut().enumerate() {
            if let Some(passed) = stream.look_ahead(device) {
                return Some(passed);
            }
            let lsn = match &stream.ahead {
                Some(Step::Frame(frame)) => frame.header.lsn,
                // It comes before whatever stands behind it.
                Some(Step::Damaged(damage)) => damage.lsn.unwrap_or(0),
                None => continue,
            };
            if first.is_none_or(|(least, _)| lsn < least) {
                first = Some((lsn, number));
            }
        }
        let stream = self.streams.get_mut(first?.1)?;
        let header = stream.reader.as_ref()?.segment.clone();
        Some(match stream.ahead.take()? {
            Step::Frame(frame) => Passed::Frame(header, frame),
            Step::Damaged(damage) => Passed::Damaged(header, damage),
        })
    }
}

impl StreamWalk {
    fn on(later: VecDeque<(SegmentHeader, u32)>, lsn: u64) -> Self {
        StreamWalk { later, reader: None, ahead: None, lsn }
    }

    /// Sees to it that the stream's next step is known, or tells what is to be told before.
    fn look_ahead(&mut self, device: &Device) -> Option<Passed> {
        if self.ahead.is_some() {
            return None;
        }
        let Some(reader) = &mut self.reader else {
            let (header, block) = self.later.pop_front()?;
            let file = device.files.get(&header.id)?.file;
            self.reader = Some(FrameReader::new(&device.io, &header, file, block));
            return Some(Passed::Begin(header));
        };
        let segment = reader.segment.clone();
        let block = reader.block;
        match block_on(reader.step(self.lsn)) {
            Ok(Some(step)) => {
                if let Step::Frame(frame) = &step {
                    self.lsn = frame.header.lsn;
                }
                self.ahead = Some(step);
                None
            }
            Ok(None) => {
                self.reader = None;
                Some(Passed::End(segment, block))
            }
            Err(error) => {
                self.reader = None;
                Some(Passed::Unreadable(segment, block, error))
            }
        }
    }
}

/// How far the log goes beyond what its index knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beyond {
    pub(super) last_lsn: u64,
    pub(super) frames: u64,
    pub(super) records: u64,
}

impl Device {
    /// Goes through the records that the index does not know yet.
    pub(super) fn beyond(&self, mut take: impl FnMut(Event)) -> Beyond {
        let mut walk = LogWalk::behind(self, &self.applied);
        let mut beyond = Beyond { last_lsn: self.applied.lsn, ..Beyond::default() };
        while let Some(passed) = walk.next(self) {
            let Passed::Frame(_, frame) = passed else { continue };
            beyond.frames += 1;
            beyond.records += u64::from(frame.header.records);
            beyond.last_lsn = beyond.last_lsn.max(frame.header.lsn);
            frame.events().unwrap_or_default().into_iter().for_each(&mut take);
        }
        beyond
    }

    /// The records of some objects among those that a table of the log lists, in the order of their frames.
    pub(super) fn records_of(
        &self,
        wanted: impl Fn(&ObjectHash) -> bool,
    ) -> Vec<(ObjectHash, Version)> {
        let mut found = Vec::new();
        for header in SegmentClass::LOG.iter().flat_map(|class| self.of_class(*class)) {
            let Some(file) = self.files.get(&header.id) else { continue };
            let listing = block_on(FrameReader::new(&self.io, header, file.file, 1).listing());
            match listing {
                Ok(listing) if listing.end_block == header.blocks => {
                    let records = listing.records.into_iter();
                    let records = records.filter(|listed| wanted(&listed.hash));
                    found.extend(records.map(|listed| (listed.hash, listed.version)));
                }
                // There is no footer, and a listing of frames ends at the first one that is damaged.
                _ => {
                    let mut walk = LogWalk::of(header, 1);
                    while let Some(passed) = walk.next(self) {
                        let Passed::Frame(_, frame) = passed else { continue };
                        let events = frame.events().unwrap_or_default().into_iter();
                        let events = events.filter(|event| wanted(&event.hash));
                        found.extend(events.map(|event| (event.hash, event.version)));
                    }
                }
            }
        }
        found.sort_by_key(|(_, version)| version.location.lsn);
        found
    }
}

//! Tables: a device in a few lines, its segments, the frames of one, and their records.

use super::device::{Header, SegmentFile};
use super::log::{LogWalk, Passed};
use super::{Device, InspectError, as_segment, as_text};
use crate::engine::frames::{Damage, Frame, place_of};
use crate::format::{
    Extent, FormatError, Record, RecordKind, SegmentClass, SegmentHeader, footer_entries,
};
use crate::index::Account;
use crate::io::BLOCK;
use crate::state::{Location, Version};
use serde::Serialize;
use std::collections::HashMap;
use types::{ObjectHash, Timestamp, hex_encode};

/// A device in a few lines.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The device's id, in hexadecimal digits.
    pub device_id: Option<String>,
    /// Whose objects it holds.
    pub policy: Option<u32>,
    /// When it was made, in µs since 1970.
    pub created_micros: Option<u64>,
    /// Copies of the superblock that hold, of two.
    pub superblocks: usize,
    /// By class, and `unused` and `damaged` ones.
    pub classes: Vec<ClassRow>,
    /// The index, if there is one.
    pub index: Option<IndexSummary>,
    /// The log behind the index.
    pub log: LogSummary,
}

/// Segments of one class.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClassRow {
    /// Which.
    pub class: &'static str,
    /// How many.
    pub segments: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Bytes in them that some object's state names.
    pub live: u64,
    /// Bytes that were written and mean nothing any more.
    pub garbage: u64,
}

/// What an index knows.
#[derive(Clone, Debug, Serialize)]
pub struct IndexSummary {
    /// The last frame that it knows.
    pub applied_lsn: u64,
    /// Where each stream of the log goes on.
    pub streams: Vec<StreamRow>,
    /// Objects of which something is known, deleted ones among them.
    pub objects: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Listing updates that no container server has taken yet.
    pub pending_updates: u64,
    /// The frame of the oldest of these.
    pub oldest_pending_lsn: Option<u64>,
    /// Damaged records that are kept.
    pub quarantined: u64,
}

/// Where a stream of the log goes on.
#[derive(Clone, Debug, Serialize)]
pub struct StreamRow {
    /// Which.
    pub class: &'static str,
    /// The segment.
    #[serde(serialize_with = "as_segment")]
    pub segment: u32,
    /// The block in it.
    pub block: u32,
}

/// The log behind the index.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LogSummary {
    /// The last frame.
    pub last_lsn: u64,
    /// Frames that the index does not know yet.
    pub frames_behind_index: u64,
    /// Records in them.
    pub records_behind_index: u64,
}

/// A segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentRow {
    /// Its number.
    #[serde(serialize_with = "as_segment")]
    pub segment: u32,
    /// Its class; `unused` or `damaged` when its header tells none.
    pub class: &'static str,
    /// What is wrong with its header.
    pub problem: Option<String>,
    /// Bytes of its file.
    pub bytes: u64,
    /// Its epoch.
    pub epoch: u64,
    /// The first frame that could stand in it.
    pub first_lsn: u64,
    /// When it was put to use, in µs since 1970.
    pub used_micros: u64,
    /// Of a log segment: its footer.
    pub footer: Option<FooterState>,
    /// Of a log segment: records in it.
    pub records: Option<u64>,
    /// Bytes of records in it, or of bulk data up to the end of what was ever named; when the index knows.
    pub written: Option<u64>,
    /// Those among them that some object's state names.
    pub live: Option<u64>,
    /// Damaged records that are kept.
    pub quarantined: Option<u32>,
}

impl SegmentRow {
    /// Bytes that mean nothing any more.
    pub fn garbage(&self) -> Option<u64> {
        Some(self.written?.saturating_sub(self.live?))
    }

    /// The same in percent of what was written.
    pub fn garbage_percent(&self) -> Option<u64> {
        Some(self.garbage()?.saturating_mul(100) / self.written?.max(1))
    }
}

/// The table at the end of a log segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FooterState {
    /// There is none: the segment is being filled, or was closed by a crash.
    None,
    /// It can be read.
    Whole,
    /// It cannot.
    Damaged,
}

/// A frame, or a place where one was.
#[derive(Clone, Debug, Serialize)]
pub struct FrameRow {
    /// Where it begins.
    pub block: u32,
    /// Its length.
    pub blocks: u32,
    /// Its number, if that can be told.
    pub lsn: Option<u64>,
    /// Records in it.
    pub records: u32,
    /// Bytes of these.
    pub bytes: u32,
    /// When it was written, in µs since 1970.
    pub written_micros: u64,
    /// Whether it names the frame before it, if that stands in this segment.
    pub chained: Option<bool>,
    /// What is wrong.
    pub damage: Option<String>,
}

/// A record.
#[derive(Clone, Debug, Serialize)]
pub struct RecordRow {
    /// Its frame.
    pub lsn: u64,
    /// Its segment.
    #[serde(serialize_with = "as_segment")]
    pub segment: u32,
    /// Its first byte there.
    pub offset: u32,
    /// Its length.
    pub len: u32,
    /// What it does.
    #[serde(serialize_with = "as_kind")]
    pub kind: RecordKind,
    /// To which object.
    #[serde(serialize_with = "as_text")]
    pub hash: ObjectHash,
    /// The object's name, if the record holds it.
    pub name: Option<String>,
    /// When.
    #[serde(serialize_with = "as_text")]
    pub timestamp: Timestamp,
    /// Bytes of data.
    pub data_len: u64,
    /// Where the data lies, if not in the record.
    #[serde(serialize_with = "as_extents")]
    pub extents: Vec<Extent>,
    /// Whether a listing update stands in it.
    pub has_update: bool,
    /// Whether that still waits, as far as the index knows.
    pub update_waits: Option<bool>,
    /// What the index says of the record.
    pub state: RecordState,
    /// What is wrong with it.
    pub damage: Option<String>,
}

/// What an index says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// An object's state names it.
    Live,
    /// Nothing names it any more.
    Dead,
    /// It is in a frame that the index does not know yet.
    Behind,
    /// There is no index that could tell.
    Unknown,
}

impl RecordState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            RecordState::Live => "live",
            RecordState::Dead => "dead",
            RecordState::Behind => "behind",
            RecordState::Unknown => "unknown",
        }
    }
}

impl FooterState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            FooterState::None => "none",
            FooterState::Whole => "whole",
            FooterState::Damaged => "damaged",
        }
    }
}

fn as_kind<S: serde::Serializer>(kind: &RecordKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind.name())
}

fn as_extents<S: serde::Serializer>(extents: &[Extent], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(extents.iter().map(|extent| [extent.segment, extent.block, extent.blocks]))
}

impl Device {
    /// The device in a few lines.
    pub fn summary(&self) -> Result<Summary, InspectError> {
        let mut classes: Vec<ClassRow> = Vec::new();
        for row in self.segment_rows(false)? {
            let at = match classes.iter().position(|known| known.class == row.class) {
                Some(at) => at,
                None => {
                    classes.push(ClassRow { class: row.class, ..ClassRow::default() });
                    classes.len() - 1
                }
            };
            let class = &mut classes[at];
            class.segments += 1;
            class.bytes += row.bytes;
            class.live += row.live.unwrap_or(0);
            class.garbage += row.garbage().unwrap_or(0);
        }
        let beyond = self.beyond(drop);
        let superblock = self.superblock();
        Ok(Summary {
            device_id: superblock.map(|superblock| hex_encode(&superblock.device_id)),
            policy: superblock.map(|superblock| superblock.policy.0),
            created_micros: superblock.map(|superblock| superblock.created_micros),
            superblocks: self.superblocks().iter().flatten().count(),
            classes,
            index: self.index_summary()?,
            log: LogSummary {
                last_lsn: beyond.last_lsn,
                frames_behind_index: beyond.frames,
                records_behind_index: beyond.records,
            },
        })
    }

    fn index_summary(&self) -> Result<Option<IndexSummary>, InspectError> {
        let Some(index) = &self.index else { return Ok(None) };
        let (mut objects, mut bytes) = (0u64, 0u64);
        for cell in index.cells([0; 2], [u8::MAX; 2]) {
            let (_, cell) = cell?;
            objects = objects.saturating_add(cell.objects);
            bytes = bytes.saturating_add(cell.bytes);
        }
        let streams = SegmentClass::LOG.iter().zip(self.applied.places);
        let streams = streams.filter_map(|(class, place)| {
            let place = place?;
            Some(StreamRow { class: class.name(), segment: place.segment, block: place.block })
        });
        Ok(Some(IndexSummary {
            applied_lsn: self.applied.lsn,
            streams: streams.collect(),
            objects,
            bytes,
            pending_updates: index.updates(crate::index::UpdateToken(0)).count() as u64,
            oldest_pending_lsn: index.oldest_update()?.map(|token| token.lsn()),
            quarantined: index.quarantined(&[], usize::MAX)?.len() as u64,
        }))
    }

    /// A table of all segments.
    pub fn segment_table(&self) -> Result<Vec<SegmentRow>, InspectError> {
        self.segment_rows(true)
    }

    fn segment_rows(&self, with_records: bool) -> Result<Vec<SegmentRow>, InspectError> {
        let accounts = match &self.index {
            Some(index) => Some(index.accounts()?),
            None => None,
        };
        let row = |(id, file): (&u32, &SegmentFile)| {
            let accounts = accounts.as_ref();
            self.segment_row(*id, file, accounts, with_records)
        };
        Ok(self.files.iter().map(row).collect())
    }

    fn segment_row(
        &self,
        segment: u32,
        file: &SegmentFile,
        accounts: Option<&HashMap<u32, Account>>,
        with_records: bool,
    ) -> SegmentRow {
        let (class, problem) = match &file.header {
            Header::Unused => ("unused", None),
            Header::Whole(header) => (header.class.name(), None),
            Header::Damaged(error) => ("damaged", Some(error.to_string())),
            Header::Unreadable(error) => ("damaged", Some(error.to_string())),
        };
        let mut row = SegmentRow {
            segment,
            class,
            problem,
            bytes: u64::from(file.blocks) * BLOCK as u64,
            epoch: 0,
            first_lsn: 0,
            used_micros: 0,
            footer: None,
            records: None,
            written: None,
            live: None,
            quarantined: None,
        };
        let Header::Whole(header) = &file.header else { return row };
        row.epoch = header.epoch;
        row.first_lsn = header.first_lsn;
        row.used_micros = header.used_micros;
        if header.class == SegmentClass::Free {
            return row;
        }
        if header.class != SegmentClass::Bulk && with_records {
            let (footer, records) = self.footer_state(header);
            row.footer = Some(footer);
            row.records = Some(records.unwrap_or_else(|| self.count_records(header)));
        }
        if let Some(accounts) = accounts {
            let account = self.account(accounts, header);
            row.live = Some(account.live);
            row.quarantined = Some(account.quarantined);
            row.written = Some(match header.class {
                SegmentClass::Bulk => u64::from(account.taken.saturating_sub(1)) * BLOCK as u64,
                _ => account.written,
            });
        }
        row
    }

    /// What an index says of this use of a segment.
    pub(super) fn account(
        &self,
        accounts: &HashMap<u32, Account>,
        header: &SegmentHeader,
    ) -> Account {
        let known = accounts.get(&header.id).filter(|account| account.epoch == header.epoch);
        known.copied().unwrap_or(Account { epoch: header.epoch, ..Account::default() })
    }

    /// Whether a log segment has a footer, and how many records that lists.
    fn footer_state(&self, header: &SegmentHeader) -> (FooterState, Option<u64>) {
        let Ok(block) = self.read(header.id, header.blocks - 1, 1) else {
            return (FooterState::Damaged, None);
        };
        match footer_entries(block.as_ref(), &place_of(header)) {
            Ok(entries) => (FooterState::Whole, Some(entries.into())),
            // Of an earlier use of the segment, or none at all.
            Err(FormatError::Magic | FormatError::Misplaced) => (FooterState::None, None),
            Err(_) => (FooterState::Damaged, None),
        }
    }

    fn count_records(&self, header: &SegmentHeader) -> u64 {
        let mut walk = LogWalk::of(header, 1);
        let mut records = 0;
        while let Some(passed) = walk.next(self) {
            if let Passed::Frame(_, frame) = passed {
                records += u64::from(frame.header.records);
            }
        }
        records
    }

    /// The header of a segment with frames.
    fn log_header(&self, segment: u32) -> Result<&SegmentHeader, InspectError> {
        let file = self.files.get(&segment).ok_or(InspectError::NoSegment(segment))?;
        let no_frames = |class| InspectError::NoFrames { segment, class };
        match &file.header {
            Header::Whole(header) if header.class.stream().is_some() => Ok(header),
            Header::Whole(header) => Err(no_frames(header.class.name())),
            Header::Unused => Err(no_frames("unused")),
            Header::Damaged(_) | Header::Unreadable(_) => Err(no_frames("damaged")),
        }
    }

    /// Tells of each frame in a segment, from a block on where one begins.
    pub fn frames(
        &self,
        segment: u32,
        from: u32,
        mut tell: impl FnMut(FrameRow),
    ) -> Result<(), InspectError> {
        let mut walk = LogWalk::of(self.log_header(segment)?, from.max(1));
        let mut before: Option<(u64, u32)> = None;
        while let Some(passed) = walk.next(self) {
            match passed {
                Passed::Frame(_, frame) => {
                    let row = frame_row(&frame, before);
                    before = Some((frame.header.lsn, frame.header.crc));
                    tell(row);
                }
                Passed::Damaged(_, damage) => tell(damaged_row(&damage)),
                Passed::Unreadable(_, _, error) => return Err(error.into()),
                Passed::Begin(_) | Passed::End(..) => {}
            }
        }
        Ok(())
    }

    /// Tells of each record in a segment.
    pub fn records(
        &self,
        segment: u32,
        mut tell: impl FnMut(RecordRow),
    ) -> Result<(), InspectError> {
        let mut walk = LogWalk::of(self.log_header(segment)?, 1);
        while let Some(passed) = walk.next(self) {
            match passed {
                Passed::Frame(_, frame) => {
                    self.rows_of(&frame)?.into_iter().for_each(&mut tell);
                }
                Passed::Unreadable(_, _, error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The records of one frame.
    pub fn records_of_frame(&self, lsn: u64) -> Result<Vec<RecordRow>, InspectError> {
        for class in SegmentClass::LOG {
            // Frames of a class stand in its segments in their order.
            let headers = self.of_class(class);
            let Some(header) = headers.iter().rev().find(|header| header.first_lsn <= lsn) else {
                continue;
            };
            let mut walk = LogWalk::of(header, 1);
            while let Some(passed) = walk.next(self) {
                match passed {
                    Passed::Frame(_, frame) if frame.header.lsn == lsn => {
                        return self.rows_of(&frame);
                    }
                    Passed::Frame(_, frame) if frame.header.lsn > lsn => break,
                    _ => {}
                }
            }
        }
        Err(InspectError::NoFrame(lsn))
    }

    fn rows_of(&self, frame: &Frame) -> Result<Vec<RecordRow>, InspectError> {
        let mut rows = Vec::with_capacity(frame.records.len());
        for (event, (at, _)) in frame.events().unwrap_or_default().into_iter().zip(&frame.records) {
            let Version { kind, timestamp, data_len, location, .. } = event.version;
            let Location { segment, offset, len, lsn, .. } = location;
            let record = frame.bytes.get(*at as usize..).ok_or(FormatError::Short);
            let record = record.and_then(Record::decode);
            let damage = record.as_ref().err().map(FormatError::to_string);
            let record = record.ok();
            let name = record.as_ref().filter(|record| record.metadata.get("name").is_some());
            let token = event.update.map(|(token, _)| token);
            let (mut state, mut update_waits) = (RecordState::Unknown, None);
            if let Some(index) = &self.index {
                state = match index.state(&event.hash)?.at(&location) {
                    _ if lsn > self.applied.lsn => RecordState::Behind,
                    Some(_) => RecordState::Live,
                    None => RecordState::Dead,
                };
                update_waits = match token {
                    Some(token) => Some(index.is_pending(token)?),
                    None => None,
                };
            }
            rows.push(RecordRow {
                lsn,
                segment,
                offset,
                len,
                kind,
                hash: event.hash,
                name: name.map(|record| record.metadata.text("name")),
                timestamp,
                data_len,
                extents: record.map(|record| record.extents).unwrap_or_default(),
                has_update: token.is_some(),
                update_waits,
                state,
                damage,
            });
        }
        Ok(rows)
    }
}

fn frame_row(frame: &Frame, before: Option<(u64, u32)>) -> FrameRow {
    let header = &frame.header;
    let follows = before.filter(|(lsn, _)| lsn + 1 == header.lsn);
    FrameRow {
        block: frame.block,
        blocks: header.blocks,
        lsn: Some(header.lsn),
        records: header.records,
        bytes: header.record_bytes,
        written_micros: header.written_micros,
        chained: follows.map(|(_, crc)| crc == header.previous_crc),
        damage: None,
    }
}

fn damaged_row(damage: &Damage) -> FrameRow {
    FrameRow {
        block: damage.block,
        blocks: damage.blocks,
        lsn: damage.lsn,
        records: 0,
        bytes: 0,
        written_micros: 0,
        chained: None,
        damage: Some(damage.error.to_string()),
    }
}

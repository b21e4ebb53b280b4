//! What a verification found.

use super::super::as_text;
use crate::format::FormatError;
use serde::{Serialize, Serializer};
use types::ObjectHash;

/// Findings that are listed; further ones are counted.
const FINDINGS_MAX: usize = 1000;

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What is wrong, as far as it is listed.
    pub findings: Vec<Finding>,
    /// Further findings that are not listed.
    pub unlisted: u64,
    /// Whether there was an index to compare with.
    pub index: bool,
    /// Frames that hold.
    pub frames: u64,
    /// Those among them that the index does not know yet. The next start reads them.
    pub frames_behind_index: u64,
    /// Whether the log ends in a frame that was not written whole. It was never acknowledged.
    pub torn_end: bool,
    /// Records whose checksums were checked.
    pub records: u64,
    /// Those among them that some object's state names.
    pub live_records: u64,
    /// Objects that have data, by the index.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes of data in bulk segments, among these.
    pub bulk_bytes: u64,
    /// Findings that were dropped, since their segments were freed meanwhile.
    pub changed: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn list(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.unlisted += 1;
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// In which segment.
    #[serde(serialize_with = "segment_as_text")]
    pub segment: Option<u32>,
    /// At which block of it.
    pub block: Option<u32>,
    /// In which frame.
    pub lsn: Option<u64>,
    /// Of which object.
    #[serde(serialize_with = "hash_as_text")]
    pub hash: Option<ObjectHash>,
    /// What it is.
    #[serde(serialize_with = "as_text")]
    pub problem: Problem,
}

fn segment_as_text<S: Serializer>(segment: &Option<u32>, out: S) -> Result<S::Ok, S::Error> {
    match segment {
        Some(segment) => out.collect_str(&format_args!("{segment:08x}")),
        None => out.serialize_none(),
    }
}

fn hash_as_text<S: Serializer>(hash: &Option<ObjectHash>, out: S) -> Result<S::Ok, S::Error> {
    match hash {
        Some(hash) => out.collect_str(hash),
        None => out.serialize_none(),
    }
}

impl Finding {
    pub(super) fn new(problem: Problem) -> Self {
        Finding { segment: None, block: None, lsn: None, hash: None, problem }
    }

    pub(super) fn in_segment(self, segment: u32) -> Self {
        Finding { segment: Some(segment), ..self }
    }

    pub(super) fn at(self, segment: u32, block: u32) -> Self {
        Finding { segment: Some(segment), block: Some(block), ..self }
    }

    pub(super) fn frame(self, lsn: u64) -> Self {
        Finding { lsn: Some(lsn), ..self }
    }

    pub(super) fn of(self, hash: ObjectHash) -> Self {
        Finding { hash: Some(hash), ..self }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A copy of the superblock.
    #[error("copy {copy} of the superblock does not hold: {error}")]
    Superblock {
        /// Which.
        copy: usize,
        /// What is wrong with it.
        error: FormatError,
    },
    /// A segment's header.
    #[error("the segment's header does not hold: {0}")]
    Header(FormatError),
    /// A segment's header is blank, its content is not.
    #[error("the segment's header is gone, but something is written behind it")]
    HeaderGone,
    /// The disk fails.
    #[error("the disk cannot read it: {0}")]
    Unreadable(String),
    /// A frame.
    #[error("a frame does not hold: {0}")]
    Frame(FormatError),
    /// Frames that must be there are not.
    #[error("frames {from} to {until} are missing")]
    Missing {
        /// The first.
        from: u64,
        /// The last.
        until: u64,
    },
    /// A frame does not follow the one before.
    #[error("the frame does not name the one before it")]
    Chain,
    /// Frames that the footer or the index knows cannot be found.
    #[error("the segment's frames end here, but frames behind this were written")]
    EndsEarly,
    /// The index knows more than the log.
    #[error("the index knows frames up to {applied}, but the log ends with frame {last}")]
    LogEndsEarly {
        /// What the index knows.
        applied: u64,
        /// What there is.
        last: u64,
    },
    /// A footer.
    #[error("the footer does not hold: {0}")]
    Footer(FormatError),
    /// A footer lists something else than there is.
    #[error("the footer does not list what the frame holds")]
    FooterDiffers,
    /// A record.
    #[error("the record does not hold: {0}")]
    Record(FormatError),
    /// A record's listing update.
    #[error("the record's listing update cannot be read: {0}")]
    Update(FormatError),
    /// A chunk of data.
    #[error("data from byte {offset} on does not hold: {error}")]
    Data {
        /// Where in the object the chunk begins.
        offset: u64,
        /// What is wrong with it.
        error: String,
    },
    /// A record says that data lies where none can.
    #[error("the record names blocks that are in no bulk segment")]
    Extent,
    /// Blocks with data could be used again.
    #[error("the record names blocks behind those that the index counts as taken")]
    Taken,
    /// The index has another version at this place.
    #[error("the index says something else of the record than the record does")]
    IndexDiffers,
    /// The index lacks a record that counts.
    #[error("the record counts, but the index does not name it")]
    NotInIndex,
    /// The index has a record that does not count.
    #[error("the index names the record, but a later one took its place or deleted it")]
    Outdated,
    /// The index names a record that is not there.
    #[error("the index names a record here that cannot be read: {0}")]
    NoRecord(String),
    /// The index names a segment that is not in use.
    #[error("the index names a segment that is not in use")]
    NoSegment,
    /// The index names a frame behind its own end.
    #[error("the index names a frame that it does not know yet")]
    BehindIndex,
    /// What the index counts in a segment.
    #[error("the index counts {counted} {what} in the segment, but there are {found}")]
    Account {
        /// What is counted.
        what: &'static str,
        /// What the index says.
        counted: u64,
        /// What there is.
        found: u64,
    },
    /// The owners of a bulk segment.
    #[error("the index lists {listed} owners of the segment, and not the {found} that there are")]
    Owners {
        /// Rows.
        listed: u64,
        /// Objects with data in the segment.
        found: u64,
    },
    /// A summary of objects.
    #[error("the summary of objects whose hashes begin with {0} is not that of these objects")]
    Cell(String),
    /// A row of the index.
    #[error("a row of the index cannot be read: {0}")]
    Row(String),
    /// More was suspicious than could be looked into.
    #[error("more objects differ between index and log than could be looked into")]
    TooMany,
}

//! Reading everything that a device holds, and comparing index and log in both directions.
//!
//! From log to index: every frame, record, checksum and footer is read in the order of the log. A record must be named
//! by the index exactly as it is, or be without meaning by the rule by which objects change; where that cannot be told
//! from the object's state alone, all that the log says of the object is put together.
//!
//! From index to log: what the index names in each segment must be what was found there. Both are sums, so that no list
//! of all records is needed; only where they differ each record is looked for. Accounts, owners and summaries must be
//! what follows from the objects.
//!
//! The data of bulk segments is read by the records that name it. Without an index nothing says which do, and that data
//! is not read.

mod frames;
mod objects;
mod report;

pub use report::{Finding, Problem, Report};

use super::log::LogWalk;
use super::object::StoredRecord;
use super::{DataReader, Device, Header, InspectError};
use crate::format::{FooterEntry, SegmentClass, SegmentHeader};
use crate::index::{Account, Cell};
use crate::io::BLOCK;
use crate::state::{Location, Version};
use std::collections::{HashMap, HashSet, VecDeque};
use types::ObjectHash;

/// Objects that differ and are looked into at most.
const SUSPECTS_MAX: usize = 65_536;

/// What is to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Device,
    /// One segment: its frames, or the data in it, and what the index says of it.
    Segment(u32),
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is.
    More,
    /// Everything was looked at.
    Done,
}

/// A verification that is under way. It holds its place itself: whoever wants to stop, stops calling
/// [`Verifier::step`].
pub struct Verifier<'d> {
    device: &'d Device,
    scope: Scope,
    stage: Stage,
    report: Report,
    /// Bytes since the step began.
    spent: u64,
    segments: HashMap<u32, Sums>,
    accounts: HashMap<u32, Account>,
    /// Data that is to be read before anything else.
    waiting: VecDeque<DataCheck<'d>>,
    follow: Follow,
    cells: Cells,
    /// Objects of which a record was found that the index does not account for.
    suspects: HashSet<ObjectHash>,
    /// Records that were found bad, so that each is listed once.
    listed: HashSet<(u32, u32)>,
    changed: HashSet<u32>,
}

/// What is being done.
enum Stage {
    Headers,
    Log(LogWalk),
    Again(LogWalk, Again),
    /// The objects from this hash on.
    Objects(ObjectHash),
    Rows,
    /// Records of the objects from this hash on, in segments where something is missing.
    Missing(ObjectHash, HashSet<u32>),
    Suspects,
    Done,
}

/// What was found in a segment, and what should be there.
#[derive(Default)]
struct Sums {
    /// Bytes of records in frames that the index knows.
    written: u64,
    /// Not all of it could be read.
    damaged: bool,
    footer: Option<VecDeque<FooterEntry>>,
    /// The last frame, as the footer says.
    footer_lsn: u64,
    last_lsn: u64,
    /// Records that were found and that the index names.
    found: Digest,
    /// Records that the index names.
    named: Digest,
    live: u64,
    tombstones: u64,
    owners: Digest,
}

/// A sum over things that does not depend on their order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Digest {
    count: u64,
    sum: u128,
}

/// Spreads what differs in few bits over all of a sum.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

impl Digest {
    fn add(&mut self, hash: &ObjectHash, at: &Location) {
        let place = u128::from(at.lsn) << 64 | u128::from(at.segment) << 32 | u128::from(at.offset);
        let mixed = (u128::from_be_bytes(hash.0) ^ place.wrapping_mul(SPREAD)).wrapping_mul(SPREAD);
        self.count += 1;
        self.sum = self.sum.wrapping_add(mixed ^ mixed >> 64);
    }
}

/// Where following the log stands.
#[derive(Default)]
struct Follow {
    /// The last frame, and the CRC of its header.
    last: Option<(u64, u32)>,
    /// Something is damaged, so that numbers may be missing.
    damaged: bool,
    /// A frame that does not hold, behind which nothing has come yet.
    torn: Option<(SegmentHeader, Finding)>,
    /// What may have come of a server that was writing just then.
    held: Vec<(SegmentHeader, Finding)>,
}

/// A second look at the frames that the index does not know.
struct Again {
    last: Option<(u64, u32)>,
    wrong: HashSet<(u32, u32)>,
}

/// Summaries while objects are gone through in the order of their hashes.
struct Cells {
    prefix: [u8; 2],
    cell: Cell,
    seen: Vec<bool>,
}

/// Data that is being read.
struct DataCheck<'d> {
    hash: ObjectHash,
    version: Version,
    reader: DataReader<'d>,
}

impl<'d> Verifier<'d> {
    /// Begins.
    pub fn new(device: &'d Device, scope: Scope) -> Result<Self, InspectError> {
        if let Scope::Segment(segment) = scope
            && !device.files.contains_key(&segment)
        {
            return Err(InspectError::NoSegment(segment));
        }
        let accounts = match &device.index {
            Some(index) => index.accounts()?,
            None => HashMap::new(),
        };
        Ok(Verifier {
            device,
            scope,
            stage: Stage::Headers,
            report: Report { index: device.index.is_some(), ..Report::default() },
            spent: 0,
            segments: HashMap::new(),
            accounts,
            waiting: VecDeque::new(),
            follow: Follow::default(),
            cells: Cells { prefix: [0; 2], cell: Cell::default(), seen: vec![false; 1 << 16] },
            suspects: HashSet::new(),
            listed: HashSet::new(),
            changed: HashSet::new(),
        })
    }

    /// What was found so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Goes on until about so many bytes have been read, or all is done.
    pub fn step(&mut self, bytes: u64) -> Result<Progress, InspectError> {
        self.spent = 0;
        while self.spent <= bytes {
            if self.data_step() {
                continue;
            }
            self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Headers => {
                    self.headers();
                    Stage::Log(self.walk())
                }
                Stage::Log(mut walk) => match walk.next(self.device) {
                    Some(passed) => {
                        self.passed(passed)?;
                        Stage::Log(walk)
                    }
                    None if self.is_unsure() => self.look_again(),
                    None => self.log_ended(),
                },
                Stage::Again(mut walk, mut again) => match walk.next(self.device) {
                    Some(passed) => {
                        self.passed_again(passed, &mut again);
                        Stage::Again(walk, again)
                    }
                    None => {
                        self.make_sure(&again);
                        self.log_ended()
                    }
                },
                Stage::Objects(from) => match self.objects(&from)? {
                    Some(next) => Stage::Objects(next),
                    None => Stage::Rows,
                },
                Stage::Rows => {
                    self.rows()?;
                    Stage::Missing(ObjectHash([0; 16]), self.differing())
                }
                Stage::Missing(_, segments) if segments.is_empty() => Stage::Suspects,
                Stage::Missing(from, segments) => match self.missing(&from, &segments)? {
                    Some(next) => Stage::Missing(next, segments),
                    None => Stage::Suspects,
                },
                Stage::Suspects => {
                    self.judge_suspects()?;
                    Stage::Done
                }
                Stage::Done => return Ok(Progress::Done),
            };
        }
        Ok(Progress::More)
    }

    fn look_again(&self) -> Stage {
        let applied = &self.device.applied;
        let last = (applied.lsn > 0).then_some((applied.lsn, applied.header_crc));
        let again = Again { last, wrong: HashSet::new() };
        Stage::Again(LogWalk::behind(self.device, applied), again)
    }

    fn walk(&self) -> LogWalk {
        match self.scope {
            Scope::Device => LogWalk::whole(self.device),
            Scope::Segment(id) => {
                let file = self.device.files.get(&id);
                let header = file.and_then(|file| file.in_use());
                match header.filter(|header| header.class != SegmentClass::Bulk) {
                    Some(header) => LogWalk::of(header, 1),
                    None => LogWalk::nothing(),
                }
            }
        }
    }

    fn covers(&self, segment: u32) -> bool {
        self.scope == Scope::Device || self.scope == Scope::Segment(segment)
    }

    fn spend(&mut self, bytes: u64) {
        self.spent += bytes;
        self.report.bytes_read += bytes;
    }

    /// Lists a finding, unless its segment was freed since the device was opened.
    fn find(&mut self, finding: Finding) {
        if finding.segment.is_some_and(|segment| !self.is_unchanged(segment)) {
            self.report.changed += 1;
        } else {
            self.report.list(finding);
        }
    }

    /// The same for what is to be found in another segment than the finding names.
    fn find_through(&mut self, segment: u32, finding: Finding) {
        if self.is_unchanged(segment) {
            self.find(finding);
        } else {
            self.report.changed += 1;
        }
    }

    /// The same for what could come of any segment that was freed.
    fn find_in_all(&mut self, finding: Finding) {
        let ids: Vec<u32> = self.device.files.keys().copied().collect();
        if ids.into_iter().all(|id| self.is_unchanged(id)) {
            self.report.list(finding);
        } else {
            self.report.changed += 1;
        }
    }

    /// Lists what is wrong with a record, once.
    fn find_record(&mut self, at: (u32, u32), finding: Finding) {
        if self.listed.len() >= SUSPECTS_MAX || self.listed.insert(at) {
            self.find(finding);
        }
    }

    fn is_unchanged(&mut self, segment: u32) -> bool {
        if !self.changed.contains(&segment) && !self.device.is_unchanged(segment) {
            self.changed.insert(segment);
        }
        !self.changed.contains(&segment)
    }

    fn sums(&mut self, segment: u32) -> &mut Sums {
        self.segments.entry(segment).or_default()
    }

    fn headers(&mut self) {
        let device = self.device;
        if self.scope == Scope::Device {
            for (copy, superblock) in device.superblocks().iter().enumerate() {
                if let Err(error) = superblock {
                    let problem = Problem::Superblock { copy, error: *error };
                    self.report.list(Finding::new(problem));
                }
            }
        }
        for (id, file) in device.segments() {
            if !self.covers(id) {
                continue;
            }
            let problem = match &file.header {
                Header::Whole(_) => continue,
                Header::Unused => match device.read(id, 1, 1) {
                    Ok(block) if block.as_ref().iter().all(|byte| *byte == 0) => continue,
                    Ok(_) => Problem::HeaderGone,
                    Err(error) => Problem::Unreadable(error.to_string()),
                },
                Header::Damaged(error) => Problem::Header(*error),
                Header::Unreadable(error) => Problem::Unreadable(error.to_string()),
            };
            self.find(Finding::new(problem).at(id, 0));
        }
    }

    /// Has the data of a record be read before anything else goes on.
    fn check_data(&mut self, hash: ObjectHash, version: &Version, stored: StoredRecord) {
        let reader = self.device.data(stored);
        self.waiting.push_back(DataCheck { hash, version: version.clone(), reader });
    }

    /// Reads the next chunk of data that waits to be read. False when none does.
    fn data_step(&mut self) -> bool {
        let Some(DataCheck { hash, version, reader }) = self.waiting.front_mut() else {
            return false;
        };
        let in_bulk = reader.stored().record.head.has_extents();
        let Some(chunk) = reader.next_chunk() else {
            self.waiting.pop_front();
            return true;
        };
        let (offset, len, bad) = (chunk.offset, chunk.len, chunk.bytes.err());
        let found = bad.map(|error| {
            let (segment, block) = reader.stored().place_of(version, offset);
            let problem = Problem::Data { offset, error: error.to_string() };
            Finding::new(problem).at(segment, block).frame(version.location.lsn).of(*hash)
        });
        let read = len.next_multiple_of(BLOCK as u64);
        if in_bulk {
            self.spend(read);
            self.report.bulk_bytes += read;
        }
        if let Some(finding) = found.filter(|f| f.segment.is_some_and(|id| self.covers(id))) {
            self.find(finding);
        }
        true
    }
}

//! From log to index.

use super::super::log::Passed;
use super::super::object::StoredRecord;
use super::{Again, Finding, Problem, SUSPECTS_MAX, Scope, Stage, Verifier};
use crate::engine::apply::{FramePlace, events_of};
use crate::engine::frames::{Damage, Frame, place_of};
use crate::format::{
    CHUNK, FRAME_HEADER_LEN, FooterEntry, FormatError, FrameHeader, LastFrame, Record, RecordHead,
    SegmentClass, SegmentHeader, decode_footer, decode_update, footer_blocks,
};
use crate::index::{IndexError, Place};
use crate::io::BLOCK;
use crate::state::{Version, merge};
use types::ObjectHash;

impl Verifier<'_> {
    pub(super) fn passed(&mut self, passed: Passed) -> Result<(), IndexError> {
        match passed {
            Passed::Begin(segment) => self.footer(&segment),
            Passed::Frame(segment, frame) => self.frame(&segment, &frame)?,
            Passed::Damaged(segment, damage) => self.damage(&segment, &damage)?,
            Passed::Unreadable(segment, block, error) => {
                self.sums(segment.id).damaged = true;
                self.follow.damaged = true;
                let error = daemon::telemetry::chain(&error);
                let finding = Finding::new(Problem::Unreadable(error)).at(segment.id, block);
                self.find_in_log(&segment, finding);
            }
            Passed::End(segment, block) => self.segment_ended(&segment, block),
        }
        Ok(())
    }

    /// Reads the footer of a segment, to compare the frames with.
    fn footer(&mut self, segment: &SegmentHeader) {
        match self.read_footer(segment) {
            Ok(None) => {}
            Ok(Some((last, entries))) => {
                let sums = self.sums(segment.id);
                sums.footer_lsn = last.lsn;
                sums.footer = Some(entries.into());
            }
            Err(problem) => {
                let finding = Finding::new(problem).at(segment.id, segment.blocks - 1);
                self.find_in_log(segment, finding);
            }
        }
    }

    fn read_footer(
        &mut self,
        segment: &SegmentHeader,
    ) -> Result<Option<(LastFrame, Vec<FooterEntry>)>, Problem> {
        let unreadable = |error: std::io::Error| Problem::Unreadable(error.to_string());
        let place = place_of(segment);
        let block = self.device.read(segment.id, segment.blocks - 1, 1).map_err(unreadable)?;
        let (blocks, last) = match footer_blocks(block.as_ref(), &place) {
            Ok(found) => found,
            // Of an earlier use of the segment, or none at all.
            Err(FormatError::Magic | FormatError::Misplaced) => return Ok(None),
            Err(error) => return Err(Problem::Footer(error)),
        };
        self.spend(u64::from(blocks) * BLOCK as u64);
        let footer = self.device.read(segment.id, segment.blocks - blocks, blocks);
        let footer = footer.map_err(unreadable)?;
        let entries = decode_footer(footer.as_ref(), &place).map_err(Problem::Footer)?;
        Ok(Some((last, entries)))
    }

    /// Lists a finding in frames. Where the index does not know the log yet, a server may be writing just now, and what
    /// was read be half of then and half of now; such a finding is held back until it was made sure of. Gives whether it is.
    fn find_in_log(&mut self, segment: &SegmentHeader, finding: Finding) -> bool {
        let applied = &self.device.applied;
        let ends = |place: &&Place| place.segment == segment.id;
        let behind = segment.first_lsn > applied.lsn
            || applied
                .places
                .iter()
                .flatten()
                .find(ends)
                .is_some_and(|place| finding.block.is_some_and(|block| block >= place.block));
        if behind {
            self.follow.held.push((segment.clone(), finding));
        } else {
            self.find(finding);
        }
        behind
    }

    /// Whether something is to be made sure of.
    pub(super) fn is_unsure(&self) -> bool {
        !self.follow.held.is_empty()
    }

    /// Looks for a second time at the frames behind the index, without reading what is in them.
    pub(super) fn passed_again(&mut self, passed: Passed, again: &mut Again) {
        match passed {
            Passed::Frame(segment, frame) => {
                let header = &frame.header;
                self.spend(u64::from(header.blocks) * BLOCK as u64);
                if self.out_of_order(again.last, header, false).is_some() {
                    again.wrong.insert((segment.id, frame.block));
                }
                again.last = Some((header.lsn, header.crc));
            }
            Passed::Damaged(segment, damage) => {
                again.wrong.insert((segment.id, damage.block));
            }
            Passed::Unreadable(segment, block, _) => {
                again.wrong.insert((segment.id, block));
            }
            Passed::Begin(_) | Passed::End(..) => {}
        }
    }

    /// What is still wrong is listed. What was in passing is forgotten.
    pub(super) fn make_sure(&mut self, again: &Again) {
        for (segment, finding) in std::mem::take(&mut self.follow.held) {
            let place = (segment.id, finding.block.unwrap_or(0));
            let footer = place.1 == segment.blocks - 1;
            let still =
                again.wrong.contains(&place) || footer && self.read_footer(&segment).is_err();
            if still && matches!(finding.problem, Problem::Missing { .. }) {
                self.find_in_all(finding);
            } else if still {
                self.find(finding);
            }
        }
    }

    fn frame(&mut self, segment: &SegmentHeader, frame: &Frame) -> Result<(), IndexError> {
        let header = &frame.header;
        let lsn = header.lsn;
        self.report.frames += 1;
        self.spend(u64::from(header.blocks) * BLOCK as u64);
        if self.device.index.is_some() && lsn > self.device.applied.lsn {
            self.report.frames_behind_index += 1;
        }
        if let Some((segment, torn)) = self.follow.torn.take() {
            self.find_in_log(&segment, torn);
        }
        if let Some(problem) = self.out_of_order(self.follow.last, header, self.follow.damaged) {
            let finding = Finding::new(problem).at(segment.id, frame.block).frame(lsn);
            self.find_in_log(segment, finding);
        }
        self.follow.last = Some((lsn, header.crc));
        self.sums(segment.id).last_lsn = lsn;
        let place = FramePlace { segment: segment.id, block: frame.block };
        let mut same = true;
        for (at, head) in &frame.records {
            let listed = self.record(place, &frame.bytes, *at, head)?;
            same &= listed.is_none_or(|entry| self.next_in_footer(segment.id, &entry));
        }
        if !same {
            let finding = Finding::new(Problem::FooterDiffers);
            self.find(finding.at(segment.id, frame.block).frame(lsn));
        }
        Ok(())
    }

    /// Frames have all numbers, and each names the one before. `damaged` says that numbers are known to be missing.
    fn out_of_order(
        &self,
        last: Option<(u64, u32)>,
        header: &FrameHeader,
        damaged: bool,
    ) -> Option<Problem> {
        let lsn = header.lsn;
        let whole = self.scope == Scope::Device;
        let (before, crc) = last.unwrap_or((0, 0));
        if lsn == before + 1 {
            // The chain begins with 0.
            let known = before > 0 || whole;
            return (known && header.previous_crc != crc).then_some(Problem::Chain);
        }
        let from = (before + 1).max(self.device.unbroken_from());
        // Frames that are damaged were named already, and which numbers they had is not always known.
        (whole && from < lsn && !damaged).then(|| Problem::Missing { from, until: lsn - 1 })
    }

    /// Whether a footer, if there is one, lists this record next.
    fn next_in_footer(&mut self, segment: u32, found: &FooterEntry) -> bool {
        let Some(footer) = &mut self.sums(segment).footer else { return true };
        // Frames that could not be read are listed, too.
        let lsn = found.version.location.lsn;
        while footer.front().is_some_and(|entry| entry.version.location.lsn < lsn) {
            footer.pop_front();
        }
        footer.pop_front().is_some_and(|entry| entry == *found)
    }

    fn damage(&mut self, segment: &SegmentHeader, damage: &Damage) -> Result<(), IndexError> {
        self.spend(u64::from(damage.blocks) * BLOCK as u64);
        let mut finding = Finding::new(Problem::Frame(damage.error)).at(segment.id, damage.block);
        finding.lsn = damage.lsn;
        let sums = self.sums(segment.id);
        let sealed = sums.footer_lsn > 0;
        sums.damaged = true;
        sums.last_lsn = sums.last_lsn.max(damage.lsn.unwrap_or(0));
        self.follow.damaged = true;
        // The log may end like this, unless something says that it does not: what was not written whole was never
        // acknowledged.
        if !sealed && damage.lsn.is_some_and(|lsn| lsn > self.device.applied.lsn) {
            if let Some((earlier, finding)) = self.follow.torn.replace((segment.clone(), finding)) {
                self.find_in_log(&earlier, finding);
            }
            return Ok(());
        }
        if self.find_in_log(segment, finding) {
            return Ok(());
        }
        let place = FramePlace { segment: segment.id, block: damage.block };
        let mut at = FRAME_HEADER_LEN;
        while let Some(bytes) = damage.bytes.get(at..)
            && let Ok(head) = RecordHead::decode(bytes)
            && damage.lsn.is_none_or(|lsn| lsn == head.lsn)
        {
            self.record(place, &damage.bytes, at as u32, &head)?;
            at += (head.record_len as usize).next_multiple_of(8);
        }
        Ok(())
    }

    /// Checks a record; gives what a footer is to say of it.
    fn record(
        &mut self,
        place: FramePlace,
        frame: &[u8],
        at: u32,
        head: &RecordHead,
    ) -> Result<Option<FooterEntry>, IndexError> {
        self.report.records += 1;
        let offset = place.block * BLOCK as u32 + at;
        let block = offset / BLOCK as u32;
        let finding =
            |problem| Finding::new(problem).at(place.segment, block).frame(head.lsn).of(head.hash);
        let known = self.device.index.is_none() || head.lsn <= self.device.applied.lsn;
        if known {
            self.sums(place.segment).written += u64::from(head.record_len).next_multiple_of(8);
        }
        let bytes = frame.get(at as usize..at as usize + head.record_len as usize);
        let record = bytes.ok_or(FormatError::Short).and_then(Record::decode);
        let events = events_of(place, frame, &[(at, head.clone())]);
        let (record, event) = match (record, events.map(|mut events| events.pop())) {
            (Ok(record), Ok(Some(event))) => (record, event),
            (Err(error), _) | (_, Err(error)) => {
                self.find_record((place.segment, offset), finding(Problem::Record(error)));
                return Ok(None);
            }
            (_, Ok(None)) => return Ok(None),
        };
        if let Some(Err(error)) = event.update.as_ref().map(|(_, update)| decode_update(update)) {
            self.find(finding(Problem::Update(error)));
        }
        let bytes = bytes.unwrap_or_default();
        if !head.has_extents() {
            let inline = bytes.get(record.inline_at..).unwrap_or_default();
            let chunks = inline.chunks(CHUNK).zip(&record.chunk_crcs).zip(0u64..);
            for ((chunk, crc), number) in chunks {
                if crc32fast::hash(chunk) != *crc {
                    let error = FormatError::Checksum.to_string();
                    let problem = Problem::Data { offset: number * CHUNK as u64, error };
                    self.find_record((place.segment, offset), finding(problem));
                }
            }
        }
        let (hash, version) = (event.hash, event.version);
        let entry = FooterEntry { hash, version, has_update: event.update.is_some() };
        let counts = match known {
            true => self.compare(&hash, &entry.version, finding)?,
            false => true,
        };
        if counts && head.has_extents() && self.check_extents(&record, known, finding) {
            let stored = StoredRecord { record, bytes: Vec::new() };
            self.check_data(hash, &entry.version, stored);
        }
        Ok(Some(entry))
    }

    /// What the index says of a record. Gives whether it names it.
    fn compare(
        &mut self,
        hash: &ObjectHash,
        version: &Version,
        finding: impl Fn(Problem) -> Finding,
    ) -> Result<bool, IndexError> {
        let Some(index) = &self.device.index else { return Ok(false) };
        let state = index.state(hash)?;
        let at = version.location;
        match state.at(&at) {
            Some(named) => {
                self.report.live_records += 1;
                self.sums(at.segment).found.add(hash, &at);
                if named != version {
                    self.find_record((at.segment, at.offset), finding(Problem::IndexDiffers));
                }
                Ok(true)
            }
            None => {
                if merge(&state, version.clone(), self.device.rule) != state {
                    if self.suspects.len() < SUSPECTS_MAX {
                        self.suspects.insert(*hash);
                    } else if !self.suspects.contains(hash) {
                        self.report.list(Finding::new(Problem::TooMany));
                    }
                }
                Ok(false)
            }
        }
    }

    /// Whether data lies where it can. `known` says whether the index knows the record.
    fn check_extents(
        &mut self,
        record: &Record,
        known: bool,
        finding: impl Fn(Problem) -> Finding,
    ) -> bool {
        let mut possible = true;
        for extent in &record.extents {
            let end = extent.block.saturating_add(extent.blocks);
            let header = self.device.files.get(&extent.segment).and_then(|file| file.in_use());
            let bulk = header.filter(|header| header.class == SegmentClass::Bulk);
            let Some(header) = bulk.filter(|header| extent.block > 0 && end <= header.blocks)
            else {
                possible = false;
                self.find_through(extent.segment, finding(Problem::Extent));
                continue;
            };
            let taken = self.device.account(&self.accounts, header).taken;
            if known && end > taken {
                self.find_through(extent.segment, finding(Problem::Taken));
            }
        }
        possible
    }

    fn segment_ended(&mut self, segment: &SegmentHeader, block: u32) {
        let index = self.device.applied.places.iter().flatten();
        let expected = index.clone().any(|place| place.segment == segment.id && place.block > block)
            // A place of an earlier use says nothing.
            && segment.first_lsn <= self.device.applied.lsn;
        let sums = self.sums(segment.id);
        let early = sums.footer_lsn > sums.last_lsn;
        sums.footer = None;
        if expected || early {
            sums.damaged = true;
            self.follow.damaged = true;
            self.find(Finding::new(Problem::EndsEarly).at(segment.id, block));
        }
    }

    /// All frames were read. Gives what comes then.
    pub(super) fn log_ended(&mut self) -> Stage {
        self.report.torn_end = self.follow.torn.take().is_some();
        let last = self.follow.last.map_or(0, |(lsn, _)| lsn);
        let applied = self.device.applied.lsn;
        let kept = applied >= self.device.unbroken_from();
        if self.scope == Scope::Device && kept && last < applied && !self.follow.damaged {
            self.find_in_all(Finding::new(Problem::LogEndsEarly { applied, last }));
        }
        match self.device.index {
            Some(_) => Stage::Objects(ObjectHash([0; 16])),
            None => Stage::Done,
        }
    }
}

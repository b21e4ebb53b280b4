//! From index to log, and within the index.

use super::{Cells, Digest, Finding, Problem, Scope, Verifier};
use crate::engine::apply::places;
use crate::format::{SegmentClass, decode_update};
use crate::index::{Cell, IndexError};
use crate::io::BLOCK;
use crate::state::{Location, ObjectState, Version, merge};
use std::collections::{HashMap, HashSet};
use types::{ObjectHash, hex_encode};

/// Objects that are gone through at a time.
const OBJECTS: usize = 1024;
/// What one counts for, in bytes.
const OBJECT_COST: u64 = 256;
const LAST: ObjectHash = ObjectHash([0xff; 16]);

impl Verifier<'_> {
    /// Some objects from a hash on. Gives the next hash.
    pub(super) fn objects(&mut self, from: &ObjectHash) -> Result<Option<ObjectHash>, IndexError> {
        let Some(index) = &self.device.index else { return Ok(None) };
        let mut last = None;
        let mut seen = 0;
        for row in index.states(from, &LAST).take(OBJECTS) {
            seen += 1;
            match row {
                Ok((hash, state)) => {
                    last = Some(hash);
                    self.object(&hash, &state)?;
                }
                Err(error) => self.bad_row(error)?,
            }
        }
        self.spent += seen as u64 * OBJECT_COST;
        Ok(last.filter(|_| seen == OBJECTS).and_then(next))
    }

    fn bad_row(&mut self, error: IndexError) -> Result<(), IndexError> {
        match error {
            IndexError::Row(error) => {
                self.report.list(Finding::new(Problem::Row(error.to_string())));
                Ok(())
            }
            other => Err(other),
        }
    }

    fn object(&mut self, hash: &ObjectHash, state: &ObjectState) -> Result<(), IndexError> {
        self.report.objects += u64::from(state.data().is_some());
        let mut owned: Vec<u32> = Vec::new();
        for version in state.versions() {
            let at = version.location;
            let finding = |problem| {
                let block = at.offset / BLOCK as u32;
                Finding::new(problem).at(at.segment, block).frame(at.lsn).of(*hash)
            };
            if at.lsn > self.device.applied.lsn && self.covers(at.segment) {
                self.find(finding(Problem::BehindIndex));
            }
            for (segment, bytes) in places(version) {
                let file = self.device.files.get(&segment).and_then(|file| file.in_use());
                let bulk = segment != at.segment;
                let right = file.is_some_and(|h| (h.class == SegmentClass::Bulk) == bulk);
                if !right && self.covers(segment) && self.listed.insert((at.segment, at.offset)) {
                    self.find_through(segment, finding(Problem::NoSegment));
                }
                let sums = self.sums(segment);
                sums.live += bytes;
                if version.kind.is_marker() {
                    sums.tombstones += bytes;
                }
                if bulk && !owned.contains(&segment) {
                    owned.push(segment);
                    sums.owners.add(hash, &Location::default());
                }
            }
            self.sums(at.segment).named.add(hash, &at);
            // What a single bulk segment holds is read by the records that name it.
            if let Scope::Segment(only) = self.scope
                && version.bulk.iter().any(|share| share.segment == only)
            {
                self.look_for(hash, version);
            }
        }
        self.count_in_cell(hash, state)
    }

    fn count_in_cell(&mut self, hash: &ObjectHash, state: &ObjectState) -> Result<(), IndexError> {
        if self.scope != Scope::Device {
            return Ok(());
        }
        let prefix = [hash.0[0], hash.0[1]];
        if prefix != self.cells.prefix {
            self.end_cell()?;
            self.cells.prefix = prefix;
        }
        let Cells { cell, seen, .. } = &mut self.cells;
        seen[usize::from(u16::from_be_bytes(prefix))] = true;
        cell.change(hash, &ObjectState::default(), state);
        Ok(())
    }

    fn end_cell(&mut self) -> Result<(), IndexError> {
        let Some(index) = &self.device.index else { return Ok(()) };
        let cell = std::mem::take(&mut self.cells.cell);
        if index.cell(self.cells.prefix)? != cell {
            self.report.list(Finding::new(Problem::Cell(hex_encode(&self.cells.prefix))));
        }
        Ok(())
    }

    /// What the index says beside the objects.
    pub(super) fn rows(&mut self) -> Result<(), IndexError> {
        let Some(index) = &self.device.index else { return Ok(()) };
        if self.scope == Scope::Device {
            self.end_cell()?;
            for row in index.cells([0; 2], [u8::MAX; 2]) {
                let (prefix, cell) = row?;
                let seen = self.cells.seen[usize::from(u16::from_be_bytes(prefix))];
                if !seen && cell != Cell::default() {
                    self.report.list(Finding::new(Problem::Cell(hex_encode(&prefix))));
                }
            }
            for row in index.updates(crate::index::UpdateToken(0)) {
                match row {
                    Ok((token, update)) => {
                        if let Err(error) = decode_update(&update) {
                            let finding = Finding::new(Problem::Update(error));
                            self.report.list(finding.frame(token.lsn()));
                        }
                    }
                    Err(error) => self.bad_row(error)?,
                }
            }
        }
        let mut quarantined: HashMap<u32, u64> = HashMap::new();
        for record in index.quarantined(&[], usize::MAX)? {
            for (segment, _) in places(&record.version) {
                *quarantined.entry(segment).or_default() += 1;
            }
        }
        let in_use = self.device.files.values().filter_map(|file| file.in_use());
        for header in in_use.filter(|header| self.covers(header.id)).collect::<Vec<_>>() {
            let (id, bulk) = (header.id, header.class == SegmentClass::Bulk);
            let account = self.device.account(&self.accounts, header);
            let sums = self.segments.entry(id).or_default();
            let found = quarantined.get(&id).copied().unwrap_or(0);
            let mut counts = vec![
                ("live bytes", account.live, sums.live),
                ("bytes of tombstones", account.tombstones, sums.tombstones),
                ("damaged records", account.quarantined.into(), found),
            ];
            if !bulk && !sums.damaged {
                counts.push(("bytes of records", account.written, sums.written));
            }
            for (what, counted, found) in counts {
                if counted != found {
                    let problem = Problem::Account { what, counted, found };
                    self.find(Finding::new(problem).in_segment(id));
                }
            }
            if bulk {
                self.owners(id)?;
            }
        }
        Ok(())
    }

    fn owners(&mut self, segment: u32) -> Result<(), IndexError> {
        let Some(index) = &self.device.index else { return Ok(()) };
        let mut listed = Digest::default();
        let mut from = Some(ObjectHash([0; 16]));
        while let Some(begin) = from {
            let owners = index.owners(segment, &begin, OBJECTS)?;
            owners.iter().for_each(|hash| listed.add(hash, &Location::default()));
            from = owners.last().copied().filter(|_| owners.len() == OBJECTS).and_then(next);
        }
        let found = self.sums(segment).owners;
        if listed != found {
            let problem = Problem::Owners { listed: listed.count, found: found.count };
            self.find(Finding::new(problem).in_segment(segment));
        }
        Ok(())
    }

    /// Segments in which something else was found than the index names.
    pub(super) fn differing(&self) -> HashSet<u32> {
        let differs = self.segments.iter().filter(|(_, sums)| sums.found != sums.named);
        differs.map(|(id, _)| *id).filter(|id| self.covers(*id)).collect()
    }

    /// Looks for each record in these segments that some objects, from a hash on, name. Gives the next hash.
    pub(super) fn missing(
        &mut self,
        from: &ObjectHash,
        segments: &HashSet<u32>,
    ) -> Result<Option<ObjectHash>, IndexError> {
        let Some(index) = &self.device.index else { return Ok(None) };
        let mut last = None;
        let mut seen = 0;
        for row in index.states(from, &LAST).take(OBJECTS) {
            seen += 1;
            // A row that cannot be read was listed before.
            let Ok((hash, state)) = row else { continue };
            last = Some(hash);
            let there = |version: &&Version| segments.contains(&version.location.segment);
            for version in state.versions().iter().filter(there) {
                self.look_for(&hash, version);
            }
        }
        self.spent += seen as u64 * OBJECT_COST;
        Ok(last.filter(|_| seen == OBJECTS).and_then(next))
    }

    fn look_for(&mut self, hash: &ObjectHash, version: &Version) {
        let at = version.location;
        self.spend(u64::from(at.len).next_multiple_of(BLOCK as u64));
        match self.device.stored(hash, version) {
            Ok(stored) => {
                if !self.listed.contains(&(at.segment, at.offset)) {
                    self.check_data(*hash, version, stored);
                }
            }
            Err(error) => {
                let finding = Finding::new(Problem::NoRecord(error.to_string()));
                let finding = finding.at(at.segment, at.offset / BLOCK as u32);
                self.find_record((at.segment, at.offset), finding.frame(at.lsn).of(*hash));
            }
        }
    }

    /// Puts together what the log says of objects that differ.
    pub(super) fn judge_suspects(&mut self) -> Result<(), IndexError> {
        let suspects = std::mem::take(&mut self.suspects);
        let Some(index) = self.device.index.as_ref().filter(|_| !suspects.is_empty()) else {
            return Ok(());
        };
        let mut expected: HashMap<ObjectHash, ObjectState> = HashMap::new();
        for (hash, version) in self.device.records_of(|hash| suspects.contains(hash)) {
            if version.location.lsn <= self.device.applied.lsn {
                let state = expected.entry(hash).or_default();
                *state = merge(state, version, self.device.rule);
            }
        }
        let mut kept: HashSet<(ObjectHash, u64)> = HashSet::new();
        for record in index.quarantined(&[], usize::MAX)? {
            kept.insert((record.hash, record.version.location.lsn));
        }
        for (hash, expected) in expected {
            let state = index.state(&hash)?;
            for version in expected.versions() {
                // Compaction gives old markers up without saying so in the log.
                let given_up =
                    version.kind.is_marker() || kept.contains(&(hash, version.location.lsn));
                if !given_up && state.at(&version.location).is_none() {
                    self.judged(Problem::NotInIndex, hash, &version.location);
                }
            }
            for version in state.versions() {
                if expected.at(&version.location).is_none() {
                    self.judged(Problem::Outdated, hash, &version.location);
                }
            }
        }
        Ok(())
    }

    fn judged(&mut self, problem: Problem, hash: ObjectHash, at: &Location) {
        let finding = Finding::new(problem).at(at.segment, at.offset / BLOCK as u32);
        let listed = self.listed.contains(&(at.segment, at.offset));
        if !listed && self.covers(at.segment) {
            self.find_in_all(finding.frame(at.lsn).of(hash));
        }
    }
}

fn next(hash: ObjectHash) -> Option<ObjectHash> {
    let next = u128::from_be_bytes(hash.0).checked_add(1)?;
    Some(ObjectHash(next.to_be_bytes()))
}

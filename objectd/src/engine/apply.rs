//! Applying frames: what a durable record changes in the index, and in the accounts of segments.
//!
//! The same code runs when a frame was just written, when the log is replayed, and when an index is made anew.

use super::segments::Segments;
use crate::format::{FormatError, RecordHead, RecordKind, SegmentHeader, bulk_shares};
use crate::index::{
    Account, Applied, Cell, Index, IndexBatch, IndexError, Quarantined, UpdateToken,
};
use crate::io::BLOCK;
use crate::state::{BulkShare, Location, ObjectState, Rule, Version, merge};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use types::ObjectHash;

/// A record as the index sees it.
pub(crate) struct Event {
    pub(crate) hash: ObjectHash,
    pub(crate) version: Version,
    /// The listing update it carries, and its name.
    pub(crate) update: Option<(UpdateToken, Vec<u8>)>,
    /// Of each bulk segment that the record names, the end of what it names.
    pub(crate) taken: Vec<(u32, u32)>,
}

/// Where a frame stands.
#[derive(Clone, Copy)]
pub(crate) struct FramePlace {
    pub(crate) segment: u32,
    pub(crate) block: u32,
}

/// Reads the events of a frame whose bytes are known to be whole.
pub(crate) fn events_of(
    place: FramePlace,
    frame: &[u8],
    heads: &[(u32, RecordHead)],
) -> Result<Vec<Event>, FormatError> {
    let event = |(number, (at, head)): (usize, &(u32, RecordHead))| {
        let record = frame.get(*at as usize..).ok_or(FormatError::Short)?;
        let extents = head.extents_in(record)?;
        let token = UpdateToken::new(head.lsn, number as u8);
        Ok(Event {
            hash: head.hash,
            version: version_of(place, *at, head, bulk_shares(&extents)),
            update: head.has_update().then(|| (token, head.update_in(record).to_vec())),
            taken: extents.iter().map(|e| (e.segment, e.block.saturating_add(e.blocks))).collect(),
        })
    };
    heads.iter().enumerate().map(event).collect()
}

fn version_of(place: FramePlace, at: u32, head: &RecordHead, bulk: Vec<BulkShare>) -> Version {
    Version {
        kind: head.kind,
        timestamp: head.timestamp,
        content_type_timestamp: head.content_type_timestamp,
        delete_at: head.delete_at,
        data_len: head.data_len,
        fragment: head.fragment,
        bulk,
        location: Location {
            segment: place.segment,
            offset: place.block * BLOCK as u32 + at,
            len: head.record_len,
            head_len: head.head_len() as u32,
            lsn: head.lsn,
        },
    }
}

/// What applies to one device.
#[derive(Clone)]
pub(super) struct Applier {
    pub(super) index: Arc<Index>,
    pub(super) segments: Arc<Segments>,
    pub(super) rule: Rule,
    /// All cells that were ever needed; there are at most 65,536.
    pub(super) cells: Arc<Mutex<HashMap<[u8; 2], Cell>>>,
}

/// Changes on their way into the index.
pub(super) struct Changes<'a> {
    applier: &'a Applier,
    batch: IndexBatch<'a>,
    states: HashMap<ObjectHash, Known>,
    bulk_taken: HashMap<u32, u32>,
    accounts: HashMap<u32, Account>,
}

struct Known {
    before: ObjectState,
    now: ObjectState,
}

impl Applier {
    pub(super) fn changes(&self) -> Changes<'_> {
        Changes {
            applier: self,
            batch: self.index.batch(),
            states: HashMap::new(),
            bulk_taken: HashMap::new(),
            accounts: HashMap::new(),
        }
    }
}

impl<'a> Changes<'a> {
    fn known(&mut self, hash: &ObjectHash) -> Result<&mut Known, IndexError> {
        match self.states.entry(*hash) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let now = self.applier.index.state(hash)?;
                Ok(vacant.insert(Known { before: now.clone(), now }))
            }
        }
    }

    /// The state of an object as it is with all changes so far.
    pub(super) fn state(&mut self, hash: &ObjectHash) -> Result<&ObjectState, IndexError> {
        Ok(&self.known(hash)?.now)
    }

    /// A record became durable.
    pub(super) fn event(&mut self, event: Event) -> Result<(), IndexError> {
        let rule = self.applier.rule;
        let at = event.version.location;
        if let Some(account) = self.account(at.segment) {
            account.written += u64::from(at.len).next_multiple_of(8);
        }
        let says_something = matches!(event.version.kind, RecordKind::Data | RecordKind::Meta);
        let known = self.known(&event.hash)?;
        known.now = merge(&known.now, event.version, rule);
        if says_something
            && known.now.at(&at).is_none()
            && let Some(account) = self.account(at.segment)
        {
            account.late = true;
        }
        if let Some((token, update)) = event.update {
            self.batch.put_update(token, &update);
        }
        for (segment, until) in event.taken {
            let taken = self.bulk_taken.entry(segment).or_default();
            *taken = (*taken).max(until);
        }
        Ok(())
    }

    /// A listing update was taken.
    pub(super) fn forget_update(&mut self, token: UpdateToken) {
        self.batch.forget_update(token);
    }

    /// A version means nothing any more. False when it was gone already.
    pub(super) fn retire(
        &mut self,
        hash: &ObjectHash,
        location: &Location,
    ) -> Result<bool, IndexError> {
        Ok(self.known(hash)?.now.remove_at(location).is_some())
    }

    /// A version is damaged: it is not served any more, and kept. False when it was gone already.
    pub(super) fn quarantine(
        &mut self,
        hash: &ObjectHash,
        location: &Location,
        now_micros: u64,
    ) -> Result<bool, IndexError> {
        let Some(version) = self.known(hash)?.now.remove_at(location) else { return Ok(false) };
        for segment in places(&version).map(|(segment, _)| segment) {
            if let Some(account) = self.account(segment) {
                account.quarantined += 1;
            }
        }
        let record = Quarantined { hash: *hash, version, found_micros: now_micros };
        self.batch.put_quarantined(&record);
        Ok(true)
    }

    /// A damaged record is kept no longer.
    pub(super) fn release(&mut self, record: &Quarantined) -> Result<(), IndexError> {
        if !self.applier.index.is_quarantined(record)? {
            return Ok(());
        }
        for segment in places(&record.version).map(|(segment, _)| segment) {
            if let Some(account) = self.account(segment) {
                account.quarantined = account.quarantined.saturating_sub(1);
            }
        }
        self.batch.forget_quarantined(record);
        Ok(())
    }

    /// A bulk segment is to be filled no further.
    pub(super) fn take_whole(&mut self, header: &SegmentHeader) {
        self.bulk_taken.insert(header.id, header.blocks);
    }

    fn account(&mut self, segment: u32) -> Option<&mut Account> {
        match self.accounts.entry(segment) {
            std::collections::hash_map::Entry::Occupied(known) => Some(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                Some(vacant.insert(self.applier.segments.account(segment)?))
            }
        }
    }

    fn credit(&mut self, version: &Version, sign: i64) {
        let kind = version.kind;
        for (segment, bytes) in places(version) {
            let Some(account) = self.account(segment) else { continue };
            let change =
                |value: &mut u64| *value = value.saturating_add_signed(sign * bytes as i64);
            change(&mut account.live);
            if kind.is_marker() {
                change(&mut account.tombstones);
            }
        }
    }

    /// Makes it all visible, up to and with a frame if one is named.
    pub(super) fn write(mut self, applied: Option<&Applied>) -> Result<(), IndexError> {
        let cells = Arc::clone(&self.applier.cells);
        let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed: HashSet<[u8; 2]> = HashSet::new();
        for (hash, Known { before, now }) in std::mem::take(&mut self.states) {
            if before == now {
                continue;
            }
            self.batch.put_state(&hash, &now);
            let gone = |version: &&Version| now.at(&version.location).is_none();
            let new = |version: &&Version| before.at(&version.location).is_none();
            for version in before.versions().iter().filter(gone) {
                self.credit(version, -1);
            }
            for version in now.versions().iter().filter(new) {
                self.credit(version, 1);
            }
            self.owners(&hash, &before, &now);
            let (was, is) = (before.delete_at(), now.delete_at());
            if was != is {
                self.batch.move_expiry(&hash, was, is);
            }
            let prefix = [hash.0[0], hash.0[1]];
            let cell = match cells.entry(prefix) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(self.applier.index.cell(prefix)?)
                }
            };
            cell.change(&hash, &before, &now);
            changed.insert(prefix);
        }
        for (segment, until) in std::mem::take(&mut self.bulk_taken) {
            if let Some(account) = self.account(segment) {
                account.taken = account.taken.max(until);
            }
        }
        let Changes { applier, mut batch, accounts, .. } = self;
        for prefix in changed {
            batch.put_cell(prefix, &cells.get(&prefix).copied().unwrap_or_default());
        }
        let accounts: Vec<(u32, Account)> = accounts.into_iter().collect();
        for (segment, account) in &accounts {
            batch.put_account(*segment, account);
        }
        match applied {
            Some(applied) => batch.write_applied(applied)?,
            None => batch.write()?,
        }
        applier.segments.set_accounts(&accounts);
        Ok(())
    }

    fn owners(&mut self, hash: &ObjectHash, before: &ObjectState, now: &ObjectState) {
        let shares = |state: &ObjectState| -> Vec<u32> {
            let shares = state.versions().iter().flat_map(|version| &version.bulk);
            shares.map(|share| share.segment).collect()
        };
        let (old, new) = (shares(before), shares(now));
        for segment in old.iter().filter(|segment| !new.contains(segment)) {
            self.batch.forget_owner(*segment, hash);
        }
        for segment in new.iter().filter(|segment| !old.contains(segment)) {
            self.batch.put_owner(*segment, hash);
        }
    }
}

/// Which segments a version keeps alive, and bytes in each.
pub(crate) fn places(version: &Version) -> impl Iterator<Item = (u32, u64)> + '_ {
    let at = &version.location;
    let record = (at.segment, u64::from(at.len).next_multiple_of(8));
    let bulk = version.bulk.iter();
    let bulk = bulk.map(|share| (share.segment, u64::from(share.blocks) * BLOCK as u64));
    std::iter::once(record).chain(bulk)
}

//! What is known of one object, and the rule by which events change it.
//!
//! An object's state is a small set of versions, as Swift has files in a hash directory: `.data` (of an
//! erasure-coded policy: fragments, durable or not yet), `.meta` (at most two: the newest, and one that carries a
//! newer content type) and `.ts`. [`merge`] is the whole rule (Swift: obj/diskfile.py, `get_ondisk_files`); it is a
//! pure function, and the order in which events arrive does not matter to its result. (Only a purge, which takes
//! what this device had *until then*, must come before what it does not take; the log has it in that order.)
//!
//! Of two records that say the same, the one with the higher LSN counts. That is what lets compaction copy a
//! record: the copy replaces the original by the same rule, in operation, in replay and when an index is made anew.

mod row;

use crate::format::RecordKind;
use types::Timestamp;

/// Where a record lies in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Location {
    /// The segment.
    pub segment: u32,
    /// The record's first byte in it.
    pub offset: u32,
    /// Its length in bytes.
    pub len: u32,
    /// Bytes before its inline data: all that a HEAD needs.
    pub head_len: u32,
    /// The frame it belongs to.
    pub lsn: u64,
}

/// Of an erasure-coded object: which piece this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Its number.
    pub index: u8,
    /// Whether enough pieces are known to be stored. Swift: `#d` in the file's name.
    pub durable: bool,
}

/// How much of a bulk segment a record's data takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkShare {
    /// The segment.
    pub segment: u32,
    /// Blocks in it.
    pub blocks: u32,
}

/// One record of an object that still means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What it is.
    pub kind: RecordKind,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Of a meta that carries a content type: when that was set.
    pub content_type_timestamp: Option<Timestamp>,
    /// Of data or a meta: when the object expires, in seconds, or 0.
    pub delete_at: u64,
    /// Of data: its length.
    pub data_len: u64,
    /// Of an erasure-coded object.
    pub fragment: Option<Fragment>,
    /// Bulk segments that its data lies in.
    pub bulk: Vec<BulkShare>,
    /// Where its record lies.
    pub location: Location,
}

impl Version {
    fn index(&self) -> Option<u8> {
        self.fragment.map(|fragment| fragment.index)
    }

    fn is_marked_durable(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.durable)
    }

    /// What two records must share to say the same.
    fn identity(&self) -> impl Ord + use<> {
        (self.kind, self.timestamp, self.index(), self.content_type_timestamp)
    }

    /// Whether both are records of the same change, maybe at different places.
    pub fn says_the_same(&self, other: &Version) -> bool {
        self.identity() == other.identity()
    }

    /// Whether a purge that came later took this away.
    fn is_purged_by(&self, purge: &Version) -> bool {
        purge.kind == RecordKind::Purge
            && purge.location.lsn > self.location.lsn
            && purge.timestamp >= self.timestamp
            && purge.index().is_none_or(|index| self.index() == Some(index))
    }
}

/// How the objects of a policy are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Every replica is whole.
    #[default]
    Replicated,
    /// Replicas are fragments, and count when they have been made durable.
    Erasure,
}

/// All that is known of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectState {
    /// Ascending by kind, then newest first.
    versions: Vec<Version>,
}

impl ObjectState {
    /// Nothing but one version.
    pub fn of_one(version: Version) -> Self {
        ObjectState { versions: vec![version] }
    }

    fn of(&self, kind: RecordKind) -> impl Iterator<Item = &Version> {
        self.versions.iter().filter(move |version| version.kind == kind)
    }

    /// The data, unless the object was deleted. Of fragments: the highest of the newest that are durable.
    pub fn data(&self) -> Option<&Version> {
        let at = newest_durable(&self.versions)?;
        self.of(RecordKind::Data)
            .filter(|data| data.timestamp == at)
            .max_by_key(|data| data.index())
    }

    /// All data or fragments, newest first, durable or not.
    pub fn fragments(&self) -> impl Iterator<Item = &Version> {
        self.of(RecordKind::Data)
    }

    /// Whether data may be counted on.
    pub fn is_durable(&self, data: &Version) -> bool {
        is_durable(&self.versions, data)
    }

    /// The newest metadata that was posted since the data was put.
    pub fn meta(&self) -> Option<&Version> {
        let data = self.data()?;
        self.of(RecordKind::Meta).next().filter(|meta| meta.timestamp >= data.timestamp)
    }

    /// When the object expires, in seconds; 0 for never, and where there is none.
    pub fn delete_at(&self) -> u64 {
        self.meta().or_else(|| self.data()).map_or(0, |version| version.delete_at)
    }

    /// The posted metadata with the newest content type, if any carries one.
    pub fn content_type(&self) -> Option<&Version> {
        let data = self.data()?;
        self.of(RecordKind::Meta)
            .filter(|meta| meta.content_type_timestamp > Some(data.timestamp))
            .max_by_key(|meta| meta.content_type_timestamp)
    }

    /// The tombstone, if the object was deleted.
    pub fn tombstone(&self) -> Option<&Version> {
        self.of(RecordKind::Tombstone).next().filter(|_| self.data().is_none())
    }

    /// The timestamp that a request must be newer than: of data or tombstone.
    pub fn data_timestamp(&self) -> Option<Timestamp> {
        self.data().or(self.tombstone()).map(|version| version.timestamp)
    }

    /// The timestamp of the last change of any kind.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.meta().or(self.data()).or(self.tombstone()).map(|version| version.timestamp)
    }

    /// Everything in it.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The version whose record lies there.
    pub fn at(&self, location: &Location) -> Option<&Version> {
        self.versions.iter().find(|version| version.location == *location)
    }

    /// Whether a copy of a version's record, at the end of the log, says what the record says where it is. That of a
    /// purge does not if something came after the purge that it would take away.
    pub fn may_move(&self, version: &Version) -> bool {
        let location = Location { lsn: u64::MAX, ..version.location };
        let copy = Version { location, ..version.clone() };
        !self.versions.iter().any(|other| other.is_purged_by(&copy))
    }

    /// Forgets the version whose record lies there.
    pub fn remove_at(&mut self, location: &Location) -> Option<Version> {
        let at = self.versions.iter().position(|version| version.location == *location)?;
        Some(self.versions.remove(at))
    }
}

fn is_durable(versions: &[Version], data: &Version) -> bool {
    let same = |version: &&Version| version.timestamp == data.timestamp;
    versions.iter().filter(same).any(|version| match version.kind {
        RecordKind::Data => version.is_marked_durable(),
        kind => kind == RecordKind::Durable,
    })
}

fn newest_durable(versions: &[Version]) -> Option<Timestamp> {
    let data = versions.iter().filter(|version| version.kind == RecordKind::Data);
    data.filter(|data| is_durable(versions, data)).map(|data| data.timestamp).max()
}

/// The state after one more event. What is no longer in it is garbage.
pub fn merge(state: &ObjectState, event: Version, rule: Rule) -> ObjectState {
    let mut all = Vec::with_capacity(state.versions.len() + 1);
    all.extend(state.versions.iter().cloned());
    all.push(event);
    if all.len() > 1 {
        forget_purged(&mut all);
        forget_repeated(&mut all);
        forget_deleted(&mut all);
        forget_replaced(&mut all, rule);
        forget_older_metas(&mut all);
    }
    ObjectState { versions: all }
}

/// Whether an event from elsewhere would change what is known here. What was purged here counts as new again.
pub fn is_news(state: &ObjectState, event: &Version, rule: Rule) -> bool {
    let says_as_much = |known: &Version| {
        known.says_the_same(event) && (known.is_marked_durable() || !event.is_marked_durable())
    };
    // As if it came last.
    let location = Location { lsn: u64::MAX, ..Location::default() };
    let event = Version { location, ..event.clone() };
    !state.versions.iter().any(says_as_much)
        && merge(state, event, rule).versions.iter().any(|version| version.location == location)
}

fn forget_purged(all: &mut Vec<Version>) {
    let purges: Vec<Version> =
        all.iter().filter(|version| version.kind == RecordKind::Purge).cloned().collect();
    all.retain(|version| !purges.iter().any(|purge| version.is_purged_by(purge)));
}

/// Of equals the one with the highest LSN stays, or the one that is durable; and this gives versions their order.
fn forget_repeated(all: &mut Vec<Version>) {
    let rank = |version: &Version| (version.is_marked_durable(), version.location.lsn);
    all.sort_by(|a, b| {
        let newest_first = b.identity().cmp(&a.identity());
        a.kind.cmp(&b.kind).then(newest_first).then(rank(b).cmp(&rank(a)))
    });
    all.dedup_by(|later, first| later.identity() == first.identity());
}

fn forget_deleted(all: &mut Vec<Version>) {
    let tombstones = all.iter().filter(|version| version.kind == RecordKind::Tombstone);
    let Some(deleted) = tombstones.map(|tombstone| tombstone.timestamp).max() else { return };
    all.retain(|version| match version.kind {
        RecordKind::Tombstone => version.timestamp == deleted,
        RecordKind::Purge => true,
        _ => version.timestamp > deleted,
    });
}

/// The newest meta stays, and the one with the newest content type if that is newer than the newest meta's. A content
/// type from before the data or the deletion means nothing, so that order does not matter here either.
fn forget_older_metas(all: &mut Vec<Version>) {
    let since = all.iter().filter(|version| version.kind != RecordKind::Meta);
    let since = since
        .filter(|version| matches!(version.kind, RecordKind::Data | RecordKind::Tombstone))
        .filter(|version| version.kind == RecordKind::Tombstone || is_durable(all, version))
        .map(|version| version.timestamp)
        .max();
    let metas: Vec<&Version> = all.iter().filter(|v| v.kind == RecordKind::Meta).collect();
    // They stand newest first, and of equal moments the newer content type first.
    let Some(newest) = metas.first().map(|meta| meta.identity()) else { return };
    let typed = metas.iter().max_by_key(|meta| (meta.content_type_timestamp, meta.timestamp));
    let typed = typed
        .filter(|meta| meta.content_type_timestamp > metas[0].content_type_timestamp)
        .filter(|meta| meta.content_type_timestamp > since)
        .map(|meta| meta.identity());
    all.retain(|version| {
        let this = version.identity();
        version.kind != RecordKind::Meta || this == newest || typed.as_ref() == Some(&this)
    });
}

fn forget_replaced(all: &mut Vec<Version>, rule: Rule) {
    let newest = match rule {
        Rule::Replicated => {
            let data = all.iter().filter(|version| version.kind == RecordKind::Data);
            data.map(|data| data.timestamp).max()
        }
        Rule::Erasure => newest_durable(all),
    };
    let Some(newest) = newest else { return };
    let marked = all.iter().any(|version| {
        version.kind == RecordKind::Data
            && version.timestamp == newest
            && version.is_marked_durable()
    });
    all.retain(|version| match version.kind {
        RecordKind::Data => version.timestamp >= newest,
        RecordKind::Meta if rule == Rule::Erasure => version.timestamp >= newest,
        RecordKind::Meta | RecordKind::Tombstone => version.timestamp > newest,
        // Superfluous once a fragment's own record says it.
        RecordKind::Durable => version.timestamp > newest || version.timestamp == newest && !marked,
        RecordKind::Purge => true,
    });
}

#[cfg(test)]
mod tests;

//! What is known of one object, and the rule by which events change it.
//!
//! An object's state is a small set of versions, as Swift has files in a hash directory: `.data`, `.meta`
//! (at most two: the newest, and one that carries a newer content type) or `.ts`. [`merge`] is the whole
//! rule (Swift: obj/diskfile.py, `get_ondisk_files`); it is a pure function, and the order in which events
//! arrive does not matter to its result.

use crate::format::{FormatError, Reader, RecordKind, Writer};
use types::Timestamp;

/// Where a record lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The segment.
    pub segment: u32,
    /// The record's first byte in it.
    pub offset: u32,
    /// Its length in bytes.
    pub len: u32,
    /// The frame it belongs to.
    pub lsn: u64,
}

/// One record of an object that still means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// What it is.
    pub kind: RecordKind,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Of a meta that carries a content type: when that was set.
    pub content_type_timestamp: Option<Timestamp>,
    /// Of data: when it expires, in seconds, or 0.
    pub delete_at: u64,
    /// Of data: its length.
    pub data_len: u64,
    /// Where its record lies.
    pub location: Location,
}

/// All that is known of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectState {
    versions: Vec<Version>,
}

const FORMAT: u8 = 1;

impl ObjectState {
    fn newest(&self, kind: RecordKind) -> Option<&Version> {
        self.versions.iter().find(|version| version.kind == kind)
    }

    /// The data, unless the object was deleted.
    pub fn data(&self) -> Option<&Version> {
        self.newest(RecordKind::Data)
    }

    /// The newest metadata that was posted since the data was put.
    pub fn meta(&self) -> Option<&Version> {
        self.data().and_then(|_| self.newest(RecordKind::Meta))
    }

    /// The posted metadata with the newest content type, if any carries one.
    pub fn content_type(&self) -> Option<&Version> {
        self.data()?;
        let metas = self.versions.iter().filter(|version| version.kind == RecordKind::Meta);
        metas
            .filter(|meta| meta.content_type_timestamp.is_some())
            .max_by_key(|meta| meta.content_type_timestamp)
    }

    /// The tombstone, if the object was deleted.
    pub fn tombstone(&self) -> Option<&Version> {
        self.newest(RecordKind::Tombstone)
    }

    /// The timestamp that a request must be newer than: of data or tombstone.
    pub fn data_timestamp(&self) -> Option<Timestamp> {
        self.data().or(self.tombstone()).map(|version| version.timestamp)
    }

    /// The timestamp of the last change of any kind.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.meta().or(self.data()).or(self.tombstone()).map(|version| version.timestamp)
    }

    /// Value of an index row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(2 + self.versions.len() * 61));
        out.u8(FORMAT).u8(self.versions.len() as u8);
        for version in &self.versions {
            let at = &version.location;
            out.u8(version.kind.code()).u64(version.timestamp.raw).u64(version.timestamp.offset);
            out.u64(version.content_type_timestamp.map_or(0, |ts| ts.raw));
            out.u64(version.delete_at).u64(version.data_len);
            out.u32(at.segment).u32(at.offset).u32(at.len).u64(at.lsn);
        }
        out.0
    }

    /// Reads what [`ObjectState::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes);
        match fields.u8()? {
            FORMAT => {}
            newer => return Err(FormatError::Version(newer.into())),
        }
        let count = fields.u8()?;
        let mut versions = Vec::with_capacity(count.into());
        for _ in 0..count {
            let kind = RecordKind::from_code(fields.u8()?)?;
            let timestamp = Timestamp { raw: fields.u64()?, offset: fields.u64()? };
            let content_type_raw = fields.u64()?;
            let content_type_timestamp =
                (content_type_raw != 0).then(|| Timestamp::from_raw(content_type_raw));
            let (delete_at, data_len) = (fields.u64()?, fields.u64()?);
            let location = Location {
                segment: fields.u32()?,
                offset: fields.u32()?,
                len: fields.u32()?,
                lsn: fields.u64()?,
            };
            versions.push(Version {
                kind,
                timestamp,
                content_type_timestamp,
                delete_at,
                data_len,
                location,
            });
        }
        if fields.is_empty() {
            Ok(ObjectState { versions })
        } else {
            Err(FormatError::Field("state"))
        }
    }
}

/// The state after one more event. What is no longer in it is garbage.
pub fn merge(state: &ObjectState, event: Version) -> ObjectState {
    let all = || state.versions.iter().chain([&event]);
    // Of equals the one that was there first stays, so that an event which comes twice changes nothing.
    let newest = |kind: RecordKind| {
        all()
            .filter(|version| version.kind == kind)
            .reduce(|a, b| if b.timestamp > a.timestamp { b } else { a })
    };
    let tombstone = newest(RecordKind::Tombstone);
    let deleted_until = tombstone.map(|version| version.timestamp);
    let data = newest(RecordKind::Data).filter(|data| Some(data.timestamp) > deleted_until);
    let since = data.map(|data| data.timestamp).max(deleted_until);
    let metas = || {
        all().filter(|version| version.kind == RecordKind::Meta && Some(version.timestamp) > since)
    };
    let order = |version: &Version| (version.timestamp, version.content_type_timestamp);
    let meta = metas().reduce(|a, b| if order(b) > order(a) { b } else { a });
    let content_type = metas()
        .reduce(|a, b| {
            let key = |v: &Version| (v.content_type_timestamp, v.timestamp);
            if key(b) > key(a) { b } else { a }
        })
        .filter(|newest| {
            meta.is_some_and(|meta| newest.content_type_timestamp > meta.content_type_timestamp)
        });
    let tombstone = if data.is_some() { None } else { tombstone };
    let kept = [data, meta, content_type, tombstone];
    ObjectState { versions: kept.into_iter().flatten().copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: RecordKind, raw: u64, content_type: Option<u64>) -> Version {
        Version {
            kind,
            timestamp: Timestamp::from_raw(raw),
            content_type_timestamp: content_type.map(Timestamp::from_raw),
            delete_at: 0,
            data_len: raw,
            location: Location { segment: 0, offset: 64, len: 100, lsn: raw },
        }
    }

    fn any_event() -> impl Strategy<Value = Version> {
        // A POST that sets a content type sets it at its own moment.
        (0..4u8, 1..12u64).prop_map(|(kind, raw)| match kind {
            0 => event(RecordKind::Data, raw, None),
            1 => event(RecordKind::Meta, raw, None),
            2 => event(RecordKind::Meta, raw, Some(raw)),
            _ => event(RecordKind::Tombstone, raw, None),
        })
    }

    fn merged(events: &[Version]) -> ObjectState {
        events.iter().fold(ObjectState::default(), |state, event| merge(&state, *event))
    }

    #[test]
    fn a_tombstone_wins_over_data_of_the_same_moment() {
        let (data, tombstone) =
            (event(RecordKind::Data, 5, None), event(RecordKind::Tombstone, 5, None));
        for events in [[data, tombstone], [tombstone, data]] {
            let state = merged(&events);
            assert!(state.data().is_none() && state.tombstone().is_some());
        }
    }

    #[test]
    fn the_newer_content_type_survives_a_newer_post_without_one() {
        let state = merged(&[
            event(RecordKind::Data, 1, None),
            event(RecordKind::Meta, 3, Some(3)),
            event(RecordKind::Meta, 4, None),
        ]);
        assert_eq!(state.meta().map(|v| v.timestamp.raw), Some(4));
        assert_eq!(state.content_type().map(|v| v.timestamp.raw), Some(3));
        assert_eq!(state.timestamp().map(|ts| ts.raw), Some(4));
        let state = merge(&state, event(RecordKind::Data, 9, None));
        assert!(state.meta().is_none() && state.content_type().is_none());
    }

    #[test]
    fn metadata_without_data_waits_for_it() {
        let state = merged(&[event(RecordKind::Meta, 4, None)]);
        assert!(state.data().is_none() && state.meta().is_none());
        let state = merge(&state, event(RecordKind::Data, 2, None));
        assert_eq!(state.meta().map(|v| v.timestamp.raw), Some(4));
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter(
            events in proptest::collection::vec(any_event(), 1..8),
            shuffle in proptest::collection::vec(any::<prop::sample::Index>(), 8),
        ) {
            let once = merged(&events);
            let mut other = events.clone();
            for (at, index) in shuffle.iter().enumerate().take(other.len()) {
                let to = index.index(other.len());
                other.swap(at, to);
            }
            other.extend(events.iter());
            prop_assert_eq!(merged(&other), once);
        }

        #[test]
        fn states_round_trip(events in proptest::collection::vec(any_event(), 0..8)) {
            let state = merged(&events);
            prop_assert_eq!(ObjectState::decode(&state.encode()), Ok(state));
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = ObjectState::decode(&bytes);
        }
    }
}

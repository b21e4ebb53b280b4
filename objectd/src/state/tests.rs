use super::*;
use crate::format::content_type_at;
use proptest::prelude::*;

fn event(kind: RecordKind, raw: u64, content_type: Option<u64>) -> Version {
    Version {
        kind,
        timestamp: Timestamp::from_raw(raw),
        content_type_timestamp: content_type.map(Timestamp::from_raw),
        delete_at: 0,
        data_len: 0,
        fragment: None,
        bulk: Vec::new(),
        location: Location { lsn: raw, head_len: 104, len: 104, offset: 64, segment: 0 },
    }
}

fn data(raw: u64) -> Version {
    Version { data_len: raw, ..event(RecordKind::Data, raw, None) }
}

fn fragment(raw: u64, index: u8, durable: bool) -> Version {
    Version { fragment: Some(Fragment { index, durable }), ..data(raw) }
}

fn any_event(rule: Rule) -> impl Strategy<Value = Version> {
    let kinds = match rule {
        Rule::Replicated => 0..6u8,
        Rule::Erasure => 0..9u8,
    };
    (kinds, 1..12u64, 0..12u64, 1..1000u64, 0..3u64).prop_map(
        move |(kind, raw, typed, lsn, offset)| {
            let made = match (kind, rule) {
                (0 | 4, Rule::Replicated) => data(raw),
                (0 | 4, Rule::Erasure) => fragment(raw, typed as u8 % 3, false),
                (1, _) => event(RecordKind::Meta, raw, None),
                (2, _) => event(RecordKind::Meta, raw, Some(typed.clamp(1, raw))),
                (3, _) => event(RecordKind::Tombstone, raw, None),
                (5, _) => event(RecordKind::Purge, raw, None),
                (6, _) => event(RecordKind::Durable, raw, None),
                (7, _) => Version {
                    fragment: Some(Fragment { index: typed as u8 % 3, durable: false }),
                    ..event(RecordKind::Purge, raw, None)
                },
                _ => fragment(raw, typed as u8 % 3, true),
            };
            let timestamp = Timestamp { offset, ..made.timestamp };
            let typed = made.content_type_timestamp;
            Version {
                timestamp,
                content_type_timestamp: typed.and_then(|at| content_type_at(at.raw, timestamp)),
                location: Location { lsn, ..made.location },
                ..made
            }
        },
    )
}

fn merged(events: &[Version], rule: Rule) -> ObjectState {
    events.iter().fold(ObjectState::default(), |state, event| merge(&state, event.clone(), rule))
}

fn replicated(events: &[Version]) -> ObjectState {
    merged(events, Rule::Replicated)
}

/// LSNs of one device are never shared by two records of an object that say different things.
fn distinct_lsns(mut events: Vec<Version>) -> Vec<Version> {
    let mut seen = std::collections::HashSet::new();
    events.retain(|event| seen.insert(event.location.lsn));
    events
}

#[test]
fn a_tombstone_wins_over_data_of_the_same_moment() {
    let (data, tombstone) = (data(5), event(RecordKind::Tombstone, 5, None));
    for events in [[data.clone(), tombstone.clone()], [tombstone, data]] {
        let state = replicated(&events);
        assert!(state.data().is_none() && state.tombstone().is_some());
    }
}

#[test]
fn the_newer_content_type_survives_a_newer_post_without_one() {
    let state = replicated(&[
        data(1),
        event(RecordKind::Meta, 3, Some(3)),
        event(RecordKind::Meta, 4, None),
    ]);
    assert_eq!(state.meta().map(|v| v.timestamp.raw), Some(4));
    assert_eq!(state.content_type().map(|v| v.timestamp.raw), Some(3));
    assert_eq!(state.timestamp().map(|ts| ts.raw), Some(4));
    let state = merge(&state, data(9), Rule::Replicated);
    assert!(state.meta().is_none() && state.content_type().is_none());
}

#[test]
fn a_content_type_that_was_posted_has_the_offset_of_the_post() {
    let posted = Timestamp { raw: 5, offset: 1 };
    let mut meta = event(RecordKind::Meta, posted.raw, Some(posted.raw));
    meta.timestamp = posted;
    meta.content_type_timestamp = Some(posted);
    let state = ObjectState::decode(&replicated(&[data(posted.raw), meta.clone()]).encode());
    assert_eq!(state.as_ref().ok().and_then(ObjectState::content_type), Some(&meta));
}

#[test]
fn metadata_without_data_waits_for_it() {
    let state = replicated(&[event(RecordKind::Meta, 4, None)]);
    assert!(state.data().is_none() && state.meta().is_none());
    let state = merge(&state, data(2), Rule::Replicated);
    assert_eq!(state.meta().map(|v| v.timestamp.raw), Some(4));
}

#[test]
fn a_copy_of_a_record_takes_its_place() {
    let original = data(5);
    let mut copy = original.clone();
    copy.location = Location { segment: 7, lsn: 900, ..original.location };
    for events in [[original.clone(), copy.clone()], [copy.clone(), original]] {
        assert_eq!(replicated(&events).versions(), std::slice::from_ref(&copy));
    }
}

#[test]
fn a_purge_takes_what_was_there_and_not_what_comes_after() {
    let purge = |lsn| Version {
        location: Location { lsn, ..Location::default() },
        ..event(RecordKind::Purge, 9, None)
    };
    let state = replicated(&[data(5), purge(10)]);
    assert!(state.data().is_none() && state.tombstone().is_none());
    let again = Version { location: Location { lsn: 11, ..Location::default() }, ..data(5) };
    assert!(merge(&state, again, Rule::Replicated).data().is_some());
}

#[test]
fn fragments_count_when_they_are_durable() {
    let merge = |events: &[Version]| merged(events, Rule::Erasure);
    let state = merge(&[fragment(5, 1, false)]);
    assert!(state.data().is_none() && state.fragments().count() == 1);
    let marker = event(RecordKind::Durable, 5, None);
    for events in [[fragment(5, 1, false), marker.clone()], [marker, fragment(5, 1, false)]] {
        let state = merge(&events);
        assert_eq!(state.data().and_then(Version::index), Some(1));
        // The marker lives until a record of the fragment itself says so.
        assert_eq!(state.versions().len(), 2);
    }
    let state = merge(&[fragment(5, 1, true), fragment(8, 2, false)]);
    assert_eq!(state.data().map(|v| v.timestamp.raw), Some(5));
    assert_eq!(state.fragments().count(), 2);
    let state = merge(&[fragment(5, 1, true), fragment(8, 2, true)]);
    assert_eq!(state.fragments().count(), 1);
    let tombstone = event(RecordKind::Tombstone, 6, None);
    let state = merge(&[fragment(5, 1, true), fragment(8, 2, false), tombstone]);
    assert_eq!(state.tombstone().map(|v| v.timestamp.raw), Some(6));
    assert_eq!(state.fragments().count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn order_and_repetition_do_not_matter(
        erasure: bool,
        events in proptest::collection::vec(any_event(Rule::Erasure), 1..9),
        whole in proptest::collection::vec(any_event(Rule::Replicated), 1..9),
        shuffle in proptest::collection::vec(any::<prop::sample::Index>(), 9),
    ) {
        let (events, rule) =
            if erasure { (events, Rule::Erasure) } else { (whole, Rule::Replicated) };
        let events = distinct_lsns(events);
        let purges_first = |mut events: Vec<Version>| {
            events.sort_by_key(|event| event.kind != RecordKind::Purge);
            events
        };
        let once = merged(&purges_first(events.clone()), rule);
        let mut other = events.clone();
        for (at, index) in shuffle.iter().enumerate().take(other.len()) {
            let to = index.index(other.len());
            other.swap(at, to);
        }
        let other = purges_first(other);
        prop_assert_eq!(merged(&other, rule), once.clone());
        // What was dropped stays dropped, and what is known changes nothing.
        for event in once.versions() {
            prop_assert_eq!(merge(&once, event.clone(), rule), once.clone());
        }
    }

    #[test]
    fn states_round_trip(events in proptest::collection::vec(any_event(Rule::Erasure), 0..8)) {
        let state = merged(&events, Rule::Erasure);
        prop_assert_eq!(ObjectState::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = ObjectState::decode(&bytes);
    }
}

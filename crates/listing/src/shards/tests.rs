//! Merging, storing and choosing; the table on a real disk.

use super::*;
use crate::lifecycle::{Names, create};
use crate::record::Corrupt;
use crate::{Budget, Database, DatabaseOptions, Metadata, MetadataValue, ObjectRow};
use ShardState::{Active, Cleaved, Created, Found, Sharded, Sharding, Shrinking};
use proptest::prelude::*;
use std::path::Path;
use types::{Limits, ObjectHash, PolicyIndex};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn range(upper: &str, lower: &str, state: ShardState) -> ShardRange {
    ShardRange {
        name: format!(".shards_a/_{upper}"),
        extent: Extent { at: at(5), deleted: false, lower: lower.into(), upper: upper.into() },
        usage: Usage { at: at(6), objects: 7, bytes: 8, tombstones: None },
        stage: Stage { at: at(5), state, epoch: Some(at(4)) },
        reported: true,
    }
}

fn arbitrary() -> impl Strategy<Value = ShardRange> {
    let state = (0..ShardState::ALL.len()).prop_map(|n| ShardState::ALL[n].0);
    let extent = (0u64..3, any::<bool>(), "[ab]?", "[cd]?")
        .prop_map(|(s, deleted, lower, upper)| Extent { at: at(s), deleted, lower, upper });
    let usage = (0u64..3, 0u64..3, 0u64..3, proptest::option::of(0u64..3)).prop_map(
        |(s, objects, bytes, tombstones)| Usage { at: at(s), objects, bytes, tombstones },
    );
    let stage = (0u64..3, state, proptest::option::of((0u64..3).prop_map(at)))
        .prop_map(|(s, state, epoch)| Stage { at: at(s), state, epoch });
    (extent, usage, stage, any::<bool>()).prop_map(|(extent, usage, stage, reported)| ShardRange {
        name: "a/c".into(),
        extent,
        usage,
        stage,
        reported,
    })
}

fn merge_all<'a>(mut ranges: impl Iterator<Item = &'a ShardRange>) -> ShardRange {
    let first = ranges.next().expect("at least one").clone();
    ranges.fold(first, |held, range| range.merged(&held).unwrap_or(held))
}

proptest! {
    #[test]
    fn merging_is_idempotent_and_independent_of_order(
        (ranges, shuffled) in proptest::collection::vec(arbitrary(), 1..6)
            .prop_flat_map(|ranges| (Just(ranges.clone()), Just(ranges).prop_shuffle())),
    ) {
        let all_but_reported = |range: ShardRange| ShardRange { reported: false, ..range };
        let merged = all_but_reported(merge_all(ranges.iter()));
        prop_assert_eq!(&merged, &all_but_reported(merge_all(shuffled.iter())));
        let twice = merge_all(ranges.iter().chain(&ranges));
        prop_assert_eq!(&merged, &all_but_reported(twice));
        for one in &ranges {
            prop_assert_eq!(all_but_reported(one.clone()).merged(&merged), None);
        }
    }

    #[test]
    fn two_agree_in_all(one in arbitrary(), moment in 0u64..3, other in arbitrary()) {
        // Of one age, for between others `reported` depends on the order.
        let (mut one, mut other) = (one, other);
        (one.extent.at, other.extent.at) = (at(moment), at(moment));
        prop_assert_eq!(merge_all([&one, &other].into_iter()), merge_all([&other, &one].into_iter()));
        prop_assert_eq!(one.merged(&one), None);
    }

    #[test]
    fn stored_ranges_round_trip(range in arbitrary()) {
        prop_assert_eq!(ShardRange::decode("a/c", &range.encode()), Ok(range));
    }

    #[test]
    fn decoding_never_panics(mut bytes: Vec<u8>) {
        let _ = ShardRange::decode("a/c", &bytes);
        bytes.insert(0, 1);
        let _ = ShardRange::decode("a/c", &bytes);
    }

    #[test]
    fn the_order_turned_round_gives_the_same(
        bounds in proptest::collection::vec(("[a-e]?", "[c-h]?"), 0..6),
        one in "[a-h]?", other in "[a-h]?", tail: bool,
    ) {
        let all: Vec<_> = bounds.iter().map(|(lower, upper)| range(upper, lower, Active)).collect();
        let mut query = ShardQuery { marker: one.clone(), end_marker: other.clone(), ..ShardQuery::default() };
        if tail {
            query.restrict("listing").expect("a state");
        }
        let turned = ShardQuery { marker: other, end_marker: one, reverse: true, ..query.clone() };
        let mut backwards = turned.choose(all.clone(), "a/c", at(9));
        backwards.reverse();
        prop_assert_eq!(query.choose(all, "a/c", at(9)), backwards);
    }
}

#[test]
fn a_stored_range_of_version_1_is_read_for_ever() {
    let mut all = range("ü", "l", Sharding);
    all.extent.deleted = true;
    all.usage.tombstones = Some(300);
    all.stage.at = Timestamp { raw: 140_246_467_704_188, offset: 0 };
    let stored = all.encode();
    let golden = "013fc0843d016c02c3bc809f490708ac02f8d59bceb5e33f3c80ea30";
    assert_eq!(ShardRange::decode(&all.name, &stored), Ok(all));
    assert_eq!(types::hex_encode(&stored), golden);
    for end in 0..stored.len() {
        assert_eq!(ShardRange::decode("a/c", &stored[..end]), Err(Corrupt), "{end}");
    }
}

#[test]
fn the_younger_extent_wins_with_all_that_goes_with_it() {
    let old = range("u", "l", Active);
    let mut new = range("v", "m", Found);
    new.extent.at = at(9);
    assert_eq!(new.merged(&old), Some(ShardRange { reported: false, ..new.clone() }));
    assert_eq!(old.merged(&new), None);
}

#[test]
fn usage_and_stage_are_taken_where_they_are_younger() {
    let held = range("u", "l", Cleaved);
    let mut counted = held.clone();
    counted.usage = Usage { at: at(7), objects: 1, bytes: 1, tombstones: Some(1) };
    counted.stage = Stage { at: at(4), state: Sharded, epoch: None };
    let merged = counted.merged(&held).expect("something new");
    assert_eq!((merged.usage, merged.stage), (counted.usage, held.stage));
    assert!(!merged.reported, "nobody reported the two together");
    let mut advanced = held.clone();
    advanced.stage = Stage { state: Active, epoch: None, ..held.stage };
    let merged = advanced.merged(&held).expect("something new");
    assert_eq!((merged.usage, merged.stage), (held.usage, advanced.stage));
    assert_eq!(held.merged(&advanced), None, "within one moment states only advance");
}

#[test]
fn a_report_counts_for_what_was_reported() {
    let reported = range("u", "l", Active);
    let silent = ShardRange { reported: false, ..reported.clone() };
    assert_eq!(reported.merged(&silent), Some(reported.clone()));
    assert_eq!(silent.merged(&reported), None);
    let mut again = silent.clone();
    again.usage.at = at(8);
    assert!(again.merged(&reported).expect("a later count").reported, "it says the same");
    again.usage.objects += 1;
    assert!(!again.merged(&reported).expect("another count").reported);
}

/// Every state has a name and a number, which mean it.
#[test]
fn states_have_names_and_numbers() {
    for (state, name) in ShardState::ALL {
        assert_eq!(ShardState::parse(&name.to_uppercase()), Some(state));
        assert_eq!(ShardState::parse(&state.number().to_string()), Some(state));
    }
    for bad in ["", "listing", "11", "-10", "10.5"] {
        assert_eq!(ShardState::parse(bad), None, "{bad}");
    }
}

/// What a query finds among five ranges that cover all names, each by its upper bound; the tail by its lower one.
fn found(query: &ShardQuery) -> String {
    let bounds = [
        ("", "apple", Shrinking),
        ("apple", "ham", Cleaved),
        ("ham", "salami", Active),
        ("salami", "yoghurt", Created),
        ("yoghurt", "", Found),
    ];
    let mut all: Vec<_> =
        bounds.into_iter().map(|(lower, upper, state)| range(upper, lower, state)).collect();
    let mut gone = range("ham", "apple", Active);
    gone.name = ".shards_a/gone".into();
    gone.extent.deleted = true;
    all.insert(0, gone);
    let show = |found: ShardRange| match found.name.as_str() {
        "a/c" => format!("{}..{}", found.extent.lower, found.extent.upper),
        ".shards_a/gone" => "gone".into(),
        _ => found.extent.upper,
    };
    query.choose(all, "a/c", at(9)).into_iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn ranges_are_chosen_as_swift_chooses_them() {
    for (states, marker, end_marker, expected) in [
        ("", "", "", "apple ham salami yoghurt "),
        ("", "cheese", "", "ham salami yoghurt "),
        ("", "ham", "", "salami yoghurt "),
        ("", "walnut", "", "yoghurt "),
        ("", "", "cheese", "apple ham"),
        ("", "", "ham", "apple ham"),
        ("", "", "pickle", "apple ham salami"),
        ("", "egg", "jam", "ham salami"),
        ("", "egg", "cheese", ""),
        ("created", "", "", "yoghurt"),
        ("20", "", "", "yoghurt"),
        ("active , CLEAVED", "", "pickle", "ham salami"),
        ("listing", "", "pickle", "apple ham salami"),
        ("listing", "", "", "apple ham salami salami.."),
        ("listing", "pickle", "", "salami salami.."),
        ("listing", "treacle", "", "treacle.."),
        ("listing", "treacle", "walnut", "treacle..walnut"),
        ("updating", "", "treacle", "ham salami yoghurt"),
        ("updating", "", "", "ham salami yoghurt yoghurt.."),
        ("found,updating", "", "", "ham salami yoghurt "),
    ] {
        let mut query = ShardQuery {
            marker: marker.into(),
            end_marker: end_marker.into(),
            ..ShardQuery::default()
        };
        query.restrict(states).expect("states");
        assert_eq!(found(&query), expected, "{query:?}");
    }
    let with_deleted = ShardQuery { deleted: true, ..ShardQuery::default() };
    assert_eq!(found(&with_deleted), "apple ham gone salami yoghurt ");
    for (name, expected) in [("cheese", "ham"), ("ham", "ham"), ("pickle", "salami"), ("z", "")] {
        for reverse in [false, true] {
            let query = ShardQuery { includes: name.into(), reverse, ..ShardQuery::default() };
            assert_eq!(found(&query), expected);
        }
    }
    assert_eq!(found(&ShardQuery::to_update("apple")), "", "what shrinks takes no rows");
    assert_eq!(found(&ShardQuery::to_update("cheese")), "ham");
    let error = ShardQuery::default().restrict("active,done").expect_err("no state");
    assert_eq!(error.to_string(), "Bad state: done");
}

#[test]
fn a_container_s_own_range_is_told_to_auditors_and_bounds_the_tail() {
    let mut own = range("pear", "", Sharding);
    own.name = "a/c".into();
    let all = vec![own.clone(), range("fig", "", Active)];
    let choose = |states: &str| {
        let mut query = ShardQuery::default();
        query.restrict(states).expect("states");
        query.choose(all.clone(), "a/c", at(9))
    };
    assert_eq!(choose(""), [range("fig", "", Active)]);
    assert_eq!(choose("auditing"), [range("fig", "", Active), own.clone()]);
    own.extent.lower = "fig".into();
    assert_eq!(choose("listing"), [range("fig", "", Active), own]);
}

const HASH: ObjectHash = ObjectHash([7; 16]);

fn open(device: &Path) -> Database<ObjectRow> {
    let options = DatabaseOptions { reserve_percent: 0, ..DatabaseOptions::default() };
    Database::open(device, &Budget::new(8 << 20, 8 << 20), &options).expect("opens")
}

fn container() -> Names {
    Names { account: "a".into(), container: "c".into() }
}

fn request(ranges: Vec<ShardRange>) -> PutShards {
    let create = Some(create(&container(), at(1), at(1), PolicyIndex(0)));
    PutShards { ranges, metadata: Metadata::default(), create }
}

async fn put(database: &Database<ObjectRow>, request: PutShards) -> PutShardsOutcome {
    let put = database
        .write(move |transaction| transaction.put_shards(&HASH, &request, &Limits::default()));
    put.await.expect("written")
}

async fn all(database: &Database<ObjectRow>) -> Vec<ShardRange> {
    database.read(|view| view.shard_ranges(&HASH)).await.expect("read")
}

#[tokio::test]
async fn the_table_is_there_after_a_restart_and_of_one_container_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = open(dir.path());
    let (first, second) = (range("m", "", Active), range("", "m", Active));
    let mut gone = first.clone();
    gone.extent = Extent { at: at(8), deleted: true, ..first.extent.clone() };
    // The same name twice, and again in the same batch.
    let (one, two) =
        (request(vec![first.clone(), gone.clone()]), request(vec![second.clone(), first]));
    let both = database.write(move |transaction| {
        let neighbour = ObjectHash([8; 16]);
        transaction.put_shards(
            &neighbour,
            &request(vec![range("x", "", Found)]),
            &Limits::default(),
        )?;
        transaction.put_shards(&HASH, &one, &Limits::default())?;
        transaction.put_shards(&HASH, &two, &Limits::default())
    });
    assert!(matches!(both.await, Ok(PutShardsOutcome::Stored { created: false, .. })));
    let expected = vec![second, ShardRange { reported: false, ..gone }];
    assert_eq!(all(&database).await, expected);
    database.close().await;
    assert_eq!(all(&open(dir.path())).await, expected);
}

#[tokio::test]
async fn ranges_are_taken_all_or_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = open(dir.path());
    let missing = PutShards { create: None, ..request(vec![range("m", "", Active)]) };
    assert_eq!(put(&database, missing).await, PutShardsOutcome::NotFound);
    let too_large = MetadataValue { value: "x".repeat(10_000), at: at(2) };
    let metadata = Metadata([("X-Container-Meta-A".to_owned(), too_large)].into());
    let refused = PutShards { metadata, ..request(vec![range("m", "", Active)]) };
    assert!(matches!(put(&database, refused).await, PutShardsOutcome::Metadata(_)));
    let numbered = |from: usize, to: usize| {
        let ranges = (from..to).map(|n| range(&format!("{n:05}"), "", Active));
        request(ranges.collect())
    };
    assert_eq!(put(&database, numbered(0, RANGES_MAX + 1)).await, PutShardsOutcome::TooMany);
    assert_eq!(all(&database).await, []);
    assert_eq!(database.entity(HASH).await, Ok(None));
    let most = put(&database, numbered(0, RANGES_MAX)).await;
    assert!(matches!(most, PutShardsOutcome::Stored { created: true, .. }));
    assert_eq!(put(&database, numbered(1, RANGES_MAX + 1)).await, PutShardsOutcome::TooMany);
    let again = put(&database, numbered(1, RANGES_MAX)).await;
    assert!(matches!(again, PutShardsOutcome::Stored { created: false, .. }), "those are known");
}

#[tokio::test]
async fn objects_in_shards_count_for_a_root_that_is_being_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = open(dir.path());
    let holds = async || {
        let asked = |transaction: &mut crate::Transaction<'_, ObjectRow>| {
            transaction.has_objects_in_shards(&HASH, &container())
        };
        database.write(asked).await.expect("read")
    };
    assert!(!holds().await, "there is no such container");
    put(&database, request(vec![range("m", "", Active)])).await;
    assert!(!holds().await, "it says nothing of itself");
    let mut own = ShardRange::whole("a/c", at(5));
    put(&database, request(vec![own.clone()])).await;
    assert!(!holds().await, "it is not being cut");
    own.stage.state = Sharding;
    put(&database, request(vec![own])).await;
    assert!(holds().await);
    let mut root = Metadata::default();
    for (value, seconds, expected) in [("a/other", 3, false), ("a/%63", 4, true), ("", 5, true)] {
        let value = MetadataValue { value: value.into(), at: at(seconds) };
        root.0.insert("X-Container-Sysmeta-Shard-Quoted-Root".into(), value.clone());
        put(&database, PutShards { metadata: root.clone(), ..request(vec![]) }).await;
        assert_eq!(holds().await, expected, "{value:?}");
    }
    let mut empty = range("m", "", Active);
    empty.usage = Usage { at: at(9), ..Usage::default() };
    put(&database, request(vec![empty])).await;
    assert!(!holds().await, "the shard is empty");
}

#[tokio::test]
async fn what_the_same_batch_has_put_counts_already() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = open(dir.path());
    let mut own = ShardRange::whole("a/c", at(5));
    own.stage.state = Sharding;
    let both = request(vec![own, range("m", "", Active)]);
    let holds = database.write(move |transaction| {
        transaction.put_shards(&HASH, &both, &Limits::default())?;
        transaction.has_objects_in_shards(&HASH, &container())
    });
    assert_eq!(holds.await, Ok(true));
}

use super::*;
use crate::state::{Fragment, Location, merge};
use proptest::prelude::*;
use serde_json::Value;
use types::decode_row_timestamps;

/// What Swift's disk file managers say of random file sets at this moment, with a reclaim age of 1000 s; made by
/// `tests/suffix_hashes.py --golden`.
const GOLDEN: &str = include_str!("golden.json");
const NOW: u64 = 1_700_000_000;

fn version(kind: RecordKind, timestamp: Timestamp, lsn: u64) -> Version {
    Version {
        kind,
        timestamp,
        content_type_timestamp: None,
        delete_at: 0,
        data_len: 0,
        fragment: None,
        bulk: Vec::new(),
        location: Location { lsn, ..Location::default() },
    }
}

/// The version that Swift would keep as such a file.
fn parse(file: &str, lsn: u64) -> Version {
    let (stem, extension) = file.rsplit_once('.').expect("an extension");
    let moment = |text: &str| Timestamp::parse(text).expect("a timestamp");
    match extension {
        "ts" => version(RecordKind::Tombstone, moment(stem), lsn),
        "durable" => version(RecordKind::Durable, moment(stem), lsn),
        "meta" => {
            let row = decode_row_timestamps(stem).expect("timestamps");
            let typed =
                stem.contains(['+', '-']).then(|| Timestamp::from_raw(row.content_type.raw));
            let meta = version(RecordKind::Meta, row.data, lsn);
            Version { content_type_timestamp: typed, ..meta }
        }
        _ => {
            let mut parts = stem.split('#');
            let at = moment(parts.next().expect("a timestamp"));
            let index = parts.next().map(|index| index.parse().expect("a fragment index"));
            let durable = parts.next() == Some("d");
            let fragment = index.map(|index| Fragment { index, durable });
            Version { fragment, ..version(RecordKind::Data, at, lsn) }
        }
    }
}

fn digests(rule: Rule, sets: &serde_json::Map<String, Value>, backwards: bool) -> SuffixHashes {
    let mut digests = SuffixDigests::new(rule, Timestamp::from_seconds(NOW - 1000));
    let mut objects = BTreeMap::new();
    for (hash, files) in sets {
        // They stand under one suffix whatever their hashes are.
        let mut hash: ObjectHash = hash.parse().expect("a hash");
        hash.0[14..].copy_from_slice(&[0x0a, 0xbc]);
        let files =
            files.as_array().expect("a list").iter().map(|file| file.as_str().expect("text"));
        let mut files: Vec<&str> = files.collect();
        if backwards {
            files.reverse();
        }
        let versions = files.iter().zip(1..).map(|(file, lsn)| parse(file, lsn));
        let state = versions.fold(ObjectState::default(), |state, v| merge(&state, v, rule));
        objects.insert(hash, state);
    }
    objects.iter().for_each(|(hash, state)| digests.add(hash, state));
    digests.finish()
}

fn expected(hash: &Value) -> SuffixHashes {
    let digest = |hex: &Value| -> [u8; 16] {
        let bytes = types::hex_decode(hex.as_str().expect("text")).expect("hexadecimal");
        bytes.try_into().expect("16 bytes")
    };
    let hash = match hash {
        Value::Null => return SuffixHashes::default(),
        Value::Object(indexed) => SuffixHash::Fragments(
            indexed.iter().map(|(k, v)| (k.parse().ok(), digest(v))).collect(),
        ),
        whole => SuffixHash::Whole(digest(whole)),
    };
    SuffixHashes(BTreeMap::from([(0xabc, hash)]))
}

#[test]
fn as_swift_does() {
    let cases: Vec<Value> = serde_json::from_str(GOLDEN).expect("JSON");
    assert!(cases.len() > 200);
    for (number, case) in cases.iter().enumerate() {
        let rule = match case["policy"].as_str() {
            Some("erasure") => Rule::Erasure,
            _ => Rule::Replicated,
        };
        let sets = case["files"].as_object().expect("file sets");
        for backwards in [false, true] {
            let found = digests(rule, sets, backwards);
            assert_eq!(found, expected(&case["hash"]), "{number}: {case}");
        }
    }
}

proptest! {
    /// What Swift removes for its age may still be here or not.
    #[test]
    fn old_tombstones_do_not_count(raw in 1u64..1_000_000, hash: [u8; 16]) {
        let (hash, at) = (ObjectHash(hash), Timestamp::from_raw(raw));
        let state = ObjectState::of_one(version(RecordKind::Tombstone, at, 1));
        let found = |before| {
            let mut digests = SuffixDigests::new(Rule::Replicated, Timestamp::from_raw(before));
            digests.add(&hash, &state);
            digests.finish()
        };
        prop_assert_eq!(found(raw + 1), SuffixHashes::default());
        prop_assert_eq!(found(raw).0.len(), 1);
    }
}

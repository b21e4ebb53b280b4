use super::*;
use crate::cursor::tests::MemoryCursor;
use crate::object_row::ObjectRow;
use proptest::prelude::*;
use std::collections::BTreeMap;
use types::Timestamp;

type Names = BTreeMap<Vec<u8>, Vec<u8>>;

fn names<'a>(names: impl IntoIterator<Item = &'a String>) -> Names {
    let at = Timestamp::from_seconds(1);
    let row = ObjectRow {
        data: at,
        content_type_at: at,
        meta: at,
        size: 0,
        content_type: String::new(),
        swift_bytes: None,
        etag: String::new(),
        deleted: false,
        delete_at: 0,
    };
    let stored = Stored { sequence: 1, row }.encode();
    names.into_iter().map(|name| (name.clone().into_bytes(), stored.clone())).collect()
}

/// Rows as `=name`, subdirs as `>name/`; and how often the cursor moved.
fn listed(names: &Names, query: &PageQuery) -> (Vec<String>, usize) {
    let mut cursor = MemoryCursor::new(names);
    let mut lines = Vec::new();
    let show = |item: Item<'_, ObjectRow>| match item {
        Item::Subdir(name) => lines.push(format!(">{name}")),
        Item::Row(name, _) => lines.push(format!("={name}")),
    };
    each(&mut cursor, query, show).expect("reads");
    (lines, cursor.moves)
}

/// What Swift's brokers list, by filtering and folding every single name.
fn model(names: &Names, query: &PageQuery) -> Vec<String> {
    let (after, before) = match query.reverse {
        false => (&query.marker, &query.end_marker),
        true => (&query.end_marker, &query.marker),
    };
    let (prefix, delimiter) = match query.path.as_deref() {
        None => (query.prefix.clone(), query.delimiter.clone()),
        Some("") => (String::new(), "/".to_owned()),
        Some(path) => (format!("{}/", path.trim_end_matches('/')), "/".to_owned()),
    };
    let mut found: Vec<String> = Vec::new();
    for name in names.keys().map(|name| std::str::from_utf8(name).expect("UTF-8")) {
        let within = name.starts_with(&prefix)
            && (query.reserved || !name.starts_with('\0'))
            && (after.is_empty() || name > after.as_str())
            && (before.is_empty() || name < before.as_str());
        if !within || query.path.is_some() && name == prefix {
            continue;
        }
        let folded = (!delimiter.is_empty())
            .then(|| name[prefix.len()..].find(&delimiter))
            .flatten()
            .map(|at| &name[..prefix.len() + at + delimiter.len()]);
        match folded {
            None => found.push(format!("={name}")),
            Some(subdir) if query.path.is_some() => {
                if subdir == name {
                    found.push(format!("={name}"));
                }
            }
            Some(subdir) if subdir == after => {}
            Some(subdir) => found.push(format!(">{subdir}")),
        }
    }
    found.dedup();
    if query.reverse {
        found.reverse();
    }
    found.truncate(query.limit as usize);
    found
}

fn name() -> impl Strategy<Value = String> {
    "\0?[ab/\\-0ü]{1,6}"
}

fn maybe(name: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), name]
}

fn query() -> impl Strategy<Value = PageQuery> {
    let markers = (maybe(name()), maybe(name()));
    let folds = (maybe("\0?[ab/]{1,2}".boxed()), maybe("(/|-|//|a/|ü)".boxed()));
    let path = prop_oneof![3 => Just(None), 1 => "[ab/]{0,3}".prop_map(Some)];
    (0u32..8, markers, folds, path, any::<(bool, bool)>()).prop_map(
        |(limit, (marker, end_marker), (prefix, delimiter), path, (reverse, reserved))| PageQuery {
            limit,
            marker,
            end_marker,
            prefix,
            delimiter,
            path,
            reverse,
            now_seconds: 0,
            reserved,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pages_are_what_filtering_and_folding_gives(
        all in proptest::collection::vec(name(), 0..24), query in query(),
    ) {
        let names = names(&all);
        prop_assert_eq!(listed(&names, &query).0, model(&names, &query));
    }

    #[test]
    fn pages_joined_are_the_whole(
        all in proptest::collection::vec(name(), 0..24), query in query(), limit in 1u32..4,
    ) {
        let names = names(&all);
        // Subdirs that a marker cuts would be listed again, in Swift too.
        let whole = PageQuery { limit: 1000, marker: String::new(), path: None, ..query };
        let (expected, _) = listed(&names, &whole);
        let mut joined = Vec::new();
        let mut next = PageQuery { limit, ..whole };
        loop {
            let (items, _) = listed(&names, &next);
            let Some(last) = items.last() else { break };
            next.marker = last[1..].to_owned();
            joined.extend(items);
        }
        prop_assert_eq!(joined, expected);
    }

    #[test]
    fn a_page_costs_by_what_it_shows(
        all in proptest::collection::vec("[ab]/[a-z]{1,3}", 0..300), limit in 0u32..4, reverse: bool,
    ) {
        let query = PageQuery { limit, delimiter: "/".into(), reverse, ..PageQuery::default() };
        let (items, moves) = listed(&names(&all), &query);
        prop_assert!(moves <= (items.len() + 1) * (STEPS_BEFORE_LEAP + 2), "{moves}");
    }
}

#[derive(serde::Deserialize)]
struct GoldenSet {
    names: Vec<String>,
    cases: Vec<GoldenCase>,
}

#[derive(serde::Deserialize)]
#[serde(default)]
#[derive(Default)]
struct GoldenCase {
    limit: u32,
    marker: String,
    end_marker: String,
    prefix: String,
    delimiter: String,
    path: Option<String>,
    reverse: bool,
    items: Vec<String>,
}

/// Recorded from ContainerBroker and AccountBroker of Swift 2.38.3; `path` only forwards and without names
/// that hold a `0`, where Swift slips.
#[test]
fn pages_are_what_swift_lists() {
    let sets: Vec<GoldenSet> =
        serde_json::from_str(include_str!("page_golden.json")).expect("the recording");
    assert!(sets.iter().map(|set| set.cases.len()).sum::<usize>() > 500);
    for GoldenSet { names: all, cases } in sets {
        let names = names(&all);
        for case in cases {
            let query = PageQuery {
                limit: case.limit,
                marker: case.marker,
                end_marker: case.end_marker,
                prefix: case.prefix,
                delimiter: case.delimiter,
                path: case.path,
                reverse: case.reverse,
                now_seconds: 0,
                reserved: false,
            };
            assert_eq!(listed(&names, &query).0, case.items, "{query:?} of {all:?}");
            assert_eq!(model(&names, &query), case.items, "the model: {query:?} of {all:?}");
        }
    }
}

#[test]
fn a_name_that_is_no_row_is_corrupt() {
    let names: Names = [(b"a".to_vec(), vec![9])].into();
    let query = PageQuery { limit: 1, ..PageQuery::default() };
    let result = each::<ObjectRow>(&mut MemoryCursor::new(&names), &query, |_| {});
    assert!(matches!(result, Err(StoreError::Corrupt(_))));
}

#[test]
fn what_has_expired_is_not_listed() {
    let mut names = names(&["a".to_owned(), "c".to_owned()]);
    let mut row: ObjectRow = Stored::decode(&names[b"a".as_slice()]).expect("a row").row;
    row.delete_at = 50;
    names.insert(b"b".to_vec(), Stored { sequence: 2, row }.encode());
    let at = |now_seconds, limit| {
        listed(&names, &PageQuery { limit, now_seconds, ..PageQuery::default() }).0
    };
    assert_eq!(at(49, 2), ["=a", "=b"]);
    assert_eq!(at(50, 2), ["=a", "=c"]);
    assert_eq!(at(0, 9), ["=a", "=b", "=c"]);
}

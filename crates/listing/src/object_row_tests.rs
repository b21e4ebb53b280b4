use super::*;
use crate::row::Stored;
use proptest::prelude::*;

/// Contents follow from timestamps, as they do when one moment carries one write.
fn row(data: u64, content_type: u64, meta: u64) -> ObjectRow {
    let of = |n: u64| Timestamp { raw: 100 + n / 2, offset: n % 2 };
    ObjectRow {
        data: of(data),
        content_type_at: of(content_type),
        meta: of(meta),
        size: if data.is_multiple_of(3) { 0 } else { data },
        content_type: format!("type/{content_type}"),
        swift_bytes: data.is_multiple_of(2).then(|| data.to_string()),
        etag: if data.is_multiple_of(5) { "UPPER".into() } else { format!("{data:032x}") },
        deleted: data.is_multiple_of(3),
        delete_at: meta.saturating_sub(2),
    }
}

fn arbitrary() -> impl Strategy<Value = ObjectRow> {
    (0u64..6, 0u64..6, 0u64..6).prop_map(|(a, b, c)| row(a, b, c))
}

fn merge_all<'a>(mut rows: impl Iterator<Item = &'a ObjectRow>) -> ObjectRow {
    let first = rows.next().expect("at least one").clone();
    rows.fold(first, |held, row| row.merged(&held).unwrap_or(held))
}

proptest! {
    #[test]
    fn merging_is_commutative_idempotent_and_independent_of_order(
        rows in proptest::collection::vec(arbitrary(), 1..6),
    ) {
        let merged = merge_all(rows.iter());
        prop_assert_eq!(&merged, &merge_all(rows.iter().rev()));
        for row in &rows {
            prop_assert_eq!(row.merged(&merged), None);
        }
        prop_assert_eq!(&merge_all(rows.iter().chain(rows.iter())), &merged);
    }

    #[test]
    fn stored_rows_round_trip(row in arbitrary(), sequence: u64) {
        let stored = Stored { sequence, row };
        prop_assert_eq!(Stored::decode(&stored.encode()), Ok(stored));
    }

    #[test]
    fn decoding_never_panics(mut bytes: Vec<u8>) {
        let _ = Stored::<ObjectRow>::decode(&bytes);
        bytes.insert(0, 1);
        let _ = Stored::<ObjectRow>::decode(&bytes);
    }
}

#[test]
fn a_stored_row_of_version_1_is_read_for_ever() {
    let row = ObjectRow {
        data: Timestamp { raw: 140_246_467_704_188, offset: 2 },
        content_type_at: Timestamp::from_raw(140_246_467_800_000),
        meta: Timestamp::from_raw(140_246_467_900_000),
        size: 1234,
        content_type: "text/plain".into(),
        swift_bytes: Some("5678".into()),
        etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
        deleted: false,
        delete_at: 0,
    };
    let golden = "01071ef9d59bceb5e33f0280afa7ceb5e33fc0c9b3ceb5e33fd209\
                  d41d8cd98f00b204e9800998ecf8427e0a746578742f706c61696e0435363738";
    let stored = Stored { sequence: 7, row };
    assert_eq!(types::hex_encode(&stored.encode()), golden);
}

#[test]
fn content_type_and_its_size_follow_different_moments() {
    let mut held = row(2, 2, 2);
    held.content_type = "old/type".into();
    let mut newer_type = row(1, 4, 4);
    newer_type.content_type = "new/type".into();
    newer_type.swift_bytes = Some("99".into());
    let merged = newer_type.merged(&held).expect("newer");
    assert_eq!(
        (merged.content_type.as_str(), merged.swift_bytes.as_deref()),
        ("new/type", Some("2"))
    );
    assert_eq!((merged.data, merged.meta), (held.data, newer_type.meta));
}

#[test]
fn an_expiry_goes_with_the_metadata() {
    let held = ObjectRow { delete_at: 70, ..row(2, 2, 4) };
    let overwritten = ObjectRow { delete_at: 0, ..row(4, 4, 6) };
    assert_eq!(overwritten.merged(&held).expect("newer").delete_at, 0);
    let late = ObjectRow { delete_at: 50, ..row(4, 4, 2) };
    assert_eq!(late.merged(&held).expect("newer data").delete_at, 70);
    assert!(held.has_expired(70) && !held.has_expired(69) && !overwritten.has_expired(u64::MAX));
}

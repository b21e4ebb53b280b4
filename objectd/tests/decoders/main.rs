//! Decoders of what lies on a disk, fed with what does not belong there.

mod script;

use objectd::format::{Extent, Metadata, RecordKind, RecordParts};
use proptest::prelude::*;
use types::{HashPaths, Timestamp};

fn good_record(inline: usize, extents: usize) -> Vec<u8> {
    let mut metadata = Metadata::default();
    metadata.set("name", b"/a/c/o");
    let extents: Vec<Extent> =
        (0..extents as u32).map(|segment| Extent { segment, block: 1, blocks: 16 }).collect();
    let data_len = if extents.is_empty() { inline } else { extents.len() * 65_536 };
    let inline = if extents.is_empty() { vec![7; inline] } else { Vec::new() };
    RecordParts {
        kind: RecordKind::Data,
        hash: HashPaths::default().object("a", "c", "o"),
        timestamp: Timestamp { raw: 5, offset: 1 },
        content_type_timestamp: None,
        data_len: data_len as u64,
        delete_at: 0,
        fragment: None,
        metadata: &metadata,
        update: b"update",
        extents: &extents,
        chunk_crcs: &vec![1; data_len.div_ceil(65_536)],
        inline: &inline,
    }
    .encode()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn nothing_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        script::run(&bytes);
    }

    #[test]
    fn nothing_panics_on_records_that_are_almost_right(
        inline in 0usize..200,
        extents in 0usize..3,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = good_record(inline, extents);
        script::run(&bytes);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        script::run(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        script::run(&bytes);
    }
}

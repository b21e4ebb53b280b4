//! Range headers (Swift: common/swob.py, `Range`).

use std::ops::Range;

const RANGES_MAX: usize = 50;
const OVERLAPS_MAX: usize = 2;
const UNORDERED_MAX: usize = 8;

/// What a Range header asks of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No range, or a header that is none and is therefore ignored.
    Whole,
    /// These parts, at least one.
    Parts(Vec<Range<u64>>),
    /// None of it can be given, or so many that it is an attack.
    Unsatisfiable,
}

/// Reads a Range header for an object of a length.
pub(super) fn wanted(value: &str, len: u64) -> Wanted {
    let Some(specs) = parse(value) else { return Wanted::Whole };
    let mut parts = Vec::new();
    let mut suffix_of_nothing = false;
    for spec in specs {
        match spec {
            (None, Some(0)) => {}
            (None, Some(last)) if len > 0 => parts.push(len - last.min(len)..len),
            (None, _) => suffix_of_nothing = true,
            (Some(from), until) if from < len => {
                let end = until.map_or(len, |until| until.saturating_add(1).min(len));
                parts.push(from..end);
            }
            _ => {}
        }
    }
    if parts.is_empty() && suffix_of_nothing {
        // The last bytes of nothing are nothing, which has no Content-Range: all of it, with 200.
        return Wanted::Whole;
    }
    if parts.is_empty() || egregious(&parts) { Wanted::Unsatisfiable } else { Wanted::Parts(parts) }
}

type Spec = (Option<u64>, Option<u64>);

fn parse(value: &str) -> Option<Vec<Spec>> {
    let value = value.replace(' ', "").to_ascii_lowercase();
    let specs = value.strip_prefix("bytes=")?;
    let number = |text: &str| -> Option<Option<u64>> {
        match text {
            "" => Some(None),
            text if text.bytes().all(|b| b.is_ascii_digit()) => {
                // More digits than fit are simply beyond every object.
                Some(Some(text.parse().unwrap_or(u64::MAX)))
            }
            _ => None,
        }
    };
    specs
        .split(',')
        .map(|spec| {
            let (from, until) = spec.split_once('-')?;
            match (number(from)?, number(until)?) {
                (None, None) => None,
                (Some(from), Some(until)) if until < from => None,
                spec => Some(spec),
            }
        })
        .collect()
}

/// RFC 7233 section 6.1: many small, overlapping or disordered ranges cost more than they are worth.
fn egregious(parts: &[Range<u64>]) -> bool {
    if parts.len() > RANGES_MAX {
        return true;
    }
    let overlap = |a: &Range<u64>, b: &Range<u64>| {
        a.start < b.start && b.start < a.end
            || a.start < b.end && b.end < a.end
            || b.start < a.start && a.start < b.end
            || b.start < a.end && a.end < b.end
    };
    let pairs =
        parts.iter().enumerate().flat_map(|(i, a)| parts[i + 1..].iter().map(move |b| (a, b)));
    let overlaps = pairs.filter(|(a, b)| overlap(a, b)).count();
    let ascending = parts.is_sorted_by_key(|part| part.start);
    overlaps > OVERLAPS_MAX || !ascending && parts.len() >= UNORDERED_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are what is meant")]
    fn reads_what_swift_reads() {
        let parts = |value: &str, len| match wanted(value, len) {
            Wanted::Parts(parts) => parts,
            other => panic!("{value}: {other:?}"),
        };
        assert_eq!(parts("bytes=0-4", 10), [0..5]);
        assert_eq!(parts("Bytes= 5-", 10), [5..10]);
        assert_eq!(parts("bytes=-3", 10), [7..10]);
        assert_eq!(parts("bytes=-30", 10), [0..10]);
        assert_eq!(parts("bytes=0-99,3-4", 10), [0..10, 3..5]);
        assert_eq!(parts("bytes=20-,3-99999999999999999999999", 10), [3..10]);
        for ignored in
            ["", "bytes", "items=0-1", "bytes=5-3", "bytes=-", "bytes=4", "bytes=a-b", "bytes=--1"]
        {
            assert_eq!(wanted(ignored, 10), Wanted::Whole, "{ignored}");
        }
        for beyond in ["bytes=10-", "bytes=-0", "bytes=20-30"] {
            assert_eq!(wanted(beyond, 10), Wanted::Unsatisfiable, "{beyond}");
        }
        assert_eq!(wanted("bytes=-5", 0), Wanted::Whole);
        assert_eq!(wanted("bytes=0-5", 0), Wanted::Unsatisfiable);
        assert_eq!(wanted("bytes=0-5,1-6,2-7", 10), Wanted::Unsatisfiable);
        let unordered: Vec<_> = (0..8).rev().map(|i| format!("{0}-{0}", i * 2)).collect();
        assert_eq!(wanted(&format!("bytes={}", unordered.join(",")), 99), Wanted::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn parts_lie_within_the_object(value in "(bytes=)?[0-9,\\- ]{0,40}", len in 0u64..100) {
            if let Wanted::Parts(parts) = wanted(&value, len) {
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= len));
            }
        }
    }
}

//! Range headers, and the frame around the parts of an answer to several ranges (Swift: common/swob.py, `Range`,
//! `multi_range_iterator`). Storage nodes give ranges of what they store, the proxy of what it puts together.

use bytes::Bytes;
use std::ops::Range;

const RANGES_MAX: usize = 50;
const OVERLAPS_MAX: usize = 2;
const UNORDERED_MAX: usize = 8;

/// What a Range header asks of an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// No range, or a header that is none and is therefore ignored.
    Whole,
    /// These parts, at least one.
    Parts(Vec<Range<u64>>),
    /// None of it can be given, or so many that it is an attack.
    Unsatisfiable,
}

/// Reads a Range header for an object of a length.
pub fn wanted(value: &str, len: u64) -> Wanted {
    let Some(specs) = range_specs(value) else { return Wanted::Whole };
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

/// One range as it is written: `from-until`, `from-` or `-last`.
pub type RangeSpec = (Option<u64>, Option<u64>);

/// The ranges of a Range header, or `None` for what is none.
pub fn range_specs(value: &str) -> Option<Vec<RangeSpec>> {
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

/// The value of Content-Range for a part of something that is `len` long.
pub fn content_range(part: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start, part.end.saturating_sub(1))
}

/// What stands before and behind each part in a body of `multipart/byteranges`. The parts' bytes come from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Byteranges {
    /// Before each part.
    pub heads: Vec<Bytes>,
    /// Behind the last one.
    pub tail: Bytes,
    /// How long the whole body is.
    pub len: u64,
    /// The value of Content-Type.
    pub content_type: String,
}

impl Byteranges {
    /// Behind each part.
    pub const AFTER_PART: &'static [u8] = b"\r\n";

    /// For these parts of something of a type and a length. The boundary is to be random.
    pub fn new(parts: &[Range<u64>], len: u64, content_type: &str, boundary: u128) -> Self {
        let boundary = format!("{boundary:032x}");
        let head = |part| {
            let range = content_range(part, len);
            let kind = content_type;
            format!("--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {range}\r\n\r\n").into()
        };
        let heads: Vec<Bytes> = parts.iter().map(head).collect();
        let tail = Bytes::from(format!("--{boundary}--"));
        let around = heads.iter().map(|head| (head.len() + Self::AFTER_PART.len()) as u64);
        let bytes = parts.iter().map(|part| part.end.saturating_sub(part.start));
        let total = around.chain(bytes).fold(tail.len() as u64, u64::saturating_add);
        let content_type = format!("multipart/byteranges;boundary={boundary}");
        Byteranges { heads, tail, len: total, content_type }
    }
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

    #[test]
    fn frames_say_how_long_all_is() {
        let data = b"hello, world";
        let parts = [0..5, 7..12];
        let frame = Byteranges::new(&parts, 12, "text/plain", 7);
        let mut body = Vec::new();
        for (head, part) in frame.heads.iter().zip(parts) {
            body.extend_from_slice(head);
            body.extend_from_slice(&data[part.start as usize..part.end as usize]);
            body.extend_from_slice(Byteranges::AFTER_PART);
        }
        body.extend_from_slice(&frame.tail);
        assert_eq!(body.len() as u64, frame.len);
        let boundary = "00000000000000000000000000000007";
        assert_eq!(frame.content_type, format!("multipart/byteranges;boundary={boundary}"));
        let expected = format!(
            "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-4/12\r\n\r\nhello\r\n\
             --{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-11/12\r\n\r\nworld\r\n\
             --{boundary}--"
        );
        assert_eq!(String::from_utf8(body).expect("text"), expected);
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

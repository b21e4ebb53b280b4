//! Any bytes as Range and If-* headers: `make fuzz`.

#![no_main]

use http::HeaderValue;
use http::header::{self, HeaderMap};
use wire::conditions::{judge, range_allowed, wants_any};
use wire::ranges::{Byteranges, Wanted, wanted};

const NAMES: [header::HeaderName; 5] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((chooser, text)) = data.split_first() else { return };
    let len = u64::MAX >> (chooser % 64);
    let lossy = String::from_utf8_lossy(text);
    if let Wanted::Parts(parts) = wanted(&lossy, len) {
        assert!(parts.iter().all(|part| part.start < part.end && part.end <= len));
        let frame = Byteranges::new(&parts, len, "text/plain", 1);
        assert_eq!(frame.heads.len(), parts.len());
    }
    let Ok(value) = HeaderValue::from_bytes(text) else { return };
    let name = NAMES[usize::from(*chooser) % NAMES.len()].clone();
    let headers = HeaderMap::from_iter([(name, value)]);
    let _ = judge(&headers, "d41d8cd98f00b204e9800998ecf8427e", len);
    let _ = range_allowed(&headers, "d41d8cd98f00b204e9800998ecf8427e", len);
    let _ = wants_any(&headers);
});

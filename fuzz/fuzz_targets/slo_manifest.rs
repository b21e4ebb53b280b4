//! Any bytes as the manifest of a static large object: `cargo +nightly fuzz run slo_manifest`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::static_manifest(data));

//! Any bytes as the manifest of a static large object: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::static_manifest(data));

//! Any bytes as the query of a temporary URL: `cargo +nightly fuzz run temporary_url`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::temporary_url(data));

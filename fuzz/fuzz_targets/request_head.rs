//! Any bytes as the head of a request: `cargo +nightly fuzz run request_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::request_head(data));

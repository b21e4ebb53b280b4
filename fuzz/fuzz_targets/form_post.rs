//! Any bytes as a form that a browser sends: `cargo +nightly fuzz run form_post`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::form(data));

//! Any bytes as the head of a request: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::request_head(data));

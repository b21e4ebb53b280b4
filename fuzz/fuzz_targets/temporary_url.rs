//! Any bytes as the query of a temporary URL: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::temporary_url(data));

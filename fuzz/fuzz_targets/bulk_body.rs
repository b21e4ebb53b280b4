//! Any bytes as the body of a bulk request: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::bulk(data));

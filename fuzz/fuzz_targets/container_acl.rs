//! Any bytes as the ACL of a container, and a referrer after the first line: `cargo +nightly fuzz run container_acl`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::container_acl(data));

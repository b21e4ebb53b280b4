//! Any bytes as the ACL of a container, and a referrer after the first line: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::parsers::container_acl(data));

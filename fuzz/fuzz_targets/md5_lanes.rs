//! Texts of any lengths, cut anywhere, through every kernel and the service: `make fuzz`. The seeds are run by an
//! ordinary test of `lanes` too.

#![no_main]

#[path = "../../crates/lanes/tests/differential/script.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|data: &[u8]| script::run(data));

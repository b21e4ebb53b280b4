//! Any bytes through everything that reads what lies on a disk: `make fuzz`. An ordinary test of `objectd` runs the
//! same on random bytes and on records that are almost right.

#![no_main]

#[path = "../../objectd/tests/decoders/script.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|data: &[u8]| script::run(data));

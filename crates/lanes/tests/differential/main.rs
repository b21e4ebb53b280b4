//! Every kernel and the service beside the crate `md-5`.

mod script;

use lanes::{Kernel, digest_many};
use md5::{Digest, Md5};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Few bytes are few texts, many are more than there are lanes.
    #[test]
    fn any_script(script in proptest::collection::vec(any::<u8>(), 0..400)) {
        script::run(&script);
    }
}

/// The corpus of the fuzz target `md5_lanes`.
#[test]
fn the_seeds_of_the_fuzz_target() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/md5_lanes");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).expect("seeds") {
        script::run(&std::fs::read(seed.expect("a seed").path()).expect("bytes"));
        count += 1;
    }
    assert!(count >= 5, "only {count} seeds");
}

#[test]
fn the_vectors_of_rfc_1321() {
    let vectors = [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("a", "0cc175b9c0f1b6a831c399e269772661"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "d174ab98d277d9f5a5611c2c9f419d9f",
        ),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a",
        ),
    ];
    let texts: Vec<&[u8]> = vectors.iter().map(|(text, _)| text.as_bytes()).collect();
    for kernel in Kernel::available() {
        for (digest, (_, expected)) in digest_many(kernel, &texts).iter().zip(vectors) {
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{kernel:?}");
        }
    }
}

/// Each length up to a few blocks, in each number of lanes that chooses another way through a kernel.
#[test]
fn every_short_length_in_every_number_of_lanes() {
    let bytes: Vec<u8> = (0..400u32).map(|i| (i * 37 + i / 7) as u8).collect();
    for kernel in Kernel::available() {
        for lanes in 1..=70 {
            for shortest in [0, 55, 56, 63, 64, 65, 119, 120, 128, 200] {
                let texts: Vec<&[u8]> = (0..lanes).map(|i| &bytes[i..][..shortest + i]).collect();
                let expected: Vec<[u8; 16]> = texts.iter().map(|t| Md5::digest(t).into()).collect();
                assert_eq!(digest_many(kernel, &texts), expected, "{kernel:?} {lanes} {shortest}");
            }
        }
    }
}

//! The index of all keys. Each kind has its first byte, and a file with its encoding and decoding.
//!
//! | byte | kind | rest of the key | value |
//! |---|---|---|---|
//! | `e` | [`entity`] | entity hash (16) | [`crate::Entity`] |
//! | `g` | [`gone`] | entity hash (16), policy (4, big-endian), name | a deleted row |
//! | `l` | [`log`] | entity hash (16), sequence (8, big-endian) | policy (4, big-endian), name |
//! | `m` | [`mark`] | a word | a number of the whole database |
//! | `p` | [`pending`] | token (8, big-endian) | entity hash (16) |
//! | `r` | [`row`] | entity hash (16), policy (4, big-endian), name | a live row |
//! | `s` | [`shard`] | entity hash (16), name | [`crate::shards::ShardRange`] |
//!
//! Live rows stand alone, in the order of their names, so that a listing page meets nothing else; deleted
//! rows, which must be remembered until they are reclaimed, have a range of their own.

pub mod entity;
pub mod gone;
pub mod log;
pub mod mark;
pub mod pending;
pub mod row;
pub mod shard;

use crate::record::Corrupt;

/// The bytes after a key's first, which must be `kind`.
fn body(key: &[u8], kind: u8) -> Result<&[u8], Corrupt> {
    match key.split_first() {
        Some((first, rest)) if *first == kind => Ok(rest),
        _ => Err(Corrupt),
    }
}

/// The least byte string greater than all that start with `prefix`; `None` when there is none.
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut out = prefix[..=last].to_vec();
    out[last] += 1;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_successor_bounds_the_prefix(prefix in proptest::collection::vec(any::<u8>(), 1..6), tail: Vec<u8>, other: Vec<u8>) {
            if let Some(end) = successor(&prefix) {
                let within = [prefix.as_slice(), &tail].concat();
                prop_assert!(within < end);
                prop_assert!(other < prefix || other >= end || other.starts_with(&prefix));
            } else {
                prop_assert!(prefix.iter().all(|byte| *byte == 0xff));
            }
        }

        #[test]
        fn decoding_never_panics(key: Vec<u8>) {
            let _ = entity::decode(&key);
            let _ = gone::decode(&key);
            let _ = log::decode(&key);
            let _ = log::decode_value(&key);
            let _ = pending::decode(&key);
            let _ = pending::decode_value(&key);
            let _ = mark::decode_value(&key);
            let _ = row::decode(&key);
            let _ = shard::decode(&key);
        }
    }
}

//! `s` ∥ entity hash ∥ name: a shard range of a container, deleted or not.

use super::body;
use crate::record::{Corrupt, Reader};
use types::ObjectHash;

const KIND: u8 = b's';

/// The part that all shard ranges of one container share.
pub fn prefix(entity: &ObjectHash) -> Vec<u8> {
    [&[KIND], entity.0.as_slice()].concat()
}

/// The key of one shard range.
pub fn encode(entity: &ObjectHash, name: &str) -> Vec<u8> {
    [prefix(entity).as_slice(), name.as_bytes()].concat()
}

/// The inverse of [`encode`].
pub fn decode(key: &[u8]) -> Result<(ObjectHash, &str), Corrupt> {
    let mut reader = Reader::new(body(key, KIND)?);
    let entity = ObjectHash(reader.array()?);
    Ok((entity, std::str::from_utf8(reader.rest()).map_err(|_| Corrupt)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips_below_the_prefix_of_its_container(hash: [u8; 16], name in ".{0,20}") {
            let hash = ObjectHash(hash);
            let key = encode(&hash, &name);
            prop_assert_eq!(decode(&key), Ok((hash, name.as_str())));
            prop_assert!(key.starts_with(&prefix(&hash)));
        }
    }
}

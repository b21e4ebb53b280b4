//! `e` ∥ entity hash: the record of an account or a container.

use super::body;
use crate::record::Corrupt;
use types::ObjectHash;

const KIND: u8 = b'e';

/// The key of an entity's record.
pub fn encode(entity: &ObjectHash) -> Vec<u8> {
    [&[KIND], entity.0.as_slice()].concat()
}

/// The inverse of [`encode`].
pub fn decode(key: &[u8]) -> Result<ObjectHash, Corrupt> {
    Ok(ObjectHash(body(key, KIND)?.try_into().map_err(|_| Corrupt)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(hash: [u8; 16]) {
            prop_assert_eq!(decode(&encode(&ObjectHash(hash))), Ok(ObjectHash(hash)));
        }
    }
}

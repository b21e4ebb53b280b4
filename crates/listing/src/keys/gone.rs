//! `g` ∥ entity hash ∥ policy ∥ name: a deleted row, which listings never meet.

use super::body;
use crate::record::{Corrupt, Reader};
use types::{ObjectHash, PolicyIndex};

const KIND: u8 = b'g';

/// The part that all names of one entity and policy share.
pub fn prefix(entity: &ObjectHash, policy: PolicyIndex) -> Vec<u8> {
    [&[KIND], entity.0.as_slice(), &policy.0.to_be_bytes()].concat()
}

/// The key of one row.
pub fn encode(entity: &ObjectHash, policy: PolicyIndex, name: &str) -> Vec<u8> {
    [prefix(entity, policy).as_slice(), name.as_bytes()].concat()
}

/// The inverse of [`encode`].
pub fn decode(key: &[u8]) -> Result<(ObjectHash, PolicyIndex, &str), Corrupt> {
    let mut reader = Reader::new(body(key, KIND)?);
    let entity = ObjectHash(reader.array()?);
    let policy = PolicyIndex(u32::from_be_bytes(reader.array()?));
    let name = std::str::from_utf8(reader.rest()).map_err(|_| Corrupt)?;
    Ok((entity, policy, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips_in_the_order_of_names(hash: [u8; 16], policy: u32, a in ".{0,20}", b in ".{0,20}") {
            let (hash, policy) = (ObjectHash(hash), PolicyIndex(policy));
            let key = encode(&hash, policy, &a);
            prop_assert_eq!(decode(&key), Ok((hash, policy, a.as_str())));
            prop_assert_eq!(key.cmp(&encode(&hash, policy, &b)), a.cmp(&b));
        }
    }
}

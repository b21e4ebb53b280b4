//! `l` ∥ entity hash ∥ sequence → policy ∥ name: which rows changed, in what order.
//!
//! Every row has exactly one entry, that of its last change, so replication reads all that changed since a
//! point and the log never grows beyond the rows (Swift: the ROWID of its tables).

use super::body;
use crate::record::{Corrupt, Reader};
use types::{ObjectHash, PolicyIndex};

const KIND: u8 = b'l';

/// The key of the entry with number `sequence`.
pub fn encode(entity: &ObjectHash, sequence: u64) -> Vec<u8> {
    [&[KIND], entity.0.as_slice(), &sequence.to_be_bytes()].concat()
}

/// The inverse of [`encode`].
pub fn decode(key: &[u8]) -> Result<(ObjectHash, u64), Corrupt> {
    let mut reader = Reader::new(body(key, KIND)?);
    let found = (ObjectHash(reader.array()?), u64::from_be_bytes(reader.array()?));
    reader.end()?;
    Ok(found)
}

/// What the entry says.
pub fn encode_value(policy: PolicyIndex, name: &str) -> Vec<u8> {
    [policy.0.to_be_bytes().as_slice(), name.as_bytes()].concat()
}

/// The inverse of [`encode_value`].
pub fn decode_value(value: &[u8]) -> Result<(PolicyIndex, &str), Corrupt> {
    let mut reader = Reader::new(value);
    let policy = PolicyIndex(u32::from_be_bytes(reader.array()?));
    Ok((policy, std::str::from_utf8(reader.rest()).map_err(|_| Corrupt)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips_in_the_order_of_numbers(hash: [u8; 16], a: u64, b: u64, policy: u32, name in ".{0,20}") {
            let hash = ObjectHash(hash);
            prop_assert_eq!(decode(&encode(&hash, a)), Ok((hash, a)));
            prop_assert_eq!(encode(&hash, a).cmp(&encode(&hash, b)), a.cmp(&b));
            let value = encode_value(PolicyIndex(policy), &name);
            prop_assert_eq!(decode_value(&value), Ok((PolicyIndex(policy), name.as_str())));
        }
    }
}

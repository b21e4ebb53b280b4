//! `p` ∥ token → entity hash: who owes a report, the longest waiting first.

use super::body;
use crate::record::{Corrupt, Reader};
use types::ObjectHash;

const KIND: u8 = b'p';

/// The key of the report with this token.
pub fn encode(token: u64) -> Vec<u8> {
    [&[KIND], token.to_be_bytes().as_slice()].concat()
}

/// The inverse of [`encode`].
pub fn decode(key: &[u8]) -> Result<u64, Corrupt> {
    let mut reader = Reader::new(body(key, KIND)?);
    let token = u64::from_be_bytes(reader.array()?);
    reader.end()?;
    Ok(token)
}

/// Whose report it is.
pub fn decode_value(value: &[u8]) -> Result<ObjectHash, Corrupt> {
    Ok(ObjectHash(value.try_into().map_err(|_| Corrupt)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips_in_the_order_of_tokens(a: u64, b: u64) {
            prop_assert_eq!(decode(&encode(a)), Ok(a));
            prop_assert_eq!(encode(a).cmp(&encode(b)), a.cmp(&b));
        }
    }
}

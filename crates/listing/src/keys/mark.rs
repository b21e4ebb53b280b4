//! `m` ∥ word → 8 bytes big-endian: numbers of the whole database.

use crate::record::Corrupt;

/// The version of the format everything else is written in.
pub const FORMAT: &[u8] = b"mformat";
/// The greatest token ever given to a report, so that none is given twice.
pub const TOKEN: &[u8] = b"mtoken";

/// The number of the last batch of the journal that is in the database.
pub const APPLIED: &[u8] = b"mapplied";
/// With what the checksums of the journal begin.
pub const SALT: &[u8] = b"msalt";

/// A number as it is stored.
pub fn encode_value(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The inverse of [`encode_value`].
pub fn decode_value(value: &[u8]) -> Result<u64, Corrupt> {
    Ok(u64::from_be_bytes(value.try_into().map_err(|_| Corrupt)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(number: u64) {
            prop_assert_eq!(decode_value(&encode_value(number)), Ok(number));
        }
    }
}

//! Ranges of hashes: what partitions are, and what is asked of a device at a time.

use crate::{ObjectHash, PartPower, Partition};

const DIGITS: usize = 32;

/// Hashes from one up to and with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashRange {
    /// The first.
    pub first: ObjectHash,
    /// The last.
    pub last: ObjectHash,
}

/// Why two texts are no range of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashRangeError {
    /// The first text.
    #[error("from is not up to 32 hexadecimal digits")]
    From,
    /// The second text.
    #[error("until is not up to 32 hexadecimal digits")]
    Until,
    /// Nothing is in between.
    #[error("from is behind until")]
    Order,
}

impl HashRange {
    /// Every hash.
    pub const ALL: HashRange =
        HashRange { first: ObjectHash([0; 16]), last: ObjectHash([0xff; 16]) };

    /// From the first hash that begins with some hexadecimal digits to the last that begins with others; no digits
    /// are no bound.
    pub fn between(from: &str, until: &str) -> Result<Self, HashRangeError> {
        let first = completed(from, '0').ok_or(HashRangeError::From)?;
        let last = completed(until, 'f').ok_or(HashRangeError::Until)?;
        HashRange { first, last }.checked()
    }

    /// The hashes of a partition; `None` when there are not so many partitions.
    pub fn of_partition(power: PartPower, partition: Partition) -> Option<Self> {
        if u64::from(partition.0) >= power.partitions() {
            return None;
        }
        let width = 1u64 << power.shift();
        let first = u64::from(partition.0) * width;
        let bound = |head: u64, rest: u8| {
            let mut hash = [rest; 16];
            hash[..4].copy_from_slice(&(head as u32).to_be_bytes());
            ObjectHash(hash)
        };
        Some(HashRange { first: bound(first, 0), last: bound(first + width - 1, 0xff) })
    }

    /// What is left of it behind a hash.
    pub fn behind(self, hash: &ObjectHash) -> Option<Self> {
        let first = self.first.max(hash.next()?);
        HashRange { first, ..self }.checked().ok()
    }

    fn checked(self) -> Result<Self, HashRangeError> {
        if self.first <= self.last { Ok(self) } else { Err(HashRangeError::Order) }
    }
}

fn completed(digits: &str, with: char) -> Option<ObjectHash> {
    let missing = DIGITS.checked_sub(digits.len())?;
    let mut all = digits.to_owned();
    all.extend(std::iter::repeat_n(with, missing));
    all.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_bound_a_range() {
        let range = HashRange::between("a1b", "a1b").expect("a range");
        assert_eq!(range.first.to_string(), format!("a1b{}", "0".repeat(29)));
        assert_eq!(range.last.to_string(), format!("a1b{}", "f".repeat(29)));
        assert_eq!(HashRange::between("", ""), Ok(HashRange::ALL));
        assert_eq!(HashRange::between("b", "a"), Err(HashRangeError::Order));
        assert_eq!(HashRange::between("x", ""), Err(HashRangeError::From));
        assert_eq!(HashRange::between("", &"0".repeat(33)), Err(HashRangeError::Until));
        assert_eq!(HashRange::between("ü", ""), Err(HashRangeError::From));
    }

    #[test]
    fn what_is_behind() {
        let one = HashRange { first: ObjectHash([7; 16]), last: ObjectHash([7; 16]) };
        assert_eq!(one.behind(&ObjectHash([7; 16])), None);
        assert_eq!(one.behind(&ObjectHash([6; 16])), Some(one));
        assert_eq!(HashRange::ALL.behind(&HashRange::ALL.last), None);
    }

    proptest! {
        #[test]
        fn a_partition_holds_what_is_placed_in_it(bytes: [u8; 16], power in 0u8..=32) {
            let (hash, power) = (ObjectHash(bytes), PartPower::new(power).expect("a power"));
            let partition = power.partition(&hash);
            let range = HashRange::of_partition(power, partition).expect("a partition");
            prop_assert!(range.first <= hash && hash <= range.last);
            for bound in [range.first, range.last] {
                prop_assert_eq!(power.partition(&bound), partition);
            }
            if let Some(next) = range.last.next() {
                prop_assert_eq!(power.partition(&next).0, partition.0 + 1);
            }
            let beyond = u32::try_from(power.partitions()).ok().map(Partition);
            prop_assert_eq!(beyond.and_then(|beyond| HashRange::of_partition(power, beyond)), None);
        }
    }
}

//! Path hashes and partitions (Swift: common/utils, `hash_path`; common/ring, `get_part`).

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The MD5 of a path between the cluster's secret prefix and suffix: where an entity lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectHash(pub [u8; 16]);

impl ObjectHash {
    /// The last three hex digits: the directory level that replication compares.
    pub fn suffix(&self) -> u16 {
        u16::from_be_bytes([self.0[14], self.0[15]]) & 0x0fff
    }

    /// The one after it.
    pub fn next(&self) -> Option<ObjectHash> {
        let next = u128::from_be_bytes(self.0).checked_add(1)?;
        Some(ObjectHash(next.to_be_bytes()))
    }
}

impl fmt::Display for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex_encode(&self.0))
    }
}

impl fmt::Debug for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectHash({self})")
    }
}

impl std::str::FromStr for ObjectHash {
    type Err = HexError;
    fn from_str(s: &str) -> Result<Self, HexError> {
        let bytes = hex_decode(s)?;
        Ok(ObjectHash(bytes.try_into().map_err(|_| HexError)?))
    }
}

/// Text that is not the hexadecimal form expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not hexadecimal digits of the expected length")]
pub struct HexError;

/// Lower-case hexadecimal.
pub fn hex_encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)] as char);
        out.push(DIGITS[usize::from(byte & 15)] as char);
    }
    out
}

/// Reads hexadecimal of either case.
pub fn hex_decode(text: &str) -> Result<Vec<u8>, HexError> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return Err(HexError);
    }
    let nibble = |digit: u8| (digit as char).to_digit(16).ok_or(HexError);
    digits
        .chunks_exact(2)
        .map(|pair| Ok((nibble(pair[0])? << 4 | nibble(pair[1])?) as u8))
        .collect()
}

/// The cluster's secret ends of every hashed path. Changing them loses all data, so they never change.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashPaths {
    /// Swift: `swift_hash_path_prefix`.
    pub prefix: String,
    /// Swift: `swift_hash_path_suffix`.
    pub suffix: String,
}

impl fmt::Debug for HashPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashPaths(secret)")
    }
}

impl HashPaths {
    /// Hash of `/a`.
    pub fn account(&self, account: &str) -> ObjectHash {
        self.hash(&[account])
    }

    /// Hash of `/a/c`.
    pub fn container(&self, account: &str, container: &str) -> ObjectHash {
        self.hash(&[account, container])
    }

    /// Hash of `/a/c/o`.
    pub fn object(&self, account: &str, container: &str, object: &str) -> ObjectHash {
        self.hash(&[account, container, object])
    }

    fn hash(&self, parts: &[&str]) -> ObjectHash {
        let mut md5 = Md5::new();
        md5.update(self.prefix.as_bytes());
        for part in parts {
            md5.update(b"/");
            md5.update(part.as_bytes());
        }
        md5.update(self.suffix.as_bytes());
        ObjectHash(md5.finalize().into())
    }
}

/// The base-2 logarithm of a ring's number of partitions: 0 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartPower(u8);

impl PartPower {
    /// `None` when over 32.
    pub fn new(power: u8) -> Option<Self> {
        (power <= 32).then_some(PartPower(power))
    }

    /// How far a hash's first 32 bits are shifted to give its partition.
    pub fn shift(self) -> u32 {
        32 - u32::from(self.0)
    }

    /// The number of partitions, 2 to the power.
    pub fn partitions(self) -> u64 {
        1 << self.0
    }

    /// The partition of a hash.
    pub fn partition(self, hash: &ObjectHash) -> Partition {
        let head = u32::from_be_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]]);
        Partition(head.checked_shr(self.shift()).unwrap_or(0))
    }
}

/// A slice of the hash space; the ring says which devices hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Partition {
    type Err = std::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_swift_does() {
        let paths = HashPaths { prefix: "p".into(), suffix: "s".into() };
        let hash = paths.object("a", "c", "o");
        assert_eq!(hash.to_string(), "91d0b237560f13fca7c508fc70af8535");
        assert_eq!("91d0b237560f13fca7c508fc70af8535".parse(), Ok(hash));
        assert_eq!(hash.suffix(), 0x535);
        assert_eq!(PartPower::new(8).map(|p| p.partition(&hash)), Some(Partition(0x91)));
        assert_eq!(PartPower::new(0).map(|p| p.partition(&hash)), Some(Partition(0)));
        assert_eq!(PartPower::new(33), None);
    }

    #[test]
    fn hex_refuses_other_text() {
        for bad in ["a", "zz", "ü1", "+1"] {
            assert_eq!(hex_decode(bad), Err(HexError), "{bad}");
        }
        assert_eq!(hex_decode("00fF"), Ok(vec![0, 255]));
    }
}

//! Who a device is.

use super::bytes::{FormatError, Writer, open_block, seal_block};
use sha2::{Digest, Sha256};
use types::{HashPaths, PolicyIndex};

const MAGIC: &[u8; 8] = b"APUSPACK";
const VERSION: u16 = 1;

/// Written once, when a device is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Random; segments repeat it.
    pub device_id: [u8; 16],
    /// See [`Superblock::fingerprint`].
    pub hash_fingerprint: [u8; 32],
    /// The policy whose objects lie here.
    pub policy: PolicyIndex,
    /// In µs since 1970.
    pub created_micros: u64,
}

impl Superblock {
    /// Tells clusters apart without giving their secrets away.
    pub fn fingerprint(paths: &HashPaths) -> [u8; 32] {
        let mut sha = Sha256::new();
        sha.update((paths.prefix.len() as u64).to_le_bytes());
        sha.update(paths.prefix.as_bytes());
        sha.update(paths.suffix.as_bytes());
        sha.finalize().into()
    }

    /// One block.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.put(MAGIC).u16(VERSION).u16(0).u32(self.policy.0);
        out.put(&self.device_id).put(&self.hash_fingerprint).u64(self.created_micros);
        seal_block(out.0)
    }

    /// Reads one block.
    pub fn decode(block: &[u8]) -> Result<Self, FormatError> {
        let mut fields = open_block(block, MAGIC)?;
        match fields.u16()? {
            VERSION => {}
            newer => return Err(FormatError::Version(newer)),
        }
        fields.u16()?;
        Ok(Superblock {
            policy: PolicyIndex(fields.u32()?),
            device_id: fields.array()?,
            hash_fingerprint: fields.array()?,
            created_micros: fields.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_every_flipped_bit_is_noticed() {
        let superblock = Superblock {
            device_id: [7; 16],
            hash_fingerprint: Superblock::fingerprint(&HashPaths::default()),
            policy: PolicyIndex(3),
            created_micros: 1_700_000_000_000_000,
        };
        let block = superblock.encode();
        assert_eq!(block.len(), crate::io::BLOCK);
        assert_eq!(Superblock::decode(&block), Ok(superblock));
        for bit in 0..block.len() * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&damaged).is_err(), "bit {bit}");
        }
        assert!(Superblock::decode(&block[..100]).is_err());
    }
}

//! The words of the domain: timestamps, hashes, partitions, names, policies, limits.
//!
//! No I/O, no async, no clock: whatever this crate says follows from its arguments alone. Each type is
//! parsed once, at the border, and carries the proof of its validity from then on.

mod hash;
mod hash_range;
mod limits;
mod names;
mod policy;
mod quorum;
mod timestamp;

pub use hash::{HashPaths, HexError, ObjectHash, PartPower, Partition, hex_decode, hex_encode};
pub use hash_range::{HashRange, HashRangeError};
pub use limits::Limits;
pub use names::{
    AccountName, ContainerName, NameError, ObjectName, RESERVED, reserved_name, reserved_parts,
};
pub use policy::{Policies, Policy, PolicyError};
pub use quorum::quorum_size;
pub use timestamp::{
    RowTimestamps, Timestamp, TimestampError, civil_from_days, decode_row_timestamps,
    encode_row_timestamps,
};

use serde::{Deserialize, Serialize};

/// The number of a storage policy. Policy 0 is the one that data written before policies belongs to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PolicyIndex(pub u32);

impl std::fmt::Display for PolicyIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for PolicyIndex {
    type Err = std::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(PolicyIndex)
    }
}

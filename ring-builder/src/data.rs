//! A ring file in memory, and what must hold of it.

use std::path::Path;

use crate::device::Device;
use crate::error::{RingReadError, RingWriteError};
use crate::format;

/// The largest ring that is read or written, in decompressed bytes. Three replicas of 2^24 partitions are a tenth.
pub const MAX_RING_BYTES: u64 = 1 << 30;

/// The most replicas (rows) of a ring.
pub const MAX_REPLICAS: usize = 1024;

/// The contents of a `.ring.gz` file.
#[derive(Clone, Debug, PartialEq)]
pub struct RingData {
    /// Devices by their number; `None` where a device was removed.
    pub devs: Vec<Option<Device>>,
    /// 32 less the partition power.
    pub part_shift: u32,
    /// For each replica the device number of each partition. All rows are 2^power long but the last, which
    /// is shorter when the number of replicas is fractional. Every number is a device's: Swift's mark for
    /// "unassigned" (all bits set) occurs only in builders, and a ring that holds it is refused.
    pub rows: Vec<Vec<u32>>,
    /// Counts the rebalances of the builder.
    pub version: Option<u64>,
    /// Set while the partition power is being raised.
    pub next_part_power: Option<u8>,
}

impl RingData {
    /// Reads a ring file of format 1 or 2.
    pub fn read(path: &Path) -> Result<Self, RingReadError> {
        format::read(path)
    }

    /// Reads a ring from the bytes of a `.ring.gz` file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RingReadError> {
        format::decode(bytes)
    }

    /// The bytes of a `.ring.gz` file of format 1. Equal rings give equal bytes.
    /// `file_name` is what `gunzip -N` would call the file.
    pub fn to_bytes(&self, file_name: &str) -> Result<Vec<u8>, RingWriteError> {
        format::encode(self, file_name)
    }

    /// Writes a ring file of format 1. A crash leaves the old file or the new one, never a part.
    pub fn save(&self, path: &Path) -> Result<(), RingWriteError> {
        format::save(self, path)
    }

    /// How many partition replicas each device number has.
    pub fn partitions_per_device(&self) -> Vec<u64> {
        let mut counts = vec![0u64; self.devs.len()];
        for device in self.rows.iter().flatten() {
            if let Some(count) = counts.get_mut(*device as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Checks everything that lookups rely on.
    pub fn validate(&self) -> Result<(), RingReadError> {
        if self.part_shift > 32 {
            return Err(RingReadError::PartShift(self.part_shift));
        }
        if let Some(power) = self.next_part_power.filter(|power| *power > 32) {
            return Err(RingReadError::NextPartPower(power));
        }
        self.validate_devices()?;
        self.validate_rows()
    }

    fn validate_devices(&self) -> Result<(), RingReadError> {
        for (position, device) in self.devs.iter().enumerate() {
            let Some(device) = device else { continue };
            if device.id as usize != position {
                return Err(RingReadError::DeviceId { position, id: device.id });
            }
            if !device.weight.is_finite() || device.weight < 0.0 {
                return Err(RingReadError::Weight(device.id));
            }
        }
        Ok(())
    }

    fn validate_rows(&self) -> Result<(), RingReadError> {
        if self.rows.len() > MAX_REPLICAS {
            return Err(RingReadError::TooManyReplicas);
        }
        let expected = 1u64 << (32 - self.part_shift);
        let last = self.rows.len().checked_sub(1).ok_or(RingReadError::NoReplicas)?;
        for (row, devices) in self.rows.iter().enumerate() {
            let found = devices.len();
            // Swift allows no fewer than one whole replica, and its lookups rely on the first row.
            let may_be_short = row == last && row > 0;
            if found as u64 > expected || (found as u64) < expected && !may_be_short {
                return Err(RingReadError::RowLength { row, expected, found });
            }
            let exists = |id: &u32| matches!(self.devs.get(*id as usize), Some(Some(_)));
            if let Some(partition) = devices.iter().position(|id| !exists(id)) {
                let device = devices[partition];
                return Err(RingReadError::UnknownDevice { row, partition, device });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::device::tests::device;

    /// Two partitions, two and a half replicas, a hole in the device list.
    pub(crate) fn small() -> RingData {
        let mut devs: Vec<_> = (0..4).map(|id| Some(device(id, 1, id, "10.0.0.1", 1.0))).collect();
        devs[2] = None;
        RingData {
            devs,
            part_shift: 31,
            rows: vec![vec![0, 1], vec![1, 3], vec![3]],
            version: Some(7),
            next_part_power: None,
        }
    }

    type Change = fn(&mut RingData);

    #[test]
    fn refuses_what_lookups_could_not_bear() {
        assert!(small().validate().is_ok());
        let cases: [(Change, &str); 10] = [
            (|r| r.part_shift = 33, "partition shift is 33"),
            (|r| r.next_part_power = Some(33), "next partition power is 33"),
            (|r| r.rows.clear(), "no replicas"),
            (|r| r.rows = vec![vec![0, 1]; MAX_REPLICAS + 1], "more than 1024 replicas"),
            (|r| r.rows[1].truncate(1), "replica 1 of the ring covers 1 partitions of 2"),
            (|r| r.rows[2] = vec![0; 3], "covers 3 partitions of 2"),
            (|r| r.rows = vec![vec![0]], "replica 0"),
            (|r| r.rows[1][1] = 2, "partition 1 of replica 1 is on device 2"),
            (|r| r.devs.swap(0, 1), "position 0 of the ring has the number 1"),
            (|r| r.devs[0].as_mut().expect("set").weight = f64::NAN, "weight of device 0"),
        ];
        for (change, sentence) in cases {
            let mut ring = small();
            change(&mut ring);
            let error = ring.validate().expect_err(sentence).to_string();
            assert!(error.contains(sentence), "{error} / {sentence}");
        }
    }

    #[test]
    fn counts_partitions() {
        assert_eq!(small().partitions_per_device(), [1, 2, 0, 2]);
    }
}

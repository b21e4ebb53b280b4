//! Placing partitions on devices from nothing.
//!
//! First every device gets its quota (see `quota`): its share by weight, whole partitions, never more than there
//! are. Then partitions are served one after the other. For each, all devices are laid out on a line, each as
//! long as what is left of its quota, failure domains together but in random order. The line is as many
//! times as long as there are partitions left as there are replicas, so that many marks at exactly that
//! distance from each other, the first at a random place, choose the devices. It follows that
//!
//! - no device is longer than the distance, so none is chosen twice;
//! - quotas are used up exactly;
//! - a failure domain whose quotas are between n and n+1 times the partitions has n or n+1 replicas of every
//!   partition: replicas are spread as far as the weights allow;
//! - which devices share partitions is random, so a lost device is rebuilt from many.
//!
//! Weight comes before spread, as with Swift's default overload of 0. Moving as little as possible
//! when devices change is the business of the rebalancing builder, which is not written yet.

use types::PartPower;

use crate::data::{MAX_RING_BYTES, RingData};
use crate::device::Device;
use crate::quota::{Tree, quotas};

/// Why no ring can be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Zero replicas were asked for.
    #[error("a ring needs at least one replica")]
    NoReplicas,
    /// Two replicas would have to share a device.
    #[error(
        "{replicas} replicas need at least {replicas} devices with a weight above 0; there are {devices}"
    )]
    TooFewDevices {
        /// How many replicas were asked for.
        replicas: u8,
        /// How many devices can take partitions.
        devices: usize,
    },
    /// Two devices have one number.
    #[error("two devices have the number {0}")]
    DuplicateDevice(u32),
    /// A device number that no ring file can hold.
    #[error("device number {0} is too large; the largest is 65534")]
    DeviceIdTooLarge(u32),
    /// A weight that is none.
    #[error("the weight of device {0} is not a number from 0 up")]
    Weight(u32),
    /// More partitions than a ring file may hold.
    #[error("{replicas} replicas of {partitions} partitions are more than a ring file may hold")]
    TooLarge {
        /// How many partitions were asked for.
        partitions: u64,
        /// How many replicas were asked for.
        replicas: u8,
    },
}

/// Builds a ring in which no two replicas of a partition share a device. The same arguments give the same ring;
/// the order of `devices` does not matter, their numbers do.
pub fn build(
    devices: Vec<Device>,
    part_power: PartPower,
    replicas: u8,
    seed: u64,
) -> Result<RingData, BuildError> {
    let partitions = part_power.partitions();
    check(&devices, partitions, replicas)?;
    let devs = by_number(devices)?;
    let weighted: Vec<&Device> = devs.iter().flatten().filter(|dev| dev.weight > 0.0).collect();
    let mut tree = Tree::new(&weighted);
    let left = quotas(&tree, &weighted, partitions, replicas);
    let ids: Vec<u32> = weighted.iter().map(|device| device.id).collect();
    let rows = place(&mut tree, &ids, left, partitions, replicas, &mut SplitMix(seed));
    let part_shift = part_power.shift();
    Ok(RingData { rows, devs, part_shift, version: Some(1), next_part_power: None })
}

fn check(devices: &[Device], partitions: u64, replicas: u8) -> Result<(), BuildError> {
    if replicas == 0 {
        return Err(BuildError::NoReplicas);
    }
    // Half of what a file may hold is left for the list of devices.
    if partitions * u64::from(replicas) * 2 > MAX_RING_BYTES / 2 {
        return Err(BuildError::TooLarge { partitions, replicas });
    }
    for device in devices {
        if !device.weight.is_finite() || device.weight < 0.0 {
            return Err(BuildError::Weight(device.id));
        }
        if device.id > 65_534 {
            return Err(BuildError::DeviceIdTooLarge(device.id));
        }
    }
    let usable = devices.iter().filter(|device| device.weight > 0.0).count();
    if usable < usize::from(replicas) {
        return Err(BuildError::TooFewDevices { replicas, devices: usable });
    }
    Ok(())
}

fn by_number(devices: Vec<Device>) -> Result<Vec<Option<Device>>, BuildError> {
    let length = devices.iter().map(|device| device.id as usize + 1).max().unwrap_or(0);
    let mut devs = vec![None; length];
    for device in devices {
        let id = device.id;
        if devs[id as usize].replace(device).is_some() {
            return Err(BuildError::DuplicateDevice(id));
        }
    }
    Ok(devs)
}

/// The rows of the ring. `left` are the quotas; they sum to partitions times replicas, and none is above partitions.
fn place(
    tree: &mut Tree,
    ids: &[u32],
    mut left: Vec<u64>,
    partitions: u64,
    replicas: u8,
    random: &mut SplitMix,
) -> Vec<Vec<u32>> {
    let mut rows = vec![Vec::with_capacity(partitions as usize); usize::from(replicas)];
    let mut line = Vec::with_capacity(left.len());
    for distance in (1..=partitions).rev() {
        line.clear();
        tree.lay_out(random, &mut line);
        let mut mark = random.below(distance);
        let mut end = 0;
        let mut rows = rows.iter_mut();
        for device in &line {
            end += left[*device];
            if mark < end {
                left[*device] -= 1;
                mark += distance;
                if let Some(row) = rows.next() {
                    row.push(ids[*device]);
                }
            }
        }
    }
    rows
}

/// A small generator of random numbers whose sequence is fixed for ever: SplitMix64 of Steele, Lea and Flood.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0; the bias is below bound / 2^64.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for unsorted in (2..=items.len()).rev() {
            let chosen = self.below(unsorted as u64) as usize;
            items.swap(chosen, unsorted - 1);
        }
    }
}

#[cfg(test)]
mod tests;

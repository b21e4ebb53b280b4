//! Lookups in a ring. Swift: common/ring/ring.py, `Ring`.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::path::Path;

use types::{ObjectHash, PartPower, Partition};

use crate::data::RingData;
use crate::device::Device;
use crate::error::RingReadError;
use crate::handoffs::Handoffs;

/// A ring to look things up in. It never changes; share it by `Arc` and replace it whole.
pub struct Ring {
    data: RingData,
    power: PartPower,
    places: Vec<Place>,
    totals: Totals,
}

/// A device for a partition.
#[derive(Clone, Copy, Debug)]
pub struct Node<'r> {
    /// The device.
    pub device: &'r Device,
    /// Its place among the partition's primaries, or among its handoffs, from 0.
    pub index: usize,
    /// Whether it only stands in for a primary.
    pub is_handoff: bool,
}

/// The failure domains of a device, numbered from 0 within the ring.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) region: usize,
    pub(crate) zone: usize,
    pub(crate) node: usize,
}

/// How many of each have partitions. What has none cannot be found by a walk over the partitions, and if
/// it counted, the walk for something new would always go on to its end.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) regions: usize,
    pub(crate) zones: usize,
    pub(crate) nodes: usize,
    pub(crate) devices: usize,
}

impl Ring {
    /// Validates a ring and prepares it for lookups.
    pub fn new(data: RingData) -> Result<Self, RingReadError> {
        data.validate()?;
        let power = u8::try_from(32 - data.part_shift).ok().and_then(PartPower::new);
        let power = power.ok_or(RingReadError::PartShift(data.part_shift))?;
        let (places, totals) = places(&data);
        Ok(Ring { data, power, places, totals })
    }

    /// Reads a ring file of format 1 or 2.
    pub fn load(path: &Path) -> Result<Self, RingReadError> {
        Ring::new(RingData::read(path)?)
    }

    /// The base-2 logarithm of the number of partitions.
    pub fn part_power(&self) -> PartPower {
        self.power
    }

    /// The number of partitions.
    pub fn partition_count(&self) -> u64 {
        self.power.partitions()
    }

    /// The number of rows: replicas, rounded up when fractional.
    pub fn replica_count(&self) -> usize {
        self.data.rows.len()
    }

    /// How often the builder had rebalanced, when the file says.
    pub fn version(&self) -> Option<u64> {
        self.data.version
    }

    /// The partition power to come, while it is being raised.
    pub fn next_part_power(&self) -> Option<PartPower> {
        self.data.next_part_power.and_then(PartPower::new)
    }

    /// The devices in the order of their numbers, those without partitions too.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.data.devs.iter().flatten()
    }

    /// The device of a number.
    pub fn device(&self, id: u32) -> Option<&Device> {
        self.data.devs.get(id as usize)?.as_ref()
    }

    /// What the ring was made from.
    pub fn data(&self) -> &RingData {
        &self.data
    }

    /// The partition of a hash.
    pub fn partition(&self, hash: &ObjectHash) -> Partition {
        self.power.partition(hash)
    }

    /// The devices which should hold a partition, each once. Empty for a partition the ring does not have.
    pub fn primaries(&self, partition: Partition) -> Vec<Node<'_>> {
        let mut nodes: Vec<Node<'_>> = Vec::with_capacity(self.data.rows.len());
        for id in self.assigned(partition.0 as usize) {
            let seen = nodes.iter().any(|node| node.device.id == id);
            if let (false, Some(device)) = (seen, self.device(id)) {
                nodes.push(Node { device, index: nodes.len(), is_handoff: false });
            }
        }
        nodes
    }

    /// The devices to use in place of unreachable primaries, best first, in Swift's order. Each step searches
    /// the ring only as far as needed. All steps together give every other device that has partitions, but
    /// for those with so few that Swift's walk misses them.
    pub fn handoffs(&self, partition: Partition) -> Handoffs<'_> {
        Handoffs::new(self, partition)
    }

    /// The device numbers of a partition, row by row.
    pub(crate) fn assigned(&self, partition: usize) -> impl Iterator<Item = u32> + '_ {
        self.data.rows.iter().filter_map(move |row| row.get(partition).copied())
    }

    /// Only meaningful for a device with partitions.
    pub(crate) fn place(&self, id: u32) -> Place {
        self.places.get(id as usize).copied().unwrap_or_default()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("power", &self.power)
            .field("replicas", &self.replica_count())
            .field("devices", &self.totals.devices)
            .field("version", &self.data.version)
            .finish_non_exhaustive()
    }
}

/// Numbers the failure domains of all devices with partitions, and counts them.
fn places(data: &RingData) -> (Vec<Place>, Totals) {
    let (mut regions, mut zones, mut nodes) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut places = vec![Place::default(); data.devs.len()];
    let mut devices = 0;
    let counts = data.partitions_per_device();
    for ((device, place), parts) in data.devs.iter().zip(&mut places).zip(counts) {
        let Some(device) = device.as_ref().filter(|_| parts > 0) else { continue };
        devices += 1;
        place.region = number(&mut regions, device.region);
        place.zone = number(&mut zones, (device.region, device.zone));
        place.node = number(&mut nodes, (device.region, device.zone, device.ip.as_str()));
    }
    let totals = Totals { regions: regions.len(), zones: zones.len(), nodes: nodes.len(), devices };
    (places, totals)
}

fn number<K: Hash + Eq>(numbers: &mut HashMap<K, usize>, key: K) -> usize {
    let next = numbers.len();
    *numbers.entry(key).or_insert(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::small;

    fn ids<'r>(nodes: impl IntoIterator<Item = Node<'r>>) -> Vec<u32> {
        nodes.into_iter().map(|node| node.device.id).collect()
    }

    #[test]
    fn primaries_are_distinct_and_numbered() {
        let mut data = small();
        data.rows[1][0] = 0;
        let ring = Ring::new(data).expect("a ring");
        let first = ring.primaries(Partition(0));
        assert_eq!(first.iter().map(|n| n.index).collect::<Vec<_>>(), [0, 1]);
        assert!(first.iter().all(|n| !n.is_handoff));
        assert_eq!(ids(first), [0, 3]);
        assert_eq!(ids(ring.primaries(Partition(1))), [1, 3]);
        assert!(ids(ring.primaries(Partition(2))).is_empty());
        assert_eq!(ids(ring.handoffs(Partition(u32::MAX))).len(), 3);
    }

    #[test]
    fn tells_its_shape() {
        let ring = Ring::new(small()).expect("a ring");
        assert_eq!((ring.partition_count(), ring.replica_count()), (2, 3));
        assert_eq!(Some(ring.part_power()), PartPower::new(1));
        assert_eq!(ring.devices().map(|d| d.id).collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(ring.partition(&ObjectHash([0x80; 16])), Partition(1));
        assert!(format!("{ring:?}").len() < 120);
    }

    #[test]
    fn one_partition_needs_no_bits() {
        let mut data = small();
        data.part_shift = 32;
        data.rows = vec![vec![0], vec![1]];
        let ring = Ring::new(data).expect("a ring");
        assert_eq!(ring.partition(&ObjectHash([0xff; 16])), Partition(0));
        assert_eq!(ids(ring.primaries(Partition(0))), [0, 1]);
        assert!(ids(ring.handoffs(Partition(0))).is_empty());
    }
}

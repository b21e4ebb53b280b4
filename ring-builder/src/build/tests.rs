use std::collections::HashMap;
use std::hash::Hash;

use proptest::prelude::*;

use super::*;
use crate::device::tests::device;

fn power(n: u8) -> PartPower {
    PartPower::new(n).expect("a power")
}

/// Regions, zones in each, nodes in each, devices in each.
fn cluster(shape: [u32; 4]) -> Vec<Device> {
    let mut devices = Vec::new();
    for place in 0..shape.iter().product() {
        let node = place / shape[3];
        let zone = node / shape[2];
        let region = zone / shape[1];
        devices.push(device(place, region, zone, &format!("10.0.0.{node}"), 1.0));
    }
    devices
}

/// The fewest and most replicas that a partition has in any domain.
fn spread<K: Hash + Eq>(ring: &RingData, key: impl Fn(&Device) -> K) -> (usize, usize) {
    let mut total: HashMap<K, ()> = HashMap::new();
    for device in ring.devs.iter().flatten() {
        total.insert(key(device), ());
    }
    let (mut fewest, mut most) = (usize::MAX, 0);
    for part in 0..ring.rows[0].len() {
        let mut counts: HashMap<K, usize> = HashMap::new();
        for row in &ring.rows {
            let device = ring.devs[row[part] as usize].as_ref().expect("a device");
            *counts.entry(key(device)).or_default() += 1;
        }
        let least = if counts.len() < total.len() {
            0
        } else {
            counts.values().copied().min().unwrap_or(0)
        };
        fewest = fewest.min(least);
        most = most.max(counts.values().copied().max().unwrap_or(0));
    }
    (fewest, most)
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let bytes = |devices, seed| {
        build(devices, power(6), 3, seed).expect("built").to_bytes("x.ring.gz").expect("bytes")
    };
    let devices = cluster([1, 3, 1, 2]);
    let reversed: Vec<Device> = devices.iter().rev().cloned().collect();
    assert_eq!(bytes(devices.clone(), 1), bytes(reversed, 1));
    assert_ne!(bytes(devices.clone(), 1), bytes(devices, 2));
}

#[test]
fn the_placement_never_changes_between_versions_of_this_program() {
    let ring = build(cluster([1, 2, 1, 2]), power(2), 2, 42).expect("built");
    assert_eq!(ring.rows, FIXED);
}

#[test]
fn replicas_are_spread_over_every_domain() {
    let ring = build(cluster([3, 2, 2, 2]), power(8), 3, 0).expect("built");
    assert_eq!(spread(&ring, |d| d.region), (1, 1));
    let ring = build(cluster([1, 3, 2, 3]), power(8), 3, 0).expect("built");
    assert_eq!(spread(&ring, |d| d.zone), (1, 1));
    let ring = build(cluster([1, 1, 3, 3]), power(7), 3, 0).expect("built");
    assert_eq!(spread(&ring, |d| d.ip.clone()), (1, 1));
    let ring = build(cluster([2, 2, 2, 2]), power(8), 6, 0).expect("built");
    assert_eq!(spread(&ring, |d| d.region), (3, 3));
    assert_eq!(spread(&ring, |d| d.zone), (1, 2));
    assert_eq!(spread(&ring, |d| d.ip.clone()), (0, 1));
}

#[test]
fn a_lost_device_is_rebuilt_from_many() {
    let ring = build(cluster([1, 3, 2, 4]), power(10), 3, 0).expect("built");
    let mut peers = HashMap::new();
    for part in 0..1024 {
        let held: Vec<u32> = ring.rows.iter().map(|row| row[part]).collect();
        if held.contains(&0) {
            held.iter().for_each(|id| *peers.entry(*id).or_insert(0u32) += 1);
        }
    }
    // Itself and all of the 16 devices in the other zones, none much more than the others.
    assert_eq!(peers.len(), 17);
    assert!(peers.iter().all(|(id, shared)| *id == 0 || (4..=32).contains(shared)), "{peers:?}");
}

#[test]
fn devices_without_weight_and_holes_get_nothing() {
    let mut devices = cluster([1, 1, 1, 5]);
    devices[1].weight = 0.0;
    devices.remove(3);
    let ring = build(devices, power(4), 2, 9).expect("built");
    assert_eq!(ring.devs.len(), 5);
    assert!(ring.devs[3].is_none());
    let counts = ring.partitions_per_device();
    assert_eq!((counts[1], counts[3]), (0, 0));
    assert_eq!(ring.validate().map_err(|error| error.to_string()), Ok(()));
}

#[test]
fn says_why_not() {
    let two = || cluster([1, 1, 1, 2]);
    let error = |devices, n, replicas| build(devices, power(n), replicas, 0).expect_err("refused");
    assert_eq!(error(two(), 4, 0), BuildError::NoReplicas);
    let few = error(two(), 4, 3);
    assert_eq!(few, BuildError::TooFewDevices { replicas: 3, devices: 2 });
    assert_eq!(
        few.to_string(),
        "3 replicas need at least 3 devices with a weight above 0; there are 2"
    );
    let mut twice = two();
    twice[1].id = 0;
    assert_eq!(error(twice, 4, 1), BuildError::DuplicateDevice(0));
    let mut far = two();
    far[1].id = u32::MAX;
    assert_eq!(error(far, 4, 1), BuildError::DeviceIdTooLarge(u32::MAX));
    for weight in [f64::NAN, f64::INFINITY, -1.0] {
        let mut odd = two();
        odd[1].weight = weight;
        assert_eq!(error(odd, 4, 1), BuildError::Weight(1));
    }
    assert!(matches!(error(two(), 32, 2), BuildError::TooLarge { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quotas_are_met_and_devices_distinct(
        shape in [1u32..3, 1u32..4, 1u32..4, 1u32..4],
        n in 0u8..8,
        replicas in 1u8..5,
        seed: u64,
        weights in proptest::collection::vec(0u32..4, 144),
    ) {
        let mut devices = cluster(shape);
        for (device, weight) in devices.iter_mut().zip(weights) {
            device.weight = f64::from(weight);
        }
        let usable = devices.iter().filter(|d| d.weight > 0.0).count();
        prop_assume!(usable >= usize::from(replicas));
        let ring = build(devices.clone(), power(n), replicas, seed).expect("built");
        prop_assert!(ring.validate().is_ok());
        prop_assert!(ring.rows.iter().all(|row| row.len() == 1 << n));
        for part in 0..ring.rows[0].len() {
            let mut held: Vec<u32> = ring.rows.iter().map(|row| row[part]).collect();
            held.sort_unstable();
            held.dedup();
            prop_assert_eq!(held.len(), usize::from(replicas));
        }
        let counts = ring.partitions_per_device();
        for (a, count_a) in devices.iter().zip(&counts) {
            for (b, count_b) in devices.iter().zip(&counts) {
                if a.weight == b.weight {
                    prop_assert!(count_a.abs_diff(*count_b) <= 1, "{counts:?}");
                }
            }
        }
    }

    #[test]
    fn domains_of_equal_size_get_equally_many_of_each_partition(
        shape in [1u32..4, 1u32..4, 1u32..4, 1u32..4], n in 0u8..8, replicas in 1u8..5, seed: u64,
    ) {
        let devices = cluster(shape);
        prop_assume!(devices.len() >= usize::from(replicas));
        let ring = build(devices, power(n), replicas, seed).expect("built");
        let even = |(fewest, most): (usize, usize)| most - fewest <= 1;
        prop_assert!(even(spread(&ring, |d| d.region)));
        prop_assert!(even(spread(&ring, |d| d.zone)));
        prop_assert!(even(spread(&ring, |d| d.ip.clone())));
    }
}

const FIXED: [[u32; 4]; 2] = [[1, 2, 0, 0], [3, 1, 2, 3]];

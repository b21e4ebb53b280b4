//! How many partition replicas each device is to get, and the tree of failure domains.

use std::collections::BTreeMap;

use crate::build::SplitMix;
use crate::device::Device;

/// Failure domains inside each other: regions, zones, nodes, and at the leaves positions in the list of devices.
pub(crate) enum Tree {
    Device(usize),
    Domain(Vec<Tree>),
}

impl Tree {
    /// Sorts the devices into regions, zones and nodes.
    pub(crate) fn new(devices: &[&Device]) -> Tree {
        let mut regions: BTreeMap<u32, BTreeMap<u32, BTreeMap<&str, Vec<usize>>>> = BTreeMap::new();
        for (position, device) in devices.iter().enumerate() {
            let zone = regions.entry(device.region).or_default().entry(device.zone).or_default();
            zone.entry(&device.ip).or_default().push(position);
        }
        fn domain<K, V>(children: BTreeMap<K, V>, tree: impl Fn(V) -> Tree) -> Tree {
            Tree::Domain(children.into_values().map(tree).collect())
        }
        let node =
            |devices: Vec<usize>| Tree::Domain(devices.into_iter().map(Tree::Device).collect());
        domain(regions, |zones| domain(zones, |nodes| domain(nodes, node)))
    }

    /// All devices in random order, those of one domain together.
    pub(crate) fn lay_out(&mut self, random: &mut SplitMix, line: &mut Vec<usize>) {
        match self {
            Tree::Device(position) => line.push(*position),
            Tree::Domain(children) => {
                random.shuffle(children);
                for child in children {
                    child.lay_out(random, line);
                }
            }
        }
    }

    fn sum(&self, of: &[f64]) -> f64 {
        match self {
            Tree::Device(position) => of[*position],
            Tree::Domain(children) => children.iter().map(|child| child.sum(of)).sum(),
        }
    }

    fn size(&self) -> u64 {
        match self {
            Tree::Device(_) => 1,
            Tree::Domain(children) => children.iter().map(Tree::size).sum(),
        }
    }
}

/// Whole quotas that sum to `partitions * replicas`, none above `partitions`. There are at least as many
/// devices as replicas, all with a weight above 0.
pub(crate) fn quotas(tree: &Tree, devices: &[&Device], partitions: u64, replicas: u8) -> Vec<u64> {
    let wanted: Vec<f64> =
        shares(devices, replicas).iter().map(|share| share * partitions as f64).collect();
    let mut quotas = vec![0; devices.len()];
    apportion(tree, &wanted, partitions * u64::from(replicas), partitions, &mut quotas);
    quotas
}

/// How many replicas of a partition each device holds on average: by weight, but at most 1. What the heaviest
/// cannot take is shared among the others, again by weight.
fn shares(devices: &[&Device], replicas: u8) -> Vec<f64> {
    let heaviest = devices.iter().map(|device| device.weight).fold(f64::MIN_POSITIVE, f64::max);
    // Relative, so that sums stay finite; never 0, so that there is always someone to share with.
    let weights: Vec<f64> =
        devices.iter().map(|device| (device.weight / heaviest).max(1e-12)).collect();
    let mut full = vec![false; weights.len()];
    let mut rest = f64::from(replicas);
    loop {
        let open = weights.iter().zip(&full).filter(|(_, full)| !**full);
        let each = rest / open.map(|(weight, _)| weight).sum::<f64>();
        let mut changed = false;
        for (weight, full) in weights.iter().zip(&mut full) {
            if !*full && weight * each > 1.0 {
                *full = true;
                rest -= 1.0;
                changed = true;
            }
        }
        if !changed {
            let share = |(weight, full): (&f64, &bool)| if *full { 1.0 } else { weight * each };
            return weights.iter().zip(&full).map(share).collect();
        }
    }
}

/// Splits `total` among the children of each domain so that each gets what it wants rounded down or up.
/// From the top down, because rounding devices alone could give one zone more than a replica of everything.
fn apportion(tree: &Tree, wanted: &[f64], total: u64, partitions: u64, quotas: &mut [u64]) {
    let children = match tree {
        Tree::Device(position) => {
            quotas[*position] = total;
            return;
        }
        Tree::Domain(children) => children,
    };
    // Sums of floats that should be whole may be a little off.
    const TOLERANCE: f64 = 1e-6;
    let want: Vec<f64> = children.iter().map(|child| child.sum(wanted) + TOLERANCE).collect();
    let limit: Vec<u64> = children.iter().map(|child| child.size() * partitions).collect();
    let mut given: Vec<u64> =
        want.iter().zip(&limit).map(|(want, limit)| (want.floor() as u64).min(*limit)).collect();
    let mut order: Vec<usize> = (0..children.len()).collect();
    order.sort_by(|a, b| want[*b].fract().total_cmp(&want[*a].fract()));
    let mut sum: u64 = given.iter().sum();
    while sum != total {
        // One round is the rule; more would need an error of the floats beyond the tolerance.
        for child in &order {
            if sum < total && given[*child] < limit[*child] {
                given[*child] += 1;
                sum += 1;
            } else if sum > total && given[*child] > 0 {
                given[*child] -= 1;
                sum -= 1;
            }
        }
    }
    for (child, total) in children.iter().zip(given) {
        apportion(child, wanted, total, partitions, quotas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::tests::device;

    fn quotas_of(weights: &[f64], partitions: u64, replicas: u8) -> Vec<u64> {
        let devices: Vec<Device> = weights
            .iter()
            .enumerate()
            .map(|(id, weight)| device(id as u32, 1, 1, "::1", *weight))
            .collect();
        let devices: Vec<&Device> = devices.iter().collect();
        quotas(&Tree::new(&devices), &devices, partitions, replicas)
    }

    #[test]
    fn follow_weights_up_to_all_partitions() {
        assert_eq!(quotas_of(&[1.0, 1.0, 2.0], 8, 1), [2, 2, 4]);
        assert_eq!(quotas_of(&[1.0, 1.0, 100.0], 8, 2), [4, 4, 8]);
        assert_eq!(quotas_of(&[1.0, 9.0, 100.0], 8, 3), [8, 8, 8]);
        assert_eq!(quotas_of(&[1.0; 3], 16, 1).iter().sum::<u64>(), 16);
        assert_eq!(quotas_of(&[f64::MAX, f64::MIN_POSITIVE, f64::MAX], 8, 2), [8, 0, 8]);
        assert_eq!(quotas_of(&[f64::MAX, f64::MIN_POSITIVE], 8, 2), [8, 8]);
    }
}

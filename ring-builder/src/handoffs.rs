//! The order in which other devices stand in for a partition's primaries. Swift: `Ring.get_more_nodes`.
//!
//! The ring is walked from a place that depends on the partition, up to four times: for regions that
//! hold nothing of the partition yet, then for such zones, then such nodes, then such devices. So the first
//! handoffs are as far from the primaries and each other as can be. Python Swift, replicators and every
//! proxy must agree on the order to the last element, oddities included.

use std::io::Write;

use md5::{Digest, Md5};
use types::Partition;

use crate::ring::{Node, Ring};

/// The handoffs of one partition, best first. Made by [`Ring::handoffs`].
pub struct Handoffs<'r> {
    ring: &'r Ring,
    seen: Seen,
    walk: Walk,
    /// What this walk looks for, an index of `SEARCHES`.
    search: usize,
    /// The next row to look at in the walk's current partition.
    row: usize,
    found: usize,
}

/// The failure domains, from wide to narrow, in the order in which new ones are looked for.
const SEARCHES: [Domain; 4] = [Domain::Region, Domain::Zone, Domain::Node, Domain::Device];

#[derive(Clone, Copy)]
enum Domain {
    Region,
    Zone,
    Node,
    Device,
}

impl<'r> Handoffs<'r> {
    pub(crate) fn new(ring: &'r Ring, partition: Partition) -> Self {
        let mut seen = Seen::new(ring);
        for id in ring.assigned(partition.0 as usize) {
            seen.insert(ring, id);
        }
        Handoffs { ring, seen, walk: Walk::new(ring, partition), search: 0, row: 0, found: 0 }
    }

    fn next_search(&mut self) {
        self.search += 1;
        self.row = 0;
        self.walk.restart();
    }
}

impl<'r> Iterator for Handoffs<'r> {
    type Item = Node<'r>;

    fn next(&mut self) -> Option<Node<'r>> {
        let rows = &self.ring.data().rows;
        while let Some(domain) = SEARCHES.get(self.search) {
            let partition = match self.walk.current() {
                Some(partition) if !self.seen.all(*domain) => partition,
                _ => {
                    self.next_search();
                    continue;
                }
            };
            while let Some(row) = rows.get(self.row) {
                self.row += 1;
                let Some(id) = row.get(partition).copied() else { continue };
                if self.seen.contains(self.ring, Domain::Device, id)
                    || self.seen.contains(self.ring, *domain, id)
                {
                    continue;
                }
                self.seen.insert(self.ring, id);
                let index = self.found;
                self.found += 1;
                let device = self.ring.device(id)?;
                return Some(Node { device, index, is_handoff: true });
            }
            self.row = 0;
            self.walk.advance();
        }
        None
    }
}

/// The partitions in the order in which they are visited.
struct Walk {
    start: u64,
    step: u64,
    end: u64,
    position: u64,
    wrapped: bool,
}

impl Walk {
    fn new(ring: &Ring, partition: Partition) -> Self {
        let mut digits = [0u8; 10];
        let mut cursor = &mut digits[..];
        // Ten digits hold every u32, so this cannot fail.
        let _ = write!(cursor, "{partition}");
        let unused = cursor.len();
        let hash: [u8; 16] = Md5::digest(&digits[..digits.len() - unused]).into();
        let start = u64::from(ring.partition(&types::ObjectHash(hash)).0);
        let end = ring.partition_count();
        // Large rings are sampled: at most about 65536 partitions are visited.
        Walk { start, step: (end / 65_536).max(1), end, position: start, wrapped: false }
    }

    fn restart(&mut self) {
        self.position = self.start;
        self.wrapped = false;
    }

    fn current(&self) -> Option<usize> {
        let ended = self.wrapped && self.position >= self.start;
        usize::try_from(self.position).ok().filter(|_| !ended)
    }

    fn advance(&mut self) {
        self.position += self.step;
        if !self.wrapped && self.position >= self.end {
            self.wrapped = true;
            // Swift's formula. When the steps fit exactly it begins one step late and so leaves out
            // partition 0; that is part of the order which all must share.
            self.position = self.step - (self.end - self.start) % self.step;
        }
    }
}

/// The domains which already hold, or were offered, a copy: one bit for each, in one allocation.
struct Seen {
    bits: Vec<u64>,
    /// Where the bits of each domain begin.
    first: [usize; 4],
    /// How many of each domain are not yet seen.
    unseen: [usize; 4],
}

impl Seen {
    fn new(ring: &Ring) -> Self {
        let totals = ring.totals();
        let zones = totals.regions;
        let nodes = zones + totals.zones;
        let devices = nodes + totals.nodes;
        let count = devices + ring.data().devs.len();
        Seen {
            bits: vec![0; count.div_ceil(64)],
            first: [0, zones, nodes, devices],
            unseen: [totals.regions, totals.zones, totals.nodes, totals.devices],
        }
    }

    fn bit(&self, ring: &Ring, domain: Domain, id: u32) -> usize {
        let number = match domain {
            Domain::Region => ring.place(id).region,
            Domain::Zone => ring.place(id).zone,
            Domain::Node => ring.place(id).node,
            Domain::Device => id as usize,
        };
        self.first[domain as usize] + number
    }

    fn contains(&self, ring: &Ring, domain: Domain, id: u32) -> bool {
        let bit = self.bit(ring, domain, id);
        self.bits[bit / 64] & (1 << (bit % 64)) != 0
    }

    fn insert(&mut self, ring: &Ring, id: u32) {
        for domain in SEARCHES {
            if !self.contains(ring, domain, id) {
                let bit = self.bit(ring, domain, id);
                self.bits[bit / 64] |= 1 << (bit % 64);
                self.unseen[domain as usize] -= 1;
            }
        }
    }

    fn all(&self, domain: Domain) -> bool {
        self.unseen[domain as usize] == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(mut walk: Walk) -> Vec<u64> {
        let mut out = Vec::new();
        while let Some(position) = walk.current() {
            out.push(position as u64);
            walk.advance();
        }
        out
    }

    #[test]
    fn walks_as_swift_does() {
        let walk = |start, step, end| Walk { start, step, end, position: start, wrapped: false };
        assert_eq!(visited(walk(0, 1, 4)), [0, 1, 2, 3]);
        assert_eq!(visited(walk(2, 1, 4)), [2, 3, 1]);
        assert_eq!(visited(walk(5, 2, 8)), [5, 7, 1, 3]);
        assert_eq!(visited(walk(4, 2, 8)), [4, 6, 2]);
        assert_eq!(visited(walk(0, 1, 1)), [0]);
    }
}

//! Sharing work between replicators that do not talk to each other, by rendezvous hashing.

use rendezvous_hash::{IdNode, Node, NodeHasher, RendezvousNodes};
use std::hash::{Hash, Hasher};

/// Whether the item with this key is the share of `worker`, one of `workers` numbered from 0.
///
/// Every item is the share of exactly one worker, shares are about equal, and with one worker more or less only
/// the items of that one change hands. The answer depends on the arguments alone, on every machine and with
/// every version of this program.
pub fn mine(worker: u32, workers: u32, key: &[u8]) -> bool {
    if workers <= 1 {
        return worker == 0;
    }
    let mut nodes = RendezvousNodes::new(StableHasher);
    nodes.extend((0..workers).map(IdNode::new));
    nodes.calc_candidates(&Key(key)).next().is_some_and(|node| node.node_id() == &worker)
}

/// Hashes its bytes and nothing else: the `Hash` of a slice adds what the standard library pleases.
struct Key<'k>(&'k [u8]);

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

struct StableHasher;

impl NodeHasher<u32> for StableHasher {
    fn hash<T: Hash>(&self, node: &u32, item: &T) -> u64 {
        let mut state = Fnv(0xcbf2_9ce4_8422_2325);
        state.write(&node.to_le_bytes());
        item.hash(&mut state);
        state.finish()
    }
}

/// FNV-1a, with the finalizer of MurmurHash3 because FNV alone hardly mixes its high bits.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(workers: u32, key: &[u8]) -> u32 {
        let owners: Vec<u32> = (0..workers).filter(|worker| mine(*worker, workers, key)).collect();
        assert_eq!(owners.len(), 1, "{key:?} among {workers}");
        owners[0]
    }

    proptest! {
        #[test]
        fn one_owner_and_only_the_newcomer_takes(
            key in proptest::collection::vec(any::<u8>(), 0..40), workers in 1u32..12,
        ) {
            let (before, after) = (owner(workers, &key), owner(workers + 1, &key));
            prop_assert!(after == before || after == workers);
        }
    }

    #[test]
    fn shares_are_about_equal() {
        let mut shares = [0u32; 4];
        for item in 0..4000 {
            shares[owner(4, format!("AUTH_test/c{item}").as_bytes()) as usize] += 1;
        }
        assert!(shares.iter().all(|share| (850..1150).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_answer_never_changes() {
        let owners = [&b""[..], b"AUTH_test/c", b"AUTH_test/d", b"x"].map(|key| owner(5, key));
        assert_eq!(owners, [4, 0, 2, 4]);
    }
}

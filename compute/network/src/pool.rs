//! The addresses of a subnet: which are free, and who decides.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 subnet, `10.0.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: u32,
    prefix: u8,
}

/// Text that is no subnet for ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not an address, a slash and a number.
    #[error("not a subnet: an address and a prefix length are expected, like 10.0.0.0/24")]
    Form,
    /// Address bits beyond the prefix.
    #[error("the address has bits beyond the prefix; did you mean {0}?")]
    HostBits(Cidr),
    /// No room for a gateway and a port, or half of the internet.
    #[error("the prefix length must be from 8 to 30")]
    Prefix,
}

impl Cidr {
    /// The address of the network itself.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network)
    }

    /// The address of everybody in it.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network | !mask(self.prefix))
    }

    /// Whether an address is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.network
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').ok_or(CidrError::Form)?;
        let address: Ipv4Addr = address.parse().map_err(|_| CidrError::Form)?;
        if prefix.is_empty() || !prefix.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(CidrError::Form);
        }
        let prefix: u8 = prefix.parse().map_err(|_| CidrError::Prefix)?;
        if !(8..=30).contains(&prefix) {
            return Err(CidrError::Prefix);
        }
        let cidr = Cidr { network: address.to_bits() & mask(prefix), prefix };
        if cidr.network != address.to_bits() {
            return Err(CidrError::HostBits(cidr));
        }
        Ok(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

/// Why an address is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// All are taken.
    #[error("no address is free in {0}")]
    Exhausted(Cidr),
    /// Not in the subnet, or its first or last.
    #[error("{address} is not an address for a port in {cidr}")]
    Outside {
        /// Which.
        address: Ipv4Addr,
        /// Where.
        cidr: Cidr,
    },
    /// Somebody has it.
    #[error("{0} is taken")]
    Taken(Ipv4Addr),
}

/// Gives out the addresses of a subnet, all but the network's own, the broadcast address and the gateway's, which
/// is the first after the network's.
///
/// Addresses go round: one that was given back is the last to be given again, so that who still has it in a
/// cache does not reach somebody else.
#[derive(Clone, Debug)]
pub struct AddressPool {
    cidr: Cidr,
    taken: BTreeSet<u32>,
    /// Where the search for a free one begins.
    next: u32,
}

impl AddressPool {
    /// All addresses are free.
    pub fn new(cidr: Cidr) -> Self {
        let mut pool = AddressPool { cidr, taken: BTreeSet::new(), next: 0 };
        pool.next = pool.first();
        pool
    }

    /// The address of the subnet's router.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.cidr.network + 1)
    }

    /// Takes the next free address. Takes time by the run of taken addresses it has to pass.
    pub fn take(&mut self) -> Result<Ipv4Addr, PoolError> {
        let free = self.free_from(self.next, self.last());
        let free = free.or_else(|| self.free_from(self.first(), self.last()));
        let address = free.ok_or(PoolError::Exhausted(self.cidr))?;
        self.taken.insert(address);
        self.next = if address == self.last() { self.first() } else { address + 1 };
        Ok(Ipv4Addr::from_bits(address))
    }

    /// Takes one that somebody wants.
    pub fn take_this(&mut self, address: Ipv4Addr) -> Result<(), PoolError> {
        let bits = address.to_bits();
        if !(self.first()..=self.last()).contains(&bits) {
            return Err(PoolError::Outside { address, cidr: self.cidr });
        }
        if !self.taken.insert(bits) {
            return Err(PoolError::Taken(address));
        }
        Ok(())
    }

    /// Gives one back; whether it was taken.
    pub fn release(&mut self, address: Ipv4Addr) -> bool {
        self.taken.remove(&address.to_bits())
    }

    /// How many are free.
    pub fn free_count(&self) -> u32 {
        let all = self.last() - self.first() + 1;
        // Only addresses of the pool are ever taken, so the difference is never below zero.
        all.saturating_sub(u32::try_from(self.taken.len()).unwrap_or(u32::MAX))
    }

    fn free_from(&self, from: u32, to: u32) -> Option<u32> {
        let mut candidate = from;
        for taken in self.taken.range(from..=to) {
            if *taken != candidate {
                break;
            }
            candidate += 1;
        }
        (candidate <= to).then_some(candidate)
    }

    /// The first after the gateway.
    fn first(&self) -> u32 {
        self.cidr.network + 2
    }

    /// The last before the broadcast address.
    fn last(&self) -> u32 {
        self.cidr.broadcast().to_bits() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(cidr: &str) -> AddressPool {
        AddressPool::new(cidr.parse().expect("a subnet"))
    }

    #[test]
    fn subnets_are_read_strictly() {
        let cidr: Cidr = "10.1.2.0/23".parse().expect("a subnet");
        assert_eq!(
            (cidr.to_string().as_str(), cidr.broadcast()),
            ("10.1.2.0/23", [10, 1, 3, 255].into())
        );
        assert!(cidr.contains([10, 1, 3, 1].into()) && !cidr.contains([10, 1, 4, 0].into()));
        for bad in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/", "::/64"] {
            assert_eq!(bad.parse::<Cidr>(), Err(CidrError::Form), "{bad}");
        }
        for bad in ["10.0.0.0/7", "10.0.0.0/31", "10.0.0.0/999"] {
            assert_eq!(bad.parse::<Cidr>(), Err(CidrError::Prefix), "{bad}");
        }
        let error = "10.0.0.5/24".parse::<Cidr>().expect_err("host bits").to_string();
        assert!(error.contains("did you mean 10.0.0.0/24?"), "{error}");
    }

    #[test]
    fn the_smallest_subnet_has_one_address() {
        let mut pool = pool("192.168.0.4/30");
        assert_eq!(pool.gateway(), Ipv4Addr::new(192, 168, 0, 5));
        assert_eq!((pool.free_count(), pool.take()), (1, Ok([192, 168, 0, 6].into())));
        assert!(matches!(pool.take(), Err(PoolError::Exhausted(_))));
        assert!(pool.release([192, 168, 0, 6].into()) && !pool.release([192, 168, 0, 6].into()));
        assert_eq!(pool.take(), Ok([192, 168, 0, 6].into()));
    }

    #[test]
    fn what_was_given_back_comes_last() {
        let mut pool = pool("10.0.0.0/29");
        let first = pool.take().expect("free");
        pool.take_this([10, 0, 0, 4].into()).expect("free");
        assert_eq!(
            pool.take_this([10, 0, 0, 4].into()),
            Err(PoolError::Taken([10, 0, 0, 4].into()))
        );
        pool.release(first);
        let rest: Vec<u8> = (0..4).map(|_| pool.take().expect("free").octets()[3]).collect();
        assert_eq!(rest, [3, 5, 6, 2]);
        for outside in [[10, 0, 0, 0], [10, 0, 0, 1], [10, 0, 0, 7], [10, 0, 1, 2]] {
            assert!(matches!(pool.take_this(outside.into()), Err(PoolError::Outside { .. })));
        }
    }

    proptest! {
        #[test]
        fn never_gives_one_twice(
            steps in proptest::collection::vec(proptest::option::of(0usize..30), 0..80),
        ) {
            let mut pool = pool("10.0.0.0/27");
            let mut held: Vec<Ipv4Addr> = Vec::new();
            for step in steps {
                match step {
                    Some(index) if !held.is_empty() => {
                        let address = held.swap_remove(index % held.len());
                        prop_assert!(pool.release(address));
                    }
                    _ => match pool.take() {
                        Ok(address) => {
                            prop_assert!(!held.contains(&address) && address != pool.gateway());
                            held.push(address);
                        }
                        Err(error) => {
                            prop_assert!(matches!(error, PoolError::Exhausted(_)));
                            prop_assert_eq!(held.len(), 29);
                        }
                    },
                }
                prop_assert_eq!(pool.free_count() as usize, 29 - held.len());
            }
        }
    }
}

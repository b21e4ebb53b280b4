//! A range of IP addresses: one address, or a network as `10.0.0.0/8`, `10.0.0.0/255.0.0.0` or `fc00::/7`. As Python's
//! `ipaddress.ip_network`, which Swift uses: an address with bits below its mask is no network.

use std::net::{IpAddr, Ipv4Addr};

/// Addresses as 128 bits; those of the old protocol in the upper 32.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AddressRange {
    is_v4: bool,
    network: u128,
    mask: u128,
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// So many ones, then zeros.
fn mask(ones: u32) -> u128 {
    if ones == 0 { 0 } else { u128::MAX << (128 - ones.min(128)) }
}

impl AddressRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let is_v4 = address.is_ipv4();
        let longest = if is_v4 { 32 } else { 128 };
        let ones = match length {
            None => longest,
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().ok().filter(|ones| *ones <= longest)?
            }
            Some(length) if is_v4 => ones_of(length.parse().ok()?)?,
            Some(_) => return None,
        };
        let (network, mask) = (bits(address), mask(ones));
        (network & !mask == 0).then_some(AddressRange { is_v4, network, mask })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.is_v4 && bits(address) & self.mask == self.network
    }
}

/// The length of a mask that is written as an address, or as the address of what it does not cover.
fn ones_of(mask: Ipv4Addr) -> Option<u32> {
    let bits = mask.to_bits();
    let plain = |bits: u32| bits.leading_ones() + bits.trailing_zeros() == 32 || bits == u32::MAX;
    match () {
        () if plain(bits) => Some(bits.leading_ones()),
        () if plain(!bits) => Some((!bits).leading_ones()),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges() {
        let within = |range: &str, address: &str| {
            let range = AddressRange::parse(range).expect("a range");
            range.contains(address.parse().expect("an address"))
        };
        assert!(within("127.0.0.1", "127.0.0.1") && !within("127.0.0.1", "127.0.0.2"));
        assert!(within("10.1.0.0/16", "10.1.255.3") && !within("10.1.0.0/16", "10.2.0.0"));
        assert!(within("10.1.0.0/255.255.0.0", "10.1.9.9"));
        assert!(within("10.1.0.0/0.0.255.255", "10.1.9.9"));
        assert!(within("0.0.0.0/0", "255.1.2.3") && !within("0.0.0.0/0", "::1"));
        assert!(within("fc00::/7", "fdff::1") && !within("fc00::/7", "fe00::1"));
        assert!(within("::/0", "fe00::1") && within("::1", "::1"));
        assert!(within("127.0.0.0/8", "::ffff:127.0.0.1"), "an IPv4 client of a socket for both");
    }

    #[test]
    fn no_ranges() {
        let bad = ["", "x", "10.1.0.1/16", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129"];
        for text in bad {
            assert_eq!(AddressRange::parse(text), None, "{text}");
        }
        for text in ["10.0.0.0/255.0.255.0", "::/ffff::", "1.2.3", "1.2.3.4/8/8", "::1/64"] {
            assert_eq!(AddressRange::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[0-9a-f.:/]{0,20}", address: u32) {
            if let Some(range) = AddressRange::parse(&text) {
                range.contains(IpAddr::V4(Ipv4Addr::from_bits(address)));
            }
        }
    }
}

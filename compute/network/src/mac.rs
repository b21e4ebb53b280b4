//! Hardware addresses of ports.

use std::fmt;
use std::str::FromStr;

/// A 48-bit hardware address. Its text is lower case, `fa:16:3e:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

/// Text that is no hardware address of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six pairs of hexadecimal digits.
    #[error(
        "not a hardware address: six pairs of hexadecimal digits are expected, like fa:16:3e:00:00:01"
    )]
    Form,
    /// An address of many, which no port can have.
    #[error("this is a multicast address; a port needs one of its own")]
    Multicast,
}

impl MacAddress {
    /// The first half of what OpenStack makes up: locally administered, and of one station.
    pub const PREFIX: [u8; 3] = [0xfa, 0x16, 0x3e];

    /// One of the 2^24 addresses under [`MacAddress::PREFIX`]. Whoever calls this brings the randomness, and asks
    /// again when the address is taken.
    pub fn generated(random: [u8; 3]) -> Self {
        let ([a, b, c], [d, e, f]) = (Self::PREFIX, random);
        MacAddress([a, b, c, d, e, f])
    }

    /// Its bytes in the order they travel.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut octets = [0; 6];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair = pairs.next().ok_or(MacError::Form)?;
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MacError::Form);
            }
            *octet = u8::from_str_radix(pair, 16).map_err(|_| MacError::Form)?;
        }
        if pairs.next().is_some() {
            return Err(MacError::Form);
        }
        if octets[0] & 1 != 0 {
            return Err(MacError::Multicast);
        }
        Ok(MacAddress(octets))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn generated_ones_are_local_and_of_one_station() {
        let address = MacAddress::generated([1, 2, 0xff]);
        assert_eq!(address.to_string(), "fa:16:3e:01:02:ff");
        assert_eq!(address.octets()[0] & 0b11, 0b10);
    }

    #[test]
    fn refuses_other_text() {
        let bad = [
            "",
            "fa:16:3e:00:00",
            "fa:16:3e:00:00:00:00",
            "fa-16-3e-00-00-00",
            "+a:16:3e:00:00:00",
        ];
        for text in bad {
            assert_eq!(text.parse::<MacAddress>(), Err(MacError::Form), "{text}");
        }
        assert_eq!("01:00:5e:00:00:01".parse::<MacAddress>(), Err(MacError::Multicast));
        assert_eq!("FA:16:3E:0A:0b:0C".parse(), Ok(MacAddress::generated([10, 11, 12])));
    }

    proptest! {
        #[test]
        fn round_trips_and_never_panics(random: [u8; 3], text in ".{0,20}") {
            let address = MacAddress::generated(random);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            let _ = text.parse::<MacAddress>();
        }
    }
}

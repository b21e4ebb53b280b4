//! Bytes which tell whose they are, so that one wrong byte is seen wherever it comes from.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

/// One state of one object: everything about it follows from these two numbers and the object's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Counts the writes of a run.
    pub number: u64,
    /// Length of the whole body.
    pub size: u32,
}

impl Version {
    /// The body of an object in this version.
    pub fn bytes(self, name: &str) -> Bytes {
        let mut bytes = format!("{name} {} {}\n", self.number, self.size).into_bytes();
        let mut state = self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for byte in name.bytes() {
            state = step(state ^ u64::from(byte));
        }
        while bytes.len() < self.size as usize {
            state = step(state);
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(self.size as usize);
        bytes.into()
    }

    /// Which version a body is, after a look at every byte of it.
    pub fn of(name: &str, body: &[u8]) -> Result<Version> {
        let end = body.iter().position(|byte| *byte == b'\n').context("the body has no title")?;
        let title = std::str::from_utf8(&body[..end]).context("the title is no text")?;
        let mut words = title.rsplitn(3, ' ');
        let size = words.next().context("a size")?.parse()?;
        let number = words.next().context("a number")?.parse()?;
        ensure!(words.next() == Some(name), "{name} has the bytes of another object: {title}");
        let version = Version { number, size };
        let expected = version.bytes(name);
        ensure!(
            body.len() == expected.len(),
            "{title} has {} bytes instead of {}",
            body.len(),
            expected.len()
        );
        let wrong = body.iter().zip(&expected).position(|(is, shall)| is != shall);
        match wrong {
            None => Ok(version),
            Some(at) => anyhow::bail!("{title} has a wrong byte at {at}"),
        }
    }
}

fn step(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_byte_is_seen() {
        let version = Version { number: 7, size: 300 };
        let bytes = version.bytes("a/b c");
        assert_eq!(bytes.len(), 300);
        assert_eq!(Version::of("a/b c", &bytes).expect("right"), version);
        assert!(Version::of("a/b d", &bytes).is_err());
        assert!(Version::of("a/b c", &bytes[..299]).is_err());
        for at in 0..bytes.len() {
            let mut wrong = bytes.to_vec();
            wrong[at] ^= 1;
            assert!(Version::of("a/b c", &wrong).is_err(), "byte {at}");
        }
    }
}

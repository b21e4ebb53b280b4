//! The primitives of all stored records: variable-length integers, texts, timestamps.
//!
//! - integer: LEB128, least significant group first, at most 10 bytes
//! - text: its length as integer, then its UTF-8
//! - timestamp: integer `raw * 2 + has_offset`, then the offset as integer if there is one
//!
//! Reading never trusts a length: whatever does not fit is [`Corrupt`].

use types::Timestamp;

/// Stored bytes that are no record. The disk was damaged, or a newer version has written them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored record cannot be read")]
pub struct Corrupt;

/// Appends an integer.
pub(crate) fn put_integer(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a text.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_integer(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a timestamp.
pub(crate) fn put_timestamp(out: &mut Vec<u8>, at: Timestamp) {
    put_integer(out, at.raw << 1 | u64::from(at.offset != 0));
    if at.offset != 0 {
        put_integer(out, at.offset);
    }
}

/// Takes a record apart from its front.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.0.split_first().ok_or(Corrupt)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: u64) -> Result<&'a [u8], Corrupt> {
        let count = usize::try_from(count).map_err(|_| Corrupt)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Corrupt)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        self.bytes(N as u64)?.try_into().map_err(|_| Corrupt)
    }

    /// An integer.
    pub fn integer(&mut self) -> Result<u64, Corrupt> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return Err(Corrupt);
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Corrupt)
    }

    /// An integer of 32 bits.
    pub fn small(&mut self) -> Result<u32, Corrupt> {
        self.integer()?.try_into().map_err(|_| Corrupt)
    }

    /// A text.
    pub fn text(&mut self) -> Result<&'a str, Corrupt> {
        let length = self.integer()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Corrupt)
    }

    /// A timestamp.
    pub fn timestamp(&mut self) -> Result<Timestamp, Corrupt> {
        let coded = self.integer()?;
        let raw = coded >> 1;
        if Timestamp::from_raw(raw).raw != raw {
            return Err(Corrupt);
        }
        let offset = if coded & 1 == 1 { self.integer()? } else { 0 };
        Ok(Timestamp { raw, offset })
    }

    /// What is left, which must be nothing.
    pub fn end(self) -> Result<(), Corrupt> {
        if self.0.is_empty() { Ok(()) } else { Err(Corrupt) }
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn primitives_round_trip(value: u64, text in ".{0,20}", raw in 0u64..1_000_000_000_000_000, offset in 0u64..3) {
            let at = Timestamp { raw, offset };
            let mut out = Vec::new();
            put_integer(&mut out, value);
            put_text(&mut out, &text);
            put_timestamp(&mut out, at);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.integer(), Ok(value));
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.timestamp(), Ok(at));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = Reader::new(&bytes).integer();
            let _ = Reader::new(&bytes).text();
            let _ = Reader::new(&bytes).timestamp();
            let _ = Reader::new(&bytes).array::<16>();
        }
    }

    #[test]
    fn too_long_an_integer_is_corrupt() {
        assert_eq!(Reader::new(&[0xff; 11]).integer(), Err(Corrupt));
        assert_eq!(Reader::new(&[0x80; 3]).integer(), Err(Corrupt));
        assert_eq!(Reader::new(&[9, b'a']).text(), Err(Corrupt));
    }
}

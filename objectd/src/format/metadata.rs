//! An object's metadata: header names and values, sorted.

use super::bytes::{FormatError, Reader, Writer};
use std::sync::Arc;

/// Keys are lower case; values are any bytes that a header may hold. Clones share until one is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(Arc<Vec<Item>>);

type Item = (Box<str>, Box<[u8]>);

impl Metadata {
    /// Sets a key, whatever it held.
    pub fn set(&mut self, key: &str, value: &[u8]) {
        let items = Arc::make_mut(&mut self.0);
        match items.binary_search_by(|(known, _)| known.as_ref().cmp(key)) {
            Ok(at) => items[at].1 = value.into(),
            Err(at) => items.insert(at, (key.into(), value.into())),
        }
    }

    /// What a key holds.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let at = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// What a key holds, as text; bytes that are none are replaced.
    pub fn text(&self, key: &str) -> String {
        String::from_utf8_lossy(self.get(key).unwrap_or_default()).into_owned()
    }

    /// All items in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// See the format page.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u16(self.0.len() as u16);
        for (key, value) in self.0.iter() {
            out.u16(key.len() as u16).u32(value.len() as u32);
            out.put(key.as_bytes()).put(value);
        }
        out.0
    }

    /// Reads what [`Metadata::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes);
        let count = fields.u16()?;
        let mut out: Vec<Item> = Vec::with_capacity(count.into());
        for _ in 0..count {
            let (key_len, value_len) = (fields.u16()?, fields.u32()?);
            let key = std::str::from_utf8(fields.take(usize::from(key_len))?)
                .map_err(|_| FormatError::Field("metadata key"))?;
            let value = fields.take(value_len as usize)?;
            if out.last().is_some_and(|(last, _)| last.as_ref() >= key) {
                return Err(FormatError::Field("metadata key"));
            }
            out.push((key.into(), value.into()));
        }
        if fields.is_empty() {
            Ok(Metadata(Arc::new(out)))
        } else {
            Err(FormatError::Field("metadata"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(items in proptest::collection::vec(("[a-z-]{1,20}", proptest::collection::vec(any::<u8>(), 0..40)), 0..20)) {
            let mut metadata = Metadata::default();
            for (key, value) in &items {
                metadata.set(key, value);
            }
            prop_assert_eq!(Metadata::decode(&metadata.encode()), Ok(metadata.clone()));
            for (key, _) in &items {
                let last = items.iter().rev().find(|(other, _)| other == key).map(|(_, v)| v.as_slice());
                prop_assert_eq!(metadata.get(key), last);
            }
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Metadata::decode(&bytes);
        }
    }
}

//! What REPLICATE answers: a digest of each suffix of a partition (Swift: obj/server.py, `REPLICATE`).

use crate::pickle::{PickleError, Value};
use std::collections::BTreeMap;
use types::{hex_decode, hex_encode};

/// The digest of all objects whose hashes end with a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuffixHash {
    /// Of a replicated policy.
    Whole([u8; 16]),
    /// Of an erasure-coded policy: of the fragments of each index, and under `None` of what they have in common.
    Fragments(BTreeMap<Option<u8>, [u8; 16]>),
}

/// Of each suffix that has something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuffixHashes(pub BTreeMap<u16, SuffixHash>);

/// Why a body is no answer to REPLICATE.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuffixHashesError {
    /// It is no pickle, or one of something else.
    #[error("the suffix hashes cannot be read")]
    Pickle(#[from] PickleError),
    /// A part of it is not what it must be.
    #[error("among the suffix hashes, a {0} is malformed")]
    Field(&'static str),
}

impl SuffixHashes {
    /// The body, a pickle.
    pub fn encode(&self) -> Vec<u8> {
        let items = self.0.iter().map(|(suffix, hash)| {
            let value = match hash {
                SuffixHash::Whole(digest) => text(digest),
                SuffixHash::Fragments(digests) => {
                    let items = digests.iter().map(|(index, digest)| {
                        let index = index.map_or(Value::None, |index| Value::Int(index.into()));
                        (index, text(digest))
                    });
                    Value::Dict(items.collect())
                }
            };
            (Value::Text(format!("{suffix:03x}")), value)
        });
        Value::Dict(items.collect()).encode()
    }

    /// The body of an answer to a request that names suffixes, which only has them looked at again.
    pub fn encode_none() -> Vec<u8> {
        Value::None.encode()
    }

    /// Reads a body. Suffixes that the other end could not tell are left out.
    pub fn decode(body: &[u8]) -> Result<Self, SuffixHashesError> {
        let items = match Value::decode(body)? {
            Value::Dict(items) => items,
            Value::None => Vec::new(),
            _ => return Err(SuffixHashesError::Field("dictionary")),
        };
        let mut hashes = BTreeMap::new();
        for (suffix, hash) in items {
            let hash = match hash {
                Value::None => continue,
                Value::Dict(items) => {
                    SuffixHash::Fragments(items.into_iter().map(fragment).collect::<Result<
                        _,
                        SuffixHashesError,
                    >>(
                    )?)
                }
                whole => SuffixHash::Whole(digest(&whole)?),
            };
            hashes.insert(suffix_of(&suffix)?, hash);
        }
        Ok(SuffixHashes(hashes))
    }
}

fn text(digest: &[u8; 16]) -> Value {
    Value::Text(hex_encode(digest))
}

fn digest(value: &Value) -> Result<[u8; 16], SuffixHashesError> {
    let Value::Text(hex) = value else { return Err(SuffixHashesError::Field("digest")) };
    let bytes = hex_decode(hex).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(SuffixHashesError::Field("digest"))
}

fn suffix_of(value: &Value) -> Result<u16, SuffixHashesError> {
    let digits = match value {
        Value::Text(text) if text.len() == 3 && text.bytes().all(|b| b.is_ascii_hexdigit()) => text,
        _ => return Err(SuffixHashesError::Field("suffix")),
    };
    u16::from_str_radix(digits, 16).map_err(|_| SuffixHashesError::Field("suffix"))
}

fn fragment((index, hash): (Value, Value)) -> Result<(Option<u8>, [u8; 16]), SuffixHashesError> {
    let index = match index {
        Value::None => None,
        Value::Int(index) => {
            Some(index.try_into().map_err(|_| SuffixHashesError::Field("fragment index"))?)
        }
        _ => return Err(SuffixHashesError::Field("fragment index")),
    };
    Ok((index, digest(&hash)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash() -> impl Strategy<Value = SuffixHash> {
        let indexed = proptest::collection::btree_map(any::<Option<u8>>(), any::<[u8; 16]>(), 0..4);
        prop_oneof![
            any::<[u8; 16]>().prop_map(SuffixHash::Whole),
            indexed.prop_map(SuffixHash::Fragments),
        ]
    }

    proptest! {
        #[test]
        fn round_trips(hashes in proptest::collection::btree_map(0u16..0x1000, hash(), 0..20)) {
            let hashes = SuffixHashes(hashes);
            prop_assert_eq!(SuffixHashes::decode(&hashes.encode()), Ok(hashes));
        }
    }

    #[test]
    fn malformed_parts_are_named() {
        let of = |key: Value, value: Value| {
            SuffixHashes::decode(&Value::Dict(vec![(key, value)]).encode())
        };
        let word = |word: &str| Value::Text(word.to_owned());
        let whole = || word(&"0".repeat(32));
        assert_eq!(of(word("+ab"), whole()), Err(SuffixHashesError::Field("suffix")));
        assert_eq!(of(word("abc"), word("0")), Err(SuffixHashesError::Field("digest")));
        let index = Value::Dict(vec![(Value::Int(256), whole())]);
        assert_eq!(of(word("abc"), index), Err(SuffixHashesError::Field("fragment index")));
        assert_eq!(of(word("abc"), Value::None), Ok(SuffixHashes::default()));
        assert_eq!(SuffixHashes::decode(&SuffixHashes::encode_none()), Ok(SuffixHashes::default()));
    }
}

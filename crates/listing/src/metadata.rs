//! Metadata of an account or a container: headers with values, each under its own timestamp.
//!
//! A value is replaced by a newer one only; an empty value says "removed at this moment" and is remembered,
//! within bounds, so that an older value which arrives late does not come back (Swift: common/db.py, `update_metadata` and `validate_metadata`).

use std::collections::BTreeMap;
use types::{Limits, Timestamp};

/// A value, and when it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataValue {
    /// The value; empty when removed.
    pub value: String,
    /// When it was set or removed.
    pub at: Timestamp,
}

/// All metadata of an entity by header name, in the form `X-Container-Meta-Color`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub BTreeMap<String, MetadataValue>);

/// Why metadata is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A name or value is not UTF-8, or holds a NUL.
    #[error("Metadata must be valid UTF-8")]
    NotUtf8,
    /// Too many items.
    #[error("Too many metadata items; max {0}")]
    TooMany(u32),
    /// Too many bytes.
    #[error("Total metadata too large; max {0}")]
    TooLarge(u32),
}

impl Metadata {
    /// Takes over whatever is newer in `changes`. Says whether anything was.
    ///
    /// The removal of a name that is not here is not remembered: a client could make up such names without end,
    /// and the whole record is written again with every change of a row. The price: when a removal overtakes
    /// the very first POST of its name, that POST, arriving late, sets what should be gone on this replica.
    pub fn merge(&mut self, changes: &Metadata) -> bool {
        let mut changed = false;
        for (name, new) in &changes.0 {
            let newer = match self.0.get(name) {
                Some(old) => new.at > old.at,
                None => !new.value.is_empty(),
            };
            if newer {
                self.0.insert(name.clone(), new.clone());
                changed = true;
            }
        }
        changed
    }

    /// Refuses more user metadata than the cluster allows. Lengths count characters, as in Swift.
    pub fn check(&self, limits: &Limits) -> Result<(), MetadataError> {
        let (mut count, mut size) = (0u32, 0usize);
        for (name, item) in self.visible() {
            let lower = name.to_ascii_lowercase();
            let user = ["x-account-meta-", "x-container-meta-"]
                .iter()
                .find_map(|prefix| lower.strip_prefix(prefix));
            if let Some(key) = user {
                count += 1;
                size += key.chars().count() + item.chars().count();
            }
        }
        if count > limits.max_meta_count {
            return Err(MetadataError::TooMany(limits.max_meta_count));
        }
        if size > limits.max_meta_overall_size as usize {
            return Err(MetadataError::TooLarge(limits.max_meta_overall_size));
        }
        Ok(())
    }

    /// Keeps at most so many removals in memory, the newest. Only a POST that is older than a forgotten removal
    /// and arrives after it was forgotten could tell the difference: it would set its value again.
    pub fn forget_removals(&mut self, most: usize) {
        let removed = self.0.iter().filter(|(_, item)| item.value.is_empty());
        let mut removed: Vec<(Timestamp, String)> =
            removed.map(|(name, item)| (item.at, name.clone())).collect();
        removed.sort_unstable();
        let excess = removed.len().saturating_sub(most);
        for (_, name) in removed.drain(..excess) {
            self.0.remove(&name);
        }
    }

    /// What clients see: names and values that are not removed.
    pub fn visible(&self) -> impl Iterator<Item = (&str, &str)> {
        let items = self.0.iter().filter(|(_, item)| !item.value.is_empty());
        items.map(|(name, item)| (name.as_str(), item.value.as_str()))
    }

    /// The same names, all removed at a moment, but for those whose lower-case name is in `kept`.
    pub fn cleared(&self, at: Timestamp, kept: &[&str]) -> Metadata {
        let gone = self.0.keys().filter(|name| !kept.contains(&name.to_ascii_lowercase().as_str()));
        let value = MetadataValue { value: String::new(), at };
        Metadata(gone.map(|name| (name.clone(), value.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(name: &str, value: &str, at: u64) -> Metadata {
        let value = MetadataValue { value: value.to_owned(), at: Timestamp::from_seconds(at) };
        Metadata([(name.to_owned(), value)].into())
    }

    #[test]
    fn limits_count_only_user_metadata_that_is_there() {
        let limits = Limits { max_meta_count: 1, max_meta_overall_size: 6, ..Limits::default() };
        let mut metadata = one("X-Container-Meta-A", "üüüüü", 1);
        metadata.merge(&one("X-Container-Sysmeta-B", "very long indeed", 1));
        metadata.merge(&one("X-Container-Meta-C", "", 1));
        assert_eq!(metadata.check(&limits), Ok(()));
        metadata.merge(&one("X-Container-Meta-A", "123456", 2));
        assert_eq!(metadata.check(&limits), Err(MetadataError::TooLarge(6)));
        metadata.merge(&one("X-Account-Meta-D", "x", 2));
        assert_eq!(metadata.check(&limits), Err(MetadataError::TooMany(1)));
    }

    #[test]
    fn clearing_keeps_what_must_stay() {
        let mut metadata = one("X-Container-Meta-A", "1", 1);
        metadata.merge(&one("X-Container-Sysmeta-Shard-Root", "r", 1));
        let at = Timestamp::from_seconds(2);
        metadata.merge(&metadata.cleared(at, &["x-container-sysmeta-shard-root"]));
        let left: Vec<_> = metadata.visible().collect();
        assert_eq!(left, [("X-Container-Sysmeta-Shard-Root", "r")]);
    }

    #[test]
    fn only_removals_of_what_was_there_are_remembered_and_only_so_many() {
        let mut metadata = one("X-Container-Meta-A", "1", 1);
        assert!(!metadata.merge(&one("X-Container-Meta-B", "", 2)));
        assert!(metadata.merge(&one("X-Container-Meta-A", "", 2)));
        assert!(!metadata.merge(&one("X-Container-Meta-A", "1", 1)), "a late POST changes nothing");
        for (name, at) in [("C", 3), ("D", 5), ("E", 4)] {
            metadata.merge(&one(name, "1", at));
            metadata.merge(&one(name, "", at + 10));
        }
        metadata.merge(&one("Z", "stays", 1));
        metadata.forget_removals(2);
        let left: Vec<_> = metadata.0.keys().map(String::as_str).collect();
        assert_eq!(left, ["D", "E", "Z"], "the newest removals, and all that is visible");
    }

    proptest! {
        /// Values and removals alike, once every name was set: see [`Metadata::merge`] for the case before.
        #[test]
        fn merging_removals_is_independent_of_order(items in proptest::collection::vec(("[ab]", 2u64..8), 0..8)) {
            // What happens follows from the moment: a third are removals.
            let text = |at: u64| if at.is_multiple_of(3) { String::new() } else { at.to_string() };
            let changes: Vec<_> = items.iter().map(|(n, at)| one(n, &text(*at), *at)).collect();
            let mut forward = one("a", "first", 1);
            forward.merge(&one("b", "first", 1));
            let mut backward = forward.clone();
            changes.iter().for_each(|change| { forward.merge(change); });
            changes.iter().rev().for_each(|change| { backward.merge(change); });
            prop_assert_eq!(&forward, &backward);
            for change in &changes {
                prop_assert!(!forward.merge(change));
            }
        }

        #[test]
        fn merging_is_independent_of_order(items in proptest::collection::vec(("[ab]", 0u64..4), 0..8)) {
            // The value follows from the moment: one moment never carries two values.
            let changes: Vec<_> = items.iter().map(|(n, at)| one(n, &at.to_string(), *at)).collect();
            let (mut forward, mut backward) = (Metadata::default(), Metadata::default());
            changes.iter().for_each(|change| { forward.merge(change); });
            changes.iter().rev().for_each(|change| { backward.merge(change); });
            prop_assert_eq!(&forward, &backward);
            for change in &changes {
                prop_assert!(!forward.merge(change));
            }
        }
    }
}

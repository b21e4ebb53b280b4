//! Suffix hashes: digests by which Swift's replicators compare partitions (Swift: obj/diskfile.py,
//! `_hash_suffix_dir`).
//!
//! A suffix is the last three digits of a hash. Its digest is of the names of the files that Swift would keep for the
//! objects with that suffix, in the order of their hashes, and so of the same words here, where there are no files.
//! Files that Swift removes when it looks at them do not count, though their records may still be here: tombstones
//! that are older than the reclaim age, and metadata and fragments as old that belong to no durable data.

use crate::format::RecordKind;
use crate::state::{ObjectState, Rule, Version};
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use types::{ObjectHash, Timestamp};
use wire::{SuffixHash, SuffixHashes};

/// Gathers the digests of a partition's suffixes. They take the memory of one digest for each suffix, and for each
/// fragment index in it.
pub struct SuffixDigests {
    rule: Rule,
    reclaim_before: Timestamp,
    digests: BTreeMap<u16, BTreeMap<Option<u8>, Md5>>,
}

impl SuffixDigests {
    /// Of a policy's objects. What is older than a moment, and may be removed for its age, does not count.
    pub fn new(rule: Rule, reclaim_before: Timestamp) -> Self {
        SuffixDigests { rule, reclaim_before, digests: BTreeMap::new() }
    }

    /// Takes an object. They come in ascending order of their hashes.
    pub fn add(&mut self, hash: &ObjectHash, state: &ObjectState) {
        let data = state.data();
        let kept: Vec<&Version> =
            state.versions().iter().filter(|version| self.is_kept(version, data)).collect();
        if kept.is_empty() {
            return;
        }
        let of = |kind| kept.iter().filter(move |version| version.kind == kind);
        let digests = self.digests.entry(hash.suffix()).or_default();
        let mut say = |index: Option<u8>, at: Timestamp, word: &str| {
            let digest = digests.entry(index).or_default();
            digest.update(at.internal());
            digest.update(word);
        };
        match data {
            Some(_) => of(RecordKind::Meta).take(1).for_each(|v| say(None, v.timestamp, ".meta")),
            None => of(RecordKind::Tombstone).take(1).for_each(|v| say(None, v.timestamp, ".ts")),
        }
        if self.rule == Rule::Erasure {
            // Newest first.
            for (index, fragment) in of(RecordKind::Data).filter_map(|v| Some((v.fragment?, v))) {
                say(Some(index.index), fragment.timestamp, "");
            }
        }
        let Some(data) = data else { return };
        match self.rule {
            Rule::Replicated => say(None, data.timestamp, ".data"),
            Rule::Erasure => say(None, data.timestamp, ".durable"),
        }
        let typed = of(RecordKind::Meta).next_back().and_then(|meta| content_type_moment(meta));
        if let Some(at) = typed.filter(|at| *at > data.timestamp) {
            say(None, at, "_ctype");
        }
    }

    /// Whether Swift would have a file of it, and keep that.
    fn is_kept(&self, version: &Version, data: Option<&Version>) -> bool {
        let young = version.timestamp >= self.reclaim_before;
        match version.kind {
            RecordKind::Data => {
                data.is_some_and(|data| data.timestamp == version.timestamp) || young
            }
            RecordKind::Meta => data.is_some() || young,
            RecordKind::Tombstone => young,
            RecordKind::Durable | RecordKind::Purge => false,
        }
    }

    /// What they are.
    pub fn finish(self) -> SuffixHashes {
        let rule = self.rule;
        let digests = self.digests.into_iter().map(|(suffix, mut digests)| {
            let digest = |md5: Md5| -> [u8; 16] { md5.finalize().into() };
            let hash = match rule {
                Rule::Replicated => {
                    SuffixHash::Whole(digest(digests.remove(&None).unwrap_or_default()))
                }
                Rule::Erasure => SuffixHash::Fragments(
                    digests.into_iter().map(|(index, md5)| (index, digest(md5))).collect(),
                ),
            };
            (suffix, hash)
        });
        SuffixHashes(digests.collect())
    }
}

/// In the name of Swift's file it is told as a distance from the file's own timestamp; no distance is the same one,
/// offset and all.
fn content_type_moment(meta: &Version) -> Option<Timestamp> {
    let at = meta.content_type_timestamp?;
    Some(if at.raw == meta.timestamp.raw { meta.timestamp } else { at })
}

#[cfg(test)]
mod tests;

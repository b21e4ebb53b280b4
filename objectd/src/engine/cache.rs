//! Records that are read often, in memory. The disk is read past the page cache, so nobody else keeps them.
//!
//! A record is named by where it stands and by its frame, whose number is never used twice. So what is found here is
//! never stale: whether the object still *is* that record was decided by its state, before.

use super::read::OpenRecord;
use crate::state::Location;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Longer records are not kept: they cost the disk less for each byte, and would push out many.
const RECORD_MAX: usize = 32 * 1024;
/// What a record takes beside its bytes, roughly: its parsed head and the cache's own.
const OVERHEAD: u64 = 1024;
/// Bytes that a record of an ordinary small object takes.
const USUAL: usize = 6 * 1024;

/// A cache that all devices of a process share. Clones are the same cache.
#[derive(Clone)]
pub struct RecordCache(Arc<Cache<Key, OpenRecord, Weight>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    device: [u8; 16],
    lsn: u64,
    segment: u32,
    offset: u32,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, OpenRecord> for Weight {
    fn weight(&self, _: &Key, record: &OpenRecord) -> u64 {
        record.bytes().len() as u64 + OVERHEAD
    }
}

impl RecordCache {
    /// Takes so many bytes at most.
    pub fn new(bytes: usize) -> Self {
        RecordCache(Arc::new(Cache::with_weighter(bytes / USUAL, bytes as u64, Weight)))
    }

    fn key(device: &[u8; 16], at: &Location) -> Key {
        Key { device: *device, lsn: at.lsn, segment: at.segment, offset: at.offset }
    }

    /// A record, with all its inline data.
    pub(super) fn get(&self, device: &[u8; 16], at: &Location) -> Option<OpenRecord> {
        self.0.get(&Self::key(device, at))
    }

    /// Remembers a record that was read whole. Only such as need no pins: a pin here would never end.
    pub(super) fn put(&self, device: &[u8; 16], record: &OpenRecord) {
        let at = record.version().location;
        if at.len as usize > RECORD_MAX || !record.version().bulk.is_empty() {
            return;
        }
        // A copy of just its length: what was read is whole blocks, which are wanted for the next read.
        let bytes = Bytes::copy_from_slice(record.bytes());
        self.0.insert(Self::key(device, &at), record.with_bytes(bytes));
    }

    /// Forgets a record: it is damaged.
    pub(super) fn forget(&self, device: &[u8; 16], at: &Location) {
        self.0.remove(&Self::key(device, at));
    }
}

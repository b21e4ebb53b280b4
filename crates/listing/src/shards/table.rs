//! The table of shard ranges of a container: in the same database as its rows, written in the same batches.

use super::{ShardRange, ShardState};
use crate::database::StoreError;
use crate::entity::Entity;
use crate::keys;
use crate::lifecycle::{self, Names};
use crate::metadata::{Metadata, MetadataError};
use crate::row::Row;
use crate::transaction::Transaction;
use crate::view::View;
use percent_encoding::percent_decode_str;
use rocksdb::{DB, Direction, IteratorMode, ReadOptions};
use std::collections::BTreeMap;
use types::{Limits, ObjectHash};

/// Most shard ranges of a container, deleted ones included: a table is read, and answered, as a whole.
pub const RANGES_MAX: usize = 10_000;

/// A request to merge shard ranges.
#[derive(Clone, Debug)]
pub struct PutShards {
    /// The ranges.
    pub ranges: Vec<ShardRange>,
    /// Metadata to set.
    pub metadata: Metadata,
    /// The container, if it may come into being with them.
    pub create: Option<Entity>,
}

/// How that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutShardsOutcome {
    /// All of them are merged.
    Stored {
        /// The container's record.
        entity: Box<Entity>,
        /// Whether there was none.
        created: bool,
    },
    /// There is no such container.
    NotFound,
    /// There would be more than [`RANGES_MAX`].
    TooMany,
    /// The metadata is refused.
    Metadata(MetadataError),
}

impl<R: Row> Transaction<'_, R> {
    /// Merges shard ranges into the table of a container, living or deleted: all of them, or none.
    pub fn put_shards(
        &mut self,
        hash: &ObjectHash,
        request: &PutShards,
        limits: &Limits,
    ) -> Result<PutShardsOutcome, StoreError> {
        let (mut entity, created) = match (self.entity(hash)?, &request.create) {
            (Some(entity), _) => (entity, false),
            (None, Some(entity)) => (entity.clone(), true),
            (None, None) => return Ok(PutShardsOutcome::NotFound),
        };
        if let Err(error) = lifecycle::change_metadata(&mut entity, &request.metadata, limits) {
            return Ok(PutShardsOutcome::Metadata(error));
        }
        let Some(merged) = self.merge_shards(hash, &request.ranges)? else {
            return Ok(PutShardsOutcome::TooMany);
        };
        for (name, range) in merged {
            self.batch.put(keys::shard::encode(hash, &name), range.encode());
            self.shards.entry(*hash).or_default().insert(name, range);
        }
        if created || !request.metadata.0.is_empty() {
            self.store_entity(hash, entity.clone());
        }
        Ok(PutShardsOutcome::Stored { entity: Box::new(entity), created })
    }

    /// What changes, by name; `None` when there would be too many.
    fn merge_shards(
        &self,
        hash: &ObjectHash,
        ranges: &[ShardRange],
    ) -> Result<Option<BTreeMap<String, ShardRange>>, StoreError> {
        let mut merged: BTreeMap<String, ShardRange> = BTreeMap::new();
        let mut new = 0;
        for range in ranges {
            let held = match merged.get(&range.name) {
                Some(held) => Some(held.clone()),
                None => self.shard_range(hash, &range.name)?,
            };
            new += usize::from(held.is_none());
            let changed = held.map_or_else(|| Some(range.clone()), |held| range.merged(&held));
            merged.extend(changed.map(|range| (range.name.clone(), range)));
        }
        let fits = new == 0 || self.shard_ranges(hash)?.len() + new <= RANGES_MAX;
        Ok(fits.then_some(merged))
    }

    /// Whether objects are in the shards of a container that says of itself that it is being cut, or was. Then it is
    /// not empty, whatever its own rows say (Swift: container/backend.py, `empty`).
    pub fn has_objects_in_shards(
        &mut self,
        hash: &ObjectHash,
        names: &Names,
    ) -> Result<bool, StoreError> {
        use ShardState::{Active, Sharded, Sharding, Shrinking, Shrunk};
        let Some(entity) = self.entity(hash)? else { return Ok(false) };
        let own = names.path();
        let Some(itself) = self.shard_range(hash, &own)? else { return Ok(false) };
        let is_cut = matches!(itself.stage.state, Shrinking | Shrunk | Sharding | Sharded);
        if !is_cut || !is_root(&entity, &own, &itself) {
            return Ok(false);
        }
        let counts = |range: &ShardRange| {
            range.name != own
                && !range.extent.deleted
                && matches!(range.stage.state, Active | Sharding | Shrinking)
                && range.usage.objects > 0
        };
        Ok(self.shard_ranges(hash)?.values().any(counts))
    }

    fn shard_range(&self, hash: &ObjectHash, name: &str) -> Result<Option<ShardRange>, StoreError> {
        if let Some(changed) = self.shards.get(hash).and_then(|changed| changed.get(name)) {
            return Ok(Some(changed.clone()));
        }
        let found = self.db.get_pinned(keys::shard::encode(hash, name))?;
        Ok(found.map(|value| ShardRange::decode(name, &value)).transpose()?)
    }

    fn shard_ranges(&self, hash: &ObjectHash) -> Result<BTreeMap<String, ShardRange>, StoreError> {
        let stored = scan(self.db, ReadOptions::default(), hash)?;
        let mut ranges: BTreeMap<_, _> =
            stored.into_iter().map(|range| (range.name.clone(), range)).collect();
        let changed = self.shards.get(hash).into_iter().flatten();
        ranges.extend(changed.map(|(name, range)| (name.clone(), range.clone())));
        Ok(ranges)
    }
}

impl<R: Row> View<'_, R> {
    /// All shard ranges of a container, deleted ones included, in the order of their names.
    pub fn shard_ranges(&self, hash: &ObjectHash) -> Result<Vec<ShardRange>, StoreError> {
        scan(&self.store.db, self.options(), hash)
    }
}

fn scan(
    db: &DB,
    mut options: ReadOptions,
    hash: &ObjectHash,
) -> Result<Vec<ShardRange>, StoreError> {
    let prefix = keys::shard::prefix(hash);
    if let Some(end) = keys::successor(&prefix) {
        options.set_iterate_upper_bound(end);
    }
    let from = IteratorMode::From(&prefix, Direction::Forward);
    let mut ranges = Vec::new();
    for entry in db.iterator_opt(from, options) {
        let (key, value) = entry?;
        let (_, name) = keys::shard::decode(&key)?;
        ranges.push(ShardRange::decode(name, &value)?);
    }
    Ok(ranges)
}

/// Whether a container is no shard of another one (Swift: container/backend.py, `is_root_container`).
fn is_root(entity: &Entity, own: &str, itself: &ShardRange) -> bool {
    let root = |name: &str| entity.metadata.0.get(name).filter(|root| !root.value.is_empty());
    if let Some(root) = root("X-Container-Sysmeta-Shard-Quoted-Root") {
        return percent_decode_str(&root.value).eq(own.bytes());
    }
    match root("X-Container-Sysmeta-Shard-Root") {
        Some(root) => root.value == own,
        // A shard that was given up may have lost its metadata.
        None => !itself.extent.deleted,
    }
}

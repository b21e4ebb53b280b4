//! The changes of one batch, before they are written together.
//!
//! Jobs of one batch run one after the other in the writer's thread and see each other's changes through the
//! maps here; nobody else sees anything until the batch is durable.

use crate::database::StoreError;
use crate::entity::Entity;
use crate::keys;
use crate::lifecycle::{self, DeleteOutcome, Names, Post, PostOutcome, Put, PutOutcome};
use crate::row::{Row, Stored, digest};
use crate::shards::ShardRange;
use rocksdb::{DB, WriteBatch};
use std::collections::{BTreeMap, HashMap, HashSet};
use types::{Limits, ObjectHash, PolicyIndex, Timestamp};

/// Tokens of reports; lives as long as the writer.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The greatest ever given.
    pub(crate) last: u64,
    /// Reports up to this one may be on their way: a later change needs a new token.
    pub(crate) handed_out: u64,
}

/// The changes of one batch.
pub struct Transaction<'a, R> {
    pub(crate) db: &'a DB,
    tokens: &'a mut Tokens,
    pub(crate) batch: WriteBatch,
    entities: HashMap<ObjectHash, Option<Entity>>,
    changed: HashSet<ObjectHash>,
    rows: HashMap<RowId, Option<Stored<R>>>,
    /// Shard ranges that were changed, by name.
    pub(crate) shards: HashMap<ObjectHash, BTreeMap<String, ShardRange>>,
}

type RowId = (ObjectHash, PolicyIndex, Box<str>);

impl<'a, R: Row> Transaction<'a, R> {
    pub(crate) fn new(db: &'a DB, tokens: &'a mut Tokens) -> Self {
        Transaction {
            db,
            tokens,
            batch: WriteBatch::default(),
            entities: HashMap::new(),
            changed: HashSet::new(),
            rows: HashMap::new(),
            shards: HashMap::new(),
        }
    }

    /// How many rows and shard ranges it has touched.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len() + self.shards.values().map(BTreeMap::len).sum::<usize>()
    }

    /// The record of an account or a container.
    pub fn entity(&mut self, hash: &ObjectHash) -> Result<Option<Entity>, StoreError> {
        if let Some(known) = self.entities.get(hash) {
            return Ok(known.clone());
        }
        let found = self.db.get_pinned(keys::entity::encode(hash))?;
        let entity = found.map(|value| Entity::decode(&value)).transpose()?;
        self.entities.insert(*hash, entity.clone());
        Ok(entity)
    }

    /// Stores the record of an account or a container.
    pub fn store_entity(&mut self, hash: &ObjectHash, entity: Entity) {
        self.entities.insert(*hash, Some(entity));
        self.changed.insert(*hash);
    }

    /// Creates or refreshes an account or a container.
    pub fn put(
        &mut self,
        hash: &ObjectHash,
        names: &Names,
        request: &Put,
        limits: &Limits,
    ) -> Result<PutOutcome, StoreError> {
        let outcome = lifecycle::put::<R>(self.entity(hash)?, names, request, limits);
        if let PutOutcome::Stored { entity, .. } = &outcome {
            self.store_entity(hash, Entity::clone(entity));
        }
        Ok(outcome)
    }

    /// Changes the metadata of an account or a container.
    pub fn post(
        &mut self,
        hash: &ObjectHash,
        request: &Post,
        limits: &Limits,
    ) -> Result<PostOutcome, StoreError> {
        let outcome = lifecycle::post::<R>(self.entity(hash)?, request, limits);
        if let PostOutcome::Stored(entity) = &outcome {
            self.store_entity(hash, Entity::clone(entity));
        }
        Ok(outcome)
    }

    /// Deletes an account or a container.
    pub fn delete(
        &mut self,
        hash: &ObjectHash,
        at: Timestamp,
    ) -> Result<DeleteOutcome, StoreError> {
        let outcome = lifecycle::delete::<R>(self.entity(hash)?, at);
        if let DeleteOutcome::Stored { entity, .. } = &outcome {
            self.store_entity(hash, Entity::clone(entity));
        }
        Ok(outcome)
    }

    /// Merges a row into the list `hash`, which must exist. Says whether anything in it was newer.
    pub fn merge_row(
        &mut self,
        hash: &ObjectHash,
        policy: PolicyIndex,
        name: &str,
        row: &R,
    ) -> Result<bool, StoreError> {
        let id: RowId = (*hash, policy, name.into());
        let held = match self.rows.get(&id) {
            Some(held) => held.clone(),
            None => self.stored_row(hash, policy, name)?,
        };
        let merged = match &held {
            None => Some(row.clone()),
            Some(held) => row.merged(&held.row),
        };
        let Some(merged) = merged else {
            self.rows.insert(id, held);
            return Ok(false);
        };
        // Asked for before anything is changed; cached from the first row on.
        let mut entity = match self.entities.remove(hash) {
            Some(Some(entity)) => entity,
            _ => self.entity(hash)?.ok_or(StoreError::NoSuchList)?,
        };
        entity.sequence += 1;
        let stored = Stored { sequence: entity.sequence, row: merged };
        account_for(&mut entity, policy, name, held.as_ref().map(|held| &held.row), &stored.row);
        self.entities.insert(*hash, Some(entity));
        self.changed.insert(*hash);
        self.write_row(&id, held.as_ref(), &stored);
        self.rows.insert(id, Some(stored));
        Ok(true)
    }

    fn stored_row(
        &self,
        hash: &ObjectHash,
        policy: PolicyIndex,
        name: &str,
    ) -> Result<Option<Stored<R>>, StoreError> {
        let live = self.db.get_pinned(keys::row::encode(hash, policy, name))?;
        if let Some(value) = live {
            return Ok(Some(Stored::decode(&value)?));
        }
        let gone = self.db.get_pinned(keys::gone::encode(hash, policy, name))?;
        Ok(gone.map(|value| Stored::decode(&value)).transpose()?)
    }

    fn write_row(
        &mut self,
        (hash, policy, name): &RowId,
        held: Option<&Stored<R>>,
        new: &Stored<R>,
    ) {
        let key = |gone: bool| match gone {
            true => keys::gone::encode(hash, *policy, name),
            false => keys::row::encode(hash, *policy, name),
        };
        if let Some(held) = held {
            self.batch.delete(keys::log::encode(hash, held.sequence));
            if held.row.is_gone() != new.row.is_gone() {
                self.batch.delete(key(held.row.is_gone()));
            }
        }
        self.batch.put(key(new.row.is_gone()), new.encode());
        let entry = keys::log::encode_value(*policy, name);
        self.batch.put(keys::log::encode(hash, new.sequence), entry);
    }

    /// Reports up to this token are on their way from now on.
    pub(crate) fn hand_out(&mut self, token: u64) {
        self.tokens.handed_out = self.tokens.handed_out.max(token);
    }

    /// The report was taken. Does nothing when the list has changed since.
    pub(crate) fn acknowledge(&mut self, token: u64) -> Result<(), StoreError> {
        let key = keys::pending::encode(token);
        let Some(hash) = self.db.get_pinned(&key)? else { return Ok(()) };
        let hash = keys::pending::decode_value(&hash)?;
        if self.changed.contains(&hash) {
            // By a job of this same batch: what was reported is not what is here.
            return Ok(());
        }
        let Some(mut entity) = self.entity(&hash)? else { return Ok(()) };
        if entity.pending == Some(token) {
            entity.reported = entity.report();
            entity.pending = None;
            self.batch.delete(key);
            self.store_entity(&hash, entity);
        }
        Ok(())
    }

    /// Keeps the queue of reports in step with a changed list.
    fn queue_report(&mut self, hash: &ObjectHash, entity: &mut Entity) {
        let on_its_way = entity.pending.is_some_and(|token| token <= self.tokens.handed_out);
        if entity.report() == entity.reported && !on_its_way {
            if let Some(token) = entity.pending.take() {
                self.batch.delete(keys::pending::encode(token));
            }
            return;
        }
        if entity.pending.is_some() && !on_its_way {
            return;
        }
        if let Some(token) = entity.pending {
            self.batch.delete(keys::pending::encode(token));
        }
        self.tokens.last += 1;
        entity.pending = Some(self.tokens.last);
        self.batch.put(keys::pending::encode(self.tokens.last), hash.0);
        let last = keys::mark::encode_value(self.tokens.last);
        self.batch.put(keys::mark::TOKEN, last);
    }

    /// Everything as one batch; `None` when nothing changed.
    pub(crate) fn into_batch(mut self) -> Option<WriteBatch> {
        for hash in std::mem::take(&mut self.changed) {
            let Some(Some(mut entity)) = self.entities.remove(&hash) else { continue };
            if R::REPORTS {
                self.queue_report(&hash, &mut entity);
            }
            self.batch.put(keys::entity::encode(&hash), entity.encode());
        }
        (!self.batch.is_empty()).then_some(self.batch)
    }
}

/// Moves a row's share in totals, tombstones and hash from what it was to what it is.
fn account_for<R: Row>(
    entity: &mut Entity,
    policy: PolicyIndex,
    name: &str,
    held: Option<&R>,
    new: &R,
) {
    if let Some(held) = held {
        let totals = entity.totals.entry(held.counted_policy(policy)).or_default();
        totals.subtract(held.totals());
        entity.tombstones = entity.tombstones.saturating_sub(u64::from(held.is_gone()));
        entity.hash ^= digest(name, held);
    }
    entity.totals.entry(new.counted_policy(policy)).or_default().add(new.totals());
    entity.tombstones += u64::from(new.is_gone());
    entity.hash ^= digest(name, new);
}

//! Reading one state of a database.

use crate::cursor::RocksCursor;
use crate::database::StoreError;
use crate::entity::Entity;
use crate::keys;
use crate::page::{self, Item, PageQuery};
use crate::row::{Row, Stored};
use crate::store::Store;
use rocksdb::{ReadOptions, Snapshot};
use std::marker::PhantomData;
use types::{ObjectHash, PolicyIndex};

/// One state of a database, whatever is written meanwhile.
pub struct View<'a, R> {
    pub(crate) store: &'a Store,
    snapshot: Snapshot<'a>,
    row: PhantomData<R>,
}

impl<'a, R: Row> View<'a, R> {
    pub(crate) fn new(store: &'a Store) -> Self {
        View { store, snapshot: store.db.snapshot(), row: PhantomData }
    }

    /// The record of an account or a container.
    pub fn entity(&self, hash: &ObjectHash) -> Result<Option<Entity>, StoreError> {
        let found = self.snapshot.get_pinned(keys::entity::encode(hash))?;
        Ok(found.map(|value| Entity::decode(&value)).transpose()?)
    }

    /// Reading this state.
    pub(crate) fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options
    }

    /// Shows each line of a page of the live rows of a list under one policy. After an error it is not a whole page.
    pub fn each(
        &self,
        hash: &ObjectHash,
        policy: PolicyIndex,
        query: &PageQuery,
        show: impl FnMut(Item<'_, R>),
    ) -> Result<(), StoreError> {
        let prefix = keys::row::prefix(hash, policy);
        let mut cursor = RocksCursor::new(&self.store.db, self.options(), prefix);
        page::each(&mut cursor, query, show)?;
        Ok(cursor.status()?)
    }

    /// Who owes a report, by token: the first after a token.
    pub(crate) fn waiting(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, ObjectHash)>, StoreError> {
        self.store.waiting(after, limit)
    }

    /// One row, live or gone.
    pub fn row(
        &self,
        hash: &ObjectHash,
        policy: PolicyIndex,
        name: &str,
    ) -> Result<Option<Stored<R>>, StoreError> {
        let live = self.snapshot.get_pinned(keys::row::encode(hash, policy, name))?;
        let found = match live {
            Some(live) => Some(live),
            None => self.snapshot.get_pinned(keys::gone::encode(hash, policy, name))?,
        };
        Ok(found.map(|value| Stored::decode(&value)).transpose()?)
    }
}

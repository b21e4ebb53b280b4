//! The index: where each object's records lie. Rebuildable from the log, so it keeps no log of its own.
//!
//! RocksDB without WAL and with atomic flush: one thread applies frames in order and writes the position of
//! the last one applied in the same batch, so what a crash leaves is exact up to some frame, and the rest is
//! replayed from the log.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `obj` | hash | [`ObjectState`] |
//! | `upd` | [`UpdateToken`], big-endian | listing update that no container server has taken yet |
//! | `own` | bulk segment, big-endian, and hash | nothing: the object has data in that segment |
//! | `meta` | `format` | a byte; an index of another format is made anew |
//! | `meta` | `applied` | [`Applied`] |
//! | `meta` | `seg` + segment, big-endian | [`Account`] |
//! | `meta` | `cell` + first two bytes of hashes | [`Cell`] |
//! | `meta` | `exp` + second, big-endian, and hash | nothing: the object expires then |
//! | `meta` | `quar` + hash + LSN + offset, big-endian | [`Quarantined`] |

mod rows;

pub use rows::{
    Account, Applied, Cell, Place, Quarantined, UpdateToken, state_digest, version_digest,
};

use crate::format::{FormatError, decode_update};
use crate::state::ObjectState;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, Options, ReadOptions, ReadTier,
    WriteBatch, WriteOptions,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use types::ObjectHash;
use wire::ObjectUpdate;

const OBJ: &str = "obj";
const UPD: &str = "upd";
const OWN: &str = "own";
const META: &str = "meta";
const COLUMNS: [&str; 4] = [OBJ, UPD, OWN, META];
const FORMAT_KEY: &[u8] = b"format";
const FORMAT: u8 = 3;
const APPLIED: &[u8] = b"applied";
const SEGMENT: &[u8] = b"seg";
const CELL: &[u8] = b"cell";
const QUARANTINE: &[u8] = b"quar";
const EXPIRY: &[u8] = b"exp";
/// How often an index that another process changes is tried to be opened.
const OPEN_TRIES: usize = 4;

/// Why the index does not work.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// RocksDB says so.
    #[error("the object index failed")]
    Rocks(#[from] rocksdb::Error),
    /// A row is not what was written.
    #[error("a row of the object index cannot be read")]
    Row(#[from] FormatError),
    /// It was made by something else.
    #[error("the object index at {0} is incomplete; delete that directory and it will be rebuilt")]
    Incomplete(PathBuf),
    /// An index that cannot be used cannot be removed either.
    #[error("the object index at {0} cannot be removed to be made anew")]
    Remove(PathBuf, #[source] std::io::Error),
}

/// What the indexes of a process share, so that many devices do not take many times the memory.
#[derive(Clone)]
pub struct IndexBudget {
    cache: Cache,
    buffer_bytes: usize,
    /// Instead of the disk, in tests.
    memory: Option<Arc<rocksdb::Env>>,
}

impl IndexBudget {
    /// So much for cached blocks of all indexes together, and so much for each one's write buffers.
    pub fn new(cache_bytes: usize, buffer_bytes: usize) -> Self {
        IndexBudget { cache: Cache::new_lru_cache(cache_bytes), buffer_bytes, memory: None }
    }

    /// Keeps indexes in memory, for tests that open very many.
    pub fn in_memory(self) -> Result<Self, IndexError> {
        Ok(IndexBudget { memory: Some(Arc::new(rocksdb::Env::mem_env()?)), ..self })
    }
}

/// What looking without waiting for the disk finds.
pub enum Peek {
    /// The state, also when it is that nothing is known.
    Known(ObjectState),
    /// The disk would have to be read.
    NotInMemory,
}

/// One device's index.
pub struct Index {
    /// Where tests want a copy of what is durable after each flush, numbered.
    #[cfg(test)]
    copies: std::sync::Mutex<Option<(PathBuf, u64)>>,
    db: DB,
    in_memory_only: ReadOptions,
    no_wal: WriteOptions,
}

impl Index {
    /// Opens it, or makes an empty one, also in place of one that is of another format or was never filled.
    pub fn open(dir: &Path, budget: &IndexBudget) -> Result<Self, IndexError> {
        let index = Self::open_any(dir, budget)?;
        let format = index.db.get_cf(index.column(META), FORMAT_KEY)?;
        if format.as_deref() == Some(&[FORMAT]) {
            return Ok(index);
        }
        drop(index);
        // It is new, or of another version, or its filling broke off.
        if budget.memory.is_none() {
            std::fs::remove_dir_all(dir).map_err(|e| IndexError::Remove(dir.to_owned(), e))?;
        }
        Self::open_any(dir, budget)
    }

    /// Opens one that is there for reading only, also while a process has it open. What is seen is what that process
    /// had made durable, and it does not change any more. `None` when there is none, or one of another format.
    pub fn open_read_only(dir: &Path, budget: &IndexBudget) -> Result<Option<Self>, IndexError> {
        if budget.memory.is_none() && !dir.join("CURRENT").exists() {
            return Ok(None);
        }
        let mut options = Index::options(budget);
        // All tables are opened now, so that none is missed when the process which has them removes it.
        options.set_max_open_files(-1);
        let open =
            || DB::open_cf_descriptors_read_only(&options, dir, Index::descriptors(budget), false);
        let mut opened = open();
        for _ in 1..OPEN_TRIES {
            // A table may have been removed between the list of tables and its turn.
            if opened.is_err() {
                opened = open();
            }
        }
        let index = Self::complete(opened?, dir)?;
        let format = index.db.get_cf(index.column(META), FORMAT_KEY)?;
        Ok((format.as_deref() == Some(&[FORMAT])).then_some(index))
    }

    fn open_any(dir: &Path, budget: &IndexBudget) -> Result<Self, IndexError> {
        let mut options = Index::options(budget);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        Self::complete(DB::open_cf_descriptors(&options, dir, Index::descriptors(budget))?, dir)
    }

    fn options(budget: &IndexBudget) -> Options {
        let mut options = Options::default();
        if let Some(memory) = &budget.memory {
            options.set_env(memory);
        }
        options.set_atomic_flush(true);
        options.set_max_background_jobs(2);
        options.set_max_open_files(256);
        options.set_keep_log_file_num(2);
        options.set_log_level(rocksdb::LogLevel::Warn);
        options
    }

    fn descriptors(budget: &IndexBudget) -> [rocksdb::ColumnFamilyDescriptor; COLUMNS.len()] {
        COLUMNS.map(|name| {
            let mut options = Options::default();
            options.set_write_buffer_size(budget.buffer_bytes);
            options.set_max_write_buffer_number(4);
            options.set_level_zero_slowdown_writes_trigger(40);
            options.set_level_zero_stop_writes_trigger(80);
            options.set_compression_type(DBCompressionType::Lz4);
            let mut blocks = BlockBasedOptions::default();
            blocks.set_block_cache(&budget.cache);
            blocks.set_cache_index_and_filter_blocks(true);
            blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
            if name == OBJ {
                blocks.set_ribbon_filter(10.0);
            }
            options.set_block_based_table_factory(&blocks);
            rocksdb::ColumnFamilyDescriptor::new(name, options)
        })
    }

    fn complete(db: DB, dir: &Path) -> Result<Self, IndexError> {
        for name in COLUMNS {
            db.cf_handle(name).ok_or_else(|| IndexError::Incomplete(dir.to_owned()))?;
        }
        let mut in_memory_only = ReadOptions::default();
        in_memory_only.set_read_tier(ReadTier::BlockCache);
        let mut no_wal = WriteOptions::default();
        no_wal.disable_wal(true);
        Ok(Index {
            #[cfg(test)]
            copies: std::sync::Mutex::default(),
            db,
            in_memory_only,
            no_wal,
        })
    }

    #[expect(clippy::panic, reason = "open has seen that all exist")]
    fn column(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).unwrap_or_else(|| panic!("column family {name} is gone"))
    }

    /// An object's state; may wait for the disk.
    pub fn state(&self, hash: &ObjectHash) -> Result<ObjectState, IndexError> {
        match self.db.get_pinned_cf(self.column(OBJ), hash.0)? {
            Some(value) => Ok(ObjectState::decode(&value)?),
            None => Ok(ObjectState::default()),
        }
    }

    /// An object's state, if it can be told without the disk.
    pub fn peek(&self, hash: &ObjectHash) -> Result<Peek, IndexError> {
        match self.db.get_pinned_cf_opt(self.column(OBJ), hash.0, &self.in_memory_only) {
            Ok(Some(value)) => Ok(Peek::Known(ObjectState::decode(&value)?)),
            Ok(None) => Ok(Peek::Known(ObjectState::default())),
            Err(error) if error.kind() == rocksdb::ErrorKind::Incomplete => Ok(Peek::NotInMemory),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the log has been applied up to; `None` when the index must be made from the log's beginning.
    pub fn applied(&self) -> Result<Option<Applied>, IndexError> {
        match self.db.get_cf(self.column(META), APPLIED)? {
            Some(value) => Ok(Some(Applied::decode(&value)?)),
            None => Ok(None),
        }
    }

    /// What lives in each segment.
    pub fn accounts(&self) -> Result<HashMap<u32, Account>, IndexError> {
        let mut accounts = HashMap::new();
        for row in self.meta_rows(SEGMENT, b"") {
            let (key, value) = row?;
            let id = key.as_slice().try_into().map_err(|_| FormatError::Field("segment"))?;
            accounts.insert(u32::from_be_bytes(id), Account::decode(&value)?);
        }
        Ok(accounts)
    }

    /// The summary of all objects whose hashes begin so.
    pub fn cell(&self, prefix: [u8; 2]) -> Result<Cell, IndexError> {
        match self.db.get_pinned_cf(self.column(META), keyed(CELL, &prefix))? {
            Some(value) => Ok(Cell::decode(&value)?),
            None => Ok(Cell::default()),
        }
    }

    /// The summaries of objects whose hashes begin with one prefix up to and with another; empty ones are left out.
    pub fn cells(
        &self,
        from: [u8; 2],
        until: [u8; 2],
    ) -> impl Iterator<Item = Result<([u8; 2], Cell), IndexError>> {
        let cells = self.meta_rows(CELL, &from).map(|row| {
            let (key, value) = row?;
            let prefix = key.as_slice().try_into().map_err(|_| FormatError::Field("cell"))?;
            Ok((prefix, Cell::decode(&value)?))
        });
        cells
            .take_while(move |row: &Result<([u8; 2], Cell), IndexError>| {
                row.as_ref().map_or(true, |(prefix, _)| *prefix <= until)
            })
            .filter(|row| row.as_ref().map_or(true, |(_, cell)| *cell != Cell::default()))
    }

    /// Damaged records in the order of their keys, which begin with the hash, from a key on.
    pub fn quarantined(&self, from: &[u8], limit: usize) -> Result<Vec<Quarantined>, IndexError> {
        let rows = self.meta_rows(QUARANTINE, from).take(limit);
        rows.map(|row| Ok(Quarantined::decode(&row?.1)?)).collect()
    }

    /// Whether a damaged record is still kept.
    pub fn is_quarantined(&self, record: &Quarantined) -> Result<bool, IndexError> {
        let key = keyed(QUARANTINE, &record.key());
        Ok(self.db.get_pinned_cf(self.column(META), key)?.is_some())
    }

    /// Objects that expire up to and with a second, in order of time, behind one of them.
    pub fn expired(
        &self,
        until: u64,
        behind: Option<(u64, ObjectHash)>,
        limit: usize,
    ) -> Result<Vec<(u64, ObjectHash)>, IndexError> {
        let from = behind.map(|(at, hash)| [&expiry_key(at, &hash)[..], &[0]].concat());
        let mut found = Vec::new();
        for row in self.meta_rows(EXPIRY, &from.unwrap_or_default()).take(limit) {
            let (key, _) = row?;
            let (at, hash) =
                key.split_first_chunk().ok_or(FormatError::Field("second of expiry"))?;
            let at = u64::from_be_bytes(*at);
            if at > until {
                break;
            }
            found.push((at, hash_of(hash)?));
        }
        Ok(found)
    }

    /// Objects with data in a bulk segment, from a hash on.
    pub fn owners(
        &self,
        segment: u32,
        from: &ObjectHash,
        limit: usize,
    ) -> Result<Vec<ObjectHash>, IndexError> {
        let start = owner_key(segment, from);
        let mode = rocksdb::IteratorMode::From(&start, rocksdb::Direction::Forward);
        let mut owners = Vec::new();
        for row in self.db.iterator_cf(self.column(OWN), mode).take(limit) {
            let (key, _) = row?;
            match key.strip_prefix(&segment.to_be_bytes()) {
                Some(hash) => owners.push(hash_of(hash)?),
                None => break,
            }
        }
        Ok(owners)
    }

    /// States of objects in the order of their hashes, from one hash up to and with another.
    pub fn states(
        &self,
        from: &ObjectHash,
        until: &ObjectHash,
    ) -> impl Iterator<Item = Result<(ObjectHash, ObjectState), IndexError>> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mode = rocksdb::IteratorMode::From(&from.0, rocksdb::Direction::Forward);
        let rows = self.db.iterator_cf_opt(self.column(OBJ), options, mode);
        let until = *until;
        rows.map(|row| {
            let (key, value) = row?;
            Ok((hash_of(&key)?, ObjectState::decode(&value)?))
        })
        .take_while(move |row: &Result<(ObjectHash, ObjectState), IndexError>| {
            row.as_ref().map_or(true, |(hash, _)| *hash <= until)
        })
    }

    fn meta_rows<'a>(
        &'a self,
        prefix: &'static [u8],
        from: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Box<[u8]>), IndexError>> + use<'a> {
        let start = keyed(prefix, from);
        let mode = rocksdb::IteratorMode::From(&start, rocksdb::Direction::Forward);
        let rows = self.db.iterator_cf(self.column(META), mode);
        rows.map_while(move |row| match row {
            Err(error) => Some(Err(error.into())),
            Ok((key, value)) => key.strip_prefix(prefix).map(|key| Ok((key.to_vec(), value))),
        })
    }

    /// Whether a listing update still waits.
    pub fn is_pending(&self, token: UpdateToken) -> Result<bool, IndexError> {
        Ok(self.db.get_pinned_cf(self.column(UPD), token.key())?.is_some())
    }

    /// Listing updates that still wait, as their records carry them, oldest first, from one on.
    pub fn updates(
        &self,
        from: UpdateToken,
    ) -> impl Iterator<Item = Result<(UpdateToken, Box<[u8]>), IndexError>> {
        let from = from.key();
        let mode = rocksdb::IteratorMode::From(&from, rocksdb::Direction::Forward);
        let rows = self.db.iterator_cf(self.column(UPD), mode);
        rows.map(|row| {
            let (key, value) = row?;
            Ok((UpdateToken::parse(&key).ok_or(FormatError::Field("token"))?, value))
        })
    }

    /// The oldest listing update that still waits.
    pub fn oldest_update(&self) -> Result<Option<UpdateToken>, IndexError> {
        match self.db.iterator_cf(self.column(UPD), rocksdb::IteratorMode::Start).next() {
            None => Ok(None),
            Some(row) => Ok(UpdateToken::parse(&row?.0)),
        }
    }

    /// Up to `limit` updates behind `after` that are still to be taken by a container server, oldest first.
    pub fn pending_updates(
        &self,
        after: UpdateToken,
        limit: usize,
    ) -> Result<Vec<(UpdateToken, ObjectUpdate)>, IndexError> {
        let mut found = Vec::new();
        let start = UpdateToken(after.0.saturating_add(1)).key();
        let start = rocksdb::IteratorMode::From(&start, rocksdb::Direction::Forward);
        for row in self.db.iterator_cf(self.column(UPD), start).take(limit) {
            let (key, value) = row?;
            let token = UpdateToken::parse(&key).ok_or(FormatError::Field("token"))?;
            match decode_update(&value) {
                Ok(update) => found.push((token, update)),
                // One bad row must not hold up all behind it.
                Err(error) => {
                    tracing::error!(%error, token = token.0, "a listing update cannot be read")
                }
            }
        }
        Ok(found)
    }

    /// Begins to apply frames.
    pub fn batch(&self) -> IndexBatch<'_> {
        IndexBatch { index: self, batch: WriteBatch::default() }
    }

    /// Makes all that was applied durable, so that it need not be replayed.
    pub fn flush(&self) -> Result<(), IndexError> {
        let mut options = rocksdb::FlushOptions::default();
        options.set_wait(true);
        let columns = COLUMNS.map(|name| self.column(name));
        self.db.flush_cfs_opt(&columns, &options)?;
        #[cfg(test)]
        self.copy();
        Ok(())
    }
}

#[cfg(test)]
impl Index {
    pub(crate) fn keep_copies(&self, at: PathBuf) {
        *self.copies.lock().expect("not poisoned") = Some((at, 0));
    }

    /// The last copy.
    pub(crate) fn last_copy(&self) -> Option<PathBuf> {
        let copies = self.copies.lock().expect("not poisoned");
        copies
            .as_ref()
            .and_then(|(at, number)| (*number > 0).then(|| at.with_extension(number.to_string())))
    }

    fn copy(&self) {
        let mut copies = self.copies.lock().expect("not poisoned");
        if let Some((at, number)) = &mut *copies {
            let next = at.with_extension((*number + 1).to_string());
            let checkpoint = rocksdb::checkpoint::Checkpoint::new(&self.db).expect("a checkpoint");
            checkpoint.create_checkpoint(next).expect("copied");
            *number += 1;
        }
    }
}

fn keyed(prefix: &[u8], rest: &[u8]) -> Vec<u8> {
    [prefix, rest].concat()
}

fn owner_key(segment: u32, hash: &ObjectHash) -> Vec<u8> {
    keyed(&segment.to_be_bytes(), &hash.0)
}

fn expiry_key(at: u64, hash: &ObjectHash) -> Vec<u8> {
    keyed(&at.to_be_bytes(), &hash.0)
}

fn hash_of(key: &[u8]) -> Result<ObjectHash, IndexError> {
    Ok(ObjectHash(key.try_into().map_err(|_| FormatError::Field("hash"))?))
}

/// Changes that become visible together.
pub struct IndexBatch<'a> {
    index: &'a Index,
    batch: WriteBatch,
}

impl IndexBatch<'_> {
    /// An object's new state.
    pub fn put_state(&mut self, hash: &ObjectHash, state: &ObjectState) {
        let column = self.index.column(OBJ);
        match state.is_empty() {
            true => self.batch.delete_cf(column, hash.0),
            false => self.batch.put_cf(column, hash.0, state.encode()),
        }
    }

    /// An update to be taken.
    pub fn put_update(&mut self, token: UpdateToken, encoded: &[u8]) {
        self.batch.put_cf(self.index.column(UPD), token.key(), encoded);
    }

    /// An update that was taken.
    pub fn forget_update(&mut self, token: UpdateToken) {
        self.batch.delete_cf(self.index.column(UPD), token.key());
    }

    /// What lives in a segment.
    pub fn put_account(&mut self, segment: u32, account: &Account) {
        let key = keyed(SEGMENT, &segment.to_be_bytes());
        self.batch.put_cf(self.index.column(META), key, account.encode());
    }

    /// The summary of all objects whose hashes begin so.
    pub fn put_cell(&mut self, prefix: [u8; 2], cell: &Cell) {
        self.batch.put_cf(self.index.column(META), keyed(CELL, &prefix), cell.encode());
    }

    /// An object has data in a bulk segment.
    pub fn put_owner(&mut self, segment: u32, hash: &ObjectHash) {
        self.batch.put_cf(self.index.column(OWN), owner_key(segment, hash), b"");
    }

    /// An object has no data in a bulk segment any more.
    pub fn forget_owner(&mut self, segment: u32, hash: &ObjectHash) {
        self.batch.delete_cf(self.index.column(OWN), owner_key(segment, hash));
    }

    /// An object expires at another second than before; 0 for never.
    pub fn move_expiry(&mut self, hash: &ObjectHash, from: u64, to: u64) {
        let meta = self.index.column(META);
        if from != 0 {
            self.batch.delete_cf(meta, keyed(EXPIRY, &expiry_key(from, hash)));
        }
        if to != 0 {
            self.batch.put_cf(meta, keyed(EXPIRY, &expiry_key(to, hash)), b"");
        }
    }

    /// A damaged record.
    pub fn put_quarantined(&mut self, record: &Quarantined) {
        let key = keyed(QUARANTINE, &record.key());
        self.batch.put_cf(self.index.column(META), key, record.encode());
    }

    /// A damaged record that is given up.
    pub fn forget_quarantined(&mut self, record: &Quarantined) {
        self.batch.delete_cf(self.index.column(META), keyed(QUARANTINE, &record.key()));
    }

    /// Makes it so, up to and with a frame.
    pub fn write_applied(mut self, applied: &Applied) -> Result<(), IndexError> {
        let meta = self.index.column(META);
        self.batch.put_cf(meta, FORMAT_KEY, [FORMAT]);
        self.batch.put_cf(meta, APPLIED, applied.encode());
        self.write()
    }

    /// Makes it so, without another frame.
    pub fn write(self) -> Result<(), IndexError> {
        Ok(self.index.db.write_opt(self.batch, &self.index.no_wal)?)
    }
}

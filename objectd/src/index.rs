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
//! | `meta` | `applied` | [`Applied`] |
//! | `meta` | `bulk` + segment | blocks of a bulk segment that are taken |

use crate::format::{FormatError, Reader, Writer, decode_update};
use crate::state::ObjectState;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, Options, ReadOptions, ReadTier,
    WriteBatch, WriteOptions,
};
use std::path::{Path, PathBuf};
use types::ObjectHash;
use wire::ObjectUpdate;

const OBJ: &str = "obj";
const UPD: &str = "upd";
const META: &str = "meta";
const APPLIED: &[u8] = b"applied";
const BULK: &[u8] = b"bulk";

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
}

/// The end of what the index knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last frame applied; 0 for none.
    pub lsn: u64,
    /// The segment it is in.
    pub segment: u32,
    /// The block behind it.
    pub next_block: u32,
    /// The CRC of its header, which the next frame chains to.
    pub header_crc: u32,
}

impl Applied {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(1).u64(self.lsn).u32(self.segment).u32(self.next_block).u32(self.header_crc);
        out.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes);
        match fields.u8()? {
            1 => {}
            newer => return Err(FormatError::Version(newer.into())),
        }
        Ok(Applied {
            lsn: fields.u64()?,
            segment: fields.u32()?,
            next_block: fields.u32()?,
            header_crc: fields.u32()?,
        })
    }
}

/// Names a pending update: its frame's LSN and its number among the at most 256 records there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateToken(pub u64);

impl UpdateToken {
    /// Of a record in a frame.
    pub fn new(lsn: u64, number: u8) -> Self {
        UpdateToken(lsn << 8 | u64::from(number))
    }

    fn key(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    fn parse(key: &[u8]) -> Option<Self> {
        Some(UpdateToken(u64::from_be_bytes(key.try_into().ok()?)))
    }
}

/// What the indexes of a process share, so that many devices do not take many times the memory.
#[derive(Clone)]
pub struct IndexBudget {
    cache: Cache,
    buffer_bytes: usize,
}

impl IndexBudget {
    /// So much for cached blocks of all indexes together, and so much for each one's write buffers.
    pub fn new(cache_bytes: usize, buffer_bytes: usize) -> Self {
        IndexBudget { cache: Cache::new_lru_cache(cache_bytes), buffer_bytes }
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
    db: DB,
    in_memory_only: ReadOptions,
    no_wal: WriteOptions,
}

impl Index {
    /// Opens or makes it.
    pub fn open(dir: &Path, budget: &IndexBudget) -> Result<Self, IndexError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_max_background_jobs(2);
        options.set_max_open_files(256);
        options.set_keep_log_file_num(2);
        options.set_log_level(rocksdb::LogLevel::Warn);
        let column = |name: &str| {
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
        };
        let columns = [OBJ, UPD, META].map(column);
        let db = DB::open_cf_descriptors(&options, dir, columns)?;
        for name in [OBJ, UPD, META] {
            db.cf_handle(name).ok_or_else(|| IndexError::Incomplete(dir.to_owned()))?;
        }
        let mut in_memory_only = ReadOptions::default();
        in_memory_only.set_read_tier(ReadTier::BlockCache);
        let mut no_wal = WriteOptions::default();
        no_wal.disable_wal(true);
        Ok(Index { db, in_memory_only, no_wal })
    }

    #[expect(clippy::panic, reason = "open has seen that all three exist")]
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

    /// Where the log has been applied up to.
    pub fn applied(&self) -> Result<Applied, IndexError> {
        match self.db.get_cf(self.column(META), APPLIED)? {
            Some(value) => Ok(Applied::decode(&value)?),
            None => Ok(Applied::default()),
        }
    }

    /// Blocks taken of a bulk segment; 0 when no record names it.
    pub fn bulk_taken(&self, segment: u32) -> Result<u32, IndexError> {
        match self.db.get_cf(self.column(META), bulk_key(segment))? {
            Some(value) => Ok(Reader::new(&value).u32()?),
            None => Ok(0),
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

    /// Forgets updates that were taken.
    pub fn updates_done(&self, tokens: &[UpdateToken]) -> Result<(), IndexError> {
        let mut batch = WriteBatch::default();
        for token in tokens {
            batch.delete_cf(self.column(UPD), token.key());
        }
        Ok(self.db.write_opt(batch, &self.no_wal)?)
    }

    /// Begins to apply frames.
    pub fn batch(&self) -> IndexBatch<'_> {
        IndexBatch { index: self, batch: WriteBatch::default() }
    }

    /// Makes all that was applied durable, so that it need not be replayed.
    pub fn flush(&self) -> Result<(), IndexError> {
        let mut options = rocksdb::FlushOptions::default();
        options.set_wait(true);
        let columns = [self.column(OBJ), self.column(UPD), self.column(META)];
        Ok(self.db.flush_cfs_opt(&columns, &options)?)
    }
}

fn bulk_key(segment: u32) -> Vec<u8> {
    let mut key = BULK.to_vec();
    key.extend_from_slice(&segment.to_be_bytes());
    key
}

/// Changes that become visible together.
pub struct IndexBatch<'a> {
    index: &'a Index,
    batch: WriteBatch,
}

impl IndexBatch<'_> {
    /// An object's new state.
    pub fn put_state(&mut self, hash: &ObjectHash, state: &ObjectState) {
        self.batch.put_cf(self.index.column(OBJ), hash.0, state.encode());
    }

    /// An update to be taken.
    pub fn put_update(&mut self, token: UpdateToken, encoded: &[u8]) {
        self.batch.put_cf(self.index.column(UPD), token.key(), encoded);
    }

    /// An update that was taken.
    pub fn forget_update(&mut self, token: UpdateToken) {
        self.batch.delete_cf(self.index.column(UPD), token.key());
    }

    /// Blocks taken of a bulk segment.
    pub fn put_bulk_taken(&mut self, segment: u32, blocks: u32) {
        self.batch.put_cf(self.index.column(META), bulk_key(segment), blocks.to_le_bytes());
    }

    /// Makes it so, up to and with a frame.
    pub fn write(mut self, applied: &Applied) -> Result<(), IndexError> {
        self.batch.put_cf(self.index.column(META), APPLIED, applied.encode());
        Ok(self.index.db.write_opt(self.batch, &self.index.no_wal)?)
    }
}

//! The files of one database, and reading them.

use crate::budget::Budget;
use crate::database::{DatabaseError, OpenError, StoreError};
use crate::entity::Entity;
use crate::journal::{Journal, JournalError};
use crate::keys;
use rocksdb::{
    DB, DBIterator, Direction, ErrorKind, IteratorMode, ReadOptions, ReadTier, WriteBatch,
    WriteOptions,
};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use types::ObjectHash;

const FORMAT: u64 = 2;
/// Before there was a journal; the same otherwise.
const FORMAT_WITHOUT_JOURNAL: u64 = 1;

/// An open RocksDB and what its readers and its writer tell each other.
pub(crate) struct Store {
    pub(crate) db: DB,
    pub(crate) path: PathBuf,
    pub(crate) poisoned: AtomicBool,
    /// Whether only deletions may go on; the writer looks now and then.
    pub(crate) full: AtomicBool,
    pub(crate) reserve_percent: u8,
    /// No report waits under a smaller token, so scans need not pass the remains of those taken.
    pub(crate) pending_floor: AtomicU64,
    /// The greatest token that was ever found waiting, or was given before this database was opened.
    pub(crate) pending_seen: AtomicU64,
}

impl Store {
    /// Opens or makes it and its journal; with the greatest token ever given to a report. Blocks.
    pub(crate) fn open(
        path: &Path,
        budget: &Budget,
        reserve_percent: u8,
        journal_bytes: u64,
    ) -> Result<(Self, Journal, u64), OpenError> {
        let path = path.to_owned();
        let damaged = |source: StoreError| OpenError::Damaged { path: path.clone(), source };
        let alone = || damaged(JournalError::Alone.into());
        let has_journal = Journal::exists(&path);
        // RocksDB would make an empty one in its place.
        if has_journal && !path.join("CURRENT").exists() {
            return Err(alone());
        }
        let db = open_rocks(&path, budget)?;
        match mark(&db, keys::mark::FORMAT).map_err(damaged)? {
            Some(FORMAT) => {}
            // A database is marked before it gets a journal.
            None | Some(FORMAT_WITHOUT_JOURNAL) if has_journal => return Err(alone()),
            None | Some(FORMAT_WITHOUT_JOURNAL) => begin(&db).map_err(damaged)?,
            Some(found) => return Err(OpenError::Format { path, found }),
        }
        let number = |key| Ok(mark(&db, key)?.unwrap_or(0));
        let salt = number(keys::mark::SALT).map_err(damaged)?;
        let applied = number(keys::mark::APPLIED).map_err(damaged)?;
        let journal = Journal::open(&path, &db, salt, applied, journal_bytes);
        let journal = journal.map_err(|error| match error {
            JournalError::Files(source) => OpenError::Directory { path: path.clone(), source },
            error @ (JournalError::Missing(_) | JournalError::Lost | JournalError::Alone) => {
                damaged(error.into())
            }
            source => OpenError::Journal { path: path.clone(), source },
        })?;
        let last = number(keys::mark::TOKEN).map_err(damaged)?;
        let store = Store {
            db,
            path,
            poisoned: AtomicBool::new(false),
            full: AtomicBool::new(false),
            reserve_percent,
            pending_floor: AtomicU64::new(0),
            pending_seen: AtomicU64::new(last),
        };
        Ok((store, journal, last))
    }

    /// Looks how much room there is. Blocks.
    pub(crate) fn measure_room(&self) {
        let full = rustix::fs::statvfs(&self.path).is_ok_and(|disk| {
            let free = u128::from(disk.f_bavail) * 100;
            free < u128::from(disk.f_blocks) * u128::from(self.reserve_percent)
        });
        self.full.store(full, Ordering::Release);
    }

    /// Logs what a client need not know, and says what it must.
    pub(crate) fn log(&self, error: &StoreError) -> DatabaseError {
        let chain = daemon::telemetry::chain(error);
        tracing::error!(path = %self.path.display(), error = chain, "a list could not be read");
        match error {
            StoreError::Rocks(_) | StoreError::Journal(_) => DatabaseError::Device,
            StoreError::Corrupt(_) | StoreError::NoSuchList => DatabaseError::Unreadable,
        }
    }

    /// `None` when only the medium knows.
    pub(crate) fn cached_entity(
        &self,
        hash: &ObjectHash,
    ) -> Option<Result<Option<Entity>, StoreError>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        match self.db.get_pinned_opt(keys::entity::encode(hash), &options) {
            Ok(found) => {
                let entity = found.map(|value| Entity::decode(&value)).transpose();
                Some(entity.map_err(StoreError::from))
            }
            Err(error) if error.kind() == ErrorKind::Incomplete => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Who owes a report, by token: the first after a token.
    pub(crate) fn waiting(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, ObjectHash)>, StoreError> {
        self.scan_waiting(after).take(limit)
    }

    /// Fixes the state that a scan sees.
    pub(crate) fn scan_waiting(&self, after: u64) -> WaitingScan<'_> {
        // Loaded before the iterator exists: only then does the iterator see every token up to this one. Another
        // scan, begun later, may find a greater one that this iterator does not see.
        let seen = self.pending_seen.load(Ordering::Acquire);
        let from = self.pending_floor.load(Ordering::Acquire).max(after.saturating_add(1));
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::successor(b"p").unwrap_or_default());
        let start = keys::pending::encode(from);
        let mode = IteratorMode::From(&start, Direction::Forward);
        let entries = self.db.iterator_opt(mode, options);
        WaitingScan { store: self, seen, after, entries }
    }
}

/// A look through the queue of reports.
pub(crate) struct WaitingScan<'a> {
    store: &'a Store,
    seen: u64,
    after: u64,
    entries: DBIterator<'a>,
}

impl WaitingScan<'_> {
    pub(crate) fn take(self, limit: usize) -> Result<Vec<(u64, ObjectHash)>, StoreError> {
        let mut found = Vec::new();
        for item in self.entries.take(limit) {
            let (key, value) = item?;
            found.push((keys::pending::decode(&key)?, keys::pending::decode_value(&value)?));
        }
        if let Some((last, _)) = found.last() {
            self.store.pending_seen.fetch_max(*last, Ordering::AcqRel);
        }
        // Tokens only grow and are not used twice, so nothing will ever wait below the first that waits now,
        // nor, when nothing waits, up to the last that did. A scan from the middle knows neither.
        if self.after == 0 && limit > 0 {
            let floor = found.first().map_or(self.seen.saturating_add(1), |(first, _)| *first);
            self.store.pending_floor.fetch_max(floor, Ordering::AcqRel);
        }
        Ok(found)
    }
}

fn open_rocks(path: &Path, budget: &Budget) -> Result<DB, OpenError> {
    let directory = |source| OpenError::Directory { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(directory)?;
    DB::open(&budget.options(), path).map_err(|error| {
        let text = error.to_string();
        // RocksDB has no kind for it.
        if text.contains("lock hold by current process") || text.contains("While lock file") {
            return OpenError::InUse(path.to_owned());
        }
        if text.contains("Permission denied") || text.contains("Read-only file system") {
            return directory(std::io::Error::other(text));
        }
        OpenError::Damaged { path: path.to_owned(), source: error.into() }
    })
}

/// Marks a database as one with a journal.
fn begin(db: &DB) -> Result<(), StoreError> {
    // Keyed by random numbers of the system, which is all that is wanted.
    let salt = RandomState::new().build_hasher().finish();
    let mut batch = WriteBatch::default();
    batch.put(keys::mark::SALT, keys::mark::encode_value(salt));
    batch.put(keys::mark::FORMAT, keys::mark::encode_value(FORMAT));
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    db.write_opt(batch, &synced)?;
    // Without them no record means anything, so they are not left to a log whose end may be torn.
    Ok(db.flush()?)
}

fn mark(db: &DB, key: &[u8]) -> Result<Option<u64>, StoreError> {
    let found = db.get_pinned(key)?;
    Ok(found.map(|value| keys::mark::decode_value(&value)).transpose()?)
}

//! All lists of one kind on one device: a RocksDB, read by many, written by one thread.
//!
//! Every change goes through the writer, which takes all jobs that wait, runs them one after the other on one
//! [`Transaction`], writes what they changed as one batch, flushes it to stable media, and only then answers
//! them all. So each answer promises durability, a flush is shared by whoever came in meanwhile, and no two
//! changes ever meet: read, merge and write need no lock and totals are exact.
//!
//! When a write or its flush fails, nobody knows what is on the medium. The database then answers every
//! request with [`DatabaseError::Device`] until it is opened anew; it never tries again by itself.

use crate::budget::Budget;
use crate::entity::Entity;
use crate::journal::{FILE_BYTES, JournalError};
use crate::record::Corrupt;
use crate::row::Row;
use crate::store::Store;
use crate::transaction::{Tokens, Transaction};
use crate::view::View;
use crate::writer::{self, Job};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use types::ObjectHash;

/// How much one database takes on.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// Changes that may wait; more are refused with [`DatabaseError::Busy`].
    pub queue_max: usize,
    /// Reads that run at a time.
    pub readers_max: u32,
    /// How long a read waits for its turn before it is refused.
    pub read_wait: Duration,
    /// Percentage of the disk that only deletions may use.
    pub reserve_percent: u8,
    /// Bytes of each of the journal's two files.
    pub journal_bytes: u64,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        DatabaseOptions {
            queue_max: 4096,
            readers_max: 16,
            read_wait: Duration::from_secs(10),
            reserve_percent: 1,
            journal_bytes: FILE_BYTES,
        }
    }
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its directory cannot be made or written.
    #[error(
        "the directory {path} cannot be written; it must be on a mounted disk, and belong to this user"
    )]
    Directory {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else has it open.
    #[error("the database {0} is in use by another process; stop that one first")]
    InUse(PathBuf),
    /// It was written by a newer version.
    #[error(
        "the database {path} has format {found}, which this version cannot read; use a newer one"
    )]
    Format {
        /// Which one.
        path: PathBuf,
        /// The format it has.
        found: u64,
    },
    /// It is damaged.
    #[error(
        "the database {path} cannot be opened; if its disk is sound, move the directory away: apus begins an empty one, and the other copies serve"
    )]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What was found.
        source: StoreError,
    },
    /// What was written last could not be brought into it.
    #[error(
        "the journal of the database {path} cannot be replayed; look whether its disk is sound and has free space, and start again"
    )]
    Journal {
        /// Which one.
        path: PathBuf,
        /// What was found.
        source: JournalError,
    },
    /// No thread can be started for it.
    #[error("no thread could be started to write the database {path}")]
    Thread {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a job may run into when it reads.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The medium or the database's own structure.
    #[error("the database cannot be read")]
    Rocks(#[from] rocksdb::Error),
    /// A record of ours.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// What was written before it came into the database.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A row for a list that does not exist.
    #[error("there is no such list")]
    NoSuchList,
}

/// Why a request cannot be served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// Too many wait already; later it may work.
    #[error("too many requests wait for this device")]
    Busy,
    /// The device failed; it needs a person.
    #[error("this device has failed")]
    Device,
    /// A record of this list is damaged; others on this device may be sound.
    #[error("this list cannot be read")]
    Unreadable,
    /// The device is as full as it may get.
    #[error("there is not enough space on this device")]
    Full,
    /// The database is being closed.
    #[error("this server is stopping")]
    Stopping,
}

/// A handle; clones are of the same database.
pub struct Database<R>(Arc<Shared<R>>);

impl<R> Clone for Database<R> {
    fn clone(&self) -> Self {
        Database(Arc::clone(&self.0))
    }
}

struct Shared<R> {
    /// Taken out when closing, so that files are closed although somebody may still hold a handle.
    store: RwLock<Option<Arc<Store>>>,
    readers: Arc<Semaphore>,
    readers_max: u32,
    read_wait: Duration,
    jobs: Mutex<Option<mpsc::Sender<Job<R>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<R> Shared<R> {
    /// No more jobs; the thread ends after those that wait.
    fn stop_writer(&self) -> Option<JoinHandle<()>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<R> Drop for Shared<R> {
    /// Only for a database that nobody closed: a process must not end while RocksDB's files are open.
    fn drop(&mut self) {
        if let Some(thread) = self.stop_writer() {
            let _ = thread.join();
        }
    }
}

impl<R: Row> Database<R> {
    /// Opens `<device>/<R::DIRECTORY>`, made if need be. Blocks.
    pub fn open(
        device: &Path,
        budget: &Budget,
        options: &DatabaseOptions,
    ) -> Result<Self, OpenError> {
        let path = device.join(R::DIRECTORY);
        let (store, journal, last) =
            Store::open(&path, budget, options.reserve_percent, options.journal_bytes)?;
        let store = Arc::new(store);
        let (jobs, receiver) = mpsc::channel(options.queue_max.max(1));
        let tokens = Tokens { last, handed_out: last };
        let thread = writer::spawn(Arc::clone(&store), journal, receiver, tokens)
            .map_err(|source| OpenError::Thread { path, source })?;
        Ok(Database(Arc::new(Shared {
            store: RwLock::new(Some(store)),
            readers: Arc::new(Semaphore::new(options.readers_max as usize)),
            readers_max: options.readers_max,
            read_wait: options.read_wait,
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Runs `job` in the writer's thread; what it returns comes back when its changes are durable.
    pub async fn write<T, F>(&self, job: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_, R>) -> Result<T, StoreError> + Send + 'static,
    {
        self.store()?;
        let sender = {
            let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.clone().ok_or(DatabaseError::Stopping)?
        };
        let (answer, answered) = oneshot::channel();
        match sender.try_send(Job::new(job, answer)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(DatabaseError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(DatabaseError::Device),
        }
        drop(sender);
        answered.await.unwrap_or(Err(DatabaseError::Device))
    }

    /// Refuses when the disk is nearly full. To be asked before whatever makes lists grow.
    pub async fn check_room(&self) -> Result<(), DatabaseError> {
        let store = self.store()?;
        if store.full.load(Ordering::Acquire) {
            // Lets the writer look again.
            self.write(|_| Ok(())).await?;
        }
        if store.full.load(Ordering::Acquire) { Err(DatabaseError::Full) } else { Ok(()) }
    }

    /// Runs `read` on one of the blocking threads, on a state that does not change meanwhile.
    pub async fn read<T, F>(&self, read: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&View<'_, R>) -> Result<T, StoreError> + Send + 'static,
    {
        self.store()?;
        let turn = Arc::clone(&self.0.readers).acquire_owned();
        let turn = tokio::time::timeout(self.0.read_wait, turn).await;
        let turn = turn.map_err(|_| DatabaseError::Busy)?.map_err(|_| DatabaseError::Stopping)?;
        let store = self.store()?;
        let reading = tokio::task::spawn_blocking(move || {
            let result = read(&View::new(&store)).map_err(|error| store.log(&error));
            // Closing waits for all turns, so the database must be let go of before the turn.
            drop(store);
            drop(turn);
            result
        });
        reading.await.unwrap_or(Err(DatabaseError::Device))
    }

    /// The record of an account or a container. From memory, without a detour, when it is there.
    pub async fn entity(&self, hash: ObjectHash) -> Result<Option<Entity>, DatabaseError> {
        let store = self.store()?;
        match store.cached_entity(&hash) {
            Some(found) => found.map_err(|error| store.log(&error)),
            None => self.read(move |view| view.entity(&hash)).await,
        }
    }

    /// Lists that owe a report, each with the token to acknowledge it by; the longest waiting first. Only those
    /// with greater tokens than `after`; 0 is the head of the queue.
    pub async fn pending(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Entity)>, DatabaseError> {
        let waiting = self.read(move |view| view.waiting(after, limit)).await?;
        let Some((last, _)) = waiting.last().copied() else { return Ok(Vec::new()) };
        // After this answer no change hides behind one of these tokens: it would take a new one. So what is
        // read below under a token is what an acknowledgement of that token means.
        self.write(move |transaction| {
            transaction.hand_out(last);
            Ok(())
        })
        .await?;
        self.read(move |view| {
            let mut found = Vec::with_capacity(waiting.len());
            for (token, hash) in waiting {
                let entity = view.entity(&hash)?;
                found.extend(entity.filter(|e| e.pending == Some(token)).map(|e| (token, e)));
            }
            Ok(found)
        })
        .await
    }

    /// These reports were taken.
    pub async fn acknowledge(&self, tokens: Vec<u64>) -> Result<(), DatabaseError> {
        self.write(move |transaction| {
            tokens.into_iter().try_for_each(|token| transaction.acknowledge(token))
        })
        .await
    }

    /// Waits for the writer to end its queue and for readers to end, takes no more, and closes the files.
    pub async fn close(&self) {
        let thread = self.0.stop_writer();
        if let Some(thread) = thread {
            // A writer that panicked has said so; there is nothing left to close.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        let store = self.0.store.write().unwrap_or_else(PoisonError::into_inner).take();
        // RocksDB flushes what it has in memory.
        let _ = tokio::task::spawn_blocking(move || drop(store)).await;
        // Once all turns are free, nobody reads any more.
        if let Ok(all) = self.0.readers.acquire_many(self.0.readers_max).await {
            self.0.readers.close();
            drop(all);
        }
    }

    fn store(&self) -> Result<Arc<Store>, DatabaseError> {
        let store = self.0.store.read().unwrap_or_else(PoisonError::into_inner);
        let store = store.as_ref().ok_or(DatabaseError::Stopping)?;
        match store.poisoned.load(Ordering::Acquire) {
            true => Err(DatabaseError::Device),
            false => Ok(Arc::clone(store)),
        }
    }
}

#[cfg(test)]
impl<R: Row> Database<R> {
    /// As after a failed write.
    pub(crate) fn poison(&self) {
        self.store().expect("open").poisoned.store(true, Ordering::Release);
    }

    /// The names in all logs.
    pub(crate) fn log_names(&self) -> std::collections::BTreeSet<String> {
        use crate::keys;
        use rocksdb::{Direction, IteratorMode};
        let store = self.store().expect("open");
        let entries = store.db.iterator(IteratorMode::From(b"l", Direction::Forward));
        let mut names = Vec::new();
        for (key, value) in entries.map(|entry| entry.expect("read")) {
            if keys::log::decode(&key).is_err() {
                break;
            }
            names.push(keys::log::decode_value(&value).expect("an entry").1.to_owned());
        }
        let unique: std::collections::BTreeSet<_> = names.iter().cloned().collect();
        assert_eq!(unique.len(), names.len(), "one entry per row");
        unique
    }
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;

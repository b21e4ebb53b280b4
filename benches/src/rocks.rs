//! The same store on RocksDB alone: a row for each object, large values in blob files, a WAL that is synced.
//!
//! It is given its best: one thread writes all that waits as one batch with one sync, values are not compressed,
//! WAL files are used again, and a PUT does not look at what was there before, which the engine does to merge by
//! timestamp. Blob records carry checksums, which reads check.

use crate::store::Store;
use crate::subject::{CACHE_BYTES, decode_metadata, encoded_metadata};
use anyhow::Context;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, WaitForCompactOptions, WriteBatch,
    WriteOptions,
};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use types::ObjectHash;

/// PUTs that may wait; more wait outside.
const QUEUE: usize = 1024;
/// PUTs of one batch, and bytes at which it is closed.
const BATCH_MAX: usize = 256;
const BATCH_BYTES: usize = 8 << 20;
/// Smaller values stay in the table.
const BLOB_BYTES_MIN: u64 = 1024;
const WRITE_BUFFER: usize = 64 << 20;
const BLOB_FILE: u64 = 256 << 20;

struct Put {
    key: ObjectHash,
    value: Vec<u8>,
    answer: oneshot::Sender<Result<(), rocksdb::Error>>,
}

/// RocksDB on a directory.
#[derive(Clone)]
pub struct Rocks {
    db: Arc<DB>,
    puts: mpsc::Sender<Put>,
    reading: Reading,
}

/// How it is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// Bypasses the page cache, as the engine does.
    pub direct: bool,
    /// Collects garbage of blob files; work for nothing where nothing is overwritten.
    pub collect: bool,
}

/// On which threads it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Those that may block, as a server must.
    Blocking,
    /// Those of the runtime: the least that reading can cost, and no server may do it.
    Inline,
}

impl Rocks {
    /// Opens or makes it.
    pub fn open(dir: &Path, setup: Setup) -> anyhow::Result<Self> {
        let db = Arc::new(DB::open(&options(setup), dir)?);
        let (puts, queue) = mpsc::channel(QUEUE);
        let writer = Arc::clone(&db);
        std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write(&writer, queue))?;
        Ok(Rocks { db, puts, reading: Reading::Blocking })
    }

    /// The same, read on the runtime's own threads.
    pub fn inline(&self) -> Self {
        Rocks { reading: Reading::Inline, ..self.clone() }
    }
}

fn options(setup: Setup) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_max_background_jobs(2);
    options.set_write_buffer_size(WRITE_BUFFER);
    options.set_max_write_buffer_number(4);
    options.set_recycle_log_file_num(4);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BLOB_BYTES_MIN);
    options.set_blob_file_size(BLOB_FILE);
    options.set_blob_compression_type(DBCompressionType::None);
    options.set_enable_blob_gc(setup.collect);
    options.set_use_direct_reads(setup.direct);
    options.set_use_direct_io_for_flush_and_compaction(setup.direct);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    blocks.set_ribbon_filter(10.0);
    options.set_block_based_table_factory(&blocks);
    options
}

/// The thread that writes: all that waits goes into one batch.
fn write(db: &DB, mut queue: mpsc::Receiver<Put>) {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let mut answers = Vec::with_capacity(BATCH_MAX);
    while let Some(first) = queue.blocking_recv() {
        let mut batch = WriteBatch::default();
        let mut next = Some(first);
        while let Some(Put { key, value, answer }) = next {
            batch.put(key.0, value);
            answers.push(answer);
            let full = answers.len() >= BATCH_MAX || batch.size_in_bytes() >= BATCH_BYTES;
            next = if full { None } else { queue.try_recv().ok() };
        }
        let written = db.write_opt(batch, &synced);
        for answer in answers.drain(..) {
            let _ = answer.send(written.clone());
        }
    }
}

/// Metadata's length, metadata, data.
fn value(data: &[u8]) -> Vec<u8> {
    let metadata = encoded_metadata();
    let mut value = Vec::with_capacity(4 + metadata.len() + data.len());
    value.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
    value.extend_from_slice(&metadata);
    value.extend_from_slice(data);
    value
}

fn read(db: &DB, key: ObjectHash) -> anyhow::Result<u64> {
    let value = db.get_pinned(key.0)?.context("an object is gone")?;
    let (length, rest) = value.split_first_chunk::<4>().context("a value is short")?;
    let length = u32::from_le_bytes(*length) as usize;
    let (metadata, data) = rest.split_at_checked(length).context("a value is short")?;
    decode_metadata(metadata)?;
    Ok(data.len() as u64)
}

impl Store for Rocks {
    fn name(&self) -> &'static str {
        match self.reading {
            Reading::Blocking => "rocksdb",
            Reading::Inline => "rocksdb inline",
        }
    }

    async fn put(&self, key: ObjectHash, _version: u64, data: Arc<[u8]>) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        let put = Put { key, value: value(&data), answer };
        self.puts.send(put).await.ok().context("the writer has ended")?;
        Ok(answered.await??)
    }

    async fn get(&self, key: ObjectHash) -> anyhow::Result<u64> {
        if self.reading == Reading::Inline {
            return read(&self.db, key);
        }
        let db = Arc::clone(&self.db);
        tokio::task::spawn_blocking(move || read(&db, key)).await?
    }

    fn settle(&self) -> anyhow::Result<()> {
        let mut options = WaitForCompactOptions::default();
        options.set_flush(true);
        Ok(self.db.wait_for_compact(&options)?)
    }
}

//! The object engine as a store to be measured. The only place of the benchmarks that uses its interface.

use crate::counting::{Counted, CountingIo};
use crate::store::Store;
use daemon::SystemClock;
use objectd::engine::{Change, Engine, EngineOptions, Identity};
use objectd::format::{Metadata, RecordKind, Superblock};
use objectd::index::IndexBudget;
use objectd::io::{BLOCK, IoChoice, open_device};
use std::path::Path;
use std::sync::Arc;
use types::{HashPaths, ObjectHash, PolicyIndex, Timestamp};

/// Bytes of a segment, the default of the product.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Memory of the index, also the defaults.
pub const CACHE_BYTES: usize = 64 << 20;
const BUFFER_BYTES: usize = 8 << 20;

/// An engine on a directory, and what it asks of the disk.
#[derive(Clone)]
pub struct Subject {
    pub(crate) engine: Engine,
    /// Transfers of its log so far.
    pub counted: Arc<Counted>,
}

/// Sizes of an engine, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of a segment.
    pub segment: u64,
    /// Of the device; 0 for all that there is.
    pub capacity: u64,
    /// Of the index's cache.
    pub cache: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { segment: SEGMENT_BYTES, capacity: 0, cache: CACHE_BYTES }
    }
}

impl Subject {
    /// Opens or makes it.
    pub fn open(dir: &Path, choice: IoChoice) -> anyhow::Result<Self> {
        Subject::sized(dir, choice, Sizes::default())
    }

    /// The same in a certain size.
    pub fn sized(dir: &Path, choice: IoChoice, sizes: Sizes) -> anyhow::Result<Self> {
        let disk = CountingIo::new(open_device(&dir.join("log"), choice)?);
        let counted = disk.counted();
        let budget = IndexBudget::new(sizes.cache, BUFFER_BYTES);
        let identity = Identity {
            hash_fingerprint: Superblock::fingerprint(&HashPaths::default()),
            policy: PolicyIndex(0),
            new_device_id: [1; 16],
        };
        let options = EngineOptions {
            segment_blocks: u32::try_from(sizes.segment / BLOCK as u64)?,
            capacity_bytes: sizes.capacity,
            ..EngineOptions::default()
        };
        let clock = Arc::new(SystemClock::default());
        let index = dir.join("index");
        let engine = Engine::open(Arc::new(disk), &index, &budget, &identity, &options, clock)?;
        Ok(Subject { engine, counted })
    }

    /// Which disk interface serves it.
    pub fn io_kind(&self) -> &'static str {
        self.engine.io_kind()
    }

    /// Closes it, so that the directory can be opened again. Blocks.
    pub fn close(self) {
        self.engine.close();
    }
}

impl Store for Subject {
    fn name(&self) -> &'static str {
        "engine"
    }

    async fn put(&self, key: ObjectHash, version: u64, data: Arc<[u8]>) -> anyhow::Result<()> {
        let metadata = metadata();
        let mut body = self.engine.body();
        body.push(&data).await?;
        let change = Change {
            kind: RecordKind::Data,
            hash: key,
            timestamp: Timestamp::from_raw(version),
            content_type_timestamp: None,
            delete_at: 0,
            fragment: None,
            metadata: &metadata,
            body: body.finish().await?,
            update: None,
        };
        self.engine.commit(change).await?;
        Ok(())
    }

    async fn get(&self, key: ObjectHash) -> anyhow::Result<u64> {
        let state = self.engine.state(key).await?;
        let version = state.data().ok_or_else(|| anyhow::anyhow!("an object is gone"))?;
        let length = version.data_len;
        let record = self.engine.open_record(key, version).await?;
        let mut pieces = self.engine.data(&record, 0..length);
        let mut found = 0;
        while let Some(piece) = pieces.next().await {
            found += piece?.len() as u64;
        }
        Ok(found)
    }

    fn settle(&self) -> anyhow::Result<()> {
        Ok(self.engine.checkpoint()?)
    }
}

/// What a client's object carries: about 350 bytes when it is encoded.
pub fn metadata() -> Metadata {
    let mut metadata = Metadata::default();
    metadata
        .set("name", b"/AUTH_benchmarks/a-container/photographs/2024/07/IMG_20240714_183205.jpeg");
    metadata.set("content-type", b"image/jpeg");
    metadata.set("etag", b"0cc175b9c0f1b6a831c399e269772661");
    metadata.set("x-object-meta-mtime", b"1720974725.482113");
    metadata.set("x-object-meta-camera", b"a camera whose maker has a long name");
    metadata.set("x-object-meta-orig-filename", b"IMG_20240714_183205.jpeg");
    metadata
}

/// Metadata as it lies on disk, for stores that keep it beside the data.
pub fn encoded_metadata() -> Vec<u8> {
    metadata().encode()
}

/// Reads what [`encoded_metadata`] wrote.
pub fn decode_metadata(bytes: &[u8]) -> anyhow::Result<Metadata> {
    Ok(Metadata::decode(bytes)?)
}

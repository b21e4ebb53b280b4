//! A disk that counts what is asked of it.

use objectd::io::{BlockBuf, BlockIo, FileId, IoFuture, WriteMode};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls so far.
#[derive(Debug, Default)]
pub struct Counted {
    reads: AtomicU64,
    durable: AtomicU64,
    written: AtomicU64,
    zeroed: AtomicU64,
}

impl Counted {
    /// Reads.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Bytes written, but for zeros that prepare segments.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Zeros written to prepare segments, in bytes.
    pub fn zeroed(&self) -> u64 {
        self.zeroed.load(Ordering::Relaxed)
    }

    /// Calls that return when something is on stable media: durable writes, and flushes.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Relaxed)
    }
}

/// Another disk, with its calls counted.
pub struct CountingIo {
    inner: Arc<dyn BlockIo>,
    counted: Arc<Counted>,
}

impl CountingIo {
    /// Counts from now on.
    pub fn new(inner: Arc<dyn BlockIo>) -> Self {
        CountingIo { inner, counted: Arc::default() }
    }

    /// The counters.
    pub fn counted(&self) -> Arc<Counted> {
        Arc::clone(&self.counted)
    }
}

impl BlockIo for CountingIo {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn list(&self) -> IoFuture<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str, blocks: u32) -> IoFuture<FileId> {
        self.inner.create(name, blocks)
    }

    fn open(&self, name: &str) -> IoFuture<(FileId, u32)> {
        self.inner.open(name)
    }

    fn read(&self, file: FileId, at: u32, blocks: u32) -> IoFuture<BlockBuf> {
        self.counted.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(file, at, blocks)
    }

    fn write(&self, file: FileId, at: u32, buf: BlockBuf, mode: WriteMode) -> IoFuture<BlockBuf> {
        if mode == WriteMode::Durable {
            self.counted.durable.fetch_add(1, Ordering::Relaxed);
        }
        let bytes = buf.as_ref();
        // Nothing else that is written begins with so many.
        let zeros = bytes.iter().take(64).all(|byte| *byte == 0);
        let counter = if zeros { &self.counted.zeroed } else { &self.counted.written };
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.inner.write(file, at, buf, mode)
    }

    fn flush(&self, file: FileId) -> IoFuture<()> {
        self.counted.durable.fetch_add(1, Ordering::Relaxed);
        self.inner.flush(file)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

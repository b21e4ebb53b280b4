//! The disk seam: what the engine sees of a device.
//!
//! A [`BlockIo`] is a small flat set of files of fixed length, read and written in whole blocks of
//! [`BLOCK`] bytes at block-aligned offsets, from [`BlockBuf`]s whose memory is aligned too, so that every
//! implementation may bypass the page cache. Three exist and one conformance suite runs against all:
//!
//! - [`UringIo`]: one OS thread owns the io_uring of one disk; futures come back to the runtime
//! - [`ThreadIo`]: `pread`/`pwritev2` on a bounded pool of threads, where io_uring is refused
//! - [`SimIo`]: memory that forgets, tears and reorders what was not flushed, and fails on the n-th call
//!
//! A [`FairIo`] before any of them shares it among clients and background work, and conforms too.
//!
//! An error from a write or a flush leaves the file's content unknown. Whoever gets one must stop writing
//! to the device; nothing here retries.

mod buffer;
#[cfg(test)]
mod conformance;
mod fair;
#[cfg(test)]
mod model;
mod pool;
mod queue;
mod registered;
mod sim;
mod storage;
mod sync;
mod thread;
mod uring;
mod wake;

pub use buffer::{BLOCK, BlockBuf};
pub use fair::FairIo;
pub use queue::{Class, Window};
pub use sim::{Calls, Failure, SimIo};
pub use thread::ThreadIo;
pub use uring::UringIo;

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

/// What an operation gives, later.
pub type IoFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// A file of a device, open until the device is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// When the bytes can be read again; a later [`BlockIo::flush`] makes them durable.
    Volatile,
    /// When the bytes are on stable media (`RWF_DSYNC`).
    Durable,
}

/// A device as the engine sees it.
pub trait BlockIo: Send + Sync + 'static {
    /// Which implementation this is, for logs and metrics.
    fn kind(&self) -> &'static str;

    /// The names of all files.
    fn list(&self) -> IoFuture<Vec<String>>;

    /// Makes a file of `blocks` blocks that read as zeros. Its name and length are durable when this is done.
    fn create(&self, name: &str, blocks: u32) -> IoFuture<FileId>;

    /// Opens a file and tells its length in blocks.
    fn open(&self, name: &str) -> IoFuture<(FileId, u32)>;

    /// Reads `blocks` blocks from block `at` on.
    fn read(&self, file: FileId, at: u32, blocks: u32) -> IoFuture<BlockBuf>;

    /// Writes the whole buffer from block `at` on, and gives it back for reuse.
    fn write(&self, file: FileId, at: u32, buf: BlockBuf, mode: WriteMode) -> IoFuture<BlockBuf>;

    /// Makes all that was written to the file durable.
    fn flush(&self, file: FileId) -> IoFuture<()>;

    /// Bytes that new files may still take.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Which implementation a device is to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoChoice {
    /// io_uring where the kernel grants it, else threads.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Threads.
    Threads,
}

/// Opens a directory as a device.
pub fn open_device(dir: &Path, choice: IoChoice) -> io::Result<Arc<dyn BlockIo>> {
    let uring = match choice {
        IoChoice::Threads => None,
        IoChoice::Uring => Some(UringIo::open(dir)?),
        IoChoice::Auto => match UringIo::open(dir) {
            Ok(uring) => Some(uring),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "io_uring is refused here; using threads for disk I/O");
                None
            }
        },
    };
    let device: Arc<dyn BlockIo> = match uring {
        Some(uring) => Arc::new(uring),
        None => Arc::new(ThreadIo::open(dir)?),
    };
    metrics::gauge!("apus_object_device_io", "kind" => device.kind(), "dir" => dir.display().to_string()).set(1.0);
    Ok(device)
}

/// Opens a directory that is there for reading only, also beside a process that has it open as a device. Writes and
/// creations are refused, and nothing in the directory changes.
pub fn open_read_only(dir: &Path) -> io::Result<Arc<dyn BlockIo>> {
    Ok(Arc::new(ThreadIo::open_read_only(dir)?))
}

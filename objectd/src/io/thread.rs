//! Disk I/O by threads that block, for kernels and containers that forbid io_uring.

use super::buffer::blocks_for;
use super::storage::{Storage, short};
use super::{BLOCK, BlockBuf, BlockIo, FileId, IoFuture, WriteMode};
use rustix::io::ReadWriteFlags;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Threads of one device: as many transfers as a disk of today wants in flight.
const THREADS: usize = 4;
/// Jobs that may wait for a thread. Whoever submits more waits, which is what holds callers back.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&Storage) + Send>;

/// A [`BlockIo`] on a directory by `pread` and `pwritev2`.
pub struct ThreadIo {
    storage: Arc<Storage>,
    jobs: mpsc::Sender<Job>,
}

impl ThreadIo {
    /// Opens the directory, making it if need be.
    pub fn open(dir: &Path) -> io::Result<Self> {
        ThreadIo::on(Storage::open(dir)?)
    }

    /// Opens a directory that is there, for reading only.
    pub fn open_read_only(dir: &Path) -> io::Result<Self> {
        ThreadIo::on(Storage::open_read_only(dir)?)
    }

    fn on(storage: Storage) -> io::Result<Self> {
        let storage = Arc::new(storage);
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..THREADS {
            let (storage, queue) = (Arc::clone(&storage), Arc::clone(&queue));
            let work = move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    match job {
                        Some(job) => job(&storage),
                        None => break,
                    }
                }
            };
            std::thread::Builder::new().name(format!("disk-{number}")).spawn(work)?;
        }
        Ok(ThreadIo { storage, jobs })
    }

    fn run<T, F>(&self, work: F) -> IoFuture<T>
    where
        T: Send + 'static,
        F: FnOnce(&Storage) -> io::Result<T> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move |storage| {
            let _ = answer.send(work(storage));
        });
        // A full queue makes the future wait, on whatever drives it: callers are tasks of the runtime and plain
        // threads alike.
        let jobs = self.jobs.clone();
        Box::pin(async move {
            let stopped = || io::Error::other("the disk's threads have stopped");
            jobs.send(job).await.map_err(|_| stopped())?;
            wait.await.map_err(|_| stopped())?
        })
    }
}

impl BlockIo for ThreadIo {
    fn kind(&self) -> &'static str {
        "threads"
    }

    fn list(&self) -> IoFuture<Vec<String>> {
        self.run(Storage::list)
    }

    fn create(&self, name: &str, blocks: u32) -> IoFuture<FileId> {
        let name = name.to_owned();
        self.run(move |storage| storage.create(&name, blocks))
    }

    fn open(&self, name: &str) -> IoFuture<(FileId, u32)> {
        let name = name.to_owned();
        self.run(move |storage| storage.open_existing(&name))
    }

    fn read(&self, file: FileId, at: u32, blocks: u32) -> IoFuture<BlockBuf> {
        self.run(move |storage| {
            let mut buf = BlockBuf::unfilled(blocks);
            storage.file(file)?.file.read_exact_at(buf.as_mut(), u64::from(at) * BLOCK as u64)?;
            Ok(buf)
        })
    }

    fn write(&self, file: FileId, at: u32, buf: BlockBuf, mode: WriteMode) -> IoFuture<BlockBuf> {
        self.run(move |storage| {
            let open = storage.file_to_write(file, at, buf.blocks())?;
            let flags = match mode {
                WriteMode::Volatile => ReadWriteFlags::empty(),
                WriteMode::Durable => ReadWriteFlags::DSYNC,
            };
            let bytes = buf.as_ref();
            let at = u64::from(at) * BLOCK as u64;
            let done = rustix::io::pwritev2(open.file.as_fd(), &[IoSlice::new(bytes)], at, flags)?;
            debug_assert_eq!(blocks_for(bytes.len()), buf.blocks());
            if done == bytes.len() { Ok(buf) } else { Err(short("write", done, bytes.len())) }
        })
    }

    fn flush(&self, file: FileId) -> IoFuture<()> {
        self.run(move |storage| storage.file(file)?.file.sync_data())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.storage.free_bytes()
    }
}

//! Disk I/O by io_uring: one OS thread owns the ring of one device.
//!
//! Callers push operations into a bounded queue; the ring's thread takes what is there, submits it in one
//! system call and completes the callers' futures. An eventfd that the ring itself reads wakes the thread,
//! and is only written when the thread has said that it is about to sleep ([`Wake`]).
//!
//! Buffers of half a MiB and more come from a [`pool`](super::pool) and are registered with the ring when they are first
//! used. Measured on the ring's thread alone, 16 transfers in flight, a registered buffer saves about 20 of 48 us of CPU
//! for 1 MiB, 2 of 6 for 64 KiB, and 0 to 0.6 of 5 for 4 KiB, which is not worth it; a registered file saves nothing that
//! stands out of the noise.

use super::registered::Registered;
use super::storage::{OpenFile, Storage, short};
use super::wake::Wake;
use super::{BLOCK, BlockBuf, BlockIo, FileId, IoFuture, WriteMode};
use io_uring::{IoUring, opcode, types};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Operations in the ring at a time.
const ENTRIES: u32 = 256;
/// Operations waiting to get into the ring; more make their callers wait.
const QUEUE: usize = 1024;
const RWF_DSYNC: i32 = 2;
const WAKE: u64 = u64::MAX;
const EAGAIN: i32 = rustix::io::Errno::AGAIN.raw_os_error();
const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();

enum Work {
    Read(BlockBuf),
    Write(BlockBuf, WriteMode),
    Flush,
}

struct Op {
    file: Arc<OpenFile>,
    at: u64,
    work: Work,
    answer: oneshot::Sender<io::Result<BlockBuf>>,
}

/// A [`BlockIo`] on a directory by io_uring.
pub struct UringIo {
    storage: Arc<Storage>,
    inlet: Arc<Inlet>,
}

/// Whether long buffers are registered with the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    /// If the kernel does that.
    Registered,
    /// As where it does not.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests of what an older kernel does"))]
    Plain,
}

/// The way into the ring's thread. Every unfinished operation holds it, and the last one that lets go of it,
/// be it a future or the device, ends the thread.
struct Inlet {
    ops: mpsc::Sender<Op>,
    bell: Arc<Bell>,
}

/// What rouses the ring's thread.
struct Bell {
    event: File,
    wake: Wake,
}

impl Bell {
    fn ring(&self) {
        if self.wake.must_rouse() {
            // Can only fail when the counter is full, and then the thread is being woken anyway.
            let _ = io::Write::write(&mut &self.event, &1u64.to_ne_bytes());
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        // The sender would go right after this, and the thread must look at its queue to notice.
        let (closed, _) = mpsc::channel(1);
        self.ops = closed;
        self.bell.ring();
    }
}

impl UringIo {
    /// Opens the directory, making it if need be. Fails where the kernel does not grant io_uring.
    pub fn open(dir: &Path) -> io::Result<Self> {
        UringIo::open_with(dir, Buffers::Registered)
    }

    pub(super) fn open_with(dir: &Path, buffers: Buffers) -> io::Result<Self> {
        let storage = Arc::new(Storage::open(dir)?);
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        let bell = Arc::new(Bell { event: event.into(), wake: Wake::new() });
        let (ops, queue) = mpsc::channel(QUEUE);
        let (started, wait) = std::sync::mpsc::channel();
        let thread_bell = Arc::clone(&bell);
        let run = move || match Ring::new(queue, thread_bell, buffers) {
            Ok(ring) => {
                let _ = started.send(Ok(()));
                ring.run();
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        };
        std::thread::Builder::new().name("disk-uring".to_owned()).spawn(run)?;
        wait.recv().map_err(io::Error::other)??;
        Ok(UringIo { storage, inlet: Arc::new(Inlet { ops, bell }) })
    }

    fn submit(&self, file: io::Result<Arc<OpenFile>>, at: u32, work: Work) -> IoFuture<BlockBuf> {
        let inlet = Arc::clone(&self.inlet);
        Box::pin(async move {
            let (answer, wait) = oneshot::channel();
            let op = Op { file: file?, at: u64::from(at) * BLOCK as u64, work, answer };
            let stopped = || io::Error::other("the disk's thread has stopped");
            inlet.ops.send(op).await.map_err(|_| stopped())?;
            inlet.bell.ring();
            wait.await.map_err(|_| stopped())?
        })
    }

    /// Rare operations that a ring does no better go to the runtime's pool of blocking threads.
    fn blocking<T, F>(&self, work: F) -> IoFuture<T>
    where
        T: Send + 'static,
        F: FnOnce(&Storage) -> io::Result<T> + Send + 'static,
    {
        let storage = Arc::clone(&self.storage);
        let (answer, wait) = oneshot::channel();
        let run = move || {
            let _ = answer.send(work(&storage));
        };
        let spawned = std::thread::Builder::new().name("disk-files".to_owned()).spawn(run);
        Box::pin(async move {
            spawned?;
            wait.await.map_err(io::Error::other)?
        })
    }
}

impl BlockIo for UringIo {
    fn kind(&self) -> &'static str {
        "io_uring"
    }

    fn list(&self) -> IoFuture<Vec<String>> {
        self.blocking(Storage::list)
    }

    fn create(&self, name: &str, blocks: u32) -> IoFuture<FileId> {
        let name = name.to_owned();
        self.blocking(move |storage| storage.create(&name, blocks))
    }

    fn open(&self, name: &str) -> IoFuture<(FileId, u32)> {
        let name = name.to_owned();
        self.blocking(move |storage| storage.open_existing(&name))
    }

    fn read(&self, file: FileId, at: u32, blocks: u32) -> IoFuture<BlockBuf> {
        self.submit(self.storage.file(file), at, Work::Read(BlockBuf::unfilled(blocks)))
    }

    fn write(&self, file: FileId, at: u32, buf: BlockBuf, mode: WriteMode) -> IoFuture<BlockBuf> {
        let file = self.storage.file_to_write(file, at, buf.blocks());
        self.submit(file, at, Work::Write(buf, mode))
    }

    fn flush(&self, file: FileId) -> IoFuture<()> {
        let flushed = self.submit(self.storage.file(file), 0, Work::Flush);
        Box::pin(async move { flushed.await.map(drop) })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.storage.free_bytes()
    }
}

/// The ring and what is in flight in it; lives on its own thread.
struct Ring {
    uring: IoUring,
    registered: Registered,
    queue: mpsc::Receiver<Op>,
    bell: Arc<Bell>,
    /// Operations in flight by the number the kernel returns; it owns their buffers until then.
    flying: Vec<Option<Op>>,
    free: Vec<usize>,
    wake_value: Box<[u8; 8]>,
    waking: bool,
}

impl Ring {
    fn new(queue: mpsc::Receiver<Op>, bell: Arc<Bell>, buffers: Buffers) -> io::Result<Self> {
        let uring =
            IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(ENTRIES * 2)?;
        let registered = match buffers {
            Buffers::Registered => Registered::with(&uring),
            Buffers::Plain => Registered::Nothing,
        };
        let flying = (0..ENTRIES).map(|_| None).collect();
        let free = (0..ENTRIES as usize).rev().collect();
        let wake_value = Box::new([0; 8]);
        Ok(Ring { uring, registered, queue, bell, flying, free, wake_value, waking: false })
    }

    fn run(mut self) {
        loop {
            let open = self.take_queue();
            let idle = self.free.len() == ENTRIES as usize;
            if !open && idle {
                return;
            }
            if let Err(error) = self.wait(open) {
                self.give_up(&error);
                return;
            }
            self.complete();
        }
    }

    /// Without a working ring no operation can ever complete, and their callers must know.
    fn give_up(&mut self, error: &io::Error) {
        tracing::error!(%error, "io_uring failed; this disk is given up until a restart");
        for op in self.flying.drain(..).flatten() {
            let Op { file, work, answer, .. } = op;
            let _ = answer.send(Err(io::Error::new(error.kind(), "io_uring failed")));
            // The kernel may still write into a buffer in flight, so that must outlive us.
            std::mem::forget((file, work));
        }
    }

    /// Moves waiting operations into the ring. False when nobody can send any more.
    fn take_queue(&mut self) -> bool {
        while let Some(slot) = self.free.pop() {
            match self.queue.try_recv() {
                Ok(op) => self.push(slot, op),
                Err(reason) => {
                    self.free.push(slot);
                    return reason == mpsc::error::TryRecvError::Empty;
                }
            }
        }
        true
    }

    #[expect(unsafe_code, reason = "submission entries point to buffers")]
    fn push(&mut self, slot: usize, mut op: Op) {
        let fd = types::Fd(op.file.file.as_raw_fd());
        let entry = match &mut op.work {
            Work::Read(buf) => self.registered.read(&self.uring, fd, buf, op.at),
            Work::Write(buf, mode) => {
                let flags = if *mode == WriteMode::Durable { RWF_DSYNC } else { 0 };
                self.registered.write(&self.uring, fd, buf, op.at, flags)
            }
            Work::Flush => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
        };
        self.flying[slot] = Some(op);
        // SAFETY: the entry's buffer is memory of the op that does not move, which stays in `flying` until its completion,
        // and the file stays open as long. There is room: ENTRIES slots and one wake in 2 * ENTRIES entries.
        let pushed = unsafe { self.uring.submission().push(&entry.user_data(slot as u64)) };
        if pushed.is_err()
            && let Some(op) = self.flying[slot].take()
        {
            let _ = op.answer.send(Err(io::Error::other("the ring is full")));
            self.free.push(slot);
        }
    }

    /// Submits, and sleeps until something completes or somebody wakes us.
    #[expect(unsafe_code, reason = "submission entries point to buffers")]
    fn wait(&mut self, open: bool) -> io::Result<()> {
        if !self.waking && open {
            let fd = types::Fd(self.bell.event.as_raw_fd());
            let entry = opcode::Read::new(fd, self.wake_value.as_mut_ptr(), 8).build();
            // SAFETY: the value lives on the heap as long as the ring, as does the eventfd.
            unsafe { self.uring.submission().push(&entry.user_data(WAKE)) }
                .map_err(io::Error::other)?;
            self.waking = true;
        }
        let mut want = 1;
        if open && !self.free.is_empty() {
            let is_empty = || self.queue.is_empty() && !self.queue.is_closed();
            if !self.bell.wake.may_sleep(is_empty) {
                // Something came between looking and falling asleep.
                want = 0;
            }
        }
        let waited = loop {
            match self.uring.submit_and_wait(want) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel is short of memory or of room for completions for a moment.
                Err(error) if [Some(EAGAIN), Some(EBUSY)].contains(&error.raw_os_error()) => {
                    std::thread::sleep(Duration::from_millis(1));
                    break Ok(());
                }
                other => break other.map(drop),
            }
        };
        self.bell.wake.awake();
        waited
    }

    fn complete(&mut self) {
        let done: Vec<(u64, i32)> =
            self.uring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        for (slot, result) in done {
            if slot == WAKE {
                self.waking = false;
                continue;
            }
            let Some(op) = self.flying.get_mut(slot as usize).and_then(Option::take) else {
                continue;
            };
            self.free.push(slot as usize);
            let _ = op.answer.send(finish(op.work, result));
        }
    }
}

fn finish(work: Work, result: i32) -> io::Result<BlockBuf> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    let done = result as usize;
    let (what, buf) = match work {
        Work::Read(buf) => ("read", buf),
        Work::Write(buf, _) => ("write", buf),
        Work::Flush => return Ok(BlockBuf::default()),
    };
    let wanted = buf.as_ref().len();
    if done == wanted { Ok(buf) } else { Err(short(what, done, wanted)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_thread_ends_with_the_last_operation() {
        let dir = tempfile::tempdir().expect("a directory");
        let Ok(uring) = UringIo::open(dir.path()) else {
            eprintln!("SKIPPED: this kernel grants no io_uring");
            return;
        };
        let file = uring.create("a.seg", 1).await.expect("created");
        let thread = Arc::downgrade(&uring.inlet.bell);
        let reading = uring.read(file, 0, 1);
        drop(uring);
        reading.await.expect("the device is there as long as its operations");
        while thread.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

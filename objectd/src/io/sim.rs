//! A disk in memory that fails as disks do.
//!
//! What was written and not flushed is volatile: a [`SimIo::crash`] keeps any subset of its sectors, so that
//! it forgets, tears and reorders. A write or flush can be made to fail at the n-th call; a failing write
//! leaves any part of itself behind.

use super::storage::past_end;
use super::{BLOCK, BlockBuf, BlockIo, FileId, IoFuture, WriteMode};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes atomically.
const SECTOR: usize = 512;

/// A [`BlockIo`] in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimIo(Arc<Mutex<Disk>>);

struct Disk {
    files: Vec<SimFile>,
    capacity: u64,
    calls_until_failure: Option<u64>,
    failed: bool,
    random: u64,
}

#[derive(Clone)]
struct SimFile {
    name: String,
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl SimIo {
    /// An empty disk; equal seeds fail alike.
    pub fn new(capacity: u64, seed: u64) -> Self {
        SimIo(Arc::new(Mutex::new(Disk {
            files: Vec::new(),
            capacity,
            calls_until_failure: None,
            failed: false,
            random: seed,
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call after `calls` more writes, flushes and creations fails, and so do all later ones.
    pub fn fail_after(&self, calls: u64) {
        self.disk().calls_until_failure = Some(calls);
    }

    /// The disk after the power went: all that was flushed, and any part of the rest.
    pub fn crash(&self) -> SimIo {
        let mut disk = self.disk();
        let mut files = disk.files.clone();
        for file in &mut files {
            for sector in std::mem::take(&mut file.dirty) {
                if disk.random().is_multiple_of(2) {
                    file.persist(sector);
                }
            }
            file.live.clone_from(&file.durable);
        }
        let random = disk.random();
        SimIo(Arc::new(Mutex::new(Disk {
            files,
            capacity: disk.capacity,
            calls_until_failure: None,
            failed: false,
            random,
        })))
    }

    /// Flips one bit of what is on the media. The position is taken modulo the file's length.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        for file in self.disk().files.iter_mut().filter(|file| file.name == name) {
            let bit = (bit % (file.live.len() as u64 * 8)) as usize;
            file.live[bit / 8] ^= 1 << (bit % 8);
            file.durable[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Zeroes bytes on the media, as a sector that was reset does.
    pub fn zero(&self, name: &str, range: std::ops::Range<usize>) {
        for file in self.disk().files.iter_mut().filter(|file| file.name == name) {
            file.live[range.clone()].fill(0);
            file.durable[range.clone()].fill(0);
        }
    }

    /// The content of a file as a reader sees it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.files.iter().find(|file| file.name == name).map(|file| file.live.clone())
    }
}

impl Disk {
    /// splitmix64: small, and the same on every machine.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Counts a call that may fail; true when it does.
    fn fails(&mut self) -> bool {
        match &mut self.calls_until_failure {
            Some(0) => self.failed = true,
            Some(calls) => *calls -= 1,
            None => {}
        }
        self.failed
    }

    fn file(&mut self, id: FileId) -> io::Result<&mut SimFile> {
        self.files.get_mut(id.0 as usize).ok_or_else(|| io::Error::other("no such file is open"))
    }

    fn used(&self) -> u64 {
        self.files.iter().map(|file| file.live.len() as u64).sum()
    }

    fn create(&mut self, name: &str, blocks: u32) -> io::Result<FileId> {
        if self.fails() {
            return Err(broken());
        }
        let len = blocks as usize * BLOCK;
        if self.used() + len as u64 > self.capacity {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let (live, durable) = (vec![0; len], vec![0; len]);
        let file = SimFile { name: name.to_owned(), live, durable, dirty: BTreeSet::new() };
        self.files.push(file);
        Ok(FileId(self.files.len() as u32 - 1))
    }

    fn open(&self, name: &str) -> io::Result<(FileId, u32)> {
        let found = self.files.iter().position(|file| file.name == name);
        let index = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok((FileId(index as u32), (self.files[index].live.len() / BLOCK) as u32))
    }

    fn read(&mut self, id: FileId, at: u32, blocks: u32) -> io::Result<BlockBuf> {
        let file = self.file(id)?;
        let start = at as usize * BLOCK;
        let end = start + blocks as usize * BLOCK;
        let bytes = file.live.get(start..end);
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(BlockBuf::from_bytes(bytes))
    }

    fn write(
        &mut self,
        id: FileId,
        at: u32,
        buf: BlockBuf,
        mode: WriteMode,
    ) -> io::Result<BlockBuf> {
        let fails = self.fails();
        let kept = if fails { self.random() as usize } else { usize::MAX };
        let file = self.file(id)?;
        let start = at as usize * BLOCK;
        if start + buf.as_ref().len() > file.live.len() {
            return Err(past_end());
        }
        for (index, sector) in buf.as_ref().chunks(SECTOR).enumerate() {
            if fails && kept.rotate_right(index as u32) & 1 == 0 {
                continue;
            }
            let place = start / SECTOR + index;
            file.live[place * SECTOR..][..SECTOR].copy_from_slice(sector);
            file.dirty.insert(place);
            if mode == WriteMode::Durable && !fails {
                file.dirty.remove(&place);
                file.persist(place);
            }
        }
        if fails { Err(broken()) } else { Ok(buf) }
    }

    fn flush(&mut self, id: FileId) -> io::Result<()> {
        if self.fails() {
            return Err(broken());
        }
        let file = self.file(id)?;
        for sector in std::mem::take(&mut file.dirty) {
            file.persist(sector);
        }
        Ok(())
    }
}

impl SimFile {
    fn persist(&mut self, sector: usize) {
        let range = sector * SECTOR..(sector + 1) * SECTOR;
        self.durable[range.clone()].copy_from_slice(&self.live[range]);
    }
}

fn broken() -> io::Error {
    io::Error::other("the simulated disk failed")
}

fn ready<T: Send + 'static>(result: io::Result<T>) -> IoFuture<T> {
    Box::pin(std::future::ready(result))
}

impl BlockIo for SimIo {
    fn kind(&self) -> &'static str {
        "simulation"
    }

    fn list(&self) -> IoFuture<Vec<String>> {
        ready(Ok(self.disk().files.iter().map(|file| file.name.clone()).collect()))
    }

    fn create(&self, name: &str, blocks: u32) -> IoFuture<FileId> {
        ready(self.disk().create(name, blocks))
    }

    fn open(&self, name: &str) -> IoFuture<(FileId, u32)> {
        ready(self.disk().open(name))
    }

    fn read(&self, file: FileId, at: u32, blocks: u32) -> IoFuture<BlockBuf> {
        ready(self.disk().read(file, at, blocks))
    }

    fn write(&self, file: FileId, at: u32, buf: BlockBuf, mode: WriteMode) -> IoFuture<BlockBuf> {
        ready(self.disk().write(file, at, buf, mode))
    }

    fn flush(&self, file: FileId) -> IoFuture<()> {
        ready(self.disk().flush(file))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = self.disk();
        Ok(disk.capacity.saturating_sub(disk.used()))
    }
}

//! A disk in memory that fails as disks do.
//!
//! What was written and not flushed is volatile: a [`SimIo::crash`] keeps any subset of its sectors, so that
//! it forgets, tears and reorders. Calls are counted, and chosen ones fail: a failing write leaves any part of
//! itself behind, and a failing flush makes any part durable and forgets that the rest never was, so that a
//! second flush succeeds and proves nothing.
//!
//! Blocks of zeros take no memory, and a crashed disk shares its blocks with the one it comes from, so that
//! thousands of crashes are cheap.

use super::storage::{past_end, short, unopened};
use super::{BLOCK, BlockBuf, BlockIo, FileId, IoFuture, WriteMode};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes atomically.
const SECTOR: usize = 512;
const SECTORS: usize = BLOCK / SECTOR;
const ZEROS: [u8; BLOCK] = [0; BLOCK];
const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
const ENOSPC: i32 = rustix::io::Errno::NOSPC.raw_os_error();

/// A set of the sectors of one block.
type Sectors = u8;
const _: () = assert!(SECTORS == Sectors::BITS as usize);

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`.
    Error,
    /// `ENOSPC`. Reads and flushes do not know it, and give `EIO`.
    Full,
    /// Fewer bytes are moved than were asked for. Flushes and creations move none, and give `EIO`.
    Short,
}

/// The calls that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Writes, flushes and creations.
    Changes,
    /// Reads.
    Reads,
}

/// A [`BlockIo`] in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimIo(Arc<Mutex<Disk>>);

struct Disk {
    files: Vec<SimFile>,
    capacity: u64,
    changes: u64,
    reads: u64,
    faults: Vec<Fault>,
    random: Random,
}

/// Calls that are to fail.
struct Fault {
    calls: Calls,
    numbers: Range<u64>,
    failure: Failure,
}

#[derive(Clone)]
struct SimFile {
    name: String,
    blocks: u32,
    live: Content,
    durable: Content,
    /// What was written since it was last durable, by block.
    dirty: BTreeMap<u32, Sectors>,
}

impl SimIo {
    /// An empty disk; equal seeds fail alike.
    pub fn new(capacity: u64, seed: u64) -> Self {
        SimIo::with(Vec::new(), capacity, seed)
    }

    fn with(files: Vec<SimFile>, capacity: u64, seed: u64) -> Self {
        let (faults, random) = (Vec::new(), Random(seed));
        SimIo(Arc::new(Mutex::new(Disk { files, capacity, changes: 0, reads: 0, faults, random })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls were made since the disk was new or came out of a crash.
    pub fn calls(&self, calls: Calls) -> u64 {
        *self.disk().count(calls)
    }

    /// Call `number`, counted from 0 as [`SimIo::calls`] does, fails; later ones work again.
    pub fn fail_call(&self, calls: Calls, number: u64, failure: Failure) {
        let numbers = number..number.saturating_add(1);
        self.disk().faults.push(Fault { calls, numbers, failure });
    }

    /// Call `number`, counted from 0 as [`SimIo::calls`] does, fails, and so do all later ones.
    pub fn fail_from(&self, calls: Calls, number: u64, failure: Failure) {
        self.disk().faults.push(Fault { calls, numbers: number..u64::MAX, failure });
    }

    /// The call after `calls` more writes, flushes and creations fails, and so do all later ones.
    pub fn fail_after(&self, calls: u64) {
        let made = self.calls(Calls::Changes);
        self.fail_from(Calls::Changes, made.saturating_add(calls), Failure::Error);
    }

    /// The disk after the power went: all that was flushed, and any part of the rest. It has no faults.
    pub fn crash(&self) -> SimIo {
        let mut disk = self.disk();
        let mut files = disk.files.clone();
        for file in &mut files {
            file.settle_any(&mut disk.random);
            file.live.clone_from(&file.durable);
        }
        let seed = disk.random.next();
        SimIo::with(files, disk.capacity, seed)
    }

    /// Flips one bit of what is on the media. The position is taken modulo the file's length.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        for file in self.disk().files.iter_mut().filter(|file| file.name == name) {
            let bit = bit % (u64::from(file.blocks) * BLOCK as u64 * 8);
            let at = (bit / 8) as usize;
            file.damage(at..at + 1, |bytes| bytes[0] ^= 1 << (bit % 8));
        }
    }

    /// Zeroes bytes on the media, as a sector that was reset does.
    pub fn zero(&self, name: &str, range: Range<usize>) {
        for file in self.disk().files.iter_mut().filter(|file| file.name == name) {
            file.damage(range.clone(), |bytes| bytes.fill(0));
        }
    }

    /// The content of a file as a reader sees it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        let file = disk.files.iter().find(|file| file.name == name)?;
        let mut bytes = vec![0; file.blocks as usize * BLOCK];
        file.live.read(0, &mut bytes);
        Some(bytes)
    }
}

/// splitmix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Any subset.
    fn some_of(&mut self, sectors: Sectors) -> Sectors {
        sectors & self.next() as Sectors
    }
}

impl Disk {
    fn count(&mut self, calls: Calls) -> &mut u64 {
        match calls {
            Calls::Changes => &mut self.changes,
            Calls::Reads => &mut self.reads,
        }
    }

    /// Counts a call, and tells how it is to fail.
    fn fault(&mut self, calls: Calls) -> Option<Failure> {
        let count = self.count(calls);
        let number = *count;
        *count += 1;
        let hit = |fault: &&Fault| fault.calls == calls && fault.numbers.contains(&number);
        self.faults.iter().find(hit).map(|fault| fault.failure)
    }

    /// A file, and what decides how a call on it fails.
    fn file(&mut self, id: FileId) -> io::Result<(&mut SimFile, &mut Random)> {
        let file = self.files.get_mut(id.0 as usize).ok_or_else(unopened)?;
        Ok((file, &mut self.random))
    }

    fn used(&self) -> u64 {
        self.files.iter().map(|file| u64::from(file.blocks) * BLOCK as u64).sum()
    }

    fn create(&mut self, name: &str, blocks: u32) -> io::Result<FileId> {
        match self.fault(Calls::Changes) {
            Some(Failure::Full) => return Err(full()),
            Some(Failure::Error | Failure::Short) => return Err(broken()),
            None => {}
        }
        if self.used() + u64::from(blocks) * BLOCK as u64 > self.capacity {
            return Err(full());
        }
        let (live, durable, dirty) = (Content::default(), Content::default(), BTreeMap::new());
        self.files.push(SimFile { name: name.to_owned(), blocks, live, durable, dirty });
        Ok(FileId(self.files.len() as u32 - 1))
    }

    fn open(&self, name: &str) -> io::Result<(FileId, u32)> {
        let found = self.files.iter().position(|file| file.name == name);
        let index = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok((FileId(index as u32), self.files[index].blocks))
    }

    fn read(&mut self, id: FileId, at: u32, blocks: u32) -> io::Result<BlockBuf> {
        let fault = self.fault(Calls::Reads);
        let (file, random) = self.file(id)?;
        if !file.has(at, blocks) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let wanted = blocks as usize * BLOCK;
        match fault {
            Some(Failure::Short) => return Err(short("read", random.below(wanted), wanted)),
            Some(Failure::Error | Failure::Full) => return Err(broken()),
            None => {}
        }
        let mut buf = BlockBuf::zeroed(blocks);
        file.live.read(at, buf.as_mut());
        Ok(buf)
    }

    fn write(
        &mut self,
        id: FileId,
        at: u32,
        buf: BlockBuf,
        mode: WriteMode,
    ) -> io::Result<BlockBuf> {
        let fault = self.fault(Calls::Changes);
        let (file, random) = self.file(id)?;
        if !file.has(at, buf.blocks()) {
            return Err(past_end());
        }
        let blocks = || (at..).zip(buf.as_ref().chunks(BLOCK));
        let Some(failure) = fault else {
            for (block, bytes) in blocks() {
                file.write(block, bytes, Sectors::MAX);
                if mode == WriteMode::Durable {
                    file.settle(block, Sectors::MAX);
                }
            }
            return Ok(buf);
        };
        if failure == Failure::Short {
            let wanted = buf.as_ref().len();
            let done = random.below(wanted) / SECTOR * SECTOR;
            for (index, (block, bytes)) in blocks().enumerate() {
                let sectors = (done.saturating_sub(index * BLOCK) / SECTOR).min(SECTORS) as u32;
                file.write(block, bytes, ((1u32 << sectors) - 1) as Sectors);
            }
            return Err(short("write", done, wanted));
        }
        for (block, bytes) in blocks() {
            file.write(block, bytes, random.some_of(Sectors::MAX));
        }
        Err(if failure == Failure::Full { full() } else { broken() })
    }

    fn flush(&mut self, id: FileId) -> io::Result<()> {
        let fault = self.fault(Calls::Changes);
        let (file, random) = self.file(id)?;
        if fault.is_some() {
            // As Linux does: what could not be written counts as clean afterwards.
            file.settle_any(random);
            return Err(broken());
        }
        for (block, sectors) in std::mem::take(&mut file.dirty) {
            file.durable.copy(block, &file.live, sectors);
        }
        Ok(())
    }
}

impl SimFile {
    fn has(&self, at: u32, blocks: u32) -> bool {
        at.checked_add(blocks).is_some_and(|end| end <= self.blocks)
    }

    /// Writes some sectors of a block, which are not durable then.
    fn write(&mut self, block: u32, bytes: &[u8], sectors: Sectors) {
        if sectors != 0 {
            self.live.put(block, bytes, sectors);
            *self.dirty.entry(block).or_default() |= sectors;
        }
    }

    /// Makes sectors of a block durable.
    fn settle(&mut self, block: u32, sectors: Sectors) {
        self.durable.copy(block, &self.live, sectors);
        if let Some(dirty) = self.dirty.get_mut(&block) {
            *dirty &= !sectors;
            if *dirty == 0 {
                self.dirty.remove(&block);
            }
        }
    }

    /// Makes any part of what is dirty durable, and forgets about the rest.
    fn settle_any(&mut self, random: &mut Random) {
        for (block, sectors) in std::mem::take(&mut self.dirty) {
            self.durable.copy(block, &self.live, random.some_of(sectors));
        }
    }

    fn damage(&mut self, range: Range<usize>, change: impl Fn(&mut [u8])) {
        self.live.change(range.clone(), &change);
        self.durable.change(range, &change);
    }
}

/// Blocks of [`BLOCK`] bytes by number; what is absent is zeros.
#[derive(Clone, Default)]
struct Content(BTreeMap<u32, Arc<[u8]>>);

impl Content {
    /// Reads whole blocks from block `at` on into zeros.
    fn read(&self, at: u32, into: &mut [u8]) {
        let end = at.saturating_add((into.len() / BLOCK) as u32);
        for (block, bytes) in self.0.range(at..end) {
            into[(block - at) as usize * BLOCK..][..BLOCK].copy_from_slice(bytes);
        }
    }

    fn put(&mut self, block: u32, bytes: &[u8], sectors: Sectors) {
        if sectors == Sectors::MAX {
            if bytes == ZEROS {
                self.0.remove(&block);
            } else {
                self.0.insert(block, Arc::from(bytes));
            }
            return;
        }
        let place = self.block(block);
        for sector in (0..SECTORS).filter(|sector| sectors >> sector & 1 == 1) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            place[range.clone()].copy_from_slice(&bytes[range]);
        }
    }

    /// Takes sectors of a block over from another content.
    fn copy(&mut self, block: u32, from: &Content, sectors: Sectors) {
        let found = from.0.get(&block);
        match (sectors, found) {
            (0, _) => {}
            (Sectors::MAX, Some(bytes)) => drop(self.0.insert(block, Arc::clone(bytes))),
            (Sectors::MAX, None) => drop(self.0.remove(&block)),
            _ => self.put(block, found.map_or(&ZEROS, |bytes| &bytes[..]), sectors),
        }
    }

    fn change(&mut self, range: Range<usize>, change: impl Fn(&mut [u8])) {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min((at / BLOCK + 1) * BLOCK);
            let start = at % BLOCK;
            change(&mut self.block((at / BLOCK) as u32)[start..start + (end - at)]);
            at = end;
        }
    }

    fn block(&mut self, block: u32) -> &mut [u8] {
        Arc::make_mut(self.0.entry(block).or_insert_with(|| Arc::from(ZEROS)))
    }
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(ENOSPC)
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

//! The journal: each batch is written here first, with one durable write, and then into RocksDB, whose own log is off.
//!
//! RocksDB's log grows with every write, so that each flush of it has to write the file's inode too, and waits three times for
//! the device. The journal is two files of a fixed length that are used in turn: space that was written before is written
//! again, past the page cache, and one wait is enough.
//!
//! - A record begins at a block: a head with the batch's number and length and a CRC-32, then the batch as RocksDB
//!   serializes it. The CRC begins with a random number of the database, so that what clients store never looks like a record.
//! - Each batch also sets the mark `applied` to its number. So RocksDB itself says from where on records count after a crash
//!   ([`Journal::open`] replays them): what it has flushed is always a prefix of the batches.
//! - When a file is full, the other is taken, and RocksDB flushes what came until then, meanwhile. A file is taken only when the
//!   flush that makes it superfluous is done.
//!
//! A number that is missing before a greater one is damage, and the database is not opened; so is a missing file. The last
//! record may be torn: it belongs to a batch that nobody was told of. Damage of the last records cannot be told from that.

use crate::keys::mark;
use crate::store::Store;
use rocksdb::{DB, WriteBatch, WriteOptions};
use rustix::fs::{Mode, OFlags};
use rustix::io::ReadWriteFlags;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Records begin at multiples of this, and so do writes.
const BLOCK: usize = 4096;
/// Bytes of each of the two files.
pub(crate) const FILE_BYTES: u64 = 64 << 20;
/// So many bytes of a new file are written before they are needed, at a time.
const PREPARED_BYTES: usize = 1 << 20;
/// A longer buffer is not kept for the next record.
const BUFFER_KEPT_BYTES: usize = 1 << 20;
const NAMES: [&str; 2] = ["batches-0", "batches-1"];
const MAGIC: [u8; 4] = *b"ABL1";
/// Magic, CRC-32, number (8), length (4), each little-endian.
const HEAD_BYTES: usize = 20;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The medium.
    #[error("the journal cannot be read or written")]
    Io(#[from] io::Error),
    /// Its files cannot be made or opened.
    #[error("the journal cannot be made")]
    Files(#[source] io::Error),
    /// One of its files is not there any more.
    #[error("a file of the journal is missing")]
    Lost,
    /// A record that must be there is not.
    #[error("the journal is damaged: batch {0} is missing")]
    Missing(u64),
    /// What it belongs to is empty.
    #[error("there is a journal, but its database is gone")]
    Alone,
    /// The database into which it is replayed or flushed.
    #[error("the database cannot be written")]
    Rocks(#[from] rocksdb::Error),
    /// The thread that flushes died.
    #[error("a flush was broken off")]
    BrokenOff,
}

/// The end of a journal, where batches are written.
pub(crate) struct Journal {
    files: [Space; 2],
    active: usize,
    position: u64,
    /// The number of the next batch.
    next: u64,
    salt: u64,
    file_bytes: u64,
    buffer: Vec<u8>,
    /// Makes the file that is not active superfluous.
    flush: Option<JoinHandle<Result<(), rocksdb::Error>>>,
}

/// One of the two files.
struct Space {
    file: File,
    /// Bytes that have been written, if only with zeros.
    prepared: u64,
}

/// A record that was found.
struct Found {
    number: u64,
    file: usize,
    position: u64,
    length: usize,
}

impl Journal {
    /// Whether there is one.
    pub(crate) fn exists(dir: &Path) -> bool {
        NAMES.iter().any(|name| dir.join(name).exists())
    }

    /// Opens or makes the journal of a database, and brings the database up to its end. Blocks.
    pub(crate) fn open(
        dir: &Path,
        db: &DB,
        salt: u64,
        applied: u64,
        file_bytes: u64,
    ) -> Result<Self, JournalError> {
        // Both are made before the first batch.
        if applied > 0 && !NAMES.iter().all(|name| dir.join(name).exists()) {
            return Err(JournalError::Lost);
        }
        let space = |name| Space::open(&dir.join(name)).map_err(JournalError::Files);
        let files = [space(NAMES[0])?, space(NAMES[1])?];
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(JournalError::Files)?;
        let mut found = Vec::new();
        for (number, name) in NAMES.iter().enumerate() {
            let reader = File::open(dir.join(name))?;
            scan(&reader, number, salt, applied, &mut found)?;
        }
        found.sort_unstable_by_key(|record| record.number);
        let mut last = applied;
        for record in &found {
            if record.number != last + 1 {
                return Err(JournalError::Missing(last + 1));
            }
            last = record.number;
        }
        if !found.is_empty() {
            let readers = [File::open(dir.join(NAMES[0]))?, File::open(dir.join(NAMES[1]))?];
            for record in found {
                let mut batch = vec![0; record.length];
                let start = record.position + HEAD_BYTES as u64;
                readers[record.file].read_exact_at(&mut batch, start)?;
                db.write_opt(WriteBatch::from_data(&batch), &unlogged())?;
            }
            // From here on both files are superfluous.
            db.flush()?;
        }
        let buffer = Vec::new();
        Ok(Journal {
            files,
            active: 0,
            position: 0,
            next: last + 1,
            salt,
            file_bytes,
            buffer,
            flush: None,
        })
    }

    /// Writes a batch, durably, and applies it.
    pub(crate) fn write(
        &mut self,
        store: &Arc<Store>,
        mut batch: WriteBatch,
    ) -> Result<(), JournalError> {
        let number = self.next;
        batch.put(mark::APPLIED, mark::encode_value(number));
        let data = batch.data();
        let length = (HEAD_BYTES + data.len()).next_multiple_of(BLOCK) as u64;
        if length > self.file_bytes {
            // It is flushed with all before it instead.
            self.next += 1;
            store.db.write_opt(batch, &unlogged())?;
            return Ok(store.db.flush()?);
        }
        if self.position + length > self.file_bytes {
            self.rotate(store)?;
        }
        let space = &mut self.files[self.active];
        space.prepare(self.position + length)?;
        let record = lay(&mut self.buffer, self.salt, number, data);
        write_durably(&space.file, record, self.position)?;
        if self.buffer.len() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.position += length;
        self.next += 1;
        Ok(store.db.write_opt(batch, &unlogged())?)
    }

    /// Goes on in the other file.
    fn rotate(&mut self, store: &Arc<Store>) -> Result<(), JournalError> {
        self.await_flush()?;
        let store = Arc::clone(store);
        let flush = std::thread::Builder::new().name("listing-flush".into());
        self.flush = Some(flush.spawn(move || store.db.flush())?);
        self.active = 1 - self.active;
        self.position = 0;
        Ok(())
    }

    fn await_flush(&mut self) -> Result<(), JournalError> {
        match self.flush.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(flushed)) => Ok(flushed?),
            Some(Err(_)) => Err(JournalError::BrokenOff),
        }
    }
}

impl Drop for Journal {
    /// The thread that flushes has the database open.
    fn drop(&mut self) {
        let _ = self.await_flush();
    }
}

impl Space {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match rustix::fs::open(path, flags | OFlags::DIRECT, mode) {
            // Not every file system can go past the page cache.
            Err(rustix::io::Errno::INVAL) => rustix::fs::open(path, flags, mode)?,
            opened => opened?,
        };
        let file = File::from(file);
        let prepared = file.metadata()?.len() / BLOCK as u64 * BLOCK as u64;
        Ok(Space { file, prepared })
    }

    /// Has the file written up to `end` at least.
    fn prepare(&mut self, end: u64) -> io::Result<()> {
        if end <= self.prepared {
            return Ok(());
        }
        let mut zeros = vec![0; PREPARED_BYTES + BLOCK];
        let zeros = aligned(&mut zeros, PREPARED_BYTES);
        while self.prepared < end {
            self.file.write_all_at(zeros, self.prepared)?;
            self.prepared += PREPARED_BYTES as u64;
        }
        self.file.sync_all()
    }
}

/// Applies and does not log: the journal has it.
fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// A part of a buffer that begins at a multiple of a block in memory. The buffer is a block longer.
fn aligned(buffer: &mut [u8], length: usize) -> &mut [u8] {
    let skipped = buffer.as_ptr().align_offset(BLOCK);
    &mut buffer[skipped..skipped + length]
}

fn crc(salt: u64, head: &[u8], data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(head);
    hasher.update(data);
    hasher.finalize()
}

/// A record, as it is written.
fn lay<'b>(buffer: &'b mut Vec<u8>, salt: u64, number: u64, data: &[u8]) -> &'b [u8] {
    let length = (HEAD_BYTES + data.len()).next_multiple_of(BLOCK);
    if buffer.len() < length + BLOCK {
        buffer.resize(length + BLOCK, 0);
    }
    let record = aligned(buffer, length);
    let (head, rest) = record.split_at_mut(HEAD_BYTES);
    head[..4].copy_from_slice(&MAGIC);
    head[8..16].copy_from_slice(&number.to_le_bytes());
    // No batch is near 4 GiB: that would not fit into a file.
    head[16..].copy_from_slice(&(data.len() as u32).to_le_bytes());
    let crc = crc(salt, &head[8..], data);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    rest[..data.len()].copy_from_slice(data);
    rest[data.len()..].fill(0);
    record
}

fn write_durably(file: &File, record: &[u8], position: u64) -> io::Result<()> {
    let mut written = 0;
    while written < record.len() {
        let slices = [IoSlice::new(&record[written..])];
        let at = position + written as u64;
        match rustix::io::pwritev2(file, &slices, at, ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Finds the records of a file with greater numbers than `applied`.
fn scan(
    file: &File,
    number: usize,
    salt: u64,
    applied: u64,
    found: &mut Vec<Found>,
) -> Result<(), JournalError> {
    let end = file.metadata()?.len();
    let mut position = 0;
    let mut head = [0; HEAD_BYTES];
    while position + BLOCK as u64 <= end {
        file.read_exact_at(&mut head, position)?;
        let record = read(file, &head, (salt, applied), position, end)?;
        let length = record.as_ref().map_or(0, |(_, length)| *length);
        if let Some((batch, length)) = record {
            found.push(Found { number: batch, file: number, position, length });
        }
        position += (HEAD_BYTES + length).next_multiple_of(BLOCK) as u64;
    }
    Ok(())
}

/// The number and the length of the batch at a place, if there is one that counts.
fn read(
    file: &File,
    head: &[u8; HEAD_BYTES],
    (salt, applied): (u64, u64),
    position: u64,
    end: u64,
) -> Result<Option<(u64, usize)>, JournalError> {
    let field = |from: usize, to: usize| {
        head[from..to].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let length = field(16, 20);
    let number = field(8, 16);
    if head[..4] != MAGIC || number <= applied || position + HEAD_BYTES as u64 + length > end {
        return Ok(None);
    }
    let mut data = vec![0; length as usize];
    file.read_exact_at(&mut data, position + HEAD_BYTES as u64)?;
    let sound = u64::from(crc(salt, &head[8..], &data)) == field(4, 8);
    Ok(sound.then_some((number, data.len())))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;

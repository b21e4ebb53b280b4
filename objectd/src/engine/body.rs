//! Taking an object's data: small data stays in memory for its record, large data streams to a bulk segment.

use super::segments::{Purpose, Segments, blocks_of};
use super::{Engine, EngineError};
use crate::format::{CHUNK, Extent, INLINE_MAX};
use crate::io::{BLOCK, BlockBuf, FileId, WriteMode};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Most bytes of one write of bulk data: sixteen chunks.
const PIECE: usize = 16 * CHUNK;
/// Writes in flight for one body.
const IN_FLIGHT: usize = 3;

/// Data that a record can name.
#[derive(Default)]
pub struct StoredBody {
    pub(super) len: u64,
    pub(super) inline: Vec<u8>,
    pub(super) extents: Vec<Extent>,
    pub(super) chunk_crcs: Vec<u32>,
    pub(super) reservation: Option<Reservation>,
}

impl StoredBody {
    /// How many bytes it is.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Blocks taken for a body that no record names yet; given back unless it is kept.
pub(super) struct Reservation {
    segments: Arc<Segments>,
    extents: Vec<Extent>,
}

impl Reservation {
    /// A durable record names the blocks now, or may.
    pub(super) fn keep(mut self) {
        self.segments.keep(&std::mem::take(&mut self.extents));
    }

    pub(super) fn of(segments: &Arc<Segments>) -> Self {
        Reservation { segments: Arc::clone(segments), extents: Vec::new() }
    }

    /// How much it is.
    pub(super) fn bytes(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.blocks) * BLOCK as u64).sum()
    }

    /// More of them.
    pub(super) fn push(&mut self, extent: Extent) {
        self.extents.push(extent);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.segments.give_back(&self.extents);
    }
}

/// Takes a body piece by piece.
pub struct BodyWriter {
    engine: Engine,
    len: u64,
    /// Bytes of one write of bulk data.
    piece_len: usize,
    /// All of it, while it is short enough to stay in its record.
    inline: Vec<u8>,
    piece: Piece,
    chunk_crcs: Vec<u32>,
    bulk: Option<Bulk>,
}

/// What will be written at once.
#[derive(Default)]
struct Piece {
    buf: BlockBuf,
    filled: usize,
}

struct Bulk {
    reservation: Reservation,
    extents: Vec<Extent>,
    files: Vec<FileId>,
    writes: VecDeque<JoinHandle<std::io::Result<()>>>,
}

impl Engine {
    /// Begins to take a body.
    pub fn body(&self) -> BodyWriter {
        BodyWriter {
            engine: self.clone(),
            len: 0,
            piece_len: piece_len(self.0.segments.blocks()),
            inline: Vec::new(),
            piece: Piece::default(),
            chunk_crcs: Vec::new(),
            bulk: None,
        }
    }
}

impl BodyWriter {
    /// Takes more.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.len += bytes.len() as u64;
        if self.len <= INLINE_MAX as u64 {
            self.inline.extend_from_slice(bytes);
            return Ok(());
        }
        let inline = std::mem::take(&mut self.inline);
        self.push_bulk(&inline).await?;
        self.push_bulk(bytes).await
    }

    async fn push_bulk(&mut self, mut bytes: &[u8]) -> Result<(), EngineError> {
        while !bytes.is_empty() {
            bytes = self.piece.take(bytes, self.piece_len, &mut self.chunk_crcs);
            if self.piece.filled == self.piece_len {
                self.write_piece().await?;
            }
        }
        Ok(())
    }

    /// How much was taken so far.
    pub fn taken(&self) -> u64 {
        self.len
    }

    async fn write_piece(&mut self) -> Result<(), EngineError> {
        let Piece { buf, .. } = std::mem::take(&mut self.piece);
        let segments = &self.engine.0.segments;
        let (extent, file) = segments.reserve(buf.blocks(), Purpose::Requests).await?;
        let bulk = self.bulk.get_or_insert_with(|| Bulk {
            reservation: Reservation::of(segments),
            extents: Vec::new(),
            files: Vec::new(),
            writes: VecDeque::new(),
        });
        bulk.reservation.push(extent);
        append(&mut bulk.extents, extent);
        if !bulk.files.contains(&file) {
            bulk.files.push(file);
        }
        let write = self.engine.1.write(file, extent.block, buf, WriteMode::Volatile);
        // A task of its own: whoever has a place at the disk must go on, however slowly this body's client sends.
        bulk.writes.push_back(tokio::spawn(async move { write.await.map(drop) }));
        while bulk.writes.len() > IN_FLIGHT {
            bulk.wait_for_oldest(&self.engine).await?;
        }
        Ok(())
    }

    /// Ends the body. Bulk data is durable afterwards.
    pub async fn finish(mut self) -> Result<StoredBody, EngineError> {
        if self.len <= INLINE_MAX as u64 {
            let crc = (!self.inline.is_empty()).then(|| crc32fast::hash(&self.inline));
            return Ok(StoredBody {
                len: self.len,
                inline: std::mem::take(&mut self.inline),
                extents: Vec::new(),
                chunk_crcs: crc.into_iter().collect(),
                reservation: None,
            });
        }
        if self.piece.filled > 0 {
            self.piece.end(&mut self.chunk_crcs);
            self.write_piece().await?;
        }
        let mut body = StoredBody { len: self.len, ..StoredBody::default() };
        if let Some(bulk) = &mut self.bulk {
            while !bulk.writes.is_empty() {
                bulk.wait_for_oldest(&self.engine).await?;
            }
            for file in &bulk.files {
                let flushed = self.engine.1.flush(*file).await;
                flushed.map_err(|error| self.engine.poison("flush of bulk data", &error))?;
            }
        }
        if let Some(bulk) = self.bulk.take() {
            body.extents = bulk.extents;
            body.reservation = Some(bulk.reservation);
        }
        body.chunk_crcs = std::mem::take(&mut self.chunk_crcs);
        Ok(body)
    }
}

/// Bytes of one write: whole chunks, and several pieces in a segment.
pub(super) fn piece_len(segment_blocks: u32) -> usize {
    let quarter = segment_blocks as usize / 4 * BLOCK;
    (quarter / CHUNK * CHUNK).clamp(CHUNK, PIECE)
}

/// One more piece of data, which may stand right behind the one before.
pub(super) fn append(extents: &mut Vec<Extent>, next: Extent) {
    match extents.last_mut() {
        Some(last) if last.segment == next.segment && last.block + last.blocks == next.block => {
            last.blocks += next.blocks;
        }
        _ => extents.push(next),
    }
}

impl Piece {
    /// Copies what still fits, with the CRC of each chunk that it fills. Gives the rest.
    fn take<'a>(&mut self, mut bytes: &'a [u8], piece_len: usize, crcs: &mut Vec<u32>) -> &'a [u8] {
        if self.filled == 0 {
            self.buf = BlockBuf::unfilled(blocks_of(piece_len));
        }
        while !bytes.is_empty() && self.filled < piece_len {
            let chunk_end = (self.filled + 1).next_multiple_of(CHUNK);
            let (now, later) = bytes.split_at(bytes.len().min(chunk_end - self.filled));
            self.buf.as_mut()[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == chunk_end {
                crcs.push(crc32fast::hash(&self.buf.as_ref()[chunk_end - CHUNK..chunk_end]));
            }
        }
        bytes
    }

    /// Ends the last piece of a body at a whole block, filled up with zeros.
    fn end(&mut self, crcs: &mut Vec<u32>) {
        let chunk = self.filled / CHUNK * CHUNK;
        if chunk < self.filled {
            crcs.push(crc32fast::hash(&self.buf.as_ref()[chunk..self.filled]));
        }
        self.buf.resize(blocks_of(self.filled));
        self.buf.as_mut()[self.filled..].fill(0);
    }
}

impl Bulk {
    async fn wait_for_oldest(&mut self, engine: &Engine) -> Result<(), EngineError> {
        let Some(write) = self.writes.front_mut() else { return Ok(()) };
        // Awaited in place: whoever drops this future must still find the write that is in flight.
        let written = write.await;
        self.writes.pop_front();
        let written = written.map_err(|_| EngineError::Stopping)?;
        written.map_err(|error| engine.poison("write of bulk data", &error))
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        // Blocks under a write in flight must not be given to somebody else before it has ended. The tasks end by
        // themselves; until then the reservation waits with them.
        let Some(Bulk { reservation, writes, .. }) = self.bulk.take() else { return };
        if writes.is_empty() {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                for write in writes {
                    let _ = write.await;
                }
                drop(reservation);
            })),
            Err(_) => reservation.keep(),
        }
    }
}

impl Engine {
    /// Gives the device up after a failed write.
    pub(super) fn poison(&self, what: &str, error: &std::io::Error) -> EngineError {
        poison(&self.0.shared.poisoned, what, error)
    }
}

/// Marks a device as failed, and says so once.
pub(super) fn poison(
    flag: &std::sync::atomic::AtomicBool,
    what: &str,
    error: &std::io::Error,
) -> EngineError {
    if !flag.swap(true, std::sync::atomic::Ordering::AcqRel) {
        tracing::error!(%error, what, "the device failed and takes no writes until a restart");
        metrics::counter!("apus_object_devices_poisoned_total").increment(1);
    }
    EngineError::Poisoned
}

//! Memory whose address and length suit O_DIRECT.

use super::pool::{PIECE_BLOCKS, Piece};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The unit of all disk I/O, in bytes. 4 KiB is the logical block of every disk and file system we meet.
pub const BLOCK: usize = 4096;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
pub(super) struct Block([u8; BLOCK]);

const ZERO: Block = Block([0; BLOCK]);

/// Short buffers are used again in this length, and at most so many are kept while nobody uses them. Of fresh memory
/// each page would cost a fault and be zeroed by the kernel, which takes longer than to copy into it; and of any
/// memory, to be found where it is aligned. Long ones come from a [`super::pool`].
const SHORT: usize = 4;
const SHORT_KEPT: usize = 128;

static SPARE: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// A run of whole blocks in memory, aligned to [`BLOCK`].
#[derive(Default)]
pub struct BlockBuf {
    /// At least as long as the buffer.
    memory: Memory,
    blocks: usize,
}

enum Memory {
    Own(Vec<Block>),
    /// One of the pieces that live as long as the process.
    Pooled(Piece),
}

impl Default for Memory {
    fn default() -> Self {
        Memory::Own(Vec::new())
    }
}

impl Memory {
    fn blocks(&self) -> &[Block] {
        match self {
            Memory::Own(memory) => memory,
            Memory::Pooled(piece) => piece.blocks(),
        }
    }

    fn blocks_mut(&mut self) -> &mut [Block] {
        match self {
            Memory::Own(memory) => memory,
            Memory::Pooled(piece) => piece.blocks_mut(),
        }
    }
}

impl BlockBuf {
    /// Zeros.
    pub fn zeroed(blocks: u32) -> Self {
        let mut buf = BlockBuf::default();
        buf.resize(blocks);
        buf
    }

    /// What is to be overwritten: its content is that of any buffer before it.
    pub fn unfilled(blocks: u32) -> Self {
        let blocks = blocks as usize;
        // At most twice what is needed: a buffer may wait long for a slow reader.
        let suits = |len: usize| (len.div_ceil(2)..=len).contains(&blocks);
        let memory = if suits(SHORT) {
            Memory::Own(spare().pop().unwrap_or_else(|| vec![ZERO; SHORT]))
        } else {
            let piece = if suits(PIECE_BLOCKS) { Piece::take() } else { None };
            piece.map_or_else(|| Memory::Own(vec![ZERO; blocks]), Memory::Pooled)
        };
        BlockBuf { memory, blocks }
    }

    /// Bytes, filled up with zeros to whole blocks.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut buf = BlockBuf::unfilled(blocks_for(bytes.len()));
        let (head, tail) = buf.as_mut().split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        tail.fill(0);
        buf
    }

    /// Length in blocks.
    pub fn blocks(&self) -> u32 {
        self.blocks as u32
    }

    /// Which piece of the pool it stands in, if in any.
    pub(super) fn piece(&self) -> Option<&Piece> {
        match &self.memory {
            Memory::Own(_) => None,
            Memory::Pooled(piece) => Some(piece),
        }
    }

    /// Grows by zeros, or forgets the end.
    pub fn resize(&mut self, blocks: u32) {
        let blocks = blocks as usize;
        let memory = self.memory.blocks_mut();
        let known = memory.len().min(blocks);
        if self.blocks < known {
            memory[self.blocks..known].fill(ZERO);
        }
        if known < blocks {
            match &mut self.memory {
                Memory::Own(memory) => memory.resize(blocks, ZERO),
                Memory::Pooled(piece) => {
                    let mut memory = Vec::with_capacity(blocks);
                    memory.extend_from_slice(piece.blocks());
                    memory.resize(blocks, ZERO);
                    self.memory = Memory::Own(memory);
                }
            }
        }
        self.blocks = blocks;
    }
}

fn spare() -> MutexGuard<'static, Vec<Vec<Block>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for BlockBuf {
    fn drop(&mut self) {
        let Memory::Own(memory) = &mut self.memory else { return };
        if memory.len() == SHORT {
            let mut spare = spare();
            if spare.len() < SHORT_KEPT {
                spare.push(std::mem::take(memory));
            }
        }
    }
}

impl Clone for BlockBuf {
    fn clone(&self) -> Self {
        let memory = Memory::Own(self.memory.blocks()[..self.blocks].to_vec());
        BlockBuf { memory, blocks: self.blocks }
    }
}

/// Whole blocks that hold `bytes` bytes.
pub(super) fn blocks_for(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX)
}

impl AsRef<[u8]> for BlockBuf {
    #[expect(unsafe_code, reason = "views blocks as the bytes they are")]
    fn as_ref(&self) -> &[u8] {
        let blocks = &self.memory.blocks()[..self.blocks];
        // SAFETY: Block is exactly BLOCK initialised bytes without padding, and a slice's blocks are contiguous.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * BLOCK) }
    }
}

impl AsMut<[u8]> for BlockBuf {
    #[expect(unsafe_code, reason = "views blocks as the bytes they are")]
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in as_ref, and any bytes are a valid Block.
        let blocks = &mut self.memory.blocks_mut()[..self.blocks];
        unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), blocks.len() * BLOCK) }
    }
}

impl std::fmt::Debug for BlockBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockBuf({} blocks)", self.blocks)
    }
}

const _: () = assert!(size_of::<Block>() == BLOCK && align_of::<Block>() == BLOCK);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_not_seen() {
        for len in [SHORT, PIECE_BLOCKS] {
            let mut buf = BlockBuf::unfilled(len as u32);
            buf.as_mut().fill(7);
            drop(buf);
            for blocks in [1, len / 2, len, len + 1] {
                let zeroed = BlockBuf::zeroed(blocks as u32);
                assert!(zeroed.as_ref().iter().all(|byte| *byte == 0), "{blocks} of {len}");
            }
            let bytes = len * BLOCK - 2 * BLOCK - 1;
            let mut buf = BlockBuf::from_bytes(&vec![1; bytes]);
            buf.resize(len as u32);
            assert!(buf.as_ref()[..bytes].iter().all(|byte| *byte == 1));
            assert!(buf.as_ref()[bytes..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_piece_of_the_pool_grows_out_of_it() {
        let mut buf = BlockBuf::unfilled(PIECE_BLOCKS as u32);
        buf.as_mut().fill(5);
        buf.resize(PIECE_BLOCKS as u32 + 3);
        assert!(buf.piece().is_none());
        let (old, new) = buf.as_ref().split_at(PIECE_BLOCKS * BLOCK);
        assert!(old.iter().all(|byte| *byte == 5) && new.iter().all(|byte| *byte == 0));
        assert_eq!(new.len(), 3 * BLOCK);
    }

    #[test]
    fn grows_by_zeros_also_after_it_shrank() {
        let mut buf = BlockBuf::from_bytes(&[1; 3 * BLOCK]);
        buf.resize(1);
        buf.resize(4);
        assert!(buf.as_ref()[..BLOCK].iter().all(|byte| *byte == 1));
        assert!(buf.as_ref()[BLOCK..].iter().all(|byte| *byte == 0));
        assert_eq!(buf.clone().as_ref(), buf.as_ref());
    }
}

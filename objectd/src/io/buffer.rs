//! Memory whose address and length suit O_DIRECT.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The unit of all disk I/O, in bytes. 4 KiB is the logical block of every disk and file system we meet.
pub const BLOCK: usize = 4096;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

const ZERO: Block = Block([0; BLOCK]);

/// Memory is used again in these lengths, and of each at most so many pieces are kept while nobody uses them.
/// Of fresh memory each page would cost a fault and be zeroed by the kernel, which takes longer than to copy into
/// it; and of any memory, to be found where it is aligned.
const KEPT: [(usize, usize); 2] = [(4, 128), ((1 << 20) / BLOCK, 32)];

static SPARE: [Mutex<Vec<Vec<Block>>>; KEPT.len()] = [const { Mutex::new(Vec::new()) }; KEPT.len()];

/// A run of whole blocks in memory, aligned to [`BLOCK`].
#[derive(Default)]
pub struct BlockBuf {
    /// At least as long as the buffer.
    memory: Vec<Block>,
    blocks: usize,
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
        let kind = KEPT.iter().position(|(len, _)| (len.div_ceil(2)..=*len).contains(&blocks));
        let memory = match kind {
            None => vec![ZERO; blocks],
            Some(kind) => {
                let spare = spare(kind).pop();
                spare.unwrap_or_else(|| vec![ZERO; KEPT[kind].0])
            }
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

    /// Grows by zeros, or forgets the end.
    pub fn resize(&mut self, blocks: u32) {
        let blocks = blocks as usize;
        let known = self.memory.len().min(blocks);
        if self.blocks < known {
            self.memory[self.blocks..known].fill(ZERO);
        }
        if known < blocks {
            self.memory.resize(blocks, ZERO);
        }
        self.blocks = blocks;
    }
}

fn spare(kind: usize) -> MutexGuard<'static, Vec<Vec<Block>>> {
    SPARE[kind].lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for BlockBuf {
    fn drop(&mut self) {
        let kind = KEPT.iter().position(|(len, _)| *len == self.memory.len());
        let Some(kind) = kind else { return };
        let mut spare = spare(kind);
        if spare.len() < KEPT[kind].1 {
            spare.push(std::mem::take(&mut self.memory));
        }
    }
}

impl Clone for BlockBuf {
    fn clone(&self) -> Self {
        BlockBuf { memory: self.memory[..self.blocks].to_vec(), blocks: self.blocks }
    }
}

/// Whole blocks that hold `bytes` bytes.
pub(super) fn blocks_for(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX)
}

impl AsRef<[u8]> for BlockBuf {
    #[expect(unsafe_code, reason = "views blocks as the bytes they are")]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: Block is exactly BLOCK initialised bytes without padding, and the Vec's blocks, of which there are
        // at least as many, are contiguous.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.blocks * BLOCK) }
    }
}

impl AsMut<[u8]> for BlockBuf {
    #[expect(unsafe_code, reason = "views blocks as the bytes they are")]
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in as_ref, and any bytes are a valid Block.
        unsafe {
            std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), self.blocks * BLOCK)
        }
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
        for (len, _) in KEPT {
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
    fn grows_by_zeros_also_after_it_shrank() {
        let mut buf = BlockBuf::from_bytes(&[1; 3 * BLOCK]);
        buf.resize(1);
        buf.resize(4);
        assert!(buf.as_ref()[..BLOCK].iter().all(|byte| *byte == 1));
        assert!(buf.as_ref()[BLOCK..].iter().all(|byte| *byte == 0));
        assert_eq!(buf.clone().as_ref(), buf.as_ref());
    }
}

//! Memory whose address and length suit O_DIRECT.

/// The unit of all disk I/O, in bytes. 4 KiB is the logical block of every disk and file system we meet.
pub const BLOCK: usize = 4096;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

const ZERO: Block = Block([0; BLOCK]);

/// A run of whole blocks in memory, aligned to [`BLOCK`].
#[derive(Clone, Default)]
pub struct BlockBuf(Vec<Block>);

impl BlockBuf {
    /// Zeros.
    pub fn zeroed(blocks: u32) -> Self {
        BlockBuf(vec![ZERO; blocks as usize])
    }

    /// Bytes, filled up with zeros to whole blocks.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut buf = BlockBuf::zeroed(blocks_for(bytes.len()));
        buf.as_mut()[..bytes.len()].copy_from_slice(bytes);
        buf
    }

    /// Length in blocks.
    pub fn blocks(&self) -> u32 {
        self.0.len() as u32
    }

    /// Grows by zeros, or forgets the end.
    pub fn resize(&mut self, blocks: u32) {
        self.0.resize(blocks as usize, ZERO);
    }
}

/// Whole blocks that hold `bytes` bytes.
pub(super) fn blocks_for(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX)
}

impl AsRef<[u8]> for BlockBuf {
    #[expect(unsafe_code, reason = "views blocks as the bytes they are")]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: Block is exactly BLOCK initialised bytes without padding, and the Vec's blocks are contiguous.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * BLOCK) }
    }
}

impl AsMut<[u8]> for BlockBuf {
    #[expect(unsafe_code, reason = "views blocks as the bytes they are")]
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in as_ref, and any bytes are a valid Block.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * BLOCK) }
    }
}

impl std::fmt::Debug for BlockBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockBuf({} blocks)", self.0.len())
    }
}

const _: () = assert!(size_of::<Block>() == BLOCK && align_of::<Block>() == BLOCK);

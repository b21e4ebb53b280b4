//! One MD5 as it grows: what the kernels do not do, which is lengths, ends and padding.

use crate::kernel::{Block, State};

const BLOCK: usize = size_of::<Block>();

/// The MD5 of what was taken so far.
#[derive(Clone, Debug)]
pub(crate) struct Digest {
    pub(crate) state: State,
    /// Bytes taken, those in `tail` included.
    length: u64,
    /// The beginning of a block; `length` says how much of it.
    tail: Block,
}

impl Default for Digest {
    fn default() -> Self {
        let state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        Digest { state, length: 0, tail: [0; BLOCK] }
    }
}

impl Digest {
    /// Bytes taken so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    fn tail_len(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Takes `bytes` except for the whole blocks in them, which the caller compresses into `state` next: they are what
    /// is given back, as the range of `bytes` where they lie. A block that was begun is completed here.
    pub(crate) fn take_ends(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let begun = self.tail_len();
        self.length = self.length.wrapping_add(bytes.len() as u64);
        let mut start = 0;
        if begun > 0 {
            start = bytes.len().min(BLOCK - begun);
            self.tail[begun..begun + start].copy_from_slice(&bytes[..start]);
            if begun + start < BLOCK {
                return start..start;
            }
            md5::block_api::compress(&mut self.state, &[self.tail]);
        }
        let (_, rest) = bytes[start..].as_chunks::<BLOCK>();
        self.tail[..rest.len()].copy_from_slice(rest);
        start..bytes.len() - rest.len()
    }

    /// Takes all of `bytes`, here and now.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let whole = self.take_ends(bytes);
        md5::block_api::compress(&mut self.state, bytes[whole].as_chunks().0);
    }

    /// The digest.
    pub(crate) fn finish(mut self) -> [u8; 16] {
        let (tail_len, bits) = (self.tail_len(), self.length.wrapping_mul(8));
        let mut end = [[0; BLOCK]; 2];
        let bytes = end.as_flattened_mut();
        bytes[..tail_len].copy_from_slice(&self.tail[..tail_len]);
        bytes[tail_len] = 0x80;
        // One bit and the length must fit behind the tail.
        let blocks = if tail_len + 1 + 8 <= BLOCK { 1 } else { 2 };
        bytes[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&bits.to_le_bytes());
        md5::block_api::compress(&mut self.state, &end[..blocks]);
        let mut out = [0; 16];
        for (bytes, word) in out.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::digest::block_api::{FixedOutputCore, UpdateCore};
    use md5::digest::common::hazmat::SerializableState;

    /// A digest that has taken so many bytes of something, at the end of a block, and the same in the crate `md-5`.
    fn after(length: u64) -> (Digest, md5::block_api::Md5Core) {
        let state: State = [1, 2, 3, 4];
        let mut serialized = [0; 24];
        for (bytes, word) in serialized.as_chunks_mut().0.iter_mut().zip(state) {
            *bytes = word.to_le_bytes();
        }
        serialized[16..].copy_from_slice(&(length / 64).to_le_bytes());
        let core = md5::block_api::Md5Core::deserialize(&serialized.into()).expect("a state");
        (Digest { state, length, tail: [0; BLOCK] }, core)
    }

    #[test]
    fn lengths_beyond_32_bits_of_bits_and_beyond_64() {
        let ends: [&[u8]; 4] = [b"", b"x", &[7; 56], &[9; 200]];
        for length in [1 << 29, (1 << 29) - 64, 1 << 32, 5 << 40, 1 << 61, u64::MAX - 63] {
            for end in ends {
                let (mut ours, mut theirs) = after(length);
                ours.update(end);
                let (blocks, rest) = end.as_chunks::<BLOCK>();
                for block in blocks {
                    theirs.update_blocks(&[(*block).into()]);
                }
                let mut buffer =
                    md5::digest::block_api::Buffer::<md5::block_api::Md5Core>::default();
                buffer.digest_blocks(rest, |_| ());
                let mut out = md5::digest::Output::<md5::block_api::Md5Core>::default();
                theirs.finalize_fixed_core(&mut buffer, &mut out);
                assert_eq!(ours.finish(), <[u8; 16]>::from(out), "{length} {}", end.len());
            }
        }
    }

    #[test]
    fn cut_anywhere() {
        use md5::Digest as _;
        let bytes: Vec<u8> = (0..200u8).collect();
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let mut digest = Digest::default();
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    digest.update(piece);
                }
                assert_eq!(digest.finish(), <[u8; 16]>::from(md5::Md5::digest(&bytes)));
            }
        }
    }
}

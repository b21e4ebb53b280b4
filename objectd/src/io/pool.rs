//! Long pieces of memory that live as long as the process, so that an io_uring can know them beforehand.
//!
//! For a transfer past the page cache the kernel looks up and holds every page, and lets go of them afterwards, which
//! for 1 MiB takes half of the transfer's CPU time. Memory that is registered with a ring is looked up once. It must then
//! stay what it is, and so a piece is never freed: it goes back to the pool. Pieces are made when they are first
//! needed, two at a time in one huge page where the kernel has one: that is looked up, and given to the disk, as one.
//!
//! When all are in use there are none, and whoever wants one takes ordinary memory.

use super::buffer::{BLOCK, Block};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Blocks of a piece: the longest transfer there is for objects.
pub(super) const PIECE_BLOCKS: usize = (1 << 20) / BLOCK;
/// All pieces there will ever be.
pub(super) const PIECES: usize = 32;
/// Pieces that are made at once.
const TWINS: usize = HUGE / (PIECE_BLOCKS * BLOCK);
/// What the kernel may keep as one.
const HUGE: usize = 2 << 20;

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), made: 0 });

struct Pool {
    free: Vec<Whole>,
    made: usize,
}

/// A piece that is whole, whoever has it.
struct Whole {
    number: usize,
    blocks: &'static mut [Block],
}

/// A piece that somebody has.
pub(super) struct Piece(Option<Whole>);

impl Piece {
    /// One that nobody else has, with whatever was in it before.
    pub(super) fn take() -> Option<Piece> {
        let mut pool = pool();
        if pool.free.is_empty() && pool.made < PIECES {
            pool.make();
        }
        // The one that was used last is still in the processor's cache.
        pool.free.pop().map(|whole| Piece(Some(whole)))
    }

    /// Which of [`PIECES`] it is: the same number is the same memory, always.
    pub(super) fn number(&self) -> usize {
        self.0.as_ref().map_or(PIECES, |whole| whole.number)
    }

    pub(super) fn blocks(&self) -> &[Block] {
        self.0.as_ref().map_or(&[], |whole| whole.blocks)
    }

    pub(super) fn blocks_mut(&mut self) -> &mut [Block] {
        self.0.as_mut().map_or(&mut [], |whole| whole.blocks)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(whole) = self.0.take() {
            pool().free.push(whole);
        }
    }
}

impl Pool {
    fn make(&mut self) {
        let mut rest = huge();
        for _ in 0..TWINS {
            let (blocks, later) = rest.split_at_mut(PIECE_BLOCKS);
            self.free.push(Whole { number: self.made, blocks });
            self.made += 1;
            rest = later;
        }
    }
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[repr(C, align(2097152))]
struct Huge([Block; HUGE / BLOCK]);

/// As many zeros as a huge page has, never freed.
#[expect(unsafe_code, reason = "a value so large must not go over the stack")]
fn huge() -> &'static mut [Block] {
    let layout = std::alloc::Layout::new::<Huge>();
    // SAFETY: the layout is not empty.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) };
    if memory.is_null() {
        std::alloc::handle_alloc_error(layout);
    }
    // SAFETY: all of it is ours, and advice changes no content. If there is no huge page, small ones do as well.
    let _ = unsafe { libc::madvise(memory.cast(), HUGE, libc::MADV_HUGEPAGE) };
    // SAFETY: so many bytes were just allocated with at least a block's alignment, are zeros, which a block may be,
    // and are given to nobody else.
    unsafe { std::slice::from_raw_parts_mut(memory.cast::<Block>(), HUGE / BLOCK) }
}

const _: () = assert!(PIECES.is_multiple_of(TWINS));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_is_given_to_two_and_there_is_an_end() {
        let taken: Vec<Piece> = std::iter::from_fn(Piece::take).collect();
        // Other tests of this process may have some.
        assert!(taken.len() <= PIECES);
        let mut places: Vec<_> = taken.iter().map(|piece| piece.blocks().as_ptr()).collect();
        let mut numbers: Vec<_> = taken.iter().map(Piece::number).collect();
        for piece in &taken {
            assert_eq!(piece.blocks().len(), PIECE_BLOCKS);
            assert!(piece.number() < PIECES);
        }
        places.sort();
        places.dedup();
        numbers.sort();
        numbers.dedup();
        assert_eq!((places.len(), numbers.len()), (taken.len(), taken.len()));
        let again: Vec<_> = taken.iter().map(|it| (it.number(), it.blocks().as_ptr())).collect();
        drop(taken);
        let taken: Vec<Piece> = std::iter::from_fn(Piece::take).collect();
        for piece in taken {
            let known = again.iter().find(|(number, _)| *number == piece.number());
            assert!(known.is_none_or(|(_, place)| *place == piece.blocks().as_ptr()));
        }
    }
}

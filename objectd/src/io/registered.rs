//! Which pieces of the [`pool`](super::pool) one ring knows, and how a transfer says that it uses one.

use super::BlockBuf;
use super::pool::{PIECES, Piece};
use io_uring::{IoUring, opcode, squeue, types};

/// What is known of the pool's pieces. Belongs to the thread of its ring.
pub(super) enum Registered {
    /// By number.
    Pieces([Known; PIECES]),
    /// The kernel has no such table, or there is not to be one.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    NotYet,
    /// To the ring, under its number.
    Yes,
    /// Its memory may not be locked.
    Refused,
}

impl Registered {
    /// Makes an empty table, which takes no memory.
    pub(super) fn with(uring: &IoUring) -> Self {
        match uring.submitter().register_buffers_sparse(PIECES as u32) {
            Ok(()) => Registered::Pieces([Known::NotYet; PIECES]),
            // Linux has it since 5.13.
            Err(error) => {
                tracing::debug!(%error, "io_uring takes no registered buffers here");
                Registered::Nothing
            }
        }
    }

    /// The number under which the ring knows a buffer, which is registered now if it has not been before.
    fn index(&mut self, uring: &IoUring, buf: &BlockBuf) -> Option<u16> {
        let (Registered::Pieces(pieces), Some(piece)) = (self, buf.piece()) else { return None };
        let number = piece.number();
        let known = pieces.get_mut(number)?;
        if *known == Known::NotYet {
            *known = register(uring, piece);
            if *known == Known::Refused {
                // Most likely for RLIMIT_MEMLOCK, and then it would be the same with the others.
                pieces
                    .iter_mut()
                    .filter(|it| **it == Known::NotYet)
                    .for_each(|it| *it = Known::Refused);
            }
        }
        (pieces[number] == Known::Yes).then_some(number as u16)
    }

    /// A read of the whole buffer.
    pub(super) fn read(
        &mut self,
        uring: &IoUring,
        fd: types::Fd,
        buf: &mut BlockBuf,
        at: u64,
    ) -> squeue::Entry {
        let index = self.index(uring, buf);
        let bytes = buf.as_mut();
        let (start, len) = (bytes.as_mut_ptr(), bytes.len() as u32);
        match index {
            Some(index) => opcode::ReadFixed::new(fd, start, len, index).offset(at).build(),
            None => opcode::Read::new(fd, start, len).offset(at).build(),
        }
    }

    /// A write of the whole buffer.
    pub(super) fn write(
        &mut self,
        uring: &IoUring,
        fd: types::Fd,
        buf: &BlockBuf,
        at: u64,
        flags: i32,
    ) -> squeue::Entry {
        let bytes = buf.as_ref();
        let (start, len) = (bytes.as_ptr(), bytes.len() as u32);
        match self.index(uring, buf) {
            Some(index) => {
                opcode::WriteFixed::new(fd, start, len, index).offset(at).rw_flags(flags).build()
            }
            None => opcode::Write::new(fd, start, len).offset(at).rw_flags(flags).build(),
        }
    }
}

#[expect(unsafe_code, reason = "tells the kernel of memory")]
fn register(uring: &IoUring, piece: &Piece) -> Known {
    let blocks = piece.blocks();
    let memory =
        libc::iovec { iov_base: blocks.as_ptr().cast_mut().cast(), iov_len: size_of_val(blocks) };
    // SAFETY: a piece's memory is never freed, and the kernel touches it only for transfers that name it, which have
    // the piece. This is the thread that made the ring, as the kernel demands of such a one.
    let told = unsafe {
        uring.submitter().register_buffers_update(piece.number() as u32, &[memory], None)
    };
    match told {
        Ok(()) => Known::Yes,
        Err(error) => {
            tracing::info!(%error, "no more memory is registered with io_uring; large transfers cost more CPU time");
            Known::Refused
        }
    }
}

//! MD5's compression function for many lanes at once.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod rounds;

/// What a compression takes in at once.
pub(crate) type Block = [u8; 64];
/// The chaining words a, b, c and d.
pub(crate) type State = [u32; 4];

/// Lanes of the widest kernel.
pub(crate) const LANES_MAX: usize = 32;

/// A way to compute MD5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// 32 lanes in registers of 512 bits.
    Avx512,
    /// 16 lanes in registers of 256 bits.
    Avx2,
    /// One after the other.
    Scalar,
}

impl Kernel {
    /// Those that this processor can run, the fastest first.
    pub fn available() -> impl Iterator<Item = Kernel> {
        [Kernel::Avx512, Kernel::Avx2, Kernel::Scalar]
            .into_iter()
            .filter(|kernel| kernel.runs_here())
    }

    /// The fastest that this processor can run.
    pub fn best() -> Kernel {
        Kernel::available().next().unwrap_or(Kernel::Scalar)
    }

    /// How many streams it can take at once.
    pub fn lanes(self) -> usize {
        match self {
            Kernel::Avx512 => 32,
            Kernel::Avx2 => 16,
            Kernel::Scalar => 1,
        }
    }

    /// Takes `count` blocks of each of the first `lanes` entries into their states. Those behind are scratch, and their
    /// blocks are those of lane 0 again. All slices of `blocks` are at least `count` long.
    pub(crate) fn compress(
        self,
        states: &mut [State; LANES_MAX],
        blocks: &[&[Block]; LANES_MAX],
        lanes: usize,
        count: usize,
    ) {
        // A value of `Kernel` proves nothing, so it is asked again; the answer is remembered by the standard library.
        let kernel = if self.runs_here() { self } else { Kernel::Scalar };
        #[cfg(target_arch = "x86_64")]
        if lanes > 1 {
            #[expect(unsafe_code, reason = "these need instructions that not every processor has")]
            // SAFETY: `runs_here` has just found the instructions that each arm needs.
            unsafe {
                match kernel {
                    // Half a register less to wait for, and two instructions more; measured.
                    Kernel::Avx512 if lanes <= avx2::LANES => {
                        return avx2::compress::<1>(states, blocks, count);
                    }
                    Kernel::Avx512 if lanes <= avx512::LANES => {
                        return avx512::compress::<1>(states, blocks, count);
                    }
                    Kernel::Avx512 => return avx512::compress::<2>(states, blocks, count),
                    Kernel::Avx2 if lanes <= avx2::LANES => {
                        return avx2::compress::<1>(states, blocks, count);
                    }
                    Kernel::Avx2 => return avx2::compress::<2>(states, blocks, count),
                    Kernel::Scalar => {}
                }
            }
        }
        for (state, blocks) in states.iter_mut().zip(blocks).take(lanes) {
            md5::block_api::compress(state, &blocks[..count]);
        }
    }

    /// How many of so many lanes are best computed at once: a register more for a few lanes costs more than these few
    /// gain. The limits are measured, by `benches/md5.rs`.
    pub(crate) fn at_once(self, lanes: usize) -> usize {
        match (self, lanes) {
            (Kernel::Avx512, 17..25) => 16,
            (Kernel::Avx2, 9..12) => 8,
            (Kernel::Avx512 | Kernel::Avx2, _) => lanes.min(self.lanes()),
            (Kernel::Scalar, _) => lanes.min(1),
        }
    }

    fn runs_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx2")
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx512 | Kernel::Avx2 => false,
            Kernel::Scalar => true,
        }
    }
}

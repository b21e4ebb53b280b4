//! Eight lanes in a register of 256 bits, and `SETS` registers side by side, as in the kernel of AVX-512.

use super::rounds::rounds;
use super::{Block, State};
use std::arch::x86_64::{
    __m256i, _mm_cvtsi32_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256,
    _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_slli_epi32, _mm256_srl_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

/// Lanes of a register.
pub(super) const LANES: usize = 8;

/// A word of each lane of each set.
type Words<const SETS: usize> = [__m256i; SETS];

/// Takes the first `count` blocks of each lane into its state. `states` and `blocks` have `SETS` times [`LANES`]
/// entries or more; the others are left alone.
#[target_feature(enable = "avx2")]
pub(super) fn compress<const SETS: usize>(states: &mut [State], blocks: &[&[Block]], count: usize) {
    let mut state = [[_mm256_setzero_si256(); SETS]; 4];
    for (word, vectors) in state.iter_mut().enumerate() {
        for (set, vector) in vectors.iter_mut().enumerate() {
            *vector = load(&std::array::from_fn(|lane| states[set * LANES + lane][word]));
        }
    }
    for at in 0..count {
        let mut words = [[_mm256_setzero_si256(); SETS]; 16];
        for set in 0..SETS {
            let blocks = &blocks[set * LANES..][..LANES];
            for half in 0..2 {
                let of_half = transpose(blocks, at, half);
                for (word, vector) in words[half * 8..].iter_mut().zip(of_half) {
                    word[set] = vector;
                }
            }
        }
        let after = rounds!(f g h i, state, words);
        for (old, new) in state.iter_mut().zip(after) {
            for (old, new) in old.iter_mut().zip(new) {
                *old = _mm256_add_epi32(*old, new);
            }
        }
    }
    for (word, vectors) in state.iter().enumerate() {
        for (set, vector) in vectors.iter().enumerate() {
            for (lane, value) in store(*vector).into_iter().enumerate() {
                states[set * LANES + lane][word] = value;
            }
        }
    }
}

/// Half a block of eight lanes, number `at`, turned into eight words of all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(blocks: &[&[Block]], at: usize, half: usize) -> [__m256i; 8] {
    let mut rows = [_mm256_setzero_si256(); 8];
    for (row, blocks) in rows.iter_mut().zip(blocks) {
        *row = load_half(&blocks[at], half);
    }
    // Words of two, then of four lanes come to stand side by side within each half of a register ...
    let mut fours = rows;
    for i in [0, 4] {
        let [r0, r1, r2, r3] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        let (lo0, hi0) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
        let (lo1, hi1) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
        fours[i] = _mm256_unpacklo_epi64(lo0, lo1);
        fours[i + 1] = _mm256_unpackhi_epi64(lo0, lo1);
        fours[i + 2] = _mm256_unpacklo_epi64(hi0, hi1);
        fours[i + 3] = _mm256_unpackhi_epi64(hi0, hi1);
    }
    // ... then the halves are exchanged.
    let mut words = rows;
    for w in 0..4 {
        words[w] = _mm256_permute2x128_si256::<0x20>(fours[w], fours[4 + w]);
        words[4 + w] = _mm256_permute2x128_si256::<0x31>(fours[w], fours[4 + w]);
    }
    words
}

/// Functions of the four rounds, as functions of b, c and d.
macro_rules! round {
    ($name:ident, |$b:ident, $c:ident, $d:ident| $mix:expr) => {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn $name<const ROTATION: i32, const SETS: usize>(
            a: Words<SETS>,
            b: Words<SETS>,
            c: Words<SETS>,
            d: Words<SETS>,
            word: Words<SETS>,
            constant: u32,
        ) -> Words<SETS> {
            let constant = _mm256_set1_epi32(constant.cast_signed());
            let mut out = a;
            for set in 0..SETS {
                let ($b, $c, $d) = (b[set], c[set], d[set]);
                let mixed = $mix;
                let sum = _mm256_add_epi32(_mm256_add_epi32(a[set], constant), word[set]);
                let turned = rotate::<ROTATION>(_mm256_add_epi32(sum, mixed));
                out[set] = _mm256_add_epi32(turned, b[set]);
            }
            out
        }
    };
}
round!(f, |b, c, d| _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d))));
round!(g, |b, c, d| _mm256_xor_si256(c, _mm256_and_si256(d, _mm256_xor_si256(b, c))));
round!(h, |b, c, d| _mm256_xor_si256(_mm256_xor_si256(c, d), b));
round!(i, |b, c, d| _mm256_xor_si256(
    c,
    _mm256_or_si256(b, _mm256_xor_si256(d, _mm256_set1_epi32(-1)))
));

#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const ROTATION: i32>(vector: __m256i) -> __m256i {
    // The shift to the right takes its count as a value, since a constant cannot be computed from a constant here;
    // after inlining it is a constant all the same.
    let right = _mm256_srl_epi32(vector, _mm_cvtsi32_si128(32 - ROTATION));
    _mm256_or_si256(_mm256_slli_epi32::<ROTATION>(vector), right)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_half(block: &Block, half: usize) -> __m256i {
    let bytes = &block[half * 32..][..32];
    #[expect(unsafe_code, reason = "loads are unsafe intrinsics")]
    // SAFETY: the pointer is to 32 readable bytes; the load asks for no alignment.
    unsafe {
        _mm256_loadu_si256(bytes.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(words: &[u32; LANES]) -> __m256i {
    #[expect(unsafe_code, reason = "loads are unsafe intrinsics")]
    // SAFETY: the pointer is to 32 readable bytes; the load asks for no alignment.
    unsafe {
        _mm256_loadu_si256(words.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(vector: __m256i) -> [u32; LANES] {
    let mut words = [0; LANES];
    #[expect(unsafe_code, reason = "stores are unsafe intrinsics")]
    // SAFETY: the pointer is to 32 writable bytes; the store asks for no alignment.
    unsafe {
        _mm256_storeu_si256(words.as_mut_ptr().cast(), vector);
    }
    words
}

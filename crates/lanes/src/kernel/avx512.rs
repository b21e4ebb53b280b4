//! Sixteen lanes in a register of 512 bits, and `SETS` registers side by side: one chain of additions and rotations
//! leaves the processor idle for half of its time.

use super::rounds::rounds;
use super::{Block, State};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_rol_epi32, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

/// Lanes of a register.
pub(super) const LANES: usize = 16;

/// A word of each lane of each set.
type Words<const SETS: usize> = [__m512i; SETS];

/// Takes the first `count` blocks of each lane into its state. `states` and `blocks` have `SETS` times [`LANES`]
/// entries or more; the others are left alone.
#[target_feature(enable = "avx512f")]
pub(super) fn compress<const SETS: usize>(states: &mut [State], blocks: &[&[Block]], count: usize) {
    let mut state = [[_mm512_setzero_si512(); SETS]; 4];
    for (word, vectors) in state.iter_mut().enumerate() {
        for (set, vector) in vectors.iter_mut().enumerate() {
            *vector = load(&std::array::from_fn(|lane| states[set * LANES + lane][word]));
        }
    }
    for at in 0..count {
        let mut words = [[_mm512_setzero_si512(); SETS]; 16];
        for set in 0..SETS {
            let of_set = transpose(&blocks[set * LANES..][..LANES], at);
            for (word, vector) in words.iter_mut().zip(of_set) {
                word[set] = vector;
            }
        }
        let after = rounds!(f g h i, state, words);
        for (old, new) in state.iter_mut().zip(after) {
            for (old, new) in old.iter_mut().zip(new) {
                *old = _mm512_add_epi32(*old, new);
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

/// Sixteen lanes' block number `at`, turned into sixteen words of all lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(blocks: &[&[Block]], at: usize) -> [__m512i; 16] {
    let mut rows = [_mm512_setzero_si512(); 16];
    for (row, blocks) in rows.iter_mut().zip(blocks) {
        *row = load_block(&blocks[at]);
    }
    // Words of two, then of four lanes come to stand side by side within each quarter of a register ...
    let mut fours = rows;
    for i in (0..16).step_by(4) {
        let [r0, r1, r2, r3] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        let (lo0, hi0) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
        let (lo1, hi1) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
        fours[i] = _mm512_unpacklo_epi64(lo0, lo1);
        fours[i + 1] = _mm512_unpackhi_epi64(lo0, lo1);
        fours[i + 2] = _mm512_unpacklo_epi64(hi0, hi1);
        fours[i + 3] = _mm512_unpackhi_epi64(hi0, hi1);
    }
    // ... then the quarters are turned the same way. Quarter q of `fours[4 * g + w]` is word 4q + w of the lanes 4g
    // to 4g + 3.
    let mut words = rows;
    for w in 0..4 {
        let [g0, g1, g2, g3] = [fours[w], fours[4 + w], fours[8 + w], fours[12 + w]];
        let (lo0, hi0) =
            (_mm512_shuffle_i32x4::<0x44>(g0, g1), _mm512_shuffle_i32x4::<0xee>(g0, g1));
        let (lo1, hi1) =
            (_mm512_shuffle_i32x4::<0x44>(g2, g3), _mm512_shuffle_i32x4::<0xee>(g2, g3));
        words[w] = _mm512_shuffle_i32x4::<0x88>(lo0, lo1);
        words[4 + w] = _mm512_shuffle_i32x4::<0xdd>(lo0, lo1);
        words[8 + w] = _mm512_shuffle_i32x4::<0x88>(hi0, hi1);
        words[12 + w] = _mm512_shuffle_i32x4::<0xdd>(hi0, hi1);
    }
    words
}

/// One step: `TABLE` is the truth table of the round's function of b, c and d.
#[inline]
#[target_feature(enable = "avx512f")]
fn step<const SETS: usize, const TABLE: i32, const ROTATION: i32>(
    [a, b, c, d]: [Words<SETS>; 4],
    word: Words<SETS>,
    constant: u32,
) -> Words<SETS> {
    let constant = _mm512_set1_epi32(constant.cast_signed());
    let mut out = a;
    for set in 0..SETS {
        let mixed = _mm512_ternarylogic_epi32::<TABLE>(b[set], c[set], d[set]);
        let sum = _mm512_add_epi32(_mm512_add_epi32(a[set], constant), word[set]);
        let turned = _mm512_rol_epi32::<ROTATION>(_mm512_add_epi32(sum, mixed));
        out[set] = _mm512_add_epi32(turned, b[set]);
    }
    out
}

/// Functions of the four rounds.
macro_rules! round {
    ($name:ident, $table:literal) => {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn $name<const ROTATION: i32, const SETS: usize>(
            a: Words<SETS>,
            b: Words<SETS>,
            c: Words<SETS>,
            d: Words<SETS>,
            word: Words<SETS>,
            constant: u32,
        ) -> Words<SETS> {
            step::<SETS, $table, ROTATION>([a, b, c, d], word, constant)
        }
    };
}
round!(f, 0xca);
round!(g, 0xe4);
round!(h, 0x96);
round!(i, 0x39);

#[inline]
#[target_feature(enable = "avx512f")]
fn load_block(block: &Block) -> __m512i {
    #[expect(unsafe_code, reason = "loads are unsafe intrinsics")]
    // SAFETY: the pointer is to 64 readable bytes; the load asks for no alignment.
    unsafe {
        _mm512_loadu_si512(block.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[u32; LANES]) -> __m512i {
    #[expect(unsafe_code, reason = "loads are unsafe intrinsics")]
    // SAFETY: the pointer is to 64 readable bytes; the load asks for no alignment.
    unsafe {
        _mm512_loadu_si512(words.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(vector: __m512i) -> [u32; LANES] {
    let mut words = [0; LANES];
    #[expect(unsafe_code, reason = "stores are unsafe intrinsics")]
    // SAFETY: the pointer is to 64 writable bytes; the store asks for no alignment.
    unsafe {
        _mm512_storeu_si512(words.as_mut_ptr().cast(), vector);
    }
    words
}

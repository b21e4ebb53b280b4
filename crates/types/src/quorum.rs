//! How many of `n` must agree.

/// Swift's quorum: `(n + 1) / 2`, which for even `n` is half of them (Swift: common/utils, `quorum_size`).
pub fn quorum_size(n: usize) -> usize {
    n.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::quorum_size;

    #[test]
    fn follows_swift_also_for_even_counts() {
        let expected = [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)];
        for (n, quorum) in expected {
            assert_eq!(quorum_size(n), quorum, "of {n}");
        }
    }
}

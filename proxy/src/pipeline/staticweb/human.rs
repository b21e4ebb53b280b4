//! Sizes as people read them.

/// `1048576` is `1Mi`; rounded at every step, as Swift does.
pub(super) fn size(bytes: u64) -> String {
    const SUFFIXES: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let (mut value, mut suffix) = (bytes, "");
    for next in SUFFIXES {
        if value < 1024 {
            break;
        }
        // Halves go to the even neighbour, as Python's `round`.
        let (whole, rest) = (value / 1024, value % 1024);
        let up = rest > 512 || (rest == 512 && whole % 2 == 1);
        value = whole + u64::from(up);
        suffix = next;
    }
    format!("{value}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_swift_rounds() {
        let cases = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1Ki"),
            (1535, "1Ki"),
            (1536, "2Ki"),
            (2560, "2Ki"),
            (1_048_575, "1Mi"),
            (1_048_576, "1Mi"),
            (u64::MAX, "16Ei"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }
}

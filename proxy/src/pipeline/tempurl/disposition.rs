//! What a browser is told to do with a download. Swift: common/middleware/tempurl.py, `disposition_format`.

use http::header::HeaderValue;
use wire::encode_segment;

/// The value of Content-Disposition: what the URL says, else what is stored with the object, else its name.
pub(super) fn value(
    inline: bool,
    filename: Option<&str>,
    stored: Option<HeaderValue>,
    path: &str,
) -> Option<HeaderValue> {
    match (inline, filename, stored) {
        (true, Some(filename), _) => named("inline", filename),
        (true, None, _) => Some(HeaderValue::from_static("inline")),
        (false, Some(filename), _) => named("attachment", filename),
        (false, None, Some(stored)) => Some(stored),
        (false, None, None) => {
            let path = path.trim_end_matches('/');
            named("attachment", path.rsplit('/').next().unwrap_or(path))
        }
    }
}

/// The name twice: for old readers with what ASCII has, and as RFC 5987 writes UTF-8.
fn named(kind: &str, filename: &str) -> Option<HeaderValue> {
    let encoded = encode_segment(filename);
    let readable = encoded.replace("%20", " ");
    let value = format!("{kind}; filename=\"{readable}\"; filename*=UTF-8''{encoded}");
    HeaderValue::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_url_wins_over_the_object_and_that_over_its_name() {
        let stored = || Some(HeaderValue::from_static("stored"));
        let says = |inline, filename, stored, text: &str| {
            let value = value(inline, filename, stored, "/v1/a/c/d/o ü\"/").expect("a value");
            assert_eq!(value, text);
        };
        says(true, None, stored(), "inline");
        says(true, Some("x"), stored(), "inline; filename=\"x\"; filename*=UTF-8''x");
        says(false, Some("a b"), stored(), "attachment; filename=\"a b\"; filename*=UTF-8''a%20b");
        says(false, None, stored(), "stored");
        let own = "attachment; filename=\"o %C3%BC%22\"; filename*=UTF-8''o%20%C3%BC%22";
        says(false, None, None, own);
    }

    proptest! {
        #[test]
        fn names_never_break_out(name in "\\PC{0,20}|[\r\n\"; a-z]{0,20}", path in "[a-z\r\n/]{0,9}") {
            let value = value(false, Some(&name), None, &path).expect("a value");
            let text = value.to_str().expect("ASCII");
            prop_assert_eq!(text.matches('"').count(), 2);
            prop_assert!(!text.contains(['\r', '\n']));
        }
    }
}

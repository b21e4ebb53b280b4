//! The parameter `swift_bytes` that travels in content types (Swift: common/utils, `extract_swift_bytes`).
//!
//! A manifest's size as clients see it is not the size of what is stored; the proxy tells it to listings as
//! `;swift_bytes=N` behind the content type. Taking it out also brings the other parameters into the form
//! `;key=value` without spaces, and that is how Swift's listings show every content type.

/// The content type without the parameter, and the parameter's value if it was there.
pub fn extract_swift_bytes(content_type: &str) -> (String, Option<String>) {
    let Some(semicolon) = content_type.find(';') else {
        return (content_type.to_owned(), None);
    };
    let (kind, parameters) = content_type.split_at(semicolon);
    let mut kept = kind.to_owned();
    let mut swift_bytes = None;
    let mut rest = parameters;
    while !rest.is_empty() {
        match parameter(rest) {
            Some((key, value, tail)) => {
                if key == "swift_bytes" {
                    swift_bytes = Some(value.to_owned());
                } else {
                    kept.extend([";", key, "=", value]);
                }
                rest = tail;
            }
            None => rest = skip_one(rest),
        }
    }
    (kept, swift_bytes)
}

/// The inverse: the content type with the parameter behind it.
pub fn with_swift_bytes(content_type: &str, swift_bytes: Option<&str>) -> String {
    match swift_bytes {
        Some(bytes) => format!("{content_type};swift_bytes={bytes}"),
        None => content_type.to_owned(),
    }
}

/// `; key [= value]` at the start of the text: key, value, and what follows.
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let text = skip_space(text).strip_prefix(';')?;
    let (key, after_key) = token(skip_space(text))?;
    let after_key = skip_space(after_key);
    let value = after_key
        .strip_prefix('=')
        .map(skip_space)
        .and_then(|text| token(text).or_else(|| quoted(text)));
    match value {
        Some((value, tail)) => Some((key, value, tail)),
        None => Some((key, "", after_key)),
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

fn skip_one(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

fn token(text: &str) -> Option<(&str, &str)> {
    let outside = |c: char| c <= ' ' || c == '\x7f' || "()<>@,;:\"/[]?={}".contains(c);
    let end = text.find(outside).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let inner = text.strip_prefix('"')?;
    let close = inner.char_indices().find(|(_, c)| {
        let closes = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    })?;
    Some(text.split_at(close.0 + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_swift_does() {
        let cases = [
            ("text/plain", "text/plain", None),
            ("text/plain; charset=UTF-8", "text/plain;charset=UTF-8", None),
            ("a/b;swift_bytes=12", "a/b", Some("12")),
            ("a/b ; swift_bytes = 12 ; c = \"d;e\\\" f\"", "a/b ;c=\"d;e\\\" f\"", Some("12")),
            ("a/b;x=a/b;y", "a/b;x=a;y=", None),
            ("a/b;;;=;x=\"open", "a/b;x=", None),
            (";swift_bytes=1;swift_bytes=2", "", Some("2")),
            ("", "", None),
        ];
        for (given, kept, bytes) in cases {
            let (found, swift_bytes) = extract_swift_bytes(given);
            assert_eq!((found.as_str(), swift_bytes.as_deref()), (kept, bytes), "{given}");
        }
    }

    proptest! {
        #[test]
        fn taking_apart_is_final(text in "[a/;= \"\\\\]{0,16}", bytes in "[0-9]{0,4}") {
            let (kept, _) = extract_swift_bytes(&text);
            let joined = with_swift_bytes(&kept, Some(&bytes));
            prop_assert_eq!(extract_swift_bytes(&kept).0, kept.clone());
            if !bytes.is_empty() {
                prop_assert_eq!(extract_swift_bytes(&joined), (kept, Some(bytes)));
            }
        }
    }
}

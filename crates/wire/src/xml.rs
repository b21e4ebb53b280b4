//! XML as listings and reports have it: elements, names in attributes, and no more.

/// What every document begins with.
pub const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// `<tag name="…">`, or `<tag name="…" />`. Says whether it is open.
pub fn open(out: &mut String, tag: &str, name: &str, empty: bool) -> bool {
    out.extend(["<", tag, " name=\""]);
    escape(out, name, true);
    out.push_str(if empty { "\" />" } else { "\">" });
    !empty
}

/// `<tag>…</tag>`, or `<tag />`.
pub fn element(out: &mut String, tag: &str, text: &str) {
    if text.is_empty() {
        out.extend(["<", tag, " />"]);
        return;
    }
    out.extend(["<", tag, ">"]);
    escape(out, text, false);
    out.extend(["</", tag, ">"]);
}

/// Writes a text, or the value of an attribute. XML 1.0 has no way to write most control characters: they become
/// U+FFFD.
pub fn escape(out: &mut String, text: &str, attribute: bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if attribute => out.push_str("&quot;"),
            '\n' if attribute => out.push_str("&#10;"),
            '\t' if attribute => out.push_str("&#09;"),
            // A reader would take it for a line feed.
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' => out.push(c),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_break_out() {
        let mut out = String::new();
        assert!(open(&mut out, "account", "a\"><b&\n\u{1}", false));
        assert_eq!(out, "<account name=\"a&quot;&gt;&lt;b&amp;&#10;\u{fffd}\">");
        out.clear();
        element(&mut out, "name", "a\"<b>\r\n");
        element(&mut out, "hash", "");
        assert!(!open(&mut out, "subdir", "s", true));
        assert_eq!(out, "<name>a\"&lt;b&gt;&#13;\n</name><hash /><subdir name=\"s\" />");
    }
}

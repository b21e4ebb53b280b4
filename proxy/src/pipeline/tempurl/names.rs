//! Names of headers, some of them by their beginning: which go, and which stay nevertheless.

use http::header::{HeaderMap, HeaderName};

/// Exact names, and beginnings (written with a `*` at the end).
#[derive(Debug)]
struct Patterns {
    exact: Vec<String>,
    beginnings: Vec<String>,
}

impl Patterns {
    fn new(list: &[String]) -> Self {
        let (beginnings, exact): (Vec<String>, Vec<String>) =
            list.iter().map(|name| name.to_ascii_lowercase()).partition(|name| name.ends_with('*'));
        let beginnings =
            beginnings.iter().map(|name| name.trim_end_matches('*').to_owned()).collect();
        Patterns { exact, beginnings }
    }

    fn match_any(&self, name: &str) -> bool {
        self.exact.iter().any(|exact| exact == name)
            || self.beginnings.iter().any(|beginning| name.starts_with(beginning.as_str()))
    }
}

/// What is taken out of a set of headers.
#[derive(Debug)]
pub(super) struct HeaderNames {
    remove: Patterns,
    allow: Patterns,
}

impl HeaderNames {
    pub(super) fn new(remove: &[String], allow: &[String]) -> Self {
        HeaderNames { remove: Patterns::new(remove), allow: Patterns::new(allow) }
    }

    pub(super) fn clean(&self, headers: &mut HeaderMap) {
        let goes = |name: &&HeaderName| {
            self.remove.match_any(name.as_str()) && !self.allow.match_any(name.as_str())
        };
        let unwanted: Vec<HeaderName> = headers.keys().filter(goes).cloned().collect();
        for name in unwanted {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderValue;

    #[test]
    fn what_is_allowed_stays() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let names = HeaderNames::new(
            &list(&["X-Object-Meta-*", "x-secret"]),
            &list(&["x-object-meta-public-*"]),
        );
        let mut headers = HeaderMap::new();
        for name in ["x-object-meta-a", "x-object-meta-public-a", "x-secret", "x-secret-2"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        names.clean(&mut headers);
        let mut kept: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["x-object-meta-public-a", "x-secret-2"]);
    }
}

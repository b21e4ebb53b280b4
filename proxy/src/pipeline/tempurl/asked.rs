//! What the query of a temporary URL says.

use crate::auth::signature::{Signature, moment};
use crate::call::Query;

/// The parameters. Of several equal ones the first counts, as in Swift.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) signature: Signature,
    /// Until when, in seconds.
    pub(super) expires: i64,
    /// The same in the client's words.
    expires_text: String,
    /// With what the object's name must begin; `None` if the URL is for one object.
    pub(super) prefix: Option<String>,
    pub(super) ip_range: Option<String>,
    pub(super) filename: Option<String>,
    pub(super) inline: bool,
}

impl Asked {
    /// `None` if something is missing, malformed or over.
    pub(super) fn of(query: &Query, now: i64) -> Option<Self> {
        let first = |name: &str| {
            query.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let expires_text = first("temp_url_expires")?;
        let expires = moment(&expires_text).filter(|at| *at >= now && *at != 0)?;
        Some(Asked {
            signature: Signature::parse(&first("temp_url_sig")?)?,
            expires,
            expires_text,
            prefix: first("temp_url_prefix"),
            ip_range: first("temp_url_ip_range").filter(|range| !range.is_empty()),
            filename: first("filename").filter(|name| !name.is_empty()),
            inline: query.has("inline"),
        })
    }

    /// What is signed.
    pub(super) fn message(&self, method: &str, path: &str) -> String {
        let expires = self.expires;
        match &self.ip_range {
            // First, so that the name of an object cannot be taken for it.
            Some(range) => format!("ip={range}\n{method}\n{expires}\n{path}"),
            None => format!("{method}\n{expires}\n{path}"),
        }
    }

    /// What is left of the query for those further in: a listing of a static site puts it into its links.
    pub(super) fn query(&self) -> Query {
        let mut query = Query::default();
        let mut add = |name: &str, value: &str| query.0.push((name.to_owned(), value.to_owned()));
        add("temp_url_sig", &self.signature.hex());
        add("temp_url_expires", &self.expires_text);
        let optional = [
            ("temp_url_prefix", &self.prefix),
            ("temp_url_ip_range", &self.ip_range),
            ("filename", &self.filename),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                add(name, value);
            }
        }
        if self.inline {
            add("inline", "");
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIGNATURE: &str = "0123456789abcdef0123456789abcdef01234567";

    fn asked(pairs: &[(&str, &str)], now: i64) -> Option<Asked> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Asked::of(&Query(pairs.collect()), now)
    }

    #[test]
    fn signature_and_time_are_needed_and_the_first_counts() {
        let signed = ("temp_url_sig", SIGNATURE);
        assert!(asked(&[signed], 5).is_none());
        assert!(asked(&[("temp_url_expires", "9")], 5).is_none());
        assert!(asked(&[signed, ("temp_url_expires", "4")], 5).is_none());
        assert!(asked(&[signed, ("temp_url_expires", "5")], 5).is_some());
        let twice = [signed, ("temp_url_expires", "4"), ("temp_url_expires", "9")];
        assert!(asked(&twice, 5).is_none());
        assert!(asked(&[("temp_url_sig", "x"), ("temp_url_expires", "9")], 5).is_none());
    }

    #[test]
    fn only_what_was_signed_goes_further() {
        let pairs = [
            ("multipart-manifest", "get"),
            ("temp_url_sig", SIGNATURE),
            ("temp_url_expires", "1970-01-01T00:00:09Z"),
            ("temp_url_prefix", ""),
            ("temp_url_ip_range", "127.0.0.1"),
            ("inline", ""),
        ];
        let asked = asked(&pairs, 5).expect("complete");
        assert_eq!(asked.message("GET", "p"), "ip=127.0.0.1\nGET\n9\np");
        let kept = asked.query();
        let names: Vec<&str> = kept.0.iter().map(|(name, _)| name.as_str()).collect();
        let expected =
            ["temp_url_sig", "temp_url_expires", "temp_url_prefix", "temp_url_ip_range", "inline"];
        assert_eq!(names, expected);
        assert_eq!(kept.get("temp_url_expires"), Some("1970-01-01T00:00:09Z"));
    }

    proptest! {
        #[test]
        fn never_panics(sig in "\\PC{0,50}", expires in "\\PC{0,30}", prefix in "\\PC{0,10}") {
            let pairs = [("temp_url_sig", &*sig), ("temp_url_expires", &*expires), ("temp_url_prefix", &*prefix)];
            if let Some(asked) = asked(&pairs, 0) {
                let _ = (asked.message("GET", &prefix), asked.query());
            }
        }
    }
}

//! What Swift knows and this cluster does not know yet. Each of it is refused clearly and changes nothing: half
//! of a feature would be worse than none (an object that does not expire, a copy that is not one).
//!
//! An empty value takes a setting away that nobody can have made, so it does no harm and is let through.

use daemon::SharedClock;
use http::Method;
use http::header::{HeaderMap, HeaderValue};

use super::error::Refusal;

/// What a header would have to do, by its name.
fn feature_of_header(name: &str) -> Option<&'static str> {
    let exact = match name {
        "x-copy-from" | "x-copy-from-account" | "x-fresh-metadata" => Some("Server-side copy"),
        "x-object-manifest" => Some("The dynamic large object"),
        "x-static-large-object" => Some("The static large object"),
        "x-symlink-target"
        | "x-symlink-target-account"
        | "x-symlink-target-etag"
        | "x-symlink-target-bytes" => Some("The symbolic link"),
        "x-versions-enabled" | "x-versions-location" | "x-versions-mode" | "x-history-location" => {
            Some("Object versioning")
        }
        "x-delete-at" | "x-delete-after" | "x-if-delete-at" => Some("Object expiration"),
        "x-container-sharding" => Some("Container sharding"),
        "x-account-access-control" => Some("The access control list of an account"),
        "x-account-meta-temp-url-key"
        | "x-account-meta-temp-url-key-2"
        | "x-container-meta-temp-url-key"
        | "x-container-meta-temp-url-key-2" => Some("The temporary URL"),
        _ => None,
    };
    let by_prefix = [
        ("x-container-sync-", "Container synchronization"),
        ("x-container-meta-quota-", "The container quota"),
        ("x-account-meta-quota-", "The account quota"),
        ("x-account-quota-", "The account quota"),
        ("x-container-meta-web-", "The static web site"),
        ("x-container-meta-access-control-", "Cross-origin resource sharing"),
    ];
    exact.or_else(|| {
        by_prefix.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, what)| *what)
    })
}

/// What a parameter would have to do. Asking for a manifest or a link as such is harmless where there are none:
/// python-swiftclient does so with every delete and every skip of identical files.
fn feature_of_parameter(method: &Method, name: &str, value: &str) -> Option<&'static str> {
    let reading = *method == Method::GET || *method == Method::HEAD;
    match name {
        "multipart-manifest" | "symlink" if reading && value == "get" => None,
        "multipart-manifest" => Some("The static large object"),
        "symlink" => Some("The symbolic link"),
        "part-number" => Some("The static large object"),
        "extract-archive" => Some("Archive extraction"),
        "bulk-delete" => Some("Bulk deletion"),
        "versions" | "version-id" => Some("Object versioning"),
        "temp_url_sig" => Some("The temporary URL"),
        _ => None,
    }
}

/// Refuses what cannot be done, and forgets headers that only take away what never was.
pub(crate) fn check(
    method: &Method,
    query: &[(String, String)],
    headers: &mut HeaderMap,
    clock: &SharedClock,
) -> Result<(), Refusal> {
    if method.as_str() == "COPY" {
        // Not 405: the method belongs to Swift's API, and clients are told why it fails.
        return Err(Refusal::NotAvailable("Server-side copy"));
    }
    for (name, value) in query {
        if let Some(what) = feature_of_parameter(method, name, value) {
            return Err(Refusal::NotAvailable(what));
        }
    }
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let mut empty = Vec::new();
    for (name, value) in headers.iter() {
        let Some(what) = feature_of_header(name.as_str()) else { continue };
        if !value.as_bytes().trim_ascii().is_empty() {
            let nonsense = impossible_expiry(name.as_str(), value, clock);
            return Err(nonsense.unwrap_or(Refusal::NotAvailable(what)));
        }
        empty.push(name.clone());
    }
    for name in empty {
        // An account or container forgets the setting; an object is written whole and needs no telling.
        let keeps = name.as_str().contains("-meta-");
        if !keeps {
            headers.remove(name);
        }
    }
    Ok(())
}

/// Nonsense is told apart from what would be possible elsewhere.
fn impossible_expiry(name: &str, value: &HeaderValue, clock: &SharedClock) -> Option<Refusal> {
    let number = value.to_str().ok().and_then(|text| text.trim().parse::<i64>().ok());
    let sentence = match (name, number) {
        ("x-delete-at", None) => "Non-integer X-Delete-At",
        ("x-delete-after", None) => "Non-integer X-Delete-After",
        ("x-delete-after", Some(..=0)) => "X-Delete-After in past",
        ("x-delete-at", Some(at))
            if at <= i64::try_from(clock.now().seconds()).unwrap_or(i64::MAX) =>
        {
            "X-Delete-At in past"
        }
        _ => return None,
    };
    Some(Refusal::bad_request(sentence))
}

/// What an object that another proxy stored cannot be here: read without its parts, it would be wrong.
pub(crate) fn feature_of_stored(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key("x-static-large-object") {
        return Some("The static large object");
    }
    if headers.contains_key("x-object-manifest") {
        return Some("The dynamic large object");
    }
    headers.contains_key("x-object-sysmeta-symlink-target").then_some("The symbolic link")
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::ManualClock;
    use http::header::HeaderName;
    use std::sync::Arc;

    fn clock() -> SharedClock {
        Arc::new(ManualClock::at_seconds(1_700_000_000))
    }

    fn refused(
        method: &Method,
        query: &[(&str, &str)],
        headers: &[(&'static str, &'static str)],
    ) -> u16 {
        let query: Vec<(String, String)> =
            query.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        match check(method, &query, &mut map, &clock()) {
            Ok(()) => 0,
            Err(refusal) => wire::Response::from(refusal).status().as_u16(),
        }
    }

    #[test]
    fn every_feature_is_refused() {
        for name in [
            "multipart-manifest",
            "extract-archive",
            "bulk-delete",
            "versions",
            "version-id",
            "symlink",
            "temp_url_sig",
            "part-number",
        ] {
            assert_eq!(refused(&Method::PUT, &[(name, "x")], &[]), 501, "{name}");
        }
        for name in [
            "x-copy-from",
            "x-object-manifest",
            "x-symlink-target",
            "x-symlink-target-etag",
            "x-versions-enabled",
            "x-versions-location",
            "x-history-location",
            "x-container-sync-to",
            "x-container-sync-key",
            "x-container-meta-quota-bytes",
            "x-account-meta-quota-bytes",
            "x-account-quota-bytes",
            "x-container-meta-web-index",
            "x-container-meta-access-control-allow-origin",
            "x-account-meta-temp-url-key",
            "x-container-meta-temp-url-key-2",
            "x-account-access-control",
            "x-if-delete-at",
        ] {
            assert_eq!(refused(&Method::POST, &[], &[(name, "x")]), 501, "{name}");
            assert_eq!(refused(&Method::POST, &[], &[(name, "")]), 0, "{name}");
            assert_eq!(refused(&Method::GET, &[], &[(name, "x")]), 0, "{name}");
        }
        let copy = Method::from_bytes(b"COPY").expect("a method");
        assert_eq!(refused(&copy, &[], &[]), 501);
    }

    #[test]
    fn expiration_is_checked_before_it_is_refused() {
        assert_eq!(refused(&Method::PUT, &[], &[("x-delete-at", "9999999999")]), 501);
        assert_eq!(refused(&Method::PUT, &[], &[("x-delete-after", "60")]), 501);
        assert_eq!(refused(&Method::PUT, &[], &[("x-delete-at", "soon")]), 400);
        assert_eq!(refused(&Method::PUT, &[], &[("x-delete-at", "1700000000")]), 400);
        assert_eq!(refused(&Method::PUT, &[], &[("x-delete-after", "0")]), 400);
    }

    #[test]
    fn what_the_usual_client_sends_passes() {
        assert_eq!(refused(&Method::HEAD, &[("symlink", "get")], &[]), 0);
        assert_eq!(refused(&Method::GET, &[("multipart-manifest", "get")], &[]), 0);
        assert_eq!(refused(&Method::DELETE, &[("multipart-manifest", "delete")], &[]), 501);
    }

    #[test]
    fn removals_reach_lists_but_not_objects() {
        let mut headers = HeaderMap::new();
        for name in ["x-container-meta-web-index", "x-delete-at"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(""));
        }
        assert!(check(&Method::POST, &[], &mut headers, &clock()).is_ok());
        assert!(headers.contains_key("x-container-meta-web-index"));
        assert!(!headers.contains_key("x-delete-at"));
    }
}

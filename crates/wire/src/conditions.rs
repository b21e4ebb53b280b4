//! If-Match and its kin (Swift: common/swob.py, `_get_conditional_response_status`).

use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What of a request chooses the bytes of the answer, and judges whether they are sent at all.
pub const CHOOSING: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// 304: the client has it already.
    NotModified,
    /// 412: it is not what the client thinks.
    Precondition,
}

/// Whether a list of tags holds `*` or the ETag, quoted or not.
pub fn tags_match(list: &HeaderValue, etag: &str) -> bool {
    let list = String::from_utf8_lossy(list.as_bytes());
    let etag = unquoted(etag);
    list.split(',').map(|tag| unquoted(tag.trim())).any(|tag| tag == "*" || tag == etag)
}

/// An ETag without its quotes.
pub fn unquoted(tag: &str) -> &str {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

/// Judges the conditions of a GET or HEAD against an object: its ETag, and when it was changed in seconds since 1970,
/// rounded up.
pub fn judge(headers: &HeaderMap, etag: &str, modified: u64) -> Result<(), Unmet> {
    if headers.get(header::IF_NONE_MATCH).is_some_and(|list| tags_match(list, etag)) {
        return Err(Unmet::NotModified);
    }
    if headers.get(header::IF_MATCH).is_some_and(|list| !tags_match(list, etag)) {
        return Err(Unmet::Precondition);
    }
    let modified = moment(modified);
    if date(headers, header::IF_MODIFIED_SINCE).is_some_and(|since| modified <= since) {
        return Err(Unmet::NotModified);
    }
    if date(headers, header::IF_UNMODIFIED_SINCE).is_some_and(|since| modified > since) {
        return Err(Unmet::Precondition);
    }
    Ok(())
}

/// An absent object fails `If-Match: *`.
pub fn wants_any(headers: &HeaderMap) -> bool {
    headers.get(header::IF_MATCH).is_some_and(|list| {
        String::from_utf8_lossy(list.as_bytes()).split(',').any(|tag| unquoted(tag.trim()) == "*")
    })
}

/// Whether If-Range allows a range: no such header, or its tag or date is the object's.
pub fn range_allowed(headers: &HeaderMap, etag: &str, modified: u64) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    match date(headers, header::IF_RANGE) {
        Some(since) => moment(modified) <= since,
        None => tags_match(value, etag),
    }
}

fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

fn date(headers: &HeaderMap, name: http::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn tags_and_dates() {
        let at = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        let judged = |name, value| judge(&headers(name, value), "abc", at);
        assert!(judged(header::IF_MATCH, "x, \"abc\"").is_ok());
        assert!(judged(header::IF_MATCH, "*").is_ok());
        assert!(matches!(judged(header::IF_MATCH, "x"), Err(Unmet::Precondition)));
        assert!(judged(header::IF_NONE_MATCH, "x").is_ok());
        assert!(matches!(judged(header::IF_NONE_MATCH, "abc"), Err(Unmet::NotModified)));
        let (before, same) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(judged(header::IF_MODIFIED_SINCE, before).is_ok());
        assert!(matches!(judged(header::IF_MODIFIED_SINCE, same), Err(Unmet::NotModified)));
        assert!(judged(header::IF_UNMODIFIED_SINCE, same).is_ok());
        assert!(matches!(judged(header::IF_UNMODIFIED_SINCE, before), Err(Unmet::Precondition)));
        assert!(judged(header::IF_UNMODIFIED_SINCE, "nonsense").is_ok());
        assert!(range_allowed(&headers(header::IF_RANGE, "\"abc\""), "abc", at));
        assert!(!range_allowed(&headers(header::IF_RANGE, "\"x\""), "abc", at));
        assert!(range_allowed(&headers(header::IF_RANGE, same), "abc", at));
        assert!(!range_allowed(&headers(header::IF_RANGE, before), "abc", at));
    }
}

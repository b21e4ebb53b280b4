//! If-Match and its kin (Swift: common/swob.py, `_get_conditional_response_status`).

use super::error::Refusal;
use http::{HeaderMap, HeaderValue, header};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use types::Timestamp;

/// Whether a list of tags holds `*` or the ETag, quoted or not.
pub(super) fn matches(list: &HeaderValue, etag: &str) -> bool {
    let list = String::from_utf8_lossy(list.as_bytes());
    list.split(',').map(|tag| unquoted(tag.trim())).any(|tag| tag == "*" || tag == etag)
}

fn unquoted(tag: &str) -> &str {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

/// Judges the conditions of a GET or HEAD against the object.
pub(super) fn judge(headers: &HeaderMap, etag: &str, at: Timestamp) -> Result<(), Refusal> {
    if headers.get(header::IF_NONE_MATCH).is_some_and(|list| matches(list, etag)) {
        return Err(Refusal::NotModified);
    }
    if headers.get(header::IF_MATCH).is_some_and(|list| !matches(list, etag)) {
        return Err(Refusal::Precondition);
    }
    let modified = UNIX_EPOCH + Duration::from_secs(at.ceil_seconds());
    if date(headers, header::IF_MODIFIED_SINCE).is_some_and(|since| modified <= since) {
        return Err(Refusal::NotModified);
    }
    if date(headers, header::IF_UNMODIFIED_SINCE).is_some_and(|since| modified > since) {
        return Err(Refusal::Precondition);
    }
    Ok(())
}

/// An absent object fails `If-Match: *`.
pub(super) fn wants_any(headers: &HeaderMap) -> bool {
    headers.get(header::IF_MATCH).is_some_and(|list| {
        String::from_utf8_lossy(list.as_bytes()).split(',').any(|tag| unquoted(tag.trim()) == "*")
    })
}

/// Whether If-Range allows a range: no such header, or its tag or date is the object's.
pub(super) fn range_allowed(headers: &HeaderMap, etag: &str, at: Timestamp) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    match date(headers, header::IF_RANGE) {
        Some(since) => UNIX_EPOCH + Duration::from_secs(at.ceil_seconds()) <= since,
        None => matches(value, etag),
    }
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
        let at = Timestamp::from_seconds(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let judged = |name, value| judge(&headers(name, value), "abc", at);
        assert!(judged(header::IF_MATCH, "x, \"abc\"").is_ok());
        assert!(judged(header::IF_MATCH, "*").is_ok());
        assert!(matches!(judged(header::IF_MATCH, "x"), Err(Refusal::Precondition)));
        assert!(judged(header::IF_NONE_MATCH, "x").is_ok());
        assert!(matches!(judged(header::IF_NONE_MATCH, "abc"), Err(Refusal::NotModified)));
        let (before, same) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(judged(header::IF_MODIFIED_SINCE, before).is_ok());
        assert!(matches!(judged(header::IF_MODIFIED_SINCE, same), Err(Refusal::NotModified)));
        assert!(judged(header::IF_UNMODIFIED_SINCE, same).is_ok());
        assert!(matches!(judged(header::IF_UNMODIFIED_SINCE, before), Err(Refusal::Precondition)));
        assert!(judged(header::IF_UNMODIFIED_SINCE, "nonsense").is_ok());
        assert!(range_allowed(&headers(header::IF_RANGE, "\"abc\""), "abc", at));
        assert!(!range_allowed(&headers(header::IF_RANGE, "\"x\""), "abc", at));
        assert!(range_allowed(&headers(header::IF_RANGE, same), "abc", at));
        assert!(!range_allowed(&headers(header::IF_RANGE, before), "abc", at));
    }
}

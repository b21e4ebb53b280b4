//! What a request may hold at most, checked before anything is done. Swift: common/constraints.py.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use types::Limits;

use super::error::Refusal;
use crate::call::CONTENT_TYPE_OVERRIDDEN;

/// How long a body is, as its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// So many bytes.
    Known(u64),
    /// It ends where it ends.
    Chunked,
}

/// The number and the size of all headers.
pub(crate) fn check_headers(headers: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    if headers.len() > limits.max_header_count() {
        let most = limits.max_header_count();
        return Err(Refusal::bad_request(format!("Too many headers; max {most}")));
    }
    for (name, value) in headers {
        if value.len() > limits.max_header_size as usize {
            return Err(Refusal::bad_request(format!("Header value too long: {name}")));
        }
    }
    Ok(())
}

/// The metadata of this request; what it makes together with what is stored is for storage nodes to judge.
pub(crate) fn check_metadata(
    headers: &HeaderMap,
    prefix: &str,
    limits: &Limits,
) -> Result<(), Refusal> {
    wire::metadata::check(headers, prefix, limits)
        .map_err(|error| Refusal::bad_request(error.to_string()))
}

/// `what` is `Account`, `Container` or `Object`.
pub(crate) fn check_name(what: &str, name: &str, longest: u32) -> Result<(), Refusal> {
    if name.len() <= longest as usize {
        return Ok(());
    }
    let length = name.len();
    let sentence = format!("{what} name length of {length} longer than {longest}");
    Err(Refusal::Page(StatusCode::BAD_REQUEST, sentence))
}

/// How long the body of an object will be.
pub(crate) fn body_length(headers: &HeaderMap, limits: &Limits) -> Result<BodyLength, Refusal> {
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING) {
        let coding = coding.as_bytes();
        if coding.contains(&b',') {
            let sentence =
                "Unsupported Transfer-Coding header value specified in Transfer-Encoding header";
            return Err(Refusal::Sentence(StatusCode::NOT_IMPLEMENTED, sentence.into()));
        }
        if !coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::bad_request("Invalid Transfer-Encoding header value"));
        }
        return Ok(BodyLength::Chunked);
    }
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        let sentence = "Missing Content-Length header.";
        return Err(Refusal::Sentence(StatusCode::LENGTH_REQUIRED, sentence.into()));
    };
    let length = content_length(length)?;
    if length > limits.max_file_size {
        let sentence = "Your request is too large.";
        return Err(Refusal::Sentence(StatusCode::PAYLOAD_TOO_LARGE, sentence.into()));
    }
    Ok(BodyLength::Known(length))
}

fn content_length(value: &HeaderValue) -> Result<u64, Refusal> {
    let text = value.to_str().unwrap_or_default().trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() < text.len() && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Refusal::bad_request("Invalid Content-Length"));
    }
    // No sign, no spaces: what others read another way is not read at all.
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let length = plain.then(|| digits.parse().unwrap_or(u64::MAX));
    length.ok_or_else(|| Refusal::bad_request("Invalid Content-Length header value"))
}

/// A client's content type is text, and holds none of the parameters that Swift itself adds.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
        return Err(Refusal::bad_request("Invalid Content-Type"));
    };
    if headers.contains_key(CONTENT_TYPE_OVERRIDDEN) {
        return Ok(());
    }
    let reserved = |parameter: &str| parameter.trim_start().starts_with("swift_");
    if text.split(';').skip(1).any(reserved) {
        let sentence = "Invalid Content-Type, swift_* is not a valid parameter name.";
        return Err(Refusal::bad_request(sentence));
    }
    Ok(())
}

/// What Swift takes for true.
pub(crate) fn is_true(value: Option<&HeaderValue>) -> bool {
    value.and_then(|value| value.to_str().ok()).is_some_and(means_true)
}

/// The same of a text.
pub(crate) fn means_true(text: &str) -> bool {
    ["true", "1", "yes", "on", "t", "y"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderName;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::try_from(*name).expect("a name");
            headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        headers
    }

    fn sentence<T: std::fmt::Debug>(result: Result<T, Refusal>) -> (u16, String) {
        match result {
            Err(Refusal::Sentence(status, sentence)) => (status.as_u16(), sentence.into_owned()),
            Err(Refusal::Page(status, sentence)) => (status.as_u16(), sentence),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn metadata_has_limits() {
        let limits = Limits::default();
        let check =
            |pairs: &[(&str, &[u8])]| check_metadata(&map(pairs), "x-object-meta-", &limits);
        assert!(check(&[("x-object-meta-a", b"1"), ("x-container-meta-", b"")]).is_ok());
        assert!(check(&[("x-object-meta-a", b"\xff")]).is_ok());
        assert_eq!(sentence(check(&[("x-object-meta-", b"1")])).1, "Metadata name cannot be empty");
        let long = format!("x-object-meta-{}", "a".repeat(129));
        assert_eq!(sentence(check(&[(&long, b"")])).1, format!("Metadata name too long: {long}"));
        let value = sentence(check(&[("x-object-meta-a", &[b'v'; 257])])).1;
        assert_eq!(value, "Metadata value longer than 256: x-object-meta-a");
        let names: Vec<String> = (0..91).map(|n| format!("x-object-meta-{n}")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b"1"[..])).collect();
        assert_eq!(sentence(check(&many)).1, "Too many metadata items; max 90");
        assert!(check(&many[..90]).is_ok());
        let large: Vec<(&str, &[u8])> =
            names.iter().take(17).map(|n| (n.as_str(), &[b'v'; 256][..])).collect();
        assert_eq!(sentence(check(&large)).1, "Total metadata too large; max 4096");
        let account =
            check_metadata(&map(&[("x-account-meta-a", b"\xff")]), "x-account-meta-", &limits);
        assert_eq!(sentence(account).1, "Metadata must be valid UTF-8");
    }

    #[test]
    fn headers_have_limits() {
        let limits = Limits::default();
        let long = map(&[("x-a", &[b'v'; 8193])]);
        assert_eq!(sentence(check_headers(&long, &limits)).1, "Header value too long: x-a");
        let names: Vec<String> = (0..127).map(|n| format!("x-{n}")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b""[..])).collect();
        assert_eq!(sentence(check_headers(&map(&many), &limits)).0, 400);
        assert!(check_headers(&map(&many[..126]), &limits).is_ok());
    }

    #[test]
    fn lengths_of_bodies() {
        let limits = Limits { max_file_size: 10, ..Limits::default() };
        let length = |pairs: &[(&str, &[u8])]| body_length(&map(pairs), &limits);
        assert!(matches!(length(&[("content-length", b"10")]), Ok(BodyLength::Known(10))));
        assert!(matches!(length(&[("transfer-encoding", b"Chunked")]), Ok(BodyLength::Chunked)));
        assert_eq!(sentence(length(&[])).0, 411);
        assert_eq!(sentence(length(&[("content-length", b"11")])).0, 413);
        assert_eq!(sentence(length(&[("content-length", b"99999999999999999999")])).0, 413);
        assert_eq!(
            sentence(length(&[("content-length", b"-1")])),
            (400, "Invalid Content-Length".into())
        );
        for bad in ["", "+1", "x", "1,1", "0x1"] {
            assert_eq!(sentence(length(&[("content-length", bad.as_bytes())])).0, 400, "{bad}");
        }
        assert_eq!(sentence(length(&[("transfer-encoding", b"gzip, chunked")])).0, 501);
        assert_eq!(sentence(length(&[("transfer-encoding", b"gzip")])).0, 400);
    }

    #[test]
    fn content_types_are_the_clients_own() {
        let check = |value: &[u8]| check_content_type(&map(&[("content-type", value)]));
        assert!(check("text/plain; charset=ü".as_bytes()).is_ok());
        assert_eq!(sentence(check(b"text/\xff")).1, "Invalid Content-Type");
        assert_eq!(sentence(check(b"text/plain; swift_bytes=1")).0, 400);
    }

    #[test]
    fn names_are_measured_in_bytes() {
        assert!(check_name("Object", &"o".repeat(1024), 1024).is_ok());
        let error = check_name("Object", &"ü".repeat(513), 1024);
        assert_eq!(sentence(error).1, "Object name length of 1026 longer than 1024");
    }

    proptest! {
        #[test]
        fn never_panics(value in proptest::collection::vec(32u8..127, 0..30)) {
            for name in ["content-length", "transfer-encoding", "content-type"] {
                let headers = map(&[(name, &value)]);
                let _ = body_length(&headers, &Limits::default());
                let _ = check_content_type(&headers);
            }
        }
    }
}

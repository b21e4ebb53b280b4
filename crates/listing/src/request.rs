//! What both servers read from requests in the same way.

use crate::lifecycle::Names;
use crate::metadata::{Metadata, MetadataError, MetadataValue};
use crate::page::PageQuery;
use crate::refusal::Refusal;
use crate::render::Format;
use http::request::Parts;
use http::{HeaderMap, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use types::{PolicyIndex, Timestamp};
use wire::{BackendPath, Body, headers, parse_query};

/// Accounts that come into being with their first container or object.
pub const AUTO_CREATE_PREFIX: char = '.';

/// The parsed path of a request; the account is there.
pub fn path(uri: &Uri) -> Result<(BackendPath, Names), Refusal> {
    let path = BackendPath::decode(uri.path())?;
    let Some(account) = &path.account else {
        return Err(invalid_path(uri));
    };
    let container = path.container.as_ref().map(ToString::to_string);
    let names = Names { account: account.to_string(), container: container.unwrap_or_default() };
    Ok((path, names))
}

/// A path that goes too far, or not far enough.
pub fn invalid_path(uri: &Uri) -> Refusal {
    Refusal::Invalid(format!("Invalid path: {}", uri.path()))
}

/// The moment a request carries.
pub fn timestamp(from: &HeaderMap) -> Result<Timestamp, Refusal> {
    let sentence = |word| Refusal::Invalid(format!("{word} X-Timestamp header"));
    let value = from.get(headers::X_TIMESTAMP).ok_or_else(|| sentence("Missing"))?;
    let parsed = value.to_str().ok().and_then(|text| Timestamp::parse(text).ok());
    parsed.ok_or_else(|| sentence("Invalid"))
}

/// A policy number in the header `name`.
pub fn policy(from: &HeaderMap, name: &str) -> Result<Option<PolicyIndex>, Refusal> {
    let Some(value) = from.get(name) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        let value = String::from_utf8_lossy(value.as_bytes());
        Refusal::Invalid(format!("Invalid {name} '{value}'"))
    })
}

/// What Swift takes for yes.
pub fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on" | "t" | "y")
}

/// Whether a header says yes; `None` when it is not there.
pub fn flag(from: &HeaderMap, name: &str) -> Option<bool> {
    from.get(name).map(|value| value.to_str().is_ok_and(is_true))
}

/// The headers that are metadata of a `kind` (`account`, `container`): user and system metadata, and `saved`.
pub fn metadata(
    from: &HeaderMap,
    kind: &str,
    saved: &[&str],
    at: Timestamp,
) -> Result<Metadata, MetadataError> {
    let prefixes = [format!("x-{kind}-meta-"), format!("x-{kind}-sysmeta-")];
    let mut found = Metadata::default();
    for (name, value) in from {
        let name = name.as_str();
        let is_metadata = saved.contains(&name)
            || prefixes.iter().any(|prefix| name.len() > prefix.len() && name.starts_with(prefix));
        if is_metadata {
            let value =
                std::str::from_utf8(value.as_bytes()).map_err(|_| MetadataError::NotUtf8)?;
            let value = MetadataValue { value: value.to_owned(), at };
            found.0.insert(title_case(name), value);
        }
    }
    Ok(found)
}

/// `x-container-meta-a1b` to `X-Container-Meta-A1B`, as Python's `title` does.
fn title_case(name: &str) -> String {
    let mut after_letter = false;
    let letter = |c: char| {
        let titled = if after_letter { c } else { c.to_ascii_uppercase() };
        after_letter = c.is_ascii_alphabetic();
        titled
    };
    name.chars().map(letter).collect()
}

/// Most bytes of a body: ten thousand rows of usual names are a third of it.
const BODY_BYTES_MAX: usize = 16 << 20;

/// What a body says.
pub async fn json<T: DeserializeOwned + Send + 'static>(body: Body) -> Result<T, Refusal> {
    let invalid =
        |error: &dyn std::fmt::Display| Refusal::Invalid(format!("Invalid body: {error}"));
    let whole = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let whole = whole.map_err(|error| match error.is::<LengthLimitError>() {
        true => Refusal::TooLarge(format!("The body is too long; max {BODY_BYTES_MAX} bytes")),
        false => invalid(&error),
    })?;
    // So much of it takes its time.
    let read = move || serde_json::from_slice(&whole.to_bytes());
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| invalid(&error))?;
    read.map_err(|error| invalid(&error))
}

/// What a listing request asks for, and in which form.
pub fn listing(request: &Parts, limit_max: u32) -> Result<(PageQuery, Format), Refusal> {
    let reserved = flag(&request.headers, headers::X_BACKEND_ALLOW_RESERVED_NAMES);
    let reserved = reserved.unwrap_or(false);
    let mut query = PageQuery { limit: limit_max, reserved, ..PageQuery::default() };
    let mut format = String::new();
    for (name, value) in parse_query(request.uri.query())? {
        match name.as_str() {
            "limit" => query.limit = limit(&value, limit_max)?,
            "marker" => query.marker = value,
            "end_marker" => query.end_marker = value,
            "prefix" => query.prefix = value,
            "delimiter" => query.delimiter = value,
            "path" => query.path = Some(value),
            "reverse" => query.reverse = is_true(&value),
            "format" => format = value,
            _ => {}
        }
    }
    Ok((query, self::format(&request.headers, &format)?))
}

/// What is no number is ignored.
fn limit(value: &str, max: u32) -> Result<u32, Refusal> {
    if value.is_empty() || !value.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(max);
    }
    value.parse().ok().filter(|limit| *limit <= max).ok_or(Refusal::Limit(max))
}

fn format(from: &HeaderMap, asked: &str) -> Result<Format, Refusal> {
    if !asked.is_empty() {
        return Ok(Format::of_query(asked));
    }
    let Some(accept) = from.get(header::ACCEPT) else { return Ok(Format::Plain) };
    let accept = accept.to_str().map_err(|_| invalid_accept())?;
    best_match(accept).ok_or_else(invalid_accept)?.ok_or(Refusal::NotAcceptable)
}

fn invalid_accept() -> Refusal {
    Refusal::Invalid("Invalid Accept header".to_owned())
}

/// The format an Accept header likes best: by quality, then exact types before globs, then its own order
/// (Swift: common/swob.py, `Accept`). `None` when it is malformed, `Some(None)` when nothing fits.
fn best_match(accept: &str) -> Option<Option<Format>> {
    if accept.is_empty() {
        return Some(Some(Format::Plain));
    }
    let mut ranges: Vec<(f64, bool, &str, &str)> = Vec::new();
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut quality = None;
        for parameter in parts {
            let (name, value) = parameter.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            if !is_token(name) || value.is_empty() || value.contains('=') {
                return None;
            }
            if name == "q" && quality.replace(value.parse::<f64>().ok()?).is_some() {
                return None;
            }
        }
        let exact = kind != "*" && subtype != "*";
        ranges.push((quality.unwrap_or(1.0), exact, kind, subtype));
    }
    ranges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    Some(ranges.iter().find_map(|(_, _, kind, subtype)| {
        Format::ALL.into_iter().find(|format| {
            let (has_kind, has_subtype) = format.mime().split_once('/').unwrap_or_default();
            (*kind == "*" || *kind == has_kind) && (*subtype == "*" || *subtype == has_subtype)
        })
    }))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c > ' ' && c != '\x7f' && !"()<>@,;:\"/[]?={}".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use wire::Request;

    fn asked(query: &str, accept: Option<&str>) -> Result<(PageQuery, Format), Refusal> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = format!("/sda/1/a/c?{query}").parse().expect("a URI");
        if let Some(accept) = accept {
            let accept = HeaderValue::from_str(accept).expect("a value");
            request.headers_mut().insert(header::ACCEPT, accept);
        }
        listing(&request.into_parts().0, 10_000)
    }

    #[test]
    fn reads_listing_parameters() {
        let (query, format) =
            asked("limit=7&marker=a%2Fb&path=&reverse=on&format=JSON&other=1", None)
                .expect("valid");
        assert_eq!((query.limit, query.marker.as_str(), query.reverse), (7, "a/b", true));
        assert_eq!((query.path.as_deref(), format), (Some(""), Format::Json));
        assert_eq!(asked("limit=x1", None).expect("ignored").0.limit, 10_000);
        assert_eq!(asked("limit=10001", None), Err(Refusal::Limit(10_000)));
        assert_eq!(asked("limit=99999999999999999999", None), Err(Refusal::Limit(10_000)));
        let sentence = "\"prefix\" parameter not valid UTF-8".to_owned();
        assert_eq!(asked("prefix=%ff", None), Err(Refusal::Invalid(sentence)));
    }

    #[test]
    fn chooses_the_format_as_swift_does() {
        let cases = [
            ("", Format::Plain),
            ("*/*", Format::Plain),
            ("application/*", Format::Json),
            ("application/json;q=0.5,text/*;q=0.5", Format::Json),
            ("text/plain;q=0.1, application/xml ; q=0.9", Format::Xml),
            ("text/xml", Format::TextXml),
            ("image/png, application/json;q=0", Format::Json),
        ];
        for (accept, format) in cases {
            assert_eq!(asked("", Some(accept)).map(|(_, format)| format), Ok(format), "{accept}");
        }
        assert_eq!(asked("", Some("image/png")), Err(Refusal::NotAcceptable));
        for bad in ["nonsense", "a/b/c", "text/plain;q=x", "text/plain;q=1;q=1", "text/plain;,"] {
            assert_eq!(asked("", Some(bad)), Err(invalid_accept()), "{bad}");
        }
        assert_eq!(asked("format=what", Some("image/png")).map(|(_, f)| f), Ok(Format::Plain));
    }

    #[test]
    fn takes_metadata_and_what_is_saved() {
        let mut from = HeaderMap::new();
        let pairs = [
            ("x-container-meta-color2go", "ü"),
            ("x-container-sysmeta-x", ""),
            ("x-container-read", ".r:*"),
            ("x-container-meta-", "no name"),
            ("x-account-meta-other", "other"),
            ("x-size", "1"),
        ];
        for (name, value) in pairs {
            from.insert(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let found = metadata(&from, "container", &["x-container-read"], Timestamp::from_seconds(1));
        let found = found.expect("UTF-8");
        let names: Vec<_> = found.0.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["X-Container-Meta-Color2Go", "X-Container-Read", "X-Container-Sysmeta-X"]
        );
        from.insert("x-container-meta-bad", HeaderValue::from_bytes(b"\xff").expect("a value"));
        let found = metadata(&from, "container", &[], Timestamp::from_seconds(1));
        assert_eq!(found, Err(MetadataError::NotUtf8));
    }

    #[test]
    fn says_what_is_wrong_with_a_timestamp() {
        let mut from = HeaderMap::new();
        let sentence = |text: &str| Err(Refusal::Invalid(text.to_owned()));
        assert_eq!(timestamp(&from), sentence("Missing X-Timestamp header"));
        from.insert(headers::X_TIMESTAMP, HeaderValue::from_static("now"));
        assert_eq!(timestamp(&from), sentence("Invalid X-Timestamp header"));
    }
}

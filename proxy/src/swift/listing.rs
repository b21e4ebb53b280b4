//! Which form of a listing a client wants, and which part of it. Swift: common/middleware/listing_formats.py.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::Refusal;
use crate::call::Query;

/// The form of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Plain,
    Json,
    Xml,
    /// The same XML under its older name.
    TextXml,
}

/// In the order in which they are preferred when a client does not care.
const FORMATS: [Format; 4] = [Format::Plain, Format::Json, Format::Xml, Format::TextXml];

impl Format {
    fn kinds(self) -> (&'static str, &'static str) {
        match self {
            Format::Plain => ("text", "plain"),
            Format::Json => ("application", "json"),
            Format::Xml => ("application", "xml"),
            Format::TextXml => ("text", "xml"),
        }
    }

    /// The media type alone, as reports have it.
    pub(crate) fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Plain => "text/plain",
            Format::Json => "application/json",
            Format::Xml => "application/xml",
            Format::TextXml => "text/xml",
        })
    }

    /// What a document begins with.
    pub(crate) fn declaration(self) -> &'static str {
        match self {
            Format::Xml | Format::TextXml => wire::xml::DECLARATION,
            Format::Plain | Format::Json => "",
        }
    }

    /// The value of Content-Type.
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Plain => "text/plain; charset=utf-8",
            Format::Json => "application/json; charset=utf-8",
            Format::Xml => "application/xml; charset=utf-8",
            Format::TextXml => "text/xml; charset=utf-8",
        })
    }

    /// As storage nodes are asked for it.
    pub(crate) fn parameter(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::Json => "json",
            Format::Xml | Format::TextXml => "xml",
        }
    }
}

/// A listing as it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) format: Format,
    /// Whether another Accept could give another form.
    pub(crate) varies: bool,
}

/// The form by the parameter `format`, which wins, or by the Accept header.
pub(crate) fn wanted(query: &Query, headers: &HeaderMap) -> Result<Wanted, Refusal> {
    let asked = query.get("format");
    let varies = asked.is_none();
    if let Some(format) = asked.filter(|format| !format.is_empty()) {
        let format = match format.to_ascii_lowercase().as_str() {
            "json" => Format::Json,
            "xml" => Format::Xml,
            _ => Format::Plain,
        };
        return Ok(Wanted { format, varies });
    }
    let accept = headers.get(header::ACCEPT).map(HeaderValue::to_str);
    let invalid = || Refusal::bad_request("Invalid Accept header");
    let accept = accept.transpose().map_err(|_| invalid())?.unwrap_or_default();
    let ranges = accepted(accept).ok_or_else(invalid)?;
    let format = best_match(&ranges).ok_or(Refusal::Status(StatusCode::NOT_ACCEPTABLE))?;
    Ok(Wanted { format, varies })
}

/// One entry of an Accept header.
struct MediaRange<'a> {
    kind: &'a str,
    subkind: &'a str,
    quality: f64,
}

impl MediaRange<'_> {
    fn is_exact(&self) -> bool {
        self.kind != "*" && self.subkind != "*"
    }

    fn covers(&self, format: Format) -> bool {
        let (kind, subkind) = format.kinds();
        (self.kind == "*" || self.kind == kind) && (self.subkind == "*" || self.subkind == subkind)
    }
}

/// `None` when the header is malformed.
fn accepted(accept: &str) -> Option<Vec<MediaRange<'_>>> {
    if accept.trim().is_empty() {
        return Some(Vec::new());
    }
    accept.split(',').map(media_range).collect()
}

fn media_range(text: &str) -> Option<MediaRange<'_>> {
    let mut parts = text.split(';');
    let (kind, subkind) = parts.next()?.trim().split_once('/')?;
    if !is_token(kind) || !is_token(subkind) {
        return None;
    }
    let mut quality = None;
    for parameter in parts {
        let (name, value) = parameter.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        if !is_token(name) || !(is_token(value) || is_quoted(value)) {
            return None;
        }
        if name == "q" {
            let parsed: f64 = value.parse().ok().filter(|quality: &f64| quality.is_finite())?;
            if quality.replace(parsed).is_some() {
                return None;
            }
        }
    }
    Some(MediaRange { kind, subkind, quality: quality.unwrap_or(1.0) })
}

/// Whether a client that asks for no format takes this one.
pub(crate) fn accepts(headers: &HeaderMap, format: Format) -> bool {
    let Some(accept) = headers.get(header::ACCEPT) else { return true };
    let ranges = accept.to_str().ok().and_then(accepted).unwrap_or_default();
    ranges.is_empty() || ranges.iter().any(|range| range.covers(format))
}

fn is_token(text: &str) -> bool {
    const SEPARATORS: &str = "()<>@,;:\\\"/[]?={}";
    !text.is_empty() && text.chars().all(|c| c > ' ' && c != '\x7f' && !SEPARATORS.contains(c))
}

fn is_quoted(text: &str) -> bool {
    text.len() >= 2 && text.starts_with('"') && text.ends_with('"')
}

fn best_match(ranges: &[MediaRange<'_>]) -> Option<Format> {
    if ranges.is_empty() {
        return Some(Format::Plain);
    }
    let mut by_wish: Vec<&MediaRange<'_>> = ranges.iter().collect();
    by_wish.sort_by(|a, b| {
        b.quality.total_cmp(&a.quality).then_with(|| b.is_exact().cmp(&a.is_exact()))
    });
    by_wish.iter().find_map(|range| FORMATS.into_iter().find(|format| range.covers(*format)))
}

const PARAMETERS: [&str; 6] = ["marker", "end_marker", "prefix", "delimiter", "path", "reverse"];

/// The query for storage nodes: what chooses rows, checked and encoded anew, in the form wanted.
pub(crate) fn backend_query(
    query: &Query,
    format: Format,
    limit_max: u32,
) -> Result<String, Refusal> {
    let mut out = format!("format={}", format.parameter());
    let limit = query.get("limit").filter(|limit| {
        // Anything but digits is ignored, as in Swift.
        !limit.is_empty() && limit.bytes().all(|digit| digit.is_ascii_digit())
    });
    if let Some(limit) = limit {
        let limit: Option<u32> = limit.parse().ok();
        let Some(limit) = limit.filter(|limit| *limit <= limit_max) else {
            let sentence = format!("Maximum limit is {limit_max}");
            return Err(Refusal::Sentence(StatusCode::PRECONDITION_FAILED, sentence.into()));
        };
        out.push_str(&format!("&limit={limit}"));
    }
    for name in PARAMETERS {
        if let Some(value) = query.get(name) {
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            out.push_str(&format!("&{name}={value}"));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(text: &str) -> Query {
        Query(wire::parse_query(Some(text)).expect("a query"))
    }

    fn format(text: &str, accept: &str) -> Result<Format, u16> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a value"));
        }
        let wanted = wanted(&query(text), &headers);
        wanted
            .map(|wanted| wanted.format)
            .map_err(|refusal| wire::Response::from(refusal).status().as_u16())
    }

    #[test]
    fn the_parameter_wins_over_accept() {
        assert_eq!(format("", ""), Ok(Format::Plain));
        assert_eq!(format("format=json", "text/plain"), Ok(Format::Json));
        assert_eq!(format("format=XML", ""), Ok(Format::Xml));
        assert_eq!(format("format=nonsense", ""), Ok(Format::Plain));
        assert_eq!(format("format=", "application/json"), Ok(Format::Json));
    }

    #[test]
    fn accept_is_weighed() {
        assert_eq!(format("", "*/*"), Ok(Format::Plain));
        assert_eq!(format("", "application/*"), Ok(Format::Json));
        assert_eq!(format("", "text/xml"), Ok(Format::TextXml));
        assert_eq!(format("", "text/plain;q=0.5,application/xml;q=0.9"), Ok(Format::Xml));
        assert_eq!(format("", "*/*;q=0.9,application/json;q=0.9"), Ok(Format::Json));
        assert_eq!(format("", "image/png"), Err(406));
        let takes = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            accepts(&headers, Format::Json)
        };
        assert!(takes("*/*") && takes("text/plain, application/*;q=0.1") && takes(""));
        assert!(!takes("text/plain") && !takes("application/xml"));
        for bad in
            ["text", "text/plain;q", "text/plain;q=x", "a/b;q=1;q=1", "a/b,,c/d", "a/b;q=nan"]
        {
            assert_eq!(format("", bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn rows_are_chosen_by_a_checked_query() {
        let backend = |text: &str| backend_query(&query(text), Format::Json, 10_000);
        let encoded = backend("prefix=a%26b&limit=10&limit=x&marker=%C3%BC&other=1&reverse=on");
        assert_eq!(encoded.expect("valid"), "format=json&marker=%C3%BC&prefix=a%26b&reverse=on");
        assert_eq!(backend("limit=5").expect("valid"), "format=json&limit=5");
        for over in ["limit=10001", "limit=99999999999999999999"] {
            assert!(backend(over).is_err(), "{over}");
        }
    }

    proptest! {
        #[test]
        fn accept_never_panics(accept in "[a-z*/;,=\" q.0-9]{0,60}") {
            let _ = format("", &accept);
        }
    }
}

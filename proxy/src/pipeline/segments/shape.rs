//! The client's conditions and ranges, judged for a large object as a whole. Swift: common/swob.py, `_response_iter`.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use std::ops::Range;
use std::time::UNIX_EPOCH;
use wire::conditions::{self, Unmet};
use wire::ranges::{Byteranges, Wanted, content_range, wanted};
use wire::{Body, Response};

use super::{Asked, Section, Source};
use crate::swift::error::{Refusal, page};

/// A large object as a client sees it.
pub(crate) struct Shape {
    /// What is said of it, beside its ETag and its length.
    pub(crate) headers: HeaderMap,
    /// Its ETag, without quotes, if it has one.
    pub(crate) etag: Option<String>,
    /// How long it is, if that is known.
    pub(crate) len: Option<u64>,
}

/// What of it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing: 304 or 412.
    Unmet(Unmet),
    /// Nothing: 416.
    Unsatisfiable,
    Whole,
    /// At least one.
    Parts(Vec<Range<u64>>),
}

impl Shape {
    /// From what was answered for the manifest.
    pub(crate) fn new(manifest: &HeaderMap, etag: Option<String>, len: Option<u64>) -> Self {
        let mut headers = manifest.clone();
        for name in [header::CONTENT_LENGTH, header::CONTENT_RANGE] {
            headers.remove(name);
        }
        if let Some(etag) = &etag
            && let Ok(etag) = HeaderValue::try_from(format!("\"{etag}\""))
        {
            headers.insert(header::ETAG, etag);
        }
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        Shape { headers, etag, len }
    }

    /// Judges what was asked.
    pub(crate) fn seen(&self, asked: &Asked) -> Seen {
        let etag = self.etag.as_deref().or_else(|| {
            let etag = self.headers.get(header::ETAG)?.to_str().ok()?;
            Some(conditions::unquoted(etag))
        });
        let (etag, modified) = (etag.unwrap_or_default(), self.modified());
        if let Err(unmet) = conditions::judge(&asked.choosing, etag, modified) {
            return Seen::Unmet(unmet);
        }
        let range = asked.choosing.get(header::RANGE).and_then(|range| range.to_str().ok());
        let counts = !asked.is_head && conditions::range_allowed(&asked.choosing, etag, modified);
        let (Some(range), Some(len), true) = (range, self.len, counts) else { return Seen::Whole };
        match wanted(range, len) {
            Wanted::Whole => Seen::Whole,
            Wanted::Parts(parts) => Seen::Parts(parts),
            Wanted::Unsatisfiable => Seen::Unsatisfiable,
        }
    }

    /// When it was changed, in seconds since 1970.
    fn modified(&self) -> u64 {
        let text = self.headers.get(header::LAST_MODIFIED).and_then(|value| value.to_str().ok());
        let moment = text.and_then(|text| httpdate::parse_http_date(text).ok());
        let since = moment.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_secs())
    }

    /// All of it, or for HEAD what is said of it.
    pub(crate) fn whole(self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.headers_mut() = self.headers;
        if let Some(len) = self.len {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        }
        response
    }

    /// One part of it.
    pub(crate) fn part(mut self, part: &Range<u64>, body: Body) -> Response {
        let range = content_range(part, self.len.unwrap_or_default());
        if let Ok(range) = HeaderValue::try_from(range) {
            self.headers.insert(header::CONTENT_RANGE, range);
        }
        self.len = Some(part.end.saturating_sub(part.start));
        let mut response = self.whole(body);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        response
    }

    /// Why nothing of it is sent.
    pub(crate) fn unmet(self, unmet: Unmet) -> Response {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = self.headers;
        match unmet {
            Unmet::NotModified => *response.status_mut() = StatusCode::NOT_MODIFIED,
            Unmet::Precondition => {
                *response.status_mut() = StatusCode::PRECONDITION_FAILED;
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            }
        }
        response
    }

    /// None of the bytes asked for is there.
    pub(crate) fn unsatisfiable(self) -> Response {
        let (mut parts, body) = page(StatusCode::RANGE_NOT_SATISFIABLE).into_parts();
        let kind = parts.headers.remove(header::CONTENT_TYPE);
        parts.headers = self.headers;
        if let Some(kind) = kind {
            parts.headers.insert(header::CONTENT_TYPE, kind);
        }
        if let Some(range) = self.len.and_then(|len| format!("bytes */{len}").try_into().ok()) {
            parts.headers.insert(header::CONTENT_RANGE, range);
        }
        Response::from_parts(parts, body)
    }

    /// The answer to what was asked. `section` gives the pieces of a range, or of all.
    pub(crate) async fn answer(
        mut self,
        source: &Source,
        section: impl Fn(Option<&Range<u64>>) -> Section,
    ) -> Result<Response, Refusal> {
        let parts = match self.seen(&source.asked) {
            Seen::Unmet(unmet) => return Ok(self.unmet(unmet)),
            Seen::Unsatisfiable => return Ok(self.unsatisfiable()),
            Seen::Whole if source.asked.is_head => return Ok(self.whole(Body::empty())),
            Seen::Whole => {
                let body = source.body(section(None)).await?;
                return Ok(self.whole(body));
            }
            Seen::Parts(parts) => parts,
        };
        if let [part] = parts.as_slice() {
            let body = source.body(section(Some(part))).await?;
            return Ok(self.part(part, body));
        }
        let kind = self.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let kind = String::from_utf8_lossy(kind.unwrap_or_default()).into_owned();
        let frame = Byteranges::new(&parts, self.len.unwrap_or_default(), &kind, rand::random());
        if let Ok(kind) = HeaderValue::try_from(&frame.content_type) {
            self.headers.insert(header::CONTENT_TYPE, kind);
        }
        self.len = Some(frame.len);
        let sections = parts.iter().map(|part| section(Some(part))).collect();
        let mut response = self.whole(source.framed(sections, frame).await?);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::call;
    use http::Method;

    fn seen(method: Method, pairs: &[(&'static str, &'static str)], len: Option<u64>) -> Seen {
        let mut call = call(method, "a/c/o");
        for (name, value) in pairs {
            call.headers.insert(*name, HeaderValue::from_static(value));
        }
        let mut manifest = HeaderMap::new();
        let at = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        manifest.insert(header::LAST_MODIFIED, at);
        Shape::new(&manifest, Some("abc".into()), len).seen(&Asked::of(&call))
    }

    #[test]
    fn conditions_and_ranges_are_those_of_the_whole() {
        let get = |name, value| seen(Method::GET, &[(name, value)], Some(10));
        assert_eq!(get("if-match", "\"abc\""), Seen::Whole);
        assert_eq!(get("if-match", "x"), Seen::Unmet(Unmet::Precondition));
        assert_eq!(get("if-none-match", "abc"), Seen::Unmet(Unmet::NotModified));
        let same = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(get("if-modified-since", same), Seen::Unmet(Unmet::NotModified));
        assert_eq!(get("range", "bytes=2-3"), Seen::Parts(std::iter::once(2..4).collect()));
        assert_eq!(get("range", "bytes=10-"), Seen::Unsatisfiable);
        let range = ("range", "bytes=2-3");
        assert_eq!(seen(Method::HEAD, &[range], Some(10)), Seen::Whole);
        assert_eq!(seen(Method::GET, &[range], None), Seen::Whole);
        let fresh = [range, ("if-range", "\"abc\"")];
        assert_eq!(
            seen(Method::GET, &fresh, Some(10)),
            Seen::Parts(std::iter::once(2..4).collect())
        );
        assert_eq!(seen(Method::GET, &[range, ("if-range", "x")], Some(10)), Seen::Whole);
    }
}

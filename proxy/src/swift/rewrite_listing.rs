//! Listings in which some rows must be shown differently.
//!
//! What the proxy wants listings to know of an object beyond its ETag lies behind the ETag itself, as parameters:
//! `d41d…; slo_etag=feed…; symlink_target=c/o`. Storage nodes render whole pages without knowing of it, so whoever put
//! parameters there takes them out again here and shows them as fields of their own. Pages are searched for a marker
//! first; those without it, which are nearly all, are handed through as they are.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use serde_json::{Map, Value};
use wire::{Body, Response};

use super::error::Refusal;

/// Longer pages are shown as they are, as Swift does (`MAX_CONTAINER_LISTING_CONTENT_LENGTH`).
const BYTES_MAX: usize = 10_240_000;
/// Longer pages are not worked on between other requests, but on a thread of their own.
const AT_ONCE_BYTES_MAX: usize = 32 * 1024;

/// The `hash` of a row: an ETag, and parameters behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hash {
    etag: String,
    parameters: Vec<(String, String)>,
}

impl Hash {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let etag = parts.next().unwrap_or_default().to_owned();
        let parameter = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (name.trim().to_owned(), bare.unwrap_or(value).to_owned())
        };
        let parameters = parts.filter(|part| !part.is_empty()).map(parameter).collect();
        Hash { etag, parameters }
    }

    /// Takes a parameter out.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.parameters.iter().position(|(known, _)| known == name)?;
        Some(self.parameters.remove(at).1)
    }

    /// Adds a parameter. Its value must not hold `;`, `"` or anything around it that is white.
    pub(crate) fn add(&mut self, name: &str, value: String) {
        self.parameters.push((name.to_owned(), value));
    }

    pub(crate) fn render(&self) -> String {
        let mut text = self.etag.clone();
        for (name, value) in &self.parameters {
            text.extend(["; ", name, "=", value]);
        }
        text
    }
}

/// Fields that a row gets instead of what was taken out of its hash. XML, which has no room for them, goes without.
pub(crate) type Fields = Vec<(&'static str, Value)>;

/// Shows the rows of a listing whose hash holds `marker` (`slo_etag=`) as `change` says, which takes parameters out of
/// the hash.
pub(crate) async fn rewrite<F>(response: Response, marker: &'static str, change: F) -> Response
where
    F: FnMut(&mut Hash) -> Fields + Send + 'static,
{
    let Some(form) = Form::of(&response) else { return response };
    let (mut parts, body) = response.into_parts();
    let Ok(page) = axum::body::to_bytes(body, BYTES_MAX).await else {
        return Refusal::Status(StatusCode::SERVICE_UNAVAILABLE).into();
    };
    if memchr::memmem::find(&page, marker.as_bytes()).is_none() {
        return Response::from_parts(parts, Body::from(page));
    }
    let len = page.len();
    let work = move || {
        let changed = match form {
            Form::Json => in_json(&page, marker, change),
            Form::Xml => in_xml(&page, marker, change),
        };
        changed.unwrap_or(page)
    };
    let page = if len > AT_ONCE_BYTES_MAX {
        match tokio::task::spawn_blocking(work).await {
            Ok(page) => page,
            Err(_) => return Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR).into(),
        }
    } else {
        work()
    };
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(page.len()));
    Response::from_parts(parts, Body::from(page))
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Xml,
}

impl Form {
    /// The form of a page that has hashes and is not too long.
    fn of(response: &Response) -> Option<Form> {
        let headers = response.headers();
        let told = headers.get(header::CONTENT_LENGTH).and_then(number);
        // Within a process only the body knows.
        let length = told.or_else(|| http_body::Body::size_hint(response.body()).exact())?;
        if response.status() != StatusCode::OK || length > BYTES_MAX as u64 {
            return None;
        }
        let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        match kind.split(';').next().unwrap_or_default().trim() {
            "application/json" => Some(Form::Json),
            "application/xml" | "text/xml" => Some(Form::Xml),
            _ => None,
        }
    }
}

/// `None` when the page is none that can be read.
fn in_json(
    page: &[u8],
    marker: &str,
    mut change: impl FnMut(&mut Hash) -> Fields,
) -> Option<Bytes> {
    let mut rows: Vec<Map<String, Value>> = serde_json::from_slice(page).ok()?;
    for row in &mut rows {
        let Some(Value::String(text)) = row.get("hash") else { continue };
        if !text.contains(marker) {
            continue;
        }
        let mut hash = Hash::parse(text);
        let fields = change(&mut hash);
        row.insert("hash".to_owned(), Value::String(hash.render()));
        row.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    serde_json::to_vec(&rows).ok().map(Bytes::from)
}

/// A `<` in text is always escaped, so what looks like an element is one.
fn in_xml(page: &[u8], marker: &str, mut change: impl FnMut(&mut Hash) -> Fields) -> Option<Bytes> {
    const OPEN: &str = "<hash>";
    let page = std::str::from_utf8(page).ok()?;
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(at) = rest.find(OPEN) {
        let (before, after) = rest.split_at(at + OPEN.len());
        out.push_str(before);
        let end = after.find('<')?;
        let (text, tail) = after.split_at(end);
        if text.contains(marker) {
            let mut hash = Hash::parse(text);
            change(&mut hash);
            out.push_str(&hash.render());
        } else {
            out.push_str(text);
        }
        rest = tail;
    }
    out.push_str(rest);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(kind: &'static str, body: &str) -> Response {
        let mut response = Response::new(Body::from(body.to_owned()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        response
    }

    fn take_slo_etag(hash: &mut Hash) -> Fields {
        let etag = hash.take("slo_etag");
        etag.map(|etag| ("slo_etag", Value::String(etag))).into_iter().collect()
    }

    async fn shown(kind: &'static str, body: &str) -> String {
        let response = rewrite(page(kind, body), "slo_etag=", take_slo_etag).await;
        let length = response.headers()[header::CONTENT_LENGTH].to_str().expect("text").to_owned();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        assert_eq!(length, body.len().to_string());
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn json_rows_get_fields() {
        let body = r#"[{"subdir":"a/"},{"name":"slo_etag=","hash":"abc; slo_etag=feed; x=\"y\"","bytes":3}]"#;
        let expected = r#"[{"subdir":"a/"},{"name":"slo_etag=","hash":"abc; x=y","bytes":3,"slo_etag":"feed"}]"#;
        assert_eq!(shown("application/json; charset=utf-8", body).await, expected);
    }

    #[tokio::test]
    async fn xml_rows_lose_what_is_for_nodes() {
        let body = "<object><name>a</name><hash>abc; slo_etag=feed</hash></object><hash>def</hash><hash />";
        let expected = "<object><name>a</name><hash>abc</hash></object><hash>def</hash><hash />";
        assert_eq!(shown("application/xml", body).await, expected);
        assert_eq!(shown("text/xml; charset=utf-8", body).await, expected);
    }

    #[tokio::test]
    async fn what_is_not_meant_stays_as_it_is() {
        for (kind, body) in [
            ("application/json", r#"[ {"name":"a","hash":"abc"} ]"#),
            ("application/json", r#"[ {"name":"slo_etag="} "#),
            ("text/plain", "slo_etag="),
        ] {
            assert_eq!(shown(kind, body).await, body);
        }
        let long = format!("[{{\"hash\":\"a; slo_etag=b\",\"name\":\"{}\"}}]", "n".repeat(40_000));
        assert!(shown("application/json", &long).await.contains("\"slo_etag\":\"b\""));
    }

    proptest! {
        #[test]
        fn never_panics(page in "(<hash>|</hash>|slo_etag=|[a;=\" ]){0,12}") {
            let _ = in_xml(page.as_bytes(), "slo_etag=", take_slo_etag);
            let _ = in_json(page.as_bytes(), "slo_etag=", take_slo_etag);
            let _ = Hash::parse(&page).render();
        }
    }
}

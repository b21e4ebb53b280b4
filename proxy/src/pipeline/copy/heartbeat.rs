//! `heartbeat=on`: an answer that begins at once and says how it went at its end, so that nothing between the client
//! and the proxy gives up on a long copy. Swift: common/request_helpers.py, `get_heartbeat_response_body`.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use wire::{Body, Response};

use super::{Answer, finished};
use crate::call::Query;
use crate::swift::listing::{self, Format};

/// Most bytes of a refusal that are told on.
const SENTENCE_BYTES_MAX: usize = 64 * 1024;

/// The answer: spaces, one at once and one whenever `every` has passed, then how it went.
pub(super) fn response(
    written: Answer,
    asked: &HeaderMap,
    told: HeaderMap,
    every: Duration,
) -> Response {
    let wanted = listing::wanted(&Query::default(), asked).map(|wanted| wanted.format);
    let json = matches!(wanted, Ok(Format::Json));
    let beats = stream::unfold(Some((written, told)), move |state| async move {
        let (mut written, told) = state?;
        match tokio::time::timeout(every, &mut written).await {
            Err(_) => Some((Bytes::from_static(b" "), Some((written, told)))),
            Ok(response) => Some((report(response, told, json).await, None)),
        }
    });
    let first = stream::once(async { Bytes::from_static(b" ") });
    let mut response =
        Response::new(Body::from_stream(first.chain(beats).map(Ok::<_, Infallible>)));
    *response.status_mut() = StatusCode::ACCEPTED;
    let kind = if json { "application/json" } else { "text/plain" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn report(written: Response, told: HeaderMap, json: bool) -> Bytes {
    let from = told.get("x-copied-from").cloned();
    let (parts, body) = finished(written, told).into_parts();
    let body = axum::body::to_bytes(body, SENTENCE_BYTES_MAX).await.unwrap_or_default();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let status = format!("{} {reason}", parts.status.as_u16());
    let mut fields = BTreeMap::new();
    fields.insert("Response Status".to_owned(), status.clone());
    fields.insert("Response Body".to_owned(), String::from_utf8_lossy(&body).into_owned());
    for (name, value) in &parts.headers {
        let name = name.as_str();
        if !name.starts_with("x-object-sysmeta-") && !name.starts_with("x-backend") {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            fields.insert(title(name), value);
        }
    }
    let failed = from.filter(|_| !parts.status.is_success());
    let failed = failed.map(|from| String::from_utf8_lossy(from.as_bytes()).into_owned());
    let errors: Vec<(String, String)> = failed.map(|from| (from, status)).into_iter().collect();
    Bytes::from(if json { as_json(fields, &errors) } else { as_text(&fields, &errors) })
}

fn as_json(fields: BTreeMap<String, String>, errors: &[(String, String)]) -> String {
    let mut document: Map<String, Value> =
        fields.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    document.insert("Errors".to_owned(), json!(errors));
    Value::Object(document).to_string()
}

fn as_text(fields: &BTreeMap<String, String>, errors: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push_str("Errors:\n");
    for (name, status) in errors {
        text.push_str(&format!("{name}, {status}\n"));
    }
    text
}

/// `x-copied-from` as people write it.
fn title(name: &str) -> String {
    let mut first = true;
    let letters = name.chars().map(|letter| {
        let upper = std::mem::replace(&mut first, letter == '-');
        if upper { letter.to_ascii_uppercase() } else { letter }
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn told(accept: &'static str, status: u16, seconds: u64) -> String {
        let written: Answer = Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let mut response = Response::new(Body::from("words"));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            response.headers_mut().insert("etag", HeaderValue::from_static("abc"));
            response.headers_mut().insert("x-backend-a", HeaderValue::from_static("1"));
            response
        });
        let mut asked = HeaderMap::new();
        asked.insert(header::ACCEPT, HeaderValue::from_static(accept));
        let mut told = HeaderMap::new();
        told.insert("x-copied-from", HeaderValue::from_static("c/o"));
        let response = response(written, &asked, told, Duration::from_secs(10));
        assert_eq!(response.status(), 202);
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_sign_of_life_until_the_end() {
        let text = told("text/plain", 201, 25).await;
        let expected = "   Etag: abc\nResponse Body: words\nResponse Status: 201 Created\nX-Copied-From: c/o\nErrors:\n";
        assert_eq!(text, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_named() {
        let text = told("application/json", 404, 0).await;
        let document: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(document["Response Status"], "404 Not Found");
        assert_eq!(document["Errors"], json!([["c/o", "404 Not Found"]]));
        assert_eq!(document["X-Copied-From"], Value::Null);
    }
}

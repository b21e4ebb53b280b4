//! `heartbeat=on`: an answer that begins at once and says how it went at its end, so that nothing between the client
//! and the proxy gives up on a long copy. Swift: common/request_helpers.py, `get_heartbeat_response_body`.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap};
use std::time::Duration;
use wire::Response;

use super::{Answer, finished};
use crate::call::Query;
use crate::swift::error::status_line;
use crate::swift::listing::{self, Format};
use crate::swift::report::{KeepAlive, Report, kept_alive};

/// Most bytes of a refusal that are told on.
const SENTENCE_BYTES_MAX: usize = 64 * 1024;

/// The answer: spaces, one at once and one whenever `every` has passed, then how it went.
pub(super) async fn response(
    written: Answer,
    asked: &HeaderMap,
    told: HeaderMap,
    every: Duration,
) -> Response {
    let format = match listing::wanted(&Query::default(), asked) {
        Ok(wanted) if wanted.format == Format::Json => Format::Json,
        _ => Format::Plain,
    };
    let work = async move { report(written.await, told).await.render(format, "copy") };
    let keep_alive = KeepAlive { every, declaration: "", at_once: true };
    let mut response = Response::new(kept_alive(work, keep_alive).await);
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(header::CONTENT_TYPE, format.media_type());
    response
}

async fn report(written: Response, told: HeaderMap) -> Report {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let from = told.get("x-copied-from").map(|from| text(from.as_bytes())).unwrap_or_default();
    let (parts, body) = finished(written, told).into_parts();
    let body: Bytes = axum::body::to_bytes(body, SENTENCE_BYTES_MAX).await.unwrap_or_default();
    let status = status_line(parts.status);
    let mut report = Report::default();
    report.say("Response Status", status.clone());
    report.say("Response Body", text(&body));
    for (name, value) in &parts.headers {
        let name = name.as_str();
        if !name.starts_with("x-object-sysmeta-") && !name.starts_with("x-backend") {
            report.say(title(name), text(value.as_bytes()));
        }
    }
    if !parts.status.is_success() {
        report.errors.push((from, status));
    }
    report
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
    use http::header::HeaderValue;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use wire::Body;

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
        let response = response(written, &asked, told, Duration::from_secs(10)).await;
        assert_eq!(response.status(), 202);
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_sign_of_life_until_the_end() {
        let text = told("text/plain", 201, 25).await;
        let expected = "   \r\n\r\nEtag: abc\nResponse Body: words\nResponse Status: 201 Created\nX-Copied-From: c/o\nErrors:\n";
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

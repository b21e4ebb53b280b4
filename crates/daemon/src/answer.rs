//! The few responses that every daemon gives alike.

use http::{HeaderValue, StatusCode, header};
use wire::{Body, Response};

/// A response without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A response of one plain text.
pub fn text(status: StatusCode, body: impl Into<String>) -> Response {
    with_type(status, body.into(), "text/plain; charset=UTF-8")
}

/// Swift's error page: a title and a sentence, in HTML.
pub fn error_page(status: StatusCode, sentence: &str) -> Response {
    let title = match status {
        StatusCode::RANGE_NOT_SATISFIABLE => "Requested Range Not Satisfiable",
        _ => status.canonical_reason().unwrap_or("Error"),
    };
    let body = format!("<html><h1>{title}</h1><p>{}</p></html>", escape(sentence));
    with_type(status, body, "text/html; charset=UTF-8")
}

fn with_type(status: StatusCode, body: String, content_type: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

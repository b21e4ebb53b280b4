//! The outermost: whatever happens inside, the client gets an answer that keeps its promises.
//! Swift: common/middleware/catch_errors.py.
//!
//! A panic inside ends one request with 500, not the connection without a word. HEAD is answered with the headers of GET
//! and never with a body.

use futures_util::FutureExt;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wire::{Answer, Body, Request, Response, Service};

use super::{FrontMiddleware, Parts};
use crate::config::StartError;
use crate::swift::error::page;

struct CatchErrors;

/// It has no settings.
pub(super) fn make(_: &Parts) -> Result<Arc<dyn FrontMiddleware>, StartError> {
    Ok(Arc::new(CatchErrors))
}

impl FrontMiddleware for CatchErrors {
    fn handle(self: Arc<Self>, request: Request, next: Service) -> Answer {
        let head = *request.method() == Method::HEAD;
        Box::pin(async move {
            let answer = AssertUnwindSafe(next.answer(request)).catch_unwind().await;
            let response = answer.unwrap_or_else(|_| {
                // What it was stands in the log already, under the same transaction.
                tracing::error!("a request ended in a panic");
                page(StatusCode::INTERNAL_SERVER_ERROR)
            });
            match (head, response.status()) {
                (true, _) => without_body(response),
                (false, StatusCode::NO_CONTENT) => with_length(response),
                _ => response,
            }
        })
    }
}

/// The answer to HEAD tells how long the body would be, and has none.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let length = http_body::Body::size_hint(&body).exact();
    if let (Some(length), false) = (length, parts.headers.contains_key(header::CONTENT_LENGTH)) {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

/// Swift says of an answer without content that its length is 0, and clients look for it there. HTTP (RFC 9110, 8.6)
/// would have it left out, and so would hyper, unless the body only turns out to be empty when it is read.
fn with_length(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Response::from_parts(parts, Body::new(Nothing))
}

/// A body of no bytes that does not say so before it is read.
struct Nothing;

impl http_body::Body for Nothing {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(None)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method) -> Request {
        http::Request::builder().method(method).uri("/v1/a").body(Body::empty()).expect("a request")
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let inner = wire::service_fn((), |(), _| async { panic!("on purpose") });
        let response = Arc::new(CatchErrors).handle(ask(Method::GET), inner).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn head_has_the_length_and_no_body() {
        let inner = wire::service_fn((), |(), _| async { Response::new(Body::from("four")) });
        let response = Arc::new(CatchErrors).handle(ask(Method::HEAD), inner).await;
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "4");
        let body = axum::body::to_bytes(response.into_body(), 10).await.expect("a body");
        assert!(body.is_empty());
    }
}

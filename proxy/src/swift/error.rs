//! Every error a Swift client can see: its status, its headers and its words, in one place.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use std::borrow::Cow;
use wire::{Body, Response, encode_segment};

use crate::store::{Answer, PutError, Unavailable};

/// Why a request is not done. Each carries what its response needs.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A status and its usual page.
    Status(StatusCode),
    /// A status and one plain sentence.
    Sentence(StatusCode, Cow<'static, str>),
    /// The same as a page, as which it must have no markup in it.
    Page(StatusCode, String),
    /// No valid token; names the account that would have been used.
    Unauthorized(String),
    /// A signature that is not right; names the account, and has a sentence.
    InvalidSignature(String, Cow<'static, str>),
    /// A method that the resource does not have.
    MethodNotAllowed(&'static str),
    /// A feature that is known, but not to this cluster.
    NotAvailable(&'static str),
    /// What storage nodes answered.
    Backend(Box<Answer>),
    /// What another request was answered that had to go well for this one.
    Passed(Box<Response>),
}

impl Refusal {
    pub(crate) fn bad_request(sentence: impl Into<Cow<'static, str>>) -> Self {
        Refusal::Sentence(StatusCode::BAD_REQUEST, sentence.into())
    }

    pub(crate) fn not_found() -> Self {
        Refusal::Status(StatusCode::NOT_FOUND)
    }
}

impl From<Unavailable> for Refusal {
    fn from(Unavailable: Unavailable) -> Self {
        Refusal::Status(StatusCode::SERVICE_UNAVAILABLE)
    }
}

/// Swift's name for a client that went away; nobody reads it but the log.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Exists => Refusal::Status(StatusCode::PRECONDITION_FAILED),
            PutError::Overtaken => Refusal::Status(StatusCode::ACCEPTED),
            PutError::TooLarge => Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE),
            PutError::ClientTimeout => Refusal::Status(StatusCode::REQUEST_TIMEOUT),
            PutError::ClientGone => {
                let status = StatusCode::from_u16(CLIENT_CLOSED_REQUEST);
                Refusal::Status(status.unwrap_or(StatusCode::BAD_REQUEST))
            }
            PutError::EtagsDiffer => Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR),
            PutError::Refused(answer) => Refusal::Backend(answer),
            PutError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Status(status) => page(status),
            Refusal::Sentence(status, sentence) => text(status, sentence.into_owned()),
            Refusal::Page(status, sentence) => {
                let mut response = page(status);
                *response.body_mut() = Body::from(sentence);
                response
            }
            Refusal::Unauthorized(account) => in_realm(&account, page(StatusCode::UNAUTHORIZED)),
            Refusal::InvalidSignature(account, sentence) => {
                in_realm(&account, text(StatusCode::UNAUTHORIZED, sentence.into_owned()))
            }
            Refusal::MethodNotAllowed(allow) => {
                let mut response = page(StatusCode::METHOD_NOT_ALLOWED);
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
                response
            }
            Refusal::NotAvailable(what) => {
                let sentence = format!("{what} is not available on this cluster yet");
                text(StatusCode::NOT_IMPLEMENTED, sentence)
            }
            Refusal::Backend(answer) => backend(*answer),
            Refusal::Passed(response) => *response,
        }
    }
}

/// With a word of which account a token would have to be for.
fn in_realm(account: &str, mut response: Response) -> Response {
    let realm = format!("Swift realm=\"{}\"", encode_segment(account));
    if let Ok(realm) = HeaderValue::try_from(realm) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
    }
    response
}

/// Storage nodes' sentences are for clients too (a quota of metadata, a reason); anything of theirs from 500 up
/// is not.
fn backend(answer: Answer) -> Response {
    if answer.status.is_server_error() {
        return page(StatusCode::SERVICE_UNAVAILABLE);
    }
    let mut response = page(answer.status);
    if !answer.body.is_empty() {
        *response.body_mut() = Body::from(answer.body);
        if let Some(kind) = answer.headers.get(header::CONTENT_TYPE) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
        }
    }
    response
}

/// A plain sentence.
pub(crate) fn text(status: StatusCode, sentence: String) -> Response {
    let mut response = Response::new(Body::from(Bytes::from(sentence)));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// The usual page of a status: a title and a sentence. Statuses that say everything have none.
pub(crate) fn page(status: StatusCode) -> Response {
    let mut response = match words(status) {
        Some((title, sentence)) => {
            Response::new(Body::from(format!("<html><h1>{title}</h1><p>{sentence}</p></html>")))
        }
        None => Response::new(Body::empty()),
    };
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

/// A status as Swift's reports name it: `404 Not Found`.
pub(crate) fn status_line(status: StatusCode) -> String {
    let title = words(status).map(|(title, _)| title).or_else(|| match status.as_u16() {
        200 => Some("OK"),
        201 => Some("Created"),
        204 => Some("No Content"),
        502 => Some("Bad Gateway"),
        _ => status.canonical_reason(),
    });
    format!("{} {}", status.as_u16(), title.unwrap_or_default()).trim_end().to_owned()
}

fn words(status: StatusCode) -> Option<(&'static str, &'static str)> {
    Some(match status.as_u16() {
        202 => ("Accepted", "The request was accepted and will be carried out."),
        400 => ("Bad Request", "The request is malformed or asks for something that cannot be."),
        401 => ("Unauthorized", "A valid token is needed for this. Ask for one and try again."),
        403 => ("Forbidden", "Access to this resource was denied."),
        404 => ("Not Found", "The resource could not be found."),
        405 => ("Method Not Allowed", "This resource does not have this method."),
        406 => ("Not Acceptable", "The listing is not available in a format that was asked for."),
        408 => ("Request Timeout", "The client took too long to send its request."),
        // To the letter what Swift says: its own tests compare it.
        409 => ("Conflict", "There was a conflict when trying to complete your request."),
        410 => ("Gone", "This resource was deleted."),
        411 => ("Length Required", "A Content-Length header is needed."),
        412 => ("Precondition Failed", "A condition of the request was not met."),
        413 => {
            ("Request Entity Too Large", "The body of the request is larger than may be stored.")
        }
        416 => ("Requested Range Not Satisfiable", "The resource has none of the bytes asked for."),
        422 => ("Unprocessable Entity", "The body does not match what the request says of it."),
        499 => ("Client Disconnect", "The client went away before the end of its request."),
        500 => {
            ("Internal Error", "The server made a mistake. The transaction id helps to find it.")
        }
        501 => ("Not Implemented", "This server does not know how to do that."),
        503 => ("Service Unavailable", "The server cannot do that now. Please try again later."),
        507 => ("Insufficient Storage", "There is not enough space to store this."),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderMap;

    async fn body_of(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn pages_are_small_html() {
        let response = page(StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=UTF-8");
        let body = body_of(response).await;
        assert!(body.starts_with("<html><h1>Not Found</h1><p>"), "{body}");
        assert_eq!(body_of(page(StatusCode::CREATED)).await, "");
    }

    #[tokio::test]
    async fn the_realm_is_the_account_and_cannot_break_out() {
        let response = Response::from(Refusal::Unauthorized("AUTH_\"x".into()));
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Swift realm=\"AUTH_%22x\"");
    }

    #[tokio::test]
    async fn what_nodes_say_about_themselves_stays_inside() {
        let answer = |status| Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"disk sdb1"),
        };
        let inside = Refusal::Backend(Box::new(answer(StatusCode::INSUFFICIENT_STORAGE)));
        let response = Response::from(inside);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!body_of(response).await.contains("sdb1"));
        let outside = Refusal::Backend(Box::new(answer(StatusCode::BAD_REQUEST)));
        assert_eq!(body_of(outside.into()).await, "disk sdb1");
    }

    #[test]
    fn put_errors_have_swifts_statuses() {
        let status = |error: PutError| Response::from(Refusal::from(error)).status().as_u16();
        assert_eq!(status(PutError::Exists), 412);
        assert_eq!(status(PutError::Overtaken), 202);
        assert_eq!(status(PutError::TooLarge), 413);
        assert_eq!(status(PutError::ClientTimeout), 408);
        assert_eq!(status(PutError::ClientGone), 499);
        assert_eq!(status(PutError::EtagsDiffer), 500);
        assert_eq!(status(PutError::Unavailable(Unavailable)), 503);
    }
}

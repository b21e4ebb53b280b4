//! What both servers put into responses in the same way.

use crate::metadata::Metadata;
use crate::render::Format;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use wire::{Body, Response};

/// Sets a header. What no header may hold is left out.
pub fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
        headers.insert(name, value);
    }
}

/// Sets all metadata that is not removed.
pub fn set_metadata(headers: &mut HeaderMap, metadata: &Metadata) {
    metadata.visible().for_each(|(name, value)| set(headers, name, value));
}

/// A response without a body, with these headers.
pub fn bare(status: StatusCode, headers: HeaderMap) -> Response {
    let mut response = daemon::empty(status);
    *response.headers_mut() = headers;
    response
}

/// A page: 200, or 204 when there is nothing in it.
pub fn page(mut headers: HeaderMap, format: Format, page: Vec<u8>) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    if page.is_empty() {
        return bare(StatusCode::NO_CONTENT, headers);
    }
    let mut response = Response::new(Body::from(page));
    *response.headers_mut() = headers;
    response
}

/// The answer to HEAD: what the page's headers would be.
pub fn head(mut headers: HeaderMap, format: Format) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    bare(StatusCode::NO_CONTENT, headers)
}

/// Swift's page for 404, with these headers.
pub fn not_found(headers: HeaderMap) -> Response {
    let mut response =
        daemon::error_page(StatusCode::NOT_FOUND, "The resource could not be found.");
    response.headers_mut().extend(headers);
    response
}

/// Swift's page for 409, with these headers.
pub fn conflict(headers: HeaderMap) -> Response {
    let mut response = daemon::error_page(
        StatusCode::CONFLICT,
        "There was a conflict when trying to complete your request.",
    );
    response.headers_mut().extend(headers);
    response
}

//! Copies of whole objects between containers, as they are: links stay links, metadata stays.

use http::Method;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use wire::{Response, headers};

use crate::call::{CONTENT_TYPE_OVERRIDDEN, Call};
use crate::pipeline::Handler;
use crate::store::Entity;
use crate::swift::error::Refusal;

/// Said of an answer, not of an object.
fn is_of_the_answer(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept-ranges"
            | "connection"
            | "content-location"
            | "date"
            | "last-modified"
            | "server"
            | "vary"
            | "x-openstack-request-id"
            | "x-timestamp"
            | "x-trans-id"
    ) || name.as_str().starts_with("x-backend-")
}

/// Reads the newest of an object, by the cluster's right: who may write need not be allowed to read. `None` when there
/// is none.
pub(super) async fn read(
    call: &Call,
    from: Entity,
    next: &Handler,
    source: &'static str,
    bytes_max: u64,
) -> Option<Response> {
    let newest = HeaderValue::from_static("true");
    let get = call.sub(Method::GET, from, source).with(headers::X_NEWEST, newest);
    let get = super::inside(get.ask("symlink", "get"));
    let response = next.answer(get).await;
    if response.status() == StatusCode::NOT_FOUND {
        return None;
    }
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if response.status().is_success() && length.is_none_or(|length| length > bytes_max) {
        return Some(Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE).into());
    }
    Some(response)
}

/// Writes what was read somewhere else.
pub(super) async fn write(
    call: &Call,
    to: Entity,
    from: Response,
    next: &Handler,
    source: &'static str,
) -> Response {
    let (parts, body) = from.into_parts();
    let mut put = super::inside(call.sub(Method::PUT, to, source));
    for (name, value) in parts.headers.iter().filter(|(name, _)| !is_of_the_answer(name)) {
        put.headers.insert(name.clone(), value.clone());
    }
    keep_listed_size(&mut put.headers);
    next.answer(put.carrying(body)).await
}

/// A manifest is listed with the size of what it stands for, which its content type had told.
fn keep_listed_size(headers: &mut HeaderMap) {
    let Some(size) = headers.get("x-object-sysmeta-slo-size").cloned() else { return };
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let sized = [kind, b"; swift_bytes=", size.as_bytes()].concat();
    if let Ok(sized) = HeaderValue::from_bytes(&sized) {
        headers.insert(header::CONTENT_TYPE, sized);
        headers.insert(CONTENT_TYPE_OVERRIDDEN, HeaderValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_keep_their_size() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("a/b"));
        keep_listed_size(&mut headers);
        assert_eq!(headers[header::CONTENT_TYPE], "a/b");
        headers.insert("x-object-sysmeta-slo-size", HeaderValue::from_static("7"));
        keep_listed_size(&mut headers);
        assert_eq!(headers[header::CONTENT_TYPE], "a/b; swift_bytes=7");
        assert!(headers.contains_key(CONTENT_TYPE_OVERRIDDEN));
    }
}

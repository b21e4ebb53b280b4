//! One request to one storage node, and what its answer says about the node.

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, StatusCode, Uri};
use std::time::Duration;
use types::Timestamp;
use wire::{Body, Request, Response, headers};

use super::Store;
use super::entity::Place;
use super::peers::Peer;

/// Most bytes of an answer that is not an object: sentences, not listings.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A storage node's answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, those of the backend API included.
    pub headers: HeaderMap,
    /// Its body, cut off when it is longer than sentences are.
    pub body: Bytes,
}

impl Answer {
    /// An answer that consists of a status.
    pub fn of(status: StatusCode) -> Self {
        Answer { status, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// 507: the disk is full, or not there.
pub(crate) const INSUFFICIENT_STORAGE: u16 = 507;

pub(crate) fn uri(place: &Place, peer: &Peer, query: Option<&str>) -> Uri {
    let length = peer.device.len() + place.path.len() + query.map_or(0, str::len) + 16;
    let mut text = String::with_capacity(length);
    text.push('/');
    text.push_str(&peer.device);
    text.push('/');
    text.push_str(&place.partition.to_string());
    text.push_str(&place.path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    // Percent-encoded throughout, so it is a URI; an empty path is refused by every node.
    Uri::from_maybe_shared(Bytes::from(text)).unwrap_or_default()
}

pub(crate) fn request(method: &Method, uri: Uri, headers: HeaderMap, body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

/// The timestamp of a header, or the beginning of time.
pub(crate) fn timestamp_of(from: &HeaderMap, name: &str) -> Timestamp {
    let text = from.get(name).and_then(|value| value.to_str().ok());
    text.and_then(|text| Timestamp::parse(text).ok()).unwrap_or_default()
}

/// When the state behind an answer came to be. Swift: proxy/controllers/base.py, `GetterSource.timestamp`.
pub(crate) fn source_timestamp(from: &HeaderMap) -> Timestamp {
    let names =
        [headers::X_BACKEND_DATA_TIMESTAMP, headers::X_BACKEND_TIMESTAMP, headers::X_PUT_TIMESTAMP];
    let known = names.iter().find(|name| from.contains_key(**name));
    timestamp_of(from, known.copied().unwrap_or(headers::X_TIMESTAMP))
}

impl Store {
    /// Calls a node. `None` when no answer came; what went wrong has been noted then.
    pub(crate) async fn call(
        &self,
        place: &Place,
        peer: &Peer,
        request: Request,
        timeout: Duration,
    ) -> Option<Response> {
        match self.env.client.call(&peer.endpoint, request, timeout).await {
            Ok(response) => Some(response),
            Err(error) => {
                let error = daemon::telemetry::chain(&error);
                tracing::warn!(node = %peer.endpoint, device = %peer.device, error, "a storage node failed");
                place.side.failed(peer);
                None
            }
        }
    }

    /// Notes what an answer says about the health of its node. False for 5xx.
    pub(crate) fn judge(&self, place: &Place, peer: &Peer, status: StatusCode) -> bool {
        if !status.is_server_error() {
            return true;
        }
        tracing::warn!(node = %peer.endpoint, device = %peer.device, %status, "a storage node could not comply");
        if status.as_u16() == INSUFFICIENT_STORAGE {
            place.side.suspended(peer);
        } else {
            place.side.failed(peer);
        }
        false
    }
}

/// Reads an answer to its end, or as far as sentences go.
pub(crate) async fn read_answer(response: Response, timeout: Duration) -> Answer {
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(timeout, axum::body::to_bytes(body, ANSWER_BYTES_MAX)).await;
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.ok().and_then(Result::ok).unwrap_or_default(),
    }
}

//! The read of the source.

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use wire::headers;

use crate::call::Call;
use crate::store::Entity;

/// What a request says of its own body, and of what it is to become.
fn is_of_the_write(name: &str) -> bool {
    matches!(
        name,
        "content-length" | "transfer-encoding" | "content-type" | "etag" | "expect" | "x-fresh-metadata"
    ) || name.starts_with("x-object-")
        || name.starts_with("x-delete-")
        // The source's container has a policy of its own.
        || name == headers::X_BACKEND_STORAGE_POLICY_INDEX
}

/// The newest version of the source, under the conditions and in the range that the client asked for.
pub(super) fn read(call: &Call, from: Entity) -> Call {
    let mut read = call.sub(Method::GET, from, "SSC");
    for (name, value) in call.headers.iter().filter(|(name, _)| !is_of_the_write(name.as_str())) {
        read.headers.append(name.clone(), value.clone());
    }
    read.headers.insert(headers::X_NEWEST, HeaderValue::from_static("true"));
    read.query = call.query.clone();
    if read.query.get("multipart-manifest") == Some("get") {
        read.query.set("format", "raw");
    }
    read
}

/// How many bytes will come; `None` where that is not said, as for a large object of very many segments.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

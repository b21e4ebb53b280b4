//! The write of the destination: which of the source's metadata it has, and which of the client's.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use wire::Response;
use wire::conditions::CHOOSING;

use crate::call::Call;
use crate::swift::constraints::is_true;

/// A write that is ready.
pub(super) struct Sink {
    pub(super) call: Call,
    /// What the answer tells if it succeeds.
    pub(super) told: HeaderMap,
}

const SYSMETA: &str = "x-object-sysmeta-";
/// What listings show instead of the object's own ETag and size.
const OVERRIDE: &str = "x-object-sysmeta-container-update-override-";
/// What is known of the segments of a static large object.
const SLO_SYSMETA: &str = "x-object-sysmeta-slo-";
const TRANSIENT_SYSMETA: &str = "x-object-transient-sysmeta-";

const STATIC_LARGE_OBJECT: &str = "x-static-large-object";
const OBJECT_MANIFEST: &str = "x-object-manifest";

/// What a source's answer says of itself or of the connection, and not of the object.
fn is_of_the_answer(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        STATIC_LARGE_OBJECT
            | OBJECT_MANIFEST
            | "accept-ranges"
            | "content-length"
            | "content-location"
            | "content-range"
            | "content-type"
            | "date"
            | "etag"
            | "last-modified"
            | "transfer-encoding"
            | "vary"
            | "x-object-version-id"
            | "x-openstack-request-id"
            | "x-timestamp"
            | "x-trans-id"
    ) || name.starts_with("x-backend-")
        || name.starts_with("access-control-")
}

/// For the read, or for this middleware.
const READ_PARAMETERS: [&str; 6] =
    ["multipart-manifest", "version-id", "symlink", "part-number", "format", "heartbeat"];

/// Turns the client's request into the write of what was read.
pub(super) fn write(mut call: Call, source: Response, length: u64) -> Sink {
    let (source, body) = source.into_parts();
    let as_manifest = call.query.get("multipart-manifest") == Some("get");
    let slo = source.headers.contains_key(STATIC_LARGE_OBJECT);
    let dlo = source.headers.get(OBJECT_MANIFEST).filter(|_| as_manifest);
    // The source's ETag is the MD5 of its bytes, unless they are put together of segments, are only a part, or will
    // be written in another form (a manifest).
    let is_dlo = source.headers.contains_key(OBJECT_MANIFEST);
    let verifiable = source.status == StatusCode::OK && !slo && (!is_dlo || as_manifest);

    let fresh = is_true(call.headers.get("x-fresh-metadata"));
    let mut headers = HeaderMap::with_capacity(source.headers.len() + call.headers.len());
    for (name, value) in &source.headers {
        let text = name.as_str();
        let kept = match fresh {
            true => text.starts_with(SYSMETA),
            false => !is_of_the_answer(name),
        };
        let untrue = !verifiable && text.starts_with(OVERRIDE)
            || slo && !as_manifest && text.starts_with(SLO_SYSMETA);
        if kept && !untrue {
            headers.insert(name.clone(), value.clone());
        }
    }
    if let Some(manifest) = dlo {
        headers.insert(OBJECT_MANIFEST, manifest.clone());
    }
    headers.extend(std::mem::take(&mut call.headers));
    if verifiable && let Some(etag) = source.headers.get(header::ETAG) {
        headers.insert(header::ETAG, etag.clone());
    }
    if headers.get(header::CONTENT_TYPE).is_none_or(HeaderValue::is_empty)
        && let Some(kind) = source.headers.get(header::CONTENT_TYPE)
    {
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
    // Ranges and conditions were for the source.
    for name in CHOOSING.into_iter().chain([header::TRANSFER_ENCODING, header::EXPECT]) {
        headers.remove(name);
    }
    headers.remove("x-fresh-metadata");
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    for name in READ_PARAMETERS {
        call.query.remove(name);
    }
    if slo && as_manifest {
        call.query.set("multipart-manifest", "put");
    }
    let told = told(&source.headers, &headers);
    call.headers = headers;
    call.context.source = Some("SSC");
    Sink { call: call.carrying(body), told }
}

/// What the answer tells beside the source's name.
fn told(source: &HeaderMap, written: &HeaderMap) -> HeaderMap {
    let mut told = HeaderMap::new();
    for (name, new) in [
        ("last-modified", "x-copied-from-last-modified"),
        ("x-object-version-id", "x-copied-from-version-id"),
    ] {
        if let Some(value) = source.get(name) {
            told.insert(new, value.clone());
        }
    }
    for (name, value) in written {
        let text = name.as_str();
        let meta = text.starts_with("x-object-meta-") || text.starts_with(SYSMETA);
        if meta || text.starts_with(TRANSIENT_SYSMETA) || text == wire::headers::X_DELETE_AT {
            told.insert(name.clone(), value.clone());
        }
    }
    told
}

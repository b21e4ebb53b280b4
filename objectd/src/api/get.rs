//! GET and HEAD: an object or parts of it, every byte checked before it is sent.

use super::error::{Refusal, stamped};
use super::object::{self, Opened, Part};
use super::{ObjectRequest, Server, moment};
use crate::engine::{ChunkStream, EngineError};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::ops::Range;
use std::sync::Arc;
use wire::ranges::{Byteranges, Wanted, content_range, wanted};
use wire::{Body, Request, Response, conditions, headers};

/// Bodies up to this length are read whole before the first byte is sent.
const AT_ONCE: u64 = 256 * 1024;

pub(super) async fn get(
    server: &Arc<Server>,
    object: ObjectRequest,
    request: Request,
) -> Result<Response, Refusal> {
    let head = *request.method() == Method::HEAD;
    let asked = request.headers();
    let state = object.engine.state(object.hash).await?;
    let now = moment(asked, &server.env)?.seconds();
    let now = (!opens_expired(asked)).then_some(now);
    let opened = match object.open(&state, now, if head { Part::Head } else { Part::Whole }).await {
        Err(Refusal::NotFound(_)) if conditions::wants_any(asked) => {
            let tombstone = state.tombstone().map(|version| version.timestamp);
            return Ok(stamped(Refusal::Precondition.response(), tombstone));
        }
        other => other?,
    };
    let etag = match asked.get(headers::X_BACKEND_ETAG_IS_AT) {
        None => opened.etag(),
        Some(names) => etag_at(&opened, names),
    };
    let judged = conditions::judge(asked, &etag, opened.timestamp.ceil_seconds());
    let mut response = match judged {
        // Without a body: it is described as the object is.
        Err(unmet) => daemon::empty(Refusal::from(unmet).response().status()),
        Ok(()) => body(&object, &opened, asked, &etag, head).await?,
    };
    describe(&opened, response.headers_mut());
    Ok(response)
}

/// Whether what has expired is there for whoever asks.
pub(super) fn opens_expired(from: &HeaderMap) -> bool {
    [headers::X_BACKEND_OPEN_EXPIRED, headers::X_BACKEND_REPLICATION]
        .iter()
        .any(|name| from.get(*name).is_some_and(is_true))
}

pub(super) fn is_true(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    ["true", "1", "yes", "on", "t", "y"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// The first of the named metadata that the object has, else its own ETag.
fn etag_at(opened: &Opened, names: &HeaderValue) -> String {
    let names = names.to_str().unwrap_or_default().to_ascii_lowercase();
    let found = names.split(',').find_map(|name| opened.metadata.get(name.trim()));
    found.map_or_else(|| opened.etag(), |value| String::from_utf8_lossy(value).into_owned())
}

/// Whether only the ranges asked for are wanted of this object, under this ETag.
fn ranges_count(opened: &Opened, asked: &HeaderMap, etag: &str) -> bool {
    let unless = asked.get(headers::X_BACKEND_IGNORE_RANGE_IF_METADATA_PRESENT);
    let unless = unless.and_then(|names| names.to_str().ok()).unwrap_or_default();
    let has = |name: &str| opened.metadata.get(&name.trim().to_ascii_lowercase()).is_some();
    !unless.split(',').any(has)
        && conditions::range_allowed(asked, etag, opened.timestamp.ceil_seconds())
}

async fn body(
    object: &ObjectRequest,
    opened: &Opened,
    asked: &HeaderMap,
    etag: &str,
    head: bool,
) -> Result<Response, Refusal> {
    let len = opened.data.data_len;
    let range = asked.get(header::RANGE).and_then(|value| value.to_str().ok());
    let range = range.filter(|_| !head && ranges_count(opened, asked, etag));
    let parts = match range.map_or(Wanted::Whole, |range| wanted(range, len)) {
        Wanted::Unsatisfiable => return Ok(Refusal::Range(len).response()),
        Wanted::Whole => {
            let content = if head { Body::empty() } else { read(object, opened, 0..len).await? };
            let mut response = Response::new(content);
            response.headers_mut().insert(header::CONTENT_LENGTH, len.into());
            return Ok(response);
        }
        Wanted::Parts(parts) => parts,
    };
    let mut response = match parts.as_slice() {
        [part] => {
            let mut response = Response::new(read(object, opened, part.clone()).await?);
            set(response.headers_mut(), header::CONTENT_RANGE, content_range(part, len));
            response.headers_mut().insert(header::CONTENT_LENGTH, (part.end - part.start).into());
            response
        }
        _ => multipart(object, opened, parts),
    };
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    Ok(response)
}

/// A part of the object. Its first piece has been read and checked when this returns, so that a damaged copy
/// is known before the answer begins.
async fn read(object: &ObjectRequest, opened: &Opened, range: Range<u64>) -> Result<Body, Refusal> {
    let len = range.end - range.start;
    let mut data = object.engine.data(&opened.record, range);
    if len <= AT_ONCE {
        return Ok(Body::from(data.whole().await?));
    }
    let first = data.next().await.transpose()?.unwrap_or_default();
    let rest = pieces(data);
    Ok(Body::from_stream(stream::once(async { Ok(first) }).chain(rest)))
}

fn pieces(data: ChunkStream) -> impl Stream<Item = Result<Bytes, EngineError>> + Send {
    stream::unfold(data, |mut data| async {
        let piece = data.next().await?;
        if let Err(error) = &piece {
            tracing::error!(
                error = daemon::telemetry::chain(error),
                "a read broke off in the middle of an object"
            );
        }
        Some((piece, data))
    })
}

fn multipart(object: &ObjectRequest, opened: &Opened, parts: Vec<Range<u64>>) -> Response {
    let content_type = opened.metadata.text(object::CONTENT_TYPE);
    let frame = Byteranges::new(&parts, opened.data.data_len, &content_type, rand::random());
    let engine = object.engine.clone();
    let record = opened.record.clone();
    let sections =
        stream::iter(frame.heads.into_iter().zip(parts)).flat_map(move |(head, part)| {
            let data = pieces(engine.data(&record, part));
            let around = |bytes: Bytes| stream::once(async { Ok(bytes) }).boxed();
            let end = Bytes::from_static(Byteranges::AFTER_PART);
            around(head).chain(data.boxed()).chain(around(end)).boxed()
        });
    let all = sections.chain(stream::once(async { Ok::<_, EngineError>(frame.tail) }));
    let mut response = Response::new(Body::from_stream(all));
    response.headers_mut().insert(header::CONTENT_LENGTH, frame.len.into());
    set(response.headers_mut(), header::CONTENT_TYPE, frame.content_type);
    response
}

/// Headers of an answer beside an object's metadata.
const OWN_HEADERS: usize = 10;

/// What every answer about an existing object says of it.
fn describe(opened: &Opened, into: &mut HeaderMap) {
    into.reserve(opened.metadata.iter().count() + OWN_HEADERS);
    let content_type = into.get(header::CONTENT_TYPE).cloned();
    object::write_headers(&opened.metadata, into);
    if let Some(own) = content_type {
        into.insert(header::CONTENT_TYPE, own);
    }
    set(into, header::ETAG, format!("\"{}\"", opened.etag()));
    into.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set(into, header::LAST_MODIFIED, opened.timestamp.http_date());
    let internal = |name| http::HeaderName::from_static(name);
    set(into, internal(headers::X_TIMESTAMP), opened.timestamp.normal());
    set(into, internal(headers::X_BACKEND_TIMESTAMP), opened.timestamp.internal());
    if let Ok(data) = HeaderValue::try_from(opened.data.timestamp.internal()) {
        into.insert(internal(headers::X_BACKEND_DATA_TIMESTAMP), data.clone());
        into.insert(internal(headers::X_BACKEND_DURABLE_TIMESTAMP), data);
    }
}

fn set(into: &mut HeaderMap, name: http::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        into.insert(name, value);
    }
}

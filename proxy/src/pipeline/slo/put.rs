//! PUT of a manifest. Swift: common/middleware/slo.py, `handle_multipart_put`.
//!
//! Each segment is asked for its length and its ETag, some of them at a time; only if all are as the client says the
//! manifest is stored. With `heartbeat=on` the answer begins at once, white space keeps the connection alive, and what
//! came of it is told in the body.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use md5::{Digest, Md5};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use types::{Timestamp, hex_encode};
use wire::conditions::unquoted;
use wire::ranges::{Wanted, wanted};
use wire::{Body, Response};

use super::given::{self, Named, Segment, Unsound};
use super::stored::{ObjectPart, Part};
use super::walk::within;
use super::{
    SLO_ETAG, SLO_SIZE, SOURCE, STATIC_LARGE_OBJECT, StaticLargeObjects, is_manifest, stored, text,
    work_on,
};
use crate::call::{CONTENT_TYPE_OVERRIDDEN, Call, Query};
use crate::pipeline::segments::Asked;
use crate::pipeline::{Handler, Middleware};
use crate::store::body::ClientBody;
use crate::store::{Entity, PutError};
use crate::swift::constraints::{check_content_type, is_true};
use crate::swift::error::{Refusal, status_line};
use crate::swift::listing::{self, Format};
use crate::swift::object::guess_content_type;
use crate::swift::report::{KeepAlive, Report, kept_alive, quoted};

const LISTED_ETAG: HeaderName =
    HeaderName::from_static("x-object-sysmeta-container-update-override-etag");
/// How much of an answer's body a report repeats.
const REPEATED_BYTES_MAX: usize = 64 * 1024;

/// What a segment is, as far as its HEAD told.
struct Found {
    status: StatusCode,
    bytes: u64,
    etag: String,
    content_type: String,
    last_modified: String,
    is_manifest: bool,
}

/// A manifest that was checked.
struct Checked {
    /// As it is stored.
    text: Bytes,
    etag: String,
    size: u64,
}

/// What came of it.
enum Outcome {
    Stored(Response, String),
    /// Segments that are not as the client says.
    Problems(Vec<(String, String)>),
    /// Not the ETag that the client has.
    OtherEtag,
}

impl StaticLargeObjects {
    pub(super) async fn put(
        self: Arc<Self>,
        mut call: Call,
        next: Handler,
    ) -> Result<Response, Refusal> {
        if call.headers.contains_key("x-copy-from") {
            let sentence = "Multipart Manifest PUTs cannot be COPY requests";
            return Err(Refusal::Sentence(StatusCode::METHOD_NOT_ALLOWED, sentence.into()));
        }
        let text = self.manifest_of(&mut call).await?;
        check_content_type(&call.headers)?;
        let (own, most) = (path_of(&call.entity), self.config.max_manifest_segments as usize);
        let segments = work_on(text.len(), move || given::parse(&text, &own, most)).await?;
        let segments = segments.map_err(|unsound| self.unsound(unsound))?;
        let wanted = listing::wanted(&Query::default(), &call.headers);
        let format = wanted.map_or(Format::Plain, |wanted| wanted.format);
        let heartbeat = call.query.get("heartbeat").map(HeaderValue::from_str);
        let heartbeat = heartbeat.and_then(Result::ok).is_some_and(|word| is_true(Some(&word)));
        if !heartbeat {
            return Ok(answer(self.store(call, next, segments).await?, format));
        }
        let keep_alive =
            KeepAlive { every: self.config.yield_frequency(), declaration: "", at_once: true };
        let work = async move {
            let outcome = self.store(call, next, segments).await;
            told(outcome).await.render(format, "upload")
        };
        let mut response = Response::new(kept_alive(work, keep_alive).await);
        *response.status_mut() = StatusCode::ACCEPTED;
        response.headers_mut().insert(header::CONTENT_TYPE, format.media_type());
        Ok(response)
    }

    /// Reads the manifest that the client sends.
    async fn manifest_of(&self, call: &mut Call) -> Result<Bytes, Refusal> {
        let most = u64::from(self.config.max_manifest_size);
        let too_large = || {
            let sentence = format!("Manifest File > {most} bytes");
            Refusal::Sentence(StatusCode::PAYLOAD_TOO_LARGE, sentence.into())
        };
        let chunked = call.headers.get(header::TRANSFER_ENCODING).is_some();
        let length = text(&call.headers, &header::CONTENT_LENGTH);
        let length = length.filter(|_| !chunked).map(|length| {
            let number: Option<u64> = length.parse().ok();
            number.ok_or_else(|| Refusal::bad_request("Invalid Content-Length header value"))
        });
        let length = length.transpose()?;
        if length.is_none() && !chunked {
            let sentence = "Missing Content-Length header.";
            return Err(Refusal::Sentence(StatusCode::LENGTH_REQUIRED, sentence.into()));
        }
        if length.is_some_and(|length| length > most) {
            return Err(too_large());
        }
        let mut body = ClientBody::new(call.take_body(), length, most, self.client_timeout);
        let mut all = Vec::with_capacity(length.unwrap_or_default() as usize);
        let refused = |error: PutError| match error {
            PutError::TooLarge => too_large(),
            other => other.into(),
        };
        while let Some(piece) = body.next().await.map_err(|error| refused(error.into()))? {
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    fn unsound(&self, unsound: Unsound) -> Refusal {
        match unsound {
            Unsound::NotJson => Refusal::bad_request("Manifest must be valid JSON.\n"),
            Unsound::NotList => Refusal::bad_request("Manifest must be a list.\n"),
            Unsound::Segments(problems) => Refusal::bad_request(problems),
            Unsound::TooMany => {
                let most = self.config.max_manifest_segments;
                let sentence = format!("Number of object-backed segments must be <= {most}");
                Refusal::Sentence(StatusCode::PAYLOAD_TOO_LARGE, sentence.into())
            }
        }
    }

    /// Checks the segments, and stores the manifest if they are sound.
    async fn store(
        self: Arc<Self>,
        mut call: Call,
        next: Handler,
        segments: Vec<Segment>,
    ) -> Result<Outcome, Refusal> {
        let asked = Arc::new(Asked::of(&call));
        let found = self.look_at(&segments, &asked, &next).await;
        let checked = work_on(usize::MAX, move || checked(segments, &found)).await?;
        let checked = match checked {
            Ok(checked) => checked,
            Err(problems) => return Ok(Outcome::Problems(problems)),
        };
        let wanted = text(&call.headers, &header::ETAG).map(unquoted);
        if wanted.is_some_and(|wanted| wanted != checked.etag) {
            return Ok(Outcome::OtherEtag);
        }
        describe(&mut call, &checked);
        call.context.source = Some(SOURCE);
        let call = call.carrying(Body::from(checked.text));
        Ok(Outcome::Stored(next.answer(call).await, checked.etag))
    }

    /// Asks for each segment once.
    async fn look_at(
        self: &Arc<Self>,
        segments: &[Segment],
        asked: &Arc<Asked>,
        next: &Handler,
    ) -> HashMap<String, Found> {
        let paths: BTreeSet<String> = segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Object(named) => Some(named.path.clone()),
                Segment::Data(_) => None,
            })
            .collect();
        let look = |path: String| {
            let (slo, asked, next) = (Arc::clone(self), Arc::clone(asked), next.clone());
            async move {
                let Some(entity) = within(&asked.entity, &path) else {
                    return (path, Found::nothing(StatusCode::PRECONDITION_FAILED));
                };
                // Through this middleware again: a segment may be a large object itself.
                let response = slo.handle(asked.sub(Method::HEAD, entity, SOURCE), next).await;
                let found = Found::of(response.status(), response.headers());
                (path, found)
            }
        };
        let looks = stream::iter(paths).map(look);
        looks.buffer_unordered(self.config.concurrency as usize).collect().await
    }
}

/// `container/object`.
fn path_of(entity: &Entity) -> String {
    let container = entity.container.as_ref().map_or("", |name| name.as_str());
    format!("{container}/{}", entity.object.as_ref().map_or("", |name| name.as_str()))
}

impl Found {
    fn nothing(status: StatusCode) -> Self {
        Found::of(status, &HeaderMap::new())
    }

    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let of = |name| text(headers, &name).unwrap_or_default();
        let modified = httpdate::parse_http_date(of(header::LAST_MODIFIED)).ok();
        let modified = modified.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
        let modified = Timestamp::from_seconds(modified.unwrap_or_default().as_secs());
        Found {
            status,
            bytes: of(header::CONTENT_LENGTH).parse().unwrap_or(0),
            etag: unquoted(of(header::ETAG)).to_owned(),
            content_type: String::from_utf8_lossy(
                headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default(),
            )
            .into_owned(),
            last_modified: modified.isoformat(),
            is_manifest: is_manifest(headers),
        }
    }
}

/// The manifest as it will be stored, or what is wrong with it.
fn checked(
    segments: Vec<Segment>,
    found: &HashMap<String, Found>,
) -> Result<Checked, Vec<(String, String)>> {
    let mut problems = Vec::new();
    let (mut parts, mut written) = (Vec::new(), Vec::new());
    let count = segments.len();
    for (index, segment) in segments.into_iter().enumerate() {
        match segment {
            Segment::Data(bytes) => {
                written.push(Map::from_iter([("data".to_owned(), given::encoded(&bytes).into())]));
                parts.push(Part::Data(bytes));
            }
            Segment::Object(named) => {
                let Some(found) = found.get(&named.path) else { continue };
                let part = object_part(&named, found, index + 1 == count, &mut problems);
                written.push(row(&part, found));
                parts.push(Part::Object(part));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let text = Bytes::from(serde_json::to_vec(&written).unwrap_or_default());
    let (etag, size) = (stored::etag(&parts), stored::len(&parts));
    Ok(Checked { text, etag, size })
}

/// The segment as it is, and what about it is not as the client says.
fn object_part(
    named: &Named,
    found: &Found,
    is_last: bool,
    problems: &mut Vec<(String, String)>,
) -> ObjectPart {
    let mut part = ObjectPart {
        name: format!("/{}", named.path.trim_start_matches('/')),
        etag: found.etag.clone(),
        bytes: found.bytes,
        range: None,
        is_manifest: found.is_manifest,
    };
    let mut problem = |what: &str| problems.push((quoted(&named.path), what.to_owned()));
    if !found.status.is_success() {
        problem(&status_line(found.status));
        return part;
    }
    if let Some(range) = &named.range {
        match wanted(&format!("bytes={range}"), found.bytes) {
            Wanted::Parts(ranges) => {
                let only = ranges.into_iter().next();
                let only = only.filter(|range| *range != (0..found.bytes));
                part.range = only.map(|range| (range.start, range.end.saturating_sub(1)));
            }
            Wanted::Whole => {}
            Wanted::Unsatisfiable => problem("Unsatisfiable Range"),
        }
    }
    if Part::Object(part.clone()).len() < 1 && !is_last {
        problem("Too small; each segment must be at least 1 byte.");
    }
    if named.size.is_some_and(|size| u64::try_from(size) != Ok(found.bytes)) {
        problem("Size Mismatch");
    }
    if named.etag.as_ref().is_some_and(|etag| *etag != found.etag) {
        problem("Etag Mismatch");
    }
    part
}

/// A segment in its stored form.
fn row(part: &ObjectPart, found: &Found) -> Map<String, Value> {
    let mut row = Map::new();
    let mut set = |name: &str, value: Value| row.insert(name.to_owned(), value);
    set("name", part.name.clone().into());
    set("bytes", part.bytes.into());
    set("hash", part.etag.clone().into());
    set("content_type", found.content_type.clone().into());
    set("last_modified", found.last_modified.clone().into());
    if let Some((first, last)) = part.range {
        set("range", format!("{first}-{last}").into());
    }
    if part.is_manifest {
        set("sub_slo", true.into());
    }
    row
}

/// Turns the request into that of the manifest's text.
fn describe(call: &mut Call, checked: &Checked) {
    let name = call.entity.object.as_ref().map(|name| name.as_str().to_owned());
    guess_content_type(&mut call.headers, name.as_deref().unwrap_or_default());
    let headers = &mut call.headers;
    headers.remove("x-detect-content-type");
    headers.remove(header::TRANSFER_ENCODING);
    let own = hex_encode(&Md5::digest(&checked.text));
    // Whoever stands further out may have named another ETag for listings, which is to be the first then.
    let listed = text(headers, &LISTED_ETAG).unwrap_or_default();
    let (first, further) = listed.split_once(';').unwrap_or((listed, ""));
    let first = if first.is_empty() { own.as_str() } else { first };
    let further = if further.is_empty() { String::new() } else { format!(";{further}") };
    let listed = format!("{first}{further}; slo_etag={}", checked.etag);
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = [kind, format!(";swift_bytes={}", checked.size).as_bytes()].concat();
    let values = [
        (SLO_ETAG, HeaderValue::try_from(&checked.etag).ok()),
        (SLO_SIZE, Some(HeaderValue::from(checked.size))),
        (STATIC_LARGE_OBJECT, Some(HeaderValue::from_static("True"))),
        (LISTED_ETAG, HeaderValue::try_from(listed).ok()),
        (header::CONTENT_TYPE, HeaderValue::from_bytes(&kind).ok()),
        (HeaderName::from_static(CONTENT_TYPE_OVERRIDDEN), Some(HeaderValue::from_static("true"))),
        (header::ETAG, HeaderValue::try_from(own).ok()),
        (header::CONTENT_LENGTH, Some(HeaderValue::from(checked.text.len()))),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// The answer without heartbeats.
fn answer(outcome: Outcome, format: Format) -> Response {
    match outcome {
        Outcome::Stored(response, etag) => with_etag(response, &etag),
        Outcome::OtherEtag => Refusal::Status(StatusCode::UNPROCESSABLE_ENTITY).into(),
        Outcome::Problems(errors) => {
            let report = Report { errors, ..Report::default() };
            let mut response = Response::new(Body::from(report.render(format, "upload")));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response.headers_mut().insert(header::CONTENT_TYPE, format.media_type());
            response
        }
    }
}

/// To clients the ETag is that of the whole.
fn with_etag(mut response: Response, etag: &str) -> Response {
    if response.status().is_success()
        && let Ok(etag) = HeaderValue::try_from(format!("\"{etag}\""))
    {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// Clients read these sentences, which are Swift's, out of reports.
const SENTENCE_400: &str = "Bad Request\nThe server could not comply with the request since it is \
                            either malformed or otherwise incorrect.";
const SENTENCE_422: &str = "Unprocessable Entity\nUnable to process the contained instructions";

/// The report at the end of heartbeats.
async fn told(outcome: Result<Outcome, Refusal>) -> Report {
    let mut report = Report::default();
    let mut say = |status, body: &str| {
        report.say("Response Status", status_line(status));
        report.say("Response Body", body);
    };
    match outcome {
        Ok(Outcome::Problems(errors)) => {
            say(StatusCode::BAD_REQUEST, SENTENCE_400);
            report.errors = errors;
        }
        Ok(Outcome::OtherEtag) => say(StatusCode::UNPROCESSABLE_ENTITY, SENTENCE_422),
        Ok(Outcome::Stored(response, etag)) => {
            let (parts, body) = with_etag(response, &etag).into_parts();
            let body = axum::body::to_bytes(body, REPEATED_BYTES_MAX).await.unwrap_or_default();
            say(parts.status, &String::from_utf8_lossy(&body));
            if parts.status.is_success() {
                let of = |name| text(&parts.headers, &name).unwrap_or_default().to_owned();
                report.say("Etag", of(header::ETAG));
                report.say("Last Modified", of(header::LAST_MODIFIED));
            }
        }
        Err(refusal) => {
            let (parts, body) = Response::from(refusal).into_parts();
            let body = axum::body::to_bytes(body, REPEATED_BYTES_MAX).await.unwrap_or_default();
            say(parts.status, &String::from_utf8_lossy(&body));
        }
    }
    report
}

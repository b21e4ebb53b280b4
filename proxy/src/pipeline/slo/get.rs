//! GET and HEAD. Swift: common/middleware/slo.py, `SloGetContext`.
//!
//! Storage nodes are asked as for any object, with two things said beforehand: conditions are to be judged by the ETag of
//! the whole, and a manifest is to be sent whole whatever ranges are wanted. Only when the answer is a manifest there is more to do.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use md5::{Digest, Md5};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use types::hex_encode;
use wire::conditions::{Unmet, unquoted};
use wire::{Body, Response, headers};

use super::stored::{self, Part};
use super::walk::{Manifest, Nested, Walk};
use super::{SLO_ETAG, SLO_SIZE, SOURCE, StaticLargeObjects, is_manifest, text, work_on};
use crate::call::Call;
use crate::pipeline::Handler;
use crate::pipeline::segments::{Asked, Section, Seen, Shape, Source, add_name, paced};
use crate::swift::error::Refusal;

const MANIFEST_ETAG: HeaderName = HeaderName::from_static("x-manifest-etag");
const PARTS_COUNT: HeaderName = HeaderName::from_static("x-parts-count");

impl StaticLargeObjects {
    pub(super) async fn read(
        self: Arc<Self>,
        mut call: Call,
        next: Handler,
    ) -> Result<Response, Refusal> {
        let manifest = call.query.get("multipart-manifest") == Some("get");
        let raw = manifest && call.query.get("format") == Some("raw");
        let asked = Asked::of(&call);
        if !manifest {
            add_name(&mut call.headers, headers::X_BACKEND_ETAG_IS_AT, "x-object-sysmeta-slo-etag");
        }
        if raw || !manifest {
            let unless = headers::X_BACKEND_IGNORE_RANGE_IF_METADATA_PRESENT;
            add_name(&mut call.headers, unless, "x-static-large-object");
        }
        if raw {
            // What it will be can be told only with the text at hand.
            call.method = Method::GET;
        }
        let response = next.answer(call).await;
        if !is_manifest(response.headers()) {
            return Ok(response);
        }
        if raw {
            return self.raw(response).await;
        }
        if manifest {
            return Ok(as_json(response));
        }
        let asked = Arc::new(asked);
        Box::pin(Reading { slo: self, next, asked }.whole(response)).await
    }

    /// The manifest as clients write it.
    async fn raw(&self, response: Response) -> Result<Response, Refusal> {
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        let (mut parts, body) = response.into_parts();
        let body = self.text_of(body).await?;
        let raw = work_on(body.len(), move || stored::as_written_by_clients(&body)).await?;
        let raw = raw.map_err(unreadable)?;
        let etag = hex_encode(&Md5::digest(&raw));
        if let Ok(etag) = HeaderValue::try_from(etag) {
            parts.headers.insert(header::ETAG, etag);
        }
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(raw.len()));
        Ok(Response::from_parts(parts, Body::from(raw)))
    }

    async fn text_of(&self, body: Body) -> Result<Bytes, Refusal> {
        let text = axum::body::to_bytes(body, self.config.stored_bytes_max()).await;
        text.map_err(|error| unreadable(error.to_string()))
    }
}

fn unreadable(why: String) -> Refusal {
    tracing::error!(why, "a manifest of a static large object cannot be read");
    let sentence = "Unable to load SLO manifest";
    Refusal::Sentence(StatusCode::INTERNAL_SERVER_ERROR, sentence.into())
}

/// The manifest as it is stored.
fn as_json(mut response: Response) -> Response {
    if response.status().is_success() {
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    response
}

/// A read of what a manifest stands for.
struct Reading {
    slo: Arc<StaticLargeObjects>,
    next: Handler,
    asked: Arc<Asked>,
}

/// What is known of the whole without its segments; manifests of very old clusters tell nothing.
struct Known {
    etag: Option<String>,
    size: Option<u64>,
}

impl Known {
    fn of(headers: &HeaderMap) -> Self {
        let size = text(headers, &SLO_SIZE).and_then(|size| size.parse().ok());
        Known { etag: text(headers, &SLO_ETAG).map(str::to_owned), size }
    }

    fn is_complete(&self) -> bool {
        self.etag.is_some() && self.size.is_some()
    }
}

impl Reading {
    async fn whole(self, response: Response) -> Result<Response, Refusal> {
        let part = part_number(&self.asked)?;
        let known = Known::of(response.headers());
        let unmet = match response.status() {
            StatusCode::NOT_MODIFIED => Some(Unmet::NotModified),
            StatusCode::PRECONDITION_FAILED => Some(Unmet::Precondition),
            _ => None,
        };
        let told = if self.asked.is_head { part.is_none() } else { unmet.is_some() };
        if told && known.is_complete() {
            let shape = shape(response.headers(), known.etag, known.size);
            return match unmet {
                Some(unmet) => Ok(shape.unmet(unmet)),
                None => shape.answer(&self.source(), |_| nothing()).await,
            };
        }
        let response = match !self.asked.is_head && response.status() == StatusCode::OK {
            true => response,
            false => match self.again(response.headers()).await? {
                Again::Manifest(response) => response,
                Again::Other(response) => return Ok(response),
            },
        };
        self.with_segments(response, part).await
    }

    /// Asks for the manifest itself.
    async fn again(&self, before: &HeaderMap) -> Result<Again, Refusal> {
        let mut call = self.asked.sub(Method::GET, self.asked.entity.clone(), SOURCE);
        call.query = self.asked.query.clone();
        call.query.remove("part-number");
        let response = self.next.answer(call).await;
        if response.status() == StatusCode::OK && is_manifest(response.headers()) {
            return Ok(Again::Manifest(response));
        }
        let at = |headers: &HeaderMap| {
            let name = HeaderName::from_static(headers::X_BACKEND_TIMESTAMP);
            text(headers, &name).map(str::to_owned)
        };
        if at(response.headers()) < at(before) {
            // An older state than was seen a moment ago.
            return Err(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE));
        }
        Ok(Again::Other(response))
    }

    async fn with_segments(
        self,
        response: Response,
        part: Option<usize>,
    ) -> Result<Response, Refusal> {
        let (head, body) = response.into_parts();
        let text = self.slo.text_of(body).await?;
        let known = Known::of(&head.headers);
        let read = move || {
            let parts = stored::parse(&text)?;
            let etag = known.etag.unwrap_or_else(|| stored::etag(&parts));
            let size = known.size.unwrap_or_else(|| stored::len(&parts));
            Ok::<_, String>((Manifest::from(parts), etag, size))
        };
        let len = head.headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok());
        let len = len.and_then(|len| len.parse().ok()).unwrap_or(usize::MAX);
        let (manifest, etag, size) = work_on(len, read).await?.map_err(unreadable)?;
        let shape = shape(&head.headers, Some(etag), Some(size));
        let source = self.source();
        let nested = Arc::new(Nested::default());
        let section = |range: Option<&Range<u64>>| {
            let range = range.cloned().unwrap_or(0..size);
            let (slo, next) = (Arc::clone(&self.slo), self.next.clone());
            let walk = Walk::new(slo, next, Arc::clone(&self.asked), Arc::clone(&nested));
            let pieces = walk.pieces(Arc::clone(&manifest), &range);
            let len = Some(range.end.saturating_sub(range.start));
            Section { pieces: paced(pieces, self.slo.config.pace()), len }
        };
        match part {
            None => shape.answer(&source, section).await,
            Some(number) => numbered(shape, &source, &manifest, number, section).await,
        }
    }

    fn source(&self) -> Source {
        Source {
            next: self.next.clone(),
            asked: Arc::clone(&self.asked),
            name: SOURCE,
            time_max: Duration::from_secs(self.slo.config.max_get_time_s),
        }
    }
}

enum Again {
    Manifest(Response),
    Other(Response),
}

fn nothing() -> Section {
    Section { pieces: Box::pin(futures_util::stream::empty()), len: Some(0) }
}

/// The whole, told by its manifest.
fn shape(manifest: &HeaderMap, etag: Option<String>, size: Option<u64>) -> Shape {
    let own = manifest.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(unquoted);
    let own = own.and_then(|etag| HeaderValue::from_str(etag).ok());
    let mut shape = Shape::new(manifest, etag, size);
    if let Some(own) = own {
        shape.headers.insert(MANIFEST_ETAG, own);
    }
    shape
}

/// The number of the segment that is wanted, if one is.
fn part_number(asked: &Asked) -> Result<Option<usize>, Refusal> {
    let Some(number) = asked.query.get("part-number") else { return Ok(None) };
    let number: Option<usize> = number.trim().parse().ok().filter(|number| *number > 0);
    let sentence = "Part number must be an integer greater than 0";
    let number = number.ok_or_else(|| Refusal::bad_request(sentence))?;
    let range = asked.choosing.get(header::RANGE).and_then(|range| range.to_str().ok());
    if range.and_then(wire::ranges::range_specs).is_some() {
        let sentence = "Range requests are not supported with part number queries";
        return Err(Refusal::bad_request(sentence));
    }
    Ok(Some(number))
}

/// One segment of the whole.
async fn numbered(
    mut shape: Shape,
    source: &Source,
    parts: &[Part],
    number: usize,
    section: impl Fn(Option<&Range<u64>>) -> Section,
) -> Result<Response, Refusal> {
    shape.headers.insert(PARTS_COUNT, HeaderValue::from(parts.len()));
    let Some(part) = parts.get(number - 1) else {
        let mut response = shape.unsatisfiable();
        let sentence = match source.asked.is_head {
            true => "",
            false => "The requested part number is not satisfiable",
        };
        let length = HeaderValue::from(sentence.len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        *response.body_mut() = Body::from(sentence);
        return Ok(response);
    };
    if let Seen::Unmet(unmet) = shape.seen(&source.asked) {
        return Ok(shape.unmet(unmet));
    }
    let start = stored::len(parts.get(..number - 1).unwrap_or_default());
    let range = start..start.saturating_add(part.len());
    let body = match source.asked.is_head {
        true => Body::empty(),
        false => source.body(section(Some(&range))).await?,
    };
    Ok(shape.part(&range, body))
}

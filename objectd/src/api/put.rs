//! PUT: a new object, durable before the answer.

use super::document::Source;
use super::error::Refusal;
use super::object::{self, CONTENT_TYPE, ETAG, NAME, Part};
use super::updates::{self, overridden};
use super::{ObjectRequest, Server, timestamp};
use crate::engine::{BodyWriter, Change, EngineError};
use crate::format::{INLINE_MAX, RecordKind};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use lanes::{Md5Stream, Stopped};
use std::sync::Arc;
use types::{Limits, ObjectName, Timestamp, hex_encode};
use wire::conditions::tags_match;
use wire::{ObjectUpdate, Request, Response, SharedMd5, headers};

/// What one large body takes while it arrives.
const LARGE_MIB: u32 = 4;

pub(super) async fn put(
    server: &Arc<Server>,
    object: ObjectRequest,
    request: Request,
) -> Result<Response, Refusal> {
    let at = timestamp(&request)?;
    let (mut parts, body) = request.into_parts();
    let content_type = content_type(&parts.headers)?;
    check_name(&object, &server.limits)?;
    let (mut metadata, mut delete_at) =
        object::new_metadata(&parts.headers, at, &server.limits, true)?;
    let mut source = Source::new(body, &parts.headers, server.client_timeout)?;
    let length = match source {
        Source::Plain(_) => body_length(&parts.headers, server.limits.max_file_size)?,
        Source::Document { .. } => part_length(&parts.headers, server.limits.max_file_size)?,
    };

    let state = object.engine.state(object.hash).await?;
    if let Some(unwanted) = parts.headers.get(header::IF_NONE_MATCH)
        && let Ok(existing) = object.open(&state, Some(at.seconds()), Part::Head).await
        && tags_match(unwanted, &existing.etag())
    {
        return Err(Refusal::Precondition);
    }
    refuse_older(state.data_timestamp(), at)?;
    if object.engine.is_poisoned() {
        return Err(EngineError::Poisoned.into());
    }
    if !object.engine.has_room() {
        return Err(EngineError::Full.into());
    }

    // Pieces being filled and in flight, for all that does not fit into its record.
    let small = length.is_some_and(|length| length <= INLINE_MAX as u64);
    let memory = server.body_memory.try_acquire_many(if small { 0 } else { LARGE_MIB });
    let _memory = memory.map_err(|_| EngineError::Overloaded)?;
    let mut writer = object.engine.body();
    // It is that of the whole body, which of a document is not the object.
    let shared = match source {
        Source::Plain(_) => parts.extensions.get::<SharedMd5>().cloned(),
        Source::Document { .. } => None,
    };
    let md5 = BodyMd5::of(server, shared);
    let etag = take_body(server, &mut writer, &mut source, length, md5).await?;
    let footer = source.footer().await?;
    if !footer.is_empty() {
        parts.headers.extend(footer);
        (metadata, delete_at) = object::new_metadata(&parts.headers, at, &server.limits, true)?;
    }
    let wanted = parts.headers.get(header::ETAG).and_then(|value| value.to_str().ok());
    if wanted.is_some_and(|wanted| !wanted.trim_matches('"').eq_ignore_ascii_case(&etag)) {
        return Err(Refusal::Etag);
    }
    let stored = writer.finish().await?;
    metadata.set(NAME, object.name().as_bytes());
    metadata.set(CONTENT_TYPE, content_type.as_bytes());
    metadata.set(ETAG, etag.as_bytes());

    let targets = updates::targets(&parts.headers)?;
    let update = match (&targets, &object.path) {
        (Some(_), path) => {
            let mut update = ObjectUpdate {
                size: stored.len(),
                content_type: String::from_utf8_lossy(content_type.as_bytes()).into_owned(),
                etag: etag.clone(),
                delete_at,
                ..updates::row(path, at, object.policy)?
            };
            overridden(&mut update, |name| Some(parts.headers.get(name)?.as_bytes()));
            Some(update)
        }
        (None, _) => None,
    };
    let change = Change {
        kind: RecordKind::Data,
        hash: object.hash,
        timestamp: at,
        content_type_timestamp: None,
        delete_at,
        fragment: None,
        metadata: &metadata,
        body: stored,
        update: update.as_ref(),
    };
    let token = object.engine.commit(change).await?;
    if let (Some(targets), Some(update), Some(token)) = (targets, update, token) {
        updates::send(server, &object, targets, update, token).await;
    }
    let mut response = daemon::empty(StatusCode::CREATED);
    if let Ok(value) = HeaderValue::try_from(format!("\"{etag}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    Ok(response)
}

/// A change must be newer than what it changes.
pub(super) fn refuse_older(known: Option<Timestamp>, at: Timestamp) -> Result<(), Refusal> {
    match known {
        Some(known) if known >= at => Err(Refusal::Conflict(known)),
        _ => Ok(()),
    }
}

/// What the request says of its body's length: so many bytes, or `None` for chunked.
fn body_length(headers: &HeaderMap, max: u64) -> Result<Option<u64>, Refusal> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(None);
    }
    let value = headers.get(header::CONTENT_LENGTH).ok_or(Refusal::LengthRequired)?;
    let length = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    let length = length.ok_or_else(|| Refusal::Bad("Invalid Content-Length".to_owned()))?;
    if length > max { Err(Refusal::TooLarge) } else { Ok(Some(length)) }
}

/// The same of an object within a document.
fn part_length(headers: &HeaderMap, max: u64) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(headers::X_BACKEND_OBJ_CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    match length {
        None => Err(Refusal::Bad("Invalid X-Backend-Obj-Content-Length".to_owned())),
        Some(length) if length > max => Err(Refusal::TooLarge),
        length => Ok(length),
    }
}

fn content_type(from: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let bad = |sentence: &str| Refusal::Bad(sentence.to_owned());
    let value = from.get(header::CONTENT_TYPE).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| bad("No content type"))?;
    match std::str::from_utf8(value.as_bytes()) {
        Ok(_) => Ok(value.clone()),
        Err(_) => Err(bad("Please specify a valid UTF-8 Content-Type")),
    }
}

/// Reserved names hold a name of a user's object, and more.
fn check_name(object: &ObjectRequest, limits: &Limits) -> Result<(), Refusal> {
    let longest = limits.max_object_name_length as usize;
    let too_long = |name: &&ObjectName| !name.is_reserved() && name.as_str().len() > longest;
    match object.path.object.as_ref().filter(too_long) {
        None => Ok(()),
        Some(name) => {
            let length = name.as_str().len();
            Err(Refusal::Bad(format!("Object name length of {length} longer than {longest}")))
        }
    }
}

/// The MD5 of a body: worked out while it comes, or known because the same bytes went to another device of this process.
enum BodyMd5 {
    Known([u8; 16]),
    Counting(Md5Stream, Option<SharedMd5>),
}

impl BodyMd5 {
    fn of(server: &Server, shared: Option<SharedMd5>) -> Self {
        match shared.as_ref().and_then(SharedMd5::get) {
            Some(known) => BodyMd5::Known(known),
            None => BodyMd5::Counting(server.md5.stream(), shared),
        }
    }

    async fn update(&mut self, data: Bytes) -> Result<(), EngineError> {
        match self {
            BodyMd5::Known(_) => Ok(()),
            BodyMd5::Counting(stream, _) => {
                stream.update(data).await.map_err(|Stopped| EngineError::Stopping)
            }
        }
    }

    async fn finish(self) -> Result<[u8; 16], EngineError> {
        match self {
            BodyMd5::Known(md5) => Ok(md5),
            BodyMd5::Counting(stream, shared) => {
                let md5 = stream.finish().await.map_err(|Stopped| EngineError::Stopping)?;
                if let Some(shared) = shared {
                    shared.set(md5);
                }
                Ok(md5)
            }
        }
    }
}

/// Streams an object to the engine, and gives its MD5.
async fn take_body(
    server: &Server,
    writer: &mut BodyWriter,
    source: &mut Source,
    length: Option<u64>,
    mut md5: BodyMd5,
) -> Result<String, Refusal> {
    while let Some(data) = source.next().await? {
        if writer.taken() + data.len() as u64 > length.unwrap_or(server.limits.max_file_size) {
            return Err(Refusal::TooLarge);
        }
        // Computed while the engine takes the same bytes. What is long goes to threads of its own, so no long piece
        // holds the runtime.
        md5.update(data.clone()).await?;
        writer.push(&data).await?;
    }
    if length.is_some_and(|length| length != writer.taken()) {
        return Err(Refusal::Disconnected);
    }
    Ok(hex_encode(&md5.finish().await?))
}

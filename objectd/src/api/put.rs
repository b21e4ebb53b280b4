//! PUT: a new object, durable before the answer.

use super::error::Refusal;
use super::object::{self, CONTENT_TYPE, ETAG, NAME, Part};
use super::updates::{self, overridden};
use super::{ObjectRequest, Server, timestamp};
use crate::engine::{BodyWriter, Change, EngineError};
use crate::format::{INLINE_MAX, RecordKind};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use lanes::Stopped;
use std::sync::Arc;
use types::{Timestamp, hex_encode};
use wire::conditions::tags_match;
use wire::{Body, ObjectUpdate, Request, Response};

/// What one large body takes while it arrives.
const LARGE_MIB: u32 = 4;

pub(super) async fn put(
    server: &Arc<Server>,
    object: ObjectRequest,
    request: Request,
) -> Result<Response, Refusal> {
    let at = timestamp(&request)?;
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).filter(|value| !value.is_empty());
    let content_type =
        content_type.cloned().ok_or_else(|| Refusal::Bad("No content type".to_owned()))?;
    let length = body_length(&parts.headers, server.max_file_size)?;
    let mut metadata = object::metadata_of(&parts.headers, true);
    let delete_at = object::delete_at(&metadata)?;

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
    let etag = take_body(server, &mut writer, body, length).await?;
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

/// Streams the body to the engine, and gives its MD5.
async fn take_body(
    server: &Server,
    writer: &mut BodyWriter,
    mut body: Body,
    length: Option<u64>,
) -> Result<String, Refusal> {
    let mut md5 = server.md5.stream();
    loop {
        let frame = match tokio::time::timeout(server.client_timeout, body.frame()).await {
            Err(_) => return Err(Refusal::Slow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Refusal::Disconnected),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if writer.taken() + data.len() as u64 > length.unwrap_or(server.max_file_size) {
            return Err(Refusal::TooLarge);
        }
        // Computed while the engine takes the same bytes. What is long goes to threads of its own, so no long piece
        // holds the runtime.
        md5.update(data.clone()).await.map_err(|Stopped| EngineError::Stopping)?;
        writer.push(&data).await?;
    }
    if length.is_some_and(|length| length != writer.taken()) {
        return Err(Refusal::Disconnected);
    }
    let digest = md5.finish().await.map_err(|Stopped| EngineError::Stopping)?;
    Ok(hex_encode(&digest))
}

//! A PUT whose body is a document: the object, and behind it metadata that its sender knew only at its end. Swift:
//! obj/server.py, `_read_metadata_footer`.

use super::error::Refusal;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::time::Duration;
use types::hex_encode;
use wire::multipart::{Event, PartHead, Splitter};
use wire::{Body, headers};

/// Most bytes of metadata behind an object.
const FOOTER_MAX: usize = 64 * 1024;

/// The bytes of an object as they come.
pub(super) enum Source {
    /// The body is the object.
    Plain(Pieces),
    /// The object is the first part of the body.
    Document { pieces: Pieces, splitter: Box<Splitter>, begun: bool },
}

/// A body that must not pause.
pub(super) struct Pieces {
    body: Body,
    timeout: Duration,
}

impl Pieces {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            match tokio::time::timeout(self.timeout, self.body.frame()).await {
                Err(_) => return Err(Refusal::Slow),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(Refusal::Disconnected),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

impl Source {
    /// What the headers say of a body.
    pub(super) fn new(body: Body, said: &HeaderMap, timeout: Duration) -> Result<Self, Refusal> {
        let pieces = Pieces { body, timeout };
        let with_footer = said.get(headers::X_BACKEND_OBJ_METADATA_FOOTER);
        if !with_footer.is_some_and(super::get::is_true) {
            return Ok(Source::Plain(pieces));
        }
        let boundary = said.get(headers::X_BACKEND_OBJ_MULTIPART_MIME_BOUNDARY);
        let boundary = boundary.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if boundary.is_empty() {
            return Err(Refusal::Bad("no MIME boundary".to_owned()));
        }
        let splitter = Box::new(Splitter::new(boundary));
        Ok(Source::Document { pieces, splitter, begun: false })
    }

    /// The next bytes of the object; `None` at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let begun = match self {
            Source::Plain(pieces) => return pieces.next().await,
            Source::Document { begun, .. } => std::mem::replace(begun, true),
        };
        if !begun && !matches!(self.event().await?, Event::Head(_)) {
            return Err(Refusal::Bad("couldn't find the object's MIME doc".to_owned()));
        }
        match self.event().await? {
            Event::Data(data) => Ok(Some(data)),
            _ => Ok(None),
        }
    }

    async fn event(&mut self) -> Result<Event, Refusal> {
        let Source::Document { pieces, splitter, .. } = self else { return Ok(Event::End) };
        loop {
            match splitter.event().map_err(|error| Refusal::Bad(error.to_string()))? {
                Event::Hungry => match pieces.next().await? {
                    Some(data) => splitter.feed(&data),
                    None => splitter.close(),
                },
                event => return Ok(event),
            }
        }
    }

    /// The metadata behind the object, to be called at its end. It wins over what the headers say.
    pub(super) async fn footer(&mut self) -> Result<HeaderMap, Refusal> {
        if let Source::Plain(_) = self {
            return Ok(HeaderMap::new());
        }
        let Event::Head(PartHead { content_md5, .. }) = self.event().await? else {
            return Err(Refusal::Bad("couldn't find footer MIME doc".to_owned()));
        };
        let wanted =
            content_md5.ok_or_else(|| Refusal::Bad("no Content-MD5 in footer".to_owned()))?;
        let mut footer = Vec::new();
        while let Event::Data(data) = self.event().await? {
            if footer.len() + data.len() > FOOTER_MAX {
                return Err(Refusal::Bad("the footer is too long".to_owned()));
            }
            footer.extend_from_slice(&data);
        }
        if !wanted.eq_ignore_ascii_case(&hex_encode(&Md5::digest(&footer))) {
            return Err(Refusal::Footer);
        }
        read(&footer).ok_or_else(|| Refusal::Bad("invalid JSON for footer doc".to_owned()))
    }
}

fn read(footer: &[u8]) -> Option<HeaderMap> {
    let pairs: BTreeMap<String, String> = serde_json::from_slice(footer).ok()?;
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        headers.insert(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    Some(headers)
}

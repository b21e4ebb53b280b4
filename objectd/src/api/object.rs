//! An object as a request meets it: its state, and the metadata that its records make together.

use super::ObjectRequest;
use super::error::Refusal;
use crate::engine::{EngineError, OpenRecord};
use crate::format::Metadata;
use crate::state::{ObjectState, Version};
use http::{HeaderMap, HeaderName, header};
use types::{Limits, Timestamp};
use wire::headers;

pub(super) const CONTENT_TYPE: &str = "content-type";
pub(super) const ETAG: &str = "etag";
pub(super) const NAME: &str = "name";
const STATIC_LARGE_OBJECT: &str = "x-static-large-object";
pub(super) const SYSMETA: &str = "x-object-sysmeta-";
const TRANSIENT_SYSMETA: &str = "x-object-transient-sysmeta-";
const USER_META: &str = "x-object-meta-";

/// Headers that a PUT or POST may set besides metadata (Swift: `allowed_headers`).
const ALLOWED: [&str; 9] = [
    "content-disposition",
    "content-encoding",
    "x-delete-at",
    "x-object-manifest",
    STATIC_LARGE_OBJECT,
    "cache-control",
    "content-language",
    "expires",
    "x-robots-tag",
];

/// How often an object that changes while it is being opened is looked up.
const CHANGES_MAX: usize = 4;

/// An object that exists and has not expired.
pub(super) struct Opened {
    pub(super) data: Version,
    pub(super) record: OpenRecord,
    /// Data's and posts' together.
    pub(super) metadata: Metadata,
    /// Of the last change of any kind.
    pub(super) timestamp: Timestamp,
    /// Of the content type that counts.
    pub(super) content_type_timestamp: Timestamp,
}

/// What of an object is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its metadata.
    Head,
    /// Its data too.
    Whole,
}

impl Opened {
    pub(super) fn etag(&self) -> String {
        self.metadata.text(ETAG)
    }
}

impl ObjectRequest {
    /// Opens the object, or says what is known of its absence. When it changes meanwhile, what it is then counts.
    pub(super) async fn open(
        &self,
        state: &ObjectState,
        now_seconds: Option<u64>,
        part: Part,
    ) -> Result<Opened, Refusal> {
        let mut opened = self.open_once(state, now_seconds, part).await;
        for _ in 1..CHANGES_MAX {
            match opened {
                Err(Refusal::Engine(EngineError::Changed)) => {
                    let state = self.engine.state(self.hash).await?;
                    opened = self.open_once(&state, now_seconds, part).await;
                }
                other => return other,
            }
        }
        opened
    }

    async fn open_once(
        &self,
        state: &ObjectState,
        now_seconds: Option<u64>,
        part: Part,
    ) -> Result<Opened, Refusal> {
        let Some(data) = state.data() else {
            return Err(Refusal::NotFound(state.tombstone().map(|version| version.timestamp)));
        };
        let delete_at = state.delete_at();
        let timestamp = state.timestamp().unwrap_or(data.timestamp);
        if delete_at != 0 && now_seconds.is_some_and(|now| delete_at <= now) {
            return Err(Refusal::NotFound(Some(timestamp)));
        }
        let record = match part {
            Part::Head => self.engine.open_head(self.hash, data).await?,
            Part::Whole => self.engine.open_record(self.hash, data).await?,
        };
        let mut metadata = record.record.metadata.clone();
        let mut content_type_timestamp = data.timestamp;
        if let Some(meta) = state.meta() {
            let posted = self.engine.open_head(self.hash, meta).await?;
            metadata = overlay(&metadata, &posted.record.metadata);
        }
        if let Some(typed) = state.content_type() {
            let at = typed.content_type_timestamp.unwrap_or_default();
            if at > data.timestamp {
                let typed = self.engine.open_head(self.hash, typed).await?;
                if let Some(content_type) = typed.record.metadata.get(CONTENT_TYPE) {
                    metadata.set(CONTENT_TYPE, content_type);
                    content_type_timestamp = at;
                }
            }
        }
        let data = data.clone();
        Ok(Opened { data, record, metadata, timestamp, content_type_timestamp })
    }
}

/// What a POST leaves: its own metadata, and of the data's only what no POST may change.
fn overlay(data: &Metadata, posted: &Metadata) -> Metadata {
    let mut out = Metadata::default();
    for (key, value) in posted.iter() {
        out.set(key, value);
    }
    for (key, value) in data.iter() {
        let fixed = [NAME, ETAG, CONTENT_TYPE, STATIC_LARGE_OBJECT].contains(&key);
        if fixed || key.starts_with(SYSMETA) {
            out.set(key, value);
        }
    }
    out
}

/// The metadata that a request's headers set. A PUT may set what a POST may not.
fn metadata_of(from: &HeaderMap, put: bool) -> Metadata {
    let also = from.get(headers::X_BACKEND_REPLICATION_HEADERS);
    let also = also.and_then(|value| value.to_str().ok()).unwrap_or_default().to_lowercase();
    let also: Vec<&str> = also.split_ascii_whitespace().collect();
    let mut metadata = Metadata::default();
    for (name, value) in from {
        let name = name.as_str();
        let kept = name.starts_with(USER_META)
            || name.starts_with(TRANSIENT_SYSMETA)
            || put && name.starts_with(SYSMETA)
            || ALLOWED.contains(&name) && (put || name != STATIC_LARGE_OBJECT)
            || also.contains(&name) && put;
        if kept && name != CONTENT_TYPE && name != ETAG && !value.is_empty() {
            metadata.set(name, value.as_bytes());
        }
    }
    metadata
}

/// The metadata that a change brings, within the limits, and when the object is to expire then. A moment that was over
/// before the change is refused.
pub(super) fn new_metadata(
    from: &HeaderMap,
    at: Timestamp,
    limits: &Limits,
    put: bool,
) -> Result<(Metadata, u64), Refusal> {
    wire::metadata::check(from, USER_META, limits)?;
    let metadata = metadata_of(from, put);
    let delete_at = delete_at(&metadata)?;
    if delete_at != 0 && delete_at < at.seconds() {
        return Err(Refusal::Bad("X-Delete-At in past".to_owned()));
    }
    Ok((metadata, delete_at))
}

/// When the object is to expire, in seconds; 0 for never.
fn delete_at(metadata: &Metadata) -> Result<u64, Refusal> {
    match metadata.get(headers::X_DELETE_AT) {
        None => Ok(0),
        Some(value) => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Refusal::Bad("Non-integer X-Delete-At".to_owned())),
    }
}

/// Metadata that a response carries as headers.
pub(super) fn write_headers(metadata: &Metadata, into: &mut HeaderMap) {
    for (key, value) in metadata.iter() {
        if key == NAME || key == ETAG {
            continue;
        }
        let name = HeaderName::from_bytes(key.as_bytes());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value)) {
            into.insert(name, value);
        }
    }
    into.entry(header::CONTENT_TYPE)
        .or_insert(http::HeaderValue::from_static("application/octet-stream"));
}

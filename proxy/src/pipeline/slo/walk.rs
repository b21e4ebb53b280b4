//! Which segments hold some bytes of a large object. Manifests that are segments themselves are looked up on the way, only
//! if bytes of them are wanted. Swift: common/middleware/slo.py, `_byterange_listing_iterator`.

use futures_util::{StreamExt, stream};
use http::Method;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use types::{ContainerName, ObjectName};

use super::stored::{ObjectPart, Part};
use super::{SLO_ETAG, SOURCE, StaticLargeObjects, is_manifest, stored, text, work_on};
use crate::pipeline::Handler;
use crate::pipeline::segments::{Asked, Piece, Pieces, Segment, SegmentError};
use crate::store::Entity;

/// How deep manifests may lie in each other.
const DEPTH_MAX: usize = 10;
/// How many nested manifests are kept for the case that they are needed again.
const KEPT_MAX: usize = 20;

pub(super) type Manifest = Arc<[Part]>;

/// Nested manifests that were looked up, those that were used last at the end.
#[derive(Default)]
pub(super) struct Nested(Mutex<Vec<(String, Manifest)>>);

impl Nested {
    fn get(&self, name: &str) -> Option<Manifest> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == name)?;
        let found = kept.remove(at);
        kept.push(found);
        kept.last().map(|(_, manifest)| Arc::clone(manifest))
    }

    fn put(&self, name: String, manifest: Manifest) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push((name, manifest));
    }
}

/// A manifest on the way, and which bytes of the rest of it are wanted. They may begin before it and end behind it.
struct Level {
    manifest: Manifest,
    at: usize,
    first: i128,
    last: i128,
}

/// The way through manifests, from the outermost inwards.
pub(super) struct Walk {
    pub(super) slo: Arc<StaticLargeObjects>,
    pub(super) next: Handler,
    pub(super) asked: Arc<Asked>,
    pub(super) nested: Arc<Nested>,
    levels: Vec<Level>,
}

impl Walk {
    pub(super) fn new(
        slo: Arc<StaticLargeObjects>,
        next: Handler,
        asked: Arc<Asked>,
        nested: Arc<Nested>,
    ) -> Self {
        Walk { slo, next, asked, nested, levels: Vec::new() }
    }

    /// The pieces that make a range of what the manifest stands for.
    pub(super) fn pieces(mut self, manifest: Manifest, range: &Range<u64>) -> Pieces {
        let (first, last) = (i128::from(range.start), i128::from(range.end) - 1);
        self.levels.push(Level { manifest, at: 0, first, last });
        let step = |mut walk: Walk| async { Ok(walk.step().await?.map(|piece| (piece, walk))) };
        stream::try_unfold(self, step).boxed()
    }

    async fn step(&mut self) -> Result<Option<Piece>, SegmentError> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some((part, first, last)) = level.next() else {
                self.levels.pop();
                continue;
            };
            match part {
                Part::Data(bytes) => {
                    let end =
                        usize::try_from(last).map_or(bytes.len(), |last| last.saturating_add(1));
                    let start = usize::try_from(first).unwrap_or(0).min(bytes.len());
                    let end = end.clamp(start, bytes.len());
                    return Ok(Some(Piece::Data(bytes.slice(start..end))));
                }
                Part::Object(object) if object.is_manifest => {
                    self.descend(&object, first, last).await?;
                }
                Part::Object(object) => return self.object(object, first, last).map(Some),
            }
        }
    }

    async fn descend(
        &mut self,
        object: &ObjectPart,
        first: i128,
        last: i128,
    ) -> Result<(), SegmentError> {
        if self.levels.len() >= DEPTH_MAX {
            return Err(SegmentError::Depth);
        }
        let manifest = match self.nested.get(&object.name) {
            Some(manifest) => manifest,
            None => {
                let manifest = self.look_up(object).await?;
                self.nested.put(object.name.clone(), Arc::clone(&manifest));
                manifest
            }
        };
        self.levels.push(Level { manifest, at: 0, first, last });
        Ok(())
    }

    async fn look_up(&self, object: &ObjectPart) -> Result<Manifest, SegmentError> {
        let name = object.name.clone();
        let mut call = self.asked.sub(Method::GET, self.entity(&name)?, SOURCE);
        call.query.set("multipart-manifest", "get");
        let response = self.next.answer(call).await;
        let status = response.status();
        if status.is_server_error() {
            return Err(SegmentError::Unavailable(status));
        }
        if !status.is_success() {
            return Err(SegmentError::Missing { name, status });
        }
        let other = text(response.headers(), &SLO_ETAG).is_some_and(|etag| etag != object.etag);
        if other || !is_manifest(response.headers()) {
            return Err(SegmentError::Changed(name));
        }
        let limit = self.slo.config.stored_bytes_max();
        let body = axum::body::to_bytes(response.into_body(), limit).await;
        let body = body.map_err(|_| SegmentError::BrokenOff)?;
        let parsed = work_on(body.len(), move || stored::parse(&body)).await;
        let parts = parsed.map_err(|_| SegmentError::BrokenOff)?;
        let parts = parts.map_err(|why| SegmentError::Manifest(format!("{name}: {why}")))?;
        Ok(parts.into())
    }

    fn entity(&self, name: &str) -> Result<Entity, SegmentError> {
        let entity = within(&self.asked.entity, name);
        entity.ok_or_else(|| SegmentError::Manifest(format!("{name} is no name of an object")))
    }

    fn object(&self, object: ObjectPart, first: i128, last: i128) -> Result<Piece, SegmentError> {
        let all = first == 0 && last == i128::from(object.bytes) - 1;
        let bound = |at: i128| u64::try_from(at).unwrap_or(0);
        let part = (!all).then(|| bound(first)..bound(last.saturating_add(1)));
        Ok(Piece::Object(Segment {
            entity: self.entity(&object.name)?,
            etag: Some(object.etag),
            size: Some(object.bytes),
            listed: object.bytes,
            part,
        }))
    }
}

impl Level {
    /// The next part of which bytes are wanted, and which bytes of the object those are: the first, and the last.
    fn next(&mut self) -> Option<(Part, i128, i128)> {
        while self.last >= 0 {
            let part = self.manifest.get(self.at)?;
            self.at += 1;
            let len = i128::from(part.len());
            let (first, last) = (self.first.max(0), self.last.min(len - 1));
            self.first -= len;
            self.last -= len;
            if first > last {
                continue;
            }
            let offset = match part {
                Part::Object(ObjectPart { range: Some((start, _)), .. }) => i128::from(*start),
                _ => 0,
            };
            return Some((part.clone(), offset + first, offset + last));
        }
        None
    }
}

/// The object of a path (`/container/object`) in the same account.
pub(super) fn within(entity: &Entity, path: &str) -> Option<Entity> {
    let (container, object) = path.trim_start_matches('/').split_once('/')?;
    let container = entity.with_container(ContainerName::parse(container).ok()?);
    Some(container.with_object(ObjectName::parse(object).ok()?))
}

//! MERGE: takes records that another device has, by the same rule as every other change.
//!
//! What is known already is read over and not written, so a stream may be sent again. No container server is told:
//! whoever made the change has done that. A stream that turns out damaged is refused from there on; a record counts
//! only with the last byte of it, and those before it are taken.

use super::{DeviceRequest, json};
use crate::api::Server;
use crate::api::error::Refusal;
use crate::engine::{BodyWriter, Change, Engine, EngineError, StoredBody};
use crate::format::{Metadata, RecordKind as Stored};
use crate::state::{Fragment, Location, Rule, Version, is_news};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http_body_util::BodyExt;
use std::sync::Arc;
use wire::device::{Merged, RefusedRecord};
use wire::records::{Frame, FrameReader, RecordHead, RecordKind, RecordsError};
use wire::{Body, Response};

/// What one stream takes while it arrives, in MiB: a frame, and pieces being filled and in flight.
const STREAM_MIB: u32 = 4;
/// Records that wait for the disk at the same time.
const COMMITS: usize = 64;
/// Refused records that an answer names.
const REFUSED_MAX: usize = 1000;

pub(super) async fn merge(device: DeviceRequest, body: Body) -> Result<Response, Refusal> {
    let DeviceRequest { server, engine, .. } = device;
    if engine.is_poisoned() {
        return Err(EngineError::Poisoned.into());
    }
    let memory = server.body_memory.try_acquire_many(STREAM_MIB);
    let _memory = memory.map_err(|_| EngineError::Overloaded)?;
    let mut merge = Merge {
        server: Arc::clone(&server),
        engine,
        current: Current::Nothing,
        commits: FuturesUnordered::new(),
        done: Merged::default(),
    };
    let read = merge.read(body).await;
    // What was begun is ended, also when the rest is refused.
    while let Some(committed) = merge.commits.next().await {
        merge.count(committed)?;
    }
    read?;
    json(&merge.done)
}

struct Merge {
    server: Arc<Server>,
    engine: Engine,
    current: Current,
    commits: FuturesUnordered<BoxFuture<'static, Result<u64, EngineError>>>,
    done: Merged,
}

/// The record whose data comes.
enum Current {
    Nothing,
    /// Its data is read over.
    Unwanted,
    Wanted {
        head: Box<RecordHead>,
        writer: Box<BodyWriter>,
    },
}

impl Merge {
    async fn read(&mut self, mut body: Body) -> Result<(), Refusal> {
        let mut frames = FrameReader::default();
        loop {
            while let Some(frame) = frames.next_frame().map_err(damaged)? {
                self.take(frame).await?;
            }
            match tokio::time::timeout(self.server.client_timeout, body.frame()).await {
                Err(_) => return Err(Refusal::Slow),
                Ok(None) => return frames.finish().map_err(damaged),
                Ok(Some(Err(_))) => return Err(Refusal::Disconnected),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        frames.push(&data);
                    }
                }
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Refusal> {
        match frame {
            Frame::Record(head) => self.begin(head).await,
            Frame::Data(data) => {
                if let Current::Wanted { writer, head } = &mut self.current {
                    writer.push(&data).await?;
                    if writer.taken() == head.data_len {
                        return self.complete().await;
                    }
                }
                Ok(())
            }
            Frame::Abandoned => {
                self.done.abandoned += 1;
                self.current = Current::Nothing;
                Ok(())
            }
            Frame::End(_) => Ok(()),
        }
    }

    async fn begin(&mut self, head: RecordHead) -> Result<(), Refusal> {
        self.current = Current::Unwanted;
        if let Some(why) = self.refusal(&head) {
            if self.done.refused.len() < REFUSED_MAX {
                self.done.refused.push(RefusedRecord {
                    hash: head.hash.to_string(),
                    timestamp: head.timestamp.internal(),
                    why: why.to_owned(),
                });
            }
            return Ok(());
        }
        let state = self.engine.state(head.hash).await?;
        if !is_news(&state, &version_of(&head), self.engine.rule()) {
            self.done.known += 1;
            return Ok(());
        }
        if head.kind == RecordKind::Data && !self.engine.has_room() {
            return Err(EngineError::Full.into());
        }
        let whole = head.data_len == 0;
        let writer = Box::new(self.engine.body());
        self.current = Current::Wanted { head: Box::new(head), writer };
        if whole { self.complete().await } else { Ok(()) }
    }

    /// Why this device does not keep such a record, if it does not.
    fn refusal(&self, head: &RecordHead) -> Option<&'static str> {
        let name = head.metadata.iter().find(|(key, _)| key == "name");
        let name = name.and_then(|(_, name)| std::str::from_utf8(name).ok());
        let parts = name.and_then(|name| {
            let mut parts = name.strip_prefix('/')?.splitn(3, '/');
            Some((parts.next()?, parts.next()?, parts.next()?))
        });
        let hash_paths = &self.server.hash_paths;
        if parts.is_some_and(|(a, c, o)| hash_paths.object(a, c, o) != head.hash) {
            return Some("its name does not belong to its hash");
        }
        let fragment = head.fragment.is_some();
        if head.content_type_timestamp.is_some_and(|typed| typed.raw > head.timestamp.raw) {
            return Some("its content type is newer than itself");
        }
        match (self.engine.rule(), head.kind) {
            (_, RecordKind::Data) if head.data_len > self.engine.data_max() => {
                Some("it is longer than an object may be")
            }
            (Rule::Replicated, RecordKind::Durable) => Some("there are no fragments here"),
            (Rule::Replicated, _) if fragment => Some("there are no fragments here"),
            (Rule::Erasure, RecordKind::Data) if !fragment => Some("it is not a fragment"),
            _ => None,
        }
    }

    /// All of a record is there.
    async fn complete(&mut self) -> Result<(), Refusal> {
        let current = std::mem::replace(&mut self.current, Current::Nothing);
        let Current::Wanted { head, writer } = current else { return Ok(()) };
        let stored = writer.finish().await?;
        while self.commits.len() >= COMMITS {
            if let Some(committed) = self.commits.next().await {
                self.count(committed)?;
            }
        }
        self.commits.push(commit(self.engine.clone(), *head, stored).boxed());
        // Sets it off, and looks what has come of others.
        while let Some(Some(committed)) = self.commits.next().now_or_never() {
            self.count(committed)?;
        }
        Ok(())
    }

    fn count(&mut self, committed: Result<u64, EngineError>) -> Result<(), EngineError> {
        self.done.bytes += committed?;
        self.done.taken += 1;
        Ok(())
    }
}

fn damaged(error: RecordsError) -> Refusal {
    Refusal::Records { error }
}

async fn commit(engine: Engine, head: RecordHead, body: StoredBody) -> Result<u64, EngineError> {
    let version = version_of(&head);
    let mut metadata = Metadata::default();
    for (key, value) in &head.metadata {
        metadata.set(key, value);
    }
    let len = body.len();
    let change = Change {
        kind: version.kind,
        hash: head.hash,
        timestamp: version.timestamp,
        content_type_timestamp: version.content_type_timestamp,
        delete_at: version.delete_at,
        fragment: version.fragment,
        metadata: &metadata,
        body,
        update: None,
    };
    engine.commit(change).await?;
    Ok(len)
}

/// A record as the merge rule sees it.
fn version_of(head: &RecordHead) -> Version {
    Version {
        kind: match head.kind {
            RecordKind::Data => Stored::Data,
            RecordKind::Meta => Stored::Meta,
            RecordKind::Tombstone => Stored::Tombstone,
            RecordKind::Durable => Stored::Durable,
        },
        timestamp: head.timestamp,
        content_type_timestamp: head.content_type_timestamp,
        delete_at: head.delete_at,
        data_len: head.data_len,
        fragment: head
            .fragment
            .map(|fragment| Fragment { index: fragment.index, durable: fragment.durable }),
        bulk: Vec::new(),
        location: Location::default(),
    }
}

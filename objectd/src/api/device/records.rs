//! RECORDS: whole records of a range or of named objects, with their data, as [`wire::records`] has it.
//!
//! The answer ends between two objects, when so many bytes have been sent. What cannot be read is left out, and
//! counted: the engine knows of it by then.

use super::{DeviceRequest, named_hashes};
use crate::api::error::Refusal;
use crate::engine::{ChunkStream, Engine, EngineError, OpenRecord};
use crate::format::RecordKind as Stored;
use crate::state::Version;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderValue, header};
use std::collections::VecDeque;
use types::{HashRange, ObjectHash};
use wire::records::{
    PAYLOAD_MAX, PageEnd, RecordFragment, RecordHead, RecordKind, abandoned_frame, data_header,
};
use wire::{Body, Response};

/// Bytes after which an answer ends, unless the question says otherwise.
const BYTES: u64 = 64 << 20;
/// The most that a question may say.
const BYTES_MAX: u64 = 16 << 30;
/// Objects looked up at a time.
const LOOK_UP: usize = 64;
/// What is shorter is sent together.
const PIECE: usize = 64 * 1024;

pub(super) async fn records(device: DeviceRequest, body: Body) -> Result<Response, Refusal> {
    let limit = device.limit("bytes", BYTES, BYTES_MAX)?;
    let range = device.range()?;
    let DeviceRequest { server, engine, .. } = device;
    let wanted = match named_hashes(&server, body).await? {
        Some(hashes) => Wanted::Named(hashes.into()),
        None => Wanted::Range(Some(range)),
    };
    let pieces = stream::unfold(RecordReader::new(engine, wanted, limit), |mut reader| async {
        let piece = reader.next().await?;
        if let Err(error) = &piece {
            let error = daemon::telemetry::chain(error);
            tracing::warn!(error, "an answer to RECORDS broke off");
        }
        Some((piece, reader))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let binary = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, binary);
    Ok(response)
}

/// What is still to be looked up.
enum Wanted {
    Range(Option<HashRange>),
    Named(VecDeque<ObjectHash>),
}

/// Makes the answer, piece by piece.
struct RecordReader {
    engine: Engine,
    wanted: Wanted,
    limit: u64,
    /// Looked up and not yet read.
    objects: VecDeque<(ObjectHash, VecDeque<Version>)>,
    /// Of the record whose head was sent last.
    data: Option<ChunkStream>,
    out: BytesMut,
    ready: VecDeque<Bytes>,
    sent: u64,
    skipped: u64,
    ended: bool,
}

impl RecordReader {
    fn new(engine: Engine, wanted: Wanted, limit: u64) -> Self {
        RecordReader {
            engine,
            wanted,
            limit,
            objects: VecDeque::new(),
            data: None,
            out: BytesMut::new(),
            ready: VecDeque::new(),
            sent: 0,
            skipped: 0,
            ended: false,
        }
    }

    /// The next piece, or `None` at the end. After an error there is nothing more.
    async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(Ok(piece));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.step().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    /// Does the next thing there is to do.
    async fn step(&mut self) -> Result<(), EngineError> {
        if let Some(data) = &mut self.data {
            match data.next().await {
                Some(Ok(piece)) => self.send_data(piece),
                Some(Err(error)) => {
                    self.skip(error)?;
                    self.send(abandoned_frame());
                    self.data = None;
                }
                None => self.data = None,
            }
            return Ok(());
        }
        if let Some((hash, versions)) = self.objects.front_mut() {
            let hash = *hash;
            match versions.pop_front() {
                Some(version) => return self.begin(hash, &version).await,
                None => drop(self.objects.pop_front()),
            }
        }
        if self.sent >= self.limit || !self.look_up().await? {
            return self.end().await;
        }
        Ok(())
    }

    /// Reads a record. Its head is sent together with its first data, when that is known to be good.
    async fn begin(&mut self, hash: ObjectHash, version: &Version) -> Result<(), EngineError> {
        if version.kind == Stored::Purge {
            return Ok(());
        }
        let opened = match self.engine.open_record(hash, version).await {
            Ok(opened) => opened,
            Err(error) => return self.skip(error),
        };
        let mut data = self.engine.data(&opened, 0..opened.record.head.data_len);
        let first = match data.next().await.transpose() {
            Ok(first) => first,
            Err(error) => return self.skip(error),
        };
        let Some(frame) = head_of(&opened).and_then(|head| head.frame()) else {
            self.skipped += 1;
            return Ok(());
        };
        self.send(frame);
        if let Some(first) = first {
            self.send_data(first);
            self.data = Some(data);
        }
        Ok(())
    }

    /// Goes on without a record that cannot be read.
    fn skip(&mut self, error: EngineError) -> Result<(), EngineError> {
        match error {
            EngineError::Damaged(_) | EngineError::Read(_) | EngineError::Changed => {
                self.skipped += 1;
                Ok(())
            }
            other => Err(other),
        }
    }

    /// Finds more objects; false when there are none.
    async fn look_up(&mut self) -> Result<bool, EngineError> {
        if !self.objects.is_empty() {
            return Ok(true);
        }
        let found = match &mut self.wanted {
            Wanted::Range(left) => {
                let Some(range) = *left else { return Ok(false) };
                let found = self.engine.states(range, LOOK_UP).await?;
                let last = found.last().filter(|_| found.len() == LOOK_UP);
                *left = last.and_then(|(last, _)| range.behind(last));
                found
            }
            Wanted::Named(hashes) => {
                let Some(hash) = hashes.pop_front() else { return Ok(false) };
                vec![(hash, self.engine.state(hash).await?)]
            }
        };
        self.objects.extend(
            found
                .into_iter()
                .map(|(hash, state)| (hash, state.versions().iter().cloned().collect())),
        );
        Ok(true)
    }

    async fn end(&mut self) -> Result<(), EngineError> {
        // Whatever comes next, if anything, is where to go on.
        while self.objects.is_empty() && self.look_up().await? {}
        let marker = self.objects.front().map(|(hash, _)| hash.to_string());
        self.send(PageEnd { marker, skipped: self.skipped }.frame());
        self.flush();
        self.ended = true;
        Ok(())
    }

    fn send(&mut self, frame: Bytes) {
        self.sent += frame.len() as u64;
        self.out.extend_from_slice(&frame);
        if self.out.len() >= PIECE {
            self.flush();
        }
    }

    fn send_data(&mut self, mut piece: Bytes) {
        while !piece.is_empty() {
            let now = piece.split_to(piece.len().min(PAYLOAD_MAX));
            self.sent += now.len() as u64;
            self.out.extend_from_slice(&data_header(&now));
            if self.out.len() + now.len() <= PIECE {
                self.out.extend_from_slice(&now);
            } else {
                self.flush();
                self.ready.push_back(now);
            }
        }
    }

    fn flush(&mut self) {
        if !self.out.is_empty() {
            self.ready.push_back(self.out.split().freeze());
        }
    }
}

/// What a record says, wherever it lies; `None` for what concerns this device alone.
fn head_of(opened: &OpenRecord) -> Option<RecordHead> {
    let version = opened.version();
    let kind = match version.kind {
        Stored::Data => RecordKind::Data,
        Stored::Meta => RecordKind::Meta,
        Stored::Tombstone => RecordKind::Tombstone,
        Stored::Durable => RecordKind::Durable,
        Stored::Purge => return None,
    };
    let metadata = opened.record.metadata.iter();
    Some(RecordHead {
        kind,
        hash: opened.record.head.hash,
        timestamp: version.timestamp,
        content_type_timestamp: version.content_type_timestamp,
        delete_at: version.delete_at,
        fragment: version
            .fragment
            .map(|fragment| RecordFragment { index: fragment.index, durable: fragment.durable }),
        data_len: opened.record.head.data_len,
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_vec())).collect(),
    })
}

//! Writing an object to its replicas. Swift: proxy/controllers/obj.py, `ReplicatedObjectController`.
//!
//! A small body is read whole and sent to all nodes at once. A large one is read once and handed on piece by
//! piece; its first mebibyte is kept, so that a node which fails early is replaced by a handoff. One that
//! fails later is lost for this write, and the write goes on as long as a quorum is left.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;
use types::{Timestamp, quorum_size};
use wire::{Body, Response};

use super::body::{BodyError, ClientBody, Head};
use super::call::Answer;
use super::entity::{Entity, Place};
use super::fanout::{Fanout, Outcome};
use super::info::ContainerInfo;
use super::lane::{Begun, Lane};
use super::peers::SharedCandidates;
use super::{Store, Unavailable};

/// An object to be written.
pub struct ObjectPut {
    /// Its metadata, and what else storage nodes must know.
    pub headers: HeaderMap,
    /// Its bytes.
    pub body: Body,
    /// How many, if that is known.
    pub length: Option<u64>,
    /// Only when no such object exists.
    pub only_if_new: bool,
}

/// An object that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The MD5 of its bytes, without quotes.
    pub etag: Option<HeaderValue>,
    /// When.
    pub timestamp: Timestamp,
}

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It exists, and was to be written only when it does not.
    #[error("the object exists")]
    Exists,
    /// A newer one exists; in Swift's eyes this write was overtaken, not refused.
    #[error("a newer object exists")]
    Overtaken,
    /// The body is larger than an object may be.
    #[error("the body is too large")]
    TooLarge,
    /// The client sent nothing for too long.
    #[error("the client was too slow")]
    ClientTimeout,
    /// The client went away before the end of the body.
    #[error("the client went away")]
    ClientGone,
    /// Nodes stored different bytes.
    #[error("storage nodes disagree about the object's checksum")]
    EtagsDiffer,
    /// Nodes agree that it must not be written (422, …).
    #[error("storage nodes refused the object")]
    Refused(Box<Answer>),
    /// No quorum of nodes could store it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<BodyError> for PutError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Timeout => PutError::ClientTimeout,
            BodyError::Gone => PutError::ClientGone,
            BodyError::TooLarge => PutError::TooLarge,
        }
    }
}

/// How much of a large body is kept for handoffs.
const REPLAY_BYTES_MAX: usize = 1024 * 1024;

/// What all lanes of a large write have in common.
struct Course {
    store: Arc<Store>,
    place: Place,
    nodes: SharedCandidates,
    headers: Vec<HeaderMap>,
    length: Option<u64>,
}

/// A large write under way.
struct Streaming {
    course: Course,
    /// By request: the lane, as long as there is one.
    lanes: Vec<Option<Lane>>,
    outcomes: Vec<Outcome>,
    /// The beginning of the body, while it is not too long to be kept.
    replay: Option<VecDeque<Bytes>>,
    replay_bytes: usize,
    quorum: usize,
    only_if_new: bool,
}

impl Store {
    /// Writes an object, its update of the container's listing included.
    pub async fn put_object(
        self: &Arc<Self>,
        entity: &Entity,
        container: &ContainerInfo,
        put: ObjectPut,
    ) -> Result<Stored, PutError> {
        let ObjectPut { mut headers, body, length, only_if_new } = put;
        let place = self.place_of_object(entity, container.policy)?;
        let timestamp = self.moment(&headers);
        let (nodes, count) = place.nodes();
        let limit = self.config.limits.max_file_size;
        let mut body = ClientBody::new(body, length, limit, self.config.client_timeout());
        let outcomes = match body.head().await? {
            Head::Whole(body) => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
                let headers = self.object_headers(&headers, timestamp, container, count);
                let method = Method::PUT;
                let fanout = Fanout { method, headers, body, nodes, node_count: count };
                self.gather(&place, fanout).await
            }
            Head::Begun(chunks) => {
                if length.is_none() {
                    // On a socket the transport says so by itself; within the process nobody else would.
                    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                let mut headers = self.object_headers(&headers, timestamp, container, count);
                for (headers, updates) in headers.iter_mut().zip(&container.updates_of_large) {
                    for (name, value) in updates {
                        headers.insert(name.clone(), value.clone());
                    }
                }
                let lanes = headers.iter().map(|_| None).collect();
                let course = Course { store: Arc::clone(self), place, nodes, headers, length };
                let mut streaming = Streaming {
                    course,
                    lanes,
                    outcomes: Vec::new(),
                    replay: Some(VecDeque::new()),
                    replay_bytes: 0,
                    quorum: quorum_size(count),
                    only_if_new,
                };
                Box::pin(streaming.run(chunks, body)).await?
            }
        };
        self.settle(outcomes, count, timestamp, only_if_new).await
    }

    async fn settle(
        &self,
        outcomes: Vec<Outcome>,
        count: usize,
        timestamp: Timestamp,
        only_if_new: bool,
    ) -> Result<Stored, PutError> {
        objections(&outcomes, only_if_new)?;
        let etag = agreed_etag(&outcomes)?;
        let answer =
            self.best_answer(outcomes, quorum_size(count), &[]).await.ok_or(Unavailable)?;
        if answer.status.is_success() {
            Ok(Stored { etag, timestamp })
        } else {
            Err(PutError::Refused(Box::new(answer)))
        }
    }
}

/// What a single node may object to on behalf of all.
fn objections(outcomes: &[Outcome], only_if_new: bool) -> Result<(), PutError> {
    let has = |status| outcomes.iter().any(|outcome| outcome.status() == status);
    if only_if_new && has(StatusCode::PRECONDITION_FAILED) {
        return Err(PutError::Exists);
    }
    if has(StatusCode::CONFLICT) {
        return Err(PutError::Overtaken);
    }
    Ok(())
}

/// The ETag that all who stored the object computed.
fn agreed_etag(outcomes: &[Outcome]) -> Result<Option<HeaderValue>, PutError> {
    let stored = outcomes.iter().filter(|outcome| outcome.status().is_success());
    let mut etags = stored.filter_map(|outcome| {
        outcome.response.as_ref()?.headers().get(header::ETAG).map(bare_etag)
    });
    let etag = etags.next();
    if etags.any(|other| Some(&other) != etag.as_ref()) {
        tracing::error!("storage nodes stored different bytes for one write");
        return Err(PutError::EtagsDiffer);
    }
    Ok(etag)
}

fn bare_etag(value: &HeaderValue) -> HeaderValue {
    let text = value.to_str().unwrap_or_default().trim_matches('"');
    HeaderValue::from_str(text).unwrap_or_else(|_| value.clone())
}

impl Course {
    /// Opens a lane on the next node that takes it.
    async fn begin(&self, slot: usize, backlog: &VecDeque<Bytes>) -> Begun {
        loop {
            let Some(candidate) = self.nodes.next() else { return Begun::Failed };
            let headers = self.headers[slot].clone();
            let (store, place) = (&self.store, &self.place);
            let begun =
                Lane::begin(store, place, candidate.peer, headers, self.length, backlog.clone());
            match begun.await {
                Begun::Failed => {}
                usable => return usable,
            }
        }
    }
}

impl Streaming {
    async fn run(
        &mut self,
        head: Vec<Bytes>,
        mut body: ClientBody,
    ) -> Result<Vec<Outcome>, PutError> {
        let slots: Vec<usize> = (0..self.lanes.len()).collect();
        self.begin(&slots, &VecDeque::new()).await;
        objections(&self.outcomes, self.only_if_new)?;
        for chunk in head {
            if !self.pass_on(chunk).await {
                return Ok(self.unfinished());
            }
        }
        if !self.has_quorum() {
            return Ok(self.unfinished());
        }
        // An error here drops the lanes before their end, and with that the write.
        while let Some(chunk) = body.next().await? {
            if !self.pass_on(chunk).await {
                return Ok(self.unfinished());
            }
        }
        Ok(self.end().await)
    }

    /// Opens lanes for requests, on the next nodes that take them.
    async fn begin(&mut self, slots: &[usize], backlog: &VecDeque<Bytes>) {
        let course = &self.course;
        let begun = join_all(slots.iter().map(|slot| course.begin(*slot, backlog))).await;
        for (slot, begun) in slots.iter().zip(begun) {
            match begun {
                Begun::Open(lane) => self.lanes[*slot] = Some(lane),
                Begun::Answered(response) => self.answered(response),
                Begun::Failed => {}
            }
        }
    }

    fn answered(&mut self, response: Response) {
        self.outcomes.push(Outcome { response: Some(response) });
    }

    fn has_quorum(&self) -> bool {
        self.lanes.iter().flatten().count() >= self.quorum
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.course.store.config.node_timeout()
    }

    /// Gives a piece to all nodes. False when too few of them are left.
    async fn pass_on(&mut self, chunk: Bytes) -> bool {
        self.keep(&chunk);
        let deadline = self.deadline();
        let sent = join_all(self.lanes.iter().map(|lane| {
            let chunk = chunk.clone();
            async move {
                match lane {
                    Some(lane) => lane.send(chunk, deadline).await,
                    None => true,
                }
            }
        }));
        let sent = sent.await;
        let lost: Vec<usize> =
            sent.iter().enumerate().filter(|(_, sent)| !**sent).map(|(slot, _)| slot).collect();
        if !lost.is_empty() {
            let replace = self.part_with(lost).await;
            if let (Some(backlog), false) = (self.replay.clone(), replace.is_empty()) {
                self.begin(&replace, &backlog).await;
            }
        }
        self.has_quorum()
    }

    fn keep(&mut self, chunk: &Bytes) {
        self.replay_bytes += chunk.len();
        match self.replay.as_mut() {
            Some(replay) if self.replay_bytes <= REPLAY_BYTES_MAX => {
                replay.push_back(chunk.clone())
            }
            _ => self.replay = None,
        }
    }

    /// Takes lanes down that want no more. Those that had no answer either may be replaced.
    async fn part_with(&mut self, slots: Vec<usize>) -> Vec<usize> {
        let mut without_answer = Vec::new();
        let deadline = self.deadline();
        for slot in slots {
            let Some(lane) = self.lanes[slot].take() else { continue };
            if !lane.is_closed() {
                // It is slow, and has had its time.
                self.course.place.side.failed(&lane.peer);
                without_answer.push(slot);
                continue;
            }
            match lane.answer(&self.course.store, &self.course.place, deadline).await {
                Some(response) => self.answered(response),
                None => without_answer.push(slot),
            }
        }
        without_answer
    }

    /// Gives up: the lanes end without their end.
    fn unfinished(&mut self) -> Vec<Outcome> {
        tracing::warn!("too few storage nodes are left for a write");
        for lane in &mut self.lanes {
            *lane = None;
        }
        self.filled_up()
    }

    fn filled_up(&mut self) -> Vec<Outcome> {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        while outcomes.len() < self.lanes.len() {
            outcomes.push(Outcome { response: None });
        }
        outcomes
    }

    /// Tells all nodes that they have everything, and waits for a quorum and a little longer.
    async fn end(&mut self) -> Vec<Outcome> {
        let deadline = self.deadline();
        let lanes: Vec<Lane> = self.lanes.iter_mut().filter_map(Option::take).collect();
        let (store, place) = (&self.course.store, &self.course.place);
        let mut answers: FuturesUnordered<_> = lanes
            .into_iter()
            .map(|lane| async move {
                // A node that already answered has closed its queue; its answer counts all the same.
                lane.end(deadline).await;
                lane.answer(store, place, deadline).await
            })
            .collect();
        let mut until = deadline;
        // Dropped, a lane still has the node's timeout to come to its end.
        while let Ok(Some(answer)) = tokio::time::timeout_at(until, answers.next()).await {
            let decided = answer.is_some_and(|response| {
                self.outcomes.push(Outcome { response: Some(response) });
                let stored = self.outcomes.iter().filter(|outcome| outcome.status().is_success());
                stored.count() >= self.quorum
            });
            if decided {
                until = until.min(Instant::now() + store.config.post_quorum_timeout());
            }
        }
        drop(answers);
        self.filled_up()
    }
}

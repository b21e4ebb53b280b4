//! One replica's share of a large write: a request whose body is fed piece by piece.
//!
//! What matters most is how a lane's body ends: cleanly only after [`Lane::end`]. Whatever else happens, the
//! client's going away included, it ends with an error, so that the node stores nothing.

use bytes::Bytes;
use http::Method;
use http::header::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;
use wire::{Body, Response};

use super::Store;
use super::call::{request, uri};
use super::entity::Place;
use super::peers::Peer;

/// Pieces that wait for a node which is slower than the client.
const QUEUED_CHUNKS_MAX: usize = 4;
/// A call ends by its lane's end; this only has to be longer than any write.
const CALL_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

enum Piece {
    Chunk(Bytes),
    End,
}

/// The write was given up before its end.
#[derive(Debug, thiserror::Error)]
#[error("the write was given up before the end of its body")]
struct GivenUp;

/// A write to one node.
pub(crate) struct Lane {
    pub(crate) peer: Arc<Peer>,
    pieces: mpsc::Sender<Piece>,
    call: JoinHandle<Option<Response>>,
    /// Dropped with the lane: from then on the call has only so long to come to its end.
    _alive: oneshot::Sender<()>,
}

/// How a lane began.
pub(crate) enum Begun {
    /// The node takes the body.
    Open(Lane),
    /// The node has answered without wanting it.
    Answered(Response),
    /// The node cannot be used.
    Failed,
}

impl Lane {
    /// Calls a node. `backlog` is sent ahead of what comes later.
    pub(crate) async fn begin(
        store: &Arc<Store>,
        place: &Place,
        peer: Arc<Peer>,
        headers: HeaderMap,
        length: Option<u64>,
        backlog: VecDeque<Bytes>,
    ) -> Begun {
        let (pieces, queue) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let (wanted, mut is_wanted) = oneshot::channel();
        let (alive, abandoned) = oneshot::channel::<()>();
        let body = LaneBody { backlog, queue, wanted: Some(wanted), ended: false, left: length };
        let call = {
            let (store, place, peer) = (Arc::clone(store), place.clone(), Arc::clone(&peer));
            let call = async move {
                let request =
                    request(&Method::PUT, uri(&place, &peer, None), headers, Body::new(body));
                let patience = store.config.node_timeout();
                tokio::select! {
                    response = store.call(&place, &peer, request, CALL_TIMEOUT) => response,
                    () = async { let _ = abandoned.await; tokio::time::sleep(patience).await } => None,
                }
            };
            tokio::spawn(call.in_current_span())
        };
        let mut lane = Lane { peer, pieces, call, _alive: alive };
        let patience = tokio::time::sleep(store.config.node_timeout());
        tokio::pin!(patience);
        loop {
            tokio::select! {
                biased;
                response = &mut lane.call => {
                    return match response.ok().flatten() {
                        Some(response) => lane.answered(store, place, response),
                        None => Begun::Failed,
                    };
                }
                wanted = &mut is_wanted, if !is_wanted.is_terminated() => {
                    if wanted.is_ok() {
                        return Begun::Open(lane);
                    }
                }
                () = &mut patience => {
                    place.side.failed(&lane.peer);
                    return Begun::Failed;
                }
            }
        }
    }

    fn answered(&self, store: &Store, place: &Place, response: Response) -> Begun {
        if store.judge(place, &self.peer, response.status()) {
            Begun::Answered(response)
        } else {
            Begun::Failed
        }
    }

    /// Whether the node has let go of the body.
    pub(crate) fn is_closed(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Hands a piece over. False when the node did not take it in time, or wants no more.
    pub(crate) async fn send(&self, chunk: Bytes, deadline: Instant) -> bool {
        self.hand_over(Piece::Chunk(chunk), deadline).await
    }

    /// Tells the node that it has everything.
    pub(crate) async fn end(&self, deadline: Instant) -> bool {
        self.hand_over(Piece::End, deadline).await
    }

    async fn hand_over(&self, piece: Piece, deadline: Instant) -> bool {
        match self.pieces.try_send(piece) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(piece)) => {
                let sent = tokio::time::timeout_at(deadline, self.pieces.send(piece)).await;
                matches!(sent, Ok(Ok(())))
            }
        }
    }

    /// Waits for the node's answer; 5xx and silence are none.
    pub(crate) async fn answer(
        mut self,
        store: &Store,
        place: &Place,
        deadline: Instant,
    ) -> Option<Response> {
        let Ok(answer) = tokio::time::timeout_at(deadline, &mut self.call).await else {
            tracing::warn!(node = %self.peer.endpoint, "a storage node did not answer a write in time");
            place.side.failed(&self.peer);
            return None;
        };
        let response = answer.ok().flatten()?;
        store.judge(place, &self.peer, response.status()).then_some(response)
    }
}

struct LaneBody {
    backlog: VecDeque<Bytes>,
    queue: mpsc::Receiver<Piece>,
    wanted: Option<oneshot::Sender<()>>,
    ended: bool,
    left: Option<u64>,
}

impl LaneBody {
    fn give(&mut self, chunk: Bytes) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

impl HttpBody for LaneBody {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        if let Some(wanted) = self.wanted.take() {
            let _ = wanted.send(());
        }
        if let Some(chunk) = self.backlog.pop_front() {
            return self.give(chunk);
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.queue.poll_recv(cx)) {
            Some(Piece::Chunk(chunk)) => self.give(chunk),
            Some(Piece::End) => {
                self.ended = true;
                Poll::Ready(None)
            }
            None => {
                self.ended = true;
                Poll::Ready(Some(Err(GivenUp)))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

//! Bodies that somebody listens to while they pass.

use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use wire::Body;

/// Who hears of a body. It is dropped with the body, whether that ended or not.
pub(super) trait Listener: Send + Unpin + 'static {
    /// So many bytes passed.
    fn data(&mut self, bytes: u64);

    /// The body ended as it should.
    fn end(&mut self) {}
}

impl Listener for Arc<AtomicU64> {
    fn data(&mut self, bytes: u64) {
        self.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// See the module's page.
pub(super) struct Heard<L> {
    body: Body,
    listener: L,
}

impl<L: Listener> Heard<L> {
    pub(super) fn new(body: Body, listener: L) -> Self {
        Heard { body, listener }
    }
}

/// A body whose bytes are counted.
pub(super) fn counted(body: Body, count: &Arc<AtomicU64>) -> Body {
    match body.is_end_stream() {
        true => body,
        false => Body::new(Heard::new(body, Arc::clone(count))),
    }
}

impl<L: Listener> HttpBody for Heard<L> {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.listener.data(data.len() as u64);
                }
            }
            Some(Err(_)) => {}
            None => self.listener.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! A body that never makes the client wait without end: an object's goes on from another replica when the one
//! it comes from breaks off or says nothing for too long; any other ends with an error.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderValue};
use http::{StatusCode, response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wire::{Body, headers};

use super::Store;
use super::peers::Peer;
use super::read::Search;

/// Which bytes of the object a response carries: from the first, up to and with the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: u64,
    last: u64,
}

impl Span {
    /// `None` for what cannot be taken up again: an empty body, a multipart one, an unknown length.
    fn of(status: StatusCode, headers: &HeaderMap) -> Option<Span> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if status == StatusCode::PARTIAL_CONTENT {
            let (span, _) = text(header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = span.split_once('-')?;
            return Some(Span { first: first.parse().ok()?, last: last.parse().ok()? });
        }
        let length: u64 = text(header::CONTENT_LENGTH)?.parse().ok()?;
        Some(Span { first: 0, last: length.checked_sub(1)? })
    }

    /// What is left after so many bytes; `None` when that is nothing.
    fn after(self, sent: u64) -> Option<Span> {
        let first = self.first.checked_add(sent)?;
        (first <= self.last).then_some(Span { first, last: self.last })
    }

    fn len(self) -> Option<u64> {
        self.last.checked_sub(self.first)?.checked_add(1)
    }
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
#[error("the body could not be read to its end from any replica")]
struct ReadBrokenOff;

type Again = (Box<Resume>, Option<Body>);

/// What is needed to go on.
struct Resume {
    store: Arc<Store>,
    search: Search,
    peer: Arc<Peer>,
    span: Span,
}

pub(crate) struct Resuming {
    body: Body,
    sent: u64,
    /// How many bytes there must be, if that is known.
    length: Option<u64>,
    patience: Duration,
    /// Runs while the body keeps us waiting.
    deadline: Option<Pin<Box<Sleep>>>,
    resume: Option<Box<Resume>>,
    again: Option<BoxFuture<'static, Again>>,
}

impl Resuming {
    pub(crate) fn of(
        store: Arc<Store>,
        search: Search,
        peer: Arc<Peer>,
        parts: &response::Parts,
        body: Body,
    ) -> Self {
        let span = Span::of(parts.status, &parts.headers);
        let patience = store.read_timeout(&search);
        let resume = span.map(|span| Box::new(Resume { store, search, peer, span }));
        Resuming {
            body,
            sent: 0,
            length: span.and_then(Span::len),
            patience,
            deadline: None,
            resume,
            again: None,
        }
    }

    /// A body that no other replica can go on with: a listing may differ there.
    pub(crate) fn patient(body: Body, patience: Duration) -> Self {
        let (length, deadline, resume, again) = (None, None, None, None);
        Resuming { body, sent: 0, length, patience, deadline, resume, again }
    }

    /// Starts to look for another replica; without one the body ends with an error, never as if complete.
    fn break_off(&mut self) -> Result<(), axum::Error> {
        self.deadline = None;
        self.body = Body::empty();
        let resume = self.resume.take().ok_or_else(|| axum::Error::new(ReadBrokenOff))?;
        metrics::counter!("apus_proxy_resumed_reads_total").increment(1);
        self.again = Some(Box::pin(resume.go_on(self.sent)));
        Ok(())
    }

    /// The time for the next piece is up.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.deadline.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + self.patience))
        });
        deadline.as_mut().poll(cx).is_ready()
    }

    fn is_complete(&self) -> bool {
        self.length.is_none_or(|length| self.sent >= length)
    }
}

impl Resume {
    async fn go_on(mut self: Box<Self>, sent: u64) -> Again {
        let node = &self.peer.endpoint;
        tracing::warn!(%node, sent, "an object broke off while it was read; going on from another replica");
        self.search.place().side.failed(&self.peer);
        let Some(etag) = self.search.etag.clone() else { return (self, None) };
        let headers = &mut self.search.read.headers;
        for condition in CONDITIONS {
            headers.remove(condition);
        }
        for condition in NODE_CONDITIONS {
            headers.remove(condition);
        }
        let Some(wanted) = self.span.after(sent) else { return (self, None) };
        let Span { first, last } = wanted;
        if let Ok(range) = HeaderValue::try_from(format!("bytes={first}-{last}")) {
            headers.insert(header::RANGE, range);
        }
        headers.insert(header::IF_MATCH, etag);
        while let Some(source) = self.store.clone().find_source(&mut self.search).await {
            let response = source.response;
            let whole = response.status() == StatusCode::OK && first == 0;
            let part = response.status() == StatusCode::PARTIAL_CONTENT;
            if (whole || part) && Span::of(response.status(), response.headers()) == Some(wanted) {
                self.peer = source.peer;
                return (self, Some(response.into_body()));
            }
        }
        (self, None)
    }
}

/// The client's conditions were judged by the first source.
const CONDITIONS: [header::HeaderName; 5] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::IF_MATCH,
];

/// What middlewares asked of the first source: to judge by another ETag, and to send some objects whole. The rest of an
/// object is asked for by its own ETag, and is a part.
const NODE_CONDITIONS: [&str; 2] =
    [headers::X_BACKEND_ETAG_IS_AT, headers::X_BACKEND_IGNORE_RANGE_IF_METADATA_PRESENT];

impl HttpBody for Resuming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        loop {
            if let Some(again) = this.again.as_mut() {
                let (resume, body) = ready!(again.as_mut().poll(cx));
                this.again = None;
                let Some(body) = body else {
                    return Poll::Ready(Some(Err(axum::Error::new(ReadBrokenOff))));
                };
                this.body = body;
                this.resume = Some(resume);
            }
            let broken = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.deadline = None;
                    this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(None) if this.is_complete() => return Poll::Ready(None),
                // All was sent already; whatever is wrong now does not matter to the client.
                Poll::Ready(_) if this.length.is_some() && this.is_complete() => {
                    return Poll::Ready(None);
                }
                Poll::Ready(_) => true,
                Poll::Pending => this.is_late(cx),
            };
            if !broken {
                return Poll::Pending;
            }
            if let Err(error) = this.break_off() {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_none() && self.is_complete() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.sent)),
            None => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(status: StatusCode, name: header::HeaderName, value: &str) -> Option<Span> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        Span::of(status, &headers)
    }

    #[test]
    fn knows_which_bytes_come() {
        let whole = span(StatusCode::OK, header::CONTENT_LENGTH, "10");
        assert_eq!(whole, Some(Span { first: 0, last: 9 }));
        let part = span(StatusCode::PARTIAL_CONTENT, header::CONTENT_RANGE, "bytes 3-7/10");
        assert_eq!(part, Some(Span { first: 3, last: 7 }));
        assert_eq!(part.and_then(Span::len), Some(5));
        assert_eq!(span(StatusCode::OK, header::CONTENT_LENGTH, "0"), None);
        assert_eq!(span(StatusCode::PARTIAL_CONTENT, header::CONTENT_LENGTH, "10"), None);
    }

    proptest! {
        #[test]
        fn never_panics(value in "(bytes )?[0-9]{0,20}[-/ ]?[0-9]{0,20}[-/ ]?[0-9*]{0,20}", sent: u64) {
            let part = span(StatusCode::PARTIAL_CONTENT, header::CONTENT_RANGE, &value);
            let whole = span(StatusCode::OK, header::CONTENT_LENGTH, &value);
            for span in [part, whole].into_iter().flatten() {
                let _ = span.len();
                let _ = span.after(sent);
            }
        }

        #[test]
        fn what_is_left_is_the_end(first: u64, last: u64, sent: u64) {
            let left = Span { first, last }.after(sent);
            let from = u128::from(first) + u128::from(sent);
            let expected = (from <= u128::from(last)).then_some((from, last));
            prop_assert_eq!(left.map(|left| (u128::from(left.first), left.last)), expected);
        }
    }
}

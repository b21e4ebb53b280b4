//! The client's body, read once, in time and within limits.

use bytes::{Bytes, BytesMut};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use std::time::Duration;
use wire::Body;

/// Bodies up to this are read whole before any node is called, so that trying another node is trivial.
pub(crate) const SMALL_BODY_BYTES_MAX: u64 = 64 * 1024;

/// Why a body cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the client sent nothing for too long")]
    Timeout,
    #[error("the client went away before the end of the body")]
    Gone,
    #[error("the body is larger than an object may be")]
    TooLarge,
}

/// A body and how much of it came.
pub(crate) struct ClientBody {
    body: Body,
    length: Option<u64>,
    taken: u64,
    bytes_max: u64,
    timeout: Duration,
}

/// The beginning of a body.
pub(crate) enum Head {
    /// All of it.
    Whole(Bytes),
    /// It is larger; this came already.
    Begun(Vec<Bytes>),
}

impl ClientBody {
    pub(crate) fn new(body: Body, length: Option<u64>, bytes_max: u64, timeout: Duration) -> Self {
        ClientBody { body, length, taken: 0, bytes_max, timeout }
    }

    /// The next piece, or `None` at the end. A body shorter than promised has no end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let frame = match tokio::time::timeout(self.timeout, self.body.frame()).await {
                Err(_) => return Err(BodyError::Timeout),
                Ok(None) => return self.at_end(),
                Ok(Some(Err(_))) => return Err(BodyError::Gone),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers say nothing to Swift.
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            self.taken += data.len() as u64;
            if self.taken > self.bytes_max {
                return Err(BodyError::TooLarge);
            }
            return Ok(Some(data));
        }
    }

    fn at_end(&self) -> Result<Option<Bytes>, BodyError> {
        match self.length {
            Some(length) if self.taken < length => Err(BodyError::Gone),
            _ => Ok(None),
        }
    }

    /// Reads a small body to its end; of a large one without a length, as much as a small one may have.
    pub(crate) async fn head(&mut self) -> Result<Head, BodyError> {
        if self.length.is_some_and(|length| length > SMALL_BODY_BYTES_MAX) {
            return Ok(Head::Begun(Vec::new()));
        }
        let mut chunks = Vec::new();
        while self.taken <= SMALL_BODY_BYTES_MAX {
            match self.next().await? {
                Some(chunk) => chunks.push(chunk),
                None => return Ok(Head::Whole(joined(chunks))),
            }
            // Without this, the end of a body whose length is known would cost one more poll.
            if self.length == Some(self.taken) && self.body.is_end_stream() {
                return Ok(Head::Whole(joined(chunks)));
            }
        }
        Ok(Head::Begun(chunks))
    }
}

fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() < 2 {
        return chunks.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    for chunk in &chunks {
        all.extend_from_slice(chunk);
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn body(sizes: &[usize], broken: bool) -> Body {
        let pieces = sizes.iter().map(|size| Ok(Bytes::from(vec![7u8; *size])));
        let end = broken.then(|| Err(std::io::Error::other("gone")));
        Body::from_stream(stream::iter(pieces.chain(end).collect::<Vec<_>>()))
    }

    fn client(body: Body, length: Option<u64>) -> ClientBody {
        ClientBody::new(body, length, 100_000, Duration::from_secs(1))
    }

    async fn head(sizes: &[usize], length: Option<u64>) -> Result<usize, BodyError> {
        match client(body(sizes, false), length).head().await? {
            Head::Whole(bytes) => Ok(bytes.len()),
            Head::Begun(chunks) => Ok(1_000_000 + chunks.iter().map(Bytes::len).sum::<usize>()),
        }
    }

    #[tokio::test]
    async fn small_bodies_are_whole_and_large_ones_begun() {
        assert_eq!(head(&[], None).await, Ok(0));
        assert_eq!(head(&[], Some(0)).await, Ok(0));
        assert_eq!(head(&[3, 4], Some(7)).await, Ok(7));
        assert_eq!(head(&[65_536], None).await, Ok(65_536));
        assert_eq!(head(&[65_536, 1, 1], None).await, Ok(1_065_537));
        assert_eq!(head(&[70_000], Some(70_000)).await, Ok(1_000_000));
    }

    #[tokio::test]
    async fn short_and_broken_bodies_have_no_end() {
        assert_eq!(head(&[3], Some(7)).await, Err(BodyError::Gone));
        let broken = client(body(&[3], true), None).head().await;
        assert!(matches!(broken, Err(BodyError::Gone)));
        assert_eq!(head(&[60_000, 60_000], None).await, Err(BodyError::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_in_a_timeout() {
        let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert!(matches!(client(silent, Some(5)).head().await, Err(BodyError::Timeout)));
    }
}

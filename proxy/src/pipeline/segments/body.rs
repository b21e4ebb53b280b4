//! The bytes of pieces, one after the other.
//!
//! While a segment is sent the next one is opened, so that the client does not wait for it; what is read ahead of is what
//! storage sends before it is asked for more. The first bytes are there, and the first segment is known to be the right
//! one, before the answer begins. After that an error can only end the connection, and does.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream};
use futures_util::{StreamExt, TryStreamExt};
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::conditions::unquoted;
use wire::ranges::Byteranges;
use wire::{Body, Response};

use super::{Asked, Piece, Pieces, Segment, SegmentError};
use crate::pipeline::Handler;
use crate::swift::error::Refusal;

/// Segments that are open at a time: the one that is sent, and the next.
const OPEN_MAX: usize = 2;

/// Where the bytes of pieces come from.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) next: Handler,
    pub(crate) asked: Arc<Asked>,
    /// Which middleware asks.
    pub(crate) name: &'static str,
    /// How long a whole read may take.
    pub(crate) time_max: Duration,
}

/// Consecutive bytes of a large object: a range, or all of it.
pub(crate) struct Section {
    pub(crate) pieces: Pieces,
    /// How many bytes they must make, if that is known.
    pub(crate) len: Option<u64>,
}

type Bits = BoxStream<'static, Result<Bytes, SegmentError>>;

impl Source {
    /// A body of one section.
    pub(crate) async fn body(&self, section: Section) -> Result<Body, Refusal> {
        let until = Instant::now() + self.time_max;
        Ok(Body::from_stream(in_time(self.begun(section).await?, until)))
    }

    /// A body of several sections in their frame.
    pub(crate) async fn framed(
        &self,
        sections: Vec<Section>,
        frame: Byteranges,
    ) -> Result<Body, Refusal> {
        let until = Instant::now() + self.time_max;
        let mut sections = sections.into_iter();
        let Some(first) = sections.next() else { return Ok(Body::empty()) };
        let first = self.begun(first).await?;
        let source = self.clone();
        let rest = sections.map(move |section| source.bits(section));
        let all = stream::iter(std::iter::once(first).chain(rest).zip(frame.heads));
        let tail = frame.tail;
        let framed = all.flat_map(|(bits, head)| {
            let after = Bytes::from_static(Byteranges::AFTER_PART);
            once(head).chain(bits).chain(once(after))
        });
        Ok(Body::from_stream(in_time(framed.chain(once(tail)).boxed(), until)))
    }

    /// A section whose first bytes are there.
    async fn begun(&self, section: Section) -> Result<Bits, Refusal> {
        let mut bits = self.bits(section);
        match bits.next().await {
            None => Ok(stream::empty().boxed()),
            Some(Ok(first)) => Ok(once(first).chain(bits).boxed()),
            Some(Err(error)) => {
                self.log(&error);
                Err(error.into())
            }
        }
    }

    fn bits(&self, section: Section) -> Bits {
        let (opener, logger) = (self.clone(), self.clone());
        let open = section.pieces.map(move |piece| opener.clone().opened(piece));
        let bits = open.buffered(OPEN_MAX).try_flatten().boxed();
        let bits = match section.len {
            Some(len) => counted(bits, len),
            None => bits,
        };
        bits.inspect_err(move |error| logger.log(error)).boxed()
    }

    fn log(&self, error: &SegmentError) {
        let (source, entity) = (self.name, &self.asked.entity);
        let (container, object) = (entity.container.as_ref(), entity.object.as_ref());
        let name = |name: Option<&str>| name.unwrap_or_default().to_owned();
        tracing::warn!(
            source,
            container = name(container.map(|name| name.as_str())),
            object = name(object.map(|name| name.as_str())),
            %error,
            "a large object could not be read to its end"
        );
    }

    /// Begins to open a piece at once, so that it goes on while another is sent.
    fn opened(
        self,
        piece: Result<Piece, SegmentError>,
    ) -> impl Future<Output = Result<Bits, SegmentError>> + Send {
        let mut opening = JoinSet::new();
        opening.spawn(async move {
            match piece? {
                Piece::Data(bytes) => Ok(once(bytes).boxed()),
                Piece::Object(segment) => self.segment(segment).await,
            }
        });
        async move {
            let opened = opening.join_next().await;
            opened.and_then(Result::ok).unwrap_or(Err(SegmentError::BrokenOff))
        }
    }

    async fn segment(self, segment: Segment) -> Result<Bits, SegmentError> {
        let mut call = self.asked.sub(Method::GET, segment.entity.clone(), self.name);
        // As it is stored, so that its ETag is that of its bytes.
        call.query.set("multipart-manifest", "get");
        if let Some(Range { start, end }) = &segment.part {
            let range = format!("bytes={start}-{}", end.saturating_sub(1));
            if let Ok(range) = HeaderValue::try_from(range) {
                call.headers.insert(header::RANGE, range);
            }
        }
        let response = self.next.answer(call).await;
        let len = judge(&segment, &response)?;
        let body = response.into_body().into_data_stream();
        let bits = body.map_err(|_| SegmentError::BrokenOff).boxed();
        Ok(match len {
            Some(len) => counted(bits, len),
            None => bits,
        })
    }
}

/// Whether an answer is that of the segment. Gives the number of bytes it must have.
fn judge(segment: &Segment, response: &Response) -> Result<Option<u64>, SegmentError> {
    let name = || {
        let object = segment.entity.object.as_ref();
        object.map(|name| name.as_str().to_owned()).unwrap_or_default()
    };
    let status = response.status();
    if status.is_server_error() {
        return Err(SegmentError::Unavailable(status));
    }
    if !status.is_success() {
        return Err(SegmentError::Missing { name: name(), status });
    }
    let text =
        |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let etag = text(header::ETAG).map(unquoted);
    let len: Option<u64> = text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let same_etag = segment.etag.as_deref().is_none_or(|wanted| etag == Some(wanted));
    let same_len = match &segment.part {
        // An object that was replaced by a shorter one of the same ETag would make an amplifier of a manifest.
        None => segment.size.is_none_or(|size| len == Some(size)),
        Some(part) => {
            status == StatusCode::PARTIAL_CONTENT
                && len == Some(part.end.saturating_sub(part.start))
        }
    };
    if same_etag && same_len { Ok(len) } else { Err(SegmentError::Changed(name())) }
}

fn once(bytes: Bytes) -> impl Stream<Item = Result<Bytes, SegmentError>> + Send {
    stream::once(async { Ok(bytes) })
}

/// The same bytes, and an error when they are not as many as they must be.
fn counted(bits: Bits, len: u64) -> Bits {
    stream::unfold(Some((bits, len)), |state| async {
        let (mut bits, left) = state?;
        match bits.next().await {
            None if left == 0 => None,
            None => Some((Err(SegmentError::TooShort), None)),
            Some(Err(error)) => Some((Err(error), None)),
            Some(Ok(bytes)) => match left.checked_sub(bytes.len() as u64) {
                Some(left) => Some((Ok(bytes), Some((bits, left)))),
                None => Some((Err(SegmentError::TooLong), None)),
            },
        }
    })
    .boxed()
}

/// Ends with an error when it takes too long.
fn in_time(bits: Bits, until: Instant) -> Bits {
    bits.map(move |bytes| if Instant::now() > until { Err(SegmentError::TooSlow) } else { bytes })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn counted_to(pieces: &[&'static str], len: u64) -> Result<usize, String> {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        let bits = counted(stream::iter(pieces).boxed(), len);
        let bytes: Vec<Bytes> = bits.try_collect().await.map_err(|error| error.to_string())?;
        Ok(bytes.iter().map(Bytes::len).sum())
    }

    #[tokio::test]
    async fn sections_are_as_long_as_they_must_be() {
        assert_eq!(counted_to(&["abc", "de"], 5).await, Ok(5));
        assert_eq!(counted_to(&[], 0).await, Ok(0));
        assert!(counted_to(&["abc"], 5).await.is_err_and(|error| error.contains("shorter")));
        assert!(counted_to(&["abc", "def"], 5).await.is_err_and(|error| error.contains("longer")));
    }

    #[tokio::test(start_paused = true)]
    async fn no_read_takes_for_ever() {
        let slow = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Some((Ok(Bytes::from_static(b"x")), ()))
        });
        let until = Instant::now() + Duration::from_secs(25);
        let read: Vec<_> = in_time(slow.boxed(), until).take(3).collect().await;
        assert!(read[1].is_ok() && matches!(read[2], Err(SegmentError::TooSlow)));
    }
}

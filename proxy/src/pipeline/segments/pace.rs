//! Keeps large objects of many small segments from being a lever: a request that costs next to nothing, and many further
//! in. Swift: common/utils, `RateLimitedIterator`.

use futures_util::StreamExt;
use futures_util::stream;
use std::time::Duration;
use tokio::time::Instant;

use super::{Piece, Pieces, Segment};

/// Idle time that may be made up for.
const CREDIT: Duration = Duration::from_secs(5);

/// How quickly small segments are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Segments shorter than this are small.
    pub(crate) under_size: u64,
    /// So many of them are free.
    pub(crate) after: u32,
    /// Then so many a second; 0 for no limit.
    pub(crate) per_second: u32,
}

struct State {
    pieces: Pieces,
    pace: Pace,
    free: u32,
    /// When the next one may be asked for.
    next: Option<Instant>,
}

/// The same pieces, small ones not too quickly.
pub(crate) fn paced(pieces: Pieces, pace: Pace) -> Pieces {
    if pace.per_second == 0 {
        return pieces;
    }
    let state = State { pieces, pace, free: pace.after, next: None };
    stream::unfold(state, |mut state| async {
        let piece = state.pieces.next().await?;
        if let Ok(piece) = &piece
            && is_small(piece, state.pace.under_size)
        {
            state.wait().await;
        }
        Some((piece, state))
    })
    .boxed()
}

fn is_small(piece: &Piece, under_size: u64) -> bool {
    match piece {
        Piece::Data(_) => false,
        Piece::Object(Segment { listed, .. }) => *listed < under_size,
    }
}

impl State {
    async fn wait(&mut self) {
        if self.free > 0 {
            self.free -= 1;
            return;
        }
        let now = Instant::now();
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        let at = self.next.map_or(now, |next| next.max(earliest));
        self.next = Some(at + Duration::from_secs(1) / self.pace.per_second);
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::entity;
    use bytes::Bytes;

    fn segment(size: u64) -> Piece {
        Piece::Object(Segment {
            entity: entity("a/c/o"),
            etag: None,
            size: None,
            listed: size,
            part: None,
        })
    }

    async fn seconds(pieces: Vec<Piece>, per_second: u32) -> u64 {
        let pace = Pace { under_size: 10, after: 2, per_second };
        let begun = Instant::now();
        let count = pieces.len();
        let all = stream::iter(pieces.into_iter().map(Ok)).boxed();
        assert_eq!(paced(all, pace).count().await, count);
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn only_small_segments_wait() {
        assert_eq!(seconds(vec![segment(10); 50], 1).await, 0);
        assert_eq!(seconds(vec![Piece::Data(Bytes::new()); 50], 1).await, 0);
        assert_eq!(seconds(vec![segment(9); 7], 1).await, 4);
        assert_eq!(seconds(vec![segment(9); 7], 0).await, 0);
        assert_eq!(seconds(vec![segment(9); 7], 2).await, 2);
    }
}

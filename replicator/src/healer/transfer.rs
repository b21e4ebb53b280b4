//! The records of one object on their way from a device that can read them to one that cannot.
//!
//! Nothing is kept in between but a frame. Records from before the damaged one are left out: of data and deletions the
//! damaged record replaced them, and to bring them back would show an old state of the object where now it is known
//! to be unknown.

use axum::body::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use types::Timestamp;
use wire::Body;
use wire::records::{Frame, FrameReader, RecordsError, abandoned_frame, data_header};

/// Why a stream of records ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    #[error("the records broke off")]
    Broken,
    #[error("the records did not come in time")]
    Slow,
    #[error("the records are damaged")]
    Records(#[from] RecordsError),
    #[error("a record's metadata does not fit into a frame")]
    Head,
}

/// What a device answered to RECORDS, as another takes it by MERGE; without what is older than `floor`. `taken` counts the
/// pieces that were handed over.
pub(super) fn transfer(
    records: Body,
    floor: Option<Timestamp>,
    patience: Duration,
    taken: Arc<AtomicU64>,
) -> impl Stream<Item = Result<Bytes, TransferError>> + Send {
    let transfer = Transfer {
        pieces: records.into_data_stream().map(|piece| piece.map_err(drop)).boxed(),
        reader: FrameReader::default(),
        floor,
        leaving_out: false,
        ready: VecDeque::new(),
        patience,
        ended: false,
    };
    stream::unfold((transfer, taken), |(mut transfer, taken)| async {
        let piece = transfer.next().await?;
        taken.fetch_add(1, Ordering::Relaxed);
        transfer.ended |= piece.is_err();
        Some((piece, (transfer, taken)))
    })
}

struct Transfer {
    pieces: BoxStream<'static, Result<Bytes, ()>>,
    reader: FrameReader,
    floor: Option<Timestamp>,
    /// Whether the record whose data comes is not wanted.
    leaving_out: bool,
    ready: VecDeque<Bytes>,
    patience: Duration,
    ended: bool,
}

impl Transfer {
    async fn next(&mut self) -> Option<Result<Bytes, TransferError>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(Ok(piece));
            }
            if self.ended {
                return None;
            }
            match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(error) = self.pass_on(frame) {
                        return Some(Err(error));
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => return Some(Err(error.into())),
            }
            match tokio::time::timeout(self.patience, self.pieces.next()).await {
                Err(_) => return Some(Err(TransferError::Slow)),
                Ok(Some(Err(()))) => return Some(Err(TransferError::Broken)),
                Ok(Some(Ok(piece))) => self.reader.push(&piece),
                Ok(None) => {
                    self.ended = true;
                    if let Err(error) = self.reader.finish() {
                        return Some(Err(error.into()));
                    }
                }
            }
        }
    }

    fn pass_on(&mut self, frame: Frame) -> Result<(), TransferError> {
        match frame {
            Frame::Record(head) => {
                self.leaving_out = self.floor.is_some_and(|floor| head.timestamp < floor);
                if !self.leaving_out {
                    self.ready.push_back(head.frame().ok_or(TransferError::Head)?);
                }
            }
            Frame::Data(data) if !self.leaving_out => {
                self.ready.push_back(Bytes::copy_from_slice(&data_header(&data)));
                self.ready.push_back(data);
            }
            Frame::Abandoned if !self.leaving_out => self.ready.push_back(abandoned_frame()),
            Frame::Data(_) | Frame::Abandoned => {}
            Frame::End(end) => self.ready.push_back(end.frame()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::ObjectHash;
    use wire::records::{PageEnd, RecordHead, RecordKind};

    fn head(kind: RecordKind, at: u64, data_len: u64) -> RecordHead {
        RecordHead {
            kind,
            hash: ObjectHash([3; 16]),
            timestamp: Timestamp::from_seconds(at),
            content_type_timestamp: None,
            delete_at: 0,
            fragment: None,
            data_len,
            metadata: vec![("name".to_owned(), b"/a/c/o".to_vec())],
        }
    }

    /// A record in its frames, its data in pieces.
    fn record(kind: RecordKind, at: u64, data: &[u8]) -> Vec<u8> {
        let mut out = head(kind, at, data.len() as u64).frame().expect("fits").to_vec();
        for piece in data.chunks(5) {
            out.extend(data_header(piece));
            out.extend(piece);
        }
        out
    }

    async fn through(
        bytes: &[u8],
        floor: Option<u64>,
        step: usize,
    ) -> Result<Vec<u8>, TransferError> {
        let pieces: Vec<_> = bytes.chunks(step).map(Bytes::copy_from_slice).collect();
        let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, RecordsError>)));
        let floor = floor.map(Timestamp::from_seconds);
        let moved =
            transfer(body, floor, Duration::from_secs(5), Arc::default()).collect::<Vec<_>>().await;
        let moved: Result<Vec<Bytes>, TransferError> = moved.into_iter().collect();
        Ok(moved?.concat())
    }

    #[tokio::test]
    async fn what_is_older_is_left_out_and_all_else_is_as_it_was() {
        let old = record(RecordKind::Data, 4, b"what was there before");
        let gone = record(RecordKind::Tombstone, 3, b"");
        let same = record(RecordKind::Data, 5, b"what is damaged elsewhere");
        let meta = record(RecordKind::Meta, 6, b"");
        let end = PageEnd { marker: None, skipped: 1 }.frame().to_vec();
        let all = [&old[..], &gone, &same, &meta, &end].concat();
        for step in [1, 7, 10_000] {
            assert_eq!(through(&all, None, step).await.expect("moved"), all);
            let newer = [&same[..], &meta, &end].concat();
            assert_eq!(through(&all, Some(5), step).await.expect("moved"), newer);
            assert_eq!(through(&all, Some(9), step).await.expect("moved"), end);
        }
    }

    #[tokio::test]
    async fn what_is_cut_off_or_flipped_never_looks_complete() {
        let mut all = record(RecordKind::Data, 5, b"some data");
        all.extend(PageEnd::default().frame());
        for cut in 1..all.len() {
            let moved = through(&all[..cut], None, 9).await;
            assert!(matches!(moved, Err(TransferError::Records(_))), "{cut}");
        }
        let middle = all.len() / 2;
        all[middle] ^= 4;
        assert!(matches!(through(&all, None, 9).await, Err(TransferError::Records(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_not_waited_for_without_end() {
        let silent = stream::pending::<Result<Bytes, RecordsError>>();
        let silent = Body::from_stream(silent);
        let moved = transfer(silent, None, Duration::from_secs(5), Arc::default());
        let moved = moved.collect::<Vec<_>>().await;
        assert!(matches!(moved[..], [Err(TransferError::Slow)]));
    }
}

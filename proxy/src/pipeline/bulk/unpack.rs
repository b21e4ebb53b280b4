//! Taking compressed bodies apart, a bounded piece at a time, on threads that may compute.

use bytes::{Buf, Bytes};
use std::io::Write;

use crate::store::{BodyError, ClientBody};

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    Gzip,
    Bzip2,
}

impl Coding {
    /// As the parameter `extract-archive` names it.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name.to_lowercase().trim_matches('.') {
            "tar" => Some(Coding::Plain),
            "tar.gz" => Some(Coding::Gzip),
            "tar.bz2" => Some(Coding::Bzip2),
            _ => None,
        }
    }
}

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnpackError {
    #[error("the client's body did not arrive")]
    Body(#[from] BodyError),
    #[error("it is damaged, or not compressed as it was said to be")]
    Damaged,
}

/// Unpacked bytes that are there at a time, about. However well something is compressed, no more of it is in memory.
const PIECE: usize = 256 * 1024;

/// A decoder, and what it was not given yet.
enum Decoder {
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    Bzip2 {
        stream: Box<bzip2::Decompress>,
        /// Whether a stream was begun and not ended.
        open: bool,
        out: Vec<u8>,
    },
}

impl Decoder {
    /// What is plain needs none.
    fn of(coding: Coding) -> Option<Self> {
        match coding {
            Coding::Plain => None,
            Coding::Gzip => {
                let decoder = flate2::write::MultiGzDecoder::new(Vec::new());
                Some(Decoder::Gzip(Box::new(decoder)))
            }
            Coding::Bzip2 => {
                let stream = Box::new(bzip2::Decompress::new(false));
                Some(Decoder::Bzip2 { stream, open: false, out: Vec::new() })
            }
        }
    }

    /// Decodes until a piece is full or the input is used up.
    fn decode(&mut self, input: &mut Bytes) -> Result<Vec<u8>, UnpackError> {
        match self {
            Decoder::Gzip(decoder) => {
                while !input.is_empty() && decoder.get_ref().len() < PIECE {
                    match decoder.write(input) {
                        Ok(taken) if taken > 0 => input.advance(taken),
                        _ => return Err(UnpackError::Damaged),
                    }
                }
                Ok(std::mem::take(decoder.get_mut()))
            }
            Decoder::Bzip2 { stream, open, out } => {
                while !input.is_empty() && out.len() < PIECE {
                    out.reserve(64 * 1024);
                    let (taken_before, made_before) = (stream.total_in(), stream.total_out());
                    let status = stream.decompress_vec(input, out);
                    let taken = stream.total_in() - taken_before;
                    input.advance(usize::try_from(taken).unwrap_or(usize::MAX).min(input.len()));
                    *open = true;
                    match status {
                        Ok(bzip2::Status::StreamEnd) => {
                            // Programs that compress in parallel write several, one after another.
                            **stream = bzip2::Decompress::new(false);
                            *open = false;
                        }
                        Ok(_) if taken > 0 || stream.total_out() > made_before => {}
                        _ => return Err(UnpackError::Damaged),
                    }
                }
                Ok(std::mem::take(out))
            }
        }
    }

    /// What is left when all input was given.
    fn finish(&mut self) -> Result<Vec<u8>, UnpackError> {
        match self {
            Decoder::Gzip(decoder) => {
                decoder.try_finish().map_err(|_| UnpackError::Damaged)?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Decoder::Bzip2 { stream, open, out } => {
                // All input is taken, but the last block may not be written out yet.
                out.reserve(PIECE);
                if *open && matches!(stream.decompress_vec(&[], out), Ok(bzip2::Status::StreamEnd))
                {
                    *open = false;
                }
                match *open && out.is_empty() {
                    true => Err(UnpackError::Damaged),
                    false => Ok(std::mem::take(out)),
                }
            }
        }
    }
}

/// A client's body without its packing.
pub(super) struct Unpacked {
    body: ClientBody,
    /// `None` of a plain one, and while it works elsewhere.
    decoder: Option<Decoder>,
    plain: bool,
    input: Bytes,
    ended: bool,
}

impl Unpacked {
    pub(super) fn new(body: ClientBody, coding: Coding) -> Self {
        let decoder = Decoder::of(coding);
        let plain = coding == Coding::Plain;
        Unpacked { body, decoder, plain, input: Bytes::new(), ended: false }
    }

    /// The next piece, which is not empty, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, UnpackError> {
        if self.plain {
            return Ok(self.body.next().await?);
        }
        loop {
            if self.input.is_empty() && !self.ended {
                match self.body.next().await? {
                    Some(input) => self.input = input,
                    None => self.ended = true,
                }
            }
            let made = self.work().await?;
            if !made.is_empty() {
                return Ok(Some(made.into()));
            }
            if self.ended && self.input.is_empty() {
                return Ok(None);
            }
        }
    }

    async fn work(&mut self) -> Result<Vec<u8>, UnpackError> {
        let Some(mut decoder) = self.decoder.take() else { return Err(UnpackError::Damaged) };
        let mut input = std::mem::take(&mut self.input);
        let last = self.ended;
        let worked = tokio::task::spawn_blocking(move || {
            let made = if last { decoder.finish() } else { decoder.decode(&mut input) };
            (decoder, input, made)
        });
        let (decoder, input, made) = worked.await.map_err(|_| UnpackError::Damaged)?;
        self.decoder = Some(decoder);
        self.input = input;
        made
    }

    /// What was not read of it, to be read away.
    pub(super) fn into_body(self) -> ClientBody {
        self.body
    }
}

/// A packed document in pieces, for fuzzing.
pub(super) fn read_anything<'a>(coding: Coding, pieces: impl Iterator<Item = &'a [u8]>) {
    /// What little unpacks to much takes its time, rightly.
    const ENOUGH: usize = 4 << 20;
    let Some(mut decoder) = Decoder::of(coding) else { return };
    let mut made = 0;
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        while !input.is_empty() {
            match decoder.decode(&mut input) {
                Ok(out) if made < ENOUGH => made += out.len(),
                _ => return,
            }
        }
    }
    for _ in 0..ENOUGH / PIECE {
        match decoder.finish() {
            Ok(out) if !out.is_empty() => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use wire::Body;

    fn packed(coding: Coding, data: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Plain => data.to_vec(),
            Coding::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(data).expect("written");
                encoder.finish().expect("finished")
            }
            Coding::Bzip2 => {
                let mut encoder =
                    bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
                encoder.write_all(data).expect("written");
                encoder.finish().expect("finished")
            }
        }
    }

    async fn unpack(coding: Coding, packed: &[u8], piece: usize) -> Result<Vec<u8>, UnpackError> {
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            packed.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let body = ClientBody::new(body, None, u64::MAX, Duration::from_secs(5));
        let mut unpacked = Unpacked::new(body, coding);
        let mut all = Vec::new();
        while let Some(piece) = unpacked.next().await? {
            assert!(piece.len() <= 2 * PIECE, "{} bytes at a time", piece.len());
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    #[test]
    fn codings_have_names() {
        assert_eq!(Coding::of("tar"), Some(Coding::Plain));
        assert_eq!(Coding::of(".TAR.gz"), Some(Coding::Gzip));
        assert_eq!(Coding::of("tar.bz2"), Some(Coding::Bzip2));
        assert_eq!(Coding::of("zip"), None);
    }

    #[tokio::test]
    async fn what_was_packed_comes_out_in_bounded_pieces() {
        let mut data: Vec<u8> = (0..400_000u32).flat_map(u32::to_le_bytes).collect();
        // Half of it can be packed a thousand times smaller.
        data.extend_from_slice(&vec![0; 3_000_000]);
        for coding in [Coding::Plain, Coding::Gzip, Coding::Bzip2] {
            let packed = packed(coding, &data);
            let unpacked = unpack(coding, &packed, 100_000).await.expect("unpacks");
            assert!(unpacked == data, "{coding:?}");
            let twice = [packed.as_slice(), packed.as_slice()].concat();
            let unpacked = unpack(coding, &twice, 70_001).await.expect("unpacks");
            assert_eq!(unpacked.len(), 2 * data.len(), "{coding:?}");
        }
    }

    #[tokio::test]
    async fn damage_is_noticed() {
        for coding in [Coding::Gzip, Coding::Bzip2] {
            assert_eq!(unpack(coding, b"not packed at all", 5).await, Err(UnpackError::Damaged));
            let packed = packed(coding, &[9; 10_000]);
            let cut = unpack(coding, &packed[..packed.len() / 2], 1000).await;
            assert_eq!(cut, Err(UnpackError::Damaged), "{coding:?}");
        }
    }
}

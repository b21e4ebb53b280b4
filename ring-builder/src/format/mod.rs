//! The file formats of rings. Swift: common/ring/io.py, and `RingData` of common/ring/ring.py.
//!
//! A ring file is one gzip member. Decompressed it begins with `R1NG` and the format version (u16, big-endian).
//!
//! Version 1: u32 (big-endian) length of a JSON object; the object `{byteorder, devs, part_shift,
//! replica_count, version?, next_part_power?}`; then one row per replica of 2-byte device numbers in that
//! byte order. The last row may be short, and ends where the file ends.
//!
//! Version 2: blobs, each a u64 (big-endian) length and its data. Named sections are listed in an index, the last
//! blob: `{section: [compressed start, start, compressed end, end, checksum method, checksum]}`. Offsets
//! include the length, as does the checksum. After it: the index's offset, uncompressed and compressed (u64 each).
//! We decompress the whole file and use the uncompressed offsets, so a recompressed file is as good.

mod v1;
mod v2;
mod write;

pub(crate) use write::{encode, save};

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::data::{MAX_RING_BYTES, RingData};
use crate::error::RingReadError;

const MAGIC: &[u8; 4] = b"R1NG";
const GZIP_MAGIC: &[u8; 2] = &[0x1f, 0x8b];
/// The first byte of a pickle of protocol 2 and later.
const PICKLE: u8 = 0x80;
/// The most JSON that is parsed at once: devices take several times more room in memory than as text.
const MAX_JSON_BYTES: u64 = 1 << 25;

/// Reads and decodes a file.
pub(crate) fn read(path: &Path) -> Result<RingData, RingReadError> {
    let failed = |source| RingReadError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_RING_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_RING_BYTES {
        return Err(RingReadError::TooLarge);
    }
    decode(&bytes)
}

/// Decodes and validates the bytes of a file.
pub(crate) fn decode(bytes: &[u8]) -> Result<RingData, RingReadError> {
    let plain = inflate(bytes, MAX_RING_BYTES)?;
    let Some(after_magic) = plain.strip_prefix(MAGIC) else {
        let pickled = plain.first() == Some(&PICKLE);
        return Err(if pickled { RingReadError::Pickle } else { RingReadError::NotARing });
    };
    let mut rest = Bytes(after_magic);
    let data = match u16::from_be_bytes(rest.array("the format version")?) {
        1 => v1::decode(rest)?,
        2 => v2::decode(&plain)?,
        newer => return Err(RingReadError::UnknownVersion(newer)),
    };
    data.validate()?;
    Ok(data)
}

/// Decompresses exactly one gzip member of at most `limit` bytes and verifies its CRC.
fn inflate(bytes: &[u8], limit: u64) -> Result<Vec<u8>, RingReadError> {
    if !bytes.starts_with(GZIP_MAGIC) {
        let pickled = bytes.first() == Some(&PICKLE);
        return Err(if pickled { RingReadError::Pickle } else { RingReadError::NotGzip });
    }
    let mut decoder = GzDecoder::new(bytes);
    let mut plain = Vec::new();
    let read = (&mut decoder).take(limit + 1).read_to_end(&mut plain);
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => RingReadError::Truncated { within: "compressed data" },
        _ => RingReadError::Corrupt(error.to_string()),
    })?;
    if plain.len() as u64 > limit {
        return Err(RingReadError::TooLarge);
    }
    match decoder.into_inner().len() {
        0 => Ok(plain),
        more => Err(RingReadError::TrailingData(more)),
    }
}

fn parse_json<'a, T: serde::Deserialize<'a>>(
    json: &'a [u8],
    within: &'static str,
) -> Result<T, RingReadError> {
    if json.len() as u64 > MAX_JSON_BYTES {
        return Err(RingReadError::TooLarge);
    }
    serde_json::from_slice(json).map_err(|source| RingReadError::Json { within, source })
}

/// The number of partitions, for row lengths; the shift comes unchecked from a file.
fn partitions(part_shift: u32) -> Result<u64, RingReadError> {
    let power = 32u32.checked_sub(part_shift).ok_or(RingReadError::PartShift(part_shift))?;
    Ok(1 << power)
}

/// What is still to be read.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: u64, within: &'static str) -> Result<&'a [u8], RingReadError> {
        let split = usize::try_from(count).ok().and_then(|count| self.0.split_at_checked(count));
        let (taken, rest) = split.ok_or(RingReadError::Truncated { within })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, within: &'static str) -> Result<[u8; N], RingReadError> {
        let (taken, rest) =
            self.0.split_first_chunk::<N>().ok_or(RingReadError::Truncated { within })?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests;

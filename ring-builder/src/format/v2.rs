//! Reading format 2.

use std::collections::HashMap;

use md5::{Digest, Md5};
use serde::Deserialize;
use sha2::{Sha256, Sha512};

use super::{Bytes, parse_json, partitions};
use crate::data::{MAX_REPLICAS, RingData};
use crate::error::RingReadError;

const METADATA: &str = "swift/ring/metadata";
const DEVICES: &str = "swift/ring/devices";
const ASSIGNMENTS: &str = "swift/ring/assignments";
/// The two offsets of the index at the end of the file.
const TAIL_BYTES: usize = 16;
const LENGTH_BYTES: u64 = 8;

#[derive(Deserialize)]
struct Metadata {
    part_shift: u32,
    dev_id_bytes: u64,
    version: Option<u64>,
    next_part_power: Option<u8>,
}

/// Compressed start, start, compressed end, end, checksum method, checksum.
type Entry = (u64, u64, u64, u64, String, String);

/// Decodes a whole decompressed file.
pub(super) fn decode(plain: &[u8]) -> Result<RingData, RingReadError> {
    let index = read_index(plain)?;
    let metadata: Metadata = parse_json(section(plain, &index, METADATA)?, "metadata")?;
    let devs = parse_json(section(plain, &index, DEVICES)?, "device list")?;
    let assignments = section(plain, &index, ASSIGNMENTS)?;
    let numbers: fn(&[u8]) -> Vec<u32> = match metadata.dev_id_bytes {
        2 => |row| row.as_chunks().0.iter().map(|id| u16::from_be_bytes(*id).into()).collect(),
        4 => |row| row.as_chunks().0.iter().map(|id| u32::from_be_bytes(*id)).collect(),
        other => return Err(RingReadError::DeviceIdBytes(other)),
    };
    if !(assignments.len() as u64).is_multiple_of(metadata.dev_id_bytes) {
        return Err(RingReadError::Truncated { within: "the assignments" });
    }
    let row_bytes = partitions(metadata.part_shift)? * metadata.dev_id_bytes;
    let row_bytes = usize::try_from(row_bytes).map_err(|_| RingReadError::TooLarge)?;
    if assignments.len().div_ceil(row_bytes) > MAX_REPLICAS {
        return Err(RingReadError::TooManyReplicas);
    }
    Ok(RingData {
        devs,
        part_shift: metadata.part_shift,
        rows: assignments.chunks(row_bytes).map(numbers).collect(),
        version: metadata.version,
        next_part_power: metadata.next_part_power,
    })
}

fn read_index(plain: &[u8]) -> Result<HashMap<String, Entry>, RingReadError> {
    const WHAT: &str = "the index";
    let tail_start =
        plain.len().checked_sub(TAIL_BYTES).ok_or(RingReadError::Truncated { within: WHAT })?;
    let (body, tail) = plain.split_at(tail_start);
    let start = u64::from_be_bytes(Bytes(tail).array(WHAT)?);
    let start = usize::try_from(start).map_err(|_| RingReadError::BadIndex(WHAT))?;
    let mut blob = Bytes(body.get(start..).ok_or(RingReadError::BadIndex(WHAT))?);
    let length = u64::from_be_bytes(blob.array(WHAT)?);
    parse_json(blob.take(length, WHAT)?, "index")
}

/// The data of a section, after its checksum was verified.
fn section<'a>(
    plain: &'a [u8],
    index: &HashMap<String, Entry>,
    name: &'static str,
) -> Result<&'a [u8], RingReadError> {
    let (_, start, _, end, method, checksum) =
        index.get(name).ok_or(RingReadError::MissingSection(name))?;
    let range = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
    let blob = range
        .and_then(|(start, end)| plain.get(start..end))
        .ok_or(RingReadError::BadIndex(name))?;
    if digest(blob, method, name)? != *checksum {
        return Err(RingReadError::ChecksumMismatch(name));
    }
    let mut rest = Bytes(blob);
    let length = u64::from_be_bytes(rest.array(name)?);
    if length.checked_add(LENGTH_BYTES) != Some(blob.len() as u64) {
        return Err(RingReadError::BadIndex(name));
    }
    Ok(rest.0)
}

/// Swift itself writes sha256. It would also read sha1, which nothing writes and we do not carry.
fn digest(blob: &[u8], method: &str, section: &'static str) -> Result<String, RingReadError> {
    match method {
        "md5" => Ok(types::hex_encode(&Md5::digest(blob))),
        "sha256" => Ok(types::hex_encode(&Sha256::digest(blob))),
        "sha512" => Ok(types::hex_encode(&Sha512::digest(blob))),
        _ => Err(RingReadError::ChecksumMethod { section, method: method.to_owned() }),
    }
}

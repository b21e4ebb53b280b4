//! Reading format 1.

use serde::Deserialize;

use super::{Bytes, parse_json, partitions};
use crate::data::{MAX_REPLICAS, RingData};
use crate::device::Device;
use crate::error::RingReadError;

/// Device numbers of this format are always this long.
const ID_BYTES: u64 = 2;

#[derive(Deserialize)]
struct Header {
    byteorder: Option<String>,
    devs: Vec<Option<Device>>,
    part_shift: u32,
    replica_count: usize,
    version: Option<u64>,
    next_part_power: Option<u8>,
}

/// Decodes what follows the magic and the version.
pub(super) fn decode(mut rest: Bytes<'_>) -> Result<RingData, RingReadError> {
    let length = u32::from_be_bytes(rest.array("the header")?);
    let json = rest.take(u64::from(length), "the header")?;
    let header: Header = parse_json(json, "header")?;
    if header.replica_count > MAX_REPLICAS {
        return Err(RingReadError::TooManyReplicas);
    }
    let number = match header.byteorder.as_deref() {
        Some("little") => u16::from_le_bytes,
        Some("big") => u16::from_be_bytes,
        // Swift of old wrote no byte order and meant the machine's.
        None => u16::from_ne_bytes,
        Some(other) => return Err(RingReadError::ByteOrder(other.to_owned())),
    };
    let row_bytes = partitions(header.part_shift)? * ID_BYTES;
    let mut rows = Vec::with_capacity(header.replica_count);
    for _ in 0..header.replica_count {
        let bytes = rest.take(row_bytes.min(rest.0.len() as u64), "the assignments")?;
        let (pairs, odd) = bytes.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(RingReadError::Truncated { within: "the assignments" });
        }
        rows.push(pairs.iter().map(|pair| u32::from(number(*pair))).collect());
    }
    if !rest.0.is_empty() {
        return Err(RingReadError::TrailingData(rest.0.len()));
    }
    Ok(RingData {
        devs: header.devs,
        part_shift: header.part_shift,
        rows,
        version: header.version,
        next_part_power: header.next_part_power,
    })
}

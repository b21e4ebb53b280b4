//! Writing format 1.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use serde::Serialize;

use super::{GZIP_MAGIC, MAGIC, MAX_JSON_BYTES};
use crate::data::{MAX_RING_BYTES, RingData};
use crate::device::Device;
use crate::error::{RingReadError, RingWriteError};

/// The time in the gzip header, always the same so that equal rings are equal files. It is Swift's.
const MTIME: u32 = 1_300_507_380;
/// The largest device number of two bytes; the one above means "none".
const MAX_DEVICE_ID: usize = 65_534;

/// Keys in alphabetical order, as Swift sorts them.
#[derive(Serialize)]
struct Header<'a> {
    byteorder: &'static str,
    devs: &'a [Option<Device>],
    #[serde(skip_serializing_if = "Option::is_none")]
    next_part_power: Option<u8>,
    part_shift: u32,
    replica_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

/// The bytes of a ring file.
pub(crate) fn encode(ring: &RingData, file_name: &str) -> Result<Vec<u8>, RingWriteError> {
    ring.validate()?;
    if ring.devs.len() > MAX_DEVICE_ID + 1 {
        return Err(RingWriteError::DeviceIdTooLarge(ring.devs.len() - 1));
    }
    let json = ascii(&serde_json::to_string(&Header {
        byteorder: "little",
        devs: &ring.devs,
        next_part_power: ring.next_part_power,
        part_shift: ring.part_shift,
        replica_count: ring.rows.len(),
        version: ring.version,
    })?);
    let assigned: usize = ring.rows.iter().map(Vec::len).sum();
    let size = json.len() as u64 + 2 * assigned as u64 + 10;
    // What could not be read back is not written.
    let (Ok(json_length), true) =
        (u32::try_from(json.len()), size <= MAX_RING_BYTES && json.len() as u64 <= MAX_JSON_BYTES)
    else {
        return Err(RingReadError::TooLarge.into());
    };
    let mut body = Vec::with_capacity(size as usize);
    body.extend(json_length.to_be_bytes());
    body.extend(json.as_bytes());
    for id in ring.rows.iter().flatten() {
        body.extend((*id as u16).to_le_bytes());
    }
    gzip(&body, file_name).map_err(RingWriteError::Compress)
}

/// The gzip member around magic and body. The magic stands in a block of its own which is stored, not
/// compressed, so that `file` can recognise rings; that is why this is not left to a gzip encoder.
fn gzip(body: &[u8], file_name: &str) -> std::io::Result<Vec<u8>> {
    let mut magic = MAGIC.to_vec();
    magic.extend(1u16.to_be_bytes());
    let mut crc = Crc::new();
    crc.update(&magic);
    crc.update(body);

    const DEFLATE: u8 = 8;
    const HAS_NAME: u8 = 8;
    const BEST_COMPRESSION: u8 = 2;
    const UNKNOWN_SYSTEM: u8 = 255;
    let mut out = GZIP_MAGIC.to_vec();
    out.extend([DEFLATE, HAS_NAME]);
    out.extend(MTIME.to_le_bytes());
    out.extend([BEST_COMPRESSION, UNKNOWN_SYSTEM]);
    // As Python's gzip does: the name without .gz, and none when it is not Latin-1.
    let name = file_name.strip_suffix(".gz").unwrap_or(file_name);
    let latin1: Option<Vec<u8>> =
        name.chars().map(|c| u8::try_from(c).ok().filter(|byte| *byte != 0)).collect();
    out.extend(latin1.unwrap_or_default());
    out.push(0);

    let stored = magic.len() as u16;
    out.push(0); // a stored block, not the last
    out.extend(stored.to_le_bytes());
    out.extend((!stored).to_le_bytes());
    out.extend(magic);
    let mut encoder = DeflateEncoder::new(out, Compression::best());
    encoder.write_all(body)?;
    let mut out = encoder.finish()?;
    out.extend(crc.sum().to_le_bytes());
    out.extend(crc.amount().to_le_bytes());
    Ok(out)
}

/// JSON text with everything beyond ASCII escaped, as Python writes it. Outside strings JSON is ASCII anyway.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Writes a file by way of a temporary one beside it.
pub(crate) fn save(ring: &RingData, path: &Path) -> Result<(), RingWriteError> {
    let name = path.file_name().ok_or_else(|| RingWriteError::NoFileName(path.to_owned()))?;
    let bytes = encode(ring, &name.to_string_lossy())?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    // Savers of the same file, in this process or others, must not share it.
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let save = SAVES.fetch_add(1, Ordering::Relaxed);
    hidden.push(format!(".{}-{save}.tmp", std::process::id()));
    let temporary = directory.join(hidden);
    let written = replace(&bytes, &temporary, path, directory);
    if written.is_err() {
        // It may not exist any more, or never have; the first error is the one that matters.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn replace(
    bytes: &[u8],
    temporary: &Path,
    path: &Path,
    directory: &Path,
) -> Result<(), RingWriteError> {
    let at = |path: &Path| {
        let path: PathBuf = path.to_owned();
        move |source| RingWriteError::Io { path, source }
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(temporary)
        .map_err(at(temporary))?;
    file.write_all(bytes).map_err(at(temporary))?;
    // Every service reads the ring, whatever account it runs under and the operator's umask is.
    file.set_permissions(Permissions::from_mode(0o644)).map_err(at(temporary))?;
    file.sync_all().map_err(at(temporary))?;
    std::fs::rename(temporary, path).map_err(at(path))?;
    File::open(directory).and_then(|dir| dir.sync_all()).map_err(at(directory))
}

//! How far the audit of a device has come, kept over restarts in a small file.

use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What this file is.
const FORMAT: u32 = 1;
/// Longer is no file of ours.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where the audit of a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// [`FORMAT`].
    pub(crate) format: u32,
    /// Passes that were completed.
    pub(crate) passes: u64,
    /// The pass that is going on.
    pub(crate) current: Option<AuditPass>,
    /// The last pass that was completed.
    pub(crate) last: Option<AuditPass>,
}

impl Default for Place {
    fn default() -> Self {
        Place { format: FORMAT, passes: 0, current: None, last: None }
    }
}

/// One pass through a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditPass {
    /// When it began, in seconds since 1970.
    pub(crate) began: u64,
    /// When it was complete, in seconds since 1970.
    pub(crate) ended: Option<u64>,
    /// Whether MD5s are compared.
    pub(crate) md5: bool,
    /// The hash at which it goes on.
    pub(crate) marker: Option<String>,
    /// Objects that were read.
    pub(crate) objects: u64,
    /// Bytes of their data.
    pub(crate) bytes: u64,
    /// Records that were damaged.
    pub(crate) damaged: u64,
    /// Those among them that the disk failed to read, and that were not put into quarantine.
    pub(crate) unreadable: u64,
    /// How long devices were at work for it, in milliseconds, rests left out.
    pub(crate) worked_ms: u64,
}

impl AuditPass {
    /// How much of all hashes lies behind it, from 0 to 1.
    pub(crate) fn share_done(&self) -> f64 {
        if self.ended.is_some() {
            return 1.0;
        }
        let digits = self.marker.as_deref().and_then(|marker| marker.get(..8));
        let first = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0);
        f64::from(first) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The file of a device.
pub(crate) fn file(dir: &Path, device: &str) -> PathBuf {
    let name = wire::encode_segment(device).to_string().replace('/', "%2F");
    dir.join(format!("{name}.json"))
}

/// Reads a place. One that was never written is the beginning. Blocks.
pub(crate) fn load(path: &Path) -> io::Result<Place> {
    let length = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::default()),
        Err(error) => return Err(error),
    };
    if length > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too long"));
    }
    let place: Place = serde_json::from_slice(&std::fs::read(path)?)?;
    if place.format != FORMAT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is of another format"));
    }
    Ok(place)
}

/// Writes a place: whatever happens, the file is the old one or the new one. Blocks.
pub(crate) fn save(path: &Path, place: &Place) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let temporary = path.with_extension("json.new");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(place)?)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_again_and_another_file_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = file(&dir.path().join("audit"), "d 1/..");
        assert_eq!(path.parent(), Some(dir.path().join("audit").as_path()));
        assert_eq!(load(&path).expect("none yet"), Place::default());
        let marker = Some("80".repeat(16));
        let current = AuditPass { began: 7, marker, objects: 3, ..AuditPass::default() };
        let place = Place { passes: 2, current: Some(current.clone()), ..Place::default() };
        save(&path, &place).expect("written");
        save(&path, &place).expect("written again");
        assert_eq!(load(&path).expect("read"), place);
        assert!((current.share_done() - 0.502).abs() < 0.001);
        for bad in ["", "{", "{\"format\":2,\"passes\":0}"] {
            std::fs::write(&path, bad).expect("written");
            assert!(load(&path).is_err(), "{bad}");
        }
    }
}

//! Why a ring file could not be read or written, each in a plain sentence.

use std::path::PathBuf;

use crate::data::{MAX_REPLICAS, MAX_RING_BYTES};

/// Why some bytes are no usable ring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingReadError {
    /// The operating system did not give the file.
    #[error("the ring file {path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another kind of file.
    #[error("the file is not a ring: it is not compressed with gzip")]
    NotGzip,
    /// A pickle, which is what builder files and rings of very old Swift versions are.
    #[error(
        "the file is a Python pickle: a builder file, or a ring of a Swift version before 1.7; \
         only .ring.gz files of format 1 and 2 can be read"
    )]
    Pickle,
    /// The file ends too early.
    #[error("the ring file is cut short: it ends inside {within}")]
    Truncated {
        /// What was being read.
        within: &'static str,
    },
    /// The compressed stream is damaged.
    #[error("the ring file is damaged: {0}")]
    Corrupt(String),
    /// Something follows the end of the ring.
    #[error("the ring file has {0} bytes after the end of the ring")]
    TrailingData(usize),
    /// More than this program is willing to hold.
    #[error("the ring is larger than {MAX_RING_BYTES} bytes when decompressed")]
    TooLarge,
    /// Compressed, but not a ring.
    #[error("the file is not a ring: it does not begin with R1NG")]
    NotARing,
    /// Written by a later version of Swift.
    #[error("the ring has format version {0}; only versions 1 and 2 are known")]
    UnknownVersion(u16),
    /// The JSON is not what Swift writes.
    #[error("the ring's {within} cannot be understood: {source}")]
    Json {
        /// Which part of the file.
        within: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A byte order that is none.
    #[error("the ring's byte order is {0:?}; \"little\" or \"big\" is expected")]
    ByteOrder(String),
    /// A size of device numbers that is not known.
    #[error("the ring's device numbers are {0} bytes long; 2 or 4 is expected")]
    DeviceIdBytes(u64),
    /// A section is missing from a version 2 ring.
    #[error("the ring has no section {0}")]
    MissingSection(&'static str),
    /// The index of a version 2 ring points nowhere.
    #[error("the ring's index gives a wrong place for {0}")]
    BadIndex(&'static str),
    /// A checksum that this program cannot verify.
    #[error("section {section} is protected by {method:?}, which is not a known checksum")]
    ChecksumMethod {
        /// The section.
        section: &'static str,
        /// What its checksum is called.
        method: String,
    },
    /// Section and checksum disagree.
    #[error("the ring file is damaged: section {0} does not match its checksum")]
    ChecksumMismatch(&'static str),
    /// Partitions that cannot be numbered.
    #[error("the ring's partition shift is {0}; it must be 0 to 32")]
    PartShift(u32),
    /// A planned partition power that is none.
    #[error("the ring's next partition power is {0}; it must be 0 to 32")]
    NextPartPower(u8),
    /// Nothing assigned.
    #[error("the ring assigns no partitions: it has no replicas")]
    NoReplicas,
    /// More than this program is willing to hold.
    #[error("the ring has more than {MAX_REPLICAS} replicas")]
    TooManyReplicas,
    /// A replica does not cover the partitions.
    #[error("replica {row} of the ring covers {found} partitions of {expected}")]
    RowLength {
        /// Which replica, from 0.
        row: usize,
        /// How many partitions the ring has.
        expected: u64,
        /// How many there are in the row.
        found: usize,
    },
    /// A partition on a device which is not there.
    #[error("partition {partition} of replica {row} is on device {device}, which does not exist")]
    UnknownDevice {
        /// Which replica, from 0.
        row: usize,
        /// The partition.
        partition: usize,
        /// The device number.
        device: u32,
    },
    /// A device that is not where its number says.
    #[error("the device at position {position} of the ring has the number {id}")]
    DeviceId {
        /// Where it stands.
        position: usize,
        /// What it is called.
        id: u32,
    },
    /// A weight that is none.
    #[error("the weight of device {0} is not a number from 0 up")]
    Weight(u32),
}

/// Why a ring could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingWriteError {
    /// The operating system refused.
    #[error("the ring file {path} cannot be written: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A path without a file name.
    #[error("{0} does not name a file")]
    NoFileName(PathBuf),
    /// The ring could not be read back.
    #[error("the ring is not valid and was not written: {0}")]
    Invalid(#[from] RingReadError),
    /// A device number that needs more than the two bytes of format 1.
    #[error("device number {0} is too large for a ring file of format 1; the largest is 65534")]
    DeviceIdTooLarge(usize),
    /// The device list could not be made text.
    #[error("the ring's header cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// Compression failed.
    #[error("the ring cannot be compressed: {0}")]
    Compress(std::io::Error),
}

//! Looking into a device: what lies on it, what its index says of that, and whether both are sound.
//!
//! Everything here only reads. A [`Device`] is opened beside whatever else has it open, without a lock, and nothing in
//! its directory changes. What is damaged is told and not refused: a device that the engine does not open any more can
//! still be looked into, and what is whole in it be read.
//!
//! Beside a running process two things move. The index that is seen is the one that was made durable last, so the log
//! is ahead of it; what is asked of single objects is completed from the log. And a segment may be freed and used again
//! while it is being read; every finding is therefore made sure of by its segment's header, and dropped when that has
//! changed.
//!
//! - [`Device`]: opening, and the tables of segments ([`Summary`], [`SegmentRow`])
//! - [`FrameRow`], [`RecordRow`]: what stands in a segment
//! - [`ObjectView`], [`DataReader`]: one object, and its bytes
//! - [`Verifier`]: everything, step by step, so that a caller decides how fast it goes and when it ends
//!
//! All calls block. In an asynchronous process they belong on threads for that.

mod device;
mod log;
mod object;
mod segments;
#[cfg(test)]
mod tests;
mod verify;

pub use device::{Device, Header, SegmentFile};
pub use object::{
    Chunk, DataReader, KeptVersion, ObjectView, ReadError, Role, StoredRecord, StoredVersion,
};
pub use segments::{
    ClassRow, FooterState, FrameRow, IndexSummary, LogSummary, RecordRow, RecordState, SegmentRow,
    StreamRow, Summary,
};
pub use verify::{Finding, Problem, Progress, Report, Scope, Verifier};

use crate::engine::OpenError;
use crate::index::IndexError;
use std::path::PathBuf;

/// Why a device cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No device is there.
    #[error("{0} is no device: there is no log/SUPER and no segment in it, nor in pack below it")]
    NoDevice(PathBuf),
    /// The directory cannot be read.
    #[error("the disk cannot be read")]
    Disk(#[source] std::io::Error),
    /// The index is there and does not work.
    #[error("the index cannot be read")]
    Index(#[from] IndexError),
    /// The log cannot be followed.
    #[error("the log cannot be read")]
    Log(#[from] OpenError),
    /// There is no such segment.
    #[error("there is no segment {0:08x}")]
    NoSegment(u32),
    /// It has no frames, since it is of another class.
    #[error("segment {segment:08x} holds no frames: it is {class}")]
    NoFrames {
        /// Which.
        segment: u32,
        /// What it is instead.
        class: &'static str,
    },
    /// There is no such frame.
    #[error(
        "there is no frame {0}: it was never written, is damaged, or its segment was given back"
    )]
    NoFrame(u64),
}

/// For JSON: what a value says of itself.
fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// For JSON: a segment's number as in its file's name.
fn as_segment<S: serde::Serializer>(id: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{id:08x}"))
}

//! Images: what virtual machines boot from.
//!
//! This room will speak OpenStack's image API (v2, and v1 as old clients have it), keep its records in SQL and
//! its bytes in the object store, as an ordinary client of the proxy. It has no private path into storage and
//! imports no other service. On import it will convert what is not raw, so that a volume can be a clone of an
//! image by reference.
//!
//! What is here so far is the gate of that import: [`DiskFormat::sniff`] says what an upload really is, whatever
//! its uploader calls it, and [`Qcow2Header`] refuses images that would make the converter read other files of
//! its host. Absent: the API, the records, the conversion.

mod format;
mod qcow2;

pub use format::{DiskFormat, HEAD_BYTES};
pub use qcow2::{Qcow2Error, Qcow2Header};

//! The ring: which devices hold a partition, and where to look when they do not answer.
//!
//! - [`RingData`] is a ring file in memory: it reads `.ring.gz` version 1 and 2 and writes version 1.
//! - [`Ring`] answers lookups over it: primaries and handoffs in exactly Swift's order, because that
//!   order decides where data written during a failure is looked for.
//! - [`build`] places partitions on devices from nothing, the same way for the same input.
//!
//! Swift: common/ring/{ring,io,utils}.py. Rings are read whole and never changed; share a [`Ring`] by `Arc`.

mod build;
mod data;
mod device;
mod error;
mod format;
mod handoffs;
mod quota;
mod ring;

pub use build::{BuildError, build};
pub use data::{MAX_REPLICAS, MAX_RING_BYTES, RingData};
pub use device::Device;
pub use error::{RingReadError, RingWriteError};
pub use handoffs::Handoffs;
pub use ring::{Node, Ring};

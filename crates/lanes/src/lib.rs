//! MD5 of many streams at once: one core does ten times what it does for one stream.
//!
//! MD5 is a single chain of dependent steps, so one stream cannot be made faster. But a vector register holds a word of
//! sixteen streams as easily as a word of one. [`Kernel`] is the compression function in that form, for AVX-512, AVX2,
//! and none.
//!
//! - [`Md5Lanes`] is a service for async callers: each [`Md5Stream`] hands its bytes over as they come, and whatever
//!   streams have bytes at the same moment are computed side by side by a few threads of the service.
//! - [`digest_many`] is for texts that are all in memory.
//!
//! Absent: other digests, and processors other than x86-64, where all is done by the scalar kernel.

mod batch;
mod digest;
mod kernel;
mod many;
mod service;
mod stream;

pub use kernel::Kernel;
pub use many::digest_many;
pub use service::{Md5Lanes, StartError};
pub use stream::{Md5Stream, Stopped};

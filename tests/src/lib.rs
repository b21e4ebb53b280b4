//! What the tests share that drive the real binary.
//!
//! - [`process`]: the binary as a process that can be killed, stopped and started again
//! - [`cluster`]: three nodes on one machine
//! - [`client`]: HTTP as a well-behaved client speaks it
//! - [`raw`]: bytes on a socket, for clients that are not
//! - [`content`]: bytes which tell whose they are
//! - [`ledger`]: what a client was promised, and whether it is so
//! - [`load`]: many clients at once that write everything down
//! - [`patience`]: waiting for something to become true, but not for ever
//!
//! The binary is the one that cargo built beside the tests. nextest builds it first, as `.config/nextest.toml`
//! says; with `cargo test`, `cargo build --release --workspace` has to be run before.

pub mod client;
pub mod cluster;
pub mod content;
pub mod ledger;
pub mod load;
pub mod patience;
pub mod process;
pub mod raw;

pub use client::{Answer, Client};
pub use cluster::Cluster;
pub use process::{Apus, Options};

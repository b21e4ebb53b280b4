//! The composition root: the one place that knows how the rooms are put together.
//!
//! `apus serve` starts a whole cloud in one process, whose services call each other without a socket; a
//! subcommand starts one service alone. Both read the same configuration, so a node can be taken apart
//! without changing a line of it.

pub mod config;
pub mod inspect;
mod node;
mod openrc;
mod rings;
mod secrets;
mod swift_conf;

pub use node::{Node, Part};

//! Block volumes: disks of virtual machines, made of objects in the store.
//!
//! A volume will be a log-structured virtual disk: writes are gathered into immutable objects numbered in
//! sequence, made durable at flush by a replicated journal, and exported to the hypervisor by NBD on a unix socket.
//! Snapshots pin a sequence number; a clone is a map that starts where another ends. The room talks to the
//! store as an ordinary client, and speaks nova-volume's and Cinder's API.
//!
//! What is here so far is the heart of reading: the [`ExtentMap`], which knows for every block in which object it
//! lies. Absent: journal, objects, garbage collection, export, API.

mod extent;

pub use extent::{BlockRange, ExtentMap, Location, Run};

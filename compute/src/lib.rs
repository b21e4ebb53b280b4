//! Nova: servers, that is virtual machines and who runs them where.
//!
//! This room will speak OpenStack's compute API, choose a host for each server (filters and weighers), keep its
//! records in SQL, and on each host drive libvirt through an agent. Its disks are volumes and its images
//! Glance's, both reached over their public APIs; `volume` and `network` are rooms of their own beside it.
//! It is the only room that may link libvirt.
//!
//! What is here so far is the state of one server, [`ServerState`], as plain values: what may be done in it,
//! what then goes on, and where it ends. Absent: the API, the scheduler, the records, the agent; and of
//! the states, those of resizing, migrating, shelving and soft deletion.

mod state;

pub use state::{Action, Conflict, ServerState, Task, VmState};

//! The front door before storage nodes that live in memory and fail as told.

mod access;
mod cluster;
mod large;
mod lists;
mod node;
mod objects;
mod refusals;
mod socket;

//! The front door before storage nodes that live in memory and fail as told.

mod access;
mod cluster;
mod copies;
mod cors;
mod forms;
mod hosts;
mod large;
mod lists;
mod node;
mod objects;
mod refusals;
mod site;
mod socket;
mod tempurl;

//! The front door before storage nodes that live in memory and fail as told.

mod access;
mod bulk;
mod cluster;
mod copies;
mod cors;
mod deletions;
mod forms;
mod hosts;
mod large;
mod limits;
mod links;
mod lists;
mod node;
mod objects;
mod refusals;
mod site;
mod socket;
mod tempurl;

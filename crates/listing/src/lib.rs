//! The timestamp-merged list that an account and a container both are.
//!
//! An account lists containers, a container lists objects; either is a record ([`Entity`]) with metadata and
//! totals, and rows that merge by timestamp so that replicas agree whatever order changes reach them in. All
//! of that is here, once, generic over the [`Row`]; `containerd` and `accountd` only know their own headers.
//!
//! - [`Database`]: all lists of a device, on RocksDB. One thread writes, in batches that are flushed before
//!   anybody is answered. Formats: [`keys`], [`Entity`], [`Stored`], and `docs/formats/listing.md`.
//! - [`PageQuery`]: what a listing may ask for; [`render`] writes a page as text, JSON or XML.
//! - [`shards`]: which part of a container is kept where; a table, and nobody yet who cuts containers.
//! - [`lifecycle`]: creating, changing, deleting, as pure functions.
//! - [`request`], [`answer`] and [`Refusal`]: what the two servers read from requests and answer in the same words;
//!   [`replicate`]: what they answer to Swift's replicators.
//!
//! Absent: replication of lists, sharding, and reclaiming old deletions.

pub mod answer;
mod budget;
mod container_row;
mod cursor;
mod database;
mod devices;
mod entity;
mod journal;
pub mod keys;
pub mod lifecycle;
mod metadata;
mod object_row;
mod page;
mod record;
mod refusal;
pub mod render;
pub mod replicate;
pub mod request;
mod row;
pub mod shards;
mod store;
mod transaction;
mod view;
mod writer;

pub use budget::Budget;
pub use container_row::ContainerRow;
pub use database::{Database, DatabaseError, DatabaseOptions, OpenError, StoreError};
pub use devices::Devices;
pub use entity::{Entity, Reported};
pub use journal::JournalError;
pub use metadata::{Metadata, MetadataError, MetadataValue};
pub use object_row::ObjectRow;
pub use page::{Item, PageQuery};
pub use record::{Corrupt, Reader};
pub use refusal::Refusal;
pub use row::{Row, Stored, Totals};
pub use transaction::Transaction;
pub use view::View;

//! Rows of JSON listings, as accountd and containerd render them and the proxy reads them.

use serde::{Deserialize, Serialize};

/// A line of a container listing: an object, or what a delimiter folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ContainerRow {
    /// Names that share a prefix up to the delimiter.
    Subdir {
        /// The prefix with its delimiter.
        subdir: String,
    },
    /// An object.
    Object {
        /// Its name.
        name: String,
        /// Its ETag.
        hash: String,
        /// Its length.
        bytes: u64,
        /// Its content type.
        content_type: String,
        /// When it was last changed: `2014-06-11T05:31:17.041880`.
        last_modified: String,
    },
}

/// A row that the verb UPDATE brings to a container, as Swift's `merge_items` knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergedRow {
    /// The object's name.
    pub name: String,
    /// Up to three timestamps in one text.
    pub created_at: String,
    /// Its length.
    #[serde(default)]
    pub size: u64,
    /// Its content type.
    #[serde(default)]
    pub content_type: String,
    /// Its ETag.
    #[serde(default)]
    pub etag: String,
    /// 1 if it is gone, else 0.
    #[serde(default)]
    pub deleted: u8,
    /// Its storage policy.
    #[serde(default)]
    pub storage_policy_index: u32,
}

/// A line of an account listing: a container, or what a delimiter folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AccountRow {
    /// Names that share a prefix up to the delimiter.
    Subdir {
        /// The prefix with its delimiter.
        subdir: String,
    },
    /// A container.
    Container {
        /// Its name.
        name: String,
        /// Objects in it.
        count: u64,
        /// Bytes in it.
        bytes: u64,
        /// When it was created.
        last_modified: String,
        /// Its storage policy, by name, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        storage_policy: Option<String>,
    },
}

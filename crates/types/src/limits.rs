//! What a cluster accepts at most. The defaults are Swift's.

use serde::{Deserialize, Serialize};

/// Limits on names, metadata, bodies and listings. Lengths are in bytes of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest body of one object, in bytes.
    pub max_file_size: u64,
    /// Longest metadata name, without its `X-Object-Meta-` prefix.
    pub max_meta_name_length: u32,
    /// Longest metadata value.
    pub max_meta_value_length: u32,
    /// Most metadata items of one account, container or object.
    pub max_meta_count: u32,
    /// Most bytes of all metadata names and values of one entity together.
    pub max_meta_overall_size: u32,
    /// Longest single request header.
    pub max_header_size: u32,
    /// Longest object name.
    pub max_object_name_length: u32,
    /// Longest account name.
    pub max_account_name_length: u32,
    /// Longest container name.
    pub max_container_name_length: u32,
    /// Most rows of a container listing page.
    pub container_listing_limit: u32,
    /// Most rows of an account listing page.
    pub account_listing_limit: u32,
    /// Headers allowed beyond the metadata and Swift's own.
    pub extra_header_count: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_file_size: 5_368_709_122,
            max_meta_name_length: 128,
            max_meta_value_length: 256,
            max_meta_count: 90,
            max_meta_overall_size: 4096,
            max_header_size: 8192,
            max_object_name_length: 1024,
            max_account_name_length: 256,
            max_container_name_length: 256,
            container_listing_limit: 10_000,
            account_listing_limit: 10_000,
            extra_header_count: 0,
        }
    }
}

impl Limits {
    /// Most header lines of one request (Swift: proxy/server.py, `max_header_count`).
    pub fn max_header_count(&self) -> usize {
        (self.max_meta_count + 36 + self.extra_header_count) as usize
    }
}

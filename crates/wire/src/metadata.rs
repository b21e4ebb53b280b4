//! What a request may say as metadata. Swift: common/constraints.py, `check_metadata`.

use http::HeaderMap;
use types::Limits;

/// Why metadata is refused. The sentences are what clients read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// `X-Object-Meta-:`
    #[error("Metadata name cannot be empty")]
    NoName,
    /// Of accounts and containers.
    #[error("Metadata must be valid UTF-8")]
    NoText,
    /// Says which header.
    #[error("Metadata name too long: {0}")]
    NameTooLong(String),
    /// Says how long it may be, and which header.
    #[error("Metadata value longer than {0}: {1}")]
    ValueTooLong(u32, String),
    /// Says how many may be.
    #[error("Too many metadata items; max {0}")]
    TooMany(u32),
    /// Says how many bytes may be.
    #[error("Total metadata too large; max {0}")]
    TooLarge(u32),
}

/// Checks the headers that begin with `prefix`: `x-object-meta-` and the like.
pub fn check(headers: &HeaderMap, prefix: &str, limits: &Limits) -> Result<(), MetadataError> {
    let must_be_text = prefix != "x-object-meta-";
    let (mut count, mut size) = (0u32, 0usize);
    for (full, value) in headers {
        let Some(name) = full.as_str().strip_prefix(prefix) else { continue };
        if name.is_empty() {
            return Err(MetadataError::NoName);
        }
        if must_be_text && std::str::from_utf8(value.as_bytes()).is_err() {
            return Err(MetadataError::NoText);
        }
        count += 1;
        size += name.len() + value.len();
        if name.len() > limits.max_meta_name_length as usize {
            return Err(MetadataError::NameTooLong(full.to_string()));
        }
        if value.len() > limits.max_meta_value_length as usize {
            return Err(MetadataError::ValueTooLong(
                limits.max_meta_value_length,
                full.to_string(),
            ));
        }
        if count > limits.max_meta_count {
            return Err(MetadataError::TooMany(limits.max_meta_count));
        }
        if size > limits.max_meta_overall_size as usize {
            return Err(MetadataError::TooLarge(limits.max_meta_overall_size));
        }
    }
    Ok(())
}

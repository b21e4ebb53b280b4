//! objectd

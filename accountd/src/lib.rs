//! accountd

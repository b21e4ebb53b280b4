//! ring-builder

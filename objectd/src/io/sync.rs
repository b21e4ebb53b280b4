//! The primitives of what is model-checked: std's here, shuttle's where `model.rs` includes the same files.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
pub(super) use std::sync::{Mutex, PoisonError};

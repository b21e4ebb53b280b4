//! What makes a process a good citizen: configuration, serving, stopping, telemetry, and the clock.
//!
//! A daemon is a library with a `Config`, a `start(config, env)` and a [`Running`] handle. Whatever it takes
//! from outside (time, stopping, other services) comes in through [`Env`], so it can be started twice in one
//! process and simulated.

mod access;
mod answer;
mod clock;
mod config;
mod head_timer;
mod lock;
mod meters;
mod patience;
mod running;
mod serve;
pub mod telemetry;

pub use access::{Notes, Observed, TransId, Within};
pub use answer::{empty, error_page, text};
pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use config::{ConfigError, load_config};
pub use lock::{DataLock, LockError};
pub use running::{Env, Running, Shutdown};
pub use serve::{ClientAddress, ServeOptions, serve};

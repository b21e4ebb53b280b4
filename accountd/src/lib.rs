//! The account server: listings of containers, with Swift's backend API.
//!
//! A thin face on [`listing`], which knows what a list is and keeps it. Here is what is an account's own: its
//! headers, its rows' requests, and that a deleted one stays deleted.
//!
//! | verb | path | |
//! |---|---|---|
//! | PUT, HEAD, GET, POST, DELETE | `/<device>/<partition>/<account>` | the account |
//! | PUT | `…/<container>` | a row, sent by container servers and the replicator |
//! | GET | `/healthcheck` | |
//!
//! Absent: replication of lists (REPLICATE is answered as [`listing::replicate`] says), and reclaiming accounts that were deleted long ago.

mod account;
mod container;
mod info;
mod server;

use daemon::{Env, Observed, Running};
use listing::{Budget, DatabaseOptions, Devices};
use serde::Deserialize;
use server::Server;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use types::{HashPaths, Limits, PolicyIndex};

/// How an account server is set up.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory that has one directory per device.
    #[serde(skip)]
    pub devices_dir: PathBuf,
    /// The devices, as the ring names them.
    #[serde(skip)]
    pub devices: Vec<String>,
    /// The cluster's secret ends of hashed paths.
    #[serde(skip)]
    pub hash_paths: HashPaths,
    /// The cluster's limits.
    #[serde(skip)]
    pub limits: Limits,
    /// The names of storage policies, for totals by policy; those without a name are left out.
    #[serde(skip)]
    pub policies: BTreeMap<PolicyIndex, String>,
    /// Memory and threads shared with others in this process; its own if there is none.
    #[serde(skip)]
    pub budget: Option<Budget>,
    /// Memory for cached blocks, when the budget is its own.
    pub cache_bytes: u64,
    /// Memory for rows not yet flushed, when the budget is its own.
    pub write_buffer_bytes: u64,
    /// Changes that may wait per device; more are answered 503.
    pub queue_max: u32,
    /// Reads that run at a time per device.
    pub readers_max: u32,
    /// Percentage of a disk that only deletions may use.
    pub reserve_percent: u8,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            devices_dir: PathBuf::from("/srv/node"),
            devices: Vec::new(),
            hash_paths: HashPaths::default(),
            limits: Limits::default(),
            policies: BTreeMap::new(),
            budget: None,
            cache_bytes: 32 << 20,
            write_buffer_bytes: 32 << 20,
            queue_max: 4096,
            readers_max: 16,
            reserve_percent: 1,
        }
    }
}

/// Why an account server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A database cannot be opened.
    #[error(transparent)]
    Open(#[from] listing::OpenError),
    /// Opening did not come to an end.
    #[error("opening the account databases was broken off; see the log for a panic")]
    BrokenOff,
}

/// Opens the databases of all devices and serves them.
pub async fn start(config: Config, env: Env) -> Result<Running, StartError> {
    let options = DatabaseOptions {
        queue_max: config.queue_max as usize,
        readers_max: config.readers_max,
        reserve_percent: config.reserve_percent,
        ..DatabaseOptions::default()
    };
    let budget = config.budget.clone();
    let budget =
        budget.unwrap_or_else(|| Budget::new(config.cache_bytes, config.write_buffer_bytes));
    let (directory, names) = (config.devices_dir.clone(), config.devices.clone());
    let open = move || Devices::open(&directory, &names, &budget, &options);
    let opened = tokio::task::spawn_blocking(open).await;
    let devices = opened.map_err(|_| StartError::BrokenOff)??;
    let server = Server {
        devices: devices.clone(),
        hash_paths: config.hash_paths,
        limits: Arc::new(config.limits),
        policies: Arc::new(config.policies),
        clock: Arc::clone(&env.clock),
    };
    let service = wire::service_fn(Arc::new(server), server::answer);
    let service = Observed::Backend.wrap("account-server", env.clock, service);
    Ok(Running::new(service, move || async move { devices.close().await }))
}

#[cfg(test)]
mod tests;

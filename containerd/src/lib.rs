//! The container server: listings of objects, with Swift's backend API.
//!
//! A thin face on [`listing`], which knows what a list is and keeps it. Here is what is a container's own: its
//! headers, its rows' requests, and what it tells accounts.
//!
//! | verb | path | |
//! |---|---|---|
//! | PUT, HEAD, GET, POST, DELETE | `/<device>/<partition>/<account>/<container>` | the container |
//! | PUT, DELETE | `…/<object>` | a row, sent by object servers |
//! | UPDATE | `/<device>/<partition>/<account>/<container>` | many rows |
//! | PUT, GET | the same, with `X-Backend-Record-Type: shard` | its table of shard ranges |
//! | UPDATES | `/<device>` | reports owed to accounts: an extension, see [`wire::pending`] |
//! | GET | `/healthcheck` | |
//!
//! When a container is created or deleted, the account servers named in the request's `X-Account-*` headers are
//! told at once, if they answer in time. That, and every change of its totals, also goes into a durable queue
//! in the same write as the change itself; the replicator empties the queue with UPDATES.
//!
//! Shard ranges are kept, merged and told ([`listing::shards`]), but nothing here cuts containers into shards.
//!
//! Absent: replication of lists (REPLICATE is answered as [`listing::replicate`] says), a sharder, container sync.

mod account_update;
mod container;
mod info;
mod merge;
mod object;
mod server;
mod shard_json;
mod shards;
mod updates;

use daemon::{Env, Observed, Running};
use listing::{Budget, DatabaseOptions, Devices};
use serde::Deserialize;
use server::Server;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use types::{HashPaths, Limits, PolicyIndex};

/// How a container server is set up.
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
    /// The cluster's storage policies. Containers are made with these only; with any, where they are not known.
    #[serde(skip)]
    pub policies: Option<Vec<PolicyIndex>>,
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
    /// How long account servers may take when a container is created or deleted.
    pub account_update_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            devices_dir: PathBuf::from("/srv/node"),
            devices: Vec::new(),
            hash_paths: HashPaths::default(),
            limits: Limits::default(),
            policies: None,
            budget: None,
            cache_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
            queue_max: 4096,
            readers_max: 16,
            reserve_percent: 1,
            account_update_timeout_ms: 3000,
        }
    }
}

/// Why a container server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A database cannot be opened.
    #[error(transparent)]
    Open(#[from] listing::OpenError),
    /// Opening did not come to an end.
    #[error("opening the container databases was broken off; see the log for a panic")]
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
        policies: config.policies,
        clock: Arc::clone(&env.clock),
        client: env.client,
        account_update_timeout: Duration::from_millis(config.account_update_timeout_ms),
    };
    let service = wire::service_fn(Arc::new(server), server::answer);
    let service = Observed::Backend.wrap("container-server", env.clock, service);
    Ok(Running::new(service, move || async move { devices.close().await }))
}

#[cfg(test)]
mod tests;

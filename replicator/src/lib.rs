//! Makes copies agree again. One per node; it holds policy (what, when, how fast), and the owners hold the data.
//!
//! What there is so far are the two updaters (Swift: obj/updater.py, container/updater.py):
//!
//! - the object updater asks each object device of its node for the listing updates it still owes
//!   ([`wire::pending_object`]) and sends them to the container servers which the container ring names;
//! - the container updater asks each container device for the totals it still owes ([`wire::pending`]) and
//!   sends them to the account servers which the account ring names.
//!
//! Nothing is kept here: an update stays in its owner's queue until it is acknowledged, so this process may die
//! at any moment. Replication, reconstruction, auditing, expiring, reaping and sharding are not here yet, and
//! neither are redirects to shards.

mod config;
mod recon;
mod share;
mod updater;

pub use config::{Config, LocalNodes, StartError};
pub use share::mine;

use daemon::{Env, Observed, Running, Shutdown};
use recon::Recon;
use ring_builder::Ring;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use types::{HashPaths, PolicyIndex};
use updater::{Kind, Updater};

/// Starts the updaters of one node: a task for each of its devices.
pub fn start(
    config: Config,
    env: Env,
    local: LocalNodes,
    account_ring: Arc<Ring>,
    container_ring: Arc<Ring>,
    hash_paths: HashPaths,
) -> Result<Running, StartError> {
    config.check()?;
    let recon = Arc::new(Recon::default());
    let permits = Arc::new(Semaphore::new(config.concurrency as usize));
    let stop = Shutdown::default();
    let mut tasks = JoinSet::new();
    let containers = local.container.into_iter();
    let containers = containers.map(|(owner, device)| (owner, device, PolicyIndex::default()));
    let queues = [
        (Kind::Object, local.object, container_ring),
        (Kind::Container, containers.collect(), account_ring),
    ];
    for (kind, devices, ring) in queues {
        for (owner, device, policy) in devices {
            let updater = Updater {
                kind,
                owner,
                device,
                policy,
                ring: Arc::clone(&ring),
                hash_paths: hash_paths.clone(),
                config: config.clone(),
                client: env.client.clone(),
                clock: Arc::clone(&env.clock),
                permits: Arc::clone(&permits),
                recon: Arc::clone(&recon),
            };
            let (node, this) = (env.shutdown.clone(), stop.clone());
            tasks.spawn(async move {
                // Whatever is under way may be dropped: what was delivered but not acknowledged is delivered
                // once more after the next start, and listings merge it to once.
                tokio::select! {
                    () = updater.run() => {}
                    () = node.wait() => {}
                    () = this.wait() => {}
                }
            });
        }
    }
    let service = Observed::Backend.wrap("replicator", env.clock, recon::service(recon));
    Ok(Running::new(service, move || async move {
        stop.trigger();
        while tasks.join_next().await.is_some() {}
    }))
}

#[cfg(test)]
mod tests;

//! Makes copies agree again. One per node; it holds policy (what, when, how fast), and the owners hold the data.
//!
//! - the object updater ([`updater`], Swift: obj/updater.py) asks each object device of its node for the listing updates
//!   it still owes ([`wire::pending_object`]) and sends them to the container servers which the container ring names;
//! - the container updater (Swift: container/updater.py) asks each container device for the totals it still owes
//!   ([`wire::pending`]) and sends them to the account servers which the account ring names;
//! - the [`auditor`] has each object device read through, so that damage is found before somebody needs what is damaged;
//! - the [`healer`] fetches what an object device has found damaged from another one;
//! - the [`expirer`] has each object device delete what has expired;
//! - the [`deleter`] deletes what somebody asked to be deleted without waiting for it.
//!
//! Nothing but the place of an audit is kept here: an update stays in its owner's queue until it is acknowledged, and what
//! is damaged in its owner's quarantine until it is mended, so this process may die at any moment. Replication,
//! reconstruction, reaping and sharding are not here yet, and neither are redirects to shards.

mod auditor;
mod config;
mod deleter;
mod device;
mod expirer;
mod healer;
mod recon;
mod share;
mod updater;

pub use config::{Config, LocalNodes, StartError};
pub use share::mine;

use auditor::Auditor;
use daemon::{Env, Observed, Running, Shutdown};
use deleter::Deleter;
use device::{Asker, ObjectDevice};
use expirer::Expirer;
use futures_util::future::{BoxFuture, FutureExt};
use healer::Healer;
use recon::Recon;
use ring_builder::Ring;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use types::{HashPaths, PolicyIndex};
use updater::{Kind, Updater};

/// Where everything lies.
#[derive(Clone)]
pub struct Rings {
    /// Accounts.
    pub account: Arc<Ring>,
    /// Containers.
    pub container: Arc<Ring>,
    /// Objects of each storage policy.
    pub objects: BTreeMap<PolicyIndex, Arc<Ring>>,
}

/// Starts the background work of one node: for each of its devices a task for each thing that is done.
pub fn start(
    config: Config,
    env: Env,
    local: LocalNodes,
    rings: Rings,
    hash_paths: HashPaths,
) -> Result<Running, StartError> {
    config.check()?;
    let recon = Arc::new(Recon::default());
    let mut works = updaters(&config, &env, &local, &rings, &hash_paths, &recon);
    works.extend(healers(&config, &env, &local, &rings, &recon));
    works.extend(auditors(&config, &env, &local, &recon));
    works.extend(expirers(&config, &env, &local, &rings, &hash_paths, &recon));
    works.extend(deleters(&config, &env, &local, &rings, &hash_paths));
    let stop = Shutdown::default();
    let mut tasks = JoinSet::new();
    for work in works {
        let (node, this) = (env.shutdown.clone(), stop.clone());
        tasks.spawn(async move {
            // Whatever is under way may be dropped. What was delivered but not acknowledged is delivered once more
            // after the next start, and listings merge it to once; an object that was half fetched is fetched again.
            tokio::select! {
                () = work => {}
                () = node.wait() => {}
                () = this.wait() => {}
            }
        });
    }
    let service = Observed::Backend.wrap("replicator", env.clock, recon::service(recon));
    Ok(Running::new(service, move || async move {
        stop.trigger();
        while tasks.join_next().await.is_some() {}
    }))
}

type Work = BoxFuture<'static, ()>;

fn updaters(
    config: &Config,
    env: &Env,
    local: &LocalNodes,
    rings: &Rings,
    hash_paths: &HashPaths,
    recon: &Arc<Recon>,
) -> Vec<Work> {
    let permits = Arc::new(Semaphore::new(config.concurrency as usize));
    let containers = local.container.iter().cloned();
    let containers = containers.map(|(owner, device)| (owner, device, PolicyIndex::default()));
    let queues = [
        (Kind::Object, local.object.clone(), &rings.container),
        (Kind::Container, containers.collect(), &rings.account),
    ];
    let mut works = Vec::new();
    for (kind, devices, ring) in queues {
        for (owner, device, policy) in devices {
            let updater = Updater {
                kind,
                owner,
                device,
                policy,
                ring: Arc::clone(ring),
                hash_paths: hash_paths.clone(),
                config: config.clone(),
                client: env.client.clone(),
                clock: Arc::clone(&env.clock),
                permits: Arc::clone(&permits),
                recon: Arc::clone(recon),
            };
            works.push(async move { updater.run().await }.boxed());
        }
    }
    works
}

/// The object devices that are this worker's alone.
fn own_devices(config: &Config, local: &LocalNodes) -> Vec<ObjectDevice> {
    let mine =
        |device: &ObjectDevice| mine(config.worker, config.workers, device.label().as_bytes());
    let devices = local.object.iter().cloned();
    let devices = devices.map(|(owner, name, policy)| ObjectDevice { owner, name, policy });
    devices.filter(mine).collect()
}

fn asker(config: &Config, env: &Env) -> Asker {
    let patience = Duration::from_millis(config.node_timeout_ms);
    Asker { client: env.client.clone(), patience }
}

fn healers(
    config: &Config,
    env: &Env,
    local: &LocalNodes,
    rings: &Rings,
    recon: &Arc<Recon>,
) -> Vec<Work> {
    let permits = Arc::new(Semaphore::new(config.heal_concurrency as usize));
    let healer = |device: ObjectDevice| {
        let ring = Arc::clone(rings.objects.get(&device.policy)?);
        Some(Healer {
            device,
            ring,
            config: config.clone(),
            asker: asker(config, env),
            clock: Arc::clone(&env.clock),
            permits: Arc::clone(&permits),
            recon: Arc::clone(recon),
        })
    };
    let healers = own_devices(config, local).into_iter().filter_map(healer);
    healers.map(|healer| async move { healer.run().await }.boxed()).collect()
}

fn auditors(config: &Config, env: &Env, local: &LocalNodes, recon: &Arc<Recon>) -> Vec<Work> {
    let devices = if config.audit { own_devices(config, local) } else { Vec::new() };
    let auditor = |device| Auditor {
        device,
        config: config.clone(),
        asker: asker(config, env),
        clock: Arc::clone(&env.clock),
        recon: Arc::clone(recon),
    };
    let auditors = devices.into_iter().map(auditor);
    auditors.map(|auditor| async move { auditor.run().await }.boxed()).collect()
}

fn expirers(
    config: &Config,
    env: &Env,
    local: &LocalNodes,
    rings: &Rings,
    hash_paths: &HashPaths,
    recon: &Arc<Recon>,
) -> Vec<Work> {
    let permits = Arc::new(Semaphore::new(config.expire_concurrency as usize));
    let devices = if config.expire { own_devices(config, local) } else { Vec::new() };
    let expirer = |device: ObjectDevice| {
        let ring = Arc::clone(rings.objects.get(&device.policy)?);
        Some(Expirer {
            device,
            ring,
            containers: Arc::clone(&rings.container),
            hash_paths: hash_paths.clone(),
            config: config.clone(),
            asker: asker(config, env),
            clock: Arc::clone(&env.clock),
            permits: Arc::clone(&permits),
            recon: Arc::clone(recon),
        })
    };
    let expirers = devices.into_iter().filter_map(expirer);
    expirers.map(|expirer| async move { expirer.run().await }.boxed()).collect()
}

fn deleters(
    config: &Config,
    env: &Env,
    local: &LocalNodes,
    rings: &Rings,
    hash_paths: &HashPaths,
) -> Vec<Work> {
    let permits = Arc::new(Semaphore::new(config.expire_concurrency as usize));
    let mine = |(_, device): &&(_, String)| mine(config.worker, config.workers, device.as_bytes());
    let devices = local.container.iter().filter(mine).filter(|_| config.expire);
    let deleters = devices.cloned().map(|(owner, device)| Deleter {
        owner,
        device,
        rings: rings.clone(),
        hash_paths: hash_paths.clone(),
        config: config.clone(),
        client: env.client.clone(),
        clock: Arc::clone(&env.clock),
        permits: Arc::clone(&permits),
    });
    deleters.map(|deleter| async move { deleter.run().await }.boxed()).collect()
}

#[cfg(test)]
mod tests;

//! One meaning for put, get and list: quorum over the ring. Knows nothing of the faces that clients see.
//!
//! - [`Store::read`] chooses the replica to read from (`read`), and keeps reading when it breaks off (`resume`).
//! - [`Store::put_object`] writes bytes (`put`, one `lane` for each replica of a large body).
//! - Everything else is the same small request to all replicas (`fanout`) in `account`, `container`, `object`.
//! - `Store::delete_expired` makes room for a container's end (`expired`).
//! - [`Store::container_info`] and [`Store::account_info`] remember for a while what is asked all the time.
//!
//! The words are Swift's backend API: headers given here reach storage nodes as they are, so a face passes only
//! what clients may say.

mod account;
pub(crate) mod body;
mod call;
mod container;
mod deletions;
mod endpoints;
mod entity;
mod expired;
mod fanout;
mod info;
mod lane;
mod object;
mod peers;
mod put;
mod read;
mod resume;

pub(crate) use body::{BodyError, ClientBody};
pub use call::Answer;
pub use entity::{Entity, Level};
pub use info::{AccountInfo, AccountStatus, ContainerInfo};
pub use put::{ObjectPut, PutError, Stored};
pub use read::Read;

use daemon::Env;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use types::{HashPaths, PolicyIndex};

use crate::Rings;
use crate::config::{Config, StartError};
use entity::Place;
use info::{InfoCache, Infos};
use peers::RingSide;

/// No quorum of storage nodes could be had; trying again later may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too few storage nodes could serve the request")]
pub struct Unavailable;

/// Requests that may go on after their quorum, in all.
const STRAGGLERS_MAX: usize = 1024;

/// The cluster, seen from the front door.
pub struct Store {
    pub(crate) env: Env,
    pub(crate) config: Arc<Config>,
    hash_paths: HashPaths,
    accounts: Arc<RingSide>,
    containers: Arc<RingSide>,
    objects: BTreeMap<PolicyIndex, Arc<RingSide>>,
    infos: Infos,
    background: Arc<Semaphore>,
}

impl Store {
    /// Over three rings.
    pub(crate) fn new(
        config: Arc<Config>,
        env: Env,
        rings: Rings,
        hash_paths: HashPaths,
    ) -> Result<Self, StartError> {
        let side = |ring: Arc<ring_builder::Ring>, name: String| {
            if ring.replica_count() == 0 || ring.devices().next().is_none() {
                return Err(StartError::EmptyRing(name));
            }
            Ok(Arc::new(RingSide::new(ring, &config, env.client.clone())))
        };
        let entries = config.info_cache_entries_max;
        let infos = Infos {
            accounts: InfoCache::new(
                entries,
                Duration::from_secs(config.recheck_account_existence_s),
            ),
            containers: InfoCache::new(
                entries,
                Duration::from_secs(config.recheck_container_existence_s),
            ),
        };
        let mut objects = BTreeMap::new();
        for policy in config.policies.iter() {
            let ring = rings.objects.get(&policy.index).cloned();
            let ring = ring.ok_or(StartError::NoRing(policy.index))?;
            objects.insert(policy.index, side(ring, format!("object ({})", policy.name))?);
        }
        Ok(Store {
            accounts: side(rings.account, "account".to_owned())?,
            containers: side(rings.container, "container".to_owned())?,
            objects,
            infos,
            background: Arc::new(Semaphore::new(STRAGGLERS_MAX)),
            hash_paths,
            config,
            env,
        })
    }

    /// Where the listing of an account or a container lies; of an object, the listing it is in.
    pub(crate) fn place(&self, entity: &Entity) -> Place {
        match entity.level() {
            Level::Account => entity.place(&self.accounts, &self.hash_paths),
            Level::Container => entity.place(&self.containers, &self.hash_paths),
            Level::Object => entity.to_container().place(&self.containers, &self.hash_paths),
        }
    }

    /// Where an object lies that is kept by a storage policy.
    pub(crate) fn place_of_object(
        &self,
        entity: &Entity,
        policy: PolicyIndex,
    ) -> Result<Place, Unavailable> {
        let side = self.objects.get(&policy).ok_or_else(|| {
            tracing::error!(%policy, "a container has a storage policy that this proxy does not know");
            Unavailable
        })?;
        Ok(entity.place(side, &self.hash_paths))
    }

    /// Waits until nothing goes on in the background any more.
    pub(crate) async fn drain(&self) {
        let all = u32::try_from(STRAGGLERS_MAX).unwrap_or(u32::MAX);
        let _ = self.background.acquire_many(all).await;
    }
}

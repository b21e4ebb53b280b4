//! The front door: Swift's API for clients, quorum over the ring behind it.
//!
//! - `store` is the one meaning of put, get and list; it knows rings, replicas and quorums, and no client.
//! - `swift` is a face on it: it parses, calls, and renders, and has one file that knows errors' statuses.
//! - `pipeline` is what a request passes on its way, each middleware in a file of its own; `call` is that request.
//! - `auth` decides whether a caller may do something; who the caller is, an [`wire::Authenticator`] says.
//!
//! This crate never touches a disk and never opens a socket: [`start`] gives a service, and storage nodes are
//! reached through [`daemon::Env::client`].

mod auth;
mod call;
mod config;
#[doc(hidden)]
pub mod parsers;
mod pipeline;
pub mod store;
mod swift;

pub use config::{AdminKey, Config, SortingMethod, StartError};

use daemon::{Env, Observed, Running};
use ring_builder::Ring;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{HashPaths, PolicyIndex};
use wire::Authenticator;

/// Where everything lies.
#[derive(Clone, Debug)]
pub struct Rings {
    /// Accounts.
    pub account: Arc<Ring>,
    /// Containers.
    pub container: Arc<Ring>,
    /// Objects, by storage policy.
    pub objects: BTreeMap<PolicyIndex, Arc<Ring>>,
}

/// Starts a proxy. Its service answers `/v1/…`, `/info` and `/healthcheck`.
pub async fn start(
    config: Config,
    env: Env,
    rings: Rings,
    hash_paths: HashPaths,
    auth: Arc<dyn Authenticator>,
) -> Result<Running, StartError> {
    config.check()?;
    let config = Arc::new(config);
    let clock = env.clock.clone();
    let store = Arc::new(store::Store::new(Arc::clone(&config), env, rings, hash_paths)?);
    let parts = pipeline::Parts { config, store: Arc::clone(&store), auth };
    let face = swift::service(parts)?;
    let service = Observed::Public.wrap("proxy", clock, face);
    Ok(Running::new(service, move || async move { store.drain().await }))
}

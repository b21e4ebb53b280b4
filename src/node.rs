//! A node: its services started in order, reachable in process and, where wanted, on sockets.

use crate::config::{ClusterConfig, NodeConfig};
use crate::openrc::{self, FirstUser};
use crate::rings::Rings;
use crate::secrets::{Secrets, hash_ends};
use crate::swift_conf::SwiftConf;
use anyhow::{Context, ensure};
use axum::routing;
use daemon::{DataLock, Env, Running, ServeOptions, Shutdown, SystemClock, telemetry};
use identity::TempAuth;
use ring_builder::Ring;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use types::{HashPaths, Policies};
use wire::{Endpoint, NodeClient, Service};

/// Where each listener tells the metrics of its process.
const METRICS: &str = "/metrics";
/// How often histograms are put in order.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// What a process runs of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything, calling each other in process.
    All,
    /// The front door.
    Proxy,
    /// Object bytes.
    Objectd,
    /// Listings of objects.
    Containerd,
    /// Listings of containers.
    Accountd,
    /// Background work.
    Replicator,
    /// Users and tokens.
    Identity,
}

/// What is to be started, and with what.
struct Plan<'a> {
    config: &'a NodeConfig,
    part: Part,
    env: &'a Env,
    rings: &'a Rings,
    policies: &'a Policies,
    hash_paths: &'a HashPaths,
    /// Whether storage services listen on their ports.
    sockets: bool,
}

impl Plan<'_> {
    fn runs(&self, part: Part) -> bool {
        self.part == Part::All || self.part == part
    }
}

/// What runs, and in which order it was started.
pub struct Node {
    shutdown: Shutdown,
    servers: Vec<JoinHandle<()>>,
    running: Vec<Running>,
    client: NodeClient,
    local: Vec<Endpoint>,
    address: Option<SocketAddr>,
    banner: String,
    _lock: DataLock,
}

impl Node {
    /// Starts a part of a node. Afterwards it answers.
    pub async fn start(mut config: NodeConfig, part: Part) -> anyhow::Result<Node> {
        let several = config.cluster.nodes.len() > 1;
        let lock_dir = match part {
            Part::All => config.data.clone(),
            part => config.data.join("run").join(format!("{part:?}").to_lowercase()),
        };
        let lock = DataLock::take(&lock_dir)?;
        let (hash_paths, user) = settle_secrets(&mut config, several)?;
        let policies = storage_policies(&config.cluster)?;
        let rings = Rings::of(&config, &policies)?;
        let shutdown = Shutdown::default();
        let connect = Duration::from_millis(config.cluster.connect_timeout_ms);
        let client = NodeClient::new(connect);
        let clock = Arc::new(SystemClock::default());
        let env = Env { clock, client: client.clone(), shutdown: shutdown.clone() };
        let mut node = Node {
            shutdown,
            servers: Vec::new(),
            running: Vec::new(),
            client,
            local: Vec::new(),
            address: None,
            banner: String::new(),
            _lock: lock,
        };
        let sockets = part != Part::All || config.backend.serve || several;
        let (env, rings, hash_paths) = (&env, &rings, &hash_paths);
        let plan =
            Plan { config: &config, part, env, rings, policies: &policies, hash_paths, sockets };
        let started = node.start_part(&plan).await;
        if let Err(error) = started {
            node.stop().await;
            return Err(error);
        }
        if let (Some(address), Some(user)) = (node.address, user) {
            openrc::write(&config.data, address, &user).context("openrc cannot be written")?;
        }
        if let Some(address) = node.address {
            let index = policies.default_policy().index;
            let ring = rings.objects.get(&index).context("the default policy has no ring")?;
            let devices = own_devices(ring, config.backend.address, config.backend.object_port);
            let replicas = ring.replica_count();
            node.banner = openrc::banner(&config.data, address, devices.len(), replicas);
        }
        Ok(node)
    }

    async fn start_part(&mut self, plan: &Plan<'_>) -> anyhow::Result<()> {
        let Plan { config, env, rings, hash_paths, .. } = *plan;
        self.start_storage(plan).await?;
        if plan.runs(Part::Replicator) {
            let backend = &config.backend;
            let here = |ring: &Ring, port: u16| {
                let endpoint = Endpoint::new(backend.address.to_string(), port);
                let devices = own_devices(ring, backend.address, port);
                devices.into_iter().map(|device| (endpoint.clone(), device)).collect::<Vec<_>>()
            };
            let local = replicator::LocalNodes {
                object: rings
                    .objects
                    .iter()
                    .flat_map(|(policy, ring)| {
                        let here = here(ring, backend.object_port).into_iter();
                        here.map(|(endpoint, device)| (endpoint, device, *policy))
                    })
                    .collect(),
                container: here(&rings.container, backend.container_port),
            };
            let replicator_config = replicator::Config {
                audit_dir: Some(config.data.join("audit")),
                ..config.replicator.clone()
            };
            let rings = replicator::Rings {
                account: Arc::clone(&rings.account),
                container: Arc::clone(&rings.container),
                objects: rings.objects.clone(),
            };
            let (env, paths) = (env.clone(), hash_paths.clone());
            let running = replicator::start(replicator_config, env, local, rings, paths)?;
            self.adopt(running, backend.address, backend.replicator_port, plan.sockets).await?;
        }
        if plan.runs(Part::Proxy) || plan.runs(Part::Identity) {
            self.start_front(plan).await?;
        }
        Ok(())
    }

    async fn start_storage(&mut self, plan: &Plan<'_>) -> anyhow::Result<()> {
        let Plan { config, env, rings, hash_paths, sockets, .. } = *plan;
        let backend = &config.backend;
        let devices_dir = config.data.join("devices");
        let devices = |ring: &Ring, port| own_devices(ring, backend.address, port);
        // A dozen databases in one process share one cache and one set of background threads.
        let listings = &config.containerd;
        let budget = (plan.part == Part::All)
            .then(|| listing::Budget::new(listings.cache_bytes, listings.write_buffer_bytes));
        let policies = plan.policies.iter();
        let policies = policies.map(|policy| (policy.index, policy.name.clone())).collect();
        if plan.runs(Part::Accountd) {
            let port = backend.account_port;
            let config = accountd::Config {
                devices_dir: devices_dir.clone(),
                devices: devices(&rings.account, port),
                hash_paths: hash_paths.clone(),
                limits: config.limits.clone(),
                budget: budget.clone(),
                policies,
                ..config.accountd.clone()
            };
            let running = accountd::start(config, env.clone()).await?;
            self.adopt(running, backend.address, port, sockets).await?;
        }
        if plan.runs(Part::Containerd) {
            let port = backend.container_port;
            let config = containerd::Config {
                devices_dir: devices_dir.clone(),
                devices: devices(&rings.container, port),
                hash_paths: hash_paths.clone(),
                limits: config.limits.clone(),
                policies: Some(plan.policies.iter().map(|policy| policy.index).collect()),
                budget: budget.clone(),
                ..config.containerd.clone()
            };
            let running = containerd::start(config, env.clone()).await?;
            self.adopt(running, backend.address, port, sockets).await?;
        }
        if plan.runs(Part::Objectd) {
            let port = backend.object_port;
            let config = objectd::Config {
                devices_dir: devices_dir.clone(),
                policies: rings
                    .objects
                    .iter()
                    .map(|(policy, ring)| objectd::PolicyDevices {
                        policy: *policy,
                        part_power: Some(ring.part_power()),
                        devices: devices(ring, port),
                    })
                    .collect(),
                hash_paths: hash_paths.clone(),
                limits: config.limits.clone(),
                ..config.objectd.clone()
            };
            let running = objectd::start(config, env.clone()).await?;
            self.adopt(running, backend.address, port, sockets).await?;
        }
        Ok(())
    }

    /// Lets a storage service be called in process, and by others where wanted.
    async fn adopt(
        &mut self,
        running: Running,
        address: IpAddr,
        port: u16,
        socket: bool,
    ) -> anyhow::Result<()> {
        let endpoint = Endpoint::new(address.to_string(), port);
        self.client.register(endpoint.clone(), running.service());
        self.local.push(endpoint);
        if socket {
            let service = beside_metrics(running.service());
            self.listen(SocketAddr::new(address, port), service).await?;
        }
        self.running.push(running);
        Ok(())
    }

    async fn start_front(&mut self, plan: &Plan<'_>) -> anyhow::Result<()> {
        let Plan { config, env, rings, hash_paths, .. } = *plan;
        let auth = TempAuth::new(config.identity.clone(), env.clock.clone())?;
        let metrics = || async { telemetry::render_metrics() };
        let mut router = axum::Router::new()
            .route(METRICS, routing::get(metrics))
            .route_service("/auth/{*rest}", auth.service());
        if plan.runs(Part::Proxy) {
            let proxy_config = proxy::Config {
                limits: config.limits.clone(),
                policies: plan.policies.clone(),
                ..config.proxy.clone()
            };
            let rings = proxy::Rings {
                account: Arc::clone(&rings.account),
                container: Arc::clone(&rings.container),
                objects: rings.objects.clone(),
            };
            let (env, paths) = (env.clone(), hash_paths.clone());
            let running = proxy::start(proxy_config, env, rings, paths, auth).await?;
            router = router.fallback_service(running.service());
            self.running.push(running);
        }
        let service = Service::new(router);
        self.address = Some(self.listen(config.listen, service).await?);
        Ok(())
    }

    async fn listen(
        &mut self,
        address: SocketAddr,
        service: Service,
    ) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("{address} cannot be listened on; is something else there? --listen takes another address")
        })?;
        let address = listener.local_addr()?;
        let serving =
            daemon::serve(listener, service, ServeOptions::default(), self.shutdown.clone());
        self.servers.push(tokio::spawn(serving));
        Ok(address)
    }

    /// Where the front door is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What to tell a person who has just started this.
    pub fn banner(&self) -> &str {
        &self.banner
    }

    /// Runs until `stop` is done, then stops in order.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        let upkeep = async {
            loop {
                tokio::time::sleep(METRICS_UPKEEP).await;
                telemetry::upkeep_metrics();
            }
        };
        tokio::select! {
            () = stop => {}
            () = upkeep => {}
        }
        self.stop().await;
    }

    /// Lets requests in flight end, then stops the services, the last one started first.
    pub async fn stop(self) {
        self.shutdown.trigger();
        for server in self.servers {
            let _ = server.await;
        }
        for endpoint in &self.local {
            self.client.unregister(endpoint);
        }
        for running in self.running.into_iter().rev() {
            running.stop().await;
        }
    }
}

/// A service, and the process's metrics at `/metrics`. One comparison decides: a router would look into every
/// request and box its answer once more.
fn beside_metrics(service: Service) -> Service {
    let render = || async { telemetry::render_metrics() };
    let metrics = Service::new(axum::Router::new().route(METRICS, routing::get(render)));
    wire::service_fn((service, metrics), |(service, metrics), request| async move {
        let asked = if request.uri().path() == METRICS { metrics } else { service };
        asked.answer(request).await
    })
}

/// The storage policies, from swift.conf where one is named and has some.
fn storage_policies(cluster: &ClusterConfig) -> anyhow::Result<Policies> {
    let mut policies = cluster.policies.clone();
    if let (Some(path), true) = (&cluster.swift_conf, policies.is_empty()) {
        policies = SwiftConf::read(path)?.policies()?;
    }
    Policies::new(policies).context("the storage policies cannot be used")
}

/// The devices that a ring gives to an address.
fn own_devices(ring: &Ring, address: IpAddr, port: u16) -> Vec<String> {
    let own = |device: &&ring_builder::Device| {
        device.port == port && device.ip.parse::<IpAddr>().is_ok_and(|ip| ip == address)
    };
    ring.devices().filter(own).map(|device| device.device.clone()).collect()
}

/// Fills in the secrets that nobody configured. Gives the hash ends, and a user to begin with.
fn settle_secrets(
    config: &mut NodeConfig,
    several: bool,
) -> anyhow::Result<(HashPaths, Option<FirstUser>)> {
    let configured = hash_ends(&config.cluster)?;
    let identity = &mut config.identity;
    ensure!(
        !several
            || configured.is_some()
                && identity.token_secret.is_some()
                && !identity.users.is_empty(),
        "a cluster of several nodes needs the same secrets on all: set hash_path_prefix and hash_path_suffix in [cluster], token_secret in [identity], and [[identity.users]]"
    );
    let complete =
        configured.is_some() && identity.token_secret.is_some() && !identity.users.is_empty();
    let secrets = if complete { None } else { Some(Secrets::of(&config.data)?) };
    if let Some(secrets) = &secrets {
        if identity.token_secret.is_none() {
            identity.token_secret = Some(identity::Secret::new(secrets.token_secret.clone()));
        }
        if identity.users.is_empty() {
            identity.users.push(identity::User {
                account: "admin".to_owned(),
                user: "admin".to_owned(),
                key: identity::Secret::new(secrets.admin_key.clone()),
                groups: vec![".admin".to_owned(), ".reseller_admin".to_owned()],
                url: None,
                token_generation: 0,
            });
        }
    }
    let first = identity.users.first().map(|user| FirstUser {
        name: format!("{}:{}", user.account, user.user),
        key: user.key.expose().to_owned(),
    });
    let (prefix, suffix) = match (configured, secrets) {
        (Some(ends), _) => ends,
        (None, Some(secrets)) => (secrets.hash_path_prefix, secrets.hash_path_suffix),
        (None, None) => (String::new(), String::new()),
    };
    ensure!(
        !(prefix.is_empty() && suffix.is_empty()),
        "hash_path_prefix and hash_path_suffix are both empty; anybody could then compute where an object lies"
    );
    Ok((HashPaths { prefix, suffix }, first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn config(data: &Path) -> NodeConfig {
        let mut config = NodeConfig { data: data.to_owned(), ..NodeConfig::default() };
        config.listen.set_port(0);
        config.cluster.part_power = 4;
        config.objectd.segment_mib = 4;
        config.objectd.reserve_mib = 1;
        config
    }

    async fn health(address: SocketAddr) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
        let request = b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_nodes_run_in_one_process_and_start_again() {
        let (one, two) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        for round in 0..2 {
            let first = Node::start(config(one.path()), Part::All).await.expect("starts");
            let second = Node::start(config(two.path()), Part::All).await.expect("starts too");
            for node in [&first, &second] {
                let answer = health(node.address().expect("listens")).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "round {round}: {answer}");
            }
            let taken = Node::start(config(one.path()), Part::All).await;
            let error = taken.err().expect("refused").to_string();
            assert!(error.contains("is in use by another process"), "{error}");
            first.stop().await;
            second.stop().await;
        }
    }

    #[tokio::test]
    async fn several_nodes_need_configured_secrets() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = config(dir.path());
        config.cluster.nodes = vec![config.backend.entry(), config.backend.entry()];
        let error = Node::start(config, Part::All).await.err().expect("refused").to_string();
        assert!(error.contains("needs the same secrets on all"), "{error}");
    }

    #[tokio::test]
    async fn a_ring_that_exists_is_not_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let node = Node::start(config(dir.path()), Part::All).await.expect("starts");
        node.stop().await;
        let more = NodeConfig { devices: Some(6), ..config(dir.path()) };
        let error = Node::start(more, Part::All).await.err().expect("refused").to_string();
        assert!(error.contains("has 4 devices and 6 were asked for"), "{error}");
    }
}

//! Three nodes on one machine, each a process with its own zone, ports, devices and front door.

use crate::client::Client;
use crate::process::{Apus, Options};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NODES: usize = 3;
const KEY: &str = "a key that only this test knows";

/// Nodes that know each other.
pub struct Cluster {
    /// The nodes; each may be killed and started again.
    pub nodes: Vec<Apus>,
    /// Where the object server of each listens.
    pub object_servers: Vec<SocketAddr>,
    _dir: TempDir,
}

/// Ports that nobody uses now, below those from which the system takes the ports of outgoing connections; so a
/// node that was killed finds its ports free when it comes back.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut held = Vec::new();
    for _ in 0..10_000 {
        let port = rand::random_range(12_000..32_000);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, _)| port).collect());
        }
    }
    anyhow::bail!("there are no {count} free ports")
}

/// What all configurations of these tests say in the same way.
pub fn common_settings() -> String {
    format!(
        "[proxy]\nnode_timeout_ms = 2000\nrecoverable_node_timeout_ms = 500\n\
         [log]\nfilter = \"info\"\naccess = false\n\
         [identity]\ntoken_secret = \"the same on all nodes of this test\"\n\
         [[identity.users]]\naccount = \"test\"\nuser = \"tester\"\nkey = \"{KEY}\"\n\
         groups = [\".admin\"]\n\
         [[identity.users]]\naccount = \"other\"\nuser = \"tester\"\nkey = \"{KEY}\"\n\
         groups = [\".admin\"]\n\
         [[identity.users]]\naccount = \"test\"\nuser = \"guest\"\nkey = \"{KEY}\"\n"
    )
}

/// A user of [`common_settings`], such as `test:tester`.
pub async fn login(address: SocketAddr, user: &str) -> Result<Client> {
    Client::login(address, user, KEY).await
}

/// The configuration of one of several nodes, without where its front door listens.
pub fn node_settings(data: &Path, ports: &[u16], own: usize) -> Result<String> {
    let mut text = format!("data = \"{}\"\nreplicas = 3\n", data.display());
    let (object, container, account) = (ports[own * 3], ports[own * 3 + 1], ports[own * 3 + 2]);
    write!(
        text,
        "listen = \"127.0.0.1:0\"\n\
         [backend]\naddress = \"127.0.0.1\"\nobject_port = {object}\n\
         container_port = {container}\naccount_port = {account}\nreplicator_port = 0\nserve = true\n\
         [cluster]\npart_power = 6\nhash_path_prefix = \"p\"\nhash_path_suffix = \"s\"\n"
    )?;
    for (ports, zone) in ports.chunks(3).zip(1..) {
        write!(
            text,
            "[[cluster.nodes]]\naddress = \"127.0.0.1\"\nzone = {zone}\ndevices = [\"d1\", \"d2\"]\n\
             object_port = {}\ncontainer_port = {}\naccount_port = {}\n",
            ports[0], ports[1], ports[2]
        )?;
    }
    text.push_str(&common_settings());
    Ok(text)
}

impl Cluster {
    /// Starts three nodes with three replicas of everything.
    pub fn start() -> Result<Cluster> {
        Cluster::start_with("")
    }

    /// The same with further tables in the configuration of each.
    pub fn start_with(settings: &str) -> Result<Cluster> {
        let dir = tempfile::tempdir()?;
        let ports = free_ports(NODES * 3)?;
        let mut nodes = Vec::new();
        for own in 0..NODES {
            let home = dir.path().join(format!("node{own}"));
            std::fs::create_dir(&home)?;
            let config = home.join("apus.toml");
            let text = node_settings(&home.join("data"), &ports, own)?;
            std::fs::write(&config, text + settings)?;
            let mut node = prepare("serve", &config, &home);
            node.start().with_context(|| format!("node {own}"))?;
            nodes.push(node);
        }
        let object_servers = ports.chunks(3).map(|ports| ([127, 0, 0, 1], ports[0]).into());
        Ok(Cluster { nodes, object_servers: object_servers.collect(), _dir: dir })
    }

    /// A client of each node's front door, as one user with one token.
    pub async fn clients(&self) -> Result<Vec<Client>> {
        let first = login(self.nodes[0].address()?, "test:tester").await?;
        self.nodes.iter().map(|node| Ok(first.moved_to(node.address()?))).collect()
    }
}

/// A part of a node, by its configuration.
pub fn prepare(part: &str, config: &Path, home: &Path) -> Apus {
    let arguments = vec!["--config".to_owned(), config.display().to_string()];
    let log: PathBuf = home.join(format!("{part}.log"));
    let options = Options { part: part.to_owned(), arguments, ..Options::default() };
    Apus::prepare(home.join("data"), log, options)
}

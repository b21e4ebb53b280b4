//! One file per node: what it holds, and what each service adds.

use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use types::{Limits, Policy};

/// A node's configuration. Every key has a default; unknown keys are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Where everything is kept.
    pub data: PathBuf,
    /// Where the front door listens.
    pub listen: SocketAddr,
    /// Devices of each node that names none, in rings built at first start.
    pub devices: Option<u16>,
    /// Copies of everything, in rings built at first start.
    pub replicas: Option<u8>,
    /// What all nodes have in common.
    pub cluster: ClusterConfig,
    /// Where this node's storage services are.
    pub backend: BackendConfig,
    /// What clients may send.
    pub limits: Limits,
    /// The front door.
    pub proxy: proxy::Config,
    /// Object bytes.
    pub objectd: objectd::Config,
    /// Listings of objects.
    pub containerd: containerd::Config,
    /// Listings of containers.
    pub accountd: accountd::Config,
    /// Background work.
    pub replicator: replicator::Config,
    /// Users.
    pub identity: identity::Config,
    /// Logs.
    pub log: daemon::telemetry::LogConfig,
}

impl Default for NodeConfig {
    fn default() -> Self {
        NodeConfig {
            data: PathBuf::from("data"),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            devices: None,
            replicas: None,
            cluster: ClusterConfig::default(),
            backend: BackendConfig::default(),
            limits: Limits::default(),
            proxy: proxy::Config::default(),
            objectd: objectd::Config::default(),
            containerd: containerd::Config::default(),
            accountd: accountd::Config::default(),
            replicator: replicator::Config::default(),
            identity: identity::Config::default(),
            log: daemon::telemetry::LogConfig::default(),
        }
    }
}

/// What all nodes of a cluster must agree on.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Secret beginning of every hashed path; made at first start when there is one node.
    pub hash_path_prefix: Option<String>,
    /// Secret end of every hashed path.
    pub hash_path_suffix: Option<String>,
    /// An existing swift.conf to take both from.
    pub swift_conf: Option<PathBuf>,
    /// The directory with `account.ring.gz`, `container.ring.gz` and `object.ring.gz`; `<data>/rings` if unset.
    pub rings: Option<PathBuf>,
    /// The storage policies; one, `Policy-0`, if empty. Those of `swift_conf` if that is named.
    pub policies: Vec<Policy>,
    /// 2 to this power is the number of partitions, in rings built at first start.
    pub part_power: u8,
    /// The nodes, in rings built at first start; this one alone if empty.
    pub nodes: Vec<NodeEntry>,
    /// How long connecting to another node may take.
    pub connect_timeout_ms: u64,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            hash_path_prefix: None,
            hash_path_suffix: None,
            swift_conf: None,
            rings: None,
            policies: Vec::new(),
            part_power: 10,
            nodes: Vec::new(),
            connect_timeout_ms: 500,
        }
    }
}

/// A node, as rings built at first start are to name it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// Its address.
    pub address: IpAddr,
    /// Its region.
    #[serde(default = "one")]
    pub region: u32,
    /// Its zone: what fails together.
    #[serde(default = "one")]
    pub zone: u32,
    /// Port of its object server.
    #[serde(default = "object_port")]
    pub object_port: u16,
    /// Port of its container server.
    #[serde(default = "container_port")]
    pub container_port: u16,
    /// Port of its account server.
    #[serde(default = "account_port")]
    pub account_port: u16,
    /// Its devices; `d1`, `d2`, … if empty.
    #[serde(default)]
    pub devices: Vec<String>,
}

fn one() -> u32 {
    1
}

fn object_port() -> u16 {
    6200
}

fn container_port() -> u16 {
    6201
}

fn account_port() -> u16 {
    6202
}

/// Under which addresses the rings know this node's storage services.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendConfig {
    /// This node's address in the rings.
    pub address: IpAddr,
    /// Port of the object server.
    pub object_port: u16,
    /// Port of the container server.
    pub container_port: u16,
    /// Port of the account server.
    pub account_port: u16,
    /// Port where the replicator tells how its work goes.
    pub replicator_port: u16,
    /// Whether `apus serve` lets other nodes reach these ports; needed as soon as there are any.
    pub serve: bool,
}

impl Default for BackendConfig {
    fn default() -> Self {
        BackendConfig {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            object_port: object_port(),
            container_port: container_port(),
            account_port: account_port(),
            replicator_port: 6203,
            serve: false,
        }
    }
}

impl BackendConfig {
    /// This node as an entry of the rings.
    pub fn entry(&self) -> NodeEntry {
        NodeEntry {
            address: self.address,
            region: 1,
            zone: 1,
            object_port: self.object_port,
            container_port: self.container_port,
            account_port: self.account_port,
            devices: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_example_is_valid_and_says_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/apus.example.toml");
        let example: NodeConfig =
            daemon::load_config(Some(path.as_ref()), std::iter::empty()).expect("valid");
        let default = NodeConfig::default();
        assert_eq!(format!("{:?}", example.proxy), format!("{:?}", default.proxy));
        assert_eq!(format!("{:?}", example.objectd), format!("{:?}", default.objectd));
        assert_eq!(format!("{:?}", example.limits), format!("{:?}", default.limits));
        assert_eq!(format!("{:?}", example.replicator), format!("{:?}", default.replicator));
        assert_eq!(format!("{:?}", example.containerd), format!("{:?}", default.containerd));
        assert_eq!(format!("{:?}", example.accountd), format!("{:?}", default.accountd));
        assert_eq!(format!("{:?}", example.identity), format!("{:?}", default.identity));
        assert_eq!(format!("{:?}", example.log), format!("{:?}", default.log));
        assert_eq!(format!("{:?}", example.cluster), format!("{:?}", default.cluster));
        assert_eq!(format!("{:?}", example.backend), format!("{:?}", default.backend));
        assert_eq!(example.listen, default.listen);
    }

    #[test]
    fn a_mistyped_key_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("apus.toml");
        std::fs::write(&path, "[objectd]\nsegment_mb = 3\n").expect("written");
        let error = daemon::load_config::<NodeConfig>(Some(&path), std::iter::empty());
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("did you mean `segment_mib`?"), "{error}");
    }
}

//! The rings of a node, three and one more for each further storage policy: loaded, or built at first start.

use crate::config::{NodeConfig, NodeEntry};
use anyhow::{Context, bail};
use ring_builder::{Device, Ring};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use types::{PartPower, Policies, PolicyIndex};

/// Where accounts, containers and objects lie.
pub(crate) struct Rings {
    pub(crate) account: Arc<Ring>,
    pub(crate) container: Arc<Ring>,
    /// By storage policy.
    pub(crate) objects: BTreeMap<PolicyIndex, Arc<Ring>>,
}

const DEVICES: u16 = 4;
const REPLICAS: u8 = 3;

impl Rings {
    /// Loads the rings; those that are missing are built from the configuration, the same on every node.
    pub(crate) fn of(config: &NodeConfig, policies: &Policies) -> anyhow::Result<Self> {
        let default = config.data.join("rings");
        let dir = config.cluster.rings.as_ref().unwrap_or(&default);
        std::fs::create_dir_all(dir)
            .with_context(|| format!("the directory {} cannot be made", dir.display()))?;
        let ring = |name: &str, port: fn(&NodeEntry) -> u16, seed: u64| {
            let path = dir.join(format!("{name}.ring.gz"));
            if !path.exists() {
                build(config, &path, port, seed)?;
            }
            let ring = Ring::load(&path).with_context(|| {
                format!("the ring {} cannot be used; restore it from another node", path.display())
            })?;
            check(config, &ring, &path)?;
            Ok::<_, anyhow::Error>(Arc::new(ring))
        };
        let mut objects = BTreeMap::new();
        for policy in policies.iter() {
            // Swift's names of files.
            let name = match policy.index {
                PolicyIndex(0) => "object".to_owned(),
                PolicyIndex(other) => format!("object-{other}"),
            };
            let seed = 3 + u64::from(policy.index.0);
            objects.insert(policy.index, ring(&name, |node| node.object_port, seed)?);
        }
        Ok(Rings {
            account: ring("account", |node| node.account_port, 1)?,
            container: ring("container", |node| node.container_port, 2)?,
            objects,
        })
    }
}

fn build(
    config: &NodeConfig,
    path: &Path,
    port: fn(&NodeEntry) -> u16,
    seed: u64,
) -> anyhow::Result<()> {
    let own = [config.backend.entry()];
    let nodes = if config.cluster.nodes.is_empty() { &own[..] } else { &config.cluster.nodes };
    let mut devices = Vec::new();
    for node in nodes {
        let count = config.devices.unwrap_or(DEVICES);
        let numbered = || (1..=count).map(|number| format!("d{number}")).collect();
        let names: Vec<String> =
            if node.devices.is_empty() { numbered() } else { node.devices.clone() };
        for device in names {
            devices.push(Device {
                id: devices.len() as u32,
                region: node.region,
                zone: node.zone,
                ip: node.address.to_string(),
                port: port(node),
                replication_ip: node.address.to_string(),
                replication_port: port(node),
                device,
                weight: 100.0,
                meta: String::new(),
            });
        }
    }
    let power = PartPower::new(config.cluster.part_power)
        .with_context(|| format!("part_power is {}, but at most 32", config.cluster.part_power))?;
    let replicas = config.replicas.unwrap_or(REPLICAS.min(devices.len() as u8));
    ring_builder::build(devices, power, replicas, seed)
        .context("no ring can be built")?
        .save(path)
        .with_context(|| format!("the ring {} cannot be written", path.display()))
}

/// What was asked for on the command line must be what the ring says.
fn check(config: &NodeConfig, ring: &Ring, path: &Path) -> anyhow::Result<()> {
    let known = config.cluster.nodes.iter().map(|node| node.devices.len()).sum::<usize>();
    let has = ring.devices().count();
    let nodes = config.cluster.nodes.len().max(1);
    if let Some(devices) = config.devices
        && known == 0
        && has != usize::from(devices) * nodes
    {
        bail!(
            "the ring {} has {has} devices and {devices} were asked for; a ring that exists is not changed, so leave the number out",
            path.display()
        );
    }
    if let Some(replicas) = config.replicas
        && ring.replica_count() != usize::from(replicas)
    {
        bail!(
            "the ring {} keeps {} copies and {replicas} were asked for; a ring that exists is not changed, so leave the number out",
            path.display(),
            ring.replica_count()
        );
    }
    Ok(())
}

//! Bytes on a disk change by themselves. Nobody may be given them, and soon all copies must be right again.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};
use tests::patience::until_no_complaint;
use tests::{Client, Cluster};

/// How long damage may last. What is looked for is a matter of a second or two.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every read is one of the disk, and little is to be searched.
const DISK: &str = "[objectd]\nsegment_mib = 4\nobject_cache_mib = 0\n";
/// Bytes that stand in one object only.
const MARK: usize = 64;

/// An object, and bytes in the middle of it by which its copies are found.
struct Object {
    path: String,
    content: Vec<u8>,
    mark: [u8; MARK],
}

impl Object {
    fn new(name: &str, length: usize) -> Object {
        let mark: [u8; MARK] = std::array::from_fn(|_| rand::random());
        let mut content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let middle = length * 4 / 5;
        content[middle..middle + MARK].copy_from_slice(&mark);
        Object { path: format!("/damage/{name}"), content, mark }
    }

    /// Of each way in which data is kept: within its record, and in segments for large data.
    fn some(prefix: &str) -> Vec<Object> {
        let lengths = [3000, 60_000, 3_000_000];
        lengths.map(|length| Object::new(&format!("{prefix}-{length}"), length)).into()
    }

    async fn put(&self, client: &Client) -> Result<()> {
        let answer = client.put(&self.path, self.content.clone()).await?;
        ensure!(answer.status == 201, "{answer:?}");
        Ok(())
    }

    /// Changes a bit of the copy that a node has, on its disk. Gives the name of the device.
    async fn flip(&self, cluster: &Cluster, node: usize) -> Result<String> {
        let mut device = None;
        // A client is answered when two of three copies are durable; the third may come a moment later.
        until_no_complaint(PATIENCE, || {
            let flipped = self.flip_now(cluster, node);
            device = flipped.as_ref().ok().cloned().flatten();
            let missing = device.is_none().then(|| format!("node {node} has no {}", self.path));
            std::future::ready(flipped.map(|_| missing.into_iter().collect()))
        })
        .await?;
        device.context("a copy")
    }

    fn flip_now(&self, cluster: &Cluster, node: usize) -> Result<Option<String>> {
        for device in ["d1", "d2"] {
            let log = cluster.nodes[node].data().join("devices").join(device).join("pack/log");
            for entry in std::fs::read_dir(&log)? {
                let path = entry?.path();
                let bytes = std::fs::read(&path)?;
                let Some(at) = bytes.windows(MARK).position(|window| window == self.mark) else {
                    continue;
                };
                let file = File::options().write(true).open(&path)?;
                file.write_all_at(&[self.mark[9] ^ 0x10], at as u64 + 9)?;
                file.sync_all()?;
                return Ok(Some(device.to_owned()));
            }
        }
        Ok(None)
    }

    /// What there is to complain about until a device that had a damaged copy has a sound one. It is not read before the
    /// device itself says that it is mended: a read would find the damage.
    async fn complaints(&self, server: &Client, device: &str) -> Result<Vec<String>> {
        let listed = server.at("QUARANTINED", &format!("/{device}"), &[], "").await?;
        ensure!(listed.status == 200, "{listed:?}");
        let listed = listed.json()?;
        let records = listed["records"].as_array().context("records")?;
        let name = format!("/AUTH_test{}", self.path);
        let found: Vec<&Value> = records.iter().filter(|record| record["name"] == *name).collect();
        let [record] = found[..] else {
            return Ok(vec![format!("{device} has not noticed: {listed}")]);
        };
        if record["healed"] != true {
            return Ok(vec![format!("{device} is not mended: {record}")]);
        }
        let own = server.at("GET", &format!("/{device}/0{name}"), &[], "").await?;
        ensure!(own.status == 200, "{own:?}");
        ensure!(own.body == self.content, "the copy on {device} is wrong");
        Ok(Vec::new())
    }

    async fn mended(&self, cluster: &Cluster, node: usize, device: &str) -> Result<()> {
        let begun = Instant::now();
        let server = Client::stranger(cluster.object_servers[node]);
        until_no_complaint(PATIENCE, || self.complaints(&server, device)).await?;
        println!("{} on node {node} {device} was mended after {:?}", self.path, begun.elapsed());
        Ok(())
    }

    async fn read(&self, client: &Client) -> Result<()> {
        let answer = client.get(&self.path).await?;
        ensure!(answer.status == 200, "{:?}", answer.headers);
        ensure!(answer.body == self.content, "{} has wrong bytes", self.path);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_read_finds_damaged_is_mended() -> Result<()> {
    let cluster = Cluster::start_with(&format!("{DISK}[replicator]\naudit = false\n"))?;
    let clients = cluster.clients().await?;
    assert_eq!(clients[0].put("/damage", "").await?.status, 201);
    // One copy of three, and two of three.
    for (prefix, nodes) in [("one", &[0][..]), ("two", &[1, 2][..])] {
        for object in Object::some(prefix) {
            object.put(&clients[0]).await?;
            let mut devices = Vec::new();
            for node in nodes {
                devices.push(object.flip(&cluster, *node).await?);
            }
            for (node, device) in nodes.iter().zip(&devices) {
                // A front door asks its own devices first.
                object.read(&clients[*node]).await?;
                object.mended(&cluster, *node, device).await?;
                object.read(&clients[*node]).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reads_is_mended_too() -> Result<()> {
    let audits = "[replicator]\naudit_interval_s = 1\n";
    let mut cluster = Cluster::start_with(&format!("{DISK}{audits}"))?;
    let clients = cluster.clients().await?;
    assert_eq!(clients[0].put("/damage", "").await?.status, 201);
    // While the node runs.
    for object in Object::some("running") {
        object.put(&clients[0]).await?;
        let device = object.flip(&cluster, 2).await?;
        object.mended(&cluster, 2, &device).await?;
    }
    // While it is stopped.
    let objects = Object::some("stopped");
    for object in &objects {
        object.put(&clients[0]).await?;
    }
    assert!(cluster.nodes[1].terminate()?.success());
    let mut devices = Vec::new();
    for object in &objects {
        devices.push(object.flip(&cluster, 1).await?);
    }
    cluster.nodes[1].start()?;
    for (object, device) in objects.iter().zip(&devices) {
        object.mended(&cluster, 1, device).await?;
    }
    for client in cluster.clients().await? {
        for object in &objects {
            object.read(&client).await?;
        }
    }
    Ok(())
}

//! Auditors against a device in this process.

use crate::config::{Config, LocalNodes};
use crate::tests::{Shared, quick, until};
use crate::{Rings, start};
use daemon::{Env, Running, Shutdown, SystemClock};
use http::StatusCode;
use ring_builder::{Ring, build};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;
use types::{HashPaths, PartPower, PolicyIndex};
use wire::device::{DamagedRecord, Quarantine, Verified};
use wire::{Body, Endpoint, NodeClient, Request, Response};

const POLICY: PolicyIndex = PolicyIndex(0);
/// Bytes of each object.
const LEN: u64 = 1000;

/// A device whose objects have numbers for hashes.
#[derive(Default)]
struct Device {
    objects: u64,
    damaged: BTreeSet<u64>,
    /// What the disk fails to read.
    unreadable: BTreeSet<u64>,
    /// What was put into quarantine because somebody asked to take unreadable records for damaged.
    condemned: BTreeSet<u64>,
    /// The first objects of questions, and which of them were about MD5s.
    asked: Vec<(u64, bool)>,
    fails: bool,
    /// How often others asked for something.
    others: u64,
}

fn hash(number: u64) -> String {
    format!("{:016x}{:016x}", number << 32, 0)
}

fn number(hash: &str) -> u64 {
    let padded = format!("{hash:0<32}");
    u64::from_str_radix(&padded[..16], 16).expect("a hash") >> 32
}

async fn device(device: Shared<Device>, request: Request) -> Response {
    let query = wire::parse_query(request.uri().query()).expect("a query");
    let text =
        |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let json_of = |value: Value| Response::new(Body::from(format!("  {value}")));
    let mut device = device.get();
    match request.method().as_str() {
        "VERIFY" if device.fails => daemon::empty(StatusCode::SERVICE_UNAVAILABLE),
        "VERIFY" => {
            let from = number(text("from").expect("a beginning"));
            let until = text("until").map_or(device.objects, |until| number(until) + 1);
            let limit = text("limit").map_or(u64::MAX, |limit| limit.parse().expect("a number"));
            let most = text("bytes").map_or(u64::MAX, |most| most.parse().expect("a number"));
            let condemn = text("unreadable").is_some();
            if !condemn {
                device.asked.push((from, text("md5").is_some()));
            }
            let mut done = Verified::default();
            for number in from..until {
                if done.objects == limit || done.bytes >= most {
                    done.marker = Some(hash(number));
                    break;
                }
                done.objects += 1;
                done.records += 1;
                done.bytes += LEN;
                let unreadable = device.unreadable.contains(&number);
                if unreadable && condemn {
                    device.condemned.insert(number);
                }
                if unreadable || device.damaged.contains(&number) {
                    done.damaged.push(DamagedRecord {
                        hash: hash(number),
                        quarantined: !unreadable || condemn,
                        ..DamagedRecord::default()
                    });
                }
            }
            json_of(json!(done))
        }
        "QUARANTINED" => {
            device.others += 1;
            json_of(json!(Quarantine::default()))
        }
        _ => daemon::empty(StatusCode::NOT_IMPLEMENTED),
    }
}

struct Node {
    env: Env,
    device: Shared<Device>,
    ring: Arc<Ring>,
}

impl Node {
    fn new(objects: u64) -> Self {
        let client = NodeClient::new(Duration::from_millis(50));
        let on = Shared::new(Device { objects, ..Device::default() });
        client.register(Endpoint::new("here", 1), wire::service_fn(on.clone(), device));
        let only = ring_builder::Device {
            device: "d 1".into(),
            id: 0,
            ip: "here".into(),
            meta: String::new(),
            port: 1,
            region: 1,
            replication_ip: "here".into(),
            replication_port: 1,
            weight: 1.0,
            zone: 1,
        };
        let power = PartPower::new(4).expect("a power");
        let ring = Ring::new(build(vec![only], power, 1, 1).expect("a ring")).expect("a ring");
        let clock = Arc::new(SystemClock::default());
        let env = Env { clock, client, shutdown: Shutdown::default() };
        Node { env, device: on, ring: Arc::new(ring) }
    }

    fn start(&self, config: Config) -> Running {
        let object = vec![(Endpoint::new("here", 1), "d 1".to_owned(), POLICY)];
        let local = LocalNodes { object, container: Vec::new() };
        let ring = || Arc::clone(&self.ring);
        let rings =
            Rings { account: ring(), container: ring(), objects: [(POLICY, ring())].into() };
        start(config, self.env.clone(), local, rings, HashPaths::default()).expect("starts")
    }

    fn asked(&self) -> Vec<(u64, bool)> {
        self.device.get().asked.clone()
    }
}

fn config(dir: &Path) -> Config {
    Config { audit_dir: Some(dir.to_owned()), audit_objects_per_second: 40_000, ..quick() }
}

async fn recon(running: &Running) -> Value {
    let request = http::Request::builder().uri("/recon/auditor/object");
    let request = request.body(Body::empty()).expect("a request");
    let Ok(response) = running.service().oneshot(request).await;
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    serde_json::from_slice(&body).expect("JSON")
}

/// Waits until so many passes are complete, and gives what is told then.
async fn passed(running: &Running, passes: u64) -> Value {
    let mut told = Value::Null;
    for _ in 0..20_000 {
        told = recon(running).await;
        if told["devices"]["d 1"]["passes_completed"] == passes {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{passes} passes were not completed: {told}");
}

#[tokio::test]
async fn a_pass_reads_everything_once_and_counts_what_is_damaged() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::new(25_000);
    node.device.get().damaged = [3, 9_999, 24_999].into();
    let running = node.start(config(dir.path()));
    let told = passed(&running, 1).await;
    let all = &told["object_auditor_stats_ALL"];
    assert_eq!((&all["passes"], &all["quarantined"]), (&json!(25_000), &json!(3)), "{told}");
    assert_eq!((&all["bytes_processed"], &all["errors"]), (&json!(25_000 * LEN), &json!(0)));
    assert_eq!(node.asked(), [(0, false), (10_000, false), (20_000, false)]);
    // The next one comes in a day, also after a restart.
    running.stop().await;
    let running = node.start(config(dir.path()));
    let told = passed(&running, 1).await;
    assert_eq!(told["devices"]["d 1"]["last"]["objects"], 25_000);
    let others = node.device.get().others;
    until("others have worked for a while", || node.device.get().others >= others + 3).await;
    assert_eq!(node.asked().len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn an_audit_keeps_its_speed() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = [(1000, u64::MAX), (u64::MAX, 1000 * LEN)];
    for (objects, bytes) in limits {
        let node = Node::new(500);
        let begun = Instant::now();
        let running = node.start(Config {
            audit_objects_per_second: objects,
            audit_bytes_per_second: bytes,
            audit_dir: None,
            ..config(dir.path())
        });
        passed(&running, 1).await;
        // Two steps of a quarter of a second; after the last nothing needs to be waited for.
        assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
        assert_eq!(node.asked().len(), 2);
        running.stop().await;
    }
}

#[tokio::test]
async fn it_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::new(25_000);
    let path = super::place::file(dir.path(), "d 1");
    let current = super::AuditPass {
        began: node.env.clock.now().seconds(),
        marker: Some(hash(12_000)),
        objects: 12_000,
        ..super::AuditPass::default()
    };
    let place = super::Place { current: Some(current), ..super::Place::default() };
    super::place::save(&path, &place).expect("written");
    let running = node.start(config(dir.path()));
    let told = passed(&running, 1).await;
    assert_eq!(told["object_auditor_stats_ALL"]["passes"], 25_000, "{told}");
    assert_eq!(node.asked(), [(12_000, false), (22_000, false)]);
    running.stop().await;
    // What cannot be read is no hindrance.
    std::fs::write(&path, "{").expect("written");
    let running = node.start(config(dir.path()));
    passed(&running, 1).await;
    assert_eq!(node.asked()[2], (0, false));
    running.stop().await;
}

#[tokio::test]
async fn every_so_many_passes_md5s_are_compared() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::new(1);
    let config = Config { audit_md5_every: 2, audit_interval_s: 1, ..config(dir.path()) };
    let running = node.start(config);
    passed(&running, 2).await;
    assert_eq!(node.asked(), [(0, false), (0, true)]);
    running.stop().await;
}

#[tokio::test]
async fn what_the_disk_fails_to_read_twice_is_damaged_unless_it_is_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::new(10);
    node.device.get().unreadable = [4].into();
    let running = node.start(config(dir.path()));
    let told = passed(&running, 1).await;
    let all = &told["object_auditor_stats_ALL"];
    assert_eq!((&all["quarantined"], &all["errors"]), (&json!(1), &json!(0)), "{told}");
    assert_eq!(node.device.get().condemned, [4].into());
    running.stop().await;

    let node = Node::new(10);
    node.device.get().unreadable = (0..9).collect();
    let running = node.start(Config { audit_dir: None, ..config(dir.path()) });
    let told = passed(&running, 1).await;
    let all = &told["object_auditor_stats_ALL"];
    assert_eq!((&all["quarantined"], &all["errors"]), (&json!(0), &json!(9)), "{told}");
    assert!(node.device.get().condemned.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_does_not_answer_is_audited_later_and_one_that_is_not_wanted_never() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::new(5);
    node.device.get().fails = true;
    let running = node.start(config(dir.path()));
    let mut told = Value::Null;
    for _ in 0..5000 {
        told = recon(&running).await;
        if told["devices"]["d 1"]["last_error"].is_string() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = told["devices"]["d 1"]["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("503"), "{told}");
    node.device.get().fails = false;
    passed(&running, 1).await;
    running.stop().await;

    let node = Node::new(5);
    let running = node.start(Config { audit: false, ..config(dir.path()) });
    until("others have worked for a while", || node.device.get().others >= 3).await;
    assert!(node.asked().is_empty());
    running.stop().await;
}

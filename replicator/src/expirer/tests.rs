//! An expirer against three devices from memory. Nothing here opens a socket.

use super::*;
use crate::tests::{Shared, quick, ring_of_three, until};
use crate::{LocalNodes, Rings, start};
use daemon::{Env, Running, Shutdown, SystemClock};
use http::header::HeaderMap;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tower::ServiceExt;
use types::PolicyIndex;
use wire::NodeClient;

const POLICY: PolicyIndex = PolicyIndex(2);

/// What a device has, by the path behind the partition.
#[derive(Default)]
struct Device {
    objects: BTreeMap<String, Known>,
    /// Headers of the deletions that were done.
    deletions: Vec<HeaderMap>,
    heads: usize,
    down: bool,
}

async fn device(device: Shared<Device>, request: Request) -> Response {
    assert_eq!(request.headers()["x-backend-storage-policy-index"], "2");
    let mut device = device.get();
    if device.down {
        return daemon::empty(StatusCode::INSUFFICIENT_STORAGE);
    }
    if request.method().as_str() == EXPIRED {
        return listed(&device, &request);
    }
    let name = request.uri().path().splitn(4, '/').nth(3).unwrap_or_default().to_owned();
    let Some(known) = device.objects.get(&name).copied() else {
        return daemon::empty(StatusCode::NOT_FOUND);
    };
    match request.method().as_str() {
        "HEAD" => {
            assert_eq!(request.headers()["x-backend-open-expired"], "true");
            device.heads += 1;
            let status = if known.exists { StatusCode::OK } else { StatusCode::NOT_FOUND };
            let mut response = daemon::empty(status);
            let mut put = |name: &'static str, value: String| {
                response.headers_mut().insert(name, value.parse().expect("a value"));
            };
            put(headers::X_BACKEND_TIMESTAMP, known.at.internal());
            if let Some(delete_at) = known.delete_at {
                put(headers::X_DELETE_AT, delete_at.to_string());
            }
            response
        }
        "DELETE" => {
            let only = request.headers()["x-if-delete-at"].to_str().ok();
            if known.delete_at.map(|at| at.to_string()).as_deref() != only {
                return daemon::empty(StatusCode::PRECONDITION_FAILED);
            }
            device.deletions.push(request.headers().clone());
            let at = Timestamp::from_seconds(known.delete_at.expect("a time"));
            device.objects.insert(name, Known { at, delete_at: None, exists: false });
            daemon::empty(StatusCode::NO_CONTENT)
        }
        // What healers and auditors ask.
        _ => daemon::empty(StatusCode::NOT_IMPLEMENTED),
    }
}

/// A page, whose marker is a name.
fn listed(device: &Device, request: &Request) -> Response {
    let query = wire::parse_query(request.uri().query()).expect("a query");
    let text = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, text)| text.clone());
    let number = |name| text(name).expect("a parameter").parse::<u64>().expect("a number");
    let (until, marker) = (number("until"), text("marker").unwrap_or_default());
    let all = device.objects.iter().filter_map(|(name, known)| {
        let delete_at = known.delete_at.filter(|at| known.exists && *at <= until)?;
        (*name > marker).then(|| ExpiredObject { name: format!("/{name}"), delete_at })
    });
    let limit = number("limit") as usize;
    let objects: Vec<ExpiredObject> = all.take(limit).collect();
    let marker = objects.last().filter(|_| objects.len() == limit);
    let marker = marker.map(|last| last.name.trim_start_matches('/').to_owned());
    Response::new(Body::from(json!(Expired { objects, marker }).to_string()))
}

/// Three devices with copies of everything, the first of them a node's own.
struct Cluster {
    env: Env,
    devices: Vec<Shared<Device>>,
    ring: Arc<Ring>,
}

fn there(at: u64, delete_at: Option<u64>) -> Known {
    Known { at: Timestamp::from_seconds(at), delete_at, exists: true }
}

impl Cluster {
    fn new() -> Self {
        let client = NodeClient::new(Duration::from_millis(50));
        let devices: Vec<Shared<Device>> = (0..3).map(|_| Shared::new(Device::default())).collect();
        for (id, one) in devices.iter().enumerate() {
            let to = Endpoint::new(format!("object{id}"), 1);
            client.register(to, wire::service_fn(one.clone(), device));
        }
        let ring = ring_of_three("object");
        let clock = Arc::new(SystemClock::default());
        Cluster { env: Env { clock, client, shutdown: Shutdown::default() }, devices, ring }
    }

    fn start(&self, config: Config) -> Running {
        let object = vec![(Endpoint::new("object0", 1), "d0".to_owned(), POLICY)];
        let local = LocalNodes { object, container: Vec::new() };
        let ring = || Arc::clone(&self.ring);
        let rings =
            Rings { account: ring(), container: ring(), objects: [(POLICY, ring())].into() };
        start(config, self.env.clone(), local, rings, HashPaths::default()).expect("starts")
    }

    /// What each device knows of an object.
    fn set(&self, name: &str, known: [Known; 3]) {
        for (device, known) in self.devices.iter().zip(known) {
            device.get().objects.insert(name.to_owned(), known);
        }
    }

    fn exists(&self, name: &str) -> [bool; 3] {
        let exists = |index: usize| self.devices[index].get().objects[name].exists;
        [exists(0), exists(1), exists(2)]
    }

    /// Waits until the expirer has asked about something so many times more.
    async fn asked(&self, times: usize) {
        let seen = self.devices[0].get().heads;
        until("it is asked", || self.devices[0].get().heads >= seen + times).await;
    }
}

fn now() -> u64 {
    use daemon::Clock;
    SystemClock::default().now().seconds()
}

async fn recon(running: &Running) -> Value {
    let uri = "/recon/expirer/object";
    let request = http::Request::builder().uri(uri).body(Body::empty()).expect("a request");
    let Ok(response) = running.service().oneshot(request).await;
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    serde_json::from_slice(&body).expect("JSON")
}

/// Waits until recon tells so.
async fn told(running: &Running, deleted: u64, left: u64) {
    let expected = json!({ "deleted": deleted, "left": left });
    let waited = async {
        while recon(running).await["devices"]["d0-2"] != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.expect("it is told");
}

#[tokio::test]
async fn what_has_expired_is_deleted_here_and_what_has_not_stays() {
    let cluster = Cluster::new();
    for number in 0..450 {
        cluster.set(&format!("a/c/o/{number:03}"), [there(5, Some(10 + number)); 3]);
    }
    cluster.set("a/c/later", [there(5, Some(now() + 1000)); 3]);
    cluster.set("a/c/never", [there(5, None); 3]);
    let running = cluster.start(Config { expirations_per_second: 1_000_000, ..quick() });
    until("all are deleted", || cluster.devices[0].get().deletions.len() == 450).await;
    assert_eq!(cluster.exists("a/c/o/449"), [false, true, true]);
    for name in ["a/c/later", "a/c/never"] {
        assert_eq!(cluster.exists(name), [true; 3], "{name}");
    }
    let first = cluster.devices[0].get().deletions[0].clone();
    let at: u64 = first["x-if-delete-at"].to_str().expect("text").parse().expect("a number");
    assert_eq!(first["x-timestamp"], Timestamp::from_seconds(at).internal().as_str());
    let hosts = first["x-container-host"].to_str().expect("text");
    assert_eq!(hosts.split(',').count(), 3, "{hosts}");
    told(&running, 450, 0).await;
    running.stop().await;
}

#[tokio::test]
async fn what_somebody_gave_another_time_while_this_device_was_away_stays() {
    let cluster = Cluster::new();
    cluster.set("a/c/kept", [there(5, Some(10)), there(6, None), there(6, None)]);
    cluster.set("a/c/older", [there(6, Some(10)), there(5, None), there(5, None)]);
    let running = cluster.start(quick());
    until("one is deleted", || cluster.exists("a/c/older") == [false, true, true]).await;
    cluster.asked(3).await;
    assert_eq!(cluster.exists("a/c/kept"), [true; 3]);
    told(&running, 1, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn without_a_majority_nothing_is_deleted() {
    let cluster = Cluster::new();
    cluster.set("a/c/o", [there(5, Some(10)); 3]);
    for away in [1, 2] {
        cluster.devices[away].get().down = true;
    }
    let running = cluster.start(quick());
    cluster.asked(3).await;
    assert_eq!(cluster.exists("a/c/o"), [true; 3]);
    cluster.devices[1].get().down = false;
    until("it is deleted", || cluster.exists("a/c/o") == [false, true, true]).await;
    running.stop().await;
}

#[tokio::test]
async fn it_can_wait_and_can_be_left_out() {
    let cluster = Cluster::new();
    let delete_at = now() - 100;
    cluster.set("a/c/o", [there(5, Some(delete_at)); 3]);
    cluster.set("a/c/p", [there(5, Some(delete_at - 1000)); 3]);
    let running = cluster.start(Config { expire_delay_s: 500, ..quick() });
    until("the older is deleted", || !cluster.exists("a/c/p")[0]).await;
    assert_eq!(cluster.exists("a/c/o"), [true; 3]);
    running.stop().await;
    let running = cluster.start(Config { expire: false, ..quick() });
    assert_eq!(recon(&running).await["devices"], json!({}));
    running.stop().await;
}

#[test]
fn the_newest_change_counts() {
    let gone = |at| Known { at: Timestamp::from_seconds(at), delete_at: None, exists: false };
    assert_eq!(verdict(&[], 10), Verdict::Unknown);
    assert_eq!(verdict(&[there(5, Some(10)), there(4, None)], 10), Verdict::Delete);
    assert_eq!(verdict(&[there(5, Some(10)), there(6, Some(11))], 10), Verdict::Outdated);
    assert_eq!(verdict(&[there(5, Some(10)), there(6, None)], 10), Verdict::Outdated);
    assert_eq!(verdict(&[there(5, Some(10)), gone(6)], 10), Verdict::Delete);
    assert_eq!(verdict(&[there(5, Some(10)), gone(0)], 10), Verdict::Delete);
}

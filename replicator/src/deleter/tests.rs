//! A deleter of one container device, and a cluster of three nodes in memory. Nothing here opens a socket.

use super::*;
use crate::tests::{Shared, quick, ring_of_three, until};
use crate::{LocalNodes, start};
use daemon::{Env, Running, Shutdown, SystemClock};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use types::Timestamp;
use wire::{Response, parse_query};

const POLICY: PolicyIndex = PolicyIndex(2);
/// Long ago, in the container of its day.
const AT: u64 = 1_735_700_000;
const QUEUE: &str = "1735689600";

/// What a node knows.
#[derive(Default)]
struct Known {
    /// Rows of the queue, each with its content type, by container.
    queue: BTreeMap<String, BTreeMap<String, String>>,
    /// Containers of clients.
    containers: BTreeSet<String>,
    /// Objects by their paths, and when they were written.
    objects: BTreeMap<String, Timestamp>,
    /// Headers of deletions of objects.
    deletions: Vec<HeaderMap>,
    down: bool,
}

fn json_of(value: serde_json::Value) -> Response {
    Response::new(Body::from(value.to_string()))
}

fn timestamp(headers: &HeaderMap) -> Timestamp {
    Timestamp::parse(headers["x-timestamp"].to_str().expect("text")).expect("a timestamp")
}

async fn node(known: Shared<Known>, request: Request) -> Response {
    let mut known = known.get();
    if known.down {
        return daemon::empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    let path = percent_decode(request.uri().path());
    let names: Vec<&str> = path.splitn(6, '/').skip(3).collect();
    let query = parse_query(request.uri().query()).expect("a query");
    let marker = query.iter().find(|(key, _)| key == "marker").map_or("", |(_, value)| value);
    let missing = || daemon::empty(StatusCode::NOT_FOUND);
    match (request.method().as_str(), names.as_slice()) {
        ("GET", [".expiring_objects"]) => {
            let names = known.queue.keys().filter(|name| name.as_str() > marker);
            let row = |name| json!({"name": name, "count": 1, "bytes": 0, "last_modified": ""});
            json_of(names.map(row).collect())
        }
        ("GET", [".expiring_objects", container]) => {
            let Some(rows) = known.queue.get(*container) else { return missing() };
            let rows = rows.iter().filter(|(name, _)| name.as_str() > marker).take(PAGE);
            let row = |(name, kind): (&String, &String)| json!({"name": name, "hash": "", "bytes": 0, "content_type": kind, "last_modified": ""});
            json_of(rows.map(row).collect())
        }
        ("DELETE", [".expiring_objects", container]) => {
            known.queue.remove(*container);
            daemon::empty(StatusCode::NO_CONTENT)
        }
        ("DELETE", [".expiring_objects", container, row]) => {
            known.queue.get_mut(*container).and_then(|rows| rows.remove(*row));
            daemon::empty(StatusCode::NO_CONTENT)
        }
        ("HEAD", [account, container]) => {
            if !known.containers.contains(&format!("{account}/{container}")) {
                return missing();
            }
            let mut response = daemon::empty(StatusCode::NO_CONTENT);
            let policy = HeaderValue::from(POLICY.0);
            response.headers_mut().insert(headers::X_BACKEND_STORAGE_POLICY_INDEX, policy);
            response
        }
        ("DELETE", [account, container, object]) => {
            assert_eq!(request.headers()["x-backend-storage-policy-index"], "2");
            known.deletions.push(request.headers().clone());
            let path = format!("{account}/{container}/{object}");
            match known.objects.get(&path) {
                None => missing(),
                Some(at) if *at > timestamp(request.headers()) => {
                    daemon::empty(StatusCode::CONFLICT)
                }
                Some(_) => {
                    known.objects.remove(&path);
                    daemon::empty(StatusCode::NO_CONTENT)
                }
            }
        }
        // What others of the replicator ask.
        _ => daemon::empty(StatusCode::NOT_IMPLEMENTED),
    }
}

fn percent_decode(path: &str) -> String {
    let query = format!("path={path}");
    let parsed = parse_query(Some(&query)).expect("a query");
    parsed.into_iter().next().expect("a value").1
}

struct Cluster {
    env: Env,
    nodes: Vec<Shared<Known>>,
    ring: Arc<Ring>,
}

impl Cluster {
    fn new() -> Self {
        let client = NodeClient::new(Duration::from_millis(50));
        let nodes: Vec<Shared<Known>> = (0..3).map(|_| Shared::new(Known::default())).collect();
        for (id, one) in nodes.iter().enumerate() {
            let to = Endpoint::new(format!("node{id}"), 1);
            client.register(to, wire::service_fn(one.clone(), node));
            one.get().containers.insert("AUTH_a/c".to_owned());
            one.get().queue.entry(QUEUE.to_owned()).or_default();
        }
        let ring = ring_of_three("node");
        let clock = Arc::new(SystemClock::default());
        Cluster { env: Env { clock, client, shutdown: Shutdown::default() }, nodes, ring }
    }

    /// The replicator of the node whose turn at the queue's container it is as so many-th.
    fn start(&self, turn: usize) -> Running {
        let hash = HashPaths::default().container(deletions::ACCOUNT, QUEUE);
        let primaries = self.ring.primaries(self.ring.partition(&hash));
        let device = primaries[turn].device;
        let own = (Endpoint::new(&device.ip, 1), device.device.clone());
        let local = LocalNodes { object: Vec::new(), container: vec![own] };
        let ring = || Arc::clone(&self.ring);
        let rings =
            Rings { account: ring(), container: ring(), objects: [(POLICY, ring())].into() };
        let config =
            Config { async_delete_interval_ms: 2, expirations_per_second: 1_000_000, ..quick() };
        start(config, self.env.clone(), local, rings, HashPaths::default()).expect("starts")
    }

    fn put(&self, object: &str, at: u64) {
        for node in &self.nodes {
            node.get().objects.insert(object.to_owned(), Timestamp::from_seconds(at));
        }
    }

    fn ask_for(&self, object: &str, at: u64) {
        self.queue(
            &format!("{}-{object}", Timestamp::from_seconds(at).normal()),
            deletions::CONTENT_TYPE,
        );
    }

    fn queue(&self, row: &str, content_type: &str) {
        for node in &self.nodes {
            let mut node = node.get();
            let rows = node.queue.entry(QUEUE.to_owned()).or_default();
            rows.insert(row.to_owned(), content_type.to_owned());
        }
    }

    fn has(&self, object: &str) -> [bool; 3] {
        [0, 1, 2].map(|id| self.nodes[id].get().objects.contains_key(object))
    }

    fn queued(&self) -> usize {
        self.nodes.iter().map(|node| node.get().queue.get(QUEUE).map_or(0, BTreeMap::len)).sum()
    }
}

fn now() -> u64 {
    use daemon::Clock;
    SystemClock::default().now().seconds()
}

#[tokio::test]
async fn what_was_asked_for_is_deleted_everywhere_and_what_is_newer_stays() {
    let cluster = Cluster::new();
    for number in 0..PAGE + 200 {
        cluster.put(&format!("AUTH_a/c/o/{number}"), AT - 1);
        cluster.ask_for(&format!("AUTH_a/c/o/{number}"), AT);
    }
    cluster.put("AUTH_a/c/newer", AT + 1);
    for object in ["newer", "gone"] {
        cluster.ask_for(&format!("AUTH_a/c/{object}"), AT);
    }
    cluster.ask_for("AUTH_a/no-container/o", AT);
    let running = cluster.start(0);
    until("the queue is empty", || cluster.queued() == 0).await;
    assert_eq!(cluster.nodes[0].get().objects.len(), 1);
    assert_eq!(cluster.has("AUTH_a/c/newer"), [true; 3]);
    let mut told = BTreeMap::new();
    for node in &cluster.nodes {
        let deletion = node.get().deletions[0].clone();
        assert_eq!(timestamp(&deletion), Timestamp::from_seconds(AT));
        for host in deletion["x-container-host"].to_str().expect("text").split(',') {
            *told.entry(host.to_owned()).or_insert(0) += 1;
        }
    }
    assert!(told.len() == 3 && told.values().all(|times| *times == 2), "{told:?}");
    until("the old container is given up", || {
        cluster.nodes.iter().all(|n| n.get().queue.is_empty())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn as_long_as_a_copy_cannot_be_deleted_it_stays_asked_for() {
    let cluster = Cluster::new();
    cluster.put("AUTH_a/c/o", AT - 1);
    cluster.ask_for("AUTH_a/c/o", AT);
    let hash = HashPaths::default().container(deletions::ACCOUNT, QUEUE);
    let last = cluster.ring.primaries(cluster.ring.partition(&hash))[2].device.id as usize;
    cluster.nodes[last].get().down = true;
    let running = cluster.start(0);
    until("the others delete it", || {
        cluster.has("AUTH_a/c/o").iter().filter(|has| **has).count() == 1
    })
    .await;
    let tried = cluster.nodes.iter().map(|node| node.get().deletions.len()).sum::<usize>();
    until("it is tried again", || {
        cluster.nodes.iter().map(|node| node.get().deletions.len()).sum::<usize>() >= tried + 2
    })
    .await;
    assert_eq!(cluster.queued(), 3);
    cluster.nodes[last].get().down = false;
    until("all have deleted it", || cluster.has("AUTH_a/c/o") == [false; 3]).await;
    until("the queue is empty", || cluster.queued() == 0).await;
    running.stop().await;
}

#[tokio::test]
async fn others_wait_for_their_turn_and_what_is_no_deletion_stays() {
    let cluster = Cluster::new();
    for object in ["old", "new"] {
        cluster.put(&format!("AUTH_a/c/{object}"), AT - 1);
    }
    cluster.queue(&format!("{AT}-AUTH_a/c/new"), "text/plain");
    cluster.queue("nonsense", deletions::CONTENT_TYPE);
    cluster.ask_for("AUTH_a/c/new", now() - 1);
    cluster.ask_for("AUTH_a/c/old", now() - TAKEOVER_S - 100);
    let second = cluster.start(1);
    until("the second does what is late", || cluster.has("AUTH_a/c/old") == [false; 3]).await;
    until("its row is gone", || cluster.queued() == 9).await;
    assert_eq!(cluster.has("AUTH_a/c/new"), [true; 3]);
    second.stop().await;
    let first = cluster.start(0);
    until("the first does the rest", || cluster.has("AUTH_a/c/new") == [false; 3]).await;
    until("its row is gone", || cluster.queued() == 6).await;
    first.stop().await;
}

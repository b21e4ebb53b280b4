//! Whole replicators against services in this process. Nothing here opens a socket.

use super::*;
use daemon::SystemClock;
use http::{Method, StatusCode};
use ring_builder::{Device, build};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tower::ServiceExt;
use types::{AccountName, ContainerName, ObjectName, PartPower, PolicyIndex, Timestamp};
use wire::pending::{PendingReport, PendingReports, ReportedAck};
use wire::pending_object::PendingObjectUpdate;
use wire::{
    AccountUpdate, BackendPath, Body, Endpoint, NodeClient, ObjectUpdate, Request, Response,
};

/// The state of a service, shared with the test that looks at it.
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Shared(Arc::new(Mutex::new(value)))
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of a device: the JSON of its updates by token.
#[derive(Default)]
struct Queue {
    pending: BTreeMap<u64, Value>,
    /// Whether acknowledgements are refused.
    deaf: bool,
    /// Whether every page begins at the head, whatever marker is given.
    knows_no_markers: bool,
    looked: u64,
    /// The field of a page that holds the updates.
    field: &'static str,
}

/// Answers like objectd and containerd, from memory.
async fn owner(queue: Shared<Queue>, request: Request) -> Response {
    // What healers, auditors and expirers ask is no matter of these tests.
    if ["QUARANTINED", "VERIFY", "EXPIRED"].contains(&request.method().as_str()) {
        return daemon::empty(StatusCode::NOT_IMPLEMENTED);
    }
    assert_eq!((request.method().as_str(), request.uri().path()), ("UPDATES", "/d%201"));
    let query = wire::parse_query(request.uri().query()).expect("a query");
    let number = |name| {
        let (_, value) = query.iter().find(|(key, _)| key == name).expect("a parameter");
        value.parse::<u64>().expect("a number")
    };
    if query.iter().any(|(name, _)| name == "ack") {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a body");
        let ack: ReportedAck = serde_json::from_slice(&body).expect("an acknowledgement");
        let mut queue = queue.get();
        if queue.deaf {
            return daemon::empty(StatusCode::SERVICE_UNAVAILABLE);
        }
        queue.pending.retain(|token, _| !ack.tokens.contains(token));
        return daemon::empty(StatusCode::NO_CONTENT);
    }
    let (limit, marker) = (number("limit"), number("marker"));
    let mut queue = queue.get();
    queue.looked += 1;
    let marker = if queue.knows_no_markers { 0 } else { marker };
    let after = queue.pending.range(marker + 1..).map(|(_, update)| update.clone());
    let page: Vec<Value> = after.take(limit as usize).collect();
    Response::new(Body::from(serde_json::json!({ queue.field: page }).to_string()))
}

/// A server of listings: what it was told, and how it answers.
#[derive(Default)]
struct Listing {
    rows: Vec<Request>,
    answer: Answer,
}

#[derive(Clone, Copy, Default)]
enum Answer {
    #[default]
    Takes,
    Says(StatusCode),
    /// Takes rows with such a path and does not know the containers of others.
    TakesOnly(fn(&str) -> bool),
    /// Never answers.
    Hangs,
}

impl Listing {
    fn names(&self) -> BTreeSet<String> {
        self.rows.iter().map(|row| row.uri().path().to_owned()).collect()
    }
}

async fn listing_server(listing: Shared<Listing>, request: Request) -> Response {
    let answer = {
        let mut listing = listing.get();
        let answer = match listing.answer {
            Answer::TakesOnly(path) if path(request.uri().path()) => Answer::Takes,
            Answer::TakesOnly(_) => Answer::Says(StatusCode::NOT_FOUND),
            other => other,
        };
        listing.rows.push(request);
        answer
    };
    match answer {
        Answer::Takes | Answer::TakesOnly(_) => daemon::empty(StatusCode::CREATED),
        Answer::Says(status) => daemon::empty(status),
        Answer::Hangs => std::future::pending().await,
    }
}

/// A node with one queue of each kind, and three servers of listings which are both kinds of primaries.
struct Node {
    env: Env,
    objects: Shared<Queue>,
    containers: Shared<Queue>,
    listings: Vec<Shared<Listing>>,
    ring: Arc<Ring>,
}

/// A ring of three devices, `d0` to `d2`, each with everything; the owner of the first is `<host>0:1`.
pub(crate) fn ring_of_three(host: &str) -> Arc<Ring> {
    let entries = (0..3).map(|id| Device {
        device: format!("d{id}"),
        id,
        ip: format!("{host}{id}"),
        meta: String::new(),
        port: 1,
        region: 1,
        replication_ip: format!("{host}{id}"),
        replication_port: 1,
        weight: 1.0,
        zone: id,
    });
    let power = PartPower::new(4).expect("a power");
    let data = build(entries.collect(), power, 3, 1).expect("a ring");
    Arc::new(Ring::new(data).expect("a ring"))
}

pub(crate) fn quick() -> Config {
    Config { interval_ms: 2, retry_ms_max: 20, batch: 10, node_timeout_ms: 20, ..Config::default() }
}

impl Node {
    fn new() -> Self {
        let client = NodeClient::new(Duration::from_millis(50));
        let objects = Shared::new(Queue { field: "updates", ..Queue::default() });
        let containers = Shared::new(Queue { field: "reports", ..Queue::default() });
        client.register(Endpoint::new("objects", 1), wire::service_fn(objects.clone(), owner));
        client
            .register(Endpoint::new("containers", 1), wire::service_fn(containers.clone(), owner));
        let listings: Vec<Shared<Listing>> =
            (0..3).map(|_| Shared::new(Listing::default())).collect();
        for (index, listing) in listings.iter().enumerate() {
            let to = Endpoint::new(format!("listing{index}"), 1);
            client.register(to, wire::service_fn(listing.clone(), listing_server));
        }
        let devices = (0..3).map(|id| Device {
            device: "d1".into(),
            id,
            ip: "unused".into(),
            meta: String::new(),
            port: 9,
            region: 1,
            replication_ip: format!("listing{id}"),
            replication_port: 1,
            weight: 1.0,
            zone: id,
        });
        let power = PartPower::new(4).expect("a power");
        let data = build(devices.collect(), power, 3, 1).expect("a ring");
        let ring = Arc::new(Ring::new(data).expect("a ring"));
        let clock = Arc::new(SystemClock::default());
        let env = Env { clock, client, shutdown: Shutdown::default() };
        Node { env, objects, containers, listings, ring }
    }

    fn start(&self, config: Config) -> Running {
        let local = LocalNodes {
            object: vec![(Endpoint::new("objects", 1), "d 1".into(), PolicyIndex(0))],
            container: vec![(Endpoint::new("containers", 1), "d 1".into())],
        };
        let ring = || Arc::clone(&self.ring);
        let rings = Rings {
            account: ring(),
            container: ring(),
            objects: [(PolicyIndex(0), ring())].into(),
        };
        start(config, self.env.clone(), local, rings, HashPaths::default()).expect("starts")
    }

    /// Queues updates of objects with these tokens.
    fn queue_objects(&self, tokens: impl IntoIterator<Item = u64>) {
        for token in tokens {
            let update = PendingObjectUpdate::new(token, &object_update(token));
            let json = serde_json::to_value(update).expect("JSON");
            self.objects.get().pending.insert(token, json);
        }
    }

    fn set(&self, answers: [Answer; 3]) {
        for (listing, answer) in self.listings.iter().zip(answers) {
            listing.get().answer = answer;
        }
    }

    /// How many rows each server was told, repetitions too.
    fn told(&self) -> Vec<usize> {
        self.listings.iter().map(|listing| listing.get().rows.len()).collect()
    }

    async fn emptied(&self) {
        until("the queue is empty", || self.objects.get().pending.is_empty()).await;
    }

    /// Waits until the queue of objects was looked at so many times more.
    async fn looked(&self, times: u64) {
        let seen = self.objects.get().looked;
        until("the queue is looked at", || self.objects.get().looked >= seen + times).await;
    }
}

/// Awaits a condition with a bound far beyond what it should take.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.expect(what);
}

fn object_update(token: u64) -> ObjectUpdate {
    ObjectUpdate {
        account: AccountName::parse("AUTH_test").expect("a name"),
        container: ContainerName::parse(format!("c{}", token % 3)).expect("a name"),
        object: ObjectName::parse(format!("o/{token}")).expect("a name"),
        deleted: token % 2 == 1,
        timestamp: Timestamp::from_seconds(1_000 + token),
        content_type_timestamp: None,
        meta_timestamp: None,
        size: 0,
        content_type: String::new(),
        etag: String::new(),
        policy: PolicyIndex(0),
        delete_at: 0,
    }
}

#[tokio::test]
async fn updates_of_objects_reach_every_primary_once() {
    let node = Node::new();
    node.queue_objects(1..=25);
    let running = node.start(quick());
    node.emptied().await;
    node.looked(3).await;
    assert_eq!(node.told(), [25, 25, 25]);
    let rows = std::mem::take(&mut node.listings[1].get().rows);
    for row in &rows {
        let path = BackendPath::decode(row.uri().path()).expect("a path");
        let update = ObjectUpdate::decode(row.method(), &path, row.headers()).expect("an update");
        let token = update.timestamp.seconds() - 1_000;
        assert_eq!(update, object_update(token));
        let hash = HashPaths::default().container("AUTH_test", update.container.as_str());
        assert_eq!((path.device.as_str(), path.partition), ("d1", node.ring.partition(&hash)));
    }
    running.stop().await;
}

#[tokio::test]
async fn totals_of_containers_reach_the_account_servers() {
    let node = Node::new();
    let update = AccountUpdate {
        account: AccountName::parse("AUTH_test").expect("a name"),
        container: ContainerName::parse("c").expect("a name"),
        put_timestamp: Timestamp::from_seconds(5),
        delete_timestamp: Timestamp::default(),
        object_count: 3,
        bytes_used: 9,
        policy: PolicyIndex(1),
    };
    let page = PendingReports { reports: vec![PendingReport::new(4, &update)] };
    let json = serde_json::to_value(&page.reports[0]).expect("JSON");
    node.containers.get().pending.insert(4, json);
    let running = node.start(quick());
    until("the report is acknowledged", || node.containers.get().pending.is_empty()).await;
    assert_eq!(node.told(), [1, 1, 1]);
    for listing in &node.listings {
        let row = &listing.get().rows[0];
        let path = BackendPath::decode(row.uri().path()).expect("a path");
        assert_eq!(row.method(), Method::PUT);
        assert_eq!(AccountUpdate::decode(&path, row.headers()), Ok(update.clone()));
        assert_eq!(row.headers()["x-account-override-deleted"], "yes");
    }
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_while_a_peer_is_away_and_all_is_when_it_is_back() {
    let node = Node::new();
    for away in [Answer::Says(StatusCode::SERVICE_UNAVAILABLE), Answer::Hangs] {
        node.set([Answer::Takes, Answer::Takes, away]);
        let before = node.listings[0].get().rows.len();
        node.queue_objects(1..=25);
        let running = node.start(quick());
        until("the living peers have all", || node.told()[..2] == [before + 25; 2]).await;
        node.looked(5).await;
        assert_eq!(node.objects.get().pending.len(), 25, "all are kept");
        node.set([Answer::Takes; 3]);
        node.emptied().await;
        assert_eq!(node.listings[2].get().names().len(), 25);
        // Who had taken an update was not told it again.
        assert_eq!(node.told()[..2], [before + 25; 2]);
        running.stop().await;
    }
}

#[tokio::test]
async fn new_updates_do_not_wait_behind_those_that_fail() {
    let node = Node::new();
    node.set([Answer::TakesOnly(|path| path.contains("/o/9")); 3]);
    node.queue_objects(1..=8);
    let running = node.start(Config { retry_ms_max: 3_600_000, ..quick() });
    let refused = |node: &Node| {
        let listing = node.listings[0].get();
        listing.rows.iter().filter(|row| !row.uri().path().contains("/o/9")).count()
    };
    // Sweeps come at longer and longer intervals. Sooner or later something new is delivered between two.
    let mut between = false;
    for token in 90_000..90_200 {
        let before = refused(&node);
        node.queue_objects([token]);
        until("the new one is gone", || node.objects.get().pending.len() == 8).await;
        between |= refused(&node) == before && before > 0;
    }
    assert!(between, "all new updates waited for a sweep");
    running.stop().await;
}

#[tokio::test]
async fn a_minority_that_does_not_know_the_container_is_no_hindrance() {
    let node = Node::new();
    let unknown = Answer::Says(StatusCode::NOT_FOUND);
    node.set([Answer::Takes, unknown, unknown]);
    node.queue_objects([1]);
    let running = node.start(quick());
    node.looked(10).await;
    assert_eq!(node.objects.get().pending.len(), 1, "one of three is no majority");
    node.set([Answer::Takes, Answer::Takes, unknown]);
    node.emptied().await;
    running.stop().await;
}

#[tokio::test]
async fn what_was_delivered_is_not_sent_again_when_only_the_acknowledgement_failed() {
    let node = Node::new();
    node.objects.get().deaf = true;
    node.queue_objects(1..=5);
    let running = node.start(quick());
    until("they are delivered", || node.told() == [5, 5, 5]).await;
    node.looked(5).await;
    assert_eq!(node.objects.get().pending.len(), 5);
    node.objects.get().deaf = false;
    node.emptied().await;
    assert_eq!(node.told(), [5, 5, 5]);
    running.stop().await;
}

#[tokio::test]
async fn malformed_updates_stay_and_do_not_stop_the_others() {
    let node = Node::new();
    node.queue_objects(1..=12);
    node.objects.get().pending.get_mut(&3).expect("there")["account"] = "a/b".into();
    let running = node.start(quick());
    until("the others are gone", || node.objects.get().pending.len() == 1).await;
    assert!(node.objects.get().pending.contains_key(&3));
    running.stop().await;
}

#[tokio::test]
async fn a_queue_without_markers_is_emptied_too_and_a_pass_through_it_ends() {
    let node = Node::new();
    node.objects.get().knows_no_markers = true;
    node.set([Answer::TakesOnly(|path| !path.ends_with("/1")); 3]);
    node.queue_objects(1..=35);
    let running = node.start(quick());
    until("all but one are gone", || node.objects.get().pending.len() == 1).await;
    node.looked(5).await;
    node.set([Answer::Takes; 3]);
    node.emptied().await;
    running.stop().await;
}

#[tokio::test]
async fn two_workers_share_a_queue() {
    let node = Node::new();
    node.queue_objects(1..=30);
    let first = node.start(Config { workers: 2, worker: 0, ..quick() });
    node.looked(10).await;
    let left = node.objects.get().pending.len();
    assert!(left > 0, "the other worker's share stays");
    assert_eq!(node.told(), [30 - left; 3]);
    let second = node.start(Config { workers: 2, worker: 1, ..quick() });
    node.emptied().await;
    assert_eq!(node.told(), [30; 3]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn stops_promptly_even_with_calls_under_way() {
    for by_env in [false, true] {
        let node = Node::new();
        node.set([Answer::Hangs; 3]);
        node.queue_objects(1..=5);
        let running = node.start(Config { node_timeout_ms: 3_600_000, ..quick() });
        until("a call hangs", || node.told()[0] > 0).await;
        if by_env {
            node.env.shutdown.trigger();
        }
        let stopped = tokio::time::timeout(Duration::from_secs(5), running.stop()).await;
        assert!(stopped.is_ok());
        assert_eq!(node.objects.get().pending.len(), 5);
    }
}

#[tokio::test]
async fn tells_what_it_did() {
    let node = Node::new();
    let running = node.start(quick());
    let ask = async |path: &str| {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().expect("a path");
        let response = running.service().oneshot(request).await.expect("infallible");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
        (status, body)
    };
    assert_eq!(ask("/healthcheck").await, (StatusCode::OK, "OK".into()));
    assert_eq!(ask("/").await.0, StatusCode::NOT_FOUND);
    node.set([Answer::Says(StatusCode::SERVICE_UNAVAILABLE); 3]);
    node.queue_objects([7, 8]);
    let mut told = Value::Null;
    for _ in 0..5_000 {
        let (_, body) = ask("/recon/updater/object").await;
        told = serde_json::from_slice(&body).expect("JSON");
        if told["object_updater_stats"]["failed"] == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(told["object_updater_stats"]["failed"], 2, "{told}");
    assert_eq!(told["object_updater_stats"]["failures_oldest_timestamp"], "0000001007.00000");
    assert!(told["object_updater_sweep"].is_f64() && told["object_updater_last"].is_u64());
    running.stop().await;
}

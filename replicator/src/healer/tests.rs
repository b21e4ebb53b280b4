//! Healers against devices in this process that keep their records in memory.

use crate::config::{Config, LocalNodes};
use crate::tests::{Shared, quick, ring_of_three, until};
use crate::{Rings, start};
use axum::body::Bytes;
use daemon::{Env, Running, Shutdown, SystemClock};
use http::StatusCode;
use ring_builder::Ring;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;
use types::{HashPaths, ObjectHash, PolicyIndex, Timestamp, hex_encode};
use wire::device::{Hashes, Merged, Quarantine, QuarantinedRecord, Released};
use wire::records::{
    Frame, FrameReader, PageEnd, RecordHead, RecordKind, abandoned_frame, data_header,
};
use wire::{Body, Endpoint, NodeClient, Request, Response};

/// Devices and answers must be of this one.
const POLICY: PolicyIndex = PolicyIndex(2);

/// Records of objects by hash, kind and moment, with their data.
type Records = BTreeMap<(ObjectHash, u8, Timestamp), (RecordHead, Vec<u8>)>;

#[derive(Default)]
struct Device {
    records: Records,
    quarantine: Vec<(ObjectHash, RecordKind, Timestamp)>,
    turn: u64,
    answer: Answer,
    /// RECORDS and MERGEs that came.
    fetched: u64,
    merged: u64,
    released_before: Vec<u64>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    Right,
    Says(StatusCode),
    Hangs,
    /// Begins each record and gives it up, as for one that is damaged too.
    Abandons,
    /// Takes no records, and never says so.
    HangsAtMerge,
}

fn head(hash: ObjectHash, kind: RecordKind, at: u64, data_len: usize) -> RecordHead {
    RecordHead {
        kind,
        hash,
        timestamp: Timestamp::from_seconds(at),
        content_type_timestamp: None,
        delete_at: 0,
        fragment: None,
        data_len: data_len as u64,
        metadata: Vec::new(),
    }
}

impl Device {
    fn keep(&mut self, head: RecordHead, data: Vec<u8>) -> bool {
        let key = (head.hash, head.kind as u8, head.timestamp);
        self.records.insert(key, (head, data)).is_none()
    }

    fn newest(&self, hash: &ObjectHash) -> Option<&(RecordHead, Vec<u8>)> {
        let of = self.records.values().filter(|(head, _)| head.hash == *hash);
        of.max_by_key(|(head, _)| head.timestamp)
    }

    fn damage(&mut self, hash: ObjectHash, kind: RecordKind, at: u64) {
        let at = Timestamp::from_seconds(at);
        self.records.remove(&(hash, kind as u8, at));
        self.quarantine.push((hash, kind, at));
        self.quarantine.sort_by_key(|(hash, kind, at)| (*hash, *kind as u8, *at));
        self.turn += 1;
    }

    fn listed(&self, from: &str, limit: usize, unhealed: bool) -> Quarantine {
        let mut page = Quarantine { turn: self.turn, ..Quarantine::default() };
        for (hash, kind, at) in &self.quarantine {
            let healed = self.newest(hash).is_some_and(|(head, _)| head.timestamp >= *at);
            if *hash.to_string() < *from || unhealed && healed {
                continue;
            }
            if page.records.len() == limit {
                page.marker = Some(hash.to_string());
                break;
            }
            let name = match kind {
                RecordKind::Tombstone => "tombstone",
                _ => "data",
            };
            page.records.push(QuarantinedRecord {
                hash: hash.to_string(),
                kind: name.to_owned(),
                timestamp: at.internal(),
                found: Timestamp::from_seconds(77).internal(),
                healed,
                ..QuarantinedRecord::default()
            });
        }
        page
    }

    fn stream(&self, hashes: &[String]) -> Vec<u8> {
        let mut out = Vec::new();
        for (head, data) in self.records.values() {
            if !hashes.contains(&head.hash.to_string()) {
                continue;
            }
            out.extend(head.frame().expect("fits"));
            if self.answer == Answer::Abandons && !data.is_empty() {
                out.extend(abandoned_frame());
                continue;
            }
            for piece in data.chunks(1000) {
                out.extend(data_header(piece));
                out.extend(piece);
            }
        }
        out.extend(PageEnd::default().frame());
        out
    }

    fn take(&mut self, stream: &[u8]) -> Merged {
        let (mut reader, mut done) = (FrameReader::default(), Merged::default());
        let mut current: Option<(RecordHead, Vec<u8>)> = None;
        reader.push(stream);
        while let Some(frame) = reader.next_frame().expect("sound") {
            match frame {
                Frame::Record(head) => current = Some((head, Vec::new())),
                Frame::Data(data) => {
                    current.as_mut().expect("a head").1.extend_from_slice(&data);
                }
                Frame::Abandoned => current = None,
                Frame::End(_) => {}
            }
            if let Some((head, data)) = current.take_if(|_| reader.is_complete()) {
                done.taken += u64::from(self.keep(head, data));
            }
        }
        reader.finish().expect("complete");
        done
    }
}

async fn device(device: Shared<Device>, request: Request) -> Response {
    assert_eq!(request.headers()["x-backend-storage-policy-index"], "2");
    let answer = device.get().answer;
    match answer {
        Answer::Says(status) => return daemon::empty(status),
        Answer::Hangs => std::future::pending().await,
        Answer::HangsAtMerge if request.method().as_str() == "MERGE" => {
            device.get().merged += 1;
            std::future::pending().await
        }
        Answer::Right | Answer::Abandons | Answer::HangsAtMerge => {}
    }
    let query = wire::parse_query(request.uri().query()).expect("a query");
    let text =
        |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let number = |name: &str| text(name).map(|text| text.parse::<u64>().expect("a number"));
    let method = request.method().as_str().to_owned();
    if method == "QUARANTINED" {
        if let Some(before) = number("found_before") {
            device.get().released_before.push(before);
            return json_of(&json!(Released::default()));
        }
        let until = Instant::now() + Duration::from_millis(number("wait").unwrap_or(0));
        while number("seen") == Some(device.get().turn) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (from, limit) = (text("marker").unwrap_or_default(), number("limit").expect("a limit"));
        let page = device.get().listed(&from, limit as usize, text("unhealed").is_some());
        return json_of(&json!(page));
    }
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
    let Ok(body) = body else { return daemon::empty(StatusCode::BAD_REQUEST) };
    let mut device = device.get();
    match method.as_str() {
        "RECORDS" => {
            device.fetched += 1;
            let named: Hashes = serde_json::from_slice(&body).expect("hashes");
            Response::new(Body::from(device.stream(&named.hashes)))
        }
        "MERGE" => {
            device.merged += 1;
            json_of(&json!(device.take(&body)))
        }
        _ => daemon::empty(StatusCode::NOT_IMPLEMENTED),
    }
}

fn json_of(value: &Value) -> Response {
    Response::new(Body::from(value.to_string()))
}

/// Three devices with copies of everything, the first of them a node's own.
struct Cluster {
    env: Env,
    devices: Vec<Shared<Device>>,
    ring: Arc<Ring>,
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

    /// Stores data at some devices.
    fn store(&self, at: &[usize], hash: ObjectHash, moment: u64) {
        for index in at {
            let data = data(&hash, moment);
            let head = head(hash, RecordKind::Data, moment, data.len());
            self.devices[*index].get().keep(head, data);
        }
    }

    /// The moment of the newest record of an object at the damaged device, whose data must be right.
    fn here(&self, hash: &ObjectHash) -> Option<u64> {
        let device = self.devices[0].get();
        let (head, found) = device.newest(hash)?;
        let moment = head.timestamp.seconds();
        if head.kind == RecordKind::Data {
            assert_eq!(*found, data(hash, moment));
        }
        Some(moment)
    }

    async fn healed(&self, hash: &ObjectHash, moment: u64) {
        until("it is mended", || self.here(hash) == Some(moment)).await;
    }
}

async fn recon(running: &Running, path: &str) -> Value {
    let request = http::Request::builder().uri(path).body(Body::empty()).expect("a request");
    let Ok(response) = running.service().oneshot(request).await;
    let body: Bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    serde_json::from_slice(&body).expect("JSON")
}

fn hash(number: u32) -> ObjectHash {
    let mut hash = [7; 16];
    hash[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes());
    hash[4..8].copy_from_slice(&number.to_be_bytes());
    ObjectHash(hash)
}

fn data(hash: &ObjectHash, moment: u64) -> Vec<u8> {
    format!("{} at {moment} ", hex_encode(&hash.0)).repeat(60).into_bytes()
}

#[tokio::test]
async fn what_is_damaged_is_fetched_from_another_device_at_once() {
    let cluster = Cluster::new();
    let running = cluster.start(quick());
    for number in 0..20 {
        cluster.store(&[0, 1, 2], hash(number), 5);
    }
    for number in 0..20 {
        cluster.devices[0].get().damage(hash(number), RecordKind::Data, 5);
        cluster.healed(&hash(number), 5).await;
    }
    until("it is told", || cluster.devices[0].get().merged >= 20).await;
    // One peer was enough for each.
    let fetched: u64 = cluster.devices.iter().map(|device| device.get().fetched).sum();
    assert_eq!((fetched, cluster.devices[0].get().fetched), (20, 0));
    running.stop().await;
}

#[tokio::test]
async fn a_whole_page_and_more_is_mended() {
    let cluster = Cluster::new();
    for number in 0..250 {
        cluster.store(&[1, 2], hash(number), 5);
        cluster.devices[0].get().damage(hash(number), RecordKind::Data, 5);
    }
    let running = cluster.start(Config { heals_per_second: 100_000, ..quick() });
    let all = || (0..250).all(|number| cluster.here(&hash(number)) == Some(5));
    until("all are mended", all).await;
    assert_eq!(cluster.devices[0].get().merged, 250);
    running.stop().await;
}

#[tokio::test]
async fn devices_that_cannot_help_are_passed_over() {
    let cases = [
        Answer::Says(StatusCode::INSUFFICIENT_STORAGE),
        Answer::Hangs,
        Answer::Abandons,
        Answer::Right,
    ];
    for (number, ill) in (0..).zip(cases) {
        let cluster = Cluster::new();
        let damaged = hash(number);
        // Which of the two is asked first does not matter: each is ill once.
        for (well, other) in [(1, 2), (2, 1)] {
            let moment = 10 + well as u64;
            cluster.store(&[well], damaged, moment);
            cluster.devices[well].get().answer = Answer::Right;
            cluster.devices[other].get().answer = ill;
            if ill != Answer::Right {
                cluster.store(&[other], damaged, moment);
            }
            cluster.devices[0].get().damage(damaged, RecordKind::Data, moment);
            let running = cluster.start(quick());
            cluster.healed(&damaged, moment).await;
            running.stop().await;
        }
    }
}

#[tokio::test]
async fn nothing_older_than_what_is_damaged_comes_back() {
    let cluster = Cluster::new();
    let (object, deleted) = (hash(1), hash(2));
    cluster.store(&[1], object, 3);
    cluster.store(&[1], deleted, 3);
    cluster.devices[2].get().answer = Answer::Says(StatusCode::SERVICE_UNAVAILABLE);
    cluster.devices[0].get().damage(object, RecordKind::Data, 5);
    cluster.devices[0].get().damage(deleted, RecordKind::Tombstone, 5);
    let running = cluster.start(quick());
    until("the old copies were met", || cluster.devices[0].get().merged >= 6).await;
    assert_eq!((cluster.here(&object), cluster.here(&deleted)), (None, None));
    // The same object, and a deletion that is newer than the damaged one.
    cluster.store(&[2], object, 5);
    cluster.devices[2].get().keep(head(deleted, RecordKind::Tombstone, 6, 0), Vec::new());
    cluster.devices[2].get().answer = Answer::Right;
    cluster.healed(&object, 5).await;
    cluster.healed(&deleted, 6).await;
    running.stop().await;
}

#[tokio::test]
async fn what_nobody_has_is_told_and_tried_again_more_and_more_rarely() {
    let cluster = Cluster::new();
    let lost = hash(9);
    cluster.devices[0].get().damage(lost, RecordKind::Data, 5);
    let running = cluster.start(Config { heal_retry_ms_max: 40, ..quick() });
    let mut told = Value::Null;
    for _ in 0..2000 {
        told = recon(&running, "/recon/quarantined").await;
        if told["objects"] == 1 && told["devices"]["d0-2"]["last_error"].is_string() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(told["devices"]["d0-2"]["last_error"], "no device has a sound copy", "{told}");
    assert_eq!(told["devices"]["d0-2"]["oldest_timestamp"], "0000000077.00000");
    assert_eq!(told["policies"]["2"]["objects"], 1);
    // What is damaged meanwhile does not wait for it.
    cluster.store(&[1, 2], hash(10), 5);
    cluster.devices[0].get().damage(hash(10), RecordKind::Data, 5);
    cluster.healed(&hash(10), 5).await;
    cluster.store(&[1], lost, 5);
    cluster.healed(&lost, 5).await;
    for _ in 0..2000 {
        told = recon(&running, "/recon/quarantined").await;
        if told["objects"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((&told["objects"], &told["devices"]["d0-2"]["healed"]), (&json!(0), &json!(2)));
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_cannot_be_asked_is_asked_again() {
    let cluster = Cluster::new();
    cluster.store(&[1, 2], hash(3), 5);
    cluster.devices[0].get().damage(hash(3), RecordKind::Data, 5);
    cluster.devices[0].get().answer = Answer::Says(StatusCode::SERVICE_UNAVAILABLE);
    let running = cluster.start(quick());
    tokio::time::sleep(Duration::from_millis(20)).await;
    cluster.devices[0].get().answer = Answer::Hangs;
    tokio::time::sleep(Duration::from_millis(30)).await;
    cluster.devices[0].get().answer = Answer::Right;
    cluster.healed(&hash(3), 5).await;
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_takes_nothing_is_not_waited_for_without_end() {
    let cluster = Cluster::new();
    cluster.store(&[1, 2], hash(3), 5);
    cluster.devices[0].get().answer = Answer::HangsAtMerge;
    cluster.devices[0].get().damage(hash(3), RecordKind::Data, 5);
    let running = cluster.start(quick());
    until("both peers were tried", || cluster.devices[0].get().merged >= 2).await;
    cluster.devices[0].get().answer = Answer::Right;
    cluster.healed(&hash(3), 5).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_given_up_was_kept_for_its_time() {
    let cluster = Cluster::new();
    let now = || cluster.env.clock.now().seconds();
    let running = cluster.start(Config { quarantine_keep_s: 1000, ..quick() });
    let begun = now();
    until("it is given up", || !cluster.devices[0].get().released_before.is_empty()).await;
    let before = cluster.devices[0].get().released_before[0];
    assert!(before >= begun - 1000 && before <= now() - 1000, "{before}");
    running.stop().await;
}

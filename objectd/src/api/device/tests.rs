//! Two devices as a replicator, an auditor and an operator meet them.

mod damage;

use crate::api::{PolicyEngines, Server, answer};
use crate::engine::{Change, Engine, EngineOptions, Identity};
use crate::format::{Metadata, RecordKind, Superblock};
use crate::index::IndexBudget;
use crate::io::SimIo;
use crate::state::{Fragment, Rule};
use daemon::{Env, ManualClock, Shutdown};
use http::Method;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use types::{HashPaths, ObjectHash, PartPower, PolicyIndex, Timestamp};
use wire::device::{Fingerprints, Merged, ObjectDigests, Partitions};
use wire::records::{Frame, FrameReader, RecordsError};
use wire::{Body, NodeClient, Request, SuffixHash, SuffixHashes};

const NOW: u64 = 1_700_000_000;

struct Devices {
    server: Arc<Server>,
    disks: HashMap<String, SimIo>,
}

/// Two of them, `a` and `b`.
fn two_devices(rule: Rule) -> Devices {
    two_devices_at(rule, Arc::new(ManualClock::at_seconds(NOW)))
}

fn two_devices_at(rule: Rule, clock: Arc<ManualClock>) -> Devices {
    let hash_paths = HashPaths { prefix: "p".into(), suffix: "s".into() };
    let (mut devices, mut disks) = (HashMap::new(), HashMap::new());
    for (name, seed) in [("a", 1), ("b", 2)] {
        let disk = SimIo::new(1 << 30, seed);
        let budget = IndexBudget::new(1 << 20, 1 << 20).in_memory().expect("memory");
        let identity = Identity {
            hash_fingerprint: Superblock::fingerprint(&hash_paths),
            policy: PolicyIndex(0),
            new_device_id: [seed as u8; 16],
        };
        let options = EngineOptions { segment_blocks: 640, rule, ..EngineOptions::default() };
        let io = Arc::new(disk.clone());
        let engine =
            Engine::open(io, Path::new("/index"), &budget, &identity, &options, clock.clone());
        devices.insert(name.to_owned(), engine.expect("opens"));
        disks.insert(name.to_owned(), disk);
    }
    let client = NodeClient::new(Duration::from_millis(200));
    let engines = PolicyEngines { part_power: PartPower::new(4), devices };
    let policies = [(PolicyIndex(0), engines)].into();
    let server = Server {
        policies,
        env: Env { clock, client, shutdown: Shutdown::default() },
        hash_paths,
        limits: types::Limits::default(),
        client_timeout: Duration::from_secs(60),
        update_timeout: Duration::from_secs(1),
        in_flight: Default::default(),
        body_memory: Semaphore::new(64),
        md5: lanes::Md5Lanes::start(1).expect("threads"),
    };
    Devices { server: Arc::new(server), disks }
}

/// A change of one object.
#[derive(Clone)]
struct Step {
    kind: RecordKind,
    raw: u64,
    typed: Option<u64>,
    fragment: Option<Fragment>,
    len: usize,
    etag: String,
}

fn step(kind: RecordKind, raw: u64) -> Step {
    Step {
        kind,
        raw: NOW * 100_000 + raw,
        typed: None,
        fragment: None,
        len: 0,
        etag: "e".to_owned(),
    }
}

fn content(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| ((i * 31 + i / 253) ^ seed.wrapping_mul(977)) as u8).collect()
}

impl Devices {
    async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> (u16, Vec<u8>) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = http::Request::builder().method(method).uri(path);
        let request: Request = request.body(body.into()).expect("a request");
        let response = answer(Arc::clone(&self.server), request).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 30).await.expect("a body");
        (parts.status.as_u16(), body.to_vec())
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Body>,
    ) -> T {
        let (status, body) = self.ask(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }

    fn engine(&self, device: &str) -> &Engine {
        &self.server.policies[&PolicyIndex(0)].devices[device]
    }

    fn hash(&self, number: u64) -> ObjectHash {
        self.server.hash_paths.object("a", "c", &number.to_string())
    }

    async fn change(&self, device: &str, number: u64, step: &Step) {
        let engine = self.engine(device);
        let mut body = engine.body();
        body.push(&content(number ^ step.raw, step.len)).await.expect("taken");
        let mut metadata = Metadata::default();
        metadata.set("name", format!("/a/c/{number}").as_bytes());
        metadata.set("content-type", b"text/plain");
        metadata.set("x-object-meta-step", step.raw.to_string().as_bytes());
        metadata.set("etag", step.etag.as_bytes());
        let change = Change {
            kind: step.kind,
            hash: self.hash(number),
            timestamp: Timestamp::from_raw(step.raw),
            content_type_timestamp: step.typed.map(Timestamp::from_raw),
            delete_at: if step.raw.is_multiple_of(5) { NOW + 1000 } else { 0 },
            fragment: step.fragment,
            metadata: &metadata,
            body: body.finish().await.expect("stored"),
            update: None,
        };
        engine.commit(change).await.expect("committed");
    }

    /// All records of a device, page by page.
    async fn records(&self, device: &str, bytes: u64) -> Vec<Vec<u8>> {
        let (mut pages, mut from) = (Vec::new(), String::new());
        loop {
            let path = format!("/{device}?from={from}&bytes={bytes}");
            let (status, page) = self.ask("RECORDS", &path, "").await;
            assert_eq!(status, 200);
            let mut reader = FrameReader::default();
            reader.push(&page);
            let mut end = None;
            while let Some(frame) = reader.next_frame().expect("good") {
                if let Frame::End(page_end) = frame {
                    end = Some(page_end);
                }
            }
            let end = end.expect("an end");
            assert_eq!(end.skipped, 0);
            pages.push(page);
            match end.marker {
                Some(marker) => from = marker,
                None => return pages,
            }
        }
    }

    async fn copy(&self, from: &str, to: &str, bytes: u64) -> (u64, u64) {
        let (mut taken, mut known) = (0, 0);
        for page in self.records(from, bytes).await {
            // As a socket would hand it over.
            let pieces: Vec<_> = page.chunks(10_007).map(bytes::Bytes::copy_from_slice).collect();
            let stream =
                futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
            let merged: Merged =
                self.json("MERGE", &format!("/{to}"), Body::from_stream(stream)).await;
            assert!(merged.refused.is_empty() && merged.abandoned == 0, "{merged:?}");
            taken += merged.taken;
            known += merged.known;
        }
        (taken, known)
    }

    async fn assert_same(&self) {
        let all = async |device| {
            let cells: Fingerprints = self.json("FINGERPRINTS", &format!("/{device}"), "").await;
            let path = format!("/{device}?objects");
            let objects: ObjectDigests = self.json("FINGERPRINTS", &path, "").await;
            let partitions = self.json("PARTITIONS", &format!("/{device}"), "").await;
            let mut suffixes = Vec::new();
            for partition in 0..16 {
                let path = format!("/{device}/{partition}");
                let (status, body) = self.ask("REPLICATE", &path, "").await;
                assert_eq!(status, 200);
                suffixes.push(SuffixHashes::decode(&body).expect("hashes"));
            }
            let partitions: Partitions = partitions;
            (cells, objects, partitions, suffixes)
        };
        assert_eq!(all("a").await, all("b").await);
    }
}

/// What may befall an object, by its number.
fn story(number: u64, rule: Rule) -> Vec<Step> {
    let len = [0, 1, 3000, 65_536, 65_537, 200_000, 3_000_000][(number % 7) as usize];
    let put = |raw| match rule {
        Rule::Replicated => Step { len, ..step(RecordKind::Data, raw) },
        Rule::Erasure => {
            let fragment = Fragment { index: (raw % 4) as u8, durable: raw % 3 != 0 };
            Step { len, fragment: Some(fragment), ..step(RecordKind::Data, raw) }
        }
    };
    let meta = |raw| step(RecordKind::Meta, raw);
    let typed = |raw| Step { typed: Some(NOW * 100_000 + raw), ..step(RecordKind::Meta, raw) };
    let gone = |raw| step(RecordKind::Tombstone, raw);
    let mut steps = match number % 6 {
        0 => vec![put(1)],
        1 => vec![put(1), typed(2), meta(4)],
        2 => vec![put(2), gone(3)],
        3 => vec![gone(1), put(5), put(7)],
        4 => vec![meta(9)],
        _ => vec![put(4), gone(2), typed(8)],
    };
    if rule == Rule::Erasure && number.is_multiple_of(2) {
        steps.push(step(RecordKind::Durable, 9));
        steps.push(put(9));
        steps.push(put(10));
    }
    steps
}

async fn both_ways(rule: Rule) {
    let devices = two_devices(rule);
    for number in 0..84 {
        for (at, step) in story(number, rule).iter().enumerate() {
            // Some of it is here, some there, some on both.
            let mixed = number.wrapping_mul(31) + at as u64 * 7;
            if !mixed.is_multiple_of(3) {
                devices.change("a", number, step).await;
            }
            if mixed % 3 != 1 {
                devices.change("b", number, step).await;
            }
        }
    }
    let (to_b, _) = devices.copy("a", "b", 100_000).await;
    let (to_a, _) = devices.copy("b", "a", 50_000_000).await;
    assert!(to_a > 10 && to_b > 10, "{to_a} {to_b}");
    devices.assert_same().await;
    // Nothing is taken twice.
    let (again, known) = devices.copy("a", "b", 1 << 30).await;
    assert!(again == 0 && known > 80, "{again} {known}");
    for number in 0..84 {
        let path = |device| format!("/{device}/0/a/c/{number}");
        let (left, right) =
            (devices.ask("GET", &path("a"), "").await, devices.ask("GET", &path("b"), "").await);
        assert_eq!(left.0, right.0, "{number}");
        assert!(left.1 == right.1, "{number}");
    }
}

#[tokio::test]
async fn records_make_two_devices_the_same() {
    both_ways(Rule::Replicated).await;
}

#[tokio::test]
async fn fragments_make_two_devices_the_same() {
    both_ways(Rule::Erasure).await;
}

#[tokio::test]
async fn a_damaged_stream_is_refused_from_there_on() {
    let devices = two_devices(Rule::Replicated);
    for number in 0..6u64 {
        let len = if number.is_multiple_of(2) { 100_000 } else { 10 };
        let step = Step { len, ..step(RecordKind::Data, number) };
        devices.change("a", number, &step).await;
    }
    let page = devices.records("a", 1 << 30).await.remove(0);
    let mut order: Vec<u64> = (0..6).collect();
    order.sort_by_key(|number| devices.hash(*number));
    let present = async || {
        let mut there = Vec::new();
        for number in &order {
            let (status, _) = devices.ask("GET", &format!("/b/0/a/c/{number}"), "").await;
            there.push(status == 200);
        }
        there
    };
    for (at, error) in [
        (page.len() - 3, RecordsError::Checksum),
        (page.len() / 2, RecordsError::Checksum),
        (0, RecordsError::Magic),
    ] {
        let mut bad = page.clone();
        bad[at] ^= 1;
        let (status, why) = devices.ask("MERGE", "/b", bad).await;
        let why = String::from_utf8_lossy(&why).into_owned();
        assert_eq!(status, 422, "{why}");
        assert!(why.contains(&error.to_string()), "{why}");
    }
    // What came before the damage at the very end.
    assert_eq!(present().await, vec![true; 6]);
    let (status, why) = devices.ask("MERGE", "/b", page[..page.len() - 40].to_vec()).await;
    assert_eq!(status, 422, "{}", String::from_utf8_lossy(&why));

    let other = two_devices(Rule::Replicated);
    let cut = page.len() * 2 / 3;
    let mut bad = page.clone();
    bad[cut] ^= 0x10;
    let (status, _) = other.ask("MERGE", "/b", bad).await;
    assert_eq!(status, 422);
    let digests: ObjectDigests = other.json("FINGERPRINTS", "/b?objects", "").await;
    let there: Vec<String> = order.iter().map(|number| devices.hash(*number).to_string()).collect();
    let taken: Vec<String> = digests.objects.into_iter().map(|object| object.hash).collect();
    assert!(taken.len() < 6 && there.starts_with(&taken), "{taken:?}");
}

#[tokio::test]
async fn what_does_not_belong_here_is_refused_and_named() {
    let (fragments, whole) = (two_devices(Rule::Erasure), two_devices(Rule::Replicated));
    let fragment = Fragment { index: 1, durable: true };
    let step = Step { len: 5, fragment: Some(fragment), ..step(RecordKind::Data, 1) };
    fragments.change("a", 1, &step).await;
    let page = fragments.records("a", 1 << 30).await.remove(0);
    let merged: Merged = whole.json("MERGE", "/a", page).await;
    assert_eq!((merged.taken, merged.refused.len()), (0, 1));
    assert_eq!(merged.refused[0].why, "there are no fragments here");
    assert_eq!(merged.refused[0].hash, fragments.hash(1).to_string());
}

#[tokio::test]
async fn partitions_and_fingerprints_come_in_pages() {
    let devices = two_devices(Rule::Replicated);
    let power = |power| PartPower::new(power).expect("a power");
    for number in 0..60 {
        devices.change("a", number, &Step { len: 10, ..step(RecordKind::Data, 1) }).await;
    }
    for bits in [0, 4, 16, 17, 24, 32] {
        let mut expected: HashMap<u32, (u64, u64)> = HashMap::new();
        for number in 0..60 {
            let partition = power(bits).partition(&devices.hash(number)).0;
            let (objects, bytes) = expected.entry(partition).or_default();
            *objects += 1;
            *bytes += 10;
        }
        let (mut found, mut marker) = (Vec::new(), 0);
        loop {
            let path = format!("/a?part_power={bits}&limit=7&marker={marker}");
            let page: Partitions = devices.json("PARTITIONS", &path, "").await;
            assert!(page.partitions.len() <= 7);
            found.extend(page.partitions);
            match page.marker {
                Some(next) => marker = next,
                None => break,
            }
        }
        assert!(found.is_sorted_by_key(|one| one.partition));
        let found: HashMap<u32, (u64, u64)> =
            found.into_iter().map(|one| (one.partition, (one.objects, one.bytes))).collect();
        assert_eq!(found, expected, "{bits}");
    }
    let whole: Fingerprints = devices.json("FINGERPRINTS", "/a", "").await;
    let (mut cells, mut objects, mut from) = (Vec::new(), Vec::new(), String::new());
    loop {
        let path = format!("/a?limit=9&from={from}");
        let page: Fingerprints = devices.json("FINGERPRINTS", &path, "").await;
        cells.extend(page.cells);
        match page.marker {
            Some(marker) => from = marker,
            None => break,
        }
    }
    assert_eq!(cells, whole.cells);
    for cell in &cells {
        let path = format!("/a?objects&from={0}&until={0}", cell.cell);
        let page: ObjectDigests = devices.json("FINGERPRINTS", &path, "").await;
        assert_eq!(page.objects.len() as u64, cell.objects);
        let digest = |text: &str| u128::from_str_radix(text, 16).expect("digits");
        let all = page.objects.iter().fold(0, |all, object| all ^ digest(&object.digest));
        assert_eq!(all, digest(&cell.fingerprint));
        objects.extend(page.objects.into_iter().map(|object| object.hash));
    }
    let mut expected: Vec<String> =
        (0..60).map(|number| devices.hash(number).to_string()).collect();
    expected.sort();
    assert_eq!(objects, expected);
}

#[tokio::test]
async fn replicate_answers_swifts_pickles() {
    let devices = two_devices(Rule::Replicated);
    let hash = devices.hash(1);
    devices.change("a", 1, &step(RecordKind::Data, 0)).await;
    let partition = PartPower::new(4).expect("a power").partition(&hash);
    let (status, body) = devices.ask("REPLICATE", &format!("/a/{partition}"), "").await;
    let found = SuffixHashes::decode(&body).expect("hashes").0;
    // MD5 of `1700000000.00000.data`.
    let digest = types::hex_decode("841dfe823721b5f14b4a246ea0776457").expect("hexadecimal");
    let whole = SuffixHash::Whole(digest.try_into().expect("16 bytes"));
    assert_eq!(status, 200);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(hash.suffix(), whole)]);
    let empty = b"\x80\x02}q\x00.".to_vec();
    assert_eq!(devices.ask("REPLICATE", "/b/0", "").await, (200, empty.clone()));
    assert_eq!(devices.ask("REPLICATE", "/a/16", "").await, (200, empty));
    assert_eq!(devices.ask("REPLICATE", "/a/0/abc-def", "").await, (200, b"\x80\x02N.".to_vec()));
    assert_eq!(devices.ask("REPLICATE", "/c/0", "").await.0, 507);
    assert_eq!(devices.ask("REPLICATE", "/a", "").await.0, 400);
}

#[tokio::test]
async fn malformed_questions_are_told_what_is_wrong() {
    let devices = two_devices(Rule::Replicated);
    let cases = [
        ("FINGERPRINTS", "/a?from=xyz", "", 400, "from is not"),
        ("FINGERPRINTS", "/a?from=b&until=a", "", 400, "from is behind until"),
        ("RECORDS", "/a?until=012345678901234567890123456789012", "", 400, "until is not"),
        ("RECORDS", "/a?bytes=many", "", 400, "bytes is no number"),
        ("RECORDS", "/a", "{\"hashes\":[\"x\"]}", 400, "\"x\" is no hash"),
        ("RECORDS", "/a", "x", 400, "the hashes are malformed"),
        ("PARTITIONS", "/a?part_power=33", "", 400, "part_power is over 32"),
        ("PARTITIONS", "/a?part_power=3&marker=8", "", 400, "there is no partition marker"),
        ("VERIFY", "/a?limit=-1", "", 400, "limit is no number"),
        ("QUARANTINED", "/a?marker=q", "", 400, "marker is not hexadecimal"),
        ("QUARANTINED", "/a?release", "", 400, "no hashes are named"),
        ("QUARANTINED", "/a?release&healed", "", 400, "found_before is missing"),
        ("QUARANTINED", "/a?seen=never", "", 400, "seen is no number"),
        ("VERIFY", "/a?ms=x", "", 400, "ms is no number"),
        ("MERGE", "/a", "", 422, "the stream ends early"),
        ("MERGE", "/c", "", 507, "there is no such device here"),
        ("VERIFY", "/c", "", 507, "there is no such device here"),
    ];
    for (method, path, body, status, why) in cases {
        let (found, text) = devices.ask(method, path, body).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(found == status && text.contains(why), "{method} {path}: {found} {text}");
    }
}

//! The backend API as a proxy meets it.

use crate::{Config, PolicyDevices};
use daemon::{Clock, Env, ManualClock, Running, Shutdown};
use http::{HeaderMap, Method, StatusCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt;
use types::{HashPaths, PolicyIndex};
use wire::pending_object::PendingObjectUpdates;
use wire::{Body, Endpoint, NodeClient, Request, Response, Service, SharedMd5};

const NOW: u64 = 1_700_000_000;

pub(super) struct Fixture {
    service: Service,
    clock: Arc<ManualClock>,
    client: NodeClient,
    running: Option<Running>,
    _dir: tempfile::TempDir,
}

fn of_d1(policy: u32) -> PolicyDevices {
    PolicyDevices { policy: PolicyIndex(policy), part_power: None, devices: vec!["d1".into()] }
}

pub(super) async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::at_seconds(NOW));
    let client = NodeClient::new(Duration::from_millis(200));
    let shared: daemon::SharedClock = clock.clone();
    let env = Env { clock: shared, client: client.clone(), shutdown: Shutdown::default() };
    let config = Config {
        devices_dir: dir.path().to_owned(),
        policies: [0, 1].map(of_d1).into(),
        hash_paths: HashPaths { prefix: "p".into(), suffix: "s".into() },
        segment_mib: 4,
        reserve_mib: 1,
        ..Config::default()
    };
    let running = crate::start(config, env).await.expect("starts");
    Fixture { service: running.service(), clock, client, running: Some(running), _dir: dir }
}

impl Fixture {
    pub(super) async fn call(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        self.at("/d1/7/a/c/o", method, headers, body).await
    }

    pub(super) async fn at(
        &self,
        path: &str,
        method: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = http::Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("a method"))
            .uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request: Request = request.body(body.into()).expect("a request");
        let response = self.service.clone().oneshot(request).await.expect("answers");
        Answer::read(response).await
    }

    pub(super) async fn put(&self, at: &str, body: &'static str) -> Answer {
        let length = body.len().to_string();
        let headers = [
            ("x-timestamp", at),
            ("content-type", "text/plain"),
            ("content-length", length.as_str()),
            ("x-object-meta-color", "blue"),
            ("content-disposition", "inline"),
        ];
        self.call("PUT", &headers, body).await
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 26).await.expect("a body").to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

#[tokio::test]
async fn the_md5_of_a_body_that_others_get_too_is_worked_out_once() {
    let fixture = fixture().await;
    let shared = SharedMd5::default();
    let put = async |stamp: &str, length: &str, shared: &SharedMd5| {
        let request = http::Request::put("/d1/7/a/c/o")
            .header("x-timestamp", stamp)
            .header("content-type", "text/plain")
            .header("content-length", length)
            .extension(shared.clone());
        let request: Request = request.body(Body::from("hello")).expect("a request");
        let response = fixture.service.clone().oneshot(request).await.expect("answers");
        Answer::read(response).await
    };
    // What did not come whole says nothing.
    assert_eq!(put("1700000000.00000", "6", &shared).await.status, 499);
    assert_eq!(shared.get(), None);
    let first = put("1700000000.00000", "5", &shared).await;
    assert_eq!(first.header("etag"), "\"5d41402abc4b2a76b9719d911017c592\"");
    let digest = shared.get().map(|md5| types::hex_encode(&md5));
    assert_eq!(digest.as_deref(), Some("5d41402abc4b2a76b9719d911017c592"));
    let known = SharedMd5::default();
    known.set([0x11; 16]);
    let second = put("1700000001.00000", "5", &known).await;
    assert_eq!(second.header("etag"), format!("\"{}\"", "11".repeat(16)));
}

#[tokio::test]
async fn reserved_objects_are_in_reserved_containers() {
    let fixture = fixture().await;
    let headers =
        [("x-timestamp", "1700000000.00000"), ("content-length", "0"), ("content-type", "t")];
    let put = |path: &'static str| fixture.at(path, "PUT", &headers, "");
    assert_eq!(put("/d1/7/a/%00versions%00c/%00o%001").await.status, 201);
    for mixed in ["/d1/7/a/c/%00o", "/d1/7/a/%00c/o", "/d1/7/a/c/o%00"] {
        assert_eq!(put(mixed).await.status, 400, "{mixed}");
        assert_eq!(fixture.at(mixed, "GET", &[], "").await.status, 400, "{mixed}");
    }
}

#[tokio::test]
async fn an_object_lives_by_swifts_timestamp_rules() {
    let server = fixture().await;
    let put = server.put("1700000000.00000", "hello").await;
    assert_eq!((put.status, put.header("etag")), (201, "\"5d41402abc4b2a76b9719d911017c592\""));
    let same = server.put("1700000000.00000", "other").await;
    assert_eq!((same.status, same.header("x-backend-timestamp")), (409, "1700000000.00000"));
    assert_eq!(server.put("1699999999.00000", "older").await.status, 409);

    let get = server.call("GET", &[], "").await;
    assert_eq!((get.status, get.body.as_slice()), (200, b"hello".as_slice()));
    let expected = [
        ("content-length", "5"),
        ("content-type", "text/plain"),
        ("x-timestamp", "1700000000.00000"),
        ("x-backend-timestamp", "1700000000.00000"),
        ("x-backend-durable-timestamp", "1700000000.00000"),
        ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("x-object-meta-color", "blue"),
        ("content-disposition", "inline"),
        ("accept-ranges", "bytes"),
    ];
    for (name, value) in expected {
        assert_eq!(get.header(name), value, "{name}");
    }
    let head = server.call("HEAD", &[], "").await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, "5"));

    let gone = server.call("DELETE", &[("x-timestamp", "1700000001.00000")], "").await;
    assert_eq!((gone.status, gone.header("x-backend-timestamp")), (204, "1700000001.00000"));
    let get = server.call("GET", &[], "").await;
    assert_eq!((get.status, get.header("x-backend-timestamp")), (404, "1700000001.00000"));
    let at = [("x-timestamp", "1700000001.00000")];
    assert_eq!(server.call("DELETE", &at, "").await.status, 404, "nothing newer to delete");
    assert_eq!(server.put("1700000001.00000", "back").await.status, 409);
    assert_eq!(server.put("1700000002.00000", "back").await.status, 201);
    let late = server.call("DELETE", &[("x-timestamp", "1700000001.50000")], "").await;
    assert_eq!((late.status, late.header("x-backend-timestamp")), (409, "1700000002.00000"));
}

#[tokio::test]
async fn deleting_what_never_was_leaves_a_tombstone() {
    let server = fixture().await;
    let gone = server.call("DELETE", &[("x-timestamp", "1700000005.00000")], "").await;
    assert_eq!(gone.status, 404);
    assert_eq!(server.put("1700000004.00000", "late").await.status, 409);
    let get = server.call("GET", &[], "").await;
    assert_eq!((get.status, get.header("x-backend-timestamp")), (404, "1700000005.00000"));
}

#[tokio::test]
async fn a_post_replaces_metadata_and_nothing_else() {
    let server = fixture().await;
    let at = |at| ("x-timestamp", at);
    assert_eq!(server.call("POST", &[at("1700000001.00000")], "").await.status, 404);
    assert_eq!(server.put("1700000000.00000", "hello").await.status, 201);
    let posted = [at("1700000002.00000"), ("x-object-meta-size", "big"), ("content-type", "a/b")];
    assert_eq!(server.call("POST", &posted, "").await.status, 202);
    let head = server.call("HEAD", &[], "").await;
    assert_eq!(head.header("x-object-meta-color"), "");
    assert_eq!(head.header("content-disposition"), "");
    assert_eq!(head.header("x-object-meta-size"), "big");
    assert_eq!(head.header("content-type"), "a/b");
    assert_eq!(head.header("etag"), "\"5d41402abc4b2a76b9719d911017c592\"");
    assert_eq!(head.header("x-timestamp"), "1700000002.00000");
    assert_eq!(head.header("x-backend-data-timestamp"), "1700000000.00000");
    assert_eq!(server.call("POST", &[at("1700000001.00000")], "").await.status, 409);
    // A later POST without a content type keeps the one that was posted before.
    assert_eq!(server.call("POST", &[at("1700000003.00000")], "").await.status, 202);
    let head = server.call("HEAD", &[], "").await;
    assert_eq!((head.header("content-type"), head.header("x-object-meta-size")), ("a/b", ""));
    assert_eq!(server.put("1700000004.00000", "new").await.status, 201);
    assert_eq!(server.call("HEAD", &[], "").await.header("content-type"), "text/plain");
}

#[tokio::test]
async fn ranges_and_conditions() {
    let server = fixture().await;
    assert_eq!(server.put("1700000000.00000", "0123456789").await.status, 201);
    let part = server.call("GET", &[("range", "bytes=2-4")], "").await;
    assert_eq!((part.status, part.body.as_slice()), (206, b"234".as_slice()));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let many = server.call("GET", &[("range", "bytes=0-1,-1")], "").await;
    assert_eq!(many.status, 206);
    assert_eq!(many.header("content-length"), many.body.len().to_string());
    let boundary = many.header("content-type").split_once("boundary=").expect("one").1;
    let expected = format!(
        "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n\
         --{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 9-9/10\r\n\r\n9\r\n--{boundary}--"
    );
    assert_eq!(String::from_utf8_lossy(&many.body), expected);
    let none = server.call("GET", &[("range", "bytes=10-")], "").await;
    assert_eq!((none.status, none.header("content-range")), (416, "bytes */10"));

    let etag = "781e5e245d69b566979b86e28d23f2c7";
    let status = async |name, value| server.call("GET", &[(name, value)], "").await.status;
    assert_eq!(status("if-match", etag).await, 200);
    assert_eq!(status("if-match", "x").await, 412);
    assert_eq!(status("if-none-match", etag).await, 304);
    assert_eq!(status("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT").await, 304);
    let missing = server.at("/d1/7/a/c/none", "GET", &[("if-match", "*")], "").await;
    assert_eq!(missing.status, 412);
    let headers = [
        ("x-timestamp", "1700000009.00000"),
        ("content-type", "x/y"),
        ("content-length", "1"),
        ("if-none-match", "*"),
    ];
    assert_eq!(server.call("PUT", &headers, "x").await.status, 412);
}

#[tokio::test]
async fn bad_requests_store_nothing() {
    let server = fixture().await;
    let at = ("x-timestamp", "1700000000.00000");
    let typed = ("content-type", "text/plain");
    let cases: [(&[(&str, &str)], u16); 7] = [
        (&[typed, ("content-length", "1")], 400),
        (&[("x-timestamp", "x"), typed, ("content-length", "1")], 400),
        (&[at, ("content-length", "1")], 400),
        (&[at, typed], 411),
        (&[at, typed, ("content-length", "99999999999")], 413),
        (&[at, typed, ("content-length", "1"), ("etag", "0000")], 422),
        (&[at, typed, ("content-length", "5")], 499),
    ];
    for (headers, status) in cases {
        assert_eq!(server.call("PUT", headers, "x").await.status, status, "{headers:?}");
    }
    let broken = futures_util::stream::iter([
        Ok(bytes::Bytes::from_static(b"half")),
        Err(std::io::Error::other("gone")),
    ]);
    let chunked = [at, typed, ("transfer-encoding", "chunked")];
    assert_eq!(server.call("PUT", &chunked, Body::from_stream(broken)).await.status, 499);
    assert_eq!(server.call("GET", &[], "").await.status, 404);
    assert_eq!(
        server.call("PATCH", &[], "").await.header("allow"),
        "DELETE, FINGERPRINTS, GET, HEAD, MERGE, PARTITIONS, POST, PUT, QUARANTINED, RECORDS, REPLICATE, UPDATES, VERIFY"
    );
    assert_eq!(server.at("/d9/7/a/c/o", "GET", &[], "").await.status, 507);
    assert_eq!(server.at("/d1/7/a/c", "GET", &[], "").await.status, 400);
    assert_eq!(server.at("/d1/7/a/c/%00", "GET", &[], "").await.status, 400);
    let policy = [("x-backend-storage-policy-index", "3")];
    assert_eq!(server.call("GET", &policy, "").await.status, 503);
}

#[tokio::test]
async fn an_object_expires_at_its_second() {
    let server = fixture().await;
    let expires = (NOW + 10).to_string();
    let headers = [
        ("x-timestamp", "1700000000.00000"),
        ("content-type", "text/plain"),
        ("content-length", "1"),
        ("x-delete-at", expires.as_str()),
    ];
    assert_eq!(server.call("PUT", &headers, "x").await.status, 201);
    assert_eq!(server.call("GET", &[], "").await.header("x-delete-at"), expires);
    server.clock.advance_micros(10_000_000);
    assert_eq!(server.call("GET", &[], "").await.status, 404);
    let open = [("x-backend-open-expired", "true")];
    assert_eq!(server.call("GET", &open, "").await.status, 200);
    let at = ("x-timestamp", "1700000020.00000");
    let wrong = [at, ("x-if-delete-at", "5")];
    assert_eq!(server.call("DELETE", &wrong, "").await.status, 412);
    let right = [at, ("x-if-delete-at", expires.as_str())];
    assert_eq!(server.call("DELETE", &right, "").await.status, 204);
    assert!(server.clock.micros() > NOW * 1_000_000);
}

#[tokio::test]
async fn a_listing_update_is_sent_at_once_or_kept() {
    let server = fixture().await;
    let seen: Arc<Mutex<Vec<(String, HeaderMap)>>> = Arc::default();
    let here = Endpoint::new("10.0.0.1", 6201);
    let log = Arc::clone(&seen);
    let container = wire::service_fn((), move |(), request: Request| {
        let line = format!("{} {}", request.method(), request.uri().path());
        log.lock().expect("unpoisoned").push((line, request.headers().clone()));
        async { daemon::empty(StatusCode::CREATED) }
    });
    server.client.register(here.clone(), container);
    let put = async |at: &str| {
        let headers = [
            ("x-timestamp", at),
            ("content-type", "text/plain"),
            ("content-length", "2"),
            ("x-container-host", "10.0.0.1:6201"),
            ("x-container-device", "d7"),
            ("x-container-partition", "99"),
        ];
        server.call("PUT", &headers, "hi").await.status
    };
    let pending = async || {
        let page = server.at("/d1?limit=10", "UPDATES", &[], "").await;
        serde_json::from_slice::<PendingObjectUpdates>(&page.body).expect("a page").updates
    };
    assert_eq!(put("1700000001.00000").await, 201);
    {
        let seen = seen.lock().expect("unpoisoned");
        let (line, headers) = seen.first().expect("one update");
        assert_eq!(line, "PUT /d7/99/a/c/o");
        assert_eq!(headers.get("x-size").expect("a size"), "2");
        assert_eq!(headers.get("x-etag").expect("one"), "49f68a5c8493ec2c0bf489821c21fc3b");
    }
    // It is forgotten a moment after the answer.
    let forgotten = async {
        while !pending().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), forgotten).await.expect("it is forgotten");

    server.client.unregister(&here);
    assert_eq!(put("1700000002.00000").await, 201, "the object is safe, so the client is told");
    let waiting = pending().await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].timestamp, "1700000002.00000");
    let path = format!("/d1?limit=10&marker={}", waiting[0].token);
    let behind = server.at(&path, "UPDATES", &[], "");
    let behind: PendingObjectUpdates = serde_json::from_slice(&behind.await.body).expect("a page");
    assert!(behind.updates.is_empty());
    let ack = format!("{{\"tokens\":[{}]}}", waiting[0].token);
    assert_eq!(server.at("/d1?ack", "UPDATES", &[], ack).await.status, 204);
    assert!(pending().await.is_empty());
}

#[tokio::test]
async fn large_bodies_come_back_whole_and_in_parts() {
    let mut server = fixture().await;
    let body: Vec<u8> =
        (0..9_000_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let length = body.len().to_string();
    let headers = [
        ("x-timestamp", "1700000001.00000"),
        ("content-type", "x/y"),
        ("content-length", length.as_str()),
    ];
    assert_eq!(server.call("PUT", &headers, body.clone()).await.status, 201);
    let get = server.call("GET", &[], "").await;
    assert!(get.status == 200 && get.body == body);
    let part = server.call("GET", &[("range", "bytes=4000000-8999999")], "").await;
    assert!(part.status == 206 && part.body == body[4_000_000..9_000_000]);
    let running = server.running.take().expect("runs");
    drop(server.service);
    running.stop().await;
}

#[tokio::test]
async fn policies_keep_their_objects_apart() {
    let node = fixture().await;
    let policy = |index: &'static str| ("x-backend-storage-policy-index", index);
    assert_eq!(node.put("1000000000.00001", "zero").await.status, 201);
    let missing = node.call("GET", &[policy("1")], Body::empty()).await;
    assert_eq!(missing.status, 404);
    let headers = [
        ("x-timestamp", "1000000000.00002"),
        ("content-type", "text/plain"),
        ("content-length", "3"),
        policy("1"),
    ];
    assert_eq!(node.call("PUT", &headers, "one").await.status, 201);
    assert_eq!(node.call("GET", &[policy("1")], Body::empty()).await.body, b"one");
    assert_eq!(node.call("GET", &[policy("0")], Body::empty()).await.body, b"zero");
    assert_eq!(node.call("GET", &[policy("2")], Body::empty()).await.status, 503);
}

#[tokio::test]
async fn what_has_expired_is_found_in_order_of_time() {
    let node = fixture().await;
    let expired = async |until: u64| {
        let path = format!("/d1?until={until}");
        let page = node.at(&path, "EXPIRED", &[], Body::empty()).await;
        assert_eq!(page.status, 200);
        let page: wire::device::Expired = serde_json::from_slice(&page.body).expect("a page");
        page.objects.into_iter().map(|it| (it.name, it.delete_at)).collect::<Vec<_>>()
    };
    for (name, delete_at) in [("o", NOW + 50), ("p", NOW + 20), ("q", NOW + 90)] {
        let delete_at = delete_at.to_string();
        let headers = [
            ("x-timestamp", "1000000000.00001"),
            ("content-type", "text/plain"),
            ("content-length", "1"),
            ("x-delete-at", delete_at.as_str()),
        ];
        let put = node.at(&format!("/d1/7/a/c/{name}"), "PUT", &headers, "x").await;
        assert_eq!(put.status, 201);
    }
    assert_eq!(expired(NOW + 10).await, []);
    let two = [("/a/c/p".to_owned(), NOW + 20), ("/a/c/o".to_owned(), NOW + 50)];
    assert_eq!(expired(NOW + 50).await, two);
    // A POST without the header takes the expiry away, and a deletion the object.
    let posted = node.call("POST", &[("x-timestamp", "1000000000.00002")], Body::empty()).await;
    assert_eq!(posted.status, 202);
    let deletion = [("x-timestamp", "1000000000.00002")];
    assert_eq!(node.at("/d1/7/a/c/p", "DELETE", &deletion, Body::empty()).await.status, 204);
    assert_eq!(expired(u64::MAX).await, [("/a/c/q".to_owned(), NOW + 90)]);
}

#[tokio::test]
async fn metadata_may_follow_an_object() {
    let server = fixture().await;
    let said = |stamp: &'static str| {
        [
            ("x-timestamp", stamp),
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
            ("x-object-meta-color", "blue"),
            ("x-backend-obj-metadata-footer", "yes"),
            ("x-backend-obj-multipart-mime-boundary", "b"),
        ]
    };
    let put = async |stamp: &'static str, body: String| {
        server.call("PUT", &said(stamp), body).await.status
    };
    let document = |data: &str, footer: &str, md5: &str| {
        format!("--b\r\nX-Document: body\r\n\r\n{data}\r\n--b\r\n{md5}\r\n{footer}\r\n--b--")
    };
    let md5_of = |text: &str| {
        use md5::Digest;
        format!("Content-MD5: {}\r\n", types::hex_encode(&md5::Md5::digest(text)))
    };
    let footer =
        "{\"X-Object-Meta-Color\": \"red\", \"Etag\": \"5d41402abc4b2a76b9719d911017c592\"}";
    let whole = document("hello", footer, &md5_of(footer));
    for (wanted, bad) in [
        (400, document("hello", footer, "")),
        (422, document("hello", footer, &md5_of("other"))),
        (422, document("hallo", footer, &md5_of(footer))),
        (400, document("hello", "[", &md5_of("["))),
        (400, "--b\r\n\r\nhello\r\n--b--".to_owned()),
        (400, "--b\r\n\r\nhello\r\n".to_owned()),
        (400, "hello".to_owned()),
    ] {
        assert_eq!(put("1700000000.00000", bad.clone()).await, wanted, "{bad}");
        assert_eq!(server.call("HEAD", &[], "").await.status, 404, "{bad}");
    }
    assert_eq!(put("1700000000.00000", whole).await, 201);
    let get = server.call("GET", &[], "").await;
    assert_eq!((get.body.as_slice(), get.header("x-object-meta-color")), (&b"hello"[..], "red"));
}

#[tokio::test]
async fn who_asks_may_say_when() {
    let server = fixture().await;
    let late = (NOW + 200).to_string();
    let expires = (NOW + 100).to_string();
    let headers = [
        ("x-timestamp", "1700000000.00000"),
        ("content-type", "text/plain"),
        ("content-length", "0"),
        ("x-delete-at", expires.as_str()),
    ];
    assert_eq!(server.call("PUT", &headers, "").await.status, 201);
    assert_eq!(server.call("GET", &[], "").await.status, 200);
    let then = [("x-timestamp", late.as_str())];
    assert_eq!(server.call("GET", &then, "").await.status, 404);
    let opened = [then[0], ("x-backend-replication", "true")];
    assert_eq!(server.call("GET", &opened, "").await.status, 200);
    assert_eq!(server.call("GET", &[("x-timestamp", "now")], "").await.status, 400);
    assert_eq!(server.call("POST", &then, "").await.status, 404);
    let past = [("x-timestamp", late.as_str()), headers[1], headers[2], headers[3]];
    assert_eq!(server.call("PUT", &past, "").await.status, 400);
    let bad = [("x-timestamp", "1700000001.00000"), ("content-type-timestamp", "x")];
    assert_eq!(server.call("POST", &bad, "").await.status, 400);
}

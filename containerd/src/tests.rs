//! The container server as its callers see it.

#[path = "shards_tests.rs"]
mod shards;

use crate::{Config, start};
use daemon::{Env, ManualClock, Running, Shutdown};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;
use types::{AccountName, ContainerName, HashPaths, Limits, ObjectName, PolicyIndex, Timestamp};
use wire::{
    Body, Endpoint, NodeClient, ObjectUpdate, PendingReports, ReportedAck, Request, Response,
};

struct Node {
    running: Running,
    client: NodeClient,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

async fn node(dir: &Path) -> Node {
    let client = NodeClient::new(Duration::from_secs(1));
    let env = Env {
        clock: Arc::new(ManualClock::at_seconds(1000)),
        client: client.clone(),
        shutdown: Shutdown::default(),
    };
    let config = Config {
        devices_dir: dir.to_owned(),
        devices: vec!["sda".to_owned()],
        hash_paths: HashPaths { prefix: "p".into(), suffix: "s".into() },
        limits: Limits { container_listing_limit: 100, ..Limits::default() },
        reserve_percent: 0,
        ..Config::default()
    };
    Node { running: start(config, env).await.expect("starts"), client }
}

impl Node {
    async fn send(&self, request: Request) -> Answer {
        let Ok(response) = self.running.service().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request(method, path, headers, Body::empty())).await
    }

    async fn object(&self, name: &str, at: u64, size: Option<u64>) -> Answer {
        let update = ObjectUpdate {
            account: AccountName::parse("a").expect("name"),
            container: ContainerName::parse("c").expect("name"),
            object: ObjectName::parse(name).expect("name"),
            deleted: size.is_none(),
            timestamp: Timestamp::from_seconds(at),
            content_type_timestamp: None,
            meta_timestamp: None,
            size: size.unwrap_or(0),
            content_type: "text/plain".into(),
            etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
            policy: PolicyIndex(0),
            delete_at: 0,
        };
        self.send(update.encode("sda", types::Partition(1), "tx")).await
    }

    async fn reports(&self) -> PendingReports {
        let answer = self.ask("UPDATES", "/sda?limit=10", &[]).await;
        assert_eq!(answer.status, StatusCode::OK);
        serde_json::from_str(&answer.body).expect("reports")
    }

    async fn acknowledge(&self, tokens: Vec<u64>) {
        let body = serde_json::to_vec(&ReportedAck { tokens }).expect("json");
        let answer = self.send(request("UPDATES", "/sda?ack", &[], Body::from(body))).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
    *request.uri_mut() = path.parse().expect("a URI");
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
    }
    request
}

const C: &str = "/sda/1/a/c";

#[tokio::test]
async fn a_container_lives() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let missing = node.ask("HEAD", C, &[]).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.header("x-backend-timestamp"), "0000000000.00000");
    let metadata = ("x-container-meta-color", "blue");
    let policy = ("x-backend-storage-policy-index", "1");
    let created = node.ask("PUT", C, &[("x-timestamp", "10"), metadata, policy]).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.header("x-backend-storage-policy-index"), "1");
    let other = ("x-backend-storage-policy-index", "2");
    let conflict = node.ask("PUT", C, &[("x-timestamp", "11"), other]).await;
    assert_eq!(conflict.status, StatusCode::CONFLICT);
    assert_eq!(conflict.header("x-backend-storage-policy-index"), "1");
    let again = node.ask("PUT", C, &[("x-timestamp", "12"), ("x-container-read", ".r:*")]).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    let changed =
        [("x-timestamp", "13"), ("x-container-meta-color", ""), ("x-container-meta-b", "ü")];
    assert_eq!(node.ask("POST", C, &changed).await.status, StatusCode::NO_CONTENT);
    let head = node.ask("HEAD", C, &[]).await;
    assert_eq!(head.status, StatusCode::NO_CONTENT);
    let expected = [
        ("x-timestamp", "0000001000.00000"),
        ("x-put-timestamp", "0000000013.00000"),
        ("x-backend-put-timestamp", "0000000013.00000"),
        ("x-backend-status-changed-at", "0000000010.00000"),
        ("x-container-object-count", "0"),
        ("x-container-read", ".r:*"),
        ("x-container-meta-color", ""),
        ("last-modified", "Thu, 01 Jan 1970 00:00:13 GMT"),
        ("content-type", "text/plain; charset=utf-8"),
        ("x-backend-sharding-state", "unsharded"),
    ];
    for (name, value) in expected {
        assert_eq!(head.header(name), value, "{name}");
    }
    assert_eq!(head.headers["x-container-meta-b"].as_bytes(), "ü".as_bytes());
    assert_eq!(node.ask("DELETE", C, &[("x-timestamp", "9")]).await.status, StatusCode::CONFLICT);
    assert_eq!(
        node.ask("DELETE", C, &[("x-timestamp", "20")]).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(node.ask("DELETE", C, &[("x-timestamp", "21")]).await.status, StatusCode::NOT_FOUND);
    let gone = node.ask("GET", C, &[]).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert_eq!(gone.header("x-backend-delete-timestamp"), "0000000021.00000");
    assert_eq!(node.ask("POST", C, &[("x-timestamp", "22")]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(node.ask("PUT", C, &[("x-timestamp", "15")]).await.status, StatusCode::CONFLICT);
    assert_eq!(node.ask("PUT", C, &[("x-timestamp", "25")]).await.status, StatusCode::CREATED);
    assert_eq!(node.ask("HEAD", C, &[]).await.headers.get("x-container-meta-b"), None);
}

#[tokio::test]
async fn rows_come_go_and_are_listed() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    assert_eq!(node.object("o", 5, Some(1)).await.status, StatusCode::NOT_FOUND);
    node.ask("PUT", C, &[("x-timestamp", "10")]).await;
    let empty = node.ask("GET", C, &[]).await;
    assert_eq!((empty.status, empty.body.as_str()), (StatusCode::NO_CONTENT, ""));
    for (name, at) in [("b", 11), ("a/1", 12), ("a/2", 13), ("ü", 14)] {
        assert_eq!(node.object(name, at, Some(at)).await.status, StatusCode::CREATED);
    }
    assert_eq!(node.object("b", 9, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(node.object("ü", 20, None).await.status, StatusCode::NO_CONTENT);
    let page = node.ask("GET", C, &[]).await;
    assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, "a/1\na/2\nb\n"));
    assert_eq!(page.header("x-container-object-count"), "3");
    assert_eq!(page.header("x-container-bytes-used"), "36");
    assert_eq!(page.header("x-backend-record-type"), "object");
    let folded = node.ask("GET", "/sda/1/a/c?delimiter=/&format=json&reverse=true", &[]).await;
    assert_eq!(
        folded.body,
        "[{\"name\":\"b\",\"hash\":\"d41d8cd98f00b204e9800998ecf8427e\",\"bytes\":11,\
         \"content_type\":\"text/plain\",\"last_modified\":\"1970-01-01T00:00:11.000000\"},\
         {\"subdir\":\"a/\"}]"
    );
    assert_eq!(folded.header("content-type"), "application/json; charset=utf-8");
    let other = node.ask("GET", C, &[("x-backend-storage-policy-index", "3")]).await;
    assert_eq!(other.status, StatusCode::NO_CONTENT);
    let shards = [("x-backend-record-type", "shard"), ("accept", "application/json")];
    assert_eq!(node.ask("GET", C, &shards).await.body, "[]");
    let over = node.ask("GET", "/sda/1/a/c?limit=101", &[]).await;
    assert_eq!(
        (over.status, over.body.as_str()),
        (StatusCode::PRECONDITION_FAILED, "Maximum limit is 100")
    );
    assert_eq!(node.ask("DELETE", C, &[("x-timestamp", "30")]).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn reserved_names_are_listed_to_those_who_ask() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let hidden = "/sda/1/a/%00versions%00c";
    let row = [("x-timestamp", "11"), ("x-size", "1"), ("x-etag", "e"), ("x-content-type", "t")];
    assert_eq!(node.ask("PUT", hidden, &[("x-timestamp", "10")]).await.status, StatusCode::CREATED);
    for name in ["%00o%001", "%00o%002", "%00p%001"] {
        let put = node.ask("PUT", &format!("{hidden}/{name}"), &row).await;
        assert_eq!(put.status, StatusCode::CREATED, "{name}");
    }
    assert_eq!(node.ask("GET", hidden, &[]).await.status, StatusCode::NO_CONTENT);
    let allow = [("x-backend-allow-reserved-names", "true")];
    let page = node.ask("GET", &format!("{hidden}?prefix=%00o%00&marker=%00o%001"), &allow).await;
    assert_eq!(page.body, "\0o\x002\n");
    let folded = node.ask("GET", &format!("{hidden}?delimiter=o&reverse=on"), &allow).await;
    assert_eq!(folded.body, "\0p\x001\n\0o\n");
    let mixed = node.ask("PUT", &format!("{hidden}/o"), &row).await;
    assert_eq!(mixed.status, StatusCode::BAD_REQUEST);
    assert_eq!(mixed.body, "Invalid user-namespace object in reserved-namespace container");
    assert_eq!(node.ask("PUT", "/sda/1/a/c/%00o", &row).await.status, StatusCode::BAD_REQUEST);
    let late = node.ask("PUT", "/sda/1/a/c%00", &row).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn hidden_accounts_create_containers_by_themselves() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let row = [("x-timestamp", "5_1"), ("x-size", "1"), ("x-content-type", "t"), ("x-etag", "e")];
    let put = node.ask("PUT", "/sda/1/.expiring_objects/c/o", &row).await;
    assert_eq!(put.status, StatusCode::CREATED);
    let head = node.ask("HEAD", "/sda/1/.expiring_objects/c", &[]).await;
    assert_eq!(head.header("x-backend-put-timestamp"), "0000000005.00000");
    assert_eq!(head.header("x-container-object-count"), "1");
    let shard = node.ask("PUT", "/sda/1/.shards_a/c/o", &row).await;
    assert_eq!(shard.status, StatusCode::NOT_FOUND);
    let mut told = row.to_vec();
    told.push(("x-backend-auto-create", "yes"));
    assert_eq!(node.ask("PUT", "/sda/1/a/new/o", &told).await.status, StatusCode::CREATED);
}

/// Method, path, headers; status, part of the sentence.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test]
async fn bad_requests_are_refused_with_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let cases: [Case<'_>; 12] = [
        ("PUT", C, &[], 400, "Missing X-Timestamp header"),
        ("PUT", C, &[("x-timestamp", "x")], 400, "Invalid X-Timestamp header"),
        ("PUT", "/sda/1/a", &[("x-timestamp", "1")], 400, "Invalid path"),
        ("PUT", "/sda/x/a/c", &[("x-timestamp", "1")], 400, "Invalid path"),
        ("PUT", "/sdb/1/a/c", &[("x-timestamp", "1")], 507, ""),
        ("PUT", "/sda/1/a/%ff", &[("x-timestamp", "1")], 412, "Invalid UTF8 or contains NULL"),
        ("POST", "/sda/1/a/c/o", &[("x-timestamp", "1")], 400, "Invalid path"),
        ("GET", "/sda/1/a/c?prefix=%ff", &[], 400, "\"prefix\" parameter not valid UTF-8"),
        ("GET", C, &[("accept", "image/png")], 406, ""),
        ("PUT", "/sda/1/a/c/o", &[("x-timestamp", "1")], 400, "header x-size is missing"),
        ("REPLICATE", "/sda/1/x", &[], 400, "Invalid body"),
        ("UPDATES", "/sda?limit=10001", &[], 412, "Maximum limit is 10000"),
    ];
    for (method, path, headers, status, sentence) in cases {
        let answer = node.ask(method, path, headers).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.body);
        assert!(answer.body.contains(sentence), "{method} {path}: {}", answer.body);
    }
    let policy = [("x-timestamp", "1"), ("x-backend-storage-policy-index", "x")];
    let answer = node.ask("PUT", C, &policy).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let refused = node.ask("PATCH", C, &[]).await;
    assert_eq!(refused.header("allow"), "DELETE, GET, HEAD, POST, PUT, UPDATE, UPDATES");
    assert_eq!(node.ask("GET", "/healthcheck", &[]).await.body, "OK");
    assert_eq!(node.ask("HEAD", C, &[]).await.status, StatusCode::NOT_FOUND, "no side effect");
}

#[tokio::test]
async fn reports_wait_until_acknowledged_and_no_change_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    assert_eq!(node.reports().await, PendingReports::default());
    node.ask("PUT", C, &[("x-timestamp", "10")]).await;
    let first = node.reports().await.reports.remove(0);
    assert_eq!((first.account.as_str(), first.container.as_str()), ("a", "c"));
    assert_eq!(first.put_timestamp, "0000000010.00000");
    node.object("o", 11, Some(7)).await;
    // The report on its way says nothing of the object, so taking it must not settle the container.
    node.acknowledge(vec![first.token]).await;
    let second = node.reports().await.reports.remove(0);
    assert!(second.token > first.token);
    assert_eq!((second.object_count, second.bytes_used), (1, 7));
    assert_eq!(node.reports().await.reports[0], second, "until it is acknowledged");
    node.acknowledge(vec![second.token, 999]).await;
    assert_eq!(node.reports().await, PendingReports::default());
    // What changes nothing that is reported needs no report.
    node.object("o", 5, Some(9)).await;
    assert_eq!(node.reports().await, PendingReports::default());
    node.object("o", 12, None).await;
    assert_eq!(node.reports().await.reports.len(), 1);
}

#[tokio::test]
async fn reports_that_stay_do_not_stand_in_the_way_of_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    for path in ["/sda/1/a/c1", "/sda/1/a/c2", "/sda/1/a/c3"] {
        node.ask("PUT", path, &[("x-timestamp", "10")]).await;
    }
    let page = |limit: u32, marker: u64| {
        let node = &node;
        async move {
            let path = format!("/sda?limit={limit}&marker={marker}");
            let body = node.ask("UPDATES", &path, &[]).await.body;
            let page: PendingReports = serde_json::from_str(&body).expect("reports");
            page.reports.into_iter().map(|r| (r.token, r.container)).collect::<Vec<_>>()
        }
    };
    let (mut seen, mut marker) = (Vec::new(), 0);
    while let [(token, container)] = page(1, marker).await.as_slice() {
        seen.push(container.clone());
        assert!(seen.len() <= 3, "{seen:?}");
        marker = *token;
    }
    assert_eq!(seen, ["c1", "c2", "c3"]);
    // Neither a page from the middle nor an empty one past the end hides what waits before it.
    assert_eq!(page(10, 0).await.len(), 3);
    let refused = node.ask("UPDATES", "/sda?marker=x", &[]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = node(dir.path()).await;
    first.ask("PUT", C, &[("x-timestamp", "10")]).await;
    first.object("o", 11, Some(7)).await;
    let token = first.reports().await.reports[0].token;
    let still_held = first.running.service();
    first.running.stop().await;
    let second = node(dir.path()).await;
    assert_eq!(second.ask("GET", C, &[]).await.body, "o\n");
    second.acknowledge(vec![token]).await;
    assert_eq!(second.reports().await, PendingReports::default());
    let Ok(stopped) = still_held.oneshot(request("HEAD", C, &[], Body::empty())).await;
    assert_eq!(stopped.status(), StatusCode::SERVICE_UNAVAILABLE);
}

fn account_server(node: &Node, port: u16, status: StatusCode) -> String {
    let endpoint = Endpoint::new("127.0.0.1", port);
    let service = wire::service_fn(status, |status, request: Request| async move {
        assert_eq!(request.uri().path(), "/sdx/3/a/c");
        assert_eq!(request.headers()["x-put-timestamp"], "0000000010.00000");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    });
    node.client.register(endpoint.clone(), service);
    endpoint.to_string()
}

#[tokio::test]
async fn account_servers_are_told_and_only_all_of_them_can_deny_the_account() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let missing = account_server(&node, 1, StatusCode::NOT_FOUND);
    let failing = account_server(&node, 2, StatusCode::INTERNAL_SERVER_ERROR);
    let put = |hosts: String, devices: &'static str| {
        let node = &node;
        async move {
            let headers = [
                ("x-timestamp", "10"),
                ("x-account-host", hosts.as_str()),
                ("x-account-device", devices),
                ("x-account-partition", "3"),
            ];
            node.ask("PUT", C, &headers).await.status
        }
    };
    assert_eq!(put(missing.clone(), "sdx").await, StatusCode::NOT_FOUND);
    assert_eq!(put(format!("{missing},{failing}"), "sdx,sdx").await, StatusCode::ACCEPTED);
    assert_eq!(put(format!("{missing},{failing}"), "sdx").await, StatusCode::BAD_REQUEST);
    let unreachable = format!("{missing},127.0.0.1:3");
    assert_eq!(put(unreachable, "sdx,sdx").await, StatusCode::ACCEPTED);
    assert_eq!(node.reports().await.reports.len(), 1, "what was not delivered stays queued");
}

#[tokio::test]
async fn a_database_in_use_is_explained() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = node(dir.path()).await;
    let env = Env {
        clock: Arc::new(ManualClock::at_seconds(1)),
        client: first.client.clone(),
        shutdown: Shutdown::default(),
    };
    let config = Config {
        devices_dir: dir.path().to_owned(),
        devices: vec!["sda".to_owned()],
        ..Config::default()
    };
    let Err(error) = start(config, env).await else { panic!("opened twice") };
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

#[tokio::test]
async fn many_rows_come_at_once_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let update = async |path: &str, rows: &str| {
        let headers = [("x-timestamp", "20")];
        node.send(request("UPDATE", path, &headers, Body::from(rows.to_owned()))).await.status
    };
    let row = |name: &str, at: &str, deleted: u8| {
        format!(
            "{{\"name\":\"{name}\",\"created_at\":\"{at}\",\"size\":5,\"etag\":\"x\",\
             \"content_type\":\"t\",\"deleted\":{deleted},\"storage_policy_index\":0}}"
        )
    };
    let two =
        format!("[{},{}]", row("o1", "0000000011.00000", 0), row("o2", "0000000011.00000", 0));
    assert_eq!(update(C, &two).await, StatusCode::NOT_FOUND);
    assert_eq!(node.ask("PUT", C, &[("x-timestamp", "10")]).await.status, StatusCode::CREATED);
    for bad in [
        "[".to_owned(),
        format!("[{},{}]", row("o1", "0000000011.00000", 0), row("o2", "then", 0)),
        format!("[{},{}]", row("o1", "0000000011.00000", 0), row("", "0000000011.00000", 0)),
    ] {
        assert_eq!(update(C, &bad).await, StatusCode::BAD_REQUEST, "{bad}");
        assert_eq!(node.ask("GET", C, &[]).await.body, "", "{bad}");
    }
    assert_eq!(update(C, &two).await, StatusCode::ACCEPTED);
    assert_eq!(node.ask("GET", C, &[]).await.body, "o1\no2\n");
    let gone =
        format!("[{},{}]", row("o1", "0000000012.00000", 1), row("o2", "0000000009.00000", 1));
    assert_eq!(update(C, &gone).await, StatusCode::ACCEPTED);
    assert_eq!(node.ask("GET", C, &[]).await.body, "o2\n", "what is older changes nothing");
    // Accounts of the cluster need no container to be made.
    assert_eq!(update("/sda/1/.a/c", &two).await, StatusCode::ACCEPTED);
    assert_eq!(node.ask("GET", "/sda/1/.a/c", &[]).await.body, "o1\no2\n");
}

#[tokio::test]
async fn policies_that_are_not_there_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let client = NodeClient::new(Duration::from_secs(1));
    let env = Env {
        clock: Arc::new(ManualClock::at_seconds(1000)),
        client: client.clone(),
        shutdown: Shutdown::default(),
    };
    let config = Config {
        devices_dir: dir.path().to_owned(),
        devices: vec!["sda".to_owned()],
        policies: Some([0, 1].map(PolicyIndex).into()),
        ..Config::default()
    };
    let node = Node { running: start(config, env).await.expect("starts"), client };
    let put = async |name: &str, policy: &str| {
        node.ask("PUT", C, &[("x-timestamp", "10"), (name, policy)]).await.status
    };
    for name in ["x-backend-storage-policy-index", "x-backend-storage-policy-default"] {
        assert_eq!(put(name, "2").await, StatusCode::BAD_REQUEST);
    }
    assert_eq!(put("x-backend-storage-policy-index", "1").await, StatusCode::CREATED);
    let asked = node.ask("GET", C, &[("x-backend-storage-policy-index", "2")]).await;
    assert_eq!(asked.status, StatusCode::BAD_REQUEST);
}

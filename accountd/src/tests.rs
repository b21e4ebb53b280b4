//! The account server as its callers see it.

use crate::{Config, start};
use daemon::{Env, ManualClock, Running, Shutdown};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;
use types::{AccountName, ContainerName, HashPaths, PolicyIndex, Timestamp};
use wire::{AccountUpdate, Body, NodeClient, Request};

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

struct Node(Running);

async fn node(dir: &Path) -> Node {
    let env = Env {
        clock: Arc::new(ManualClock::at_seconds(1000)),
        client: NodeClient::new(Duration::from_secs(1)),
        shutdown: Shutdown::default(),
    };
    let config = Config {
        devices_dir: dir.to_owned(),
        devices: vec!["sda".to_owned()],
        hash_paths: HashPaths { prefix: "p".into(), suffix: "s".into() },
        policies: [(PolicyIndex(1), "gold".to_owned())].into(),
        reserve_percent: 0,
        ..Config::default()
    };
    Node(start(config, env).await.expect("starts"))
}

impl Node {
    async fn send(&self, request: Request) -> Answer {
        let Ok(response) = self.0.service().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
        *request.uri_mut() = path.parse().expect("a URI");
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        self.send(request).await
    }

    async fn container(
        &self,
        account: &str,
        name: &str,
        put: u64,
        delete: u64,
        objects: u64,
    ) -> StatusCode {
        let update = container(account, name, put, delete, objects);
        self.send(update.encode("sda", types::Partition(1), "tx")).await.status
    }
}

fn container(account: &str, name: &str, put: u64, delete: u64, objects: u64) -> AccountUpdate {
    AccountUpdate {
        account: AccountName::parse(account).expect("name"),
        container: ContainerName::parse(name).expect("name"),
        put_timestamp: Timestamp::from_seconds(put),
        delete_timestamp: Timestamp::from_seconds(delete),
        object_count: objects,
        bytes_used: objects * 10,
        policy: PolicyIndex(1),
    }
}

const A: &str = "/sda/1/a";

#[tokio::test]
async fn an_account_lives_until_it_is_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let missing = node.ask("HEAD", A, &[]).await;
    assert_eq!((missing.status, missing.header("x-account-status")), (StatusCode::NOT_FOUND, ""));
    assert_eq!(node.container("a", "c", 1, 0, 0).await, StatusCode::NOT_FOUND);
    let put = [("x-timestamp", "10"), ("x-account-meta-color", "blue")];
    assert_eq!(node.ask("PUT", A, &put).await.status, StatusCode::CREATED);
    assert_eq!(node.ask("PUT", A, &[("x-timestamp", "11")]).await.status, StatusCode::ACCEPTED);
    let post = [("x-timestamp", "12"), ("x-account-sysmeta-x", "1")];
    assert_eq!(node.ask("POST", A, &post).await.status, StatusCode::NO_CONTENT);
    assert_eq!(node.container("a", "c", 13, 0, 2).await, StatusCode::CREATED);
    let head = node.ask("HEAD", A, &[]).await;
    assert_eq!(head.status, StatusCode::NO_CONTENT);
    let expected = [
        ("x-account-container-count", "1"),
        ("x-account-object-count", "2"),
        ("x-account-bytes-used", "20"),
        ("x-account-storage-policy-gold-object-count", "2"),
        ("x-timestamp", "0000001000.00000"),
        ("x-put-timestamp", "0000000011.00000"),
        ("x-account-meta-color", "blue"),
        ("x-account-sysmeta-x", "1"),
    ];
    for (name, value) in expected {
        assert_eq!(head.header(name), value, "{name}");
    }
    let deleted = node.ask("DELETE", A, &[("x-timestamp", "20")]).await;
    assert_eq!(
        (deleted.status, deleted.header("x-account-status")),
        (StatusCode::NO_CONTENT, "Deleted")
    );
    for method in ["HEAD", "GET", "POST", "DELETE"] {
        let gone = node.ask(method, A, &[("x-timestamp", "21")]).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND, "{method}");
        assert_eq!(gone.header("x-account-status"), "Deleted", "{method}");
    }
    let again = node.ask("PUT", A, &[("x-timestamp", "22")]).await;
    assert_eq!((again.status, again.body.as_str()), (StatusCode::FORBIDDEN, "Recently deleted"));
    assert_eq!(again.header("x-account-status"), "Deleted");
    assert_eq!(node.container("a", "c", 23, 0, 2).await, StatusCode::NOT_FOUND);
    let mut late = container("a", "c", 13, 24, 0).encode("sda", types::Partition(1), "tx");
    late.headers_mut().insert("x-account-override-deleted", HeaderValue::from_static("yes"));
    assert_eq!(node.send(late).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn reserved_containers_are_listed_to_those_who_ask() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    node.ask("PUT", A, &[("x-timestamp", "10")]).await;
    for name in ["c", "\0versions\0c"] {
        assert_eq!(node.container("a", name, 11, 0, 1).await, StatusCode::CREATED);
    }
    assert_eq!(node.ask("GET", A, &[]).await.body, "c\n");
    let all = node.ask("GET", A, &[("x-backend-allow-reserved-names", "yes")]).await;
    assert_eq!(all.body, "\0versions\0c\nc\n");
    assert_eq!(all.header("x-account-container-count"), "2");
}

#[tokio::test]
async fn containers_are_listed() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    node.ask("PUT", A, &[("x-timestamp", "10")]).await;
    let empty = node.ask("GET", A, &[]).await;
    assert_eq!(empty.status, StatusCode::NO_CONTENT);
    assert_eq!(empty.header("content-type"), "text/plain; charset=utf-8");
    for (name, at) in [("b", 11), ("a-1", 12), ("a-2", 13), ("gone", 14)] {
        node.container("a", name, at, 0, at).await;
    }
    assert_eq!(node.container("a", "gone", 14, 15, 0).await, StatusCode::NO_CONTENT);
    let page = node.ask("GET", A, &[]).await;
    assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, "a-1\na-2\nb\n"));
    assert_eq!(page.header("x-account-container-count"), "3");
    assert_eq!(page.header("x-account-object-count"), "36");
    let json = node.ask("GET", "/sda/1/a?format=json&delimiter=-&marker=&limit=2", &[]).await;
    assert_eq!(
        json.body,
        "[{\"subdir\":\"a-\"},{\"name\":\"b\",\"count\":11,\"bytes\":110,\
         \"last_modified\":\"1970-01-01T00:00:11.000000\",\"storage_policy\":\"gold\"}]"
    );
    let xml = node.ask("GET", "/sda/1/a?prefix=x", &[("accept", "text/xml")]).await;
    assert_eq!(xml.header("content-type"), "text/xml; charset=utf-8");
    assert!(xml.body.ends_with("<account name=\"a\">\n</account>"), "{}", xml.body);
}

#[tokio::test]
async fn hidden_accounts_come_by_themselves_and_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = node(dir.path()).await;
    assert_eq!(first.container(".misplaced_objects", "c", 5, 0, 1).await, StatusCode::CREATED);
    first.0.stop().await;
    let second = node(dir.path()).await;
    let page = second.ask("GET", "/sda/1/.misplaced_objects", &[]).await;
    assert_eq!(page.body, "c\n");
}

/// Method, path, headers; status, part of the sentence.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test]
async fn bad_requests_are_refused_with_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let cases: [Case<'_>; 7] = [
        ("PUT", A, &[], 400, "Missing X-Timestamp header"),
        ("PUT", "/sda/1", &[("x-timestamp", "1")], 400, "Invalid path"),
        ("DELETE", "/sda/1/a/c", &[("x-timestamp", "1")], 400, "Invalid path"),
        ("PUT", "/sdb/1/a", &[("x-timestamp", "1")], 507, ""),
        ("PUT", "/sda/1/.a/c", &[], 400, "header x-put-timestamp is missing"),
        ("GET", "/sda/1/a?limit=10001", &[], 412, "Maximum limit is 10000"),
        ("REPLICATE", "/sda/1/x", &[], 400, "Invalid body"),
    ];
    for (method, path, headers, status, sentence) in cases {
        let answer = node.ask(method, path, headers).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.body);
        assert!(answer.body.contains(sentence), "{method} {path}: {}", answer.body);
    }
    assert_eq!(node.ask("OPTIONS", A, &[]).await.header("allow"), "DELETE, GET, HEAD, POST, PUT");
    assert_eq!(node.ask("GET", "/healthcheck", &[]).await.body, "OK");
}

#[tokio::test]
async fn replication_is_refused_so_that_the_peer_keeps_what_it_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    node.ask("PUT", A, &[("x-timestamp", "10")]).await;
    let mut sync = Request::new(Body::from("[\"sync\", -1, \"h\"]"));
    *sync.method_mut() = Method::from_bytes(b"REPLICATE").expect("a method");
    *sync.uri_mut() = "/sda/1/d41d8cd98f00b204e9800998ecf8427e".parse().expect("a URI");
    let refused = node.send(sync).await;
    assert_eq!(refused.status, StatusCode::NOT_IMPLEMENTED, "{}", refused.body);
}

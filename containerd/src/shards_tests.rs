//! The table of shard ranges as who keeps shards sees it.

use super::{Answer, C, Node, node, request};
use http::StatusCode;
use serde_json::{Value, json};
use wire::Body;

const SHARD: (&str, &str) = ("x-backend-record-type", "shard");

fn range(lower: &str, upper: &str, state: u8) -> Value {
    json!({
        "name": format!(".shards_a/_{upper}"), "timestamp": "0000000011.00000", "lower": lower,
        "upper": upper, "object_count": 1, "bytes_used": 2, "meta_timestamp": "0000000012.00000",
        "deleted": 0, "state": state, "state_timestamp": "0000000013.00000", "epoch": null,
        "reported": 0, "tombstones": -1
    })
}

impl Node {
    async fn put_shards(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = [&[SHARD, ("x-timestamp", "0000000020.00000_2")], headers].concat();
        self.send(request("PUT", path, &headers, Body::from(body.to_owned()))).await
    }

    async fn shards(&self, query: &str, headers: &[(&str, &str)]) -> Answer {
        let path = format!("{C}?format=json&{query}");
        self.ask("GET", &path, &[&[SHARD], headers].concat()).await
    }

    /// The upper bounds of what a query finds.
    async fn uppers(&self, query: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let answer = self.shards(query, headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
        let found: Vec<Value> = serde_json::from_str(&answer.body).expect("JSON");
        found.iter().map(|range| range["upper"].as_str().expect("a text").to_owned()).collect()
    }
}

async fn with_shards(dir: &std::path::Path) -> Node {
    let node = node(dir).await;
    node.ask("PUT", C, &[("x-timestamp", "10")]).await;
    let body = json!([range("", "ham", 40), range("ham", "pear", 20), range("pear", "", 10)]);
    let put = node.put_shards(C, &[("x-container-meta-a", "b")], &body.to_string()).await;
    assert_eq!((put.status, put.body.as_str()), (StatusCode::ACCEPTED, ""));
    assert_eq!(put.header("x-backend-storage-policy-index"), "0");
    node
}

#[tokio::test]
async fn ranges_are_kept_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = with_shards(dir.path()).await;
    let all = node.shards("", &[]).await;
    let mut expected = [range("", "ham", 40), range("ham", "pear", 20), range("pear", "", 10)];
    expected.iter_mut().for_each(|range| {
        range["last_modified"] = "1970-01-01T00:00:11.000000".into();
    });
    assert_eq!(serde_json::from_str::<Value>(&all.body).expect("JSON"), json!(expected));
    for (name, value) in [
        ("x-backend-record-type", "shard"),
        ("x-backend-record-shard-format", "full"),
        ("x-backend-sharding-state", "unsharded"),
        ("x-container-object-count", "0"),
        ("x-container-meta-a", "b"),
        ("x-backend-put-timestamp", "0000000010.00000"),
    ] {
        assert_eq!(all.header(name), value, "{name}");
    }
    let namespaces =
        node.shards("states=listing", &[("x-backend-record-shard-format", "Namespace")]).await;
    assert_eq!(
        namespaces.body,
        "[{\"name\":\".shards_a/_ham\",\"lower\":\"\",\"upper\":\"ham\"},\
         {\"name\":\"a/c\",\"lower\":\"ham\",\"upper\":\"\"}]"
    );
    assert_eq!(namespaces.header("x-backend-record-shard-format"), "namespace");
    let text = node.ask("GET", C, &[SHARD]).await;
    assert_eq!(text.body, ".shards_a/_ham\n.shards_a/_pear\n.shards_a/_\n");
    // No container is sharded here.
    let auto = node.ask("GET", C, &[("x-backend-record-type", "auto")]).await;
    assert_eq!(auto.status, StatusCode::NO_CONTENT);
    assert_eq!(auto.header("x-backend-record-type"), "object");
    let overridden = [("x-backend-override-shard-name-filter", "sharded")];
    assert_eq!(node.uppers("includes=fig", &overridden).await, ["ham"]);
    assert_eq!(node.uppers("reverse=true&marker=kiwi", &[]).await, ["pear", "ham"]);
    node.running.stop().await;
    let again = super::node(dir.path()).await;
    assert_eq!(again.shards("", &[]).await.body, all.body, "after a restart");
}

#[tokio::test]
async fn what_is_malformed_is_named_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = with_shards(dir.path()).await;
    let before = node.shards("", &[("x-backend-include-deleted", "yes")]).await.body;
    let mut less = range("", "x", 40);
    less.as_object_mut().expect("an object").remove("epoch");
    for (body, word) in [
        ("".to_owned(), "EOF"),
        ("not json".to_owned(), "expected"),
        ("[\"no range\"]".to_owned(), "no range"),
        ("{\"name\":\"a/c\"}".to_owned(), "sequence"),
        (json!([less]).to_string(), "missing field `epoch`"),
        (json!([range("", "x", 40), range("z", "y", 40)]).to_string(), "in range 2, lower"),
        (json!([range("", "x", 40), range("", "y", 41)]).to_string(), "41 is no state"),
    ] {
        let refused = node.put_shards(C, &[("x-container-meta-a", "c")], &body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(refused.body.starts_with("Invalid body: "), "{}", refused.body);
        assert!(refused.body.contains(word), "{body}: {}", refused.body);
    }
    let many = json!(vec![range("", "x", 40); 10_001]).to_string();
    let refused = node.put_shards(C, &[], &many).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    let long = " ".repeat((16 << 20) + 1);
    assert_eq!(node.put_shards(C, &[], &long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let after = node.shards("", &[("x-backend-include-deleted", "yes")]).await;
    assert_eq!(after.body, before);
    assert_eq!(after.header("x-container-meta-a"), "b");
    for (query, headers, sentence) in [
        ("states=done", vec![], "Bad state: done"),
        (
            "states=auditing",
            vec![("x-backend-record-shard-format", "namespace")],
            "No auditing state for namespace GET",
        ),
        (
            "",
            vec![
                ("x-backend-record-shard-format", "namespace"),
                ("x-backend-include-deleted", "t"),
            ],
            "No include_deleted for namespace GET",
        ),
    ] {
        let refused = node.shards(query, &headers).await;
        assert_eq!((refused.status, refused.body.as_str()), (StatusCode::BAD_REQUEST, sentence));
        assert_eq!(refused.headers.get("x-backend-record-type"), None);
    }
    let xml = node.ask("GET", &format!("{C}?format=xml"), &[SHARD]).await;
    assert_eq!(xml.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_deleted_container_tells_its_ranges_to_those_who_insist() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = with_shards(dir.path()).await;
    let mut gone = range("", "ham", 40);
    gone["deleted"] = 1.into();
    gone["timestamp"] = "0000000021.00000".into();
    node.put_shards(C, &[], &json!([gone]).to_string()).await;
    assert_eq!(node.uppers("", &[]).await, ["pear", ""]);
    let deleted = ("x-backend-include-deleted", "true");
    assert_eq!(node.uppers("", &[deleted]).await, ["ham", "pear", ""]);
    let delete = node.ask("DELETE", C, &[("x-timestamp", "30")]).await;
    assert_eq!(delete.status, StatusCode::NO_CONTENT, "it holds nothing, and is not being cut");
    let missing = node.shards("states=done", &[]).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.headers.get("x-backend-record-type"), None);
    assert_eq!(missing.header("x-backend-delete-timestamp"), "0000000030.00000");
    let insists = ("x-backend-override-deleted", "true");
    assert_eq!(node.uppers("", &[insists]).await, ["pear", ""]);
    let put = node.put_shards(C, &[], &json!([range("a", "b", 40)]).to_string()).await;
    assert_eq!(put.status, StatusCode::ACCEPTED);
    assert_eq!(node.uppers("", &[insists]).await, ["b", "pear", ""]);
    assert_eq!(node.ask("GET", C, &[]).await.status, StatusCode::NOT_FOUND, "it stays deleted");
    let never = node.ask("GET", "/sda/1/a/never", &[SHARD, insists]).await;
    assert_eq!(never.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_container_that_is_being_cut_is_not_empty_while_its_shards_are_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = with_shards(dir.path()).await;
    let mut own = range("", "", 60);
    own["name"] = "a/c".into();
    node.put_shards(C, &[], &json!([own]).to_string()).await;
    let delete = node.ask("DELETE", C, &[("x-timestamp", "30")]).await;
    assert_eq!(delete.status, StatusCode::CONFLICT);
    let mut empty = range("", "ham", 40);
    empty["object_count"] = 0.into();
    empty["meta_timestamp"] = "0000000031.00000".into();
    node.put_shards(C, &[], &json!([empty]).to_string()).await;
    let delete = node.ask("DELETE", C, &[("x-timestamp", "32")]).await;
    assert_eq!(delete.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn shards_come_into_being_when_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let shard = "/sda/1/.shards_a/c";
    let body = json!([range("", "ham", 40)]).to_string();
    let (create, policy) =
        (("x-backend-auto-create", "t"), ("x-backend-storage-policy-index", "3"));
    assert_eq!(node.put_shards(shard, &[], &body).await.status, StatusCode::NOT_FOUND);
    assert_eq!(node.put_shards(shard, &[policy], &body).await.status, StatusCode::NOT_FOUND);
    let refused = node.put_shards(shard, &[create], &body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.body, "X-Backend-Storage-Policy-Index header is required");
    assert_eq!(
        node.ask("HEAD", shard, &[]).await.header("x-backend-timestamp"),
        "0000000000.00000"
    );
    let created = node.put_shards(shard, &[create, policy], &body).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.header("x-backend-storage-policy-index"), "3");
    assert_eq!(node.put_shards(shard, &[create], &body).await.status, StatusCode::ACCEPTED);
    let head = node.ask("HEAD", shard, &[]).await;
    assert_eq!(head.header("x-backend-put-timestamp"), "0000000020.00000");
}

#[tokio::test]
async fn rows_go_to_their_shard_if_their_sender_would() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = with_shards(dir.path()).await;
    let row = |object: &'static str, headers: &[(&'static str, &'static str)]| {
        let row =
            [("x-timestamp", "25"), ("x-size", "0"), ("x-content-type", "t"), ("x-etag", "e")];
        let headers = [&row, headers].concat();
        let node = &node;
        async move { node.ask("PUT", &format!("{C}/{object}"), &headers).await }
    };
    let willing = ("x-backend-accept-redirect", "true");
    let reads_quoted = ("x-backend-accept-quoted-location", "true");
    assert_eq!(row("fig", &[]).await.status, StatusCode::CREATED);
    let sent_on = row("fig", &[willing]).await;
    assert_eq!(sent_on.status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(sent_on.header("location"), "/.shards_a/_ham/fig");
    assert_eq!(sent_on.header("x-backend-location-is-quoted"), "true");
    assert_eq!(sent_on.header("x-backend-redirect-timestamp"), "0000000011.00000");
    assert_eq!(row("b%20c", &[willing]).await.status, StatusCode::CREATED, "it could not read it");
    let quoted = row("e%20f", &[willing, reads_quoted]).await;
    assert_eq!(quoted.header("location"), "/.shards_a/_ham/e%20f");
    assert_eq!(row("zoo", &[willing]).await.status, StatusCode::CREATED, "its shard is only found");
    assert_eq!(node.ask("GET", C, &[]).await.body, "b c\nfig\nzoo\n");
    let delete = node.ask("DELETE", &format!("{C}/fig"), &[("x-timestamp", "26"), willing]).await;
    assert_eq!(delete.status, StatusCode::MOVED_PERMANENTLY);
}

#[tokio::test]
async fn replication_is_refused_so_that_the_peer_keeps_what_it_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let call = async |path: &str, body: &str| {
        let answer = node.send(request("REPLICATE", path, &[], Body::from(body.to_owned()))).await;
        (answer.status, answer.body)
    };
    let path = "/sda/1/d41d8cd98f00b204e9800998ecf8427e";
    let (status, sentence) = call(path, "[\"sync\", -1, \"h\"]").await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED, "{sentence}");
    for (body, word) in [
        ("[\"sync\" : sync]", "expected"),
        ("", "EOF"),
        ("{}", "a list"),
        ("[]", "a list"),
        ("[1]", "a list"),
        ("[\"drop\"]", "no operation drop"),
    ] {
        let (status, sentence) = call(path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(sentence.contains(word), "{body}: {sentence}");
    }
    assert_eq!(call("/sdb/1/d41d", "[\"sync\"]").await.0, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(call("/sda/1/d41d/c", "[\"sync\"]").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(call("/sda/1", "[\"sync\"]").await.0, StatusCode::BAD_REQUEST);
}

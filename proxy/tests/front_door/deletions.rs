//! Deletions of large objects that are left to the cluster.

use crate::cluster::{Cluster, config};
use crate::node::Fault;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use wire::deletions::Deletion;

const M: &str = "/v1/AUTH_test/c/m";
const LATER: &str = "/v1/AUTH_test/c/m?multipart-manifest=delete&async=on";

/// With two segments in each of two containers.
async fn cluster(config: proxy::Config) -> Cluster {
    let cluster = Cluster::with(3, config).await;
    for container in ["c", "s", "t"] {
        let path = format!("/v1/AUTH_test/{container}");
        assert_eq!(cluster.owner("PUT", &path, &[]).await.status, 201);
    }
    for segment in ["s/1", "s/2", "t/3"] {
        let path = format!("/v1/AUTH_test/{segment}");
        assert_eq!(cluster.put(&path, "x", &[]).await.status, 201);
    }
    cluster
}

async fn put(cluster: &Cluster, manifest: Value) {
    let path = format!("{M}?multipart-manifest=put");
    assert_eq!(cluster.put(&path, manifest.to_string(), &[]).await.status, 201);
}

/// The rows of the queue, one list for each node that has one.
fn queued(cluster: &Cluster) -> Vec<Bytes> {
    let rows = cluster.nodes.iter().flat_map(|node| {
        let stored = node.stored.lock().expect("lock");
        let queues = stored.iter().filter(|(key, _)| key.starts_with(".expiring_objects/"));
        queues.filter_map(|(_, stored)| stored.body.clone()).collect::<Vec<_>>()
    });
    rows.collect()
}

async fn status(cluster: &Cluster, path: &str) -> u16 {
    cluster.owner("GET", path, &[]).await.status
}

#[tokio::test]
async fn segments_are_queued_and_the_manifest_is_deleted() {
    let cluster = cluster(config()).await;
    put(&cluster, json!([{"path": "/s/1"}, {"path": "s/2"}, {"data": "YQ=="}])).await;
    let deleted = cluster.owner("DELETE", LATER, &[]).await;
    assert_eq!((deleted.status, deleted.text().as_str()), (204, ""));
    assert_eq!(status(&cluster, M).await, 404);
    assert_eq!(status(&cluster, "/v1/AUTH_test/s/1").await, 200);
    let queued = queued(&cluster);
    assert_eq!(queued.len(), 3);
    let rows: Vec<Value> = serde_json::from_slice(&queued[0]).expect("JSON");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    let deletions: Vec<Deletion> = names.iter().filter_map(|name| Deletion::parse(name)).collect();
    let objects: Vec<&str> = deletions.iter().map(|deletion| deletion.object.as_str()).collect();
    assert_eq!(objects, ["1", "2"]);
    assert!(deletions.iter().all(|deletion| deletion.container.as_str() == "s"));
    assert_eq!(rows[0]["content_type"], "application/async-deleted");
    assert_eq!(rows[0]["created_at"].as_str(), Some(deletions[0].at.internal().as_str()));
}

#[tokio::test]
async fn what_cannot_be_left_to_the_cluster_is_refused_and_has_no_effect() {
    let cluster = cluster(config()).await;
    let delete = |path: &'static str| cluster.owner("DELETE", path, &[]);
    assert_eq!(delete(LATER).await.status, 404);
    assert_eq!(cluster.put(M, "x", &[]).await.status, 201);
    let refused = delete(LATER).await;
    assert_eq!((refused.status, refused.text().contains("Not an SLO manifest")), (400, true));
    put(&cluster, json!([{"path": "/s/1"}, {"path": "/t/3"}])).await;
    let refused = delete(LATER).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("Found segments in \"s\", \"t\""), "{}", refused.text());
    let nested = json!([{"path": "/c/m"}]).to_string();
    let path = "/v1/AUTH_test/c/n?multipart-manifest=put";
    assert_eq!(cluster.put(path, nested.clone(), &[]).await.status, 201);
    let refused = delete("/v1/AUTH_test/c/n?multipart-manifest=delete&async=on").await;
    assert_eq!((refused.status, refused.text().contains("No segments may be")), (400, true));
    assert_eq!(status(&cluster, M).await, 200);
    assert!(queued(&cluster).is_empty());
}

#[tokio::test]
async fn only_who_may_write_in_both_containers_may_delete_so() {
    let cluster = cluster(config()).await;
    put(&cluster, json!([{"path": "/s/1"}])).await;
    let member = [("x-auth-token", "member")];
    let allow = [("x-container-write", "test:member"), ("x-container-read", "test:member")];
    assert_eq!(cluster.ask("DELETE", LATER, &member).await.status, 403);
    assert_eq!(cluster.owner("POST", "/v1/AUTH_test/c", &allow).await.status, 204);
    assert_eq!(cluster.ask("DELETE", LATER, &member).await.status, 403);
    assert_eq!(cluster.ask("DELETE", LATER, &[]).await.status, 401);
    assert!(queued(&cluster).is_empty());
    assert_eq!(cluster.owner("POST", "/v1/AUTH_test/s", &allow).await.status, 204);
    assert_eq!(cluster.ask("DELETE", LATER, &member).await.status, 204);
    assert_eq!(queued(&cluster).len(), 3);
}

#[tokio::test]
async fn without_a_queue_the_manifest_stays() {
    let cluster = cluster(config()).await;
    put(&cluster, json!([{"path": "/s/1"}])).await;
    let update = Method::from_bytes(b"UPDATE").expect("a method");
    for node in &cluster.nodes {
        node.fail(&update, 2, Fault::Status(507, vec![]));
    }
    assert_eq!(cluster.owner("DELETE", LATER, &[]).await.status, 503);
    assert_eq!(status(&cluster, M).await, 200);
}

#[tokio::test]
async fn it_can_be_forbidden() {
    let mut config = config();
    config.slo.allow_async_delete = false;
    let cluster = cluster(config).await;
    put(&cluster, json!([{"path": "/s/1"}])).await;
    let deleted = cluster.owner("DELETE", LATER, &[]).await;
    assert_eq!(deleted.status, 200);
    assert!(deleted.text().contains("Number Deleted: 2"), "{}", deleted.text());
    assert_eq!(status(&cluster, "/v1/AUTH_test/s/1").await, 404);
    assert!(queued(&cluster).is_empty());
}

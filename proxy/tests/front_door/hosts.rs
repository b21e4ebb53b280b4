//! What is asked of the front door itself, or by the name of a host.

use crate::cluster::{Cluster, config};

/// With all middlewares, also those that are not there unless they are asked for.
async fn everything() -> Cluster {
    let mut config = config();
    config.domain_remap.storage_domain = vec!["example.com".to_owned()];
    let more = ["crossdomain", "list_endpoints"].map(str::to_owned);
    let after = config.pipeline.iter().position(|name| name == "domain_remap").expect("there");
    config.pipeline.splice(after + 1..after + 1, more);
    let cluster = Cluster::with(3, config).await;
    let index = [("x-container-meta-web-index", "i"), ("x-container-read", ".r:*,.rlistings")];
    assert_eq!(cluster.owner("PUT", "/v1/AUTH_test/c", &index).await.status, 201);
    assert_eq!(cluster.put("/v1/AUTH_test/c/d%20e/i", "index", &[]).await.status, 201);
    cluster
}

#[tokio::test]
async fn hosts_are_accounts_and_containers() {
    let cluster = everything().await;
    let by = |host: &'static str, path: &'static str| cluster.ask_host("GET", host, path);
    assert_eq!(by("c.auth-test.example.com", "/d%20e/i").await.text(), "index");
    assert_eq!(by("AUTH-test.example.com:80", "/c/d%20e/i").await.text(), "index");
    let moved = by("c.auth-test.example.com", "/d%20e").await;
    let location = Some("http://c.auth-test.example.com/d%20e/");
    assert_eq!((moved.status, moved.header("location")), (301, location));
    assert_eq!(by("x.c.auth-test.example.com", "/o").await.status, 400);
    assert_eq!(by("c.auth-test.example.com", "/healthcheck").await.status, 200);
}

#[tokio::test]
async fn programs_find_their_data() {
    let cluster = everything().await;
    let list = cluster.ask("GET", "/endpoints/AUTH_test/c/d%20e/i", &[]).await;
    assert_eq!((list.status, list.header("content-type")), (200, Some("application/json")));
    let urls: Vec<String> = serde_json::from_slice(&list.body).expect("a list");
    assert_eq!(urls.len(), 3);
    assert!(urls[0].starts_with("http://127.0.0.1:"), "{urls:?}");
    assert!(urls[0].ends_with("/AUTH_test/c/d%20e/i"), "{urls:?}");
    let v2 = cluster.ask("GET", "/endpoints/v2/AUTH_test/c/o", &[]).await.text();
    assert!(v2.contains("\"headers\":{\"X-Backend-Storage-Policy-Index\":\"0\"}"), "{v2}");
    assert_eq!(cluster.ask("GET", "/endpoints/", &[]).await.status, 400);
    let put = cluster.ask("PUT", "/endpoints/a", &[]).await;
    assert_eq!((put.status, put.header("allow")), (405, Some("GET")));
}

#[tokio::test]
async fn what_strangers_could_misuse_is_not_there_unless_asked_for() {
    let cluster = Cluster::furnished(1).await;
    for path in ["/endpoints/AUTH_test", "/crossdomain.xml"] {
        let status = cluster.ask("GET", path, &[]).await.status;
        assert!(status >= 400, "{path} gives {status}");
    }
    assert_eq!(everything().await.ask("GET", "/crossdomain.xml", &[]).await.status, 200);
}

//! Accounts and containers.

use crate::cluster::{Cluster, config};
use crate::node::{Fault, text};
use http::Method;
use proxy::Config;

const A: &str = "/v1/AUTH_test";
const C: &str = "/v1/AUTH_test/c";
const O: &str = "/v1/AUTH_test/c/o";

#[tokio::test]
async fn an_account_that_nobody_wrote_to_looks_empty() {
    let cluster = Cluster::start(3).await;
    let plain = cluster.owner("GET", A, &[]).await;
    assert_eq!((plain.status, plain.header("x-account-container-count")), (204, Some("0")));
    assert_eq!(plain.header("vary"), Some("Accept"));
    let json = cluster.owner("GET", "/v1/AUTH_test?format=json", &[]).await;
    assert_eq!((json.status, json.text().as_str()), (200, "[]"));
    assert_eq!(json.header("content-type"), Some("application/json; charset=utf-8"));
    let xml = cluster.owner("GET", A, &[("accept", "text/xml")]).await;
    assert!(xml.text().contains("<account name=\"AUTH_test\">"), "{}", xml.text());
    assert_eq!(xml.header("content-type"), Some("text/xml; charset=utf-8"));
    assert_eq!(cluster.owner("HEAD", A, &[]).await.status, 204);
    assert!(cluster.nodes.iter().all(|node| node.count(&Method::PUT, 1) == 0));
}

#[tokio::test]
async fn the_first_write_makes_the_account() {
    let cluster = Cluster::start(3).await;
    assert_eq!(cluster.owner("POST", A, &[("x-account-meta-color", "blue")]).await.status, 204);
    let head = cluster.owner("HEAD", A, &[]).await;
    assert_eq!((head.status, head.header("x-account-meta-color")), (204, Some("blue")));
    let cluster = Cluster::start(3).await;
    assert_eq!(cluster.owner("PUT", C, &[]).await.status, 201);
    assert_eq!(cluster.owner("HEAD", A, &[]).await.status, 204);
    assert_eq!(cluster.owner("PUT", C, &[]).await.status, 202);
}

#[tokio::test]
async fn without_autocreation_accounts_must_be_made() {
    let settings = Config { account_autocreate: false, ..config() };
    let cluster = Cluster::with(3, settings).await;
    assert_eq!(cluster.owner("GET", A, &[]).await.status, 404);
    assert_eq!(cluster.owner("PUT", C, &[]).await.status, 404);
    assert_eq!(cluster.owner("POST", A, &[]).await.status, 404);
}

#[tokio::test]
async fn reseller_admins_manage_accounts_where_that_is_allowed() {
    let reseller = [("x-auth-token", "reseller")];
    let cluster = Cluster::start(3).await;
    let refused = cluster.ask("PUT", A, &reseller).await;
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD, OPTIONS, POST")));
    let settings = Config { allow_account_management: true, ..config() };
    let cluster = Cluster::with(3, settings).await;
    assert_eq!(cluster.owner("PUT", A, &[]).await.status, 403);
    assert_eq!(cluster.ask("PUT", A, &reseller).await.status, 201);
    assert_eq!(cluster.owner("DELETE", A, &[]).await.status, 403);
    assert_eq!(cluster.ask("DELETE", "/v1/AUTH_test?x=1", &reseller).await.status, 400);
    assert_eq!(cluster.ask("DELETE", A, &reseller).await.status, 204);
}

#[tokio::test]
async fn a_deleted_account_is_gone() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        let deleted = || Fault::Status(404, vec![("x-account-status", "Deleted".into())]);
        node.fail(&Method::GET, 1, deleted());
        node.fail(&Method::HEAD, 1, deleted());
        node.fail(&Method::PUT, 1, Fault::Status(403, vec![]));
    }
    assert_eq!(cluster.owner("GET", A, &[]).await.status, 410);
    assert_eq!(cluster.owner("PUT", C, &[]).await.status, 503);
    assert_eq!(cluster.owner("GET", C, &[]).await.status, 404);
}

#[tokio::test]
async fn a_container_lives_its_life() {
    let cluster = Cluster::furnished(3).await;
    let get = cluster.owner("GET", C, &[]).await;
    assert_eq!((get.status, get.text().as_str()), (200, "row\n"));
    assert_eq!(get.header("x-storage-policy"), Some("Policy-0"));
    assert_eq!(get.header("x-backend-storage-policy-index"), None);
    assert_eq!(get.header("content-type"), Some("text/plain; charset=utf-8"));
    let head = cluster.owner("HEAD", C, &[]).await;
    assert_eq!((head.status, head.header("content-length")), (204, Some("0")));
    assert_eq!(cluster.owner("POST", C, &[("x-container-meta-color", "blue")]).await.status, 204);
    let head = cluster.owner("HEAD", C, &[]).await;
    assert_eq!(head.header("x-container-meta-color"), Some("blue"));
    assert_eq!(cluster.owner("DELETE", C, &[]).await.status, 204);
    assert_eq!(cluster.owner("GET", C, &[]).await.status, 404);
    assert_eq!(cluster.owner("POST", C, &[]).await.status, 404);
    assert_eq!(cluster.owner("DELETE", C, &[]).await.status, 404);
}

#[tokio::test]
async fn a_container_that_is_not_empty_stays() {
    let cluster = Cluster::furnished(3).await;
    for node in &cluster.nodes {
        node.fail(&Method::DELETE, 2, Fault::Status(409, vec![]));
    }
    let conflict = cluster.owner("DELETE", C, &[]).await;
    assert_eq!(conflict.status, 409);
    assert!(conflict.text().starts_with("<html><h1>Conflict</h1>"), "{}", conflict.text());
}

#[tokio::test]
async fn container_servers_are_told_whom_to_tell() {
    let cluster = Cluster::start(3).await;
    let headers = [
        ("x-remove-container-meta-old", "x"),
        ("x-remove-container-read", "x"),
        ("x-container-meta-new", "1"),
    ];
    assert_eq!(cluster.owner("PUT", C, &headers).await.status, 201);
    let seen = cluster.nodes_of("AUTH_test/c")[0].seen.lock().expect("lock").last().cloned();
    let headers = seen.expect("a request").headers;
    let value = |name: &str| text(&headers, name);
    assert_eq!(value("x-container-meta-old").as_deref(), Some(""));
    assert_eq!(value("x-container-read").as_deref(), Some(""));
    assert_eq!(value("x-container-meta-new").as_deref(), Some("1"));
    assert_eq!(value("x-backend-storage-policy-default").as_deref(), Some("0"));
    assert!(value("x-account-host").is_some() && value("x-account-partition").is_some());
    assert_eq!(value("x-auth-token"), None);
}

#[tokio::test]
async fn policies_have_names() {
    let cluster = Cluster::start(3).await;
    let gold = cluster.owner("PUT", C, &[("x-storage-policy", "gold")]).await;
    assert_eq!((gold.status, gold.text().as_str()), (400, "Invalid X-Storage-Policy 'gold'"));
    assert_eq!(cluster.owner("PUT", C, &[("x-storage-policy", "Policy-0")]).await.status, 201);
    let seen = cluster.nodes_of("AUTH_test/c")[0].seen.lock().expect("lock").last().cloned();
    let headers = seen.expect("a request").headers;
    assert_eq!(text(&headers, "x-backend-storage-policy-index").as_deref(), Some("0"));
}

#[tokio::test]
async fn listings_are_asked_for_in_the_right_form() {
    let cluster = Cluster::furnished(3).await;
    let path = "/v1/AUTH_test/c?prefix=a%2Fb&limit=5&temp=1";
    assert_eq!(cluster.owner("GET", path, &[("accept", "application/json")]).await.status, 200);
    let seen = cluster.nodes_of("AUTH_test/c")[0].seen.lock().expect("lock").last().cloned();
    assert_eq!(seen.expect("a request").query, "format=json&limit=5&prefix=a%2Fb");
    let cases = [
        ("?limit=10001", "", 412, "Maximum limit is 10000"),
        ("?marker=%ff", "", 400, "\"marker\" parameter not valid UTF-8"),
        ("", "image/png", 406, ""),
        ("", "nonsense", 400, "Invalid Accept header"),
    ];
    for level in [A, C] {
        for (query, accept, status, sentence) in cases {
            let headers = [("accept", if accept.is_empty() { "*/*" } else { accept })];
            let answer = cluster.owner("GET", &format!("{level}{query}"), &headers).await;
            assert_eq!(answer.status, status, "{level}{query} {accept}");
            assert!(answer.text().contains(sentence), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn an_empty_plain_listing_has_no_content() {
    let cluster = Cluster::furnished(1).await;
    let empty = Fault::Status(200, vec![("content-length", "0".into())]);
    cluster.nodes_of("AUTH_test/c")[0].fail(&Method::GET, 2, empty);
    assert_eq!(cluster.owner("GET", C, &[]).await.status, 204);
    assert_eq!(cluster.owner("GET", "/v1/AUTH_test/c?format=json", &[]).await.status, 200);
}

#[tokio::test]
async fn what_is_known_of_a_container_is_not_asked_again() {
    let cluster = Cluster::furnished(3).await;
    let heads = || cluster.nodes.iter().map(|node| node.count(&Method::HEAD, 2)).sum::<usize>();
    for _ in 0..5 {
        assert_eq!(cluster.put("/v1/AUTH_test/c/o", "x", &[]).await.status, 201);
    }
    assert_eq!(heads(), 1);
    // Its own changes are seen at once.
    assert_eq!(cluster.owner("DELETE", C, &[]).await.status, 204);
    assert_eq!(cluster.put("/v1/AUTH_test/c/o", "x", &[]).await.status, 404);
    assert_eq!(cluster.owner("PUT", C, &[]).await.status, 201);
    assert_eq!(cluster.put("/v1/AUTH_test/c/o", "x", &[]).await.status, 201);
}

#[tokio::test]
async fn a_listing_that_was_never_synced_is_no_listing() {
    let cluster = Cluster::furnished(3).await;
    let unsynced = Fault::Status(204, vec![("x-put-timestamp", "0000000000.00000".into())]);
    cluster.nodes_of("AUTH_test/c")[0].fail(&Method::GET, 2, unsynced);
    assert_eq!(cluster.owner("GET", C, &[]).await.text(), "row\n");
}

#[tokio::test]
async fn merged_metadata_is_judged_by_the_nodes() {
    let cluster = Cluster::furnished(3).await;
    for node in &cluster.nodes {
        node.fail(&Method::POST, 2, Fault::Status(400, vec![]));
    }
    assert_eq!(cluster.owner("POST", C, &[("x-container-meta-a", "1")]).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_with_an_error() {
    let cluster = Cluster::furnished(3).await;
    let body = "hello".repeat(100);
    assert_eq!(cluster.put(O, body.clone(), &[]).await.status, 201);
    for node in &cluster.nodes {
        (1..=3).for_each(|level| node.fail(&Method::GET, level, Fault::Stall(2)));
    }
    let newest = [("x-newest", "true")];
    for (path, headers) in [(A, &[][..]), (C, &[]), (O, &newest)] {
        let get = cluster.owner("GET", path, headers);
        // Time stands still until nothing else happens, so this is no race.
        let get = tokio::time::timeout(std::time::Duration::from_secs(60), get).await;
        let get = get.expect("the client is not kept waiting for ever");
        if path == A {
            // It is read whole, to be told together with the sizes of versions.
            assert_eq!((get.status, get.broken), (503, false), "{path}");
            continue;
        }
        assert_eq!((get.status, get.broken), (200, true), "{path}");
        // An object goes on from other replicas, each of which stalls too.
        let enough = if path == O { get.body.len() < body.len() } else { get.body.len() == 2 };
        assert!(enough, "{path}: {} bytes", get.body.len());
    }
}

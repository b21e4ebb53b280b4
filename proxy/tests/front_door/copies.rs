//! Server-side copy.

use crate::cluster::{Answer, Cluster};
use crate::node::Fault;
use http::Method;

const O: &str = "/v1/AUTH_test/c/o";
const P: &str = "/v1/AUTH_test/c/p";

/// With an object `c/o` of so many bytes, and another container.
async fn with_source(length: usize) -> (Cluster, String) {
    let cluster = Cluster::furnished(3).await;
    assert_eq!(cluster.owner("PUT", "/v1/AUTH_test/d", &[]).await.status, 201);
    let body: String = (0..length).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let meta = [("x-object-meta-color", "blue"), ("content-type", "text/plain")];
    assert_eq!(cluster.put(O, body.clone(), &meta).await.status, 201);
    (cluster, body)
}

fn copied(answer: &Answer) -> (u16, Option<&str>, Option<&str>) {
    (answer.status, answer.header("x-copied-from"), answer.header("x-copied-from-account"))
}

#[tokio::test]
async fn both_forms_copy_small_and_large_objects() {
    for length in [0, 5, 200_000] {
        let (cluster, body) = with_source(length).await;
        let to = [("destination", "/d/a%20b")];
        let copy = cluster.owner("COPY", O, &to).await;
        assert_eq!(copied(&copy), (201, Some("c/o"), Some("AUTH_test")));
        let put = cluster.put(P, "", &[("x-copy-from", "c/o")]).await;
        assert_eq!(copied(&put), (201, Some("c/o"), Some("AUTH_test")));
        for path in ["/v1/AUTH_test/d/a%20b", P] {
            let get = cluster.owner("GET", path, &[]).await;
            assert_eq!((get.status, get.text()), (200, body.clone()));
            assert_eq!(get.header("x-object-meta-color"), Some("blue"));
            assert_eq!(get.header("content-type"), Some("text/plain"));
            assert_eq!(get.header("etag"), copy.header("etag"));
        }
    }
}

#[tokio::test]
async fn a_copy_onto_itself_changes_metadata() {
    let (cluster, body) = with_source(5).await;
    let asked = [("destination", "c/o"), ("x-object-meta-shape", "round"), ("content-type", "a/b")];
    assert_eq!(cluster.owner("COPY", O, &asked).await.status, 201);
    let get = cluster.owner("GET", O, &[]).await;
    assert_eq!((get.text(), get.header("content-type")), (body, Some("a/b")));
    assert_eq!(get.header("x-object-meta-color"), Some("blue"));
    assert_eq!(get.header("x-object-meta-shape"), Some("round"));
    let fresh = [("destination", "c/o"), ("x-fresh-metadata", "true")];
    assert_eq!(cluster.owner("COPY", O, &fresh).await.status, 201);
    assert_eq!(cluster.owner("GET", O, &[]).await.header("x-object-meta-color"), None);
}

#[tokio::test]
async fn conditions_and_ranges_are_the_sources() {
    let (cluster, body) = with_source(26).await;
    let part = [("destination", "c/p"), ("range", "bytes=2-5")];
    assert_eq!(cluster.owner("COPY", O, &part).await.status, 201);
    assert_eq!(cluster.owner("GET", P, &[]).await.text(), body[2..=5]);
    let wrong = [("destination", "c/q"), ("if-match", "\"x\"")];
    assert_eq!(cluster.owner("COPY", O, &wrong).await.status, 412);
    let outside = [("destination", "c/q"), ("range", "bytes=26-")];
    assert_eq!(cluster.owner("COPY", O, &outside).await.status, 416);
    let other = [("destination", "c/p"), ("if-none-match", "\"x\"")];
    assert_eq!(cluster.owner("COPY", O, &other).await.status, 201);
}

#[tokio::test]
async fn both_ends_are_judged_by_their_own_acls() {
    let (cluster, body) = with_source(5).await;
    let other = "/v1/AUTH_other/e";
    let of_other = |headers: &'static [(&str, &str)]| {
        let mut all = vec![("x-auth-token", "other"), ("content-length", "0")];
        all.extend_from_slice(headers);
        all
    };
    assert_eq!(cluster.ask("PUT", other, &of_other(&[])).await.status, 201);
    let to = [("destination", "e/o"), ("destination-account", "AUTH_other")];
    assert_eq!(cluster.owner("COPY", O, &to).await.status, 403, "no right to write");
    let shared = of_other(&[("x-container-write", "test:tester")]);
    assert_eq!(cluster.ask("POST", other, &shared).await.status, 204);
    assert_eq!(copied(&cluster.owner("COPY", O, &to).await), (201, Some("c/o"), Some("AUTH_test")));
    let get = cluster.ask("GET", "/v1/AUTH_other/e/o", &of_other(&[])).await;
    assert_eq!(get.text(), body);
    let from = of_other(&[("x-copy-from", "c/o"), ("x-copy-from-account", "AUTH_test")]);
    assert_eq!(
        cluster.ask("PUT", "/v1/AUTH_other/e/p", &from).await.status,
        403,
        "no right to read"
    );
    let acl = [("x-container-read", "other:admin")];
    assert_eq!(cluster.owner("POST", "/v1/AUTH_test/c", &acl).await.status, 204);
    assert_eq!(cluster.ask("PUT", "/v1/AUTH_other/e/p", &from).await.status, 201);
    assert_eq!(cluster.ask("COPY", O, &[("destination", "c/p")]).await.status, 401);
}

#[tokio::test]
async fn what_is_not_there() {
    let (cluster, _) = with_source(5).await;
    for (path, to) in [(P, "c/q"), ("/v1/AUTH_test/x/o", "c/q"), (O, "x/o")] {
        assert_eq!(cluster.owner("COPY", path, &[("destination", to)]).await.status, 404);
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_leaves_no_copy() {
    let (cluster, _) = with_source(200_000).await;
    for node in &cluster.nodes {
        node.fail(&Method::GET, 3, Fault::BreakOff(10_000));
    }
    assert_eq!(cluster.owner("COPY", O, &[("destination", "c/p")]).await.status, 503);
    for node in &cluster.nodes {
        node.heal();
    }
    assert_eq!(cluster.owner("GET", P, &[]).await.status, 404);
}

#[tokio::test]
async fn a_long_copy_gives_signs_of_life() {
    let (cluster, body) = with_source(200_000).await;
    let to = [("destination", "c/p"), ("accept", "application/json")];
    let copy = cluster.owner("COPY", &format!("{O}?heartbeat=on"), &to).await;
    assert_eq!((copy.status, copy.header("content-type")), (202, Some("application/json")));
    let document: serde_json::Value = serde_json::from_slice(&copy.body).expect("JSON");
    assert_eq!(document["Response Status"], "201 Created");
    assert_eq!(document["X-Copied-From"], "c/o");
    assert_eq!(document["Errors"], serde_json::json!([]));
    assert_eq!(cluster.owner("GET", P, &[]).await.text(), body);
}

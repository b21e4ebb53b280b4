//! Small objects: quorums, handoffs, deletions, conditions, resuming.

use crate::cluster::{Cluster, WIRINGS, config, request};
use crate::node::{Fault, text};
use http::Method;
use wire::Body;

const O: &str = "/v1/AUTH_test/c/o";
const KEY: &str = "AUTH_test/c/o";

fn status(code: u16) -> Fault {
    Fault::Status(code, vec![])
}

#[tokio::test]
async fn an_object_lives_its_life() {
    let cluster = Cluster::furnished(3).await;
    let put = cluster.put(O, "hello", &[("x-object-meta-color", "blue")]).await;
    assert_eq!(put.status, 201);
    assert_eq!(put.header("etag"), Some("5d41402abc4b2a76b9719d911017c592"));
    assert!(put.header("last-modified").is_some());
    assert!(put.header("x-trans-id").is_some_and(|id| id.starts_with("tx")));
    let get = cluster.owner("GET", O, &[]).await;
    assert_eq!((get.status, get.text().as_str()), (200, "hello"));
    assert_eq!(get.header("etag"), Some("5d41402abc4b2a76b9719d911017c592"));
    assert_eq!(get.header("x-object-meta-color"), Some("blue"));
    assert_eq!(get.header("accept-ranges"), Some("bytes"));
    assert_eq!(get.header("content-type"), Some("application/octet-stream"));
    for hidden in ["x-backend-timestamp", "x-object-sysmeta-secret", "x-put-timestamp"] {
        assert_eq!(get.header(hidden), None, "{hidden}");
    }
    let head = cluster.owner("HEAD", O, &[]).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
    assert!(head.body.is_empty());
    let post = cluster.owner("POST", O, &[("x-object-meta-size", "big")]).await;
    assert_eq!(post.status, 202);
    let head = cluster.owner("HEAD", O, &[]).await;
    assert_eq!(
        (head.header("x-object-meta-color"), head.header("x-object-meta-size")),
        (None, Some("big"))
    );
    assert_eq!(cluster.owner("DELETE", O, &[]).await.status, 204);
    assert_eq!(cluster.owner("DELETE", O, &[]).await.status, 404);
    assert_eq!(cluster.owner("GET", O, &[]).await.status, 404);
    assert_eq!(cluster.owner("POST", O, &[]).await.status, 404);
    cluster.stop().await;
}

#[tokio::test]
async fn nodes_are_told_what_they_need_and_nothing_more() {
    let cluster = Cluster::furnished(3).await;
    let headers = [("x-backend-evil", "1"), ("x-timestamp", "1"), ("x-container-host", "evil:1")];
    assert_eq!(cluster.put(O, "hello", &headers).await.status, 201);
    let mut hosts = Vec::new();
    for node in &cluster.nodes_of(KEY)[..3] {
        let seen = node.seen.lock().expect("lock").last().cloned().expect("a request");
        assert_eq!(seen.method, Method::PUT);
        assert_eq!(text(&seen.headers, "x-backend-storage-policy-index").as_deref(), Some("0"));
        assert_eq!(text(&seen.headers, "content-length").as_deref(), Some("5"));
        assert!(text(&seen.headers, "x-trans-id").is_some());
        assert!(text(&seen.headers, "x-timestamp").is_some_and(|at| at.starts_with("1700000000.")));
        assert_eq!(text(&seen.headers, "x-backend-evil"), None);
        assert_eq!(text(&seen.headers, "x-auth-token"), None);
        assert!(text(&seen.headers, "x-container-device").is_some());
        assert!(text(&seen.headers, "x-container-partition").is_some());
        hosts.push(text(&seen.headers, "x-container-host").expect("a container server"));
    }
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts.len(), 3, "each container server is told by another object server: {hosts:?}");
}

#[tokio::test]
async fn a_write_needs_a_quorum() {
    // (how many of the five nodes fail, what the client sees)
    for (failing, expected) in [(0, 201), (1, 201), (2, 201), (3, 201), (4, 503), (5, 503)] {
        let cluster = Cluster::furnished(3).await;
        for node in &cluster.nodes_of(KEY)[..failing] {
            node.fail(&Method::PUT, 3, status(503));
        }
        assert_eq!(cluster.put(O, "hello", &[]).await.status, expected, "{failing} of 5 fail");
    }
}

#[tokio::test]
async fn a_handoff_stands_in_and_is_found_again() {
    let cluster = Cluster::furnished(3).await;
    let nodes = cluster.nodes_of(KEY);
    nodes[0].fail(&Method::PUT, 3, status(507));
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    assert!(nodes[0].body_of(KEY).is_none());
    assert!(nodes[3].body_of(KEY).is_some(), "the first handoff has it");
    for node in &nodes[..3] {
        node.fail(&Method::GET, 3, status(503));
    }
    let get = cluster.owner("GET", O, &[]).await;
    assert_eq!((get.status, get.text().as_str()), (200, "hello"));
}

#[tokio::test]
async fn a_node_that_is_not_there_costs_nothing_but_itself() {
    let cluster = Cluster::furnished(3).await;
    cluster.client.unregister(&wire::Endpoint::new("127.0.0.1", 1));
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    assert_eq!(cluster.owner("GET", O, &[]).await.status, 200);
    assert_eq!(cluster.owner("DELETE", O, &[]).await.status, 204);
}

#[tokio::test]
async fn a_suspended_node_is_tried_last() {
    let cluster = Cluster::furnished(3).await;
    let nodes = cluster.nodes_of(KEY);
    nodes[0].fail(&Method::PUT, 3, status(507));
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    let before = nodes[0].count(&Method::PUT, 3);
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    assert_eq!(nodes[0].count(&Method::PUT, 3), before);
}

#[tokio::test]
async fn what_one_node_knows_better_overtakes_a_write() {
    let cluster = Cluster::furnished(3).await;
    let nodes = cluster.nodes_of(KEY);
    nodes[1].fail(
        &Method::PUT,
        3,
        Fault::Status(409, vec![("x-backend-timestamp", "9999999999.00000".into())]),
    );
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 202);
}

#[tokio::test]
async fn conditions_of_writes() {
    let cluster = Cluster::furnished(3).await;
    let star = [("if-none-match", "*")];
    assert_eq!(cluster.put(O, "one", &star).await.status, 201);
    assert_eq!(cluster.put(O, "two", &star).await.status, 412);
    let other = cluster.put(O, "two", &[("if-none-match", "abc")]).await;
    assert_eq!((other.status, other.text().as_str()), (400, "If-None-Match only supports *"));
    assert_eq!(cluster.put(O, "two", &[("etag", "0123")]).await.status, 422);
    assert_eq!(cluster.owner("GET", O, &[]).await.text(), "one");
}

#[tokio::test]
async fn nodes_that_store_different_bytes_are_an_error() {
    let cluster = Cluster::furnished(3).await;
    let lie = Fault::Status(201, vec![("etag", "\"different\"".into())]);
    cluster.nodes_of(KEY)[0].fail(&Method::PUT, 3, lie);
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 500);
}

#[tokio::test]
async fn without_a_container_there_is_no_object() {
    let cluster = Cluster::furnished(3).await;
    for method in ["GET", "PUT", "POST", "DELETE"] {
        let headers = [("content-length", "0")];
        let answer = cluster.owner(method, "/v1/AUTH_test/missing/o", &headers).await;
        assert_eq!(answer.status, 404, "{method}");
    }
}

#[tokio::test]
async fn a_deletion_forbids_older_data() {
    let cluster = Cluster::furnished(3).await;
    let nodes = cluster.nodes_of(KEY);
    assert_eq!(cluster.put(O, "old", &[]).await.status, 201);
    // The second and third replica did not hear of the deletion.
    let newer = Fault::Status(404, vec![("x-backend-timestamp", "1800000000.00000".into())]);
    nodes[0].fail(&Method::GET, 3, newer);
    assert_eq!(cluster.owner("GET", O, &[]).await.status, 404);
    assert_eq!(cluster.owner("GET", O, &[("x-newest", "true")]).await.status, 404);
    nodes[0].heal();
    let older = Fault::Status(404, vec![("x-backend-timestamp", "1600000000.00000".into())]);
    nodes[0].fail(&Method::GET, 3, older);
    assert_eq!(cluster.owner("GET", O, &[]).await.text(), "old");
}

#[tokio::test]
async fn not_here_is_believed_only_from_enough_primaries() {
    // (what three primaries answer, what the client sees)
    let cases = [
        ([404, 404, 404], 404),
        ([404, 404, 503], 404),
        ([404, 503, 503], 503),
        ([503, 503, 503], 503),
    ];
    for (answers, expected) in cases {
        let cluster = Cluster::furnished(3).await;
        for (node, answer) in cluster.nodes_of(KEY).iter().zip(answers) {
            node.fail(&Method::GET, 3, status(answer));
        }
        assert_eq!(cluster.owner("GET", O, &[]).await.status, expected, "{answers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_primary_alone_is_not_believed() {
    // A rebalance may have given it the partition a moment ago, and the others cannot be asked.
    let cluster = Cluster::furnished(3).await;
    let nodes = cluster.nodes_of(KEY);
    nodes[0].fail(&Method::GET, 3, status(404));
    nodes[1].fail(&Method::GET, 3, Fault::Silence);
    nodes[2].fail(&Method::GET, 3, Fault::Silence);
    assert_eq!(cluster.owner("GET", O, &[]).await.status, 503);
    nodes[2].heal();
    assert_eq!(cluster.owner("GET", O, &[]).await.status, 404);
}

#[tokio::test]
async fn a_single_replica_is_believed() {
    let cluster = Cluster::furnished(1).await;
    assert_eq!(cluster.owner("GET", O, &[]).await.status, 404);
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    assert_eq!(cluster.owner("GET", O, &[]).await.text(), "hello");
}

#[tokio::test]
async fn the_newest_is_found_when_asked_for() {
    let cluster = Cluster::furnished(3).await;
    let nodes = cluster.nodes_of(KEY);
    assert_eq!(cluster.put(O, "old", &[]).await.status, 201);
    nodes[0].fail(&Method::PUT, 3, status(503));
    assert_eq!(cluster.put(O, "new", &[]).await.status, 201);
    assert_eq!(cluster.owner("GET", O, &[]).await.text(), "old");
    assert_eq!(cluster.owner("GET", O, &[("x-newest", "true")]).await.text(), "new");
}

/// Swift leaves such a node out; here it is asked when there is nobody else.
#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_does_not_delay_every_search_for_the_newest() {
    let cluster = Cluster::furnished(3).await;
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    cluster.nodes_of(KEY)[0].fail(&Method::GET, 3, Fault::Silence);
    let newest = async || {
        let before = tokio::time::Instant::now();
        let get = cluster.owner("GET", O, &[("x-newest", "true")]).await;
        assert_eq!(get.text(), "hello");
        before.elapsed()
    };
    assert!(newest().await.as_secs() >= 10, "it is waited for");
    for _ in 0..config().error_suppression_limit {
        newest().await;
    }
    assert!(newest().await.as_secs() < 1, "but not for ever again");
}

#[tokio::test]
async fn the_newest_too_goes_on_from_another_replica() {
    let cluster = Cluster::furnished(3).await;
    let body = "x".repeat(20_000);
    assert_eq!(cluster.put(O, body.clone(), &[]).await.status, 201);
    for node in &cluster.nodes_of(KEY)[..2] {
        node.fail(&Method::GET, 3, Fault::BreakOff(7000));
    }
    let get = cluster.owner("GET", O, &[("x-newest", "true")]).await;
    assert_eq!((get.text(), get.broken), (body, false));
}

#[tokio::test]
async fn reads_are_spread_over_the_replicas() {
    let cluster = Cluster::with(3, proxy::Config::default()).await;
    assert_eq!(cluster.owner("PUT", "/v1/AUTH_test/c", &[]).await.status, 201);
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    for _ in 0..100 {
        assert_eq!(cluster.owner("GET", O, &[]).await.status, 200);
    }
    let asked =
        cluster.nodes_of(KEY).iter().map(|node| node.count(&Method::GET, 3)).collect::<Vec<_>>();
    assert!(asked[..3].iter().all(|count| *count > 0), "{asked:?}");
    assert_eq!(asked.iter().sum::<usize>(), 100, "one node is enough for a read: {asked:?}");
}

#[tokio::test]
async fn ranges_and_conditions_are_the_nodes_business() {
    let cluster = Cluster::furnished(3).await;
    assert_eq!(cluster.put(O, "0123456789", &[]).await.status, 201);
    let part = cluster.owner("GET", O, &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let none = cluster.owner("GET", O, &[("range", "bytes=10-")]).await;
    assert_eq!((none.status, none.header("content-range")), (416, Some("bytes */10")));
    let etag = part.header("etag").expect("an etag").to_owned();
    let same = cluster.owner("GET", O, &[("if-none-match", &etag)]).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(cluster.owner("GET", O, &[("if-match", "\"x\"")]).await.status, 412);
}

#[tokio::test]
async fn a_broken_read_goes_on_from_another_replica() {
    let body: String = (0..20_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let ranges = [None, Some("bytes=100-15000")];
    for (range, wiring) in ranges.into_iter().flat_map(|range| WIRINGS.map(|w| (range, w))) {
        let cluster = Cluster::wired(3, wiring).await;
        assert_eq!(cluster.put(O, body.clone(), &[]).await.status, 201);
        let nodes = cluster.nodes_of(KEY);
        nodes[0].fail(&Method::GET, 3, Fault::BreakOff(7000));
        nodes[1].fail(&Method::GET, 3, Fault::BreakOff(13));
        let headers: Vec<(&str, &str)> = range.iter().map(|range| ("range", *range)).collect();
        let get = cluster.owner("GET", O, &headers).await;
        let expected = if range.is_some() { &body[100..=15_000] } else { &body[..] };
        assert!(!get.broken);
        assert_eq!(get.text(), expected);
        let seen = nodes[2].seen.lock().expect("lock").last().cloned().expect("a request");
        let first = 7013 + if range.is_some() { 100 } else { 0 };
        let asked = text(&seen.headers, "range").expect("a range");
        assert!(asked.starts_with(&format!("bytes={first}-")), "{asked}");
        assert!(text(&seen.headers, "if-match").is_some());
    }
}

/// A node that finds its copy damaged says 503 if it has sent nothing, and breaks off if it has; afterwards the copy is in
/// quarantine, and it says 404.
#[tokio::test]
async fn a_read_passes_over_damaged_copies() {
    let body: String = (0..20_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let faults = || [Fault::Status(503, vec![]), Fault::Status(404, vec![]), Fault::BreakOff(7000)];
    for (first, second) in
        faults().into_iter().flat_map(|first| faults().map(|s| (first.clone(), s)))
    {
        let cluster = Cluster::furnished(3).await;
        assert_eq!(cluster.put(O, body.clone(), &[]).await.status, 201);
        let nodes = cluster.nodes_of(KEY);
        nodes[0].fail(&Method::GET, 3, first);
        nodes[1].fail(&Method::GET, 3, second);
        let get = cluster.owner("GET", O, &[]).await;
        assert_eq!((get.status, get.broken), (200, false));
        assert_eq!(get.text(), body);
        assert_eq!(nodes[2].count(&Method::GET, 3), 1);
    }
}

#[tokio::test]
async fn a_read_never_goes_on_with_other_bytes() {
    let cluster = Cluster::furnished(3).await;
    assert_eq!(cluster.put(O, "a".repeat(1000), &[]).await.status, 201);
    let nodes = cluster.nodes_of(KEY);
    let old = nodes[0].stored.lock().expect("lock")[KEY].clone();
    assert_eq!(cluster.put(O, "b".repeat(1000), &[]).await.status, 201);
    nodes[0].stored.lock().expect("lock").insert(KEY.into(), old);
    nodes[0].fail(&Method::GET, 3, Fault::BreakOff(300));
    let get = cluster.owner("GET", O, &[]).await;
    assert_eq!(get.text(), "a".repeat(300));
    assert!(get.broken, "the client must see that the object is not complete");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_read_goes_on_from_another_replica() {
    let cluster = Cluster::furnished(3).await;
    assert_eq!(cluster.put(O, "x".repeat(1000), &[]).await.status, 201);
    let nodes = cluster.nodes_of(KEY);
    nodes[0].fail(&Method::GET, 3, Fault::Silence);
    nodes[1].fail(&Method::GET, 3, Fault::Stall(400));
    let get = cluster.owner("GET", O, &[]).await;
    assert_eq!((get.text(), get.broken), ("x".repeat(1000), false));
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_waited_for_only_shortly_after_the_quorum() {
    let cluster = Cluster::furnished(3).await;
    cluster.nodes_of(KEY)[2].fail(&Method::PUT, 3, Fault::Silence);
    let before = tokio::time::Instant::now();
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    let waited = before.elapsed();
    assert!(waited.as_millis() >= 500 && waited.as_millis() < 1000, "{waited:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn deletes_and_posts_need_agreement() {
    let cluster = Cluster::furnished(3).await;
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    let nodes = cluster.nodes_of(KEY);
    // One replica lacks the object and says so: metadata cannot be refused as missing.
    nodes[0].stored.lock().expect("lock").remove(KEY);
    nodes[1].stored.lock().expect("lock").remove(KEY);
    assert_eq!(cluster.owner("POST", O, &[]).await.status, 503);
    // Two say "not found", one deleted it: the majority is right.
    assert_eq!(cluster.owner("DELETE", O, &[]).await.status, 404);
    assert_eq!(cluster.put(O, "again", &[]).await.status, 201);
    // One deleted it, one has nothing, one is ill: both have it no more.
    nodes[0].stored.lock().expect("lock").remove(KEY);
    for node in [&nodes[2], &nodes[3], &nodes[4]] {
        node.fail(&Method::DELETE, 3, status(503));
    }
    assert_eq!(cluster.owner("DELETE", O, &[]).await.status, 204);
}

#[tokio::test]
async fn handoffs_that_know_nothing_do_not_outvote_a_primary() {
    let cluster = Cluster::furnished(3).await;
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    let nodes = cluster.nodes_of(KEY);
    nodes[1].fail(&Method::DELETE, 3, status(503));
    nodes[2].fail(&Method::DELETE, 3, status(503));
    // One primary deleted it; two handoffs never had it and say so.
    assert_eq!(cluster.owner("DELETE", O, &[]).await.status, 503);
    assert_eq!(nodes[3].count(&Method::DELETE, 3) + nodes[4].count(&Method::DELETE, 3), 2);
}

#[tokio::test]
async fn a_body_that_ends_early_stores_nothing() {
    let cluster = Cluster::furnished(3).await;
    let headers = [("x-auth-token", "owner"), ("content-length", "10")];
    let short = cluster.call(request("PUT", O, &headers, Body::from("short"))).await;
    assert_eq!(short.status, 499);
    assert!(cluster.nodes.iter().all(|node| node.body_of(KEY).is_none()));
    assert!(cluster.nodes.iter().all(|node| node.count(&Method::PUT, 3) == 0));
}

#[tokio::test]
async fn large_objects_of_other_proxies_are_not_shown_as_if_they_were_plain() {
    let mut config = config();
    config.pipeline.retain(|name| name != "slo");
    let cluster = Cluster::with(1, config).await;
    assert_eq!(cluster.owner("PUT", "/v1/AUTH_test/c", &[]).await.status, 201);
    let manifest = Fault::Status(200, vec![("x-static-large-object", "True".into())]);
    cluster.nodes_of(KEY)[0].fail(&Method::GET, 3, manifest);
    assert_eq!(cluster.owner("GET", O, &[]).await.status, 501);
}

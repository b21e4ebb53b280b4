//! Large objects: the body is read once and handed on, and ends well on no node unless it ended well.

use crate::cluster::{Cluster, WIRINGS, Wiring, request};
use crate::node::{Fault, text};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wire::Body;

const O: &str = "/v1/AUTH_test/c/large";
const KEY: &str = "AUTH_test/c/large";
const OWNER: (&str, &str) = ("x-auth-token", "owner");
const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");

fn bytes(length: usize) -> Bytes {
    (0..length).map(|n| (n % 251) as u8).collect::<Vec<u8>>().into()
}

/// A body in pieces, which counts how much of it was asked for.
fn pieces(all: Bytes, then_breaks: bool) -> (Body, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let chunks: Vec<Bytes> = all.chunks(10_000).map(Bytes::copy_from_slice).collect();
    let end = then_breaks.then(|| Err(std::io::Error::other("client gone")));
    let all = stream::iter(chunks.into_iter().map(Ok).chain(end)).inspect(move |chunk| {
        counter.fetch_add(chunk.as_ref().map_or(0, Bytes::len), Ordering::Relaxed);
    });
    (Body::from_stream(all), asked)
}

async fn put(cluster: &Cluster, all: &Bytes, length: Option<usize>) -> u16 {
    let length = length.map(|length| length.to_string());
    let headers = match &length {
        Some(length) => [OWNER, ("content-length", length.as_str())],
        None => [OWNER, CHUNKED],
    };
    cluster.call(request("PUT", O, &headers, pieces(all.clone(), false).0)).await.status
}

fn copies(cluster: &Cluster, all: &Bytes) -> usize {
    cluster.nodes.iter().filter(|node| node.body_of(KEY).as_ref() == Some(all)).count()
}

#[tokio::test]
async fn all_replicas_get_the_whole_body() {
    let all = bytes(3_000_000);
    for wiring in WIRINGS {
        for length in [None, Some(all.len())] {
            let cluster = Cluster::wired(3, wiring).await;
            assert_eq!(put(&cluster, &all, length).await, 201);
            assert_eq!(copies(&cluster, &all), 3);
            let get = cluster.owner("GET", O, &[]).await;
            assert_eq!(get.body, all);
        }
    }
}

#[tokio::test]
async fn a_node_that_fails_early_is_replaced() {
    let all = bytes(3_000_000);
    let faults = [Fault::Status(507, vec![]), Fault::StopReading(500_000, 507)];
    for (fault, wiring) in faults.iter().flat_map(|fault| WIRINGS.map(|wiring| (fault, wiring))) {
        let cluster = Cluster::wired(3, wiring).await;
        cluster.nodes_of(KEY)[1].fail(&Method::PUT, 3, fault.clone());
        assert_eq!(put(&cluster, &all, Some(all.len())).await, 201);
        assert_eq!(copies(&cluster, &all), 3);
        assert_eq!(cluster.nodes_of(KEY)[3].body_of(KEY), Some(all.clone()));
    }
}

#[tokio::test]
async fn a_node_that_fails_late_is_lost_and_the_quorum_goes_on() {
    let all = bytes(3_000_000);
    let cluster = Cluster::furnished(3).await;
    cluster.nodes_of(KEY)[1].fail(&Method::PUT, 3, Fault::StopReading(2_000_000, 507));
    assert_eq!(put(&cluster, &all, Some(all.len())).await, 201);
    assert_eq!(copies(&cluster, &all), 2);
    // What it was to tell its container server is told by another.
    let mut told = Vec::new();
    for node in [0, 2].map(|number| Arc::clone(&cluster.nodes_of(KEY)[number])) {
        let stored = node.stored.lock().expect("lock")[KEY].headers.clone();
        let hosts = text(&stored, "x-container-host").expect("container servers");
        told.extend(hosts.split(',').map(str::to_owned));
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 3, "{told:?}");
}

#[tokio::test]
async fn without_a_quorum_the_write_is_given_up() {
    let all = bytes(3_000_000);
    let cluster = Cluster::furnished(3).await;
    for node in &cluster.nodes_of(KEY)[..2] {
        node.fail(&Method::PUT, 3, Fault::StopReading(2_000_000, 507));
    }
    assert_eq!(put(&cluster, &all, None).await, 503);
    until_broken(&cluster, 1).await;
    assert_eq!(copies(&cluster, &all), 0);
}

#[tokio::test]
async fn no_node_that_would_take_it_means_no_byte_is_read() {
    let cluster = Cluster::furnished(3).await;
    for node in &cluster.nodes {
        node.fail(&Method::PUT, 3, Fault::Status(503, vec![]));
    }
    let (body, asked) = pieces(bytes(300_000), false);
    let headers = [OWNER, ("content-length", "300000")];
    assert_eq!(cluster.call(request("PUT", O, &headers, body)).await.status, 503);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_stands_against_a_write_is_found_before_its_body_is_read() {
    let cluster = Cluster::furnished(3).await;
    let all = bytes(300_000);
    assert_eq!(put(&cluster, &all, Some(all.len())).await, 201);
    let (body, asked) = pieces(all.clone(), false);
    let headers = [OWNER, ("content-length", "300000"), ("if-none-match", "*")];
    assert_eq!(cluster.call(request("PUT", O, &headers, body)).await.status, 412);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    cluster.nodes_of(KEY)[0].fail(&Method::PUT, 3, Fault::Status(409, vec![]));
    let (body, asked) = pieces(all, false);
    let headers = [OWNER, ("content-length", "300000")];
    assert_eq!(cluster.call(request("PUT", O, &headers, body)).await.status, 202);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn far_nodes_may_object_while_the_body_is_sent() {
    let cluster = Cluster::wired(3, Wiring::Sockets).await;
    let all = bytes(3_000_000);
    assert_eq!(put(&cluster, &all, Some(all.len())).await, 201);
    let headers = [OWNER, CHUNKED, ("if-none-match", "*")];
    let (body, _) = pieces(all.clone(), false);
    assert_eq!(cluster.call(request("PUT", O, &headers, body)).await.status, 412);
    cluster.nodes_of(KEY)[0].fail(&Method::PUT, 3, Fault::Status(409, vec![]));
    assert_eq!(put(&cluster, &all, None).await, 202);
}

async fn until_broken(cluster: &Cluster, count: usize) {
    let broken = || {
        cluster.nodes.iter().map(|node| *node.broken_bodies.lock().expect("lock")).sum::<usize>()
    };
    // Not tokio's clock, which stands still in some of these tests.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while broken() < count {
        assert!(std::time::Instant::now() < deadline, "{} bodies broke, not {count}", broken());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    for (broken, wiring) in
        [true, false].into_iter().flat_map(|b| WIRINGS.map(|wiring| (b, wiring)))
    {
        let cluster = Cluster::wired(3, wiring).await;
        // Either the connection breaks, or the body ends before its length is reached.
        let (body, _) = pieces(bytes(300_000), broken);
        let headers = [OWNER, ("content-length", "300001")];
        assert_eq!(cluster.call(request("PUT", O, &headers, body)).await.status, 499);
        until_broken(&cluster, 3).await;
        assert!(cluster.nodes.iter().all(|node| node.body_of(KEY).is_none()));
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_nothing() {
    for wiring in WIRINGS {
        let cluster = Cluster::wired(3, wiring).await;
        let sent = stream::iter([Ok(bytes(300_000))]).chain(stream::pending());
        let body = Body::from_stream(sent.map(|chunk: Result<Bytes, std::io::Error>| chunk));
        let headers = [OWNER, ("content-length", "300001")];
        let call = cluster.call(request("PUT", O, &headers, body));
        let started = async {
            while cluster.nodes.iter().map(|node| node.count(&Method::PUT, 3)).sum::<usize>() < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = call => panic!("answered {} before the body came", answer.status),
            () = started => {}
        }
        until_broken(&cluster, 3).await;
        assert!(cluster.nodes.iter().all(|node| node.body_of(KEY).is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_told_so() {
    let cluster = Cluster::furnished(3).await;
    let sent = stream::iter([Ok(bytes(300_000))]).chain(stream::pending());
    let body = Body::from_stream(sent.map(|chunk: Result<Bytes, std::io::Error>| chunk));
    let headers = [OWNER, ("content-length", "300001")];
    assert_eq!(cluster.call(request("PUT", O, &headers, body)).await.status, 408);
    until_broken(&cluster, 3).await;
    assert!(cluster.nodes.iter().all(|node| node.body_of(KEY).is_none()));
}

#[tokio::test]
async fn a_body_without_length_has_a_limit_too() {
    let mut config = crate::cluster::config();
    config.limits.max_file_size = 250_000;
    let cluster = Cluster::with(3, config).await;
    assert_eq!(cluster.owner("PUT", "/v1/AUTH_test/c", &[]).await.status, 201);
    assert_eq!(put(&cluster, &bytes(250_000), None).await, 201);
    assert_eq!(cluster.owner("DELETE", O, &[]).await.status, 204);
    assert_eq!(put(&cluster, &bytes(250_001), None).await, 413);
    until_broken(&cluster, 3).await;
    assert_eq!(put(&cluster, &bytes(250_001), Some(250_001)).await, 413);
    assert!(cluster.nodes.iter().all(|node| node.body_of(KEY).is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_nothing_is_lost() {
    let all = bytes(3_000_000);
    let cluster = Cluster::furnished(3).await;
    cluster.nodes_of(KEY)[0].fail(&Method::PUT, 3, Fault::Silence);
    assert_eq!(put(&cluster, &all, None).await, 201);
    assert_eq!(copies(&cluster, &all), 3, "a handoff took its place");
}

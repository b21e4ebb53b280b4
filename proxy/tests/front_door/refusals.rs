//! What is refused before anything happens.

use crate::cluster::{Cluster, Wiring, config, request};
use http::Method;
use wire::Body;

const C: &str = "/v1/AUTH_test/c";
const O: &str = "/v1/AUTH_test/c/o";

fn writes(cluster: &Cluster) -> usize {
    let methods = [Method::PUT, Method::POST, Method::DELETE];
    let count = |level| {
        let per_node =
            cluster.nodes.iter().flat_map(|node| methods.iter().map(move |m| node.count(m, level)));
        per_node.sum::<usize>()
    };
    (1..=3).map(count).sum()
}

#[tokio::test]
async fn what_is_not_in_the_pipeline_is_refused_without_side_effect() {
    let pipeline = ["catch_errors", "gatekeeper", "tempauth"].map(str::to_owned).into();
    let cluster = Cluster::with(3, proxy::Config { pipeline, ..config() }).await;
    assert_eq!(cluster.owner("PUT", "/v1/AUTH_test/c", &[]).await.status, 201);
    let before = writes(&cluster);
    let queries = [
        "multipart-manifest=put",
        "extract-archive=tar",
        "bulk-delete",
        "symlink=get",
        "version-id=1",
        "part-number=1",
        "temp_url_sig=x",
    ];
    for query in queries {
        let answer = cluster.put(&format!("{O}?{query}"), "x", &[]).await;
        assert_eq!(answer.status, 501, "{query}");
        assert!(
            answer.text().ends_with("is not available on this cluster yet"),
            "{}",
            answer.text()
        );
    }
    let headers = [
        (O, "x-copy-from", "/c/o"),
        (O, "x-object-manifest", "c/o"),
        (O, "x-symlink-target", "c/o"),
        (C, "x-versions-enabled", "true"),
        (C, "x-versions-location", "v"),
        (C, "x-container-sync-to", "//x"),
        (C, "x-container-meta-quota-bytes", "1"),
        (C, "x-container-meta-web-index", "index.html"),
        (C, "x-container-meta-access-control-allow-origin", "*"),
        (C, "x-container-meta-temp-url-key", "k"),
        ("/v1/AUTH_test", "x-account-meta-temp-url-key", "k"),
        ("/v1/AUTH_test", "x-account-meta-quota-bytes", "1"),
    ];
    for (path, name, value) in headers {
        let answer = cluster.owner("POST", path, &[(name, value)]).await;
        assert_eq!(answer.status, 501, "{name}");
    }
    assert_eq!(writes(&cluster), before);
    // python-swiftclient asks so with every delete and download.
    assert_eq!(cluster.put(O, "x", &[]).await.status, 201);
    assert_eq!(cluster.owner("HEAD", &format!("{O}?symlink=get"), &[]).await.status, 200);
    assert_eq!(cluster.owner("GET", &format!("{O}?multipart-manifest=get"), &[]).await.status, 200);
}

#[tokio::test]
async fn what_is_left_out_of_the_pipeline_is_refused() {
    let pipeline = ["catch_errors", "gatekeeper", "tempauth"].map(str::to_owned).to_vec();
    let cluster = Cluster::with(3, proxy::Config { pipeline, ..config() }).await;
    assert_eq!(cluster.owner("PUT", C, &[]).await.status, 201);
    let before = writes(&cluster);
    assert_eq!(cluster.owner("COPY", O, &[("destination", "c/p")]).await.status, 501);
    assert_eq!(cluster.put(O, "", &[("x-copy-from", "c/o")]).await.status, 501);
    assert_eq!(cluster.put(O, "", &[("x-symlink-target", "c/o")]).await.status, 501);
    assert_eq!(cluster.put(&format!("{O}?symlink=get"), "", &[]).await.status, 501);
    assert_eq!(writes(&cluster), before);
}

#[tokio::test]
async fn paths_and_methods() {
    let cluster = Cluster::furnished(1).await;
    let cases = [
        ("GET", "/", 404),
        ("GET", "/v1", 412),
        ("GET", "/v3/AUTH_test", 400),
        ("GET", "/v1/AUTH_test//o", 404),
        ("GET", "/v1/AUTH_test/%ff", 412),
        ("GET", "/v1/AUTH_test/c/%00", 412),
        ("GET", "/v1.0/AUTH_test/c/", 200),
        ("PATCH", O, 405),
        ("PATCH", C, 405),
        ("PUT", "/v1/AUTH_test", 405),
        ("COPY", C, 405),
        ("POST", "/info", 405),
    ];
    for (method, path, status) in cases {
        assert_eq!(cluster.owner(method, path, &[]).await.status, status, "{method} {path}");
    }
    let refused = cluster.owner("PATCH", O, &[]).await;
    assert_eq!(refused.header("allow"), Some("DELETE, GET, HEAD, OPTIONS, POST, PUT"));
    assert_eq!(refused.header("content-type"), Some("text/html; charset=UTF-8"));
    let options = cluster.ask("OPTIONS", O, &[]).await;
    let all = Some("DELETE, GET, HEAD, OPTIONS, POST, PUT, COPY");
    assert_eq!((options.status, options.header("allow")), (200, all));
    assert_eq!(cluster.ask("OPTIONS", O, &[("origin", "http://x")]).await.status, 401);
}

#[tokio::test]
async fn bodies_must_say_how_long_they_are() {
    let cluster = Cluster::furnished(1).await;
    let put = |headers: &'static [(&str, &str)]| {
        let mut all = vec![("x-auth-token", "owner")];
        all.extend_from_slice(headers);
        cluster.call(request("PUT", O, &all, Body::from("x")))
    };
    let missing = put(&[]).await;
    assert_eq!((missing.status, missing.text().as_str()), (411, "Missing Content-Length header."));
    assert_eq!(put(&[("content-length", "-1")]).await.status, 400);
    assert_eq!(put(&[("content-length", "x")]).await.status, 400);
    assert_eq!(put(&[("content-length", "5368709123")]).await.status, 413);
    assert_eq!(put(&[("transfer-encoding", "gzip, chunked")]).await.status, 501);
    assert_eq!(put(&[("transfer-encoding", "chunked")]).await.status, 201);
    assert_eq!(
        put(&[("transfer-encoding", "chunked"), ("content-length", "99")]).await.status,
        201
    );
}

#[tokio::test]
async fn names_and_metadata_have_limits() {
    let cluster = Cluster::furnished(1).await;
    let long = |length| "n".repeat(length);
    let object = |length| format!("{C}/{}", long(length));
    assert_eq!(cluster.put(&object(1024), "x", &[]).await.status, 201);
    let refused = cluster.put(&object(1025), "x", &[]).await;
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (400, "Object name length of 1025 longer than 1024")
    );
    let container = format!("/v1/AUTH_test/{}", long(257));
    let refused = cluster.owner("PUT", &container, &[]).await;
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (400, "Container name length of 257 longer than 256")
    );
    let account = format!("/v1/{}", long(257));
    assert_eq!(cluster.ask("GET", &account, &[("x-auth-token", "reseller")]).await.status, 400);
    let value = "v".repeat(257);
    for (path, name) in
        [(O, "x-object-meta-a"), (C, "x-container-meta-a"), ("/v1/AUTH_test", "x-account-meta-a")]
    {
        assert_eq!(cluster.owner("POST", path, &[(name, &value)]).await.status, 400, "{name}");
    }
    let header = "v".repeat(8193);
    assert_eq!(cluster.owner("GET", O, &[("x-long", &header)]).await.status, 400);
    let many: Vec<String> = (0..130).map(|n| format!("x-h-{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(cluster.owner("GET", O, &many).await.status, 400);
    assert_eq!(cluster.put(O, "x", &[("content-type", "a/b; swift_bytes=1")]).await.status, 400);
}

#[tokio::test]
async fn the_cluster_tells_what_it_can_do() {
    let cluster = Cluster::start(1).await;
    let info = cluster.ask("GET", "/info", &[]).await;
    assert_eq!(
        (info.status, info.header("content-type")),
        (200, Some("application/json; charset=UTF-8"))
    );
    assert!(info.header("x-trans-id").is_some());
    assert_eq!(info.header("x-trans-id"), info.header("x-openstack-request-id"));
    let head = cluster.ask("HEAD", "/info", &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(info.body.len().to_string().as_str()));
    let health = cluster.ask("GET", "/healthcheck", &[]).await;
    assert_eq!((health.status, health.text().as_str()), (200, "OK"));
}

#[tokio::test]
async fn a_proxy_that_cannot_work_does_not_start() {
    let broken = proxy::Config { client_timeout_ms: 0, ..config() };
    let error = Cluster::try_with(3, broken, Wiring::InProcess).await.err().expect("refused");
    assert!(error.to_string().contains("client_timeout_ms"), "{error}");
}

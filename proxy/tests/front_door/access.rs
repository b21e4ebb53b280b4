//! Who may do what.

use crate::cluster::Cluster;

const C: &str = "/v1/AUTH_test/c";
const O: &str = "/v1/AUTH_test/c/o";

async fn shared(read: &str, write: &str) -> Cluster {
    let cluster = Cluster::furnished(3).await;
    let acls = [("x-container-read", read), ("x-container-write", write)];
    assert_eq!(cluster.owner("POST", C, &acls).await.status, 204);
    assert_eq!(cluster.put(O, "hello", &[]).await.status, 201);
    cluster
}

async fn as_who(cluster: &Cluster, method: &str, path: &str, token: &str) -> u16 {
    let mut headers = vec![("content-length", "0")];
    if !token.is_empty() {
        headers.push(("x-auth-token", token));
    }
    cluster.ask(method, path, &headers).await.status
}

#[tokio::test]
async fn strangers_are_asked_who_they_are_and_others_are_refused() {
    let cluster = shared("", "").await;
    for path in ["/v1/AUTH_test", C, O, "/v1/AUTH_test/missing/o", "/v1/AUTH_test/missing"] {
        let stranger = cluster.ask("GET", path, &[]).await;
        assert_eq!(stranger.status, 401, "{path}");
        assert_eq!(stranger.header("www-authenticate"), Some("Swift realm=\"AUTH_test\""));
        assert_eq!(as_who(&cluster, "GET", path, "invalid").await, 401, "{path}");
        assert_eq!(as_who(&cluster, "GET", path, "other").await, 403, "{path}");
        assert_eq!(as_who(&cluster, "GET", path, "member").await, 403, "{path}");
        assert_eq!(as_who(&cluster, "GET", path, "unavailable").await, 503, "{path}");
    }
    for method in ["PUT", "POST", "DELETE"] {
        for path in [C, O] {
            assert_eq!(as_who(&cluster, method, path, "").await, 401, "{method} {path}");
            assert_eq!(as_who(&cluster, method, path, "other").await, 403, "{method} {path}");
        }
    }
    assert_eq!(cluster.owner("GET", O, &[]).await.text(), "hello");
}

#[tokio::test]
async fn the_older_name_of_the_token_header_works() {
    let cluster = shared("", "").await;
    assert_eq!(cluster.ask("GET", O, &[("x-storage-token", "owner")]).await.status, 200);
}

#[tokio::test]
async fn a_public_container_shows_objects_and_lists_only_when_told_so() {
    let cluster = shared(".r:*", "").await;
    assert_eq!(as_who(&cluster, "GET", O, "").await, 200);
    assert_eq!(as_who(&cluster, "HEAD", O, "other").await, 200);
    assert_eq!(as_who(&cluster, "GET", C, "").await, 401);
    assert_eq!(as_who(&cluster, "PUT", O, "").await, 401);
    let cluster = shared(".r:*,.rlistings", "").await;
    let listing = cluster.ask("GET", C, &[]).await;
    assert_eq!(listing.status, 200);
    assert_eq!(listing.header("x-container-read"), None, "only the owner sees ACLs");
    let owned = cluster.owner("GET", C, &[]).await;
    assert_eq!(owned.header("x-container-read"), Some(".r:*,.rlistings"));
}

#[tokio::test]
async fn referrers_decide() {
    let cluster = shared(".r:.example.com,.r:-bad.example.com", "").await;
    let from = |referer: &'static str| [("referer", referer)];
    assert_eq!(cluster.ask("GET", O, &from("http://www.example.com/x")).await.status, 200);
    assert_eq!(cluster.ask("GET", O, &from("http://bad.example.com/x")).await.status, 401);
    assert_eq!(cluster.ask("GET", O, &[]).await.status, 401);
}

#[tokio::test]
async fn groups_get_what_their_acl_says() {
    let cluster = shared("other", "test:member").await;
    assert_eq!(as_who(&cluster, "GET", O, "other").await, 200);
    assert_eq!(as_who(&cluster, "GET", C, "other").await, 200);
    assert_eq!(as_who(&cluster, "PUT", O, "other").await, 403);
    assert_eq!(as_who(&cluster, "GET", O, "member").await, 403);
    for method in ["PUT", "POST", "DELETE"] {
        assert!(as_who(&cluster, method, O, "member").await < 300, "{method}");
        assert_eq!(as_who(&cluster, method, C, "member").await, 403, "{method}");
    }
}

#[tokio::test]
async fn acls_are_cleaned_or_refused() {
    let cluster = Cluster::furnished(3).await;
    let acls = [("x-container-read", " .referrer : * ,, bob , .rlistings")];
    assert_eq!(cluster.owner("POST", C, &acls).await.status, 204);
    let head = cluster.owner("HEAD", C, &[]).await;
    assert_eq!(head.header("x-container-read"), Some(".r:*,bob,.rlistings"));
    for (name, acl) in
        [("x-container-read", ".r:"), ("x-container-write", ".r:*"), ("x-container-read", ".x:y")]
    {
        for method in ["PUT", "POST"] {
            assert_eq!(cluster.owner(method, C, &[(name, acl)]).await.status, 400, "{name}: {acl}");
        }
    }
    let head = cluster.owner("HEAD", C, &[]).await;
    assert_eq!(head.header("x-container-read"), Some(".r:*,bob,.rlistings"));
}

#[tokio::test]
async fn the_clusters_own_accounts_are_closed() {
    let cluster = Cluster::furnished(3).await;
    for token in ["owner", "reseller"] {
        assert_eq!(as_who(&cluster, "GET", "/v1/.expiring_objects/x/o", token).await, 403);
    }
}

#[tokio::test]
async fn a_body_is_not_read_for_somebody_who_may_not_write() {
    let cluster = shared("", "").await;
    let body = wire::Body::from_stream(futures_util::stream::poll_fn(|_| {
        panic!("the body was polled");
        #[expect(unreachable_code, reason = "gives the closure its type")]
        std::task::Poll::Ready(Some(Ok::<bytes::Bytes, std::io::Error>(bytes::Bytes::new())))
    }));
    let headers = [("content-length", "10"), ("expect", "100-continue")];
    let request = crate::cluster::request("PUT", O, &headers, body);
    assert_eq!(cluster.call(request).await.status, 401);
}

#[tokio::test]
async fn the_acl_of_an_account_lets_in_and_only_owners_see_it() {
    let cluster = shared("", "").await;
    const A: &str = "/v1/AUTH_test";
    let acl = r#"{"read-only": ["other"], "read-write": ["test:member"]}"#;
    assert_eq!(cluster.owner("POST", A, &[("x-account-access-control", acl)]).await.status, 204);
    for path in [A, C, O] {
        assert!(as_who(&cluster, "GET", path, "other").await < 300, "{path}");
        assert!(as_who(&cluster, "GET", path, "member").await < 300, "{path}");
        assert_eq!(as_who(&cluster, "GET", path, "").await, 401, "{path}");
        assert_eq!(as_who(&cluster, "POST", path, "other").await, 403, "{path}");
    }
    assert!(as_who(&cluster, "PUT", O, "member").await < 300);
    assert_eq!(as_who(&cluster, "POST", A, "member").await, 403);
    let header = "x-account-access-control";
    let owner = cluster.owner("HEAD", A, &[]).await;
    let shown = r#"{"read-only":["other"],"read-write":["test:member"]}"#;
    assert_eq!(owner.header(header), Some(shown));
    assert_eq!(owner.header("x-account-sysmeta-core-access-control"), None);
    let reader = cluster.ask("HEAD", A, &[("x-auth-token", "other")]).await;
    assert_eq!((reader.status, reader.header(header)), (204, None));

    for bad in ["yuck", "[]", r#"{"owner": []}"#, r#"{"admin": "x"}"#] {
        let refused = cluster.owner("POST", A, &[(header, bad)]).await;
        assert_eq!(refused.status, 400, "{bad}");
        assert!(refused.text().starts_with("X-Account-Access-Control invalid: "), "{bad}");
    }
    assert_eq!(cluster.owner("POST", A, &[(header, r#"{"admin": ["other"]}"#)]).await.status, 204);
    let admin = cluster.ask("HEAD", A, &[("x-auth-token", "other")]).await;
    assert_eq!(admin.header(header), Some(r#"{"admin":["other"]}"#));
    assert_eq!(cluster.owner("POST", A, &[(header, "")]).await.status, 204);
    assert_eq!(as_who(&cluster, "GET", A, "other").await, 403);
}

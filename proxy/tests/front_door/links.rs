//! Symbolic links.

use crate::cluster::{Answer, Cluster};
use http::Method;

const L: &str = "/v1/AUTH_test/c/l";
const O: &str = "/v1/AUTH_test/c/o";

/// With an object `c/o` and a dynamic link `c/l` to it.
async fn linked() -> Cluster {
    let cluster = Cluster::furnished(3).await;
    assert_eq!(cluster.put(O, "0123456789", &[("x-object-meta-color", "blue")]).await.status, 201);
    assert_eq!(cluster.put(L, "", &[("x-symlink-target", "c/o")]).await.status, 201);
    cluster
}

fn seen(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text())
}

#[tokio::test]
async fn a_link_reads_as_its_target() {
    let cluster = linked().await;
    let get = cluster.owner("GET", L, &[]).await;
    assert_eq!(seen(&get), (200, "0123456789".to_owned()));
    assert_eq!(get.header("content-location"), Some("/v1/AUTH_test/c/o"));
    assert_eq!(get.header("x-object-meta-color"), Some("blue"));
    assert_eq!(get.header("x-object-sysmeta-symlink-target"), None);
    let part = cluster.owner("GET", L, &[("range", "bytes=7-")]).await;
    assert_eq!(seen(&part), (206, "789".to_owned()));
    let etag = get.header("etag").expect("an etag").to_owned();
    let quoted = format!("\"{etag}\"");
    assert_eq!(cluster.owner("GET", L, &[("if-match", &quoted)]).await.status, 200);
    assert_eq!(cluster.owner("GET", L, &[("if-none-match", &quoted)]).await.status, 304);
    assert_eq!(cluster.owner("GET", L, &[("if-match", "\"x\"")]).await.status, 412);
    let head = cluster.owner("HEAD", L, &[]).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    let link = cluster.owner("HEAD", &format!("{L}?symlink=get"), &[]).await;
    assert_eq!(link.header("x-symlink-target"), Some("c/o"));
    assert_eq!(link.header("content-type"), Some("application/symlink"));
    assert_eq!(link.header("content-length"), Some("0"));
}

#[tokio::test]
async fn posts_and_deletions_are_the_links() {
    let cluster = linked().await;
    let post = cluster.owner("POST", L, &[("x-object-meta-shape", "round")]).await;
    assert_eq!((post.status, post.header("location")), (307, Some("/v1/AUTH_test/c/o")));
    assert_eq!(post.header("x-object-sysmeta-symlink-target"), None);
    let link = cluster.owner("HEAD", &format!("{L}?symlink=get"), &[]).await;
    assert_eq!(link.header("x-object-meta-shape"), Some("round"));
    assert_eq!(cluster.owner("HEAD", L, &[]).await.header("x-object-meta-shape"), None);
    assert_eq!(cluster.owner("DELETE", L, &[]).await.status, 204);
    assert_eq!(cluster.owner("GET", L, &[]).await.status, 404);
    assert_eq!(cluster.owner("GET", O, &[]).await.status, 200);
}

#[tokio::test]
async fn copies_of_links() {
    let cluster = linked().await;
    assert_eq!(cluster.owner("COPY", L, &[("destination", "c/p")]).await.status, 201);
    let path = "/v1/AUTH_test/c/p?symlink=get";
    assert_eq!(cluster.owner("GET", path, &[]).await.text(), "0123456789");
    let link = format!("{L}?symlink=get");
    assert_eq!(cluster.owner("COPY", &link, &[("destination", "c/p")]).await.status, 201);
    let copy = cluster.owner("GET", path, &[]).await;
    assert_eq!((seen(&copy), copy.header("x-symlink-target")), ((200, String::new()), Some("c/o")));
}

#[tokio::test]
async fn static_links_notice_changes() {
    let cluster = linked().await;
    let etag = cluster.owner("HEAD", O, &[]).await.header("etag").expect("an etag").to_owned();
    let to = |etag| [("x-symlink-target", "c/o"), ("x-symlink-target-etag", etag)];
    let wrong = cluster.put(L, "", &to("abc")).await;
    let sentence =
        format!("Object Etag '{etag}' does not match X-Symlink-Target-Etag header 'abc'");
    assert_eq!(seen(&wrong), (409, sentence));
    assert_eq!(wrong.header("content-location"), Some("/v1/AUTH_test/c/o"));
    assert_eq!(cluster.put(L, "", &to(&etag)).await.status, 201);
    let link = cluster.owner("HEAD", &format!("{L}?symlink=get"), &[]).await;
    assert_eq!(link.header("x-symlink-target-etag"), Some(etag.as_str()));
    assert_eq!(link.header("x-symlink-target-bytes"), Some("10"));
    assert_eq!(link.header("content-type"), Some("application/octet-stream"));
    assert_eq!(cluster.owner("GET", L, &[]).await.status, 200);
    assert_eq!(cluster.put(O, "other", &[]).await.status, 201);
    assert_eq!(cluster.owner("GET", L, &[]).await.status, 409);
}

#[tokio::test]
async fn each_step_is_by_the_callers_right() {
    let cluster = linked().await;
    let far = [("x-symlink-target", "e/o"), ("x-symlink-target-account", "AUTH_other")];
    assert_eq!(cluster.put(L, "", &far).await.status, 201);
    let denied = cluster.owner("GET", L, &[]).await;
    assert_eq!(denied.status, 403);
    let other = [("x-auth-token", "other"), ("content-length", "0")];
    let acl = [&other[..], &[("x-container-read", "test:tester")]].concat();
    assert_eq!(cluster.ask("PUT", "/v1/AUTH_other/e", &acl).await.status, 201);
    assert_eq!(cluster.ask("PUT", "/v1/AUTH_other/e/o", &other).await.status, 201);
    let get = cluster.owner("GET", L, &[]).await;
    assert_eq!((get.status, get.header("content-location")), (200, Some("/v1/AUTH_other/e/o")));
    assert_eq!(cluster.ask("GET", L, &[]).await.status, 401);
}

#[tokio::test]
async fn nodes_are_told_what_listings_show() {
    let cluster = linked().await;
    let node = &cluster.nodes_of("AUTH_test/c/l")[0];
    let seen = node.seen.lock().expect("lock");
    let put = seen.iter().rfind(|seen| seen.method == Method::PUT && seen.path.ends_with("/l"));
    let hash = &put.expect("a write").headers["x-object-sysmeta-container-update-override-etag"];
    assert_eq!(hash, "d41d8cd98f00b204e9800998ecf8427e; symlink_target=c/o");
}

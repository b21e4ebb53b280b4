//! What large objects and links need of an object server: whole manifests, conditions on another ETag, and listings
//! that show other things than the object itself.

use super::tests::{Answer, Fixture, fixture};
use wire::pending_object::{PendingObjectUpdate, PendingObjectUpdates};

const MANIFEST: &str = r#"[{"name": "/c/1"}]"#;

/// A static large object, with container servers to tell that cannot be reached.
async fn put_manifest(server: &Fixture) -> Answer {
    let length = MANIFEST.len().to_string();
    let headers = [
        ("x-timestamp", "1700000001.00000"),
        ("content-type", "text/plain;swift_bytes=5000"),
        ("content-length", length.as_str()),
        ("x-static-large-object", "True"),
        ("x-object-sysmeta-slo-etag", "feed"),
        ("x-object-sysmeta-container-update-override-etag", "abc; slo_etag=feed"),
        ("x-object-transient-sysmeta-crypto", "1"),
        ("x-container-host", "127.0.0.1:1"),
        ("x-container-device", "d7"),
        ("x-container-partition", "99"),
    ];
    server.call("PUT", &headers, MANIFEST).await
}

async fn last_update(server: &Fixture) -> PendingObjectUpdate {
    let page = server.at("/d1?limit=10", "UPDATES", &[], "").await;
    let page: PendingObjectUpdates = serde_json::from_slice(&page.body).expect("a page");
    page.updates.into_iter().next_back().expect("an update waits")
}

#[tokio::test]
async fn manifests_are_sent_whole() {
    let server = fixture().await;
    assert_eq!(put_manifest(&server).await.status, 201);
    let unless = ("x-backend-ignore-range-if-metadata-present", "x-other, X-Static-Large-Object");
    for range in ["bytes=0-1", "bytes=100000-", "bytes=0-1,3-4"] {
        let whole = server.call("GET", &[("range", range), unless], "").await;
        assert_eq!((whole.status, whole.body.as_slice()), (200, MANIFEST.as_bytes()), "{range}");
    }
    let other = ("x-backend-ignore-range-if-metadata-present", "x-object-manifest");
    let part = server.call("GET", &[("range", "bytes=0-1"), other], "").await;
    assert_eq!((part.status, part.body.as_slice()), (206, b"[{".as_slice()));
}

#[tokio::test]
async fn conditions_are_judged_by_the_etag_that_clients_see() {
    let server = fixture().await;
    assert_eq!(put_manifest(&server).await.status, 201);
    let at = ("x-backend-etag-is-at", "X-Object-Sysmeta-Other,X-Object-Sysmeta-Slo-Etag");
    let status = async |name, value| server.call("GET", &[at, (name, value)], "").await.status;
    assert_eq!(status("if-match", "\"feed\"").await, 200);
    assert_eq!(status("if-match", "\"abc\"").await, 412);
    assert_eq!(status("if-none-match", "\"feed\"").await, 304);
    let unmet = server.call("HEAD", &[at, ("if-none-match", "feed")], "").await;
    assert_eq!(unmet.status, 304);
    assert_eq!(unmet.header("x-static-large-object"), "True");
    assert_eq!(unmet.header("x-object-sysmeta-slo-etag"), "feed");
}

#[tokio::test]
async fn listings_show_what_a_manifest_stands_for_whatever_is_posted() {
    let server = fixture().await;
    assert_eq!(put_manifest(&server).await.status, 201);
    let told = last_update(&server).await;
    assert_eq!(told.etag, "abc; slo_etag=feed");
    assert_eq!(told.content_type, "text/plain;swift_bytes=5000");
    let to = [
        ("x-container-host", "127.0.0.1:1"),
        ("x-container-device", "d7"),
        ("x-container-partition", "99"),
    ];
    let posts = [
        ("1700000002.00000", Some("image/jpeg"), "image/jpeg"),
        ("1700000003.00000", None, "image/jpeg"),
    ];
    for (at, new, counts) in posts {
        let mut headers = vec![("x-timestamp", at), ("x-object-sysmeta-slo-etag", "other")];
        headers.extend(to);
        headers.extend(new.map(|new| ("content-type", new)));
        let posted = server.call("POST", &headers, "").await;
        assert_eq!(posted.status, 202);
        assert_eq!(posted.header("x-backend-content-type"), counts);
        assert_eq!(posted.header("x-object-sysmeta-slo-etag"), "feed");
        let told = last_update(&server).await;
        assert_eq!(told.etag, "abc; slo_etag=feed");
        assert_eq!(told.content_type, "image/jpeg;swift_bytes=5000");
        let head = server.call("HEAD", &[], "").await;
        assert_eq!(head.header("content-type"), "image/jpeg");
        assert_eq!(head.header("x-static-large-object"), "True");
        assert_eq!(head.header("x-object-sysmeta-slo-etag"), "feed");
        assert_eq!(head.header("x-object-transient-sysmeta-crypto"), "");
    }
}

#[tokio::test]
async fn too_many_ranges_are_an_attack() {
    let server = fixture().await;
    assert_eq!(server.put("1700000000.00000", "0123456789").await.status, 201);
    let many = (0..51).map(|_| "0-0").collect::<Vec<_>>().join(",");
    for range in [format!("bytes={many}"), "bytes=0-5,1-6,2-7".to_owned()] {
        let refused = server.call("GET", &[("range", range.as_str())], "").await;
        assert_eq!((refused.status, refused.header("content-range")), (416, "bytes */10"));
    }
}

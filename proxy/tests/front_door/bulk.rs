//! Archives that become objects, and lists of what is to be deleted.

use crate::cluster::{Answer, Cluster, config, request};
use bytes::Bytes;
use futures_util::stream;
use http::Method;
use serde_json::{Value, json};
use std::io::Write;
use wire::Body;

const A: &str = "/v1/AUTH_test";

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, name, *data).expect("appended");
    }
    builder.into_inner().expect("an archive")
}

/// Sends a body in pieces, as a client does.
async fn send(
    cluster: &Cluster,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let length = body.len().to_string();
    let mut all = vec![("content-length", length.as_str()), ("accept", "application/json")];
    if headers.iter().all(|(name, _)| *name != "x-auth-token") {
        all.push(("x-auth-token", "owner"));
    }
    all.extend_from_slice(headers);
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        body.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let body = Body::from_stream(stream::iter(pieces));
    cluster.call(request(method, path, &all, body)).await
}

fn json(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("json")
}

fn created(count: u64) -> Value {
    json!({
        "Response Status": "201 Created",
        "Response Body": "",
        "Number Files Created": count,
        "Errors": [],
    })
}

#[tokio::test]
async fn an_archive_becomes_containers_and_objects() {
    let cluster = Cluster::furnished(3).await;
    let large = vec![7u8; 300_000];
    let whole = archive(&[
        ("./c/a", b"one"),
        ("new/dir/b.txt", b"two"),
        ("new/large", &large),
        ("alone", b""),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&whole).expect("written");
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&whole).expect("written");
    let forms = [
        ("tar", whole),
        ("tar.gz", gzip.finish().expect("packed")),
        ("tar.bz2", bzip2.finish().expect("packed")),
    ];
    for (form, body) in forms {
        let path = format!("{A}?extract-archive={form}");
        let headers = [("x-object-meta-from", form)];
        assert_eq!(
            json(&send(&cluster, "PUT", &path, &headers, &body).await),
            created(3),
            "{form}"
        );
        let stored = cluster.owner("GET", &format!("{A}/new/dir/b.txt"), &[]).await;
        assert_eq!((stored.status, stored.text().as_str()), (200, "two"));
        assert_eq!(stored.header("content-type"), Some("text/plain"));
        assert_eq!(stored.header("x-object-meta-from"), Some(form));
        assert_eq!(cluster.owner("GET", &format!("{A}/new/large"), &[]).await.body, large);
        assert_eq!(cluster.owner("GET", &format!("{A}/c/a"), &[]).await.text(), "one");
    }
    // Below a container and a folder in it.
    let below = format!("{A}/c/x/?extract-archive=tar");
    let body = archive(&[("a", b"1")]);
    assert_eq!(json(&send(&cluster, "PUT", &below, &[], &body).await), created(1));
    assert_eq!(cluster.owner("GET", &format!("{A}/c/x/a"), &[]).await.text(), "1");
}

#[tokio::test]
async fn attributes_of_files_are_metadata() {
    let cluster = Cluster::furnished(3).await;
    let mut builder = tar::Builder::new(Vec::new());
    let pax =
        [("SCHILY.xattr.user.mime_type", &b"x/y"[..]), ("SCHILY.xattr.user.meta.color", b"red")];
    builder.append_pax_extensions(pax).expect("appended");
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    builder.append_data(&mut header, "a.txt", &b"1"[..]).expect("appended");
    let body = builder.into_inner().expect("an archive");
    let path = format!("{A}/c?extract-archive=tar");
    assert_eq!(json(&send(&cluster, "PUT", &path, &[], &body).await), created(1));
    let stored = cluster.owner("HEAD", &format!("{A}/c/a.txt"), &[]).await;
    assert_eq!(stored.header("content-type"), Some("x/y"));
    assert_eq!(stored.header("x-object-meta-color"), Some("red"));
}

#[tokio::test]
async fn what_fails_is_named_and_the_rest_is_stored() {
    let mut config = config();
    config.limits.max_object_name_length = 10;
    config.bulk.max_failed_extractions = 2;
    let cluster = Cluster::with(3, config).await;
    let long = "c/a_name_that_is_too_long";
    let body = archive(&[("c/a", b"1"), (long, b"2"), ("c/b", b"3")]);
    let path = format!("{A}?extract-archive=tar");
    let report = json(&send(&cluster, "PUT", &path, &[], &body).await);
    assert_eq!(report["Number Files Created"], 2);
    assert_eq!(report["Response Status"], "400 Bad Request");
    assert_eq!(report["Errors"], json!([[long, "400 Bad Request"]]));
    let body = archive(&[(long, b"1"), (long, b"2"), ("c/c", b"3")]);
    let report = json(&send(&cluster, "PUT", &path, &[], &body).await);
    assert_eq!(report["Number Files Created"], 0, "given up after two");
    assert_eq!(cluster.owner("GET", &format!("{A}/c/c"), &[]).await.status, 404);
}

#[tokio::test]
async fn each_file_is_stored_by_what_the_client_may() {
    let cluster = Cluster::furnished(3).await;
    let acl = [("x-container-write", "other")];
    assert_eq!(cluster.owner("POST", &format!("{A}/c"), &acl).await.status, 204);
    let body = archive(&[("c/a", b"1"), ("new/b", b"2")]);
    let path = format!("{A}?extract-archive=tar");
    let headers = [("x-auth-token", "other")];
    let report = json(&send(&cluster, "PUT", &path, &headers, &body).await);
    assert_eq!(report["Number Files Created"], 1);
    let container = ["/v1/AUTH_test/new", "403 Forbidden"];
    assert_eq!(report["Errors"], json!([container, ["new/b", "403 Forbidden"]]));
    let headers = [("x-auth-token", "")];
    let report = json(&send(&cluster, "PUT", &path, &headers, &body).await);
    assert_eq!(report["Response Status"], "401 Unauthorized");
    assert_eq!(report["Number Files Created"], 0);
}

#[tokio::test]
async fn what_is_no_archive_is_refused() {
    let cluster = Cluster::furnished(3).await;
    let path = format!("{A}?extract-archive=tar");
    let refused = send(&cluster, "PUT", &format!("{A}?extract-archive=zip"), &[], b"").await;
    assert_eq!((refused.status, refused.text().as_str()), (400, "Unsupported archive format"));
    for (form, body) in
        [("tar", &b"x"[..]), ("tar", &[b'x'; 1024]), ("tar.gz", b"no"), ("tar", b"")]
    {
        let path = format!("{A}?extract-archive={form}");
        let report = json(&send(&cluster, "PUT", &path, &[], body).await);
        assert_eq!(report["Response Status"], "400 Bad Request");
        let why = report["Response Body"].as_str().expect("words");
        assert!(why.starts_with("Invalid Tar File: "), "{why}");
    }
    let report = json(&send(&cluster, "PUT", &path, &[], &archive(&[("alone", b"1")])).await);
    assert_eq!(report["Response Body"], "Invalid Tar File: No Valid Files");
    // It breaks off in the middle of a file, which is not stored.
    let whole = archive(&[("c/a", &[1; 100_000])]);
    let report = json(&send(&cluster, "PUT", &path, &[], &whole[..50_000]).await);
    assert_eq!(report["Response Status"], "400 Bad Request");
    assert_eq!(cluster.owner("GET", &format!("{A}/c/a"), &[]).await.status, 404);
    let headers = [("accept", "image/png"), ("x-auth-token", "owner"), ("content-length", "0")];
    let answer = cluster.ask("PUT", &path, &headers).await;
    assert!(answer.text().contains("Response Status: 406 Not Acceptable\n"), "{}", answer.text());
    let answer = cluster.owner("PUT", &path, &[]).await;
    assert!(answer.text().contains("Response Status: 411 Length Required\n"), "{}", answer.text());
}

#[tokio::test]
async fn lists_are_deleted_objects_first() {
    let cluster = Cluster::furnished(3).await;
    for name in ["a", "b%20b"] {
        assert_eq!(cluster.put(&format!("{A}/c/{name}"), "1", &[]).await.status, 201);
    }
    let list = "/c\n\n/c/a\r\n c/b%20b\nc/missing\n\nno\nc/%FF";
    for method in ["POST", "DELETE"] {
        let path = format!("{A}?bulk-delete");
        let headers = [("content-type", "text/plain")];
        let report = json(&send(&cluster, method, &path, &headers, list.as_bytes()).await);
        let deleted = if method == "POST" { 3 } else { 0 };
        assert_eq!(report["Number Deleted"], deleted);
        assert_eq!(report["Number Not Found"], 5 - deleted);
        assert_eq!(report["Errors"], json!([["c/%FF", "412 Precondition Failed"]]));
        assert_eq!(report["Response Status"], "400 Bad Request");
    }
    assert_eq!(cluster.owner("HEAD", &format!("{A}/c"), &[]).await.status, 404);
}

#[tokio::test]
async fn lists_have_limits_and_forms() {
    let mut config = config();
    config.bulk.max_deletes_per_request = 3;
    config.bulk.max_failed_deletes = 2;
    config.bulk.delete_concurrency = 1;
    let cluster = Cluster::with(3, config).await;
    let delete = async |headers: &[(&str, &str)], body: &str| {
        json(&send(&cluster, "POST", &format!("{A}?bulk-delete=1"), headers, body.as_bytes()).await)
    };
    let report = delete(&[], "1\n2\n3\n4\n").await;
    assert_eq!(report["Response Status"], "413 Request Entity Too Large");
    assert_eq!(report["Response Body"], "Maximum Bulk Deletes: 3 per request");
    let report = delete(&[], &"x".repeat(4000)).await;
    assert_eq!(report["Response Body"], "Invalid File Name");
    let report = delete(&[], "").await;
    assert_eq!(report["Response Body"], "Invalid bulk delete.");
    let report = delete(&[], "c/1\nc/2").await;
    assert_eq!(
        (&report["Number Not Found"], &report["Response Status"]),
        (&json!(2), &json!("200 OK"))
    );
    let report = delete(&[("content-type", "application/x-www-form-urlencoded")], "c").await;
    assert_eq!(report["Response Status"], "406 Not Acceptable");
    let report = delete(&[("x-auth-token", "other")], "c/1\nc/2\nc/3").await;
    assert_eq!(report["Response Body"], "Max delete failures exceeded");
    assert_eq!(report["Errors"].as_array().map(Vec::len), Some(2));
    let headers = [("accept", "text/xml")];
    let path = format!("{A}?bulk-delete");
    let all = [headers[0], ("x-auth-token", "owner"), ("content-length", "0")];
    let answer = cluster.ask("POST", &path, &all).await;
    assert_eq!(answer.header("content-type"), Some("text/xml; charset=utf-8"));
    assert!(answer.text().starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<delete>\n"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_gets_spaces() {
    let mut config = config();
    config.node_timeout_ms = 35_000;
    config.request_node_count_per_replica = 1;
    let cluster = Cluster::with(3, config).await;
    assert_eq!(cluster.owner("PUT", &format!("{A}/c"), &[]).await.status, 201);
    for node in &cluster.nodes {
        node.fail(&Method::DELETE, 3, crate::node::Fault::Silence);
    }
    let answer = send(&cluster, "POST", &format!("{A}?bulk-delete"), &[], b"c/o").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("   \r\n\r\n{"), "{}", answer.text());
    let report: Value = serde_json::from_slice(&answer.body).expect("json");
    assert_eq!(report["Response Status"], "502 Bad Gateway");
    assert_eq!(report["Errors"], json!([["c/o", "503 Service Unavailable"]]));
}

#[tokio::test]
async fn both_are_announced() {
    let cluster = Cluster::start(3).await;
    let info: Value =
        serde_json::from_slice(&cluster.ask("GET", "/info", &[]).await.body).expect("json");
    assert_eq!(
        info["bulk_delete"],
        json!({"max_deletes_per_request": 10000, "max_failed_deletes": 1000})
    );
    assert_eq!(info["bulk_upload"]["max_containers_per_extraction"], 10000);
    assert_eq!(info["bulk_upload"]["max_failed_extractions"], 1000);
}

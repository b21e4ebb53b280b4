//! Large objects over an application in memory.

use super::{Config, StaticLargeObjects};
use crate::pipeline::memory::{Answered, Memory, ask};
use crate::pipeline::{Handler, Layered, Middleware};
use http::StatusCode;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use types::hex_encode;

fn md5(text: impl AsRef<[u8]>) -> String {
    hex_encode(&Md5::digest(text))
}

fn around(memory: &Arc<Memory>, config: Config) -> Handler {
    let slo = StaticLargeObjects { config, client_timeout: Duration::from_secs(1), later: None };
    tower::Layer::layer(&Layered(Arc::new(slo)), memory.handler())
}

fn fixture() -> (Arc<Memory>, Handler) {
    let memory = Memory::new();
    for (name, body) in [("s1", "aaaaa"), ("s2", "bbbbb"), ("s3", "c")] {
        memory.put_with(&format!("a/s/{name}"), body, &[("content-type", "x/seg")]);
    }
    let handler = around(&memory, Config::default());
    (memory, handler)
}

async fn put(
    handler: &Handler,
    name: &str,
    manifest: Value,
    headers: &[(&'static str, &str)],
) -> Answered {
    let path = format!("a/c/{name}?multipart-manifest=put");
    ask(handler, "PUT", &path, headers, manifest.to_string()).await
}

async fn get(handler: &Handler, path: &str, headers: &[(&'static str, &str)]) -> Answered {
    ask(handler, "GET", path, headers, "").await
}

fn simple() -> Value {
    json!([{"path": "/s/s1"}, {"path": "s/s2", "etag": md5("bbbbb"), "size_bytes": 5}, {"path": "/s/s3"}])
}

fn simple_etag() -> String {
    md5([md5("aaaaa"), md5("bbbbb"), md5("c")].concat())
}

#[tokio::test]
async fn a_manifest_is_stored_in_swifts_form() {
    let (memory, handler) = fixture();
    let stored = put(&handler, "m", simple(), &[("content-type", "x/y; charset=a")]).await;
    assert_eq!(stored.status, 201, "{:?}", stored.body);
    assert_eq!(stored.header("etag"), format!("\"{}\"", simple_etag()));
    assert_eq!(memory.seen("HEAD").len(), 3);
    let manifest = memory.get("a/c/m").expect("stored");
    let header = |name: &str| manifest.headers[name].to_str().expect("text").to_owned();
    assert_eq!(header("x-static-large-object"), "True");
    assert_eq!(header("x-object-sysmeta-slo-etag"), simple_etag());
    assert_eq!(header("x-object-sysmeta-slo-size"), "11");
    assert_eq!(header("content-type"), "x/y; charset=a;swift_bytes=11");
    assert_eq!(header("content-length"), manifest.body.len().to_string());
    let listed = format!("{}; slo_etag={}", md5(&manifest.body), simple_etag());
    assert_eq!(header("x-object-sysmeta-container-update-override-etag"), listed);
    let first: Value = serde_json::from_slice(&manifest.body).expect("JSON");
    let expected = json!({"name": "/s/s1", "bytes": 5, "hash": md5("aaaaa"), "content_type": "x/seg",
                          "last_modified": "1994-11-06T08:49:37.000000"});
    assert_eq!(first[0], expected);
}

#[tokio::test]
async fn reads_give_the_whole_and_parts_of_it() {
    let (memory, handler) = fixture();
    assert_eq!(put(&handler, "m", simple(), &[]).await.status, 201);
    memory.seen("");
    let whole = get(&handler, "a/c/m", &[]).await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "aaaaabbbbbc"));
    assert_eq!(whole.header("etag"), format!("\"{}\"", simple_etag()));
    assert_eq!(whole.header("content-length"), "11");
    assert_eq!(whole.header("x-static-large-object"), "True");
    assert_eq!(whole.header("x-manifest-etag"), md5(&memory.get("a/c/m").expect("stored").body));
    assert_eq!(memory.seen("GET").len(), 4);

    let part = get(&handler, "a/c/m", &[("range", "bytes=4-5")]).await;
    assert_eq!((part.status, part.text().as_str()), (206, "ab"));
    assert_eq!(part.header("content-range"), "bytes 4-5/11");
    assert_eq!(part.header("content-length"), "2");
    get(&handler, "a/c/m", &[("range", "bytes=-1")]).await;
    let asked = memory.seen("GET");
    assert!(!asked[asked.len() - 1].contains("s1"), "only what is needed is read: {asked:?}");
    let many = get(&handler, "a/c/m", &[("range", "bytes=0-0,9-10")]).await;
    assert_eq!(many.status, 206);
    assert_eq!(many.header("content-length"), many.text().len().to_string());
    assert!(many.text().contains("Content-Range: bytes 9-10/11\r\n\r\nbc\r\n"), "{}", many.text());
    let beyond = get(&handler, "a/c/m", &[("range", "bytes=11-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */11"));

    let head = ask(&handler, "HEAD", "a/c/m", &[("range", "bytes=4-5")], "").await;
    assert_eq!((head.status, head.header("content-length")), (200, "11"));
    assert_eq!(memory.seen("GET").len(), 4 + 1, "HEAD needs no segments");
}

#[tokio::test]
async fn conditions_are_those_of_the_whole() {
    let (_, handler) = fixture();
    assert_eq!(put(&handler, "m", simple(), &[]).await.status, 201);
    let etag = format!("\"{}\"", simple_etag());
    let status = async |name, value: &str| get(&handler, "a/c/m", &[(name, value)]).await.status;
    assert_eq!(status("if-match", &etag).await, 200);
    assert_eq!(status("if-match", "\"x\"").await, 412);
    assert_eq!(status("if-none-match", &etag).await, 304);
    assert_eq!(status("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT").await, 304);
    let unmet = get(&handler, "a/c/m", &[("if-none-match", &etag)]).await;
    assert_eq!((unmet.header("etag"), unmet.text().as_str()), (etag.as_str(), ""));
    let range = async |value: &str| {
        get(&handler, "a/c/m", &[("range", "bytes=0-1"), ("if-range", value)]).await.status
    };
    assert_eq!(range(&etag).await, 206);
    assert_eq!(range("\"x\"").await, 200);
}

#[tokio::test]
async fn manifests_may_hold_data_ranges_and_each_other() {
    let (memory, handler) = fixture();
    let inner = json!([{"path": "/s/s1", "range": "1-3"}, {"data": "SEVMTE8"}, {"path": "/s/s2", "range": "-2"}]);
    assert_eq!(put(&handler, "inner", inner, &[]).await.status, 201);
    assert_eq!(get(&handler, "a/c/inner", &[]).await.text(), "aaaHELLObb");
    let outer = json!([{"path": "/s/s3"}, {"path": "/c/inner", "range": "2-8"}, {"path": "/c/inner", "size_bytes": 10}]);
    assert_eq!(put(&handler, "outer", outer, &[]).await.status, 201);
    assert_eq!(get(&handler, "a/c/outer", &[]).await.text(), "caHELLObaaaHELLObb");
    let part = get(&handler, "a/c/outer", &[("range", "bytes=7-11")]).await;
    assert_eq!(part.text(), "baaaH");
    let written: Value =
        serde_json::from_slice(&memory.get("a/c/outer").expect("stored").body).expect("JSON");
    assert_eq!((&written[1]["sub_slo"], &written[1]["range"]), (&json!(true), &json!("2-8")));
    assert_eq!(written[1]["bytes"], 10);
    let mut last = "inner".to_owned();
    for depth in 0..10 {
        let name = format!("deep{depth}");
        let stored = put(&handler, &name, json!([{"path": format!("c/{last}")}]), &[]).await;
        assert_eq!(stored.status, 201);
        last = name;
    }
    assert_eq!(get(&handler, "a/c/deep8", &[]).await.text(), "aaaHELLObb");
    assert_eq!(get(&handler, "a/c/deep9", &[]).await.status, 409, "nested too deeply");
}

#[tokio::test]
async fn unsound_manifests_store_nothing() {
    let (memory, handler) = fixture();
    memory.put("a/s/empty", "");
    memory.refuse("a/s/secret", StatusCode::FORBIDDEN);
    let bad = json!([
        {"path": "/s/none"}, {"path": "/s/secret"}, {"path": "/s/empty"}, {"path": "/s/s1", "size_bytes": 4},
        {"path": "/s/s1", "etag": "x"}, {"path": "/s/s1", "range": "5-"}
    ]);
    let refused = put(&handler, "m", bad, &[("accept", "application/json")]).await;
    assert_eq!((refused.status, refused.header("content-type")), (400, "application/json"));
    let report: Value = serde_json::from_str(&refused.text()).expect("JSON");
    let expected = json!({"Errors": [
        ["/s/none", "404 Not Found"], ["/s/secret", "403 Forbidden"],
        ["/s/empty", "Too small; each segment must be at least 1 byte."],
        ["/s/s1", "Size Mismatch"], ["/s/s1", "Etag Mismatch"], ["/s/s1", "Unsatisfiable Range"]
    ]});
    assert_eq!(report, expected);
    let other = put(&handler, "m", simple(), &[("etag", "0123")]).await;
    assert_eq!(other.status, 422);
    let right = format!("\"{}\"", simple_etag());
    assert!(memory.get("a/c/m").is_none());
    assert_eq!(put(&handler, "m", simple(), &[("etag", &right)]).await.status, 201);
    let last = json!([{"path": "/s/s1"}, {"path": "/s/empty"}]);
    assert_eq!(put(&handler, "n", last, &[]).await.status, 201, "the last may be empty");
    assert_eq!(get(&handler, "a/c/n", &[]).await.text(), "aaaaa");

    let small = Config { max_manifest_segments: 2, max_manifest_size: 200, ..Config::default() };
    let small = around(&memory, small);
    let status = async |body: String, headers: &[(&'static str, &str)]| {
        ask(&small, "PUT", "a/c/x?multipart-manifest=put", headers, body).await.status
    };
    assert_eq!(status("[1]".into(), &[]).await, 400);
    assert_eq!(status("nonsense".into(), &[]).await, 400);
    assert_eq!(
        status(json!([{"path": "s/a"}, {"path": "s/a"}, {"path": "s/a"}]).to_string(), &[]).await,
        413
    );
    assert_eq!(status(" ".repeat(201), &[]).await, 413);
    assert_eq!(status(" ".repeat(201), &[("transfer-encoding", "chunked")]).await, 413);
    assert_eq!(status("[]".into(), &[("x-copy-from", "/c/o")]).await, 405);
    assert_eq!(status("[]".into(), &[("content-type", "a/b;swift_bytes=1")]).await, 400);
    let reserved = ask(&small, "PUT", "a/c/x", &[("x-static-large-object", "true")], "x").await;
    assert_eq!(reserved.status, 400);
    assert!(memory.get("a/c/x").is_none());
}

#[tokio::test]
async fn heartbeats_come_before_the_report() {
    let (memory, handler) = fixture();
    let put = async |manifest: Value, headers: &[(&'static str, &str)]| {
        let path = "a/c/m?multipart-manifest=put&heartbeat=on";
        let answer = ask(&handler, "PUT", path, headers, manifest.to_string()).await;
        assert_eq!(answer.status, 202);
        let text = answer.text();
        text.strip_prefix(" \r\n\r\n").expect("white space first").to_owned()
    };
    let report = put(simple(), &[]).await;
    let expected = format!(
        "Etag: \"{}\"\nLast Modified: Sun, 06 Nov 1994 08:49:37 GMT\nResponse Body: \n\
         Response Status: 201 Created\nErrors:\n",
        simple_etag()
    );
    assert_eq!(report, expected);
    assert!(memory.get("a/c/m").is_some());
    let report = put(json!([{"path": "s/none"}]), &[]).await;
    assert!(report.contains("Response Status: 400 Bad Request\n"), "{report}");
    assert!(report.ends_with("Errors:\ns/none, 404 Not Found\n"), "{report}");
    let report = put(simple(), &[("etag", "x"), ("accept", "application/json")]).await;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["Response Status"], "422 Unprocessable Entity");
}

#[tokio::test]
async fn a_segment_that_changed_is_not_served() {
    let (memory, handler) = fixture();
    assert_eq!(put(&handler, "m", simple(), &[]).await.status, 201);
    memory.put("a/s/s2", "BBBBB");
    assert_eq!(get(&handler, "a/c/m", &[]).await.body, None, "the connection ends");
    memory.put("a/s/s1", "AAAAA");
    assert_eq!(get(&handler, "a/c/m", &[]).await.status, 409);
    memory.refuse("a/s/s1", StatusCode::FORBIDDEN);
    assert_eq!(get(&handler, "a/c/m", &[]).await.status, 409);
    memory.refuse("a/s/s1", StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&handler, "a/c/m", &[]).await.status, 503);
}

#[tokio::test]
async fn manifests_can_be_read_themselves() {
    let (memory, handler) = fixture();
    assert_eq!(put(&handler, "m", simple(), &[("content-type", "x/y")]).await.status, 201);
    let text = memory.get("a/c/m").expect("stored").body;
    let manifest = get(&handler, "a/c/m?multipart-manifest=get", &[]).await;
    assert_eq!(manifest.body, Some(text.clone()));
    assert_eq!(manifest.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(manifest.header("etag"), md5(&text));
    let raw =
        get(&handler, "a/c/m?multipart-manifest=get&format=raw", &[("range", "bytes=0-1")]).await;
    assert_eq!(raw.header("content-type"), "x/y;swift_bytes=11");
    assert_eq!(raw.header("etag"), md5(raw.text()));
    let value: Value = serde_json::from_str(&raw.text()).expect("JSON");
    assert_eq!(value[1], json!({"path": "/s/s2", "etag": md5("bbbbb"), "size_bytes": 5}));
    assert_eq!(put(&handler, "again", value, &[]).await.status, 201);
    assert_eq!(memory.get("a/c/again").expect("stored").body, text, "it makes the same manifest");
}

#[tokio::test]
async fn segments_have_numbers() {
    let (_, handler) = fixture();
    assert_eq!(put(&handler, "m", simple(), &[]).await.status, 201);
    for method in ["GET", "HEAD"] {
        let second = ask(&handler, method, "a/c/m?part-number=2", &[], "").await;
        assert_eq!(second.status, 206);
        assert_eq!(second.header("content-range"), "bytes 5-9/11");
        assert_eq!((second.header("content-length"), second.header("x-parts-count")), ("5", "3"));
        assert_eq!(second.text(), if method == "GET" { "bbbbb" } else { "" });
        let fourth = ask(&handler, method, "a/c/m?part-number=4", &[], "").await;
        assert_eq!((fourth.status, fourth.header("content-range")), (416, "bytes */11"));
        assert_eq!(fourth.header("content-length"), fourth.text().len().to_string());
    }
    for bad in ["0", "-1", "x", ""] {
        assert_eq!(
            get(&handler, &format!("a/c/m?part-number={bad}"), &[]).await.status,
            400,
            "{bad}"
        );
    }
    let both = get(&handler, "a/c/m?part-number=1", &[("range", "bytes=0-1")]).await;
    assert_eq!(both.status, 400);
    assert_eq!(get(&handler, "a/s/s1?part-number=7", &[]).await.status, 200, "no manifest");
}

#[tokio::test]
async fn deleting_takes_segments_along() {
    let (memory, handler) = fixture();
    assert_eq!(put(&handler, "inner", simple(), &[]).await.status, 201);
    let outer = json!([{"path": "c/inner"}, {"path": "s/s1"}, {"data": "aGk="}]);
    assert_eq!(put(&handler, "outer", outer, &[]).await.status, 201);
    memory.seen("");
    let deleted = ask(
        &handler,
        "DELETE",
        "a/c/outer?multipart-manifest=delete",
        &[("accept", "application/json")],
        "",
    )
    .await;
    assert_eq!(deleted.status, 200);
    let report: Value = serde_json::from_str(&deleted.text()).expect("JSON");
    let expected = json!({"Number Deleted": 5, "Number Not Found": 1, "Response Body": "",
                          "Response Status": "200 OK", "Errors": []});
    assert_eq!(report, expected, "s1 is there twice");
    assert_eq!(memory.objects.lock().expect("lock").len(), 0);
    let order = memory.seen("DELETE");
    assert!(
        order.iter().position(|line| line.ends_with("inner"))
            > order.iter().position(|line| line.ends_with("s3"))
    );

    let gone = ask(&handler, "DELETE", "a/c/outer?multipart-manifest=delete", &[], "").await;
    assert!(gone.text().contains("Number Not Found: 1\n"), "{}", gone.text());
    memory.put("a/c/plain", "x");
    let plain = ask(&handler, "DELETE", "a/c/plain?multipart-manifest=delete", &[], "").await;
    assert!(plain.text().ends_with("Errors:\n/c/plain, Not an SLO manifest\n"), "{}", plain.text());
    assert!(memory.get("a/c/plain").is_some());
}

#[tokio::test]
async fn listings_show_the_etag_of_the_whole() {
    let (memory, handler) = fixture();
    assert_eq!(put(&handler, "m", simple(), &[]).await.status, 201);
    let listing = get(&handler, "a/c", &[]).await;
    let rows: Value = serde_json::from_str(&listing.text()).expect("JSON");
    assert_eq!(rows[0]["hash"], md5(&memory.get("a/c/m").expect("stored").body));
    assert_eq!(rows[0]["slo_etag"], format!("\"{}\"", simple_etag()));
}

#[tokio::test]
async fn old_manifests_tell_their_etag_by_their_segments() {
    let (memory, handler) = fixture();
    let text = json!([{"name": "/s/s1", "bytes": 5, "hash": md5("aaaaa")}, {"name": "/s/s3", "bytes": 1, "hash": md5("c")}]);
    memory.put_with("a/c/old", text.to_string(), &[("x-static-large-object", "true")]);
    let etag = format!("\"{}\"", md5([md5("aaaaa"), md5("c")].concat()));
    let head = ask(&handler, "HEAD", "a/c/old", &[], "").await;
    assert_eq!((head.header("etag"), head.header("content-length")), (etag.as_str(), "6"));
    assert_eq!(get(&handler, "a/c/old", &[]).await.text(), "aaaaac");
    assert_eq!(get(&handler, "a/c/old", &[("if-match", &etag)]).await.text(), "aaaaac");
    assert_eq!(get(&handler, "a/c/old", &[("if-none-match", &etag)]).await.status, 304);
}

#[test]
fn the_section_of_info_has_swifts_keys() {
    let slo = StaticLargeObjects {
        config: Config::default(),
        client_timeout: Duration::ZERO,
        later: None,
    };
    let (name, section) = slo.info().expect("a section");
    let expected = json!({"max_manifest_segments": 1000, "max_manifest_size": 8_388_608, "yield_frequency": 10,
                          "min_segment_size": 1, "allow_async_delete": false});
    assert_eq!((name, section), ("slo", expected));
}

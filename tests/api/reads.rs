//! Ranges, conditions, and asking for the newest.

use crate::Server;
use anyhow::{Context, Result};
use tests::Answer;

const TEXT: &str = "0123456789";

async fn with_object() -> Result<Server> {
    let server = Server::start().await?;
    server.put("/c/o", TEXT).await?;
    Ok(server)
}

async fn range(server: &Server, range: &str) -> Result<Answer> {
    server.client.ask("GET", "/c/o", &[("Range", range)], "").await
}

#[tokio::test]
async fn one_range() -> Result<()> {
    let server = with_object().await?;
    let cases = [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=-100", "bytes 0-9/10", TEXT),
        ("bytes=8-99999999999", "bytes 8-9/10", "89"),
        ("bytes=20-30,1-2", "bytes 1-2/10", "12"),
    ];
    for (asked, content_range, bytes) in cases {
        let answer = range(&server, asked).await?;
        assert_eq!((answer.status, answer.text().as_str()), (206, bytes), "{asked}");
        assert_eq!(answer.header("content-range"), content_range, "{asked}");
        assert_eq!(answer.header("content-length"), bytes.len().to_string(), "{asked}");
    }
    // What is no range at all is as if it were not there.
    for asked in ["bytes=", "bytes=5-2", "bytes=a-b", "bytes=-", "5-7", "bytes=1-2,x", "lines=1-2"]
    {
        let answer = range(&server, asked).await?;
        assert_eq!((answer.status, answer.text().as_str()), (200, TEXT), "{asked}");
    }
    for asked in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"] {
        let answer = range(&server, asked).await?;
        assert_eq!(answer.status, 416, "{asked}");
        assert_eq!(answer.header("content-range"), "bytes */10", "{asked}");
        assert!(!answer.text().contains(TEXT));
    }
    Ok(())
}

#[tokio::test]
async fn several_ranges() -> Result<()> {
    let server = with_object().await?;
    let answer = range(&server, "bytes=0-1,4-5,-1").await?;
    assert_eq!(answer.status, 206);
    let kind = answer.header("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges;boundary=").context("a boundary")?;
    let part = |place: &str, bytes: &str| {
        format!(
            "--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: bytes {place}/10\r\n\r\n{bytes}\r\n"
        )
    };
    let parts = [part("0-1", "01"), part("4-5", "45"), part("9-9", "9")].concat();
    assert_eq!(answer.text(), format!("{parts}--{boundary}--"));
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    // More than anybody needs, only to make work: refused as in Swift.
    let many = format!("bytes={}", vec!["0-0"; 51].join(","));
    assert_eq!(range(&server, &many).await?.status, 416);
    let overlapping = "bytes=0-5,1-6,2-7,3-8";
    assert_eq!(range(&server, overlapping).await?.status, 416);
    let backwards = "bytes=9-9,8-8,7-7,6-6,5-5,4-4,3-3,2-2";
    assert_eq!(range(&server, backwards).await?.status, 416);
    Ok(())
}

#[tokio::test]
async fn conditions_of_reads() -> Result<()> {
    let server = with_object().await?;
    let client = &server.client;
    let head = client.head("/c/o").await?;
    let (etag, modified) = (head.header("etag"), head.header("last-modified"));
    let quoted = format!("\"{etag}\"");
    let list = format!("\"other\", {quoted}");
    const PAST: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
    const FUTURE: &str = "Fri, 01 Jan 2100 00:00:00 GMT";
    let cases = [
        ("If-Match", quoted.as_str(), 200),
        ("If-Match", etag, 200),
        ("If-Match", "*", 200),
        ("If-Match", &list, 200),
        ("If-Match", "\"other\"", 412),
        ("If-None-Match", &quoted, 304),
        ("If-None-Match", &list, 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Modified-Since", PAST, 200),
        ("If-Modified-Since", modified, 304),
        ("If-Modified-Since", FUTURE, 304),
        ("If-Modified-Since", "not a date", 200),
        ("If-Unmodified-Since", PAST, 412),
        ("If-Unmodified-Since", modified, 200),
        ("If-Unmodified-Since", FUTURE, 200),
    ];
    for (name, value, status) in cases {
        for method in ["GET", "HEAD"] {
            let answer = client.ask(method, "/c/o", &[(name, value)], "").await?;
            assert_eq!(answer.status, status, "{method} {name}: {value}");
            assert_eq!(answer.header("etag"), etag, "{method} {name}: {value}");
            let text = if method == "GET" && status == 200 { TEXT } else { "" };
            if status != 412 {
                assert_eq!(answer.text(), text, "{method} {name}: {value}");
            }
        }
    }
    let missing = client.ask("GET", "/c/none", &[("If-Match", "*")], "").await?;
    assert_eq!(missing.status, 412);
    let missing = client.ask("GET", "/c/none", &[("If-None-Match", "*")], "").await?;
    assert_eq!(missing.status, 404);
    Ok(())
}

#[tokio::test]
async fn the_newest_is_asked_for() -> Result<()> {
    let server = with_object().await?;
    let client = &server.client;
    let newest = [("X-Newest", "true")];
    assert_eq!(client.ask("GET", "/c/o", &newest, "").await?.text(), TEXT);
    assert_eq!(client.ask("GET", "/c", &newest, "").await?.text(), "o\n");
    assert_eq!(client.ask("HEAD", "", &newest, "").await?.status, 204);
    assert_eq!(client.delete("/c/o").await?.status, 204);
    assert_eq!(client.ask("GET", "/c/o", &newest, "").await?.status, 404);
    Ok(())
}

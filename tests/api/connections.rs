//! Connections: kept, broken, and held by clients that do nothing.

use crate::Server;
use anyhow::Result;
use std::time::Duration;
use tests::raw::Raw;

#[tokio::test]
async fn several_requests_share_a_connection() -> Result<()> {
    let mut server = Server::start().await?;
    server.put("/c/o", "hello").await?;
    let mut raw = Raw::connect(server.apus.address()?).await?;
    // All at once: answers come in the order of the requests.
    let requests = [
        ("GET", "/c/o", 200),
        ("HEAD", "/c/o", 200),
        ("GET", "/c/none", 404),
        ("HEAD", "/c", 204),
        ("DELETE", "/c/none", 404),
        ("GET", "/c/o", 200),
    ];
    let all: String =
        requests.iter().map(|(method, path, _)| server.head(method, path) + "\r\n").collect();
    raw.send(all).await?;
    for (method, path, status) in requests {
        let answer = raw.answer_to(method).await?;
        assert_eq!(answer.status, status, "{method} {path}");
        let body = if method == "GET" && status == 200 { "hello" } else { "" };
        assert!(answer.text().starts_with(body), "{method} {path}: {answer:?}");
    }
    // Refused before its body was read: the body must not be taken for a request.
    let smuggled = "DELETE /c/o HTTP/1.1\r\n\r\n";
    let head = server.head("PUT", "/missing/o");
    raw.send(format!("{head}Content-Length: {}\r\n\r\n{smuggled}", smuggled.len())).await?;
    assert_eq!(raw.answer().await?.status, 404);
    server.holds(&["o"]).await
}

#[tokio::test]
async fn an_old_client_gets_an_answer_and_an_end() -> Result<()> {
    let server = Server::start().await?;
    let mut raw = Raw::connect(server.apus.address()?).await?;
    raw.send("GET /healthcheck HTTP/1.0\r\n\r\n").await?;
    assert_eq!(raw.answer().await?.text(), "OK");
    assert!(raw.is_closed().await?);
    Ok(())
}

#[tokio::test]
async fn readers_that_vanish_leave_nothing_behind() -> Result<()> {
    let mut server = Server::start().await?;
    let large = vec![b'x'; 20_000_000];
    assert_eq!(server.client.put("/c/large", large.clone()).await?.status, 201);
    assert_eq!(server.client.get("/c/large").await?.body.len(), large.len());
    let before = server.apus.resident_bytes()?;
    for _ in 0..5 {
        let mut readers = Vec::new();
        for _ in 0..20 {
            let mut raw = Raw::connect(server.apus.address()?).await?;
            raw.send(server.head("GET", "/c/large") + "\r\n").await?;
            raw.read_some().await?;
            readers.push(raw);
        }
        // All hang up in the middle of the body.
        drop(readers);
    }
    assert_eq!(server.client.get("/c/large").await?.body, large);
    let grown = server.apus.resident_bytes()?.saturating_sub(before);
    // A hundred readers of 20 MB each were here; a few buffers may be kept, not what they did not read.
    assert!(grown < 200 << 20, "{grown} bytes are still held");
    server.holds(&["large"]).await
}

#[tokio::test]
async fn clients_that_say_nothing_are_in_nobodys_way() -> Result<()> {
    let mut server = Server::start().await?;
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut raw = Raw::connect(server.apus.address()?).await?;
        if number % 2 == 0 {
            raw.send("PUT /v1/AUTH_admin/c/o HTT").await?;
        }
        silent.push(raw);
    }
    let asked = tokio::time::timeout(Duration::from_secs(10), server.put("/c/o", "x"));
    asked.await??;
    server.holds(&["o"]).await
}

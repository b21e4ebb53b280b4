//! Bodies: how they are announced, checked, and what happens when they are not as announced.

use crate::{Server, refusal};
use anyhow::Result;
use tests::client::etag;
use tests::raw::Raw;
use tests::{Answer, Options};

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_continue() -> Result<()> {
    let mut server = Server::start().await?;
    let mut raw = Raw::connect(server.apus.address()?).await?;
    let head = server.head("PUT", "/c/o") + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    raw.send(head).await?;
    assert_eq!(raw.answer().await?.status, 100);
    raw.send("hello").await?;
    assert_eq!(raw.answer().await?.status, 201);
    // The same connection goes on.
    raw.send(server.head("GET", "/c/o") + "\r\n").await?;
    assert_eq!(raw.answer().await?.text(), "hello");
    // Who may not, or has nowhere to put it, need not send anything.
    let mut refused = Raw::connect(server.apus.address()?).await?;
    let head = server.head("PUT", "/missing/o");
    refused.send(head + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n").await?;
    assert_eq!(refused.answer().await?.status, 404);
    server.holds(&["o"]).await
}

#[tokio::test]
async fn a_body_comes_in_chunks() -> Result<()> {
    let mut server = Server::start().await?;
    let mut raw = Raw::connect(server.apus.address()?).await?;
    let chunked = server.head("PUT", "/c/o") + "Transfer-Encoding: chunked\r\n\r\n";
    raw.send(chunked.clone() + "5\r\nhello\r\n").await?;
    raw.send("6;a=b\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n").await?;
    let stored = raw.answer().await?;
    assert_eq!((stored.status, stored.header("etag")), (201, etag(b"hello world").as_str()));
    raw.send(chunked.replace("/c/o", "/c/empty") + "0\r\n\r\n").await?;
    assert_eq!(raw.answer().await?.status, 201);
    let get = server.client.get("/c/o").await?;
    assert_eq!((get.header("content-length"), get.text().as_str()), ("11", "hello world"));
    // One that is too large to be collected first.
    let large = "x".repeat(100_000);
    raw.send(chunked.replace("/c/o", "/c/large")).await?;
    for _ in 0..30 {
        raw.send(format!("{:X}\r\n{large}\r\n", large.len())).await?;
    }
    raw.send("0\r\n\r\n").await?;
    let stored = raw.answer().await?;
    let expected = large.repeat(30);
    assert_eq!((stored.status, stored.header("etag")), (201, etag(expected.as_bytes()).as_str()));
    assert_eq!(server.client.get("/c/large").await?.body, expected);

    // Chunks that are none, or have no end.
    for bad in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhel",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
    ] {
        let mut raw = Raw::connect(server.apus.address()?).await?;
        raw.send(chunked.replace("/c/o", "/c/bad") + bad).await?;
        if bad == "5\r\nhel" {
            drop(raw);
        } else if let Ok(answer) = raw.answer().await {
            assert!((400..500).contains(&answer.status), "{bad:?}: {answer:?}");
        }
        server.holds(&["empty", "large", "o"]).await?;
        assert_eq!(server.client.get("/c/bad").await?.status, 404, "{bad:?}");
    }
    Ok(())
}

/// Two lengths are a way to smuggle a request past somebody else; the coding decides, as RFC 9112 says.
#[tokio::test]
async fn two_lengths_are_one_body() -> Result<()> {
    let mut server = Server::start().await?;
    let mut raw = Raw::connect(server.apus.address()?).await?;
    let head =
        server.head("PUT", "/c/o") + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    raw.send(head + "5\r\nhello\r\n0\r\n\r\n").await?;
    let answer = raw.answer().await?;
    if answer.status == 201 {
        assert_eq!(server.client.get("/c/o").await?.text(), "hello");
        server.holds(&["o"]).await
    } else {
        assert_eq!(answer.status, 400);
        server.holds(&[]).await
    }
}

#[tokio::test]
async fn lengths_that_cannot_be() -> Result<()> {
    let mut server = Server::start().await?;
    let cases = [
        ("", 411),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: five\r\n", 400),
        ("Content-Length: 5, 6\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 99999999999999999999999\r\n", 400),
        ("Content-Length: 5368709123\r\n", 413),
        ("Transfer-Encoding: gzip\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
    ];
    for (headers, status) in cases {
        let request = server.head("PUT", "/c/o") + headers + "\r\nhello";
        let answer = tests::raw::exchange(server.apus.address()?, request).await?;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        assert_eq!(server.client.get("/c/o").await?.status, 404, "{headers:?}");
    }
    server.holds(&[]).await
}

#[tokio::test]
async fn a_body_that_is_not_what_was_said() -> Result<()> {
    let mut server = Server::start().await?;
    let put = async |etag: &str| server.client.ask("PUT", "/c/o", &[("ETag", etag)], "hello").await;
    assert_eq!(put("00000000000000000000000000000000").await?.status, 422);
    assert_eq!(put("nonsense").await?.status, 422);
    assert_eq!(server.client.get("/c/o").await?.status, 404);
    let right = etag(b"hello");
    assert_eq!(put(&right).await?.status, 201);
    assert_eq!(put(&format!("\"{right}\"")).await?.status, 201);
    assert_eq!(put(&etag(b"other")).await?.status, 422);
    assert_eq!(server.client.get("/c/o").await?.text(), "hello", "the old one stays");
    server.holds(&["o"]).await
}

#[tokio::test]
async fn only_if_there_is_none() -> Result<()> {
    let mut server = Server::start().await?;
    let put = async |value: &str| -> Result<Answer> {
        server.client.ask("PUT", "/c/o", &[("If-None-Match", value)], "x").await
    };
    let refused = refusal(&put("\"abc\"").await?);
    assert_eq!(refused, (400, "If-None-Match only supports *".to_owned()));
    assert_eq!(put("*").await?.status, 201);
    assert_eq!(put("*").await?.status, 412);
    assert_eq!(server.client.delete("/c/o").await?.status, 204);
    assert_eq!(put("*").await?.status, 201);
    server.holds(&["o"]).await
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() -> Result<()> {
    let mut server = Server::start().await?;
    server.put("/c/kept", "old").await?;
    for sent in [0, 10, 99] {
        for name in ["new", "kept"] {
            let mut raw = Raw::connect(server.apus.address()?).await?;
            let head = server.head("PUT", &format!("/c/{name}"));
            raw.send(head + "Content-Length: 100\r\n\r\n").await?;
            raw.send(vec![b'x'; sent]).await?;
        }
    }
    // A large one, of which much was already passed on.
    let mut raw = Raw::connect(server.apus.address()?).await?;
    raw.send(server.head("PUT", "/c/new") + "Content-Length: 30000000\r\n\r\n").await?;
    raw.send(vec![b'x'; 20_000_000]).await?;
    drop(raw);
    tests::patience::until_no_complaint(std::time::Duration::from_secs(30), || async {
        let text = server.client.at("GET", "/metrics", &[], "").await?.text();
        let gone = crate::metric(
            &text,
            "apus_requests_total{server=\"proxy\",method=\"PUT\",status=\"4xx\"}",
        )
        .unwrap_or(0.0);
        Ok((gone < 7.0).then(|| format!("{gone} uploads have ended")).into_iter().collect())
    })
    .await?;
    assert_eq!(server.client.get("/c/new").await?.status, 404);
    assert_eq!(server.client.get("/c/kept").await?.text(), "old");
    server.holds(&["kept"]).await
}

#[tokio::test]
async fn a_client_that_stops_sending_is_not_waited_for() -> Result<()> {
    let options = Options::default().with("APUS_PROXY__CLIENT_TIMEOUT_MS", "200");
    let mut server = Server::start_with(options).await?;
    for length in [100, 5_000_000] {
        let mut raw = Raw::connect(server.apus.address()?).await?;
        let head = server.head("PUT", "/c/o") + &format!("Content-Length: {length}\r\n\r\n");
        raw.send(head).await?;
        raw.send(vec![b'x'; length / 2]).await?;
        assert_eq!(raw.answer().await?.status, 408, "{length}");
        assert!(raw.is_closed().await?, "nobody knows where the next request would begin");
    }
    assert_eq!(server.client.get("/c/o").await?.status, 404);
    server.holds(&[]).await
}

#[tokio::test]
async fn a_body_of_unknown_length_has_a_limit() -> Result<()> {
    let options = Options::default().with("APUS_LIMITS__MAX_FILE_SIZE", "1000000");
    let mut server = Server::start_with(options).await?;
    assert_eq!(server.client.put("/c/large", vec![1; 1_000_000]).await?.status, 201);
    assert_eq!(server.client.put("/c/larger", vec![1; 1_000_001]).await?.status, 413);
    let mut raw = Raw::connect(server.apus.address()?).await?;
    raw.send(server.head("PUT", "/c/larger") + "Transfer-Encoding: chunked\r\n\r\n").await?;
    for _ in 0..40 {
        if raw.send(format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000))).await.is_err() {
            break;
        }
    }
    // The server has seen enough before the end of the body; whether its answer is still seen is TCP's choice.
    if let Ok(answer) = raw.answer().await {
        assert_eq!(answer.status, 413);
    }
    assert_eq!(server.client.get("/c/larger").await?.status, 404);
    server.holds(&["large"]).await
}

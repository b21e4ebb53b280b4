//! What is over a limit, not text, unknown or impossible is refused with Swift's status, and nothing happens.

use crate::{Server, refusal};
use anyhow::Result;
use tests::raw::exchange;

#[tokio::test]
async fn names_have_limits() -> Result<()> {
    let mut server = Server::start().await?;
    let client = &server.client;
    let long = |length| "n".repeat(length);
    // Bytes count, not letters.
    let letters = "%C3%BC".repeat(512);
    assert_eq!(client.put(&format!("/c/{letters}"), "x").await?.status, 201);
    assert_eq!(client.delete(&format!("/c/{letters}")).await?.status, 204);
    let refused = refusal(&client.put(&format!("/c/{letters}n"), "x").await?);
    assert_eq!(refused, (400, "Object name length of 1025 longer than 1024".to_owned()));
    assert_eq!(client.put(&format!("/{}", long(256)), "").await?.status, 201);
    let refused = refusal(&client.put(&format!("/{}", long(257)), "").await?);
    assert_eq!(refused, (400, "Container name length of 257 longer than 256".to_owned()));
    for method in ["GET", "HEAD", "DELETE", "POST"] {
        let object = client.ask(method, &format!("/c/{}", long(1025)), &[], "").await?;
        assert_eq!(object.status, 404, "{method}");
    }
    assert_eq!(client.get("?format=json").await?.json()?.as_array().map(Vec::len), Some(2));
    server.holds(&[]).await
}

#[tokio::test]
async fn paths_that_are_no_text() -> Result<()> {
    let mut server = Server::start().await?;
    for name in ["%FF", "a%00b", "%C3", "%ED%A0%80", "%F5%80%80%80"] {
        for path in [format!("/c/{name}"), format!("/{name}"), format!("/{name}/o")] {
            for method in ["PUT", "GET", "HEAD", "DELETE", "POST"] {
                let answer = server.client.ask(method, &path, &[], "").await?;
                assert_eq!(answer.status, 412, "{method} {path}");
            }
        }
    }
    for (path, status) in [("/", 404), ("/v1", 412), ("/v9/AUTH_admin/c", 400), ("/nothing", 412)] {
        let answer = server.client.at("GET", path, &[], "").await?;
        assert_eq!(answer.status, status, "{path}");
    }
    server.holds(&[]).await
}

#[tokio::test]
async fn metadata_has_limits() -> Result<()> {
    let mut server = Server::start().await?;
    let client = &server.client;
    server.put("/c/o", "x").await?;
    for (kind, method, path) in [
        ("Object", "PUT", "/c/new"),
        ("Object", "POST", "/c/o"),
        ("Container", "PUT", "/new"),
        ("Container", "POST", "/c"),
        ("Account", "POST", ""),
    ] {
        let prefix = format!("X-{kind}-Meta-");
        let name = |length: usize| format!("{prefix}{}", "n".repeat(length));
        let (long_name, short_name) = (name(129), name(1));
        let (empty_name, value, many_letters) = (name(0), "v".repeat(257), "v".repeat(256));
        let many: Vec<String> = (0..91).map(|number| format!("{prefix}{number}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
        let large: Vec<String> = (10..27).map(|number| format!("{prefix}{number}")).collect();
        let large: Vec<(&str, &str)> =
            large.iter().map(|name| (name.as_str(), many_letters.as_str())).collect();
        let cases: [(&str, &[(&str, &str)]); 5] = [
            ("Metadata name too long", &[(&long_name, "1")]),
            ("Metadata value longer than 256", &[(&short_name, &value)]),
            ("Metadata name cannot be empty", &[(&empty_name, "1")]),
            ("Too many metadata items; max 90", &many),
            ("Total metadata too large; max 4096", &large),
        ];
        for (sentence, headers) in cases {
            let answer = client.ask(method, path, headers, "").await?;
            let (status, text) = refusal(&answer);
            assert_eq!(status, 400, "{method} {path}: {sentence}");
            assert!(text.starts_with(sentence), "{method} {path}: {text}");
        }
    }
    assert_eq!(client.get("/c/new").await?.status, 404);
    assert_eq!(client.get("/new").await?.status, 404);
    let kept = client.head("/c/o").await?;
    assert!(!kept.headers.keys().any(|name| name.as_str().starts_with("x-object-meta-")));
    // Metadata of containers adds up over requests, and so does its limit.
    let add = async |first: u32, count: u32| {
        let names: Vec<String> =
            (first..first + count).map(|number| format!("X-Container-Meta-{number}")).collect();
        let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        client.ask("POST", "/c", &headers, "").await
    };
    assert_eq!(add(0, 60).await?.status, 204);
    assert_eq!(add(60, 31).await?.status, 400, "91 items");
    assert_eq!(add(60, 30).await?.status, 204, "90 items");
    server.holds(&["o"]).await
}

#[tokio::test]
async fn headers_have_limits() -> Result<()> {
    let mut server = Server::start().await?;
    let address = server.apus.address()?;
    let put = |headers: &str| server.head("PUT", "/c/o") + headers + "Content-Length: 1\r\n\r\nx";
    let long = exchange(address, put(&format!("X-Long: {}\r\n", "v".repeat(8193)))).await?;
    assert_eq!(long.status, 400);
    let many: String = (0..130).map(|number| format!("X-H-{number}: 1\r\n")).collect();
    assert_eq!(exchange(address, put(&many)).await?.status, 400);
    // More than is kept in memory of any head.
    let huge: String = (0..40).map(|n| format!("X-H-{n}: {}\r\n", "v".repeat(8000))).collect();
    assert_eq!(exchange(address, put(&huge)).await?.status, 431);
    let endless = exchange(address, put(&format!("X-Long: {}", "v".repeat(1 << 20)))).await?;
    assert_eq!(endless.status, 431);
    let path = format!("/c/{}", "n".repeat(200_000));
    let answer = exchange(address, server.head("GET", &path) + "\r\n").await?;
    assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    assert_eq!(server.client.get("/c/o").await?.status, 404);
    server.holds(&[]).await
}

#[tokio::test]
async fn requests_that_are_no_http() -> Result<()> {
    let mut server = Server::start().await?;
    let address = server.apus.address()?;
    let cases: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n\r\n",
        b"GET /v1/ a b HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n X: folded\r\n\r\n",
    ];
    for request in cases {
        let answer = exchange(address, request).await;
        // Some are answered, with others the connection just ends.
        if let Ok(answer) = answer {
            let text = String::from_utf8_lossy(request);
            assert!((400..506).contains(&answer.status), "{text:?}: {answer:?}");
        }
        server.holds(&[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn unknown_methods() -> Result<()> {
    let mut server = Server::start().await?;
    server.put("/c/o", "x").await?;
    for method in ["PATCH", "BREW", "TRACE", "get", "REPLICATE", "SSYNC", "UPDATE", "UPDATES"] {
        for path in ["", "/c", "/c/o"] {
            let answer = server.client.ask(method, path, &[], "").await?;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.header("allow").contains("GET"), "{method} {path}: {answer:?}");
        }
    }
    server.holds(&["o"]).await
}

#[tokio::test]
async fn what_is_not_available_is_not_half_done() -> Result<()> {
    let mut server = Server::start().await?;
    let client = &server.client;
    server.put("/c/o", "x").await?;
    for header in [("X-Container-Sync-To", "//realm/x"), ("X-Container-Sharding", "on")] {
        let answer = client.ask("PUT", "/new", &[header], "").await?;
        assert_eq!(answer.status, 501, "{header:?}");
        assert!(answer.text().ends_with("is not available on this cluster yet"), "{answer:?}");
    }
    assert_eq!(client.get("/new").await?.status, 404);
    server.holds(&["o"]).await
}

/// Headers by which services talk to each other have no meaning when a client sends them.
#[tokio::test]
async fn internal_headers_do_nothing() -> Result<()> {
    let mut server = Server::start().await?;
    let headers = [
        ("X-Timestamp", "9999999999.00000"),
        ("X-Backend-Timestamp", "9999999999.00000"),
        ("X-Backend-Storage-Policy-Index", "7"),
        ("X-Backend-Replication", "true"),
        ("X-Backend-Allow-Reserved-Names", "true"),
        ("X-Object-Sysmeta-Secret", "1"),
        ("X-Object-Transient-Sysmeta-Secret", "1"),
        ("X-Container-Host", "127.0.0.1:1"),
        ("X-Container-Device", "d1"),
        ("X-Container-Partition", "1"),
        ("X-Trans-Id", "tx-mine"),
    ];
    let put = server.client.ask("PUT", "/c/o", &headers, "x").await?;
    assert_eq!(put.status, 201);
    assert_ne!(put.header("x-trans-id"), "tx-mine");
    let head = server.client.head("/c/o").await?;
    assert!(!head.header("x-timestamp").starts_with("9999999999"), "{head:?}");
    let inside = |name: &str| name.contains("sysmeta") || name.starts_with("x-backend");
    assert!(!head.headers.keys().any(|name| inside(name.as_str())), "{head:?}");
    server.holds(&["o"]).await?;
    assert_eq!(server.client.ask("DELETE", "/c/o", &headers, "").await?.status, 204);
    assert_eq!(server.client.get("/c/o").await?.status, 404);
    server.put("/c/o", "y").await?;
    server.holds(&["o"]).await
}

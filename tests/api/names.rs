//! Names as people give them to files come back as they were given.

use crate::Server;
use anyhow::{Context, Result};
use tests::client::encode;

const NAMES: [&str; 14] = [
    " leading and trailing ",
    "!\"#$%&'()*+,-.",
    "../../etc/passwd",
    "./.",
    "/starts/with//slashes///",
    "a?b=c&d#e",
    "back\\slash",
    "control\u{1}\u{7f}\ttab\nnewline\r",
    "percent%20%2F%zz",
    "plus+is not a space",
    "quote'\"`",
    "zażółć gęślą jaźń",
    "日本語/ファイル.txt",
    "🦀\u{200d}\u{301}",
];

#[tokio::test]
async fn odd_names_come_back_unchanged() -> Result<()> {
    let mut server = Server::start().await?;
    let client = &server.client;
    for name in NAMES {
        let path = format!("/c/{}", encode(name));
        assert_eq!(client.put(&path, name.to_owned()).await?.status, 201, "{name:?}");
        assert_eq!(client.get(&path).await?.text(), name);
    }
    let rows = client.rows("c").await?;
    let mut sorted = NAMES;
    sorted.sort_unstable();
    let listed: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(listed, sorted, "in the order of their bytes");
    let xml = client.get("/c?format=xml").await?.text();
    assert!(xml.contains("a?b=c&amp;d#e") && !xml.contains("b=c&d"), "{xml}");
    for (name, next) in sorted.iter().zip(&sorted[1..]) {
        let page = client.get(&format!("/c?format=json&limit=1&marker={}", encode(name))).await?;
        assert_eq!(page.json()?[0]["name"], *next, "after {name:?}");
    }
    for name in NAMES {
        let path = format!("/c/{}", encode(name));
        assert_eq!(client.delete(&path).await?.status, 204, "{name:?}");
        assert_eq!(client.get(&path).await?.status, 404, "{name:?}");
    }
    server.holds(&[]).await
}

#[tokio::test]
async fn odd_names_of_containers() -> Result<()> {
    let server = Server::start().await?;
    let client = &server.client;
    for name in NAMES.into_iter().filter(|name| !name.contains('/')) {
        let path = format!("/{}", encode(name));
        assert_eq!(client.put(&path, "").await?.status, 201, "{name:?}");
        assert_eq!(client.put(&format!("{path}/o"), "x").await?.status, 201, "{name:?}");
        assert_eq!(client.get(&path).await?.text(), "o\n");
    }
    let listed = client.get("?format=json").await?.json()?;
    let count = listed.as_array().context("rows")?.len();
    assert_eq!(count, 1 + NAMES.iter().filter(|name| !name.contains('/')).count());
    Ok(())
}

/// An encoded slash is a slash, a dot segment is a name like any other.
#[tokio::test]
async fn paths_are_taken_literally() -> Result<()> {
    let server = Server::start().await?;
    let client = &server.client;
    server.put("/c/a/b", "slash").await?;
    server.put("/c/a/../b", "dots").await?;
    assert_eq!(client.get("/c/a%2Fb").await?.text(), "slash");
    assert_eq!(client.get("/c/a%2fb").await?.text(), "slash");
    assert_eq!(client.get("/c/b").await?.status, 404);
    assert_eq!(client.get("/c/a/%2e%2e/b").await?.text(), "dots");
    assert_eq!(client.get("/c/a//b").await?.status, 404);
    assert_eq!(client.get("/c/").await?.lines().len(), 2, "the container itself");
    Ok(())
}

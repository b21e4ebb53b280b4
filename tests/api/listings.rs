//! Listings: which rows, in which order, in which form.

use crate::Server;
use anyhow::{Context, Result};
use tests::client::{encode, etag};

const NAMES: [&str; 9] = ["a", "a--b", "a--b--c", "a-b", "b/1", "b/2", "b/sub/3", "c", "ü"];

async fn filled() -> Result<Server> {
    let server = Server::start().await?;
    for name in NAMES {
        server.put(&format!("/c/{}", encode(name)), "x").await?;
    }
    Ok(server)
}

#[tokio::test]
async fn rows_are_chosen_by_parameters() -> Result<()> {
    let server = filled().await?;
    let cases: [(&str, &[&str]); 26] = [
        ("", &NAMES),
        ("limit=2", &["a", "a--b"]),
        ("limit=0", &[]),
        ("limit=some", &NAMES),
        ("marker=b/1", &["b/2", "b/sub/3", "c", "ü"]),
        ("marker=b/1&end_marker=c", &["b/2", "b/sub/3"]),
        ("end_marker=a--b", &["a"]),
        ("marker=zzz&end_marker=a", &[]),
        ("prefix=b/", &["b/1", "b/2", "b/sub/3"]),
        ("prefix=%C3%BC", &["ü"]),
        ("prefix=nothing", &[]),
        ("delimiter=/", &["a", "a--b", "a--b--c", "a-b", "b/", "c", "ü"]),
        ("delimiter=/&prefix=b/", &["b/1", "b/2", "b/sub/"]),
        ("delimiter=/&prefix=b", &["b/"]),
        ("delimiter=--", &["a", "a--", "a-b", "b/1", "b/2", "b/sub/3", "c", "ü"]),
        ("delimiter=--&prefix=a--", &["a--b", "a--b--"]),
        ("delimiter=/&limit=5", &["a", "a--b", "a--b--c", "a-b", "b/"]),
        ("delimiter=/&marker=b/", &["c", "ü"]),
        ("delimiter=/&marker=b/1", &["b/", "c", "ü"]),
        ("reverse=true", &["ü", "c", "b/sub/3", "b/2", "b/1", "a-b", "a--b--c", "a--b", "a"]),
        ("reverse=1&limit=2", &["ü", "c"]),
        ("reverse=yes&marker=b/2", &["b/1", "a-b", "a--b--c", "a--b", "a"]),
        ("reverse=on&marker=c&end_marker=a-b", &["b/sub/3", "b/2", "b/1"]),
        ("reverse=true&delimiter=/", &["ü", "c", "b/", "a-b", "a--b--c", "a--b", "a"]),
        ("reverse=false&limit=1", &["a"]),
        ("path=b", &["b/1", "b/2"]),
    ];
    for (query, expected) in cases {
        let answer = server.client.get(&format!("/c?{query}")).await?;
        assert_eq!(answer.lines(), expected, "{query}");
        assert_eq!(answer.status, if expected.is_empty() { 204 } else { 200 }, "{query}");
        let json = server.client.get(&format!("/c?format=json&{query}")).await?;
        let rows = json.json()?;
        let names: Vec<&str> = rows
            .as_array()
            .context("rows")?
            .iter()
            .filter_map(|row| row["name"].as_str().or_else(|| row["subdir"].as_str()))
            .collect();
        assert_eq!((json.status, names.as_slice()), (200, expected), "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn three_formats_say_the_same() -> Result<()> {
    let server = Server::start().await?;
    let client = &server.client;
    let headers = [("Content-Type", "text/x<y>")];
    assert_eq!(client.ask("PUT", "/c/d/o%3C&%3E", &headers, "hello").await?.status, 201);
    server.put("/c/z", "").await?;

    let plain = client.get("/c?delimiter=/").await?;
    assert_eq!(plain.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(plain.text(), "d/\nz\n");
    assert_eq!(plain.header("x-container-object-count"), "2");
    assert_eq!(plain.header("x-container-bytes-used"), "5");

    let json = client.get("/c?format=json").await?;
    assert_eq!(json.header("content-type"), "application/json; charset=utf-8");
    let row = &json.json()?[0];
    assert_eq!(row["name"], "d/o<&>");
    assert_eq!((&row["bytes"], &row["hash"]), (&5.into(), &etag(b"hello").into()));
    assert_eq!(row["content_type"], "text/x<y>");
    let time = row["last_modified"].as_str().context("a time")?;
    assert_eq!((time.len(), &time[4..5], &time[10..11]), (26, "-", "T"), "{time}");
    let subdir = client.get("/c?format=json&delimiter=/").await?.json()?;
    assert_eq!(subdir[0], serde_json::json!({"subdir": "d/"}));

    let xml = client.get("/c?format=xml").await?;
    assert_eq!(xml.header("content-type"), "application/xml; charset=utf-8");
    let text = xml.text();
    let start = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"c\">";
    assert!(text.starts_with(start), "{text}");
    let row = format!(
        "<object><name>d/o&lt;&amp;&gt;</name><hash>{}</hash><bytes>5</bytes>\
         <content_type>text/x&lt;y&gt;</content_type><last_modified>{time}</last_modified></object>",
        etag(b"hello")
    );
    assert!(text.contains(&row), "{text}");
    let subdir = client.get("/c?format=xml&delimiter=/").await?.text();
    assert!(subdir.contains("<subdir name=\"d/\"><name>d/</name></subdir>"), "{subdir}");

    for (accept, kind) in [
        ("application/json", "application/json"),
        ("text/xml", "text/xml"),
        ("application/xml;q=0.5, text/plain", "text/plain"),
        ("*/*", "text/plain"),
    ] {
        let answer = client.ask("GET", "/c", &[("Accept", accept)], "").await?;
        assert_eq!(answer.header("content-type"), format!("{kind}; charset=utf-8"), "{accept}");
        assert_eq!(answer.header("vary"), "Accept");
    }
    let picture = client.ask("GET", "/c", &[("Accept", "image/png")], "").await?;
    assert_eq!(picture.status, 406);
    Ok(())
}

#[tokio::test]
async fn accounts_are_listed_alike() -> Result<()> {
    let server = Server::start().await?;
    let client = &server.client;
    for name in ["c-1", "c-2", "d"] {
        assert_eq!(client.put(&format!("/{name}"), "").await?.status, 201);
    }
    let cases: [(&str, &[&str]); 7] = [
        ("", &["c", "c-1", "c-2", "d"]),
        ("prefix=c-", &["c-1", "c-2"]),
        ("delimiter=-", &["c", "c-", "d"]),
        ("marker=c-1", &["c-2", "d"]),
        ("end_marker=c-2&limit=1", &["c"]),
        ("reverse=true&limit=2", &["d", "c-2"]),
        ("marker=z", &[]),
    ];
    for (query, expected) in cases {
        let answer = client.get(&format!("?{query}")).await?;
        assert_eq!(answer.lines(), expected, "{query}");
        assert_eq!(answer.header("x-account-container-count"), "4", "{query}");
    }
    let json = client.get("?format=json&delimiter=-").await?.json()?;
    assert_eq!(json[1], serde_json::json!({"subdir": "c-"}));
    assert_eq!((&json[0]["name"], &json[0]["count"]), (&"c".into(), &0.into()));
    let xml = client.get("?format=xml").await?.text();
    assert!(xml.contains("<container><name>c-1</name><count>0</count><bytes>0</bytes>"), "{xml}");
    Ok(())
}

#[tokio::test]
async fn impossible_listings_are_refused() -> Result<()> {
    let mut server = filled().await?;
    let cases = [
        ("/c?limit=10001", 412),
        ("/c?limit=99999999999999999999", 412),
        ("?limit=10001", 412),
        ("/c?prefix=%FF", 400),
        ("/c?marker=%FF", 400),
        ("/c?delimiter=%C3", 400),
        ("/missing", 404),
        ("/missing?format=json", 404),
    ];
    for (path, status) in cases {
        assert_eq!(server.client.get(path).await?.status, status, "{path}");
        assert_eq!(server.client.head(path).await?.status, status, "HEAD {path}");
    }
    server.holds(&NAMES).await
}

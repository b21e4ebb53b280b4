//! A container as a web site, for strangers and for bearers of a temporary URL.

use crate::Server;
use anyhow::Result;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tests::Client;

const LISTED: (&str, &str) = ("X-Container-Meta-Web-Listings", "true");

/// A signature for everything below a prefix of the container, good for long.
fn signed(server: &Server, key: &str, prefix: &str) -> Result<(String, String)> {
    let expires = "4000000000";
    let message = format!("GET\n{expires}\nprefix:{}/c/{prefix}", server.client.account());
    let keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes())?;
    let mac = keyed.chain_update(message).finalize().into_bytes();
    let signature: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let query =
        format!("temp_url_prefix={prefix}&temp_url_expires={expires}&temp_url_sig={signature}");
    Ok((query, signature))
}

#[tokio::test]
async fn strangers_browse_what_is_listed() -> Result<()> {
    let mut server = Server::start().await?;
    let settings = [LISTED, ("X-Container-Read", ".r:*,.rlistings")];
    assert_eq!(server.client.ask("POST", "/c", &settings, "").await?.status, 204);
    server.put("/c/d/%3Cb%3E.txt", "bold").await?;
    server.put("/c/o", "x").await?;
    let stranger = Client::stranger(server.client.address());
    let root = format!("{}/c", server.client.account());
    let visit = async |path: &str| stranger.at("GET", &format!("{root}{path}"), &[], "").await;

    let page = visit("/").await?;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=UTF-8"));
    let text = page.text();
    assert!(text.contains(&format!("<h1 id=\"title\">Listing of {root}/</h1>")), "{text}");
    assert!(text.contains("<a href=\"./d/\">d/</a>"), "{text}");
    assert!(text.contains("<a href=\"./o\">o</a>"), "{text}");
    assert!(!text.contains("bold") && !text.contains("href=\".."), "{text}");

    let moved = visit("/d").await?;
    let location = format!("http://{}{root}/d/", server.client.address());
    assert_eq!((moved.status, moved.header("location")), (301, location.as_str()));
    let below = visit("/d/").await?.text();
    assert!(below.contains("<a href=\"./%3Cb%3E%2Etxt\">&lt;b&gt;.txt</a>"), "{below}");
    assert!(below.contains("<a href=\"../\">../</a>"), "{below}");
    assert_eq!(visit("/d/%3Cb%3E%2Etxt").await?.text(), "bold");
    assert_eq!(visit("/nothing/").await?.status, 404);
    assert_eq!(visit("/nothing").await?.status, 404);

    // What is not public any more is not listed any more.
    let closed = [("X-Container-Read", "")];
    assert_eq!(server.client.ask("POST", "/c", &closed, "").await?.status, 204);
    for path in ["", "/", "/d", "/d/"] {
        assert_eq!(visit(path).await?.status, 401, "{path}");
    }
    server.holds(&["d/<b>.txt", "o"]).await
}

#[tokio::test]
async fn a_temporary_url_browses_below_its_prefix() -> Result<()> {
    let mut server = Server::start().await?;
    let settings = [LISTED, ("X-Container-Meta-Temp-URL-Key", "a key")];
    assert_eq!(server.client.ask("POST", "/c", &settings, "").await?.status, 204);
    server.put("/c/d/o", "inside").await?;
    server.put("/c/p", "outside").await?;
    let (query, signature) = signed(&server, "a key", "d/")?;
    let stranger = Client::stranger(server.client.address());
    let root = format!("{}/c", server.client.account());
    let visit =
        async |path: &str| stranger.at("GET", &format!("{root}{path}?{query}"), &[], "").await;

    let page = visit("/d/").await?;
    assert_eq!((page.status, page.header("content-disposition")), (200, "inline"));
    assert_eq!(page.header("x-backend-content-generator"), "");
    let link = format!("<a href=\"./o?{}\">o</a>", query.replace('&', "&amp;"));
    assert!(page.text().contains(&link), "{}", page.text());
    assert!(!page.text().contains("href=\".."), "{}", page.text());
    assert_eq!(visit("/d/o").await?.text(), "inside");
    for path in ["", "/", "/p", "/d"] {
        assert_eq!(visit(path).await?.status, 401, "{path}");
    }
    assert!(!server.apus.log().contains(&signature), "signatures are secret");
    server.holds(&["d/o", "p"]).await
}

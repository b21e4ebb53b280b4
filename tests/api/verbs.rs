//! Every verb on accounts, containers and objects, and the endpoints beside them.

use crate::{Server, metric};
use anyhow::{Context, Result};
use tests::client::etag;

#[tokio::test]
async fn an_object_lives_and_dies() -> Result<()> {
    let mut server = Server::start().await?;
    let client = &server.client;
    let headers = [
        ("Content-Type", "text/x-poem"),
        ("Content-Encoding", "rot13"),
        ("Content-Disposition", "attachment"),
        ("X-Object-Meta-Mood", "dunkelgrün"),
        ("X-Trans-Id-Extra", "from-a-test"),
    ];
    let put = client.ask("PUT", "/c/o", &headers, "hello").await?;
    assert_eq!((put.status, put.header("etag")), (201, etag(b"hello").as_str()));
    assert!(put.header("x-trans-id").starts_with("tx"), "{put:?}");
    assert!(put.header("x-trans-id").ends_with("-from-a-test"), "{put:?}");
    assert_eq!(put.header("x-trans-id"), put.header("x-openstack-request-id"));
    assert!(!put.header("last-modified").is_empty() && !put.header("date").is_empty());

    let get = client.get("/c/o").await?;
    assert_eq!((get.status, get.text().as_str()), (200, "hello"));
    assert_eq!(get.header("content-type"), "text/x-poem");
    assert_eq!(get.header("content-encoding"), "rot13");
    assert_eq!(get.header("content-disposition"), "attachment");
    assert_eq!(get.headers["x-object-meta-mood"].as_bytes(), "dunkelgrün".as_bytes());
    assert_eq!(get.header("accept-ranges"), "bytes");
    let head = client.head("/c/o").await?;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["etag", "content-length", "content-type", "last-modified", "x-timestamp"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
        assert!(!head.header(name).is_empty(), "{name}");
    }

    // POST replaces all metadata, but neither the bytes nor what describes them.
    let post = client.ask("POST", "/c/o", &[("X-Object-Meta-New", "1")], "").await?;
    assert_eq!(post.status, 202);
    let get = client.get("/c/o").await?;
    assert_eq!((get.text().as_str(), get.header("x-object-meta-new")), ("hello", "1"));
    assert_eq!(get.header("x-object-meta-mood"), "");
    assert_eq!(get.header("content-type"), "text/x-poem");
    assert_eq!(get.header("etag"), etag(b"hello"));

    server.holds(&["o"]).await?;
    let client = &server.client;
    let deleted = client.delete("/c/o").await?;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(client.delete("/c/o").await?.status, 404);
    for method in ["GET", "HEAD", "POST"] {
        assert_eq!(client.ask(method, "/c/o", &[], "").await?.status, 404, "{method}");
    }
    server.holds(&[]).await
}

#[tokio::test]
async fn an_empty_object_is_an_object() -> Result<()> {
    let mut server = Server::start().await?;
    let put = server.client.put("/c/empty", "").await?;
    assert_eq!((put.status, put.header("etag")), (201, etag(b"").as_str()));
    let get = server.client.get("/c/empty").await?;
    assert_eq!((get.status, get.header("content-length"), get.body.len()), (200, "0", 0));
    server.holds(&["empty"]).await
}

#[tokio::test]
async fn a_container_lives_and_dies() -> Result<()> {
    let server = Server::start().await?;
    let client = &server.client;
    let put = client.ask("PUT", "/d", &[("X-Container-Meta-A", "1")], "").await?;
    assert_eq!(put.status, 201);
    // Making it again is no mistake, and adds metadata.
    let again = client.ask("PUT", "/d", &[("X-Container-Meta-B", "2")], "").await?;
    assert_eq!(again.status, 202);
    let change = [("X-Container-Meta-C", "3"), ("X-Remove-Container-Meta-A", "x")];
    assert_eq!(client.ask("POST", "/d", &change, "").await?.status, 204);
    let head = client.head("/d").await?;
    let metadata = ["a", "b", "c"].map(|name| head.header(&format!("x-container-meta-{name}")));
    assert_eq!((head.status, metadata), (204, ["", "2", "3"]));
    assert_eq!(head.header("x-container-object-count"), "0");
    assert_eq!(head.header("x-storage-policy"), "Policy-0");
    assert!(!head.header("x-timestamp").is_empty());

    assert_eq!(client.put("/d/o", "x").await?.status, 201);
    assert_eq!(client.delete("/d").await?.status, 409, "it is not empty");
    assert_eq!(client.delete("/d/o").await?.status, 204);
    assert_eq!(client.delete("/d").await?.status, 204);
    assert_eq!(client.delete("/d").await?.status, 404);
    assert_eq!(client.get("/d").await?.status, 404);
    assert_eq!(client.put("/d/o", "x").await?.status, 404, "there is no container any more");
    assert_eq!(client.put("/d", "").await?.status, 201, "and it can be made anew");
    let head = client.head("/d").await?;
    assert_eq!(head.header("x-container-meta-b"), "", "without the metadata of the old one");
    Ok(())
}

#[tokio::test]
async fn an_account_counts_what_it_has() -> Result<()> {
    let server = Server::start().await?;
    let client = &server.client;
    assert_eq!(client.ask("POST", "", &[("X-Account-Meta-A", "1")], "").await?.status, 204);
    server.put("/c/o", "12345").await?;
    let expected = [("container-count", "1"), ("object-count", "1"), ("bytes-used", "5")];
    // Totals of containers reach their account a moment later.
    tests::patience::until_no_complaint(std::time::Duration::from_secs(30), || async {
        let head = client.head("").await?;
        assert_eq!((head.status, head.header("x-account-meta-a")), (204, "1"));
        let total = |name: &str| head.header(&format!("x-account-{name}")).to_owned();
        let wrong = expected.iter().filter(|(name, value)| total(name) != *value);
        Ok(wrong.map(|(name, value)| format!("{name} is {}, not {value}", total(name))).collect())
    })
    .await?;
    let listed = client.get("?format=json").await?.json()?;
    let row = listed.get(0).context("one container")?;
    assert_eq!((&row["name"], &row["count"], &row["bytes"]), (&"c".into(), &1.into(), &5.into()));
    assert_eq!(client.put("", "").await?.status, 405, "accounts are not made by their owners");
    assert_eq!(client.delete("").await?.status, 405);
    assert_eq!(client.head("").await?.status, 204);
    Ok(())
}

#[tokio::test]
async fn what_is_beside_the_api() -> Result<()> {
    let server = Server::start().await?;
    let client = &server.client;
    let info = client.at("GET", "/info", &[], "").await?;
    assert_eq!(info.status, 200);
    let swift = &info.json()?["swift"];
    assert_eq!(swift["max_file_size"], 5_368_709_122_u64);
    assert_eq!(swift["max_meta_count"], 90);
    assert_eq!(swift["container_listing_limit"], 10_000);
    assert!(swift["version"].is_string() && swift["policies"].is_array(), "{swift}");
    assert_eq!(client.at("HEAD", "/info", &[], "").await?.status, 200);

    let health = client.at("GET", "/healthcheck", &[], "").await?;
    assert_eq!((health.status, health.text().as_str()), (200, "OK"));

    let count = async || {
        let text = client.at("GET", "/metrics", &[], "").await?.text();
        let proxy = "apus_requests_total{server=\"proxy\"";
        metric(&text, proxy)
    };
    let before = count().await?;
    for _ in 0..5 {
        assert_eq!(client.get("/c").await?.status, 200 + 4);
    }
    assert_eq!(count().await? - before, 5.0);

    let options = client.at("OPTIONS", &format!("{}/c/o", client.account()), &[], "").await?;
    assert_eq!(options.status, 200);
    for verb in ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"] {
        assert!(options.header("allow").contains(verb), "{options:?}");
    }
    Ok(())
}

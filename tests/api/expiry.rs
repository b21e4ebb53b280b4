//! Objects that expire.

use crate::Server;
use anyhow::Result;
use std::time::Duration;
use tests::patience::until_no_complaint;

#[tokio::test]
async fn what_has_expired_is_deleted_and_does_not_keep_its_container() -> Result<()> {
    let server = Server::start().await?;
    let client = &server.client;
    for (name, seconds) in [("short", "1"), ("long", "1000"), ("kept", "600")] {
        let headers = [("X-Delete-After", seconds)];
        let put = client.ask("PUT", &format!("/c/{name}"), &headers, "hello").await?;
        assert_eq!(put.status, 201);
    }
    // A POST that says nothing of it takes the time away.
    assert_eq!(client.ask("POST", "/c/kept", &[], "").await?.status, 202);
    let count = async || {
        let head = client.head("/c").await?;
        Ok::<_, anyhow::Error>(head.header("x-container-object-count").to_owned())
    };
    until_no_complaint(Duration::from_secs(60), async || {
        let count = count().await?;
        Ok(if count == "2" { Vec::new() } else { vec![format!("{count} objects")] })
    })
    .await?;
    assert_eq!(client.get("/c").await?.lines(), ["kept", "long"]);
    let open = client.ask("GET", "/c/short", &[("X-Open-Expired", "true")], "").await?;
    assert_eq!(open.status, 404);
    assert_eq!(client.get("/c/long").await?.text(), "hello");
    for name in ["kept", "long"] {
        assert_eq!(client.delete(&format!("/c/{name}")).await?.status, 204);
    }
    assert_eq!(client.delete("/c").await?.status, 204);
    Ok(())
}

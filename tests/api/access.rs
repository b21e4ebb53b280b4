//! Tokens: who gets one, and what it opens.

use anyhow::Result;
use tests::cluster::{common_settings, login};
use tests::{Apus, Client, Options};

async fn serve() -> Result<(Apus, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("apus.toml");
    std::fs::write(&config, common_settings())?;
    let arguments = vec!["--config".to_owned(), config.display().to_string()];
    Ok((Apus::serve_with(Options { arguments, ..Options::default() })?, dir))
}

#[tokio::test]
async fn tokens_are_given_to_those_who_know_the_key() -> Result<()> {
    let (apus, _dir) = serve().await?;
    let stranger = Client::stranger(apus.address()?);
    let ask = async |headers: &[(&str, &str)]| stranger.at("GET", "/auth/v1.0", headers, "").await;
    let wrong: [&[(&str, &str)]; 6] = [
        &[],
        &[("X-Auth-User", "test:tester")],
        &[("X-Auth-User", "test:tester"), ("X-Auth-Key", "wrong")],
        &[("X-Auth-User", "test:nobody"), ("X-Auth-Key", "a key that only this test knows")],
        &[("X-Auth-User", "tester"), ("X-Auth-Key", "a key that only this test knows")],
        &[("X-Auth-User", "test:tester"), ("X-Auth-Key", "")],
    ];
    for headers in wrong {
        let answer = ask(headers).await?;
        assert_eq!(answer.status, 401, "{headers:?}");
        assert_eq!(answer.header("x-auth-token"), "", "{headers:?}");
    }
    let client = login(apus.address()?, "test:tester").await?;
    assert_eq!(client.account(), "/v1/AUTH_test");
    assert!(client.token().starts_with("AUTH_tk"), "{}", client.token());
    assert!(!apus.log().contains("a key that only this test knows"));
    assert!(!apus.log().contains(client.token()));
    Ok(())
}

#[tokio::test]
async fn a_token_opens_its_own_account_only() -> Result<()> {
    let (apus, _dir) = serve().await?;
    let address = apus.address()?;
    let owner = login(address, "test:tester").await?;
    assert_eq!(owner.put("/c", "").await?.status, 201);
    assert_eq!(owner.put("/c/o", "x").await?.status, 201);

    let stranger = Client::stranger(address);
    let other = login(address, "other:tester").await?;
    let guest = login(address, "test:guest").await?;
    let mut changed = owner.token().to_owned();
    let last = if changed.ends_with('0') { '1' } else { '0' };
    changed.pop();
    changed.push(last);
    let long = "t".repeat(8000);
    let tokens = [
        ("no token", None, 401),
        ("no token at all", Some("garbage"), 401),
        ("only the beginning", Some("AUTH_tk"), 401),
        ("not quite the token", Some(changed.as_str()), 401),
        ("a long one", Some(long.as_str()), 401),
        ("somebody else's", Some(other.token()), 403),
        ("a guest's", Some(guest.token()), 403),
    ];
    for (whose, token, status) in tokens {
        let headers: Vec<(&str, &str)> = token.into_iter().map(|t| ("X-Auth-Token", t)).collect();
        for (method, path) in [
            ("GET", "/v1/AUTH_test"),
            ("POST", "/v1/AUTH_test"),
            ("GET", "/v1/AUTH_test/c"),
            ("PUT", "/v1/AUTH_test/d"),
            ("DELETE", "/v1/AUTH_test/c"),
            ("GET", "/v1/AUTH_test/c/o"),
            ("HEAD", "/v1/AUTH_test/c/o"),
            ("PUT", "/v1/AUTH_test/c/o"),
            ("POST", "/v1/AUTH_test/c/o"),
            ("DELETE", "/v1/AUTH_test/c/o"),
            ("GET", "/v1/AUTH_test/c/none"),
            ("GET", "/v1/AUTH_test/none"),
            ("GET", "/v1/AUTH_nobody/c/o"),
        ] {
            let answer = stranger.at(method, path, &headers, "").await?;
            assert_eq!(answer.status, status, "{whose}: {method} {path}");
            let realm = answer.header("www-authenticate");
            assert_eq!(realm.is_empty(), status != 401, "{whose}: {method} {path}: {realm}");
        }
    }
    assert_eq!(owner.get("/c/o").await?.text(), "x");
    assert_eq!(owner.get("/d").await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn a_container_is_opened_by_its_owner() -> Result<()> {
    let (apus, _dir) = serve().await?;
    let address = apus.address()?;
    let owner = login(address, "test:tester").await?;
    assert_eq!(owner.put("/c", "").await?.status, 201);
    assert_eq!(owner.put("/c/o", "x").await?.status, 201);
    let stranger = Client::stranger(address);
    let guest = login(address, "test:guest").await?;
    let read = async || stranger.at("GET", "/v1/AUTH_test/c/o", &[], "").await;
    let list = async || stranger.at("GET", "/v1/AUTH_test/c", &[], "").await;

    let acl = async |read: &str, write: &str| {
        let headers = [("X-Container-Read", read), ("X-Container-Write", write)];
        owner.ask("POST", "/c", &headers, "").await
    };
    assert_eq!(acl(".r:*", "").await?.status, 204);
    assert_eq!((read().await?.status, list().await?.status), (200, 401));
    assert_eq!(acl(".r:*,.rlistings", "").await?.status, 204);
    assert_eq!((read().await?.status, list().await?.status), (200, 200));
    assert_eq!(list().await?.header("x-container-read"), "", "whom else it is open to is theirs");
    assert_eq!(acl("", "test:guest").await?.status, 204);
    assert_eq!((read().await?.status, list().await?.status), (401, 401));
    assert_eq!(guest.put("/c/p", "y").await?.status, 201);
    assert_eq!(guest.get("/c/p").await?.status, 403);
    assert_eq!(guest.delete("/c").await?.status, 403);
    assert_eq!(acl("", ".r:*").await?.status, 400, "referrers cannot write");
    assert_eq!(acl("", "").await?.status, 204);
    assert_eq!(guest.put("/c/p", "z").await?.status, 403);
    assert_eq!(owner.get("/c/p").await?.text(), "y");
    Ok(())
}

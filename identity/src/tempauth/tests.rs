//! Tokens as clients get and use them, through the service and the [`Authenticator`].

use super::*;
use crate::config::{Secret, User};
use daemon::{Clock, ManualClock};
use http::StatusCode;
use proptest::prelude::*;
use tower::ServiceExt;
use wire::{Body, Owned, Request, Response};

fn user(account: &str, user: &str, key: &str, groups: &[&str]) -> User {
    User {
        account: account.into(),
        user: user.into(),
        key: Secret::new(key),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        url: None,
        token_generation: 0,
    }
}

fn config() -> Config {
    let users = vec![
        user("test", "tester", "testing", &[".admin"]),
        user("test", "tester3", "testing3", &["readers"]),
        user("admin", "admin", "admin", &[".admin", ".reseller_admin"]),
        User {
            url: Some("https://far.example/v1/AUTH_%C3%BC".into()),
            ..user("far", "f", "k", &[])
        },
    ];
    let token_secret = Some(Secret::new("a secret of some length"));
    Config { users, token_secret, ..Config::default() }
}

fn auth(config: Config) -> (Arc<TempAuth>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at_seconds(1_000));
    (TempAuth::new(config, clock.clone()).expect("a valid configuration"), clock)
}

async fn get(auth: &Arc<TempAuth>, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().expect("a path");
    request.headers_mut().insert("host", "swift.example:8080".parse().expect("a value"));
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().expect("a name");
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    auth.service().oneshot(request).await.expect("infallible")
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

const TESTER: [(&str, &str); 2] = [("x-auth-user", "test:tester"), ("x-auth-key", "testing")];

async fn token_of(auth: &Arc<TempAuth>, headers: &[(&str, &str)]) -> String {
    let response = get(auth, "/auth/v1.0", headers).await;
    assert_eq!(response.status(), StatusCode::OK);
    header(&response, "x-auth-token").to_owned()
}

#[tokio::test]
async fn a_token_is_given_and_says_who_asks() {
    let (auth, _) = auth(config());
    let response = get(&auth, "/auth/v1.0", &TESTER).await;
    assert_eq!(response.status(), StatusCode::OK);
    let token = header(&response, "x-auth-token");
    assert!(token.starts_with("AUTH_tk"), "{token}");
    assert_eq!(header(&response, "x-storage-token"), token);
    assert_eq!(header(&response, "x-storage-url"), "http://swift.example:8080/v1/AUTH_test");
    assert_eq!(header(&response, "x-auth-token-expires"), "86400");
    assert!(header(&response, "x-trans-id").starts_with("tx"));
    let caller = auth.verify(token).await.expect("can be asked").expect("is valid");
    let expected = Caller {
        user: "test:tester".into(),
        account: "AUTH_test".into(),
        groups: vec!["test:tester".into(), "test".into(), "AUTH_test".into()],
        owns: vec![Owned { account: "AUTH_test".into(), require_group: None }],
        ..Caller::default()
    };
    assert_eq!(caller, expected);
}

#[tokio::test]
async fn groups_give_what_swift_gives() {
    let (auth, _) = auth(config());
    let member = [("x-auth-user", "test:tester3"), ("x-auth-key", "testing3")];
    let token = token_of(&auth, &member).await;
    let caller = auth.caller(&token).expect("valid");
    assert_eq!(caller.groups, ["test:tester3", "test", "readers"]);
    assert!(caller.owns.is_empty() && !caller.reseller_admin);
    let admin = [("x-auth-user", "admin:admin"), ("x-auth-key", "admin")];
    let token = token_of(&auth, &admin).await;
    assert!(auth.caller(&token).expect("valid").reseller_admin);
}

#[tokio::test]
async fn every_form_of_asking_works() {
    let (auth, _) = auth(config());
    let storage = [("x-storage-user", "test:tester"), ("x-storage-pass", "testing")];
    let short = [("x-storage-user", "tester"), ("x-storage-pass", "testing")];
    let cases: [(&str, &[(&str, &str)]); 7] = [
        ("/auth/v1.0", &storage),
        ("/auth/v1.0/", &TESTER),
        ("/auth/v1", &TESTER),
        ("/auth/auth", &TESTER),
        ("/auth/v1/test/auth", &short),
        ("/auth/v1/test/auth", &TESTER),
        ("/auth/v1/t%65st/auth", &TESTER),
    ];
    for (path, headers) in cases {
        let response = get(&auth, path, headers).await;
        assert_eq!(response.status(), StatusCode::OK, "{path} {headers:?}");
        assert!(auth.caller(header(&response, "x-auth-token")).is_some());
    }
}

#[tokio::test]
async fn a_wrong_key_and_an_unknown_user_are_answered_alike() {
    let (auth, _) = auth(config());
    let mut answers = Vec::new();
    for (user, key) in [("test:tester", "wrong"), ("test:nobody", "testing"), ("test:tester", "")] {
        let response =
            get(&auth, "/auth/v1.0", &[("x-auth-user", user), ("x-auth-key", key)]).await;
        assert_eq!(header(&response, "www-authenticate"), "Swift realm=\"test\"");
        assert_eq!(header(&response, "x-auth-token"), "");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("a body");
        answers.push((status, body));
    }
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[tokio::test]
async fn the_realm_cannot_be_broken_out_of() {
    let (auth, _) = auth(config());
    let headers = [("x-auth-user", "a\", x=\"b:c"), ("x-auth-key", "k")];
    let response = get(&auth, "/auth/v1.0", &headers).await;
    assert_eq!(header(&response, "www-authenticate"), "Swift realm=\"a%22%2C%20x%3D%22b\"");
    let response = get(&auth, "/auth/v1.0", &[("x-auth-user", "nocolon")]).await;
    assert_eq!(header(&response, "www-authenticate"), "Swift realm=\"unknown\"");
    let other = get(&auth, "/auth/v1/other/auth", &TESTER).await;
    assert_eq!(other.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let (auth, _) = auth(config());
    for (path, status) in [
        ("/auth/", 404),
        ("/auth", 404),
        ("/v1.0", 404),
        ("/auth/v2", 400),
        ("/auth/v1/test", 400),
        ("/auth/v1/test/auth/x", 400),
    ] {
        assert_eq!(get(&auth, path, &TESTER).await.status(), status, "{path}");
    }
    let mut request = Request::new(Body::empty());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = "/auth/v1.0".parse().expect("a path");
    let response = auth.service().oneshot(request).await.expect("infallible");
    assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, "GET"));
}

#[tokio::test]
async fn the_storage_url_follows_only_a_proper_host() {
    let (auth_, _) = auth(config());
    for bad in ["u@evil", "a b", "a/b", "", "a\"b", "x?y"] {
        let headers = [TESTER[0], TESTER[1], ("host", bad)];
        let response = get(&auth_, "/auth/v1.0", &headers).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{bad}");
        assert_eq!(header(&response, "x-auth-token"), "", "{bad}");
    }
    let headers = [TESTER[0], TESTER[1], ("host", "[::1]:80")];
    let response = get(&auth_, "/auth/v1.0", &headers).await;
    assert_eq!(header(&response, "x-storage-url"), "http://[::1]/v1/AUTH_test");

    let far = [("x-auth-user", "far:f"), ("x-auth-key", "k")];
    let response = get(&auth_, "/auth/v1.0", &far).await;
    assert_eq!(header(&response, "x-storage-url"), "https://far.example/v1/AUTH_%C3%BC");
    let caller = auth_.caller(header(&response, "x-auth-token")).expect("valid");
    assert_eq!(caller.account, "AUTH_ü");

    let https = Config { storage_url_scheme: UrlScheme::Https, ..config() };
    let (auth_, _) = auth(https);
    let response = get(&auth_, "/auth/v1.0", &TESTER).await;
    assert_eq!(header(&response, "x-storage-url"), "https://swift.example:8080/v1/AUTH_test");
}

#[tokio::test]
async fn tokens_end_with_their_time_their_key_and_their_user() {
    let (first, clock) = auth(config());
    let token = token_of(&first, &TESTER).await;

    // Another node with the same users and secret takes it.
    let (second, _) = auth(config());
    assert!(second.caller(&token).is_some());

    let mut changed = config();
    changed.users[0].key = Secret::new("another");
    assert!(auth(changed).0.caller(&token).is_none());
    let mut removed = config();
    removed.users.remove(0);
    assert!(auth(removed).0.caller(&token).is_none());
    let mut demoted = config();
    demoted.users[0].groups.clear();
    assert!(auth(demoted).0.caller(&token).expect("still valid").owns.is_empty());
    let mut other = config();
    other.token_secret = Some(Secret::new("another secret of some length"));
    assert!(auth(other).0.caller(&token).is_none());

    clock.advance_micros(86_400_000_000 - 1);
    assert!(first.caller(&token).is_some());
    clock.advance_micros(1);
    assert_eq!(clock.micros(), 87_400_000_000);
    assert!(first.caller(&token).is_none());
}

type Case = (fn(&mut Config), &'static str);

#[test]
fn wrong_configurations_are_named() {
    let clock = || Arc::new(ManualClock::at_seconds(0));
    let error = |change: fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        TempAuth::new(config, clock()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let cases: [Case; 9] = [
        (|c| c.token_secret = None, "token_secret is missing"),
        (|c| c.token_secret = Some(Secret::new("short")), "at least 16"),
        (|c| c.token_life_seconds = 0, "token_life_seconds"),
        (|c| c.users[0].key = Secret::new(""), "test:tester: the key is empty"),
        (|c| c.users[0].account = "a:b".into(), "without colon"),
        (|c| c.users[0].groups = vec![".adimn".into()], "only .admin"),
        (|c| c.users[0].url = Some("http://x/".into()), "must end with"),
        (|c| c.users[1].user = "tester".into(), "test:tester: is there twice"),
        (|c| c.users[0].groups = vec!["a,b".into()], "commas"),
    ];
    for (change, expected) in cases {
        let error = error(change);
        assert!(error.contains(expected), "{expected} is not in {error}");
        assert!(!error.contains("testing"), "{error}");
    }
    assert_eq!(error(|c| c.users[0].groups = vec![".reseller_reader".into()]), "");
}

proptest! {
    #[test]
    fn no_text_is_a_token(text in ".{0,300}") {
        prop_assert!(auth(config()).0.caller(&text).is_none());
    }
}

/// As Swift's functional tests want their users.
fn with_services() -> Config {
    let mut config = config();
    config.reseller_prefix = "AUTH, SERVICE".into();
    config.require_group.insert("SERVICE".into(), "service".into());
    config.users.push(user("test5", "tester5", "testing5", &["service"]));
    config.users.push(user("admin", "auditor", "admin_ro", &[".reseller_reader"]));
    config
}

#[tokio::test]
async fn several_prefixes_make_several_accounts_of_which_some_need_a_service() {
    let (auth, _) = auth(with_services());
    let token = token_of(&auth, &TESTER).await;
    let mut caller = auth.caller(&token).expect("valid").clone();
    assert_eq!(caller.account, "AUTH_test");
    assert_eq!(caller.groups, ["test:tester", "test", "AUTH_test", "SERVICE_test"]);
    assert!(caller.administers("AUTH_test") && !caller.administers("SERVICE_test"));
    let service = [("x-auth-user", "test5:tester5"), ("x-auth-key", "testing5")];
    let token = token_of(&auth, &service).await;
    let service = auth.caller(&token).expect("valid").clone();
    assert!(!service.administers("AUTH_test5") && !service.administers("SERVICE_test"));
    caller.with_service(service);
    assert!(caller.administers("AUTH_test") && caller.administers("SERVICE_test"));
    let prefix = |account: &str| auth.reseller_prefix(account).map(str::to_owned);
    assert_eq!(prefix("SERVICE_x").as_deref(), Some("SERVICE_"));
    assert_eq!(prefix("other"), None);
    assert!(auth.issues("AUTH_tkx") && !auth.issues("SERVICE_tkx"));
    let reader = [("x-auth-user", "admin:auditor"), ("x-auth-key", "admin_ro")];
    assert!(auth.caller(&token_of(&auth, &reader).await).expect("valid").reseller_reader);
}

#[tokio::test]
async fn another_generation_revokes_tokens_and_not_the_key() {
    let token = token_of(&auth(config()).0, &TESTER).await;
    let mut revoked = config();
    revoked.users[0].token_generation = 1;
    let (auth, _) = auth(revoked);
    assert!(auth.caller(&token).is_none());
    let token = token_of(&auth, &TESTER).await;
    assert!(auth.caller(&token).is_some());
}

#[tokio::test]
async fn a_token_can_be_asked_to_live_shorter() {
    let (auth, clock) = auth(config());
    let ask = |seconds: &'static str| {
        let auth = Arc::clone(&auth);
        async move {
            let [user, key] = TESTER;
            get(&auth, "/auth/v1.0", &[user, key, ("x-auth-token-lifetime", seconds)]).await
        }
    };
    let short = ask("60").await;
    assert_eq!(header(&short, "x-auth-token-expires"), "60");
    clock.advance_micros(60_000_000);
    assert!(auth.caller(header(&short, "x-auth-token")).is_none());
    assert_eq!(header(&ask("99999999").await, "x-auth-token-expires"), "86400");
    for wrong in ["0", "-1", "soon"] {
        assert_eq!(ask(wrong).await.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
}

//! What browsers are told.

use crate::cluster::{Answer, Cluster, config};
use std::collections::BTreeSet;

const C: &str = "/v1/AUTH_test/c";
const O: &str = "/v1/AUTH_test/c/o";
const ORIGIN: &str = "http://site";

async fn shared(config: proxy::Config, origins: &str) -> Cluster {
    let cluster = Cluster::with(3, config).await;
    let headers = [
        ("x-container-meta-access-control-allow-origin", origins),
        ("x-container-meta-access-control-max-age", "60"),
        ("x-container-meta-access-control-expose-headers", "X-One  x-two"),
    ];
    assert_eq!(cluster.owner("PUT", C, &headers).await.status, 201);
    assert_eq!(cluster.put(O, "hello", &[("x-object-meta-color", "red")]).await.status, 201);
    cluster
}

fn exposed(answer: &Answer) -> BTreeSet<&str> {
    let list = answer.header("access-control-expose-headers").unwrap_or_default();
    list.split(", ").filter(|name| !name.is_empty()).collect()
}

async fn preflight(cluster: &Cluster, path: &str, origin: &str, method: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", "x-a, X-B,,"),
    ];
    cluster.ask("OPTIONS", path, &headers).await
}

#[tokio::test]
async fn browsers_ask_first() {
    let cluster = shared(config(), "http://other http://site").await;
    for path in [C, O] {
        let answer = preflight(&cluster, path, ORIGIN, "PUT").await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        assert_eq!(answer.header("access-control-max-age"), Some("60"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("x-a, X-B"));
        assert_eq!(answer.header("vary"), Some("Origin, Access-Control-Request-Headers"));
        assert_eq!(answer.header("access-control-allow-methods"), answer.header("allow"));
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("PUT")));
        assert!(exposed(&answer).is_empty());
        for (origin, method) in [("http://evil", "PUT"), (ORIGIN, "BREW"), (ORIGIN, "")] {
            let refused = preflight(&cluster, path, origin, method).await;
            assert_eq!(refused.status, 401, "{origin} {method}");
            assert_eq!(refused.header("access-control-allow-origin"), None);
        }
    }
    // Accounts are not shared, and containers that are not there have said nothing.
    let account = preflight(&cluster, "/v1/AUTH_test", ORIGIN, "GET").await;
    assert_eq!((account.status, account.header("access-control-allow-origin")), (200, None));
    assert_eq!(preflight(&cluster, "/v1/AUTH_test/missing", ORIGIN, "GET").await.status, 401);
    // Without an origin it is not a browser that asks.
    assert_eq!(cluster.ask("OPTIONS", O, &[]).await.status, 200);
}

#[tokio::test]
async fn everybody_is_a_star() {
    let cluster = shared(config(), "*").await;
    let answer = preflight(&cluster, O, ORIGIN, "GET").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("vary"), Some("Access-Control-Request-Headers"));
    let answer = cluster.owner("GET", O, &[("origin", ORIGIN)]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("vary"), None);
}

#[tokio::test]
async fn every_answer_to_an_allowed_origin_says_so() {
    let cluster = shared(config(), ORIGIN).await;
    let from = [("origin", ORIGIN)];
    let answer = cluster.owner("GET", O, &from).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(answer.header("vary"), Some("Origin"));
    let names = exposed(&answer);
    for name in ["etag", "x-trans-id", "x-object-meta-color", "x-one", "x-two", "last-modified"] {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    let listing = cluster.owner("GET", C, &from).await;
    assert_eq!(listing.header("vary"), Some("Accept, Origin"));
    assert!(exposed(&listing).contains("x-container-meta-access-control-max-age"));
    let refusals = [
        (cluster.ask("GET", O, &from).await, 401),
        (cluster.ask("PUT", C, &from).await, 401),
        (cluster.ask("GET", O, &[("origin", ORIGIN), ("x-auth-token", "other")]).await, 403),
        (cluster.ask("GET", O, &[("origin", ORIGIN), ("x-auth-token", "invalid")]).await, 401),
        (cluster.owner("GET", "/v1/AUTH_test/c/missing", &from).await, 404),
        (cluster.owner("PATCH", O, &from).await, 405),
        (cluster.ask("GET", &format!("{O}?temp_url_sig=x"), &from).await, 401),
        (cluster.owner("PUT", O, &from).await, 411),
    ];
    for (answer, status) in refusals {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN), "{status}");
    }
    let other = cluster.owner("GET", O, &[("origin", "http://evil")]).await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
    let account = cluster.owner("GET", "/v1/AUTH_test", &from).await;
    assert_eq!((account.status, account.header("access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn what_the_cluster_allows_beside() {
    let mut relaxed = config();
    relaxed.cors.strict_cors_mode = false;
    relaxed.cors.cors_expose_headers = vec!["X-Mine".to_owned()];
    let cluster = shared(relaxed, "http://other").await;
    let answer = cluster.owner("GET", O, &[("origin", ORIGIN)]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    assert!(exposed(&answer).contains("x-mine"));
    let info = cluster.ask("GET", "/info", &[]).await.text();
    assert!(info.contains("\"strict_cors_mode\":false"), "{info}");
    // Before something is done it is asked strictly nevertheless, as in Swift.
    assert_eq!(preflight(&cluster, O, ORIGIN, "GET").await.status, 401);
    let mut everywhere = config();
    everywhere.cors.cors_allow_origin = vec![ORIGIN.to_owned()];
    let cluster = shared(everywhere, "http://other").await;
    assert_eq!(preflight(&cluster, O, ORIGIN, "GET").await.status, 200);
}

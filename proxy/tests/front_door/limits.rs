//! Quotas, rates, names that are not wanted, and accounts in which nothing is written.

use crate::cluster::{Answer, Cluster, config};
use proxy::Config;

const A: &str = "/v1/AUTH_test";
const C: &str = "/v1/AUTH_test/c";
const O: &str = "/v1/AUTH_test/c/o";

/// The pipeline with middlewares that are not in it by default.
fn with(names: &[&str]) -> Config {
    let mut config = config();
    for (name, before) in [("name_check", "bulk"), ("read_only", "staticweb")] {
        if names.contains(&name) {
            let at = config.pipeline.iter().position(|known| known == before).expect("is there");
            config.pipeline.insert(at, name.to_owned());
        }
    }
    config
}

async fn reseller(cluster: &Cluster, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("x-auth-token", "reseller")];
    all.extend_from_slice(headers);
    cluster.ask("POST", path, &all).await
}

#[tokio::test]
async fn a_full_container_takes_no_more() {
    let cluster = Cluster::furnished(3).await;
    let set = |name: &'static str, value: &'static str| {
        let cluster = &cluster;
        async move { cluster.owner("POST", C, &[(name, value)]).await }
    };
    for bad in ["-1", "x", "1.5"] {
        let refused = set("x-container-meta-quota-bytes", bad).await;
        assert_eq!((refused.status, refused.text().as_str()), (400, "Invalid bytes quota."));
        let refused = set("x-container-meta-quota-count", bad).await;
        assert_eq!((refused.status, refused.text().as_str()), (400, "Invalid count quota."));
    }
    assert_eq!(set("x-container-meta-quota-bytes", "10").await.status, 204);
    assert_eq!(cluster.put(O, "ten bytes!", &[]).await.status, 201);
    let refused = cluster.put(O, "eleven byte", &[]).await;
    assert_eq!((refused.status, refused.text().as_str()), (413, "Upload exceeds quota."));
    // Who may not write learns nothing of it.
    let stranger = cluster.ask("PUT", O, &[("content-length", "11")]).await;
    assert_eq!(stranger.status, 401);
    assert_eq!(set("x-container-meta-quota-bytes", "").await.status, 204);
    assert_eq!(cluster.put(O, "eleven byte", &[]).await.status, 201);
    assert_eq!(set("x-container-meta-quota-count", "0").await.status, 204);
    assert_eq!(cluster.put(O, "", &[]).await.status, 413);
    assert_eq!(cluster.owner("DELETE", O, &[]).await.status, 204);
}

#[tokio::test]
async fn resellers_set_the_quotas_of_accounts_and_owners_see_them() {
    let cluster = Cluster::furnished(3).await;
    let names = ["quota-bytes", "quota-count", "quota-bytes-policy-policy-0"];
    for name in names.map(|name| format!("x-account-{name}")) {
        let removal = name.replacen("x-", "x-remove-", 1);
        assert_eq!(cluster.owner("POST", A, &[(&name, "1")]).await.status, 403, "{name}");
        assert_eq!(cluster.owner("POST", A, &[(&removal, "t")]).await.status, 403, "{name}");
        assert_eq!(reseller(&cluster, A, &[(&name, "many")]).await.status, 400, "{name}");
        assert_eq!(reseller(&cluster, A, &[(&name, "20")]).await.status, 204, "{name}");
        assert_eq!(cluster.owner("HEAD", A, &[]).await.header(&name), Some("20"));
        assert_eq!(reseller(&cluster, A, &[(&removal, "t"), (&name, "30")]).await.status, 204);
        assert_eq!(cluster.owner("HEAD", A, &[]).await.header(&name), None, "{name}");
    }
    let legacy = "x-account-meta-quota-bytes";
    assert_eq!(cluster.owner("POST", A, &[(legacy, "0")]).await.status, 403);
    assert_eq!(reseller(&cluster, A, &[(legacy, "5")]).await.status, 204);
    assert_eq!(cluster.owner("HEAD", A, &[]).await.header("x-account-quota-bytes"), Some("5"));
    assert_eq!(cluster.put(O, "fives", &[]).await.status, 201);
    let refused = cluster.put(O, "sixsix", &[]).await;
    assert_eq!((refused.status, refused.text().as_str()), (413, "Upload exceeds quota."));
    let body = wire::Body::from("sixsix");
    let headers = [("x-auth-token", "reseller"), ("content-length", "6")];
    let request = crate::cluster::request("PUT", O, &headers, body);
    assert_eq!(cluster.call(request).await.status, 201);
}

#[tokio::test]
async fn a_policy_has_a_quota_of_its_own() {
    let cluster = Cluster::furnished(3).await;
    let quota = [("x-account-quota-count-policy-policy-0", "0")];
    assert_eq!(reseller(&cluster, A, &quota).await.status, 204);
    let refused = cluster.put(O, "", &[]).await;
    assert_eq!((refused.status, refused.text().as_str()), (413, "Upload exceeds policy quota."));
}

#[tokio::test]
async fn names_are_checked_when_that_is_wanted() {
    let cluster = Cluster::with(3, with(&["name_check"])).await;
    assert_eq!(cluster.owner("PUT", C, &[]).await.status, 201);
    assert_eq!(cluster.put("/v1/AUTH_test/c/it's", "", &[]).await.status, 400);
    assert_eq!(cluster.put("/v1/AUTH_test/c/%3Co%3E", "", &[]).await.status, 400);
    assert_eq!(cluster.put("/v1/AUTH_test/c/a/../b", "", &[]).await.status, 400);
    let plain = Cluster::furnished(3).await;
    assert_eq!(plain.put("/v1/AUTH_test/c/it's", "", &[]).await.status, 201);
}

#[tokio::test]
async fn nothing_is_written_where_all_is_read_only() {
    let mut config = with(&["read_only"]);
    config.read_only.read_only = true;
    let cluster = Cluster::with(3, config).await;
    let refused = cluster.owner("PUT", C, &[]).await;
    assert_eq!(refused.status, 405);
    assert_eq!(refused.text(), "Writes are disabled for this account.");
    for (method, path) in [("POST", A), ("PUT", O), ("DELETE", O), ("COPY", O)] {
        assert_eq!(cluster.owner(method, path, &[]).await.status, 405, "{method} {path}");
    }
    assert_eq!(cluster.owner("GET", A, &[]).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn who_comes_too_fast_waits_or_is_told_to_slow_down() {
    let mut config = config();
    config.ratelimit.account_ratelimit = 1.0;
    config.ratelimit.max_sleep_time_seconds = 2.0;
    config.ratelimit.account_blacklist = vec!["AUTH_other".to_owned()];
    let cluster = Cluster::with(3, config).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(cluster.owner("PUT", C, &[]).await.status, 201);
    assert_eq!(begin.elapsed().as_secs(), 0);
    let second = cluster.owner("PUT", C, &[]);
    let third = cluster.owner("PUT", C, &[]);
    let (second, third) = tokio::join!(second, third);
    assert_eq!((second.status, third.status, third.text().as_str()), (202, 498, "Slow down"));
    assert_eq!(begin.elapsed().as_secs(), 1);
    assert_eq!(cluster.owner("GET", C, &[]).await.status, 200, "reading is not limited");
    let begin = tokio::time::Instant::now();
    let unwanted = cluster.ask("GET", "/v1/AUTH_other/c/o", &[("x-auth-token", "other")]).await;
    assert_eq!((unwanted.status, begin.elapsed().as_secs()), (497, 1));
}

#[tokio::test]
async fn etags_have_quotes_where_that_was_asked_for() {
    let cluster = Cluster::furnished(3).await;
    assert_eq!(cluster.put(O, "x", &[]).await.status, 201);
    let md5 = "9dd4e461268c8034f5c8564e155c67a6";
    let quoted = format!("\"{md5}\"");
    let account = ("x-account-rfc-compliant-etags", A);
    let container = ("x-container-rfc-compliant-etags", C);
    let steps = [
        (account, "", md5),
        (account, "yes", quoted.as_str()),
        (container, "no", md5),
        (container, "", quoted.as_str()),
        (account, "no", md5),
        (container, "on", quoted.as_str()),
    ];
    for (number, ((name, path), value, wanted)) in steps.into_iter().enumerate() {
        assert_eq!(cluster.owner("POST", path, &[(name, value)]).await.status, 204);
        let head = cluster.owner("HEAD", O, &[]).await;
        assert_eq!(head.headers["etag"], wanted, "step {number}");
        // Only what was said is told.
        let told = cluster.owner("HEAD", path, &[]).await;
        assert_eq!(told.headers.contains_key(name), !value.is_empty(), "step {number}");
    }
    let remove = [("x-remove-container-rfc-compliant-etags", "x")];
    assert_eq!(cluster.owner("POST", C, &remove).await.status, 204);
    assert_eq!(cluster.owner("GET", O, &[]).await.headers["etag"], md5);
    let refused = cluster.owner("GET", "/v1/AUTH_test/c/none", &[]).await;
    assert_eq!(refused.status, 404);
}

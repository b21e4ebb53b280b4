//! Temporary URLs.

use crate::cluster::{Answer, Cluster, request};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wire::Body;

const A: &str = "/v1/AUTH_test";
const C: &str = "/v1/AUTH_test/c";
const O: &str = "/v1/AUTH_test/c/o";
/// The clock of these clusters stands a little after 1,700,000,000.
const LATER: i64 = 1_700_100_000;

pub(crate) fn sign(key: &str, message: &str) -> String {
    let keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes()).expect("any length");
    types::hex_encode(&keyed.chain_update(message).finalize().into_bytes())
}

fn query(key: &str, method: &str, expires: i64, path: &str) -> String {
    let signature = sign(key, &format!("{method}\n{expires}\n{path}"));
    format!("temp_url_sig={signature}&temp_url_expires={expires}")
}

/// With a key of the account, one of the container, and an object.
async fn keyed() -> Cluster {
    let cluster = Cluster::furnished(3).await;
    let account = [("x-account-meta-temp-url-key-2", "account key")];
    assert_eq!(cluster.owner("POST", A, &account).await.status, 204);
    let container = [("x-container-meta-temp-url-key", "container key")];
    assert_eq!(cluster.owner("POST", C, &container).await.status, 204);
    assert_eq!(cluster.owner("PUT", "/v1/AUTH_test/d", &[]).await.status, 201);
    let metadata = [("x-object-meta-a", "1"), ("x-object-meta-public-b", "2")];
    assert_eq!(cluster.put(O, "hello", &metadata).await.status, 201);
    cluster
}

async fn ask(cluster: &Cluster, method: &str, path: &str, query: &str) -> Answer {
    cluster.ask(method, &format!("{path}?{query}"), &[("content-length", "0")]).await
}

#[tokio::test]
async fn a_signature_opens_one_object_for_one_method() {
    let cluster = keyed().await;
    for key in ["account key", "container key"] {
        let query = query(key, "GET", LATER, O);
        let answer = ask(&cluster, "GET", O, &query).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        let name = "attachment; filename=\"o\"; filename*=UTF-8''o";
        assert_eq!(answer.header("content-disposition"), Some(name));
        assert_eq!(answer.header("expires"), Some("Thu, 16 Nov 2023 02:00:00 GMT"));
        assert_eq!(answer.header("x-object-meta-a"), None);
        assert_eq!(answer.header("x-object-meta-public-b"), Some("2"));
        assert_eq!(ask(&cluster, "HEAD", O, &query).await.status, 200);
        for method in ["PUT", "POST", "DELETE"] {
            assert_eq!(ask(&cluster, method, O, &query).await.status, 401, "{method}");
        }
        assert_eq!(ask(&cluster, "GET", "/v1/AUTH_test/c/p", &query).await.status, 401);
        assert_eq!(ask(&cluster, "GET", "/v1.0/AUTH_test/c/o", &query).await.status, 401);
        assert_eq!(ask(&cluster, "GET", C, &query).await.status, 401);
    }
    let named = format!("{}&filename=x.txt&inline", query("account key", "GET", LATER, O));
    let answer = ask(&cluster, "GET", O, &named).await;
    let name = "inline; filename=\"x.txt\"; filename*=UTF-8''x.txt";
    assert_eq!(answer.header("content-disposition"), Some(name));
}

#[tokio::test]
async fn what_is_wrong_is_401_and_not_explained() {
    let cluster = keyed().await;
    let good = query("account key", "GET", LATER, O);
    let bad = [
        query("other key", "GET", LATER, O),
        query("account key", "GET", 1_600_000_000, O),
        good.replace("temp_url_expires=17", "temp_url_expires=18"),
        good.replace("temp_url_sig=", "temp_url_sig=00"),
        "temp_url_sig=x".to_owned(),
        "temp_url_expires=1700100000".to_owned(),
        format!("{good}&temp_url_prefix=o"),
        format!("{good}&temp_url_ip_range=127.0.0.1"),
        // Another container's key opens nothing here.
        query("container key", "GET", LATER, "/v1/AUTH_test/d/o"),
    ];
    for query in bad {
        let answer = ask(&cluster, "GET", O, &query).await;
        assert_eq!(answer.status, 401, "{query}");
        assert_eq!(answer.text(), "401 Unauthorized: Temp URL invalid\n");
        assert_eq!(answer.header("www-authenticate"), Some("Swift realm=\"AUTH_test\""));
    }
    let elsewhere = query("container key", "GET", LATER, "/v1/AUTH_test/d/o");
    assert_eq!(ask(&cluster, "GET", "/v1/AUTH_test/d/o", &elsewhere).await.status, 401);
    let wide = query("account key", "GET", LATER, "/v1/AUTH_test/d/o");
    assert_eq!(ask(&cluster, "GET", "/v1/AUTH_test/d/o", &wide).await.status, 404);
    // A token does not make up for it.
    let wrong = format!("{O}?{}", query("other key", "GET", LATER, O));
    assert_eq!(cluster.owner("GET", &wrong, &[]).await.status, 401);
}

#[tokio::test]
async fn uploads_are_only_what_they_seem() {
    let cluster = keyed().await;
    let put = query("container key", "PUT", LATER, O);
    let upload = |headers: &'static [(&'static str, &'static str)], more: &str| {
        let path = format!("{O}?{put}{more}");
        let mut all = vec![("content-length", "3")];
        all.extend_from_slice(headers);
        cluster.call(request("PUT", &path, &all, Body::from("new")))
    };
    for header in ["x-object-manifest", "x-symlink-target", "x-copy-from"] {
        let headers: &'static [_] = match header {
            "x-object-manifest" => &[("x-object-manifest", "d/")],
            "x-symlink-target" => &[("x-symlink-target", "d/o")],
            _ => &[("x-copy-from", "d/o")],
        };
        let answer = upload(headers, "").await;
        assert_eq!(answer.status, 400, "{header}");
        assert!(answer.text().to_lowercase().contains(header), "{}", answer.text());
    }
    // What was not signed in the query is not there.
    assert_eq!(upload(&[], "&multipart-manifest=put").await.status, 201);
    let head = ask(&cluster, "HEAD", O, &put).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("3")));
    assert_eq!(ask(&cluster, "DELETE", O, &put).await.status, 401);
    let delete = query("container key", "DELETE", LATER, O);
    assert_eq!(ask(&cluster, "DELETE", O, &delete).await.status, 204);
}

#[tokio::test]
async fn prefixes() {
    let cluster = keyed().await;
    assert_eq!(cluster.put("/v1/AUTH_test/c/photos/a", "a", &[]).await.status, 201);
    let signed = |prefix: &str| {
        let path = format!("prefix:{C}/{prefix}");
        format!("{}&temp_url_prefix={prefix}", query("container key", "GET", LATER, &path))
    };
    let photos = signed("photos/");
    assert_eq!(ask(&cluster, "GET", "/v1/AUTH_test/c/photos/a", &photos).await.status, 200);
    assert_eq!(ask(&cluster, "GET", O, &photos).await.status, 401);
    let all = signed("");
    assert_eq!(ask(&cluster, "GET", O, &all).await.status, 200);
    // The container itself only as a web site, which it is not.
    assert_eq!(ask(&cluster, "GET", C, &all).await.status, 401);
    assert_eq!(ask(&cluster, "GET", C, &photos).await.status, 401);
    assert_eq!(ask(&cluster, "PUT", C, &all).await.status, 401);
}

#[tokio::test]
async fn addresses() {
    let cluster = keyed().await;
    let signed = |range: &str| {
        let message = format!("ip={range}\nGET\n{LATER}\n{O}");
        let signature = sign("account key", &message);
        format!("{O}?temp_url_sig={signature}&temp_url_expires={LATER}&temp_url_ip_range={range}")
    };
    let from = |client: &'static str, range: &str| {
        let mut request = request("GET", &signed(range), &[], Body::empty());
        let client = daemon::ClientAddress(client.parse().expect("an address"));
        request.extensions_mut().insert(client);
        cluster.call(request)
    };
    assert_eq!(from("10.1.2.3", "10.0.0.0/8").await.status, 200);
    assert_eq!(from("10.1.2.3", "10.1.2.3").await.status, 200);
    assert_eq!(from("11.1.2.3", "10.0.0.0/8").await.status, 401);
    assert_eq!(from("10.1.2.3", "10.0.0.1/8").await.status, 401);
    assert_eq!(from("10.1.2.3", "everywhere").await.status, 401);
    let unknown = request("GET", &signed("10.0.0.0/8"), &[], Body::empty());
    assert_eq!(cluster.call(unknown).await.status, 401);
}

#[tokio::test]
async fn keys_are_shown_to_the_owner_alone() {
    let cluster = keyed().await;
    let acl = [("x-container-read", "other"), ("x-container-meta-temp-url-key", "k")];
    assert_eq!(cluster.owner("POST", C, &acl).await.status, 204);
    let shown = cluster.owner("HEAD", C, &[]).await;
    assert_eq!(shown.header("x-container-meta-temp-url-key"), Some("k"));
    let guest = cluster.ask("HEAD", C, &[("x-auth-token", "other")]).await;
    assert_eq!((guest.status, guest.header("x-container-meta-temp-url-key")), (204, None));
}

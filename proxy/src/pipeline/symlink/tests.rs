use super::*;
use crate::call::Context;
use crate::call::tests::{call, entity};
use http::Method;
use http::header::HeaderName;
use std::collections::HashMap;
use std::sync::Mutex;
use wire::Body;

/// What there is: by path, the headers of answers.
type Objects = HashMap<&'static str, Vec<(&'static str, &'static str)>>;

struct World {
    handler: Handler,
    asked: Arc<Mutex<Vec<(Call, Context)>>>,
}

fn world(objects: &[(&'static str, &[(&'static str, &'static str)])]) -> World {
    let objects: Objects =
        objects.iter().map(|(path, headers)| (*path, headers.to_vec())).collect();
    let asked: Arc<Mutex<Vec<(Call, Context)>>> = Arc::default();
    let log = Arc::clone(&asked);
    let handler = Handler::new(move |call: Call| {
        let found = objects.iter().find(|(path, _)| entity(path) == call.entity);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = match (call.method.as_str(), found) {
            ("PUT", _) => StatusCode::CREATED,
            ("POST", Some(_)) => StatusCode::ACCEPTED,
            (_, Some(_)) => StatusCode::OK,
            (_, None) => StatusCode::NOT_FOUND,
        };
        for (name, value) in found.map(|(_, headers)| headers.as_slice()).unwrap_or_default() {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let context = call.context.clone();
        log.lock().expect("lock").push((call, context));
        Box::pin(async move { response })
    });
    World { handler, asked }
}

impl World {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Response {
        let mut call = call(method, path);
        for (name, value) in headers {
            call.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let symlink = Symlink { symloop_max: 2, client_timeout: Duration::from_secs(60) };
        Arc::new(symlink).handle(call, self.handler.clone()).await
    }

    async fn status(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> u16 {
        self.ask(method, path, headers).await.status().as_u16()
    }

    fn last(&self) -> Call {
        self.asked.lock().expect("lock").pop().expect("a call").0
    }
}

const TARGET: &str = headers::SYSMETA_TARGET;
const ETAG: &str = headers::SYSMETA_TARGET_ETAG;

#[tokio::test]
async fn reads_follow_links_to_their_end() {
    let world = world(&[
        ("a/c/o", &[("etag", "abc")]),
        ("a/c/l", &[(TARGET, "c/o")]),
        ("a/c/m", &[(TARGET, "c/l")]),
        ("a/c/n", &[(TARGET, "c/m")]),
        ("a/c/far", &[(TARGET, "d/x%20y"), (headers::SYSMETA_TARGET_ACCOUNT, "b")]),
        ("a/c/round", &[(TARGET, "c/round2")]),
        ("a/c/round2", &[(TARGET, "c/round")]),
    ]);
    let found = world.ask(Method::GET, "a/c/m", &[("range", "bytes=0-1")]).await;
    assert_eq!(
        (found.status().as_u16(), &found.headers()["etag"]),
        (200, &HeaderValue::from_static("abc"))
    );
    assert_eq!(found.headers()["content-location"], "/v1/a/c/o");
    assert_eq!(world.last().headers["range"], "bytes=0-1");
    assert!(!world.ask(Method::GET, "a/c/o", &[]).await.headers().contains_key("content-location"));
    let far = world.ask(Method::HEAD, "a/c/far", &[]).await;
    assert_eq!(
        (far.status().as_u16(), far.headers()["content-location"].to_str().ok()),
        (404, Some("/v1/b/d/x%20y"))
    );
    assert_eq!(world.last().entity, entity("b/d/x y"));
    for endless in ["a/c/n", "a/c/round"] {
        assert_eq!(world.status(Method::GET, endless, &[]).await, 409, "{endless}");
    }
}

#[tokio::test]
async fn static_links_lead_to_one_version() {
    let world = world(&[
        ("a/c/o", &[("etag", "abc")]),
        ("a/c/good", &[(TARGET, "c/o"), (ETAG, "abc")]),
        ("a/c/bad", &[(TARGET, "c/o"), (ETAG, "xyz")]),
        ("a/c/over", &[(TARGET, "c/bad"), (ETAG, "abc")]),
        ("a/c/gone", &[(TARGET, "c/nothing"), (ETAG, "abc")]),
    ]);
    assert_eq!(world.status(Method::GET, "a/c/good", &[]).await, 200);
    let bad = world.ask(Method::GET, "a/c/bad", &[]).await;
    assert_eq!(
        (bad.status().as_u16(), &bad.headers()["content-location"]),
        (409, &HeaderValue::from_static("/v1/a/c/o"))
    );
    assert_eq!(world.status(Method::GET, "a/c/over", &[]).await, 409);
    assert_eq!(world.status(Method::GET, "a/c/gone", &[]).await, 404);
}

#[tokio::test]
async fn the_clusters_own_links_are_followed_by_its_right() {
    let hidden = [
        (TARGET, "%00versions%00c/%00o"),
        (headers::SYSMETA_ALLOW_RESERVED_NAMES, "true"),
        (headers::SYSMETA_SYMLOOP_EXTEND, "true"),
    ];
    let to_link = [(TARGET, "%00versions%00c/%00l"), hidden[1], hidden[2]];
    let world = world(&[
        ("a/c/own", &hidden),
        ("a/c/linked", &to_link),
        ("a/\0versions\0c/\0o", &[]),
        ("a/\0versions\0c/\0l", &[(TARGET, "c/o")]),
        ("a/c/o", &[]),
    ]);
    assert_eq!(world.status(Method::GET, "a/c/own", &[("x-client", "1")]).await, 200);
    let last = world.last();
    assert!(matches!(last.context.authority, crate::call::Authority::Granted));
    assert_eq!(last.headers["x-backend-allow-reserved-names"], "true");
    assert_eq!(last.headers["x-client"], "1");
    // A version that is a link itself is followed by the caller's right again.
    assert_eq!(world.status(Method::GET, "a/c/linked", &[]).await, 200);
    assert!(matches!(world.last().context.authority, crate::call::Authority::Caller));
    let reserved = [("x-symlink-target", "%00versions%00c/%00o")];
    assert_eq!(world.status(Method::PUT, "a/c/l", &reserved).await, 412);
    let allowed = [reserved[0], ("x-backend-allow-reserved-names", "true")];
    assert_eq!(world.status(Method::PUT, "a/c/l", &allowed).await, 201);
}

#[tokio::test]
async fn what_a_link_is_stored_as() {
    let target = [
        ("etag", "abc"),
        ("content-length", "7"),
        ("content-type", "x/y"),
        ("x-object-sysmeta-slo-etag", "slo"),
        ("x-object-sysmeta-slo-size", "99"),
    ];
    let world = world(&[("a/c/o", &target), ("a/c/l", &[("etag", "nil"), (TARGET, "c/o")])]);
    assert_eq!(world.status(Method::PUT, "a/c/p", &[("x-symlink-target", "c/x y")]).await, 201);
    let put = world.last();
    assert_eq!(put.headers[TARGET], "c/x%20y");
    assert_eq!(put.headers["content-type"], "application/symlink");
    assert_eq!(
        put.headers[headers::OVERRIDE_ETAG],
        "d41d8cd98f00b204e9800998ecf8427e; symlink_target=c/x%20y"
    );
    assert!(!put.headers.contains_key("x-symlink-target"));
    let asked = [
        ("x-symlink-target", "c/o"),
        ("x-symlink-target-account", "a"),
        ("x-symlink-target-etag", "\"abc\""),
        (headers::OVERRIDE_ETAG, "d41d8; symlink_target=old; slo_etag=slo"),
    ];
    assert_eq!(world.status(Method::PUT, "a/c/p", &asked[..3]).await, 201);
    let put = world.last();
    assert_eq!(put.headers["content-type"], "x/y");
    assert_eq!(put.headers[headers::SYSMETA_TARGET_BYTES], "99");
    let hash = "d41d8cd98f00b204e9800998ecf8427e; slo_etag=slo; symlink_target=c/o; symlink_target_account=a; symlink_target_etag=abc; symlink_target_bytes=99";
    assert_eq!(put.headers[headers::OVERRIDE_ETAG], hash);
    assert_eq!(world.status(Method::PUT, "a/c/p", &asked).await, 201);
    let put = world.last();
    let hash = hash.replace("d41d8cd98f00b204e9800998ecf8427e", "d41d8");
    assert_eq!(put.headers[headers::OVERRIDE_ETAG], hash, "what was told of another link goes");
    let dynamic = [("x-symlink-target", "c/l"), ("x-symlink-target-etag", "nil")];
    assert_eq!(
        world.status(Method::PUT, "a/c/p", &dynamic).await,
        201,
        "a dynamic link is an object"
    );
}

#[tokio::test]
async fn what_is_no_link() {
    let world = world(&[("a/c/o", &[("etag", "abc")])]);
    let put = async |headers: &[(&'static str, &'static str)]| {
        let response = world.ask(Method::PUT, "a/c/l", headers).await;
        let written =
            world.asked.lock().expect("lock").iter().any(|(call, _)| call.method == Method::PUT);
        assert!(!written, "{headers:?}");
        response.status().as_u16()
    };
    for bad in ["", "c", "/c/o", "%2Fc/o", "c/", "c/%ff"] {
        assert_eq!(put(&[("x-symlink-target", bad)]).await, 412, "{bad}");
    }
    let target = ("x-symlink-target", "c/o");
    assert_eq!(put(&[("x-symlink-target", "c/l")]).await, 400, "itself");
    assert_eq!(put(&[target, ("content-length", "1")]).await, 400);
    assert_eq!(put(&[target, ("x-symlink-target-account", "a/b")]).await, 412);
    assert_eq!(put(&[target, ("x-symlink-target-etag", "a;b")]).await, 400);
    assert_eq!(put(&[target, ("x-symlink-target-etag", "xyz")]).await, 409);
    assert_eq!(put(&[("x-symlink-target", "c/x"), ("x-symlink-target-etag", "abc")]).await, 409);
    assert_eq!(world.status(Method::POST, "a/c/o", &[target]).await, 400);
}

#[tokio::test]
async fn a_post_says_where_the_target_is() {
    let world = world(&[("a/c/o", &[]), ("a/c/l", &[(TARGET, "c/o"), (ETAG, "abc")])]);
    assert_eq!(world.status(Method::POST, "a/c/o", &[]).await, 202);
    let post = world.ask(Method::POST, "a/c/l", &[]).await;
    assert_eq!(
        (post.status().as_u16(), &post.headers()["location"]),
        (307, &HeaderValue::from_static("/v1/a/c/o"))
    );
    assert_eq!(post.headers()["x-symlink-target-etag"], "abc");
    assert_eq!(post.headers()[TARGET], "c/o");
}

#[test]
fn what_listings_tell() {
    let own = AccountName::parse("a").expect("a name");
    let link = |text: &str| {
        let mut hash = Hash::parse(text);
        let fields = told(&own, &mut hash);
        (fields, hash.render())
    };
    let (fields, hash) =
        link("x; slo_etag=y; symlink_target=c/o; symlink_target_etag=abc; symlink_target_bytes=5");
    let expected = [
        ("symlink_etag", json!("abc")),
        ("symlink_bytes", json!(5)),
        ("symlink_path", json!("/v1/a/c/o")),
    ];
    assert_eq!((fields.as_slice(), hash.as_str()), (&expected[..], "x; slo_etag=y"));
    let (fields, hash) = link("x; symlink_target=c/o; symlink_target_account=b");
    assert_eq!(
        (fields.as_slice(), hash.as_str()),
        (&[("symlink_path", json!("/v1/b/c/o"))][..], "x")
    );
}

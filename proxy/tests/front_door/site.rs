//! Containers as web sites.

use crate::cluster::{Answer, Cluster};

const C: &str = "/v1/AUTH_test/c";

/// A public site with these settings, and some objects.
async fn site(settings: &[(&str, &str)], read: &str) -> Cluster {
    let cluster = Cluster::furnished(3).await;
    let mut headers = vec![("x-container-read", read)];
    headers.extend_from_slice(settings);
    assert_eq!(cluster.owner("POST", C, &headers).await.status, 204);
    for (name, body) in [
        ("index.html", "the index"),
        ("d/index.html", "a directory"),
        ("o", "an object"),
        ("404error.html", "no such page"),
        ("401error.html", "not for you"),
    ] {
        assert_eq!(cluster.put(&format!("{C}/{name}"), body, &[]).await.status, 201, "{name}");
    }
    let directory = [("content-type", "application/directory")];
    assert_eq!(cluster.put(&format!("{C}/d"), "", &directory).await.status, 201);
    cluster
}

const INDEX: (&str, &str) = ("x-container-meta-web-index", "index.html");
const ERROR: (&str, &str) = ("x-container-meta-web-error", "error.html");

async fn visit(cluster: &Cluster, path: &str) -> Answer {
    cluster.ask("GET", &format!("{C}{path}"), &[("host", "example.org:8080")]).await
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text())
}

#[tokio::test]
async fn directories_show_their_index() {
    let cluster = site(&[INDEX, ERROR], ".r:*,.rlistings").await;
    assert_eq!(told(&visit(&cluster, "/").await), (200, "the index".into()));
    assert_eq!(told(&visit(&cluster, "/d/").await), (200, "a directory".into()));
    assert_eq!(told(&visit(&cluster, "/o").await), (200, "an object".into()));
    assert_eq!(told(&visit(&cluster, "/missing").await), (404, "no such page".into()));
    for path in ["", "/d"] {
        let answer = visit(&cluster, path).await;
        let location = format!("http://example.org:8080{C}{path}/");
        assert_eq!((answer.status, answer.header("location")), (301, Some(location.as_str())));
    }
    let head = cluster.ask("HEAD", &format!("{C}/"), &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("9"));
    let range = cluster.ask("GET", &format!("{C}/"), &[("range", "bytes=4-")]).await;
    assert_eq!(told(&range), (206, "index".into()));
}

#[tokio::test]
async fn owners_see_the_container_unless_they_want_the_site() {
    let cluster = site(&[INDEX], ".r:*,.rlistings").await;
    let owned = cluster.owner("GET", &format!("{C}/"), &[]).await;
    assert_eq!(told(&owned), (200, "row\n".into()));
    let web = cluster.owner("GET", &format!("{C}/"), &[("x-web-mode", "True")]).await;
    assert_eq!(told(&web), (200, "the index".into()));
    let plain = site(&[], ".r:*,.rlistings").await;
    assert_eq!(told(&visit(&plain, "/").await), (200, "row\n".into()));
    let web = plain.owner("GET", C, &[("x-web-mode", "t")]).await;
    assert_eq!(web.status, 404);
    let account = plain.owner("GET", "/v1/AUTH_test", &[("x-web-mode", "t")]).await;
    assert_eq!(account.status, 200);
}

#[tokio::test]
async fn what_is_closed_stays_closed() {
    let cluster = site(&[INDEX, ERROR], "").await;
    for path in ["", "/", "/o", "/d/", "/missing"] {
        let answer = visit(&cluster, path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(!answer.text().contains("not for you"), "the page is closed, too");
    }
    // Objects are public, the listing is not, so the root is closed; and says so in the site's own words.
    let cluster = site(&[INDEX, ERROR], ".r:*").await;
    assert_eq!(told(&visit(&cluster, "/").await), (401, "not for you".into()));
    assert_eq!(told(&visit(&cluster, "/d/").await), (200, "a directory".into()));
}

#[tokio::test]
async fn without_listings_visitors_are_told_why_there_is_no_page() {
    let index = ("x-container-meta-web-index", "<none>");
    let cluster = site(&[index], ".r:*,.rlistings").await;
    let answer = visit(&cluster, "/").await;
    assert_eq!(answer.status, 404);
    let page = answer.text();
    assert!(page.contains("Web Listing Disabled") && page.contains("&lt;none&gt;"), "{page}");
    assert!(!page.contains("<none>"), "{page}");
}

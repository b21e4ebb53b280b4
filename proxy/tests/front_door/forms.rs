//! Uploads by forms.

use crate::cluster::{Answer, Cluster, request};
use crate::tempurl::sign;
use wire::Body;

const PREFIX: &str = "/v1/AUTH_test/c/in-";

/// The parts of a form: fields, then files.
struct Form<'f> {
    path: &'f str,
    fields: Vec<(&'f str, String)>,
    files: Vec<(&'f str, &'f str, &'f str)>,
}

impl<'f> Form<'f> {
    /// Signed for two files of ten bytes.
    fn signed(path: &'f str, key: &str) -> Self {
        let expires = 1_700_100_000;
        let signature = sign(key, &format!("{path}\n\n10\n2\n{expires}"));
        let fields = vec![
            ("max_file_size", "10".to_owned()),
            ("max_file_count", "2".to_owned()),
            ("expires", expires.to_string()),
            ("signature", signature),
        ];
        Form { path, fields, files: vec![("a.txt", "text/plain", "hello")] }
    }

    fn with(mut self, name: &'f str, value: &str) -> Self {
        self.fields.retain(|(known, _)| *known != name);
        self.fields.push((name, value.to_owned()));
        self
    }

    fn files(self, files: &[(&'f str, &'f str, &'f str)]) -> Self {
        Form { files: files.to_vec(), ..self }
    }

    fn body(&self) -> String {
        let mut body = String::new();
        for (name, value) in &self.fields {
            body.push_str(&format!(
                "--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            ));
        }
        for (name, kind, data) in &self.files {
            body.push_str(&format!(
                "--b0\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\
                 Content-Type: {kind}\r\n\r\n{data}\r\n"
            ));
        }
        body + "--b0--\r\n"
    }

    async fn send(&self, cluster: &Cluster) -> Answer {
        let headers = [("content-type", "multipart/form-data; boundary=b0")];
        cluster.call(request("POST", self.path, &headers, Body::from(self.body()))).await
    }
}

async fn keyed() -> Cluster {
    let cluster = Cluster::furnished(3).await;
    let key = [("x-container-meta-temp-url-key", "key")];
    assert_eq!(cluster.owner("POST", "/v1/AUTH_test/c", &key).await.status, 204);
    cluster
}

async fn stored(cluster: &Cluster, name: &str) -> Option<String> {
    let answer = cluster.owner("GET", &format!("/v1/AUTH_test/c/{name}"), &[]).await;
    (answer.status == 200).then(|| answer.text())
}

#[tokio::test]
async fn files_become_objects() {
    let cluster = keyed().await;
    let two = [("a.txt", "text/plain", "hello"), ("b b", "image/png", "")];
    let answer = Form::signed(PREFIX, "key").files(&two).send(&cluster).await;
    assert_eq!((answer.status, answer.text().as_str()), (201, "201 Created"));
    assert_eq!(stored(&cluster, "in-a.txt").await.as_deref(), Some("hello"));
    assert_eq!(stored(&cluster, "in-b%20b").await.as_deref(), Some(""));
    let head = cluster.owner("HEAD", "/v1/AUTH_test/c/in-b%20b", &[]).await;
    assert_eq!(head.header("content-type"), Some("image/png"));
    // With and without a slash the root of the container is meant.
    for path in ["/v1/AUTH_test/c", "/v1/AUTH_test/c/"] {
        let form = Form::signed(path, "key").with("content-type", "x/y");
        assert_eq!(form.send(&cluster).await.status, 201, "{path}");
        let head = cluster.owner("HEAD", "/v1/AUTH_test/c/a.txt", &[]).await;
        assert_eq!(head.header("content-type"), Some("x/y"));
    }
}

#[tokio::test]
async fn forms_that_are_not_signed_so_store_nothing() {
    let cluster = keyed().await;
    let signed = || Form::signed(PREFIX, "key");
    let refused = [
        (Form::signed(PREFIX, "other"), "FormPost: Invalid Signature"),
        (Form { path: "/v1/AUTH_test/c/elsewhere-", ..signed() }, "FormPost: Invalid Signature"),
        (signed().with("max_file_size", "11"), "FormPost: Invalid Signature"),
        (signed().with("redirect", "http://evil"), "FormPost: Invalid Signature"),
        (signed().with("signature", "x"), "FormPost: Invalid Signature"),
        (signed().with("expires", "1600000000"), "FormPost: Form Expired"),
    ];
    for (form, sentence) in refused {
        let answer = form.send(&cluster).await;
        assert_eq!((answer.status, answer.text().as_str()), (401, sentence));
        assert!(answer.header("www-authenticate").is_some());
    }
    let invalid = [
        (signed().with("expires", "soon"), "FormPost: expires not an integer"),
        (signed().with("max_file_size", "x"), "FormPost: max_file_size not an integer"),
        (signed().with("max_file_count", "x"), "FormPost: max_file_count not an integer"),
        (
            signed().with("x_delete_at", "x"),
            "FormPost: x_delete_at not an integer: Unix timestamp required.",
        ),
        (signed().files(&[]), "400 Bad Request\r\nFormPost: No Files To Process"),
        (
            signed().with("max_file_count", "0"),
            "400 Bad Request\r\nFormPost: Max File Count Exceeded",
        ),
    ];
    for (form, sentence) in invalid {
        let answer = form.send(&cluster).await;
        assert_eq!((answer.status, answer.text().as_str()), (400, sentence));
    }
    assert_eq!(stored(&cluster, "in-a.txt").await, None);
    assert_eq!(stored(&cluster, "elsewhere-a.txt").await, None);
}

#[tokio::test]
async fn limits_of_files() {
    let cluster = keyed().await;
    let large = [("a", "text/plain", "ten bytes."), ("b", "text/plain", "eleven byte")];
    let answer = Form::signed(PREFIX, "key").files(&large).send(&cluster).await;
    let sentence = "FormPost: max_file_size exceeded";
    assert_eq!((answer.status, answer.text().as_str()), (400, sentence));
    assert!(stored(&cluster, "in-a").await.is_some(), "what came before is stored");
    assert_eq!(stored(&cluster, "in-b").await, None);
    let many = [("1", "x/y", "1"), ("2", "x/y", "2"), ("3", "x/y", "3")];
    let answer = Form::signed(PREFIX, "key").files(&many).send(&cluster).await;
    assert_eq!(answer.status, 400);
    assert!(stored(&cluster, "in-2").await.is_some());
    assert_eq!(stored(&cluster, "in-3").await, None);
}

#[tokio::test]
async fn browsers_are_sent_on() {
    let cluster = keyed().await;
    let mut form = Form::signed(PREFIX, "key").with("redirect", "http://site/done");
    let message = format!("{PREFIX}\nhttp://site/done\n10\n2\n1700100000");
    form = form.with("signature", &sign("key", &message));
    let answer = form.send(&cluster).await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header("location"), Some("http://site/done?status=201&message="));
}

#[tokio::test]
async fn what_is_no_form() {
    let cluster = keyed().await;
    let headers = [("content-type", "multipart/form-data; boundary=other")];
    let body = Body::from(Form::signed(PREFIX, "key").body());
    let answer = cluster.call(request("POST", PREFIX, &headers, body)).await;
    let sentence = "FormPost: invalid starting boundary";
    assert_eq!((answer.status, answer.text().as_str()), (400, sentence));
    // A form without a boundary is an ordinary POST, and needs a token.
    let headers = [("content-type", "multipart/form-data")];
    let answer = cluster.call(request("POST", PREFIX, &headers, Body::empty())).await;
    assert_eq!(answer.status, 401);
    // A form cut off stores nothing.
    let whole = Form::signed(PREFIX, "key").body();
    let cut = Body::from(whole[..whole.len() - 12].to_owned());
    let headers = [("content-type", "multipart/form-data; boundary=b0")];
    let answer = cluster.call(request("POST", PREFIX, &headers, cut)).await;
    assert!(answer.status >= 400, "{}", answer.status);
    assert_eq!(stored(&cluster, "in-a.txt").await, None);
}

//! HTTP as a well-behaved Swift client speaks it.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::net::SocketAddr;
use std::time::Duration;

/// Nothing here takes longer, unless something hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

const KEPT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// A name as it stands in a path.
pub fn encode(name: &str) -> String {
    utf8_percent_encode(name, KEPT).to_string()
}

/// The ETag of these bytes.
pub fn etag(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body's lines: the names of a plain listing.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }
}

/// One user of one account, with connections that are used again.
#[derive(Clone)]
pub struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    account: String,
    token: String,
}

impl Client {
    /// Asks for a token, as every client does first.
    pub async fn login(address: SocketAddr, user: &str, key: &str) -> Result<Client> {
        let mut client = Client::stranger(address);
        let headers = [("X-Auth-User", user), ("X-Auth-Key", key)];
        let answer = client.at("GET", "/auth/v1.0", &headers, "").await?;
        ensure!(answer.status == 200, "no token for {user}: {answer:?}");
        let url: Uri = answer.header("x-storage-url").parse()?;
        client.account = url.path().to_owned();
        client.token = answer.header("x-auth-token").to_owned();
        Ok(client)
    }

    /// Somebody without a token.
    pub fn stranger(address: SocketAddr) -> Client {
        let mut builder = HttpClient::builder(TokioExecutor::new());
        // An answer may carry 90 items of metadata beside everything else.
        builder.http1_max_headers(256);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Client {
            http: builder.build(connector),
            address,
            account: String::new(),
            token: String::new(),
        }
    }

    /// The same user at another front door of the same cluster.
    pub fn moved_to(&self, address: SocketAddr) -> Client {
        Client { address, ..self.clone() }
    }

    /// Where requests go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `/v1/AUTH_admin`.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The user's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request to something in the user's account, with the token. `path` is what follows the account, already
    /// encoded.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let mut all = vec![("X-Auth-Token", self.token.as_str())];
        all.extend_from_slice(headers);
        self.at(method, &format!("{}{path}", self.account), &all, body).await
    }

    /// GET without further headers.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.ask("GET", path, &[], "").await
    }

    /// HEAD without further headers.
    pub async fn head(&self, path: &str) -> Result<Answer> {
        self.ask("HEAD", path, &[], "").await
    }

    /// DELETE without further headers.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.ask("DELETE", path, &[], "").await
    }

    /// PUT without further headers.
    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
        self.ask("PUT", path, &[], body).await
    }

    /// Any request at all, without a token unless it is among the headers.
    pub async fn at(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes())?)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        let body: Bytes = body.into();
        if matches!(method, "PUT" | "POST") && body.is_empty() {
            request = request.header("Content-Length", "0");
        }
        let request = request.body(Full::new(body))?;
        let answer = tokio::time::timeout(TIMEOUT, self.send(request));
        answer.await.with_context(|| format!("{method} {path} took longer than {TIMEOUT:?}"))?
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let what = format!("{} {}", request.method(), request.uri());
        let response = self.http.request(request).await.with_context(|| what.clone())?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.with_context(|| format!("{what}: the body broke"))?;
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() })
    }

    /// All rows of a container's listing, page by page.
    pub async fn rows(&self, container: &str) -> Result<Vec<serde_json::Value>> {
        let mut rows: Vec<serde_json::Value> = Vec::new();
        loop {
            let marker = rows.last().and_then(|row| row["name"].as_str()).unwrap_or_default();
            let page = format!("/{container}?format=json&marker={}", encode(marker));
            let answer = self.get(&page).await?;
            ensure!(answer.status == 200, "{page} gives {answer:?}");
            let more = answer.json()?;
            let more = more.as_array().context("a listing is an array")?;
            if more.is_empty() {
                return Ok(rows);
            }
            rows.extend(more.iter().cloned());
        }
    }
}

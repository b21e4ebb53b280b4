//! A storage node in memory: as much of Swift's backend API as the proxy speaks, and failures on demand.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use types::{Timestamp, hex_encode};
use wire::{BackendPath, Body, Request, Response};

/// What a node does instead of its duty.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers with a status and headers at once, body unread.
    Status(u16, Vec<(&'static str, String)>),
    /// Says nothing, ever.
    Silence,
    /// Sends so many bytes of an object and then an error.
    BreakOff(usize),
    /// Sends so many bytes of an object and then nothing, ever.
    Stall(usize),
    /// Takes so many bytes of a body, then answers with a status.
    StopReading(usize, u16),
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) headers: HeaderMap,
    pub(crate) timestamp: Timestamp,
    /// `None` for a tombstone.
    pub(crate) body: Option<Bytes>,
}

impl Stored {
    /// An answer with what is kept of the object beside its bytes.
    fn described(&self, mut response: Response) -> Response {
        for (name, value) in &self.headers {
            if is_kept(name) || name == "content-type" {
                response.headers_mut().insert(name.clone(), value.clone());
            }
        }
        response
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
}

#[derive(Default)]
pub(crate) struct Node {
    pub(crate) stored: Mutex<HashMap<String, Stored>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    faults: Mutex<Vec<(Method, usize, Fault)>>,
    /// Bodies that ended with an error.
    pub(crate) broken_bodies: Mutex<usize>,
}

const SYSMETA: &str = "x-object-sysmeta-";

/// What an object keeps of a write, beside its content type.
fn is_kept(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-object-meta-")
        || name.starts_with(SYSMETA)
        || matches!(
            name,
            "content-encoding" | "content-disposition" | "x-delete-at" | "x-static-large-object"
        )
}

fn entity_of(path: &BackendPath) -> (String, usize) {
    let mut key = path.account.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut level = 1;
    if let Some(container) = &path.container {
        key = format!("{key}/{container}");
        level = 2;
    }
    if let Some(object) = &path.object {
        key = format!("{key}/{object}");
        level = 3;
    }
    (key, level)
}

pub(crate) fn respond(status: u16, headers: &[(&'static str, String)]) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    response
}

pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

impl Node {
    /// From now on requests of a method to accounts (1), containers (2) or objects (3) fail so.
    pub(crate) fn fail(&self, method: &Method, level: usize, fault: Fault) {
        self.faults.lock().expect("lock").push((method.clone(), level, fault));
    }

    pub(crate) fn heal(&self) {
        self.faults.lock().expect("lock").clear();
    }

    pub(crate) fn count(&self, method: &Method, level: usize) -> usize {
        let seen = self.seen.lock().expect("lock");
        seen.iter().filter(|seen| seen.method == *method && level_of(&seen.path) == level).count()
    }

    pub(crate) fn body_of(&self, key: &str) -> Option<Bytes> {
        self.stored.lock().expect("lock").get(key).and_then(|stored| stored.body.clone())
    }

    pub(crate) async fn serve(self: Arc<Self>, request: Request) -> Response {
        let path = BackendPath::decode(request.uri().path()).expect("a backend path");
        let (key, level) = entity_of(&path);
        let (parts, body) = request.into_parts();
        self.seen.lock().expect("lock").push(Seen {
            method: parts.method.clone(),
            path: key.clone(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.clone(),
        });
        let fault = {
            let faults = self.faults.lock().expect("lock");
            let found =
                faults.iter().find(|(method, at, _)| *method == parts.method && *at == level);
            found.map(|(_, _, fault)| fault.clone())
        };
        match fault {
            Some(Fault::Status(status, headers)) => return respond(status, &headers),
            Some(Fault::Silence) => return std::future::pending().await,
            Some(Fault::StopReading(bytes, status)) => {
                let mut body = body.into_data_stream();
                let mut taken = 0;
                while taken < bytes {
                    match body.next().await {
                        Some(Ok(chunk)) => taken += chunk.len(),
                        _ => break,
                    }
                }
                return respond(status, &[]);
            }
            _ => {}
        }
        match (level, parts.method.as_str()) {
            (3, "PUT") => self.put(&key, &parts.headers, body).await,
            (3, "GET" | "HEAD") => {
                let whole = self.get(&key, &parts.headers);
                if parts.method == Method::HEAD {
                    whole.map(|_| Body::empty())
                } else {
                    broken(whole, fault).await
                }
            }
            (3, "POST") => self.post(&key, &parts.headers),
            (_, "DELETE") => self.delete(&key, &parts.headers),
            (_, "GET") => broken(self.list(&key, level, &parts.uri), fault).await,
            (_, "HEAD") => self.list(&key, level, &parts.uri),
            (2, "UPDATE") => self.merge(&key, body).await,
            (_, _) => self.write_list(&key, &parts.method, &parts.headers),
        }
    }

    async fn put(&self, key: &str, headers: &HeaderMap, body: Body) -> Response {
        let timestamp = stamp(headers);
        let is_sized = ["content-length", "transfer-encoding"].map(|name| text(headers, name));
        if is_sized.iter().all(Option::is_none) {
            return respond(411, &[]);
        }
        let known = self.stored.lock().expect("lock").get(key).cloned();
        if let Some(known) = known {
            if known.body.is_some() && text(headers, "if-none-match").is_some() {
                return respond(412, &[]);
            }
            if known.timestamp >= timestamp {
                return respond(409, &[("x-backend-timestamp", known.timestamp.internal())]);
            }
        }
        let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
            *self.broken_bodies.lock().expect("lock") += 1;
            return respond(499, &[]);
        };
        let etag = hex_encode(&Md5::digest(&bytes));
        if text(headers, "etag").is_some_and(|wanted| wanted != etag) {
            return respond(422, &[]);
        }
        let stored = Stored { headers: headers.clone(), timestamp, body: Some(bytes) };
        self.stored.lock().expect("lock").insert(key.to_owned(), stored);
        respond(201, &[("etag", format!("\"{etag}\""))])
    }

    fn get(&self, key: &str, headers: &HeaderMap) -> Response {
        let known = self.stored.lock().expect("lock").get(key).cloned();
        let Some(known) = known else { return respond(404, &[]) };
        let at = known.timestamp.internal();
        let Some(body) = known.body.clone() else {
            return respond(404, &[("x-backend-timestamp", at)]);
        };
        let etag = format!("\"{}\"", hex_encode(&Md5::digest(&body)));
        let mut common = vec![
            ("etag", etag.clone()),
            ("x-timestamp", known.timestamp.normal()),
            ("x-backend-timestamp", at),
            ("x-put-timestamp", "1.00000".to_owned()),
            ("x-object-sysmeta-secret", "1".to_owned()),
        ];
        if text(headers, "if-match").is_some_and(|wanted| wanted != etag) {
            return known.described(respond(412, &common));
        }
        if text(headers, "if-none-match")
            .is_some_and(|tag| tag.trim_matches('"') == etag.trim_matches('"'))
        {
            return known.described(respond(304, &common));
        }
        let mut status = 200;
        let mut span = 0..body.len();
        let whole = text(headers, "x-backend-ignore-range-if-metadata-present");
        let whole = whole
            .is_some_and(|names| names.split(',').any(|name| known.headers.contains_key(name)));
        if let Some(range) = text(headers, "range").filter(|_| !whole) {
            let (first, last) =
                range.trim_start_matches("bytes=").split_once('-').expect("a simple range");
            let (first, last) = match (first, last.parse::<usize>()) {
                ("", Ok(suffix)) => (body.len().saturating_sub(suffix), ""),
                _ => (first.parse().expect("a number"), last),
            };
            let last = last.parse().unwrap_or(usize::MAX).min(body.len().saturating_sub(1));
            if first >= body.len() {
                common.push(("content-range", format!("bytes */{}", body.len())));
                return known.described(respond(416, &common));
            }
            status = 206;
            span = first..last + 1;
            common.push(("content-range", format!("bytes {first}-{last}/{}", body.len())));
        }
        common.push(("content-length", span.len().to_string()));
        let response = known.described(respond(status, &common));
        response.map(|_| Body::from(body.slice(span)))
    }

    fn post(&self, key: &str, headers: &HeaderMap) -> Response {
        let mut stored = self.stored.lock().expect("lock");
        match stored.get_mut(key).filter(|stored| stored.body.is_some()) {
            None => respond(404, &[]),
            Some(known) => {
                let before = std::mem::replace(&mut known.headers, headers.clone());
                let mut response = respond(202, &[]);
                for (name, value) in before {
                    let Some(name) = name.filter(|name| name.as_str().starts_with(SYSMETA)) else {
                        continue;
                    };
                    response.headers_mut().insert(name.clone(), value.clone());
                    known.headers.insert(name, value);
                }
                response
            }
        }
    }

    fn delete(&self, key: &str, headers: &HeaderMap) -> Response {
        let tombstone = Stored { headers: HeaderMap::new(), timestamp: stamp(headers), body: None };
        let known = self.stored.lock().expect("lock").insert(key.to_owned(), tombstone);
        match known.is_some_and(|known| known.body.is_some()) {
            true => respond(204, &[]),
            false => respond(404, &[]),
        }
    }

    fn list(&self, key: &str, level: usize, uri: &http::Uri) -> Response {
        let known = self.stored.lock().expect("lock").get(key).cloned();
        let Some(known) = known.filter(|known| known.body.is_some()) else {
            return respond(404, &[]);
        };
        let at = known.timestamp.normal();
        let kind = if level == 1 { "account" } else { "container" };
        let mut response = respond(200, &[("x-timestamp", at.clone()), ("x-put-timestamp", at)]);
        response.headers_mut().extend(known.headers.into_iter().filter_map(|(name, value)| {
            let name = name?;
            name.as_str().starts_with(&format!("x-{kind}-")).then_some((name, value))
        }));
        if level == 2 {
            let zero = HeaderValue::from_static("0");
            response.headers_mut().insert("x-backend-storage-policy-index", zero);
        }
        let json = uri.query().is_some_and(|query| query.contains("format=json"));
        let body = if json { r#"[{"name":"row"}]"# } else { "row\n" };
        response.headers_mut().insert("content-length", HeaderValue::from(body.len()));
        response.map(|_| Body::from(body))
    }

    /// Keeps the rows that came as the container's body.
    async fn merge(&self, key: &str, body: Body) -> Response {
        let rows = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let stored =
            Stored { headers: HeaderMap::new(), timestamp: Timestamp::default(), body: Some(rows) };
        self.stored.lock().expect("lock").insert(key.to_owned(), stored);
        respond(202, &[])
    }

    fn write_list(&self, key: &str, method: &Method, headers: &HeaderMap) -> Response {
        let mut stored = self.stored.lock().expect("lock");
        let known = stored.get(key).is_some_and(|known| known.body.is_some());
        if method == Method::POST && !known {
            return respond(404, &[]);
        }
        let entry = Stored {
            headers: headers.clone(),
            timestamp: stamp(headers),
            body: Some(Bytes::new()),
        };
        stored.insert(key.to_owned(), entry);
        respond(
            if method == Method::POST {
                204
            } else if known {
                202
            } else {
                201
            },
            &[],
        )
    }
}

fn level_of(key: &str) -> usize {
    key.splitn(3, '/').count()
}

fn stamp(headers: &HeaderMap) -> Timestamp {
    let text = text(headers, "x-timestamp").expect("a timestamp");
    assert_eq!(text.split('.').next().map(str::len), Some(10), "{text} is an internal timestamp");
    text.parse().expect("a timestamp")
}

async fn broken(response: Response, fault: Option<Fault>) -> Response {
    let (bytes, stalls) = match fault {
        Some(Fault::BreakOff(bytes)) => (bytes, false),
        Some(Fault::Stall(bytes)) => (bytes, true),
        _ => return response,
    };
    let (parts, body) = response.into_parts();
    let all = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let sent = stream::iter([Ok(all.slice(..bytes.min(all.len())))]);
    let body = match stalls {
        true => Body::from_stream(sent.chain(stream::pending::<Result<Bytes, std::io::Error>>())),
        // A server that has to wait for a body sends what it has, so the bytes arrive before the error.
        false => Body::from_stream(sent.chain(stream::once(async {
            tokio::task::yield_now().await;
            Err(std::io::Error::other("broken"))
        }))),
    };
    Response::from_parts(parts, body)
}

//! Server-side copy: `COPY` with `Destination`, `PUT` with `X-Copy-From`. Swift: common/middleware/copy.py.
//!
//! A copy is a read of the source and a write of the destination, both by the caller's right. What is read is written
//! as it comes; the source's ETag is checked again at the end. Conditions and ranges of the request are judged at the
//! source. What is further in sees two ordinary requests, so manifests, links and quotas are their own business.

mod heartbeat;
mod sink;
mod source;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use wire::{Response, encode_segment};

use super::{Answer, Handler, Middleware, Parts};
use crate::call::Call;
use crate::config::StartError;
use crate::store::Entity;
use crate::swift::constraints::is_true;
use crate::swift::error::{Refusal, page};
use crate::swift::reference;

/// `[proxy.copy]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often a client that asked for it (`heartbeat=on`) gets a sign of life.
    pub yield_frequency_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { yield_frequency_ms: 10_000 }
    }
}

struct Copy {
    /// The largest object there may be.
    file_size_max: u64,
    yield_frequency: Duration,
    client_timeout: Duration,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let yield_frequency = Duration::from_millis(parts.config.copy.yield_frequency_ms);
    if yield_frequency.is_zero() {
        let key = "copy.yield_frequency_ms";
        return Err(StartError::Setting { key, why: "it must be above zero" });
    }
    let file_size_max = parts.config.limits.max_file_size;
    let client_timeout = parts.config.client_timeout();
    Ok(Arc::new(Copy { file_size_max, yield_frequency, client_timeout }))
}

const COPY_FROM: HeaderName = HeaderName::from_static("x-copy-from");
const COPY_FROM_ACCOUNT: HeaderName = HeaderName::from_static("x-copy-from-account");
const DESTINATION: HeaderName = HeaderName::from_static("destination");
const DESTINATION_ACCOUNT: HeaderName = HeaderName::from_static("destination-account");

impl Middleware for Copy {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        if call.entity.object.is_none() {
            return next.answer(call);
        }
        match call.method.as_str() {
            "PUT" if call.headers.get(COPY_FROM).is_some_and(|from| !from.is_empty()) => {
                Box::pin(async move {
                    let copied = self.copy_from(call, &next).await;
                    copied.unwrap_or_else(Response::from)
                })
            }
            "COPY" => Box::pin(async move {
                let copied = self.copy_to(call, &next).await;
                copied.unwrap_or_else(Response::from)
            }),
            "OPTIONS" => Box::pin(async move { with_copy_allowed(next.answer(call).await) }),
            _ => next.answer(call),
        }
    }
}

impl Copy {
    /// `PUT` of the destination.
    async fn copy_from(&self, mut call: Call, next: &Handler) -> Result<Response, Refusal> {
        if call.has_body(self.client_timeout).await? {
            return Err(Refusal::bad_request("Copy requests require a zero byte body"));
        }
        let from = call.headers.remove(COPY_FROM);
        let from = from.ok_or(Refusal::Status(StatusCode::BAD_REQUEST))?;
        let account = call.headers.remove(COPY_FROM_ACCOUNT).filter(|name| !name.is_empty());
        let account = account.map(|name| reference::account(&name)).transpose()?;
        let (container, object) = reference::object("X-Copy-From", &from)?;
        let account = account.unwrap_or_else(|| call.entity.account.clone());
        let from = Entity { account, container: Some(container), object: Some(object) };
        self.copy(call, from, next).await
    }

    /// `COPY` of the source.
    async fn copy_to(&self, mut call: Call, next: &Handler) -> Result<Response, Refusal> {
        let to = call.headers.remove(DESTINATION).filter(|path| !path.is_empty());
        let to = to.ok_or_else(|| {
            Refusal::Sentence(StatusCode::PRECONDITION_FAILED, "Destination header required".into())
        })?;
        let account = call.headers.remove(DESTINATION_ACCOUNT);
        let account = account.map(|name| reference::account(&name)).transpose()?;
        let (container, object) = reference::object("Destination", &to)?;
        let account = account.unwrap_or_else(|| call.entity.account.clone());
        let to = Entity { account, container: Some(container), object: Some(object) };
        call.headers.remove(COPY_FROM);
        call.headers.remove(COPY_FROM_ACCOUNT);
        // What a client sends along with a COPY means nothing.
        drop(call.take_body());
        call.method = Method::PUT;
        let from = std::mem::replace(&mut call.entity, to);
        self.copy(call, from, next).await
    }

    /// Reads what is at `from` and writes it where the call leads.
    async fn copy(&self, call: Call, from: Entity, next: &Handler) -> Result<Response, Refusal> {
        let source = next.answer(source::read(&call, from.clone())).await;
        if source.status().as_u16() >= StatusCode::MULTIPLE_CHOICES.as_u16() {
            return Ok(source);
        }
        let length = source::length(source.headers());
        let Some(length) = length.filter(|length| *length <= self.file_size_max) else {
            return Err(Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE));
        };
        let lively = call.query.get("heartbeat").is_some_and(|value| {
            HeaderValue::from_str(value).is_ok_and(|value| is_true(Some(&value)))
        });
        let asked = call.headers.clone();
        let sink = sink::write(call, source, length);
        let told = told(&from, &sink);
        let written = next.answer(sink.call);
        if lively {
            let every = self.yield_frequency;
            return Ok(heartbeat::response(written, &asked, told, every).await);
        }
        Ok(finished(written.await, told))
    }
}

/// What the answer tells of the source, and of what the copy has now.
fn told(from: &Entity, sink: &sink::Sink) -> HeaderMap {
    let mut told = sink.told.clone();
    let mut set = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::try_from(encode_segment(text)) {
            told.insert(name, value);
        }
    };
    let name = |part: Option<&str>| part.unwrap_or_default().to_owned();
    let container = name(from.container.as_ref().map(AsRef::as_ref));
    let object = name(from.object.as_ref().map(AsRef::as_ref));
    set("x-copied-from-account", from.account.as_str());
    set("x-copied-from", &format!("{container}/{object}"));
    told
}

/// The answer to the write becomes that of the copy.
fn finished(mut written: Response, told: HeaderMap) -> Response {
    match written.status().as_u16() {
        // It was not the client whose body ended early, but the source: the client sent none.
        408 | 499 => return page(StatusCode::SERVICE_UNAVAILABLE),
        200..300 => written.headers_mut().extend(told),
        _ => {}
    }
    written
}

/// Objects can be copied where everything about them is the application's.
fn with_copy_allowed(mut response: Response) -> Response {
    if !response.status().is_success() {
        return response;
    }
    for name in [header::ALLOW, header::ACCESS_CONTROL_ALLOW_METHODS] {
        let Some(value) = response.headers().get(&name) else { continue };
        let text = value.to_str().unwrap_or_default();
        if text.contains("COPY") {
            continue;
        }
        if let Ok(value) = HeaderValue::try_from(format!("{text}, COPY")) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::call;
    use std::sync::Mutex;
    use wire::Body;

    /// A handler that answers reads with `source`'s headers and "bytes", and remembers all calls.
    fn handler(source: &'static [(&'static str, &'static str)], length: bool) -> (Handler, Seen) {
        let seen = Seen::default();
        let calls = Arc::clone(&seen);
        let handler = Handler::new(move |call: Call| {
            let mut response = Response::new(Body::from("bytes"));
            let headers = response.headers_mut();
            if call.method == Method::GET {
                if length {
                    headers.insert("content-length", HeaderValue::from_static("5"));
                }
                headers.insert("content-type", HeaderValue::from_static("text/plain"));
                for (name, value) in source {
                    headers.insert(*name, HeaderValue::from_static(value));
                }
            } else {
                *response.status_mut() = StatusCode::CREATED;
            }
            calls.lock().expect("lock").push(call);
            Box::pin(async move { response })
        });
        (handler, seen)
    }

    type Seen = Arc<Mutex<Vec<Call>>>;

    async fn copied(handler: &Handler, mut call: Call, headers: &[(&str, &str)]) -> Response {
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("a name");
            call.headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        let (yield_frequency, client_timeout) = (Duration::from_secs(10), Duration::from_secs(60));
        let copy = Copy { file_size_max: 10, yield_frequency, client_timeout };
        Arc::new(copy).handle(call, handler.clone()).await
    }

    fn copy(path: &str) -> Call {
        call(Method::from_bytes(b"COPY").expect("a method"), path)
    }

    #[tokio::test]
    async fn the_write_has_what_the_source_had_and_what_the_client_wants() {
        let source = [
            ("etag", "abc"),
            ("x-object-meta-color", "blue"),
            ("x-object-meta-shape", "round"),
            ("x-object-sysmeta-a", "1"),
            ("content-encoding", "gzip"),
            ("x-timestamp", "1"),
            ("x-backend-timestamp", "1"),
            ("last-modified", "then"),
        ];
        let source: &'static _ = Vec::leak(source.to_vec());
        let (handler, seen) = handler(source, true);
        let asked = [("destination", "d/p"), ("x-object-meta-color", "red"), ("if-match", "abc")];
        let answer = copied(&handler, copy("a/c/o"), &asked).await;
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers()["x-copied-from"], "c/o");
        assert_eq!(answer.headers()["x-copied-from-account"], "a");
        assert_eq!(answer.headers()["x-copied-from-last-modified"], "then");
        assert_eq!(answer.headers()["x-object-meta-color"], "red");
        let seen = seen.lock().expect("lock");
        let (read, write) = (&seen[0], &seen[1]);
        assert_eq!(read.headers["if-match"], "abc");
        assert_eq!(read.headers["x-newest"], "true");
        assert!(!read.headers.contains_key("x-object-meta-color"));
        assert_eq!(write.entity, crate::call::tests::entity("a/d/p"));
        for (name, value) in [
            ("x-object-meta-color", "red"),
            ("x-object-meta-shape", "round"),
            ("x-object-sysmeta-a", "1"),
            ("content-encoding", "gzip"),
            ("content-type", "text/plain"),
            ("content-length", "5"),
            ("etag", "abc"),
        ] {
            assert_eq!(write.headers[name], value, "{name}");
        }
        for name in ["x-timestamp", "x-backend-timestamp", "last-modified", "if-match"] {
            assert!(!write.headers.contains_key(name), "{name}");
        }
    }

    #[tokio::test]
    async fn fresh_metadata_leaves_the_old_behind() {
        let source = &[("x-object-meta-a", "1"), ("x-object-sysmeta-b", "2"), ("x-delete-at", "9")];
        let (handler, seen) = handler(source, true);
        let asked = [("x-copy-from", "c/o"), ("x-fresh-metadata", "true")];
        let answer = copied(&handler, call(Method::PUT, "a/c/p"), &asked).await;
        assert_eq!(answer.status(), 201);
        let seen = seen.lock().expect("lock");
        assert_eq!(seen[1].headers["x-object-sysmeta-b"], "2");
        assert_eq!(seen[1].headers["content-type"], "text/plain");
        for name in ["x-object-meta-a", "x-delete-at", "x-copy-from"] {
            assert!(!seen[1].headers.contains_key(name), "{name}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_copied() {
        let status = async |length, call, headers: &[(&str, &str)]| {
            let (handler, seen) = handler(&[], length);
            let status = copied(&handler, call, headers).await.status().as_u16();
            let writes =
                seen.lock().expect("lock").iter().filter(|call| call.method == Method::PUT).count();
            assert_eq!(writes, 0, "{headers:?}");
            status
        };
        let to = [("destination", "c/p")];
        assert_eq!(status(false, copy("a/c/o"), &to).await, 413, "without a length");
        assert_eq!(status(true, copy("a/c/o"), &[]).await, 412);
        assert_eq!(status(true, copy("a/c/o"), &[("destination", "c")]).await, 412);
        let account = [("destination", "c/p"), ("destination-account", "a/b")];
        assert_eq!(status(true, copy("a/c/o"), &account).await, 412);
        let body = [("x-copy-from", "c/o"), ("content-length", "1")];
        assert_eq!(status(true, call(Method::PUT, "a/c/p"), &body).await, 400);
        let chunked = call(Method::PUT, "a/c/p").carrying(Body::from("x"));
        let asked = [("x-copy-from", "c/o"), ("transfer-encoding", "chunked")];
        assert_eq!(status(true, chunked, &asked).await, 400);
        let (handler, _) = handler(&[("content-length", "11")], false);
        assert_eq!(copied(&handler, copy("a/c/o"), &to).await.status(), 413);
    }

    #[tokio::test]
    async fn manifests_are_copied_as_such_when_asked_for() {
        let written = async |source, query: &str| {
            let (handler, seen) = handler(source, true);
            let mut call = copy("a/c/o");
            call.query = crate::call::Query(wire::parse_query(Some(query)).expect("a query"));
            assert_eq!(copied(&handler, call, &[("destination", "c/p")]).await.status(), 201);
            let mut seen = seen.lock().expect("lock");
            let (write, read) = (seen.pop().expect("a write"), seen.pop().expect("a read"));
            (read, write)
        };
        let slo = &[
            ("x-static-large-object", "True"),
            ("etag", "abc"),
            ("x-object-sysmeta-slo-size", "9"),
        ];
        let (read, write) = written(slo, "multipart-manifest=get").await;
        assert_eq!(read.query.get("format"), Some("raw"));
        assert_eq!(write.query.get("multipart-manifest"), Some("put"));
        assert!(!write.headers.contains_key("etag"), "the manifest is written in another form");
        let (_, write) = written(slo, "").await;
        assert_eq!(write.query.get("multipart-manifest"), None);
        for name in ["etag", "x-static-large-object", "x-object-sysmeta-slo-size"] {
            assert!(!write.headers.contains_key(name), "{name}");
        }
        let dlo = &[("x-object-manifest", "c/seg"), ("etag", "abc")];
        let (_, write) = written(dlo, "multipart-manifest=get").await;
        assert_eq!(write.headers["x-object-manifest"], "c/seg");
        assert!(write.query.0.is_empty());
        assert_eq!(write.headers["etag"], "abc");
        let (_, write) = written(dlo, "").await;
        assert!(!write.headers.contains_key("x-object-manifest"));
        assert!(!write.headers.contains_key("etag"));
        let (_, write) = written(&[], "multipart-manifest=get&version-id=1&symlink=get").await;
        assert!(write.query.0.is_empty());
    }

    #[tokio::test]
    async fn a_source_that_breaks_off_is_not_the_clients_fault() {
        let broken = page(StatusCode::from_u16(499).expect("a status"));
        assert_eq!(finished(broken, HeaderMap::new()).status(), 503);
    }

    #[tokio::test]
    async fn copy_is_among_the_methods_of_objects() {
        let handler = Handler::new(|_| {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert("allow", HeaderValue::from_static("GET, PUT"));
            Box::pin(async move { response })
        });
        let allowed = async |path: &str| {
            let answer = copied(&handler, call(Method::OPTIONS, path), &[]).await;
            answer.headers()["allow"].to_str().expect("text").to_owned()
        };
        assert_eq!(allowed("a/c/o").await, "GET, PUT, COPY");
        assert_eq!(allowed("a/c").await, "GET, PUT");
    }
}

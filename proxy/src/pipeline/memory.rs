//! An application in memory, for tests of middlewares: objects with what storage nodes know of ranges and conditions, and
//! listings of containers.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use md5::{Digest, Md5};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use types::hex_encode;
use wire::conditions::{judge, range_allowed};
use wire::ranges::{Wanted, content_range, wanted};
use wire::{Body, Response, headers};

use super::Handler;
use crate::call::Call;
use crate::call::tests::call;
use crate::store::Entity;

/// When everything was written.
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const MODIFIED_SECONDS: u64 = 784_111_777;

/// An object.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) body: Bytes,
    pub(super) headers: HeaderMap,
}

/// Objects by `account/container/object`.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) objects: Mutex<BTreeMap<String, Stored>>,
    /// Requests that came, as `METHOD path?query`.
    pub(super) seen: Mutex<Vec<String>>,
    /// Paths whose requests are answered so.
    pub(super) refused: Mutex<BTreeMap<String, StatusCode>>,
    /// Rows of a page.
    pub(super) page_rows: usize,
}

fn key(entity: &Entity) -> String {
    let container = entity.container.as_ref().map(|name| format!("/{name}"));
    let object = entity.object.as_ref().map(|name| format!("/{name}"));
    format!("{}{}{}", entity.account, container.unwrap_or_default(), object.unwrap_or_default())
}

impl Memory {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Memory { page_rows: 10_000, ..Memory::default() })
    }

    pub(super) fn handler(self: &Arc<Self>) -> Handler {
        let memory = Arc::clone(self);
        Handler::new(move |call| {
            let memory = Arc::clone(&memory);
            Box::pin(async move { memory.answer(call).await })
        })
    }

    pub(super) fn put(&self, path: &str, body: impl Into<Bytes>) {
        self.put_with(path, body, &[]);
    }

    pub(super) fn put_with(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        pairs: &[(&'static str, &str)],
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let stored = Stored { body: body.into(), headers };
        self.objects.lock().expect("lock").insert(path.to_owned(), stored);
    }

    pub(super) fn get(&self, path: &str) -> Option<Stored> {
        self.objects.lock().expect("lock").get(path).cloned()
    }

    pub(super) fn refuse(&self, path: &str, status: StatusCode) {
        self.refused.lock().expect("lock").insert(path.to_owned(), status);
    }

    /// Requests of a method since the last look.
    pub(super) fn seen(&self, method: &str) -> Vec<String> {
        let seen = std::mem::take(&mut *self.seen.lock().expect("lock"));
        seen.into_iter().filter(|line| line.starts_with(method)).collect()
    }

    async fn answer(&self, mut call: Call) -> Response {
        let path = key(&call.entity);
        let query: Vec<String> =
            call.query.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let line = format!("{} {path}?{}", call.method, query.join("&"));
        self.seen.lock().expect("lock").push(line.trim_end_matches('?').to_owned());
        let refused = self.refused.lock().expect("lock").get(&path).copied();
        if let Some(status) = refused {
            return status_only(status);
        }
        match (call.entity.object.is_some(), call.method.as_str()) {
            (true, "PUT") => {
                let body =
                    axum::body::to_bytes(call.take_body(), usize::MAX).await.expect("a body");
                let etag = hex_encode(&Md5::digest(&body));
                let wanted = call.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok());
                if wanted.is_some_and(|wanted| wanted != etag) {
                    return status_only(StatusCode::UNPROCESSABLE_ENTITY);
                }
                let stored = Stored { body, headers: call.headers };
                self.objects.lock().expect("lock").insert(path, stored);
                let mut response = status_only(StatusCode::CREATED);
                response.headers_mut().insert(header::ETAG, etag.parse().expect("a value"));
                let modified = HeaderValue::from_static(MODIFIED);
                response.headers_mut().insert(header::LAST_MODIFIED, modified);
                response
            }
            (true, "DELETE") => {
                let known = self.objects.lock().expect("lock").remove(&path);
                status_only(if known.is_some() {
                    StatusCode::NO_CONTENT
                } else {
                    StatusCode::NOT_FOUND
                })
            }
            (true, _) => match self.get(&path) {
                None => status_only(StatusCode::NOT_FOUND),
                Some(stored) => read(&call, stored),
            },
            (false, _) => self.list(&call, &path),
        }
    }

    fn list(&self, call: &Call, path: &str) -> Response {
        let prefix = format!("{path}/{}", call.query.get("prefix").unwrap_or_default());
        let marker = format!("{path}/{}", call.query.get("marker").unwrap_or_default());
        let objects = self.objects.lock().expect("lock");
        let found = objects.iter().filter(|(name, _)| name.starts_with(&prefix) && **name > marker);
        let rows = found.take(self.page_rows).map(|(name, stored)| {
            let hash = stored.headers.get("x-object-sysmeta-container-update-override-etag");
            let hash = hash.map(|hash| hash.to_str().expect("text").to_owned());
            json!({
                "name": name[path.len() + 1..],
                "bytes": stored.body.len(),
                "hash": hash.unwrap_or_else(|| hex_encode(&Md5::digest(&stored.body))),
            })
        });
        let page = serde_json::Value::from(rows.collect::<Vec<_>>()).to_string();
        let mut response = Response::new(Body::from(page.clone()));
        let into = response.headers_mut();
        into.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        into.insert(header::CONTENT_LENGTH, page.len().into());
        response
    }
}

fn status_only(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn read(call: &Call, stored: Stored) -> Response {
    let own = hex_encode(&Md5::digest(&stored.body));
    let names = |name: &str| -> Vec<String> {
        let value = call.header(name).unwrap_or_default();
        value
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    };
    let is_at = names(headers::X_BACKEND_ETAG_IS_AT);
    let etag = is_at.iter().find_map(|name| stored.headers.get(name)?.to_str().ok());
    let etag = etag.unwrap_or(&own).to_owned();
    let mut response = Response::new(Body::empty());
    let into = response.headers_mut();
    for (name, value) in &stored.headers {
        let kept = ["content-type", "x-static-large-object", "x-object-manifest"];
        if kept.contains(&name.as_str()) || name.as_str().starts_with("x-object-") {
            into.insert(name.clone(), value.clone());
        }
    }
    into.insert(header::ETAG, own.parse().expect("a value"));
    into.insert(header::LAST_MODIFIED, HeaderValue::from_static(MODIFIED));
    if let Err(unmet) = judge(&call.headers, &etag, MODIFIED_SECONDS) {
        *response.status_mut() = match unmet {
            wire::conditions::Unmet::NotModified => StatusCode::NOT_MODIFIED,
            wire::conditions::Unmet::Precondition => StatusCode::PRECONDITION_FAILED,
        };
        return response;
    }
    let len = stored.body.len() as u64;
    let whole = names(headers::X_BACKEND_IGNORE_RANGE_IF_METADATA_PRESENT);
    let whole =
        call.method == Method::HEAD || whole.iter().any(|name| stored.headers.contains_key(name));
    let range = call
        .header("range")
        .filter(|_| !whole && range_allowed(&call.headers, &etag, MODIFIED_SECONDS));
    let part = match range.map(|range| wanted(range, len)) {
        None | Some(Wanted::Whole) => 0..len,
        Some(Wanted::Unsatisfiable) => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return response;
        }
        Some(Wanted::Parts(parts)) => {
            let [part] = parts.as_slice() else { panic!("one range at most") };
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = content_range(part, len).parse().expect("a value");
            response.headers_mut().insert(header::CONTENT_RANGE, range);
            part.clone()
        }
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    if call.method != Method::HEAD {
        *response.body_mut() =
            Body::from(stored.body.slice(part.start as usize..part.end as usize));
    }
    response
}

/// An answer with its body read; `None` for one that broke off.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

impl Answered {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(super) fn text(&self) -> String {
        let body = self.body.as_ref().expect("a whole body");
        String::from_utf8(body.to_vec()).expect("text")
    }
}

/// Asks a handler. `path` is `account/container/object?name=value`.
pub(super) async fn ask(
    handler: &Handler,
    method: &str,
    path: &str,
    pairs: &[(&'static str, &str)],
    body: impl Into<Bytes>,
) -> Answered {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let body = body.into();
    let mut call = call(Method::from_bytes(method.as_bytes()).expect("a method"), path);
    call.query.0 = wire::parse_query(Some(query)).expect("a query");
    if method == "PUT" {
        call.headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    for (name, value) in pairs {
        call.headers.insert(*name, HeaderValue::from_str(value).expect("a value"));
    }
    let response = handler.answer(call.carrying(Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.ok();
    Answered { status: parts.status.as_u16(), headers: parts.headers, body }
}

//! Symbolic links: objects of no bytes that lead to others. Swift: common/middleware/symlink.py.
//!
//! A link's target stands in its system metadata. A dynamic link leads to a name; a static one also says which ETag must
//! be found there. Reads follow links, each step by the caller's right; everything else means the link itself.
//!
//! Versioning makes links of its own: into reserved containers, uncounted, and by the cluster's right
//! ([`headers::SYSMETA_ALLOW_RESERVED_NAMES`], [`headers::SYSMETA_SYMLOOP_EXTEND`]). Whoever sets a link's sysmeta beside
//! `X-Symlink-Target` (ETag and bytes) answers for it: only a client's `X-Symlink-Target-Etag` is checked here.

mod follow;
pub(crate) mod headers;
mod put;
#[cfg(test)]
mod tests;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use types::AccountName;
use wire::headers::X_BACKEND_IGNORE_RANGE_IF_METADATA_PRESENT;
use wire::{Response, encode_segment};

use super::{Answer, Handler, Middleware, Parts};
use crate::call::Call;
use crate::config::StartError;
use crate::swift::error::{Refusal, text};
use crate::swift::rewrite_listing::{Fields, Hash, rewrite};
use follow::{Through, Way, location};

const SYMLOOP_MAX: u32 = 2;

/// `[proxy.symlink]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many links a read follows.
    pub symloop_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { symloop_max: SYMLOOP_MAX }
    }
}

struct Symlink {
    symloop_max: u32,
    client_timeout: Duration,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let symloop_max = parts.config.symlink.symloop_max;
    if symloop_max == 0 {
        let key = "symlink.symloop_max";
        return Err(StartError::Setting { key, why: "it must be above zero" });
    }
    Ok(Arc::new(Symlink { symloop_max, client_timeout: parts.config.client_timeout() }))
}

impl Middleware for Symlink {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        if call.entity.container.is_none() {
            return next.answer(call);
        }
        let of_object = call.entity.object.is_some();
        match call.method.as_str() {
            "GET" if !of_object => Box::pin(list(call, next)),
            "GET" | "HEAD" if of_object && call.query.get("symlink") == Some("get") => {
                Box::pin(async move {
                    let mut response = next.answer(call).await;
                    headers::show(response.headers_mut());
                    response
                })
            }
            "GET" | "HEAD" if of_object => Box::pin(async move { self.read(call, &next).await }),
            "PUT" if of_object && call.headers.contains_key(headers::TARGET) => {
                Box::pin(async move {
                    let linked = self.put(call, &next).await;
                    linked.unwrap_or_else(Response::from)
                })
            }
            "POST" if of_object => Box::pin(post(call, next)),
            _ => next.answer(call),
        }
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        Some(("symlink", json!({ "symloop_max": self.symloop_max, "static_links": true })))
    }
}

impl Symlink {
    async fn read(&self, mut call: Call, next: &Handler) -> Response {
        // A range is one of the target; of a link it would only be outside.
        append(
            &mut call.headers,
            X_BACKEND_IGNORE_RANGE_IF_METADATA_PRESENT,
            headers::SYSMETA_TARGET,
        );
        let mut way = Way::new(next, Through::All, self.symloop_max);
        way.go(call, None).await.unwrap_or_else(Response::from)
    }
}

/// Puts a word at the end of a list.
fn append(headers: &mut HeaderMap, name: &'static str, word: &'static str) {
    let before = headers.get(name).and_then(|value| value.to_str().ok());
    let list = before.and_then(|before| HeaderValue::try_from(format!("{before},{word}")).ok());
    headers.insert(name, list.unwrap_or(HeaderValue::from_static(word)));
}

/// Metadata are always the link's own: a storage node may not know yet that it is one. The client is told where to go on.
async fn post(call: Call, next: Handler) -> Response {
    if call.headers.contains_key(headers::TARGET) {
        let sentence = "A PUT request is required to set a symlink target";
        return Refusal::bad_request(sentence).into();
    }
    let own = call.entity.account.clone();
    let posted = next.answer(call).await;
    if !posted.status().is_success() {
        return posted;
    }
    let stored = posted.headers();
    let Some(target) = stored.get(headers::SYSMETA_TARGET) else { return posted };
    let text_of = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let account = stored.get(headers::SYSMETA_TARGET_ACCOUNT).map(text_of);
    let account = account.unwrap_or_else(|| encode_segment(own.as_str()));
    let sentence = "The requested POST was applied to a symlink. POST directly to the target to apply requested metadata.";
    let mut response = text(StatusCode::TEMPORARY_REDIRECT, sentence.to_owned());
    let out = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(location(&account, &text_of(target))) {
        out.insert(header::LOCATION, location);
    }
    if let Some(etag) = stored.get(headers::SYSMETA_TARGET_ETAG) {
        out.insert(headers::TARGET_ETAG, etag.clone());
    }
    // For middlewares further out.
    for (name, value) in stored {
        if name.as_str().starts_with("x-object-sysmeta-") {
            out.insert(name.clone(), value.clone());
        }
    }
    response
}

/// A listing tells of links where they lead.
async fn list(call: Call, next: Handler) -> Response {
    let account = call.entity.account.clone();
    let response = next.answer(call).await;
    rewrite(response, "symlink_target=", move |hash| told(&account, hash)).await
}

fn told(own: &AccountName, hash: &mut Hash) -> Fields {
    let mut told = Fields::with_capacity(3);
    let target = hash.take("symlink_target");
    let account = hash.take("symlink_target_account");
    let account = account.unwrap_or_else(|| encode_segment(own.as_str()));
    told.extend(hash.take("symlink_target_etag").map(|etag| ("symlink_etag", etag.into())));
    let bytes = hash.take("symlink_target_bytes").and_then(|bytes| bytes.parse::<u64>().ok());
    told.extend(bytes.map(|bytes| ("symlink_bytes", bytes.into())));
    told.extend(target.map(|target| ("symlink_path", location(&account, &target).into())));
    told
}

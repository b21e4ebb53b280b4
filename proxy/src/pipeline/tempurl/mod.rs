//! Temporary URLs: a signature in the query lets its bearer do one thing until some time, without a token.
//! Swift: common/middleware/tempurl.py.
//!
//! What a right signature allows goes on under [`Authority::Signed`]: whatever a manifest or a link leads to is asked for by
//! the same right, so a container's key never opens another container, nor an account's key another account.

mod address;
mod asked;
mod disposition;
mod names;

use http::Method;
use http::header::{self, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use types::ContainerName;
use wire::Response;

use super::{Answer, Handler, Middleware, Parts};
use crate::auth::signature::{Digest, described};
use crate::auth::{ScopedKey, keys_for};
use crate::call::{Authority, Call, Query};
use crate::config::StartError;
use crate::store::{Entity, Store};
use crate::swift::error::Refusal;
use address::AddressRange;
use asked::Asked;
use names::HeaderNames;

/// `[proxy.tempurl]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The methods that a signature can allow.
    pub methods: Vec<String>,
    /// Headers that are taken out of requests; a `*` at the end stands for anything.
    pub incoming_remove_headers: Vec<String>,
    /// Headers that are left in nevertheless.
    pub incoming_allow_headers: Vec<String>,
    /// Headers that are taken out of responses.
    pub outgoing_remove_headers: Vec<String>,
    /// Headers that are left in nevertheless.
    pub outgoing_allow_headers: Vec<String>,
    /// The digests that are accepted.
    pub allowed_digests: Vec<Digest>,
}

impl Default for Config {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Config {
            methods: list(&["GET", "HEAD", "PUT", "POST", "DELETE"]),
            incoming_remove_headers: list(&["x-timestamp", "x-open-expired"]),
            incoming_allow_headers: Vec::new(),
            outgoing_remove_headers: list(&["x-object-meta-*"]),
            outgoing_allow_headers: list(&["x-object-meta-public-*"]),
            allowed_digests: Digest::ALL.to_vec(),
        }
    }
}

/// With one of these an upload would be a way to what the signature does not cover.
const NOT_ALLOWED: [(&str, &str); 3] = [
    ("x-object-manifest", "X-Object-Manifest"),
    ("x-symlink-target", "X-Symlink-Target"),
    ("x-copy-from", "X-Copy-From"),
];

/// Which middleware made a response, where that matters to one further out. It does not reach clients.
pub(super) const CONTENT_GENERATOR: &str = "x-backend-content-generator";

struct TempUrl {
    config: Config,
    incoming: HeaderNames,
    outgoing: HeaderNames,
    store: Arc<Store>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let config = parts.config.tempurl.clone();
    if config.allowed_digests.is_empty() {
        let why = "without a digest no signature is valid";
        return Err(StartError::Setting { key: "tempurl.allowed_digests", why });
    }
    let incoming =
        HeaderNames::new(&config.incoming_remove_headers, &config.incoming_allow_headers);
    let outgoing =
        HeaderNames::new(&config.outgoing_remove_headers, &config.outgoing_allow_headers);
    Ok(Arc::new(TempUrl { config, incoming, outgoing, store: Arc::clone(&parts.store) }))
}

impl Middleware for TempUrl {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        let signed = call.query.has("temp_url_sig") || call.query.has("temp_url_expires");
        if !signed || call.method == Method::OPTIONS {
            return next.answer(call);
        }
        Box::pin(async move { self.answer(call, next).await.unwrap_or_else(Response::from) })
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        let mut section = described(&self.config.allowed_digests);
        section.insert("methods".to_owned(), json!(self.config.methods));
        let lists = [
            ("incoming_remove_headers", &self.config.incoming_remove_headers),
            ("incoming_allow_headers", &self.config.incoming_allow_headers),
            ("outgoing_remove_headers", &self.config.outgoing_remove_headers),
            ("outgoing_allow_headers", &self.config.outgoing_allow_headers),
        ];
        for (name, list) in lists {
            section.insert(name.to_owned(), json!(list));
        }
        Some(("tempurl", section.into()))
    }
}

/// The answer to everything that is not signed rightly; it does not say what is wrong.
fn invalid(call: &Call) -> Refusal {
    let account = call.entity.account.to_string();
    Refusal::InvalidSignature(account, "401 Unauthorized: Temp URL invalid\n".into())
}

impl TempUrl {
    async fn answer(&self, mut call: Call, next: Handler) -> Result<Response, Refusal> {
        let now = i64::try_from(self.store.env.clock.now().seconds()).unwrap_or(i64::MAX);
        let asked = Asked::of(&call.query, now).ok_or_else(|| invalid(&call))?;
        let scope = self.scope(&call, &asked).await?;
        self.admit(&mut call)?;
        call.context.authority = Authority::Signed(scope);
        call.context.source = Some("TU");
        // Nothing in the query but this was signed, or is harmless.
        call.query = asked.query();
        let is_container = call.entity.object.is_none();
        let refusal = invalid(&call);
        let (reads, path) = (call.is_read(), Arc::clone(&call.context.path));
        let mut response = next.answer(call).await;
        self.outgoing.clean(response.headers_mut());
        if reads && response.status().is_success() {
            let by_staticweb =
                response.headers().get(CONTENT_GENERATOR).is_some_and(|by| by == "staticweb");
            if is_container && !by_staticweb {
                return Err(refusal);
            }
            let inline = asked.inline || by_staticweb;
            let headers = response.headers_mut();
            let stored = headers.remove(header::CONTENT_DISPOSITION);
            let value = disposition::value(inline, asked.filename.as_deref(), stored, &path);
            if let Some(value) = value {
                headers.insert(header::CONTENT_DISPOSITION, value);
            }
            if let Some(date) = expires(asked.expires) {
                headers.insert(header::EXPIRES, date);
            }
        }
        Ok(response)
    }

    /// What the signature opens, if it is right for what is asked.
    async fn scope(&self, call: &Call, asked: &Asked) -> Result<Entity, Refusal> {
        let invalid = || invalid(call);
        let root = call.is_read() && asked.prefix.as_deref() == Some("");
        let known = self.config.methods.iter().any(|method| method == call.method.as_str());
        let object = call.entity.object.as_ref().map_or("", |object| object.as_str());
        // Only the first version of the API is signed.
        let fits = call.context.path.starts_with("/v1/")
            && (root || !object.trim_matches('/').is_empty())
            && object.starts_with(asked.prefix.as_deref().unwrap_or_default());
        let Some(container) = call.entity.container.as_ref().filter(|_| known && fits) else {
            return Err(invalid());
        };
        if !self.config.allowed_digests.contains(&asked.signature.digest) {
            return Err(invalid());
        }
        if let Some(range) = &asked.ip_range {
            let range = AddressRange::parse(range).ok_or_else(invalid)?;
            let client = call.context.client.ok_or_else(invalid)?;
            if !range.contains(client) {
                return Err(invalid());
            }
        }
        let keys = keys_for(&self.store, &call.entity).await?;
        let found = right_key(&keys, call, container, object, asked);
        found.map(|key| key.scope.clone()).ok_or_else(invalid)
    }

    /// Refuses what an upload may not say, and takes out what the operator does not want.
    fn admit(&self, call: &mut Call) -> Result<(), Refusal> {
        if !call.is_read() {
            let found = NOT_ALLOWED.iter().find(|(name, _)| call.headers.contains_key(*name));
            if let Some((_, name)) = found {
                let sentence = format!("The header '{name}' is not allowed in this tempurl");
                return Err(Refusal::bad_request(sentence));
            }
        }
        self.incoming.clean(&mut call.headers);
        Ok(())
    }
}

/// The key under which the signature is right. A signature for a method that needs more allows HEAD as well.
fn right_key<'k>(
    keys: &'k [ScopedKey],
    call: &Call,
    container: &ContainerName,
    object: &str,
    asked: &Asked,
) -> Option<&'k ScopedKey> {
    let account = &call.entity.account;
    let path = match &asked.prefix {
        None => format!("/v1/{account}/{container}/{object}"),
        Some(prefix) => format!("prefix:/v1/{account}/{container}/{prefix}"),
    };
    let methods: &[&str] = match call.method.as_str() {
        "HEAD" => &["HEAD", "GET", "POST", "PUT"],
        _ => &[call.method.as_str()],
    };
    methods.iter().find_map(|method| {
        let message = asked.message(method, &path);
        keys.iter().find(|key| asked.signature.is_of(key.key.as_bytes(), message.as_bytes()))
    })
}

/// See [`crate::parsers::temporary_url`].
pub(crate) fn read_anything(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = AddressRange::parse(&text);
    let Ok(query) = wire::parse_query(Some(&text)) else { return };
    if let Some(asked) = Asked::of(&Query(query), 0) {
        let message = asked.message("GET", &text);
        asked.signature.is_of(data, message.as_bytes());
        let _ = disposition::value(asked.inline, asked.filename.as_deref(), None, &text);
        let _ = (asked.query(), expires(asked.expires));
    }
}

/// A cache may keep the response as long as the signature is valid.
fn expires(at: i64) -> Option<HeaderValue> {
    // The last second of the year 9999; later ones have no date of this form.
    const LAST: u64 = 253_402_300_799;
    let at = u64::try_from(at).ok().filter(|at| *at <= LAST)?;
    HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_a_date_have_none() {
        assert_eq!(expires(0).expect("a date"), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(expires(253_402_300_799).expect("a date"), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(expires(253_402_300_800), None);
        assert_eq!(expires(-1), None);
    }
}

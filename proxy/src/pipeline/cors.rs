//! Sharing across origins: what a browser must be told before pages of other sites may use containers and objects.
//! Swift: proxy/controllers/base.py, `cors_validation` and `OPTIONS`.
//!
//! It is the outermost of those that see calls, so that every answer carries its headers, refusals too: a page that is not
//! told why something failed cannot help its user. Accounts are never shared, as in Swift.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use std::sync::Arc;
use wire::Response;

use super::{Answer, Handler, Middleware, Parts};
use crate::call::Call;
use crate::config::StartError;
use crate::store::{ContainerInfo, Store};
use crate::swift::error::Refusal;

/// `[proxy.cors]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Origins that every container is shared with, beside those that it names itself.
    pub cors_allow_origin: Vec<String>,
    /// Headers that pages may read of every container, beside those that it names itself.
    pub cors_expose_headers: Vec<String>,
    /// Whether only origins that are allowed get the headers; else every origin gets them.
    pub strict_cors_mode: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cors_allow_origin: Vec::new(),
            cors_expose_headers: Vec::new(),
            strict_cors_mode: true,
        }
    }
}

/// What pages may always read.
const EXPOSED: [&str; 10] = [
    "cache-control",
    "content-language",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
    "etag",
    "x-timestamp",
    "x-trans-id",
    "x-openstack-request-id",
];

struct Cors {
    config: Config,
    store: Arc<Store>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    Ok(Arc::new(Cors { config: parts.config.cors.clone(), store: Arc::clone(&parts.store) }))
}

impl Middleware for Cors {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        let origin = call.headers.get(header::ORIGIN).filter(|origin| !origin.is_empty()).cloned();
        let Some(origin) = origin.filter(|_| call.entity.container.is_some()) else {
            return next.answer(call);
        };
        Box::pin(async move {
            match call.method == Method::OPTIONS {
                true => self.preflight(call, &origin, next).await.unwrap_or_else(Response::from),
                false => self.share(call, &origin, next).await,
            }
        })
    }
}

impl Cors {
    /// May a page do what it is about to do?
    async fn preflight(
        &self,
        mut call: Call,
        origin: &HeaderValue,
        next: Handler,
    ) -> Result<Response, Refusal> {
        let container = self.store.container_info(&call.entity.to_container()).await?;
        let shared = Shared::of(container.as_deref());
        let method = call.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).cloned();
        let names = call.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        // Without an origin it is the question which methods there are.
        call.headers.remove(header::ORIGIN);
        let mut response = next.answer(call).await;
        let methods = response.headers().get(header::ALLOW).cloned().unwrap_or(EMPTY);
        let known = method.is_some_and(|method| items(&methods, b',').any(|item| method == item));
        if !self.allows(&shared, origin) || !known {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return Ok(response);
        }
        let headers = response.headers_mut();
        allow_origin(&shared, origin, headers);
        if let Some(age) = shared.max_age {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, age);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        if let Some(names) = names {
            let names = items(&names, b',').collect::<Vec<_>>().join(&b", "[..]);
            if let (false, Ok(names)) = (names.is_empty(), HeaderValue::from_bytes(&names)) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
                vary(headers, "Access-Control-Request-Headers");
            }
        }
        Ok(response)
    }

    /// The answer, with what a browser must be told to hand it on to a page.
    async fn share(&self, call: Call, origin: &HeaderValue, next: Handler) -> Response {
        // Before, because the request may change it. If nobody can tell, the answer will say so itself.
        let container = self.store.container_info(&call.entity.to_container()).await;
        let mut response = next.answer(call).await;
        let shared = Shared::of(container.ok().flatten().as_deref());
        if self.config.strict_cors_mode && !self.allows(&shared, origin) {
            return response;
        }
        let headers = response.headers_mut();
        if !headers.contains_key(header::ACCESS_CONTROL_EXPOSE_HEADERS)
            && let Ok(exposed) = HeaderValue::try_from(self.exposed(&shared, headers).join(", "))
        {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            allow_origin(&shared, origin, headers);
        }
        response
    }

    fn allows(&self, shared: &Shared, origin: &HeaderValue) -> bool {
        let own = shared.allow_origin.iter().flat_map(|list| items(list, b' '));
        let everywhere = self.config.cors_allow_origin.iter().map(|text| text.as_bytes());
        own.chain(everywhere).any(|allowed| allowed == b"*" || allowed == origin.as_bytes())
    }

    /// The headers that a page may read.
    fn exposed(&self, shared: &Shared, answered: &HeaderMap) -> Vec<String> {
        let mut names: Vec<String> = EXPOSED.iter().map(|name| (*name).to_owned()).collect();
        let mut add = |name: String| {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        };
        for name in &self.config.cors_expose_headers {
            add(name.to_ascii_lowercase());
        }
        for name in answered.keys().map(HeaderName::as_str) {
            if name.starts_with("x-container-meta") || name.starts_with("x-object-meta") {
                add(name.to_owned());
            }
        }
        for item in shared.expose_headers.iter().flat_map(|list| items(list, b' ')) {
            add(String::from_utf8_lossy(item).to_lowercase());
        }
        names
    }
}

const EMPTY: HeaderValue = HeaderValue::from_static("");

/// What a container says of sharing.
#[derive(Default)]
struct Shared {
    allow_origin: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

impl Shared {
    fn of(container: Option<&ContainerInfo>) -> Self {
        let Some(container) = container else { return Shared::default() };
        let setting = |name: &str| {
            let value = container.meta(&format!("access-control-{name}"))?;
            HeaderValue::from_bytes(value.as_bytes()).ok()
        };
        Shared {
            allow_origin: setting("allow-origin"),
            expose_headers: setting("expose-headers"),
            max_age: setting("max-age"),
        }
    }
}

/// The items of a list, without empty ones.
fn items(list: &HeaderValue, separator: u8) -> impl Iterator<Item = &[u8]> {
    let items = list.as_bytes().split(move |byte| *byte == separator);
    items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// Who may use the answer. Only where that is everybody, caches need not keep origins apart.
fn allow_origin(shared: &Shared, origin: &HeaderValue, headers: &mut HeaderMap) {
    let everybody =
        shared.allow_origin.as_ref().is_some_and(|list| list.as_bytes().trim_ascii() == b"*");
    if everybody {
        let everybody = HeaderValue::from_static("*");
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, everybody);
    } else {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        vary(headers, "Origin");
    }
}

fn vary(headers: &mut HeaderMap, on: &str) {
    let before = headers.get(header::VARY).and_then(|value| value.to_str().ok());
    let value = before.map_or_else(|| on.to_owned(), |before| format!("{before}, {on}"));
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(header::VARY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(origins: &'static str) -> Shared {
        Shared { allow_origin: Some(HeaderValue::from_static(origins)), ..Shared::default() }
    }

    #[test]
    fn caches_keep_origins_apart_unless_all_are_allowed() {
        let origin = HeaderValue::from_static("http://a");
        let told = |origins| {
            let mut headers = HeaderMap::new();
            headers.insert(header::VARY, HeaderValue::from_static("Accept"));
            allow_origin(&shared(origins), &origin, &mut headers);
            let text = |name: HeaderName| headers[name].to_str().expect("text").to_owned();
            (text(header::ACCESS_CONTROL_ALLOW_ORIGIN), text(header::VARY))
        };
        assert_eq!(told(" * "), ("*".to_owned(), "Accept".to_owned()));
        let named = ("http://a".to_owned(), "Accept, Origin".to_owned());
        assert_eq!(told("http://b http://a"), named);
        assert_eq!(told("* http://a"), named);
    }

    #[test]
    fn lists_lose_what_is_empty() {
        let list = HeaderValue::from_static(" a,,b , c");
        assert_eq!(items(&list, b',').collect::<Vec<_>>(), [&b"a"[..], b"b", b"c"]);
    }
}

//! A container as a web site: an index page, error pages and listings for people. Swift: common/middleware/staticweb.py.
//!
//! It works for visitors without a token, for bearers of a temporary URL, and for those who ask with `X-Web-Mode: true`. What
//! they may see is decided by the container's ACL (or the signature) as always: everything that a page is made from is
//! asked for by the visitor's own right.

mod human;
mod listing;
mod page;
mod site;

use http::header::{self, HeaderValue};
use http::{Method, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use wire::{Body, Response, encode_segment};

use super::{Answer, Handler, Middleware, Parts};
use crate::auth::Judge;
use crate::call::{Authority, Call};
use crate::config::StartError;
use crate::store::{ContainerInfo, Entity, Store};
use crate::swift::constraints::is_true;
use crate::swift::error::{Refusal, page as usual_page};
pub(super) use page::escaped;
use site::Site;

/// `[proxy.staticweb]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Scheme and host of redirects, if clients reach the site by another name than they say: `https://example.com`.
    pub url_base: Option<String>,
}

struct StaticWeb {
    store: Arc<Store>,
    judge: Judge,
    base: Base,
}

/// What stands before the path of a redirect, where it is not what the client said.
#[derive(Default)]
struct Base {
    scheme: Option<String>,
    host: Option<String>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let base = match &parts.config.staticweb.url_base {
        None => Base::default(),
        Some(url) => {
            let parsed: Option<Uri> = url.parse().ok();
            let why = "it is a scheme and a host, as https://example.com";
            let refusal = StartError::Setting { key: "staticweb.url_base", why };
            let url = parsed.filter(|url| url.authority().is_some()).ok_or(refusal)?;
            let host = url.authority().map(ToString::to_string);
            Base { scheme: url.scheme_str().map(ToOwned::to_owned), host }
        }
    };
    Ok(Arc::new(StaticWeb { store: Arc::clone(&parts.store), judge: parts.judge(), base }))
}

impl Middleware for StaticWeb {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        let visits = match call.context.authority {
            Authority::Signed(_) => true,
            Authority::Caller => call.context.caller.is_none() || wants_site(&call),
            Authority::Granted => false,
        };
        if !visits || !call.is_read() || call.entity.container.is_none() {
            return next.answer(call);
        }
        Box::pin(async move {
            let container = match self.store.container_info(&call.entity.to_container()).await {
                Ok(container) => container,
                Err(unavailable) => return Refusal::from(unavailable).into(),
            };
            let visit = Visit { web: &self, site: Site::of(container.as_deref()), call, next };
            match visit.call.entity.object {
                Some(_) => visit.object().await,
                None => visit.container(container.as_deref()).await,
            }
        })
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        Some(("staticweb", json!({})))
    }
}

fn wants_site(call: &Call) -> bool {
    is_true(call.headers.get("x-web-mode"))
}

/// One visitor's request.
struct Visit<'w> {
    web: &'w StaticWeb,
    site: Site,
    call: Call,
    next: Handler,
}

impl Visit<'_> {
    /// The root of the site.
    async fn container(self, container: Option<&ContainerInfo>) -> Response {
        let acl = container.and_then(|container| container.read_acl.as_deref());
        if let Err(refusal) = self.web.judge.authorize(&self.call, acl).await {
            return self.with_error_page(refusal.into()).await;
        }
        if !self.site.is_site() {
            return match wants_site(&self.call) {
                true => usual_page(StatusCode::NOT_FOUND),
                false => self.next.answer(self.call).await,
            };
        }
        if !self.call.context.path.ends_with('/') {
            return self.redirect();
        }
        let Some(index) = self.site.object(&self.call.entity, "", self.site.index()) else {
            return self.listing("").await;
        };
        let response = self.again(index).await;
        match response.status() {
            StatusCode::NOT_FOUND => self.listing("").await,
            status if shows(status) => response,
            _ => self.with_error_page(response).await,
        }
    }

    /// A page of it, which may be a directory.
    async fn object(self) -> Response {
        let name = self.call.entity.object.as_ref().map(ToString::to_string).unwrap_or_default();
        let response = self.again(self.call.entity.clone()).await;
        let shown = shows(response.status());
        if shown && !self.site.is_directory(&response) {
            return response;
        }
        if !shown && response.status() != StatusCode::NOT_FOUND {
            return response;
        }
        if !self.site.is_site() {
            return response;
        }
        let directory = format!("{}/", name.strip_suffix('/').unwrap_or(&name));
        if let Some(index) = self.site.object(&self.call.entity, &directory, self.site.index()) {
            let response = self.again(index).await;
            if shows(response.status()) {
                return match name.ends_with('/') {
                    true => response,
                    false => self.redirect(),
                };
            }
            if response.status() != StatusCode::NOT_FOUND {
                return response;
            }
        }
        if name.ends_with('/') {
            return self.listing(&name).await;
        }
        let inside = self.list().ask("limit", "1").ask("prefix", directory);
        match listing::read(self.next.answer(inside).await).await {
            Ok(entries) if !entries.is_empty() => self.redirect(),
            _ => self.with_error_page(usual_page(StatusCode::NOT_FOUND)).await,
        }
    }

    /// What the visitor asked for, of another object.
    async fn again(&self, entity: Entity) -> Response {
        let mut call = self.call.sub(self.call.method.clone(), entity, "SW");
        call.headers = self.call.headers.clone();
        call.query = self.call.query.clone();
        self.next.answer(call).await
    }

    /// A question of our own for what the visitor may see.
    fn ours(&self, entity: Entity) -> Call {
        let mut call = self.call.sub(Method::GET, entity, "SW");
        // An ACL may depend on it.
        if let Some(referer) = self.call.headers.get(header::REFERER) {
            call.headers.insert(header::REFERER, referer.clone());
        }
        call
    }

    fn list(&self) -> Call {
        let call = self.ours(self.call.entity.to_container());
        call.ask("format", "json").ask("delimiter", "/")
    }

    /// The objects and directories below a prefix, as a page.
    async fn listing(self, prefix: &str) -> Response {
        let title = self.site.title(&self.call.context.path);
        if !self.site.lists() {
            let body = page::no_listing(&title, &self.site, prefix);
            let mut response = usual_page(StatusCode::NOT_FOUND);
            *response.body_mut() = Body::from(body);
            return self.with_error_page(response).await;
        }
        let asked = match prefix {
            "" => self.list(),
            prefix => self.list().ask("prefix", prefix),
        };
        let entries = match listing::read(self.next.answer(asked).await).await {
            Ok(entries) => entries,
            Err(response) => return self.with_error_page(*response).await,
        };
        if entries.is_empty() && !prefix.is_empty() {
            return self.with_error_page(usual_page(StatusCode::NOT_FOUND)).await;
        }
        let link = page::SignedLink::of(&self.call);
        let body = page::listing(&title, &self.site, prefix, &entries, &link);
        let mut response = Response::new(Body::from(body));
        let html = HeaderValue::from_static("text/html; charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
        let by = HeaderValue::from_static("staticweb");
        response.headers_mut().insert(super::tempurl::CONTENT_GENERATOR, by);
        response
    }

    /// A refusal, with the site's own page for its status if it has one that the visitor may see.
    async fn with_error_page(self, response: Response) -> Response {
        let status = response.status();
        let name = format!("{}{}", status.as_u16(), self.site.error());
        let own = self.site.object(&self.call.entity, "", &name);
        let Some(own) = own.filter(|_| !self.site.error().is_empty()) else { return response };
        let mut own = self.next.answer(self.ours(own)).await;
        if !own.status().is_success() {
            return response;
        }
        *own.status_mut() = status;
        own
    }

    /// To the same with a slash at the end, so that relative links in it lead below it.
    fn redirect(self) -> Response {
        let path = encode_segment(&self.call.context.path);
        let scheme = self.web.base.scheme.as_deref().unwrap_or("http");
        let host = self.web.base.host.as_deref().or(self.call.context.host.as_deref());
        let location = match host {
            Some(host) => format!("{scheme}://{host}{path}/"),
            None => format!("{path}/"),
        };
        // Without its signature a temporary URL would lead nowhere.
        let location = format!("{location}{}", page::SignedLink::of(&self.call).query());
        let mut response = usual_page(StatusCode::MOVED_PERMANENTLY);
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// Whether an answer is what was asked for: the object, a part of it, or that it did not change.
fn shows(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

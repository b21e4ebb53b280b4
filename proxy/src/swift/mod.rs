//! The Swift face: parses a request, asks `auth`, calls the store, renders. One request goes through
//! [`Face::answer`]: route, gatekeeper, what is unsupported, token, method, and then the handler of its level.

mod account;
mod constraints;
mod container;
mod error;
mod gatekeeper;
mod info;
mod listing;
mod object;
mod path;
mod relay;
mod unsupported;

use daemon::TransId;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::sync::Arc;
use wire::{AuthUnavailable, Authenticator, Body, Caller, Request, Response, Service, headers};

use crate::auth::{Asked, Granted};
use crate::config::Config;
use crate::store::{Entity, Level, Read, Store};
use error::Refusal;
use path::Route;

/// Everything a handler works with.
struct Face {
    config: Arc<Config>,
    store: Arc<Store>,
    auth: Arc<dyn Authenticator>,
}

/// One request to something stored, as far as it is parsed.
struct Call {
    method: Method,
    entity: Entity,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    trans_id: HeaderValue,
    caller: Option<Caller>,
}

/// The face as a service.
pub(crate) fn service(
    config: Arc<Config>,
    store: Arc<Store>,
    auth: Arc<dyn Authenticator>,
) -> Service {
    let face = Arc::new(Face { config, store, auth });
    wire::service_fn(face, |face, request: Request| async move {
        let head = *request.method() == Method::HEAD;
        // Boxed, so that what holds the connection stays small.
        let answer = Box::pin(face.answer(request)).await;
        let mut response = answer.unwrap_or_else(Response::from);
        gatekeeper::release(response.headers_mut());
        if head { without_body(response) } else { response }
    })
}

/// The answer to HEAD tells how long the body would be, and has none.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let length = http_body::Body::size_hint(&body).exact();
    if let (Some(length), false) = (length, parts.headers.contains_key(header::CONTENT_LENGTH)) {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

impl Face {
    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        let trans_id = HeaderValue::from_str(&TransId::of(&request).0)
            .unwrap_or_else(|_| HeaderValue::from_static("-"));
        let (mut parts, body) = request.into_parts();
        gatekeeper::admit(&mut parts.headers);
        let entity = match path::route(parts.uri.path(), &self.config.valid_api_versions)? {
            Route::Healthcheck => return info::healthcheck(&parts.method),
            Route::Info => {
                return info::info(&self.config, &parts.method, parts.uri.query(), &parts.headers);
            }
            Route::Entity(entity) => entity,
        };
        constraints::check_headers(&parts.headers, &self.config.limits)?;
        let query = wire::parse_query(parts.uri.query()).map_err(|error| {
            Refusal::bad_request(format!("\"{}\" parameter not valid UTF-8", error.name))
        })?;
        unsupported::check(&parts.method, &query, &mut parts.headers, &self.store.env.clock)?;
        let caller = self.caller(&entity, &parts.headers).await?;
        let call =
            Call { method: parts.method, entity, query, headers: parts.headers, trans_id, caller };
        match call.entity.level() {
            Level::Account => self.account(call).await,
            Level::Container => self.container(call).await,
            Level::Object => self.object(call, body).await,
        }
    }

    /// Who asks. A token that is not valid is refused even where none would be needed: its holder believes to
    /// be somebody.
    async fn caller(&self, entity: &Entity, from: &HeaderMap) -> Result<Option<Caller>, Refusal> {
        let token = from.get("x-auth-token").or_else(|| from.get("x-storage-token"));
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
        let invalid = || Refusal::Unauthorized(entity.account.to_string());
        let token = token.to_str().map_err(|_| invalid())?;
        match self.auth.verify(token).await {
            Ok(Some(caller)) => Ok(Some(caller)),
            Ok(None) => Err(invalid()),
            Err(AuthUnavailable) => Err(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE)),
        }
    }

    /// OPTIONS tells the methods. Browsers that ask for another site are told no: sharing across origins is
    /// not available yet.
    fn options(call: &Call, allow: &'static str) -> Result<Response, Refusal> {
        let preflight = call.headers.contains_key(header::ORIGIN);
        let status = match preflight && call.entity.container.is_some() {
            true => StatusCode::UNAUTHORIZED,
            false => StatusCode::OK,
        };
        let mut response = error::page(status);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        Ok(response)
    }
}

impl Call {
    /// Whether the caller may do this where `acl` says who may.
    fn authorize(&self, acl: Option<&str>) -> Result<Granted, Refusal> {
        let referer = self.headers.get(header::REFERER).and_then(|value| value.to_str().ok());
        let asked = Asked {
            caller: self.caller.as_ref(),
            method: &self.method,
            account: self.entity.account.as_str(),
            has_container: self.entity.container.is_some(),
            has_object: self.entity.object.is_some(),
            referer,
        };
        asked.with_acl(acl).map_err(|_| match self.caller {
            Some(_) => Refusal::Status(StatusCode::FORBIDDEN),
            None => Refusal::Unauthorized(self.entity.account.to_string()),
        })
    }

    /// The headers of every backend request.
    fn backend_headers(&self) -> HeaderMap {
        let mut out = HeaderMap::with_capacity(8);
        out.insert(headers::X_TRANS_ID, self.trans_id.clone());
        out
    }

    /// Metadata of an account or a container: what is set, and what is to be removed.
    fn metadata(&self, kind: &str, further: &[&'static str]) -> HeaderMap {
        let mut out = self.backend_headers();
        let (meta, remove) = (format!("x-{kind}-meta-"), format!("x-remove-{kind}-meta-"));
        for name in self.headers.keys() {
            let Some(target) = name.as_str().strip_prefix("x-remove-") else { continue };
            let target = format!("x-{target}");
            let known = name.as_str().starts_with(&remove) || further.contains(&target.as_str());
            if let (true, Ok(target)) = (known, header::HeaderName::try_from(target)) {
                out.insert(target, HeaderValue::from_static(""));
            }
        }
        for (name, value) in &self.headers {
            if name.as_str().starts_with(&meta) || further.contains(&name.as_str()) {
                out.insert(name.clone(), value.clone());
            }
        }
        out
    }

    /// A read as the store takes it, with only those of the client's headers that choose what is read.
    fn read(&self, query: Option<String>, choosing: &[header::HeaderName]) -> Read {
        let mut headers = self.backend_headers();
        for name in choosing {
            if let Some(value) = self.headers.get(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        let newest = constraints::is_true(self.headers.get(headers::X_NEWEST));
        if newest {
            headers.insert(headers::X_NEWEST, HeaderValue::from_static("true"));
        }
        Read { method: self.method.clone(), query, headers, newest }
    }
}

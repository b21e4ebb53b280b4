//! The Swift face: where requests become calls, and the application at the end of the pipeline. A request goes
//! through the front middlewares, is parsed by [`Front::answer`], goes through the other middlewares, and is answered by
//! [`Face::answer`]: what is unsupported, then the handler of its level, which asks whether the caller may, and the store.

mod account;
pub(crate) mod constraints;
mod container;
pub(crate) mod error;
mod expiry;
mod info;
pub(crate) mod listing;
mod logging;
pub(crate) mod object;
pub(crate) mod path;
pub(crate) mod reference;
mod relay;
pub(crate) mod report;
pub(crate) mod rewrite_listing;
pub(crate) mod rows;
mod unsupported;

use daemon::{ClientAddress, SharedClock, TransId};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use std::sync::Arc;
use sync_wrapper::SyncWrapper;
use wire::{Request, Response, Service};

use crate::auth::{Granted, Judge};
use crate::call::{Authority, Call, Context, Query};
use crate::config::{Config, StartError};
use crate::pipeline::{Handler, Parts, Pipeline};
use crate::store::{Level, Store};
use error::Refusal;
use path::Route;
use unsupported::Features;

/// The application, innermost in the pipeline: everything a handler works with.
struct Face {
    config: Arc<Config>,
    store: Arc<Store>,
    judge: Judge,
    /// Which middlewares stand before it.
    features: Features,
}

/// The pipeline, with the application in it, as a service.
pub(crate) fn service(parts: Parts) -> Result<Service, StartError> {
    let pipeline = Pipeline::new(&parts)?;
    let judge = parts.judge();
    let Parts { config, store, .. } = parts;
    let info = pipeline.info();
    let features = Features::of(&pipeline);
    let clock = store.env.clock.clone();
    let face = Arc::new(Face { config: Arc::clone(&config), store, judge, features });
    let application = Handler::new(move |call| {
        let face = Arc::clone(&face);
        let (call, line) = logging::begin(call);
        // Boxed, so that what holds the connection stays small.
        Box::pin(async move {
            let response = face.answer(call).await.unwrap_or_else(Response::from);
            logging::end(line, response)
        })
    });
    let front = Front { config, clock, info, handler: pipeline.around(application) };
    Ok(pipeline.before(wire::service_fn(Arc::new(front), |front, request| async move {
        front.answer(request).await.unwrap_or_else(Response::from)
    })))
}

/// Where a request becomes a [`Call`].
struct Front {
    config: Arc<Config>,
    clock: SharedClock,
    /// What middlewares have to say in `/info`.
    info: serde_json::Map<String, serde_json::Value>,
    handler: Handler,
}

impl Front {
    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        let trans_id = HeaderValue::from_str(&TransId::of(&request).0)
            .unwrap_or_else(|_| HeaderValue::from_static("-"));
        let (parts, body) = request.into_parts();
        let reserved = parts.headers.get(wire::headers::X_BACKEND_ALLOW_RESERVED_NAMES);
        let (path, versions) = (parts.uri.path(), &self.config.valid_api_versions);
        let entity = match path::route(path, versions, constraints::is_true(reserved))? {
            Route::Info => {
                return info::info(&self.config, &self.info, &parts, self.clock.now());
            }
            Route::Entity(entity) => entity,
        };
        constraints::check_headers(&parts.headers, &self.config.limits)?;
        let query = wire::parse_query(parts.uri.query()).map_err(|error| {
            Refusal::bad_request(format!("\"{}\" parameter not valid UTF-8", error.name))
        })?;
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let context = Context {
            trans_id,
            caller: None,
            authority: Authority::Caller,
            host: host.map(Arc::from),
            path: percent_decode_str(parts.uri.path()).decode_utf8_lossy().into(),
            client: parts.extensions.get::<ClientAddress>().map(|client| client.0),
            source: None,
            notes: parts.extensions.get::<daemon::Notes>().cloned(),
        };
        let (method, headers, body) = (parts.method, parts.headers, SyncWrapper::new(body));
        let call = Call { method, entity, query: Query(query), headers, body, context };
        Ok(self.handler.answer(call).await)
    }
}

/// See [`crate::parsers::request_head`].
pub(crate) fn read_anything(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut first = lines.next().unwrap_or_default().splitn(2, |byte| *byte == b' ');
    let mut word = || first.next().unwrap_or_default();
    let (method, target) = (word(), word());
    if let Some(at) = target.iter().position(|byte| *byte == b'?') {
        read_any_query(&String::from_utf8_lossy(&target[at + 1..]));
    }
    let Ok(uri) = http::Uri::try_from(target) else { return };
    let _ = http::Method::from_bytes(method);
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = header::HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
    };
    let mut headers: HeaderMap = lines.filter_map(header).collect();
    let limits = types::Limits::default();
    for reserved in [false, true] {
        if let Ok(Route::Entity(entity)) = path::route(uri.path(), &["v1".to_owned()], reserved) {
            assert!(reserved || !entity.is_reserved(), "a reserved name came in");
        }
    }
    if let Ok(query) = wire::parse_query(uri.query()) {
        let query = Query(query);
        if let Ok(wanted) = listing::wanted(&query, &headers) {
            let _ = listing::backend_query(&query, wanted.format, 10_000);
        }
    }
    let _ = constraints::check_headers(&headers, &limits);
    for kind in ["account", "container", "object"] {
        let _ = constraints::check_metadata(&headers, &format!("x-{kind}-meta-"), &limits);
    }
    let _ = constraints::body_length(&headers, &limits);
    let _ = constraints::check_content_type(&headers);
    let _ = expiry::settle(&mut headers, types::Timestamp::from_seconds(1_700_000_000));
}

/// Also what the library for URIs would refuse: what was read says the same when it is written again.
fn read_any_query(text: &str) {
    let Ok(pairs) = wire::parse_query(Some(text)) else { return };
    let encode =
        |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    let written = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let written = written.collect::<Vec<_>>().join("&");
    assert_eq!(
        wire::parse_query(Some(&written)),
        Ok(pairs),
        "a query changes when it is written again"
    );
}

impl Face {
    async fn answer(&self, mut call: Call) -> Result<Response, Refusal> {
        // Names also come from headers and bodies, so the path of the client's own request is not all there is.
        let reserved = call.headers.get(wire::headers::X_BACKEND_ALLOW_RESERVED_NAMES);
        if call.entity.is_reserved() && !constraints::is_true(reserved) {
            return Err(path::not_text());
        }
        unsupported::check(&mut call, &self.features)?;
        match call.entity.level() {
            Level::Account => self.account(call).await,
            Level::Container => self.container(call).await,
            Level::Object => self.object(call).await,
        }
    }

    /// Whether the caller may do it where `acl` is the container's.
    async fn authorize(&self, call: &Call, acl: Option<&str>) -> Result<Granted, Refusal> {
        self.judge.authorize(call, acl).await
    }

    /// OPTIONS tells the methods. What browsers ask for another site comes here only when the pipeline has no `cors`,
    /// and is refused.
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

//! The pipeline: what a request passes between the client and the application, as in Swift's `proxy-server.conf`.
//!
//! The setting `pipeline` names middlewares from the client inwards; [`ORDER`] is the only order in which they make sense,
//! and is checked at start. Each has a file and a table of settings of its own. There are two stages:
//!
//! - *Front* middlewares see HTTP requests ([`FrontMiddleware`]): before a path is an entity.
//! - Then the request is parsed into a [`Call`], and the others see that ([`Middleware`]). Innermost is the application
//!   ([`crate::swift`]), which asks the store.
//!
//! A middleware answers itself, changes the request and asks on, changes the answer, or asks for other things in between
//! (`Call::sub`) through the [`Handler`] that it was given: what is further out does not see those.
//! It lets what does not concern it pass with `next.answer(call)`, which costs nothing more.
//!
//! What a middleware takes care of reaches the application in another form, so what arrives there untranslated is a
//! feature that is not in the pipeline, and refused (`swift::unsupported`).

mod account_quotas;
pub(crate) mod bulk;
mod catch_errors;
pub(crate) mod cname_lookup;
mod container_quotas;
pub(crate) mod copy;
pub(crate) mod cors;
pub(crate) mod crossdomain;
pub(crate) mod dlo;
pub(crate) mod domain_remap;
pub(crate) mod etag_quoter;
pub(crate) mod formpost;
pub(crate) mod gatekeeper;
pub(crate) mod healthcheck;
pub(crate) mod list_endpoints;
#[cfg(test)]
mod memory;
pub(crate) mod name_check;
pub(crate) mod ratelimit;
pub(crate) mod read_only;
mod segments;
pub(crate) mod slo;
pub(crate) mod staticweb;
pub(crate) mod symlink;
mod tempauth;
pub(crate) mod tempurl;
pub(crate) mod versioned_writes;

use serde_json::{Map, Value};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wire::{Authenticator, Request, Response, Service};

use crate::auth::Judge;
use crate::call::Call;
use crate::config::{Config, StartError};
use crate::store::Store;

/// A response, later.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What answers calls. Clones are the same handler.
#[derive(Clone)]
pub(crate) struct Handler(Arc<dyn Fn(Call) -> Answer + Send + Sync>);

impl Handler {
    /// Of a function.
    pub(crate) fn new(answer: impl Fn(Call) -> Answer + Send + Sync + 'static) -> Self {
        Handler(Arc::new(answer))
    }

    /// Begins to answer a call.
    pub(crate) fn answer(&self, call: Call) -> Answer {
        (self.0)(call)
    }
}

impl tower::Service<Call> for Handler {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let answer = self.answer(call);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// What stands between the parsed request and the application.
pub(crate) trait Middleware: Send + Sync + 'static {
    /// Answers a call, with the help of what is further in.
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer;

    /// Its section of `/info`, under its name there.
    fn info(&self) -> Option<(&'static str, Value)> {
        None
    }

    /// Its sections, if it has more than one.
    fn sections(&self) -> Vec<(&'static str, Value)> {
        self.info().into_iter().collect()
    }
}

/// What sees requests before they are parsed.
pub(crate) trait FrontMiddleware: Send + Sync + 'static {
    /// Answers a request, with the help of what is further in.
    fn handle(self: Arc<Self>, request: Request, next: Service) -> wire::Answer;

    /// Its section of `/info`, under its name there.
    fn info(&self) -> Option<(&'static str, Value)> {
        None
    }
}

/// A middleware as a layer: around a handler it is a handler.
#[derive(Clone)]
pub(crate) struct Layered(Arc<dyn Middleware>);

impl tower::Layer<Handler> for Layered {
    type Service = Handler;

    fn layer(&self, next: Handler) -> Handler {
        let middleware = Arc::clone(&self.0);
        Handler::new(move |call| Arc::clone(&middleware).handle(call, next.clone()))
    }
}

/// The same at the front.
#[derive(Clone)]
pub(crate) struct LayeredFront(Arc<dyn FrontMiddleware>);

impl tower::Layer<Service> for LayeredFront {
    type Service = Service;

    fn layer(&self, next: Service) -> Service {
        let middleware = Arc::clone(&self.0);
        wire::service_fn((middleware, next), |(middleware, next), request| {
            middleware.handle(request, next)
        })
    }
}

/// What middlewares are made from.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Arc<Store>,
    pub(crate) auth: Arc<dyn Authenticator>,
}

impl Parts {
    /// What judges whether a caller may do something, for those who must know before the application does.
    pub(crate) fn judge(&self) -> Judge {
        Judge { store: Arc::clone(&self.store), auth: Arc::clone(&self.auth) }
    }
}

/// How one of them is made.
enum Make {
    Front(fn(&Parts) -> Result<Arc<dyn FrontMiddleware>, StartError>),
    Inner(fn(&Parts) -> Result<Arc<dyn Middleware>, StartError>),
}

/// A middleware that there is.
struct Known {
    /// As the configuration calls it.
    name: &'static str,
    /// Without it the pipeline is refused.
    required: bool,
    make: Make,
}

/// All of them, from the client inwards.
const ORDER: &[Known] = &[
    Known { name: "catch_errors", required: true, make: Make::Front(catch_errors::make) },
    Known { name: "gatekeeper", required: true, make: Make::Front(gatekeeper::make) },
    Known { name: "healthcheck", required: false, make: Make::Front(healthcheck::make) },
    Known { name: "cname_lookup", required: false, make: Make::Front(cname_lookup::make) },
    Known { name: "domain_remap", required: false, make: Make::Front(domain_remap::make) },
    Known { name: "crossdomain", required: false, make: Make::Front(crossdomain::make) },
    Known { name: "list_endpoints", required: false, make: Make::Front(list_endpoints::make) },
    Known { name: "cors", required: false, make: Make::Inner(cors::make) },
    Known { name: "etag_quoter", required: false, make: Make::Inner(etag_quoter::make) },
    Known { name: "name_check", required: false, make: Make::Inner(name_check::make) },
    Known { name: "bulk", required: false, make: Make::Inner(bulk::make) },
    Known { name: "formpost", required: false, make: Make::Inner(formpost::make) },
    Known { name: "tempurl", required: false, make: Make::Inner(tempurl::make) },
    Known { name: "ratelimit", required: false, make: Make::Inner(ratelimit::make) },
    Known { name: "tempauth", required: true, make: Make::Inner(tempauth::make) },
    Known { name: "read_only", required: false, make: Make::Inner(read_only::make) },
    Known { name: "staticweb", required: false, make: Make::Inner(staticweb::make) },
    Known { name: "copy", required: false, make: Make::Inner(copy::make) },
    Known { name: "container_quotas", required: false, make: Make::Inner(container_quotas::make) },
    Known { name: "account_quotas", required: false, make: Make::Inner(account_quotas::make) },
    Known { name: "slo", required: false, make: Make::Inner(slo::make) },
    Known { name: "dlo", required: false, make: Make::Inner(dlo::make) },
    Known { name: "versioned_writes", required: false, make: Make::Inner(versioned_writes::make) },
    Known { name: "symlink", required: false, make: Make::Inner(symlink::make) },
];

/// Those that need a word of the operator, because they tell strangers more than everybody wants, or forbid things.
const BY_CHOICE: [&str; 4] = ["crossdomain", "list_endpoints", "name_check", "read_only"];

/// The default of the setting `pipeline`.
pub(crate) fn usual() -> Vec<String> {
    all().into_iter().filter(|name| !BY_CHOICE.contains(&name.as_str())).collect()
}

/// Every middleware that there is, in order.
pub(crate) fn all() -> Vec<String> {
    ORDER.iter().map(|known| known.name.to_owned()).collect()
}

/// Middlewares that are ready to be put around an application.
pub(crate) struct Pipeline {
    front: Vec<LayeredFront>,
    inner: Vec<Layered>,
    names: Vec<&'static str>,
}

impl Pipeline {
    /// Makes what the configuration names.
    pub(crate) fn new(parts: &Parts) -> Result<Self, StartError> {
        let mut pipeline = Pipeline { front: Vec::new(), inner: Vec::new(), names: Vec::new() };
        for known in in_order(&parts.config.pipeline)? {
            pipeline.names.push(known.name);
            match known.make {
                Make::Front(make) => pipeline.front.push(LayeredFront(make(parts)?)),
                Make::Inner(make) => pipeline.inner.push(Layered(make(parts)?)),
            }
        }
        Ok(pipeline)
    }

    /// The middlewares in it.
    pub(crate) fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// The sections of `/info`.
    pub(crate) fn info(&self) -> Map<String, Value> {
        let front = self.front.iter().filter_map(|layer| layer.0.info());
        let inner = self.inner.iter().flat_map(|layer| layer.0.sections());
        front.chain(inner).map(|(name, section)| (name.to_owned(), section)).collect()
    }

    /// Around the application.
    pub(crate) fn around(&self, application: Handler) -> Handler {
        let add = |next, layer: &Layered| tower::Layer::layer(layer, next);
        self.inner.iter().rev().fold(application, add)
    }

    /// Around what parses requests.
    pub(crate) fn before(&self, parser: Service) -> Service {
        let add = |next, layer: &LayeredFront| tower::Layer::layer(layer, next);
        self.front.iter().rev().fold(parser, add)
    }
}

/// The middlewares of these names, if they are there, in order and complete.
fn in_order(names: &[String]) -> Result<Vec<&'static Known>, StartError> {
    let refuse = |why: String| Err(StartError::Pipeline(why));
    let mut chosen: Vec<usize> = Vec::with_capacity(names.len());
    for name in names {
        let Some(at) = ORDER.iter().position(|known| known.name == name) else {
            return refuse(format!(
                "there is no middleware {name}; there are {}",
                all().join(", ")
            ));
        };
        if let Some(before) = chosen.iter().find(|before| **before >= at) {
            let before = ORDER[*before].name;
            return refuse(match before == name {
                true => format!("{name} is there twice"),
                false => format!("{name} must come before {before}"),
            });
        }
        chosen.push(at);
    }
    let missing =
        ORDER.iter().enumerate().find(|(at, known)| known.required && !chosen.contains(at));
    if let Some((_, known)) = missing {
        return refuse(format!("{} is missing, and nothing is safe without it", known.name));
    }
    Ok(chosen.into_iter().map(|at| &ORDER[at]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_order_is_checked() {
        assert_eq!(in_order(&all()).map(|chosen| chosen.len()).ok(), Some(ORDER.len()));
        let why = |list: &[&str]| in_order(&names(list)).err().expect("refused").to_string();
        let without = why(&["catch_errors", "tempauth"]);
        assert!(without.contains("gatekeeper is missing"), "{without}");
        let twisted = why(&["catch_errors", "tempauth", "gatekeeper"]);
        assert!(twisted.contains("gatekeeper must come before tempauth"), "{twisted}");
        let twice = why(&["catch_errors", "gatekeeper", "gatekeeper"]);
        assert!(twice.contains("gatekeeper is there twice"), "{twice}");
        assert!(why(&["catch_error"]).contains("there is no middleware catch_error"));
    }
}

//! `/crossdomain.xml`: whom plugins in browsers let use this site. Swift: common/middleware/crossdomain.py.
//! Not in the pipeline unless it is put there, because its usual policy lets everybody.

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use wire::{Answer, Body, Request, Response, Service};

use super::{FrontMiddleware, Parts};
use crate::config::StartError;

/// `[proxy.crossdomain]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The elements of the policy.
    pub cross_domain_policy: String,
}

impl Default for Config {
    fn default() -> Self {
        let everybody = "<allow-access-from domain=\"*\" secure=\"false\" />";
        Config { cross_domain_policy: everybody.to_owned() }
    }
}

struct CrossDomain {
    policy: String,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn FrontMiddleware>, StartError> {
    Ok(Arc::new(CrossDomain { policy: parts.config.crossdomain.cross_domain_policy.clone() }))
}

impl FrontMiddleware for CrossDomain {
    fn handle(self: Arc<Self>, request: Request, next: Service) -> Answer {
        if request.uri().path() != "/crossdomain.xml" || *request.method() != Method::GET {
            return next.answer(request);
        }
        let document = format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE cross-domain-policy SYSTEM \
             \"http://www.adobe.com/xml/dtds/cross-domain-policy.dtd\" >\n\
             <cross-domain-policy>\n{}\n</cross-domain-policy>",
            self.policy
        );
        let mut response = Response::new(Body::from(document));
        *response.status_mut() = StatusCode::OK;
        let xml = HeaderValue::from_static("application/xml; charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, xml);
        Box::pin(std::future::ready(response))
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        Some(("crossdomain", json!({})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(method: Method, path: &str) -> (StatusCode, String) {
        let policy = Config::default().cross_domain_policy;
        let inner = wire::service_fn((), |(), _| async {
            crate::swift::error::page(StatusCode::NOT_FOUND)
        });
        let request = http::Request::builder().method(method).uri(path).body(Body::empty());
        let request = request.expect("a request");
        let response = Arc::new(CrossDomain { policy }).handle(request, inner).await;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn the_policy_is_in_its_document() {
        let (status, body) = ask(Method::GET, "/crossdomain.xml").await;
        assert_eq!(status, StatusCode::OK);
        let policy = "<cross-domain-policy>\n<allow-access-from domain=\"*\" secure=\"false\" />\n</cross-domain-policy>";
        assert!(body.ends_with(policy), "{body}");
        assert_eq!(ask(Method::POST, "/crossdomain.xml").await.0, StatusCode::NOT_FOUND);
        assert_eq!(ask(Method::GET, "/crossdomain.xml/").await.0, StatusCode::NOT_FOUND);
    }
}

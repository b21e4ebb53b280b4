//! `/healthcheck`: whether the proxy is alive, and whether it is meant to get requests.
//! Swift: common/middleware/healthcheck.py.

use http::{Method, StatusCode};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use wire::{Answer, Request, Response, Service};

use super::{FrontMiddleware, Parts};
use crate::config::StartError;
use crate::swift::error::{Refusal, text};

/// `[proxy.healthcheck]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// As long as this file exists the answer is 503, so that a load balancer takes the proxy out.
    pub disable_path: Option<PathBuf>,
}

struct Healthcheck {
    disable_path: Option<PathBuf>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn FrontMiddleware>, StartError> {
    Ok(Arc::new(Healthcheck { disable_path: parts.config.healthcheck.disable_path.clone() }))
}

impl FrontMiddleware for Healthcheck {
    fn handle(self: Arc<Self>, request: Request, next: Service) -> Answer {
        if request.uri().path() != "/healthcheck" {
            return next.answer(request);
        }
        Box::pin(async move { self.answer(request.method()).await.unwrap_or_else(Response::from) })
    }
}

impl Healthcheck {
    async fn answer(&self, method: &Method) -> Result<Response, Refusal> {
        if *method != Method::GET && *method != Method::HEAD {
            return Err(Refusal::MethodNotAllowed("GET, HEAD"));
        }
        let disabled = match &self.disable_path {
            Some(path) => tokio::fs::try_exists(path).await.unwrap_or(false),
            None => false,
        };
        Ok(match disabled {
            true => text(StatusCode::SERVICE_UNAVAILABLE, "DISABLED BY FILE".to_owned()),
            false => text(StatusCode::OK, "OK".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_takes_the_proxy_out() {
        let status = |path: Option<&str>| {
            let check = Healthcheck { disable_path: path.map(PathBuf::from) };
            async move { check.answer(&Method::GET).await.map(|answer| answer.status().as_u16()).ok() }
        };
        assert_eq!(status(None).await, Some(200));
        assert_eq!(status(Some("/no/such/file")).await, Some(200));
        assert_eq!(status(Some("/dev/null")).await, Some(503));
    }
}

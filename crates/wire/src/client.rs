//! The seam: one client for services in this process and on other nodes.

use crate::{Body, Request, Response, Service};
use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Where a daemon listens, as a ring names it. IPv6 addresses stand without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Text that is no `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address of the form host:port")]
pub struct EndpointError;

impl Endpoint {
    /// From the ip and port of a ring's device.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Endpoint { host: host.into(), port }
    }
}

impl From<std::net::SocketAddr> for Endpoint {
    fn from(addr: std::net::SocketAddr) -> Self {
        Endpoint::new(addr.ip().to_string(), addr.port())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || bare.is_none() && host.contains(':') {
            return Err(EndpointError);
        }
        Ok(Endpoint::new(host, port.parse().map_err(|_| EndpointError)?))
    }
}

/// Why no response came. What the service answered, whatever its status, is never one of these.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody could be reached there.
    #[error("cannot connect to {to}")]
    Connect {
        /// Whom the call was for.
        to: Endpoint,
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke, or what came back was no HTTP.
    #[error("the call to {to} broke off")]
    Broken {
        /// Whom the call was for.
        to: Endpoint,
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No response headers in time.
    #[error("{to} did not answer in {after:?}")]
    Timeout {
        /// Whom the call was for.
        to: Endpoint,
        /// How long was waited.
        after: Duration,
    },
}

/// Calls services wherever they live. Clones share connections and the list of local services.
#[derive(Clone)]
pub struct NodeClient(Arc<Inner>);

/// Most header lines of an answer: 90 items of metadata are allowed beside everything that describes an object,
/// which is more than HTTP libraries take by default.
const HEADERS_MAX: usize = 256;

struct Inner {
    local: RwLock<HashMap<Endpoint, Service>>,
    remote: Client<HttpConnector, Body>,
}

impl NodeClient {
    /// A client that gives up connecting after `connect_timeout`.
    pub fn new(connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout));
        let remote = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(256)
            .http1_title_case_headers(true)
            .http1_max_headers(HEADERS_MAX)
            // A pooled connection may have died with its server: calls that never reached it are sent again.
            .retry_canceled_requests(true)
            .build(connector);
        NodeClient(Arc::new(Inner { local: RwLock::default(), remote }))
    }

    /// From now on calls to `endpoint` run `service` in this process.
    pub fn register(&self, endpoint: Endpoint, service: Service) {
        let mut local = self.0.local.write().unwrap_or_else(PoisonError::into_inner);
        local.insert(endpoint, service);
    }

    /// Forgets a local service, so that the process it came from can stop.
    pub fn unregister(&self, endpoint: &Endpoint) {
        let mut local = self.0.local.write().unwrap_or_else(PoisonError::into_inner);
        local.remove(endpoint);
    }

    /// Whether calls to `endpoint` stay in this process.
    pub fn is_local(&self, endpoint: &Endpoint) -> bool {
        self.local(endpoint).is_some()
    }

    fn local(&self, endpoint: &Endpoint) -> Option<Service> {
        let local = self.0.local.read().unwrap_or_else(PoisonError::into_inner);
        local.get(endpoint).cloned()
    }

    /// Sends a request whose URI is a path, and waits at most `timeout` for the response's headers.
    ///
    /// Dropping the future drops the call; what the service had already made durable stays.
    pub async fn call(
        &self,
        to: &Endpoint,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, CallError> {
        let answer = async {
            match self.local(to) {
                Some(service) => Ok(service.answer(request).await),
                None => self.call_remote(to, request).await,
            }
        };
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout { to: to.clone(), after: timeout }),
        }
    }

    async fn call_remote(
        &self,
        to: &Endpoint,
        mut request: Request,
    ) -> Result<Response, CallError> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme("http").authority(to.to_string()).path_and_query(path);
        let broken = |source| CallError::Broken { to: to.clone(), source };
        *request.uri_mut() = uri.build().map_err(|error| broken(error.into()))?;
        match self.0.remote.request(request).await {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) if error.is_connect() => {
                Err(CallError::Connect { to: to.clone(), source: error.into() })
            }
            Err(error) => Err(broken(error.into())),
        }
    }
}

impl fmt::Debug for NodeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeClient")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_round_trip() {
        for text in ["127.0.0.1:6200", "[::1]:6200", "node-3.example:80"] {
            let endpoint: Endpoint = text.parse().expect("an endpoint");
            assert_eq!(endpoint.to_string(), text);
        }
        for bad in ["", "host", "host:", "host:99999", "::1:80", ":80"] {
            assert_eq!(bad.parse::<Endpoint>(), Err(EndpointError), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_same_call_in_process_and_refused_when_nobody_is_there() {
        let client = NodeClient::new(Duration::from_millis(200));
        let here = Endpoint::new("127.0.0.1", 1);
        let service = crate::service_fn((), |(), request: Request| async move {
            Response::new(request.into_body())
        });
        client.register(here.clone(), service);
        let timeout = Duration::from_secs(5);
        let response = client.call(&here, Request::new(Body::from("hello")), timeout).await;
        let body = axum::body::to_bytes(response.expect("answers").into_body(), 100).await;
        assert_eq!(body.expect("a body"), "hello");
        client.unregister(&here);
        let gone = client.call(&here, Request::new(Body::empty()), timeout).await;
        assert!(matches!(gone, Err(CallError::Connect { .. })), "{gone:?}");
    }
}

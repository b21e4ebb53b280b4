//! What every daemon is.

use crate::{Request, Response};
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tower::ServiceExt;

/// A response, later.
pub type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A request in, a response out, never an error. Clones are the same service, and cost no memory.
#[derive(Clone)]
pub struct Service(Arc<dyn Fn(Request) -> Answer + Send + Sync>);

impl Service {
    /// Of any tower service, which is cloned for each request.
    pub fn new<S>(service: S) -> Self
    where
        S: tower::Service<Request, Response = Response, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Service(Arc::new(move |request| {
            let answer = service.clone().oneshot(request);
            Box::pin(async move {
                let Ok(response) = answer.await;
                response
            })
        }))
    }

    /// Begins to answer a request.
    pub fn answer(&self, request: Request) -> Answer {
        (self.0)(request)
    }
}

/// The MD5 of a body that several requests carry to services of this process: whoever needs it first works it out, and the
/// others find it. An extension of requests; what comes from outside has none, and none goes out.
#[derive(Clone, Debug, Default)]
pub struct SharedMd5(Arc<OnceLock<[u8; 16]>>);

impl SharedMd5 {
    /// What is known.
    pub fn get(&self) -> Option<[u8; 16]> {
        self.0.get().copied()
    }

    /// Remembers the MD5 of the whole body.
    pub fn set(&self, md5: [u8; 16]) {
        // Of the same bytes it can only be the same.
        let _ = self.0.set(md5);
    }
}

/// Makes a [`Service`] of an async function over shared state.
pub fn service_fn<S, F, Fut>(state: S, handler: F) -> Service
where
    S: Clone + Send + Sync + 'static,
    F: Fn(S, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    Service(Arc::new(move |request| Box::pin(handler(state.clone(), request))))
}

impl tower::Service<Request> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = self.answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

//! Everything that crosses a socket between our own processes, and the seam across which they call each other.
//!
//! A service is a [`Service`]: a request in, a response out, never an error. Who calls one holds a
//! [`NodeClient`], which runs the service in the same process when it lives there (no socket, bodies handed
//! over as they are) and otherwise goes over HTTP. The words spoken are Swift's backend API, so that either
//! end may be a Python Swift daemon; for each message, encoding and decoding stand side by side here.

mod auth;
mod client;
pub mod headers;
mod path;
pub mod pending;
pub mod pending_object;
mod query;
mod row;
mod update;

pub use auth::{AuthUnavailable, Authenticator, Caller, Verifying};
pub use client::{CallError, Endpoint, EndpointError, NodeClient};

pub use path::{BackendPath, PathError, encode_segment};
pub use pending::{PendingReport, PendingReports, REPORTS_MAX, ReportError, ReportedAck, UPDATES};
pub use query::{QueryError, parse_query};
pub use row::{AccountRow, ContainerRow};
pub use update::{AccountUpdate, ObjectUpdate, UpdateError, UpdateTarget, UpdateTargets};

use std::convert::Infallible;

/// A body on either side of the seam.
pub type Body = axum::body::Body;
/// A request on either side of the seam.
pub type Request = http::Request<Body>;
/// A response on either side of the seam.
pub type Response = http::Response<Body>;
/// What every daemon is: a request in, a response out.
pub type Service = tower::util::BoxCloneSyncService<Request, Response, Infallible>;

/// Makes a [`Service`] of an async function over shared state.
pub fn service_fn<S, F, Fut>(state: S, handler: F) -> Service
where
    S: Clone + Send + Sync + 'static,
    F: Fn(S, Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    Service::new(tower::service_fn(move |request| {
        let answer = handler(state.clone(), request);
        async move { Ok(answer.await) }
    }))
}

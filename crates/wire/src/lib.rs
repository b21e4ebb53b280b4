//! Everything that crosses a socket between our own processes, and the seam across which they call each other.
//!
//! A service is a [`Service`]: a request in, a response out, never an error. Who calls one holds a
//! [`NodeClient`], which runs the service in the same process when it lives there (no socket, bodies handed
//! over as they are) and otherwise goes over HTTP. The words spoken are Swift's backend API, so that either
//! end may be a Python Swift daemon; for each message, encoding and decoding stand side by side here.

mod auth;
mod client;
pub mod conditions;
mod content_type;
pub mod deletions;
pub mod device;
pub mod headers;
pub mod metadata;
pub mod multipart;
mod path;
pub mod pending;
pub mod pending_object;
pub mod pickle;
mod query;
pub mod ranges;
pub mod records;
mod row;
mod service;
mod suffix_hashes;
mod update;
pub mod xml;

pub use auth::{AuthUnavailable, Authenticator, Caller, Owned, Verifying};
pub use client::{CallError, Endpoint, EndpointError, NodeClient};
pub use content_type::{extract_swift_bytes, with_swift_bytes};
pub use path::{BackendPath, PathError, encode_segment};
pub use pending::{PendingReport, PendingReports, REPORTS_MAX, ReportError, ReportedAck, UPDATES};
pub use query::{QueryError, parse_query};
pub use row::{AccountRow, ContainerRow, MergedRow};
pub use service::{Answer, Service, SharedMd5, service_fn};
pub use suffix_hashes::{SuffixHash, SuffixHashes, SuffixHashesError};
pub use update::{AccountUpdate, ObjectUpdate, UpdateError, UpdateTarget, UpdateTargets};

/// A body on either side of the seam.
pub type Body = axum::body::Body;
/// A request on either side of the seam.
pub type Request = http::Request<Body>;
/// A response on either side of the seam.
pub type Response = http::Response<Body>;

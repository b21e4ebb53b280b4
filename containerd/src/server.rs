//! Which request goes where.

use crate::{container, merge, object, updates};
use daemon::SharedClock;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use listing::replicate::{self, REPLICATE};
use listing::request::{self, AUTO_CREATE_PREFIX};
use listing::{Database, Devices, ObjectRow, Refusal, lifecycle::Names};
use std::sync::Arc;
use std::time::Duration;
use types::{HashPaths, Limits, ObjectHash, PolicyIndex};
use wire::{BackendPath, Body, NodeClient, Request, Response, UPDATES};

const ALLOWED: &str = "DELETE, GET, HEAD, POST, PUT, UPDATE, UPDATES";
const UPDATE: &str = "UPDATE";

/// What all requests share.
pub(crate) struct Server {
    pub(crate) devices: Devices<ObjectRow>,
    pub(crate) hash_paths: HashPaths,
    pub(crate) limits: Arc<Limits>,
    /// Those that there are, if that is known.
    pub(crate) policies: Option<Vec<PolicyIndex>>,
    pub(crate) clock: SharedClock,
    pub(crate) client: NodeClient,
    pub(crate) account_update_timeout: Duration,
}

/// A request to a container, its path taken apart.
pub(crate) struct Asked {
    pub(crate) path: BackendPath,
    pub(crate) names: Names,
    pub(crate) hash: ObjectHash,
    pub(crate) parts: Parts,
}

impl Server {
    fn asked(&self, request: Request) -> Result<Asked, Refusal> {
        Ok(self.asked_with(request)?.0)
    }

    fn asked_with(&self, request: Request) -> Result<(Asked, Body), Refusal> {
        let (parts, body) = request.into_parts();
        let (path, names) = request::path(&parts.uri)?;
        if path.container.is_none() {
            return Err(request::invalid_path(&parts.uri));
        }
        let hash = self.hash_paths.container(&names.account, &names.container);
        Ok((Asked { path, names, hash, parts }, body))
    }

    /// A policy that there is.
    pub(crate) fn known(&self, policy: PolicyIndex) -> Result<PolicyIndex, Refusal> {
        match self.policies.as_ref().is_none_or(|known| known.contains(&policy)) {
            true => Ok(policy),
            false => Err(Refusal::Invalid(format!("Invalid storage policy index {policy}"))),
        }
    }

    /// A policy that a header names, and that there is.
    pub(crate) fn policy(
        &self,
        from: &HeaderMap,
        name: &str,
    ) -> Result<Option<PolicyIndex>, Refusal> {
        request::policy(from, name)?.map(|policy| self.known(policy)).transpose()
    }

    /// The database of the device a request names.
    pub(crate) fn database(&self, asked: &Asked) -> Result<&Database<ObjectRow>, Refusal> {
        self.devices.get(&asked.path.device)
    }
}

impl Asked {
    /// Whether a missing container comes into being with its first row.
    pub(crate) fn auto_creates(&self) -> bool {
        let account = &self.names.account;
        request::flag(&self.parts.headers, "x-backend-auto-create").unwrap_or_else(|| {
            // Shards are made by the sharder only, which says so.
            account.starts_with(AUTO_CREATE_PREFIX) && !account.starts_with(".shards_")
        })
    }
}

/// Answers a request.
pub(crate) async fn answer(server: Arc<Server>, request: Request) -> Response {
    let answer = Box::pin(route(&server, request)).await;
    answer.unwrap_or_else(|refusal| refusal.response())
}

async fn route(server: &Server, request: Request) -> Result<Response, Refusal> {
    if request.uri().path() == "/healthcheck" {
        return Ok(daemon::text(StatusCode::OK, "OK"));
    }
    let method = request.method().clone();
    if method.as_str() == UPDATES {
        return updates::answer(server, request).await;
    }
    if method.as_str() == UPDATE {
        let (asked, body) = server.asked_with(request)?;
        return Box::pin(merge::merge(server, asked, body)).await;
    }
    if method.as_str() == REPLICATE {
        return Err(Box::pin(replicate::refusal(&server.devices, request)).await);
    }
    match method {
        Method::HEAD => container::head(server, server.asked(request)?).await,
        Method::GET => container::get(server, server.asked(request)?).await,
        Method::POST => container::post(server, server.asked(request)?).await,
        Method::PUT | Method::DELETE => {
            let (asked, body) = server.asked_with(request)?;
            match (asked.path.object.is_some(), method == Method::PUT) {
                (true, _) => object::change(server, asked).await,
                (false, true) => container::put(server, asked, body).await,
                (false, false) => container::delete(server, asked).await,
            }
        }
        _ => Err(Refusal::Method(ALLOWED)),
    }
}

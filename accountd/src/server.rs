//! Which request goes where.

use crate::{account, container};
use daemon::SharedClock;
use http::request::Parts;
use http::{Method, StatusCode};
use listing::replicate::{self, REPLICATE};
use listing::{ContainerRow, Database, Devices, Refusal, lifecycle::Names, request};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{HashPaths, Limits, ObjectHash, PolicyIndex};
use wire::{BackendPath, Request, Response};

const ALLOWED: &str = "DELETE, GET, HEAD, POST, PUT";

/// What all requests share.
pub(crate) struct Server {
    pub(crate) devices: Devices<ContainerRow>,
    pub(crate) hash_paths: HashPaths,
    pub(crate) limits: Arc<Limits>,
    pub(crate) policies: Arc<BTreeMap<PolicyIndex, String>>,
    pub(crate) clock: SharedClock,
}

/// A request to an account, its path taken apart.
pub(crate) struct Asked {
    pub(crate) path: BackendPath,
    pub(crate) names: Names,
    pub(crate) hash: ObjectHash,
    pub(crate) parts: Parts,
}

impl Server {
    fn asked(&self, parts: Parts) -> Result<Asked, Refusal> {
        let (path, mut names) = request::path(&parts.uri)?;
        names.container = String::new();
        let hash = self.hash_paths.account(&names.account);
        let asked = Asked { path, names, hash, parts };
        let rows = asked.parts.method == Method::PUT;
        if asked.path.object.is_some() || asked.path.container.is_some() && !rows {
            return Err(request::invalid_path(&asked.parts.uri));
        }
        Ok(asked)
    }

    /// The database of the device a request names.
    pub(crate) fn database(&self, asked: &Asked) -> Result<&Database<ContainerRow>, Refusal> {
        self.devices.get(&asked.path.device)
    }
}

/// Answers a request.
pub(crate) async fn answer(server: Arc<Server>, request: Request) -> Response {
    let answer = Box::pin(route(&server, request)).await;
    answer.unwrap_or_else(|refusal| refusal.response())
}

async fn route(server: &Server, request: Request) -> Result<Response, Refusal> {
    if request.method().as_str() == REPLICATE {
        return Err(Box::pin(replicate::refusal(&server.devices, request)).await);
    }
    let (parts, _) = request.into_parts();
    if parts.uri.path() == "/healthcheck" {
        return Ok(daemon::text(StatusCode::OK, "OK"));
    }
    match parts.method {
        Method::HEAD => account::head(server, server.asked(parts)?).await,
        Method::GET => account::get(server, server.asked(parts)?).await,
        Method::POST => account::post(server, server.asked(parts)?).await,
        Method::DELETE => account::delete(server, server.asked(parts)?).await,
        Method::PUT => {
            let asked = server.asked(parts)?;
            match asked.path.container.is_some() {
                true => container::put(server, asked).await,
                false => account::put(server, asked).await,
            }
        }
        _ => Err(Refusal::Method(ALLOWED)),
    }
}

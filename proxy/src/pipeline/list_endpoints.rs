//! `/endpoints/{account}[/{container}[/{object}]]`: where something is kept, for programs that want to run beside their data.
//! Swift: common/middleware/list_endpoints.py. Not in the pipeline unless it is put there: nobody is asked who they are.

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use types::{AccountName, ContainerName, ObjectName};
use wire::{Answer, Body, Request, Response, Service};

use super::{FrontMiddleware, Parts};
use crate::config::StartError;
use crate::store::{Entity, Store};
use crate::swift::error::Refusal;

/// `[proxy.list_endpoints]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What such paths begin with.
    pub list_endpoints_path: String,
}

impl Default for Config {
    fn default() -> Self {
        Config { list_endpoints_path: "/endpoints/".to_owned() }
    }
}

struct ListEndpoints {
    /// With a slash at the end.
    path: String,
    store: Arc<Store>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn FrontMiddleware>, StartError> {
    let path = parts.config.list_endpoints.list_endpoints_path.trim_end_matches('/');
    Ok(Arc::new(ListEndpoints { path: format!("{path}/"), store: Arc::clone(&parts.store) }))
}

impl FrontMiddleware for ListEndpoints {
    fn handle(self: Arc<Self>, request: Request, next: Service) -> Answer {
        let Some(rest) = request.uri().path().strip_prefix(&self.path) else {
            return next.answer(request);
        };
        let asked = match *request.method() == Method::GET {
            true => asked(rest),
            false => Err(Refusal::MethodNotAllowed("GET")),
        };
        Box::pin(async move {
            let answer = async { self.answer(asked?).await };
            answer.await.unwrap_or_else(Response::from)
        })
    }
}

/// In which form the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    List,
    WithHeaders,
}

fn asked(rest: &str) -> Result<(Form, Entity), Refusal> {
    let no_account = || Refusal::bad_request("No account specified");
    let decoded = percent_decode_str(rest).decode_utf8().map_err(|_| no_account())?;
    let first = decoded.split('/').next().unwrap_or_default();
    let (form, path) = match version(first)? {
        Some(form) => (form, decoded.get(first.len() + 1..).unwrap_or_default()),
        None => (Form::List, &*decoded),
    };
    let mut names = path.splitn(3, '/');
    let mut next = || names.next().filter(|name| !name.is_empty());
    let account = next().and_then(|name| AccountName::parse(name).ok()).ok_or_else(no_account)?;
    let container = next().map(ContainerName::parse).transpose().map_err(|_| no_account())?;
    let object = next().map(ObjectName::parse).transpose().map_err(|_| no_account())?;
    if container.is_none() && object.is_some() {
        return Err(no_account());
    }
    Ok((form, Entity { account, container, object }))
}

/// `None` if it is no version, but an account.
fn version(text: &str) -> Result<Option<Form>, Refusal> {
    let number: Option<f64> = text.trim_start_matches('v').parse().ok();
    match number {
        Some(1.0) => Ok(Some(Form::List)),
        Some(2.0) => Ok(Some(Form::WithHeaders)),
        _ if text.starts_with('v') && !text.contains('_') => {
            Err(Refusal::bad_request(format!("Unsupported version '{text}'")))
        }
        _ => Ok(None),
    }
}

impl ListEndpoints {
    async fn answer(&self, (form, entity): (Form, Entity)) -> Result<Response, Refusal> {
        let policy = match entity.object {
            Some(_) => {
                let container = self.store.container_info(&entity.to_container()).await?;
                Some(container.map(|container| container.policy).unwrap_or_default())
            }
            None => None,
        };
        let endpoints = self.store.endpoints(&entity, policy.unwrap_or_default())?;
        let document: Value = match form {
            Form::List => json!(endpoints),
            Form::WithHeaders => {
                let mut headers = json!({});
                if let Some(policy) = policy {
                    headers["X-Backend-Storage-Policy-Index"] = policy.0.to_string().into();
                }
                json!({ "endpoints": endpoints, "headers": headers })
            }
        };
        let mut response = Response::new(Body::from(document.to_string()));
        *response.status_mut() = StatusCode::OK;
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::entity;
    use proptest::prelude::*;

    #[test]
    fn versions_are_told_from_accounts() {
        let list = |path: &str| asked(path).ok();
        for path in ["a/c/o", "v1/a/c/o", "1.0/a/c/o", "v1.0/a/c/o"] {
            assert_eq!(list(path), Some((Form::List, entity("a/c/o"))), "{path}");
        }
        assert_eq!(list("v2/a"), Some((Form::WithHeaders, entity("a"))));
        assert_eq!(list("v_2/c"), Some((Form::List, entity("v_2/c"))));
        assert_eq!(list("a/c%20d/o/p"), Some((Form::List, entity("a/c d/o/p"))));
        for bad in ["", "v3/a", "v1", "v2/", "a//o", "%ff"] {
            assert!(asked(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(path in "(v|1|2|/|%2f|%00|a|é){0,10}") {
            let _ = asked(&path);
        }
    }
}

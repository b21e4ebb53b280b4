//! A cluster, or single accounts, in which nothing is written. Swift: common/middleware/read_only.py.
//!
//! Accounts are told apart by their system metadata: `X-Account-Sysmeta-Read-Only`, set on the account servers, says
//! `true` or `false` against what the cluster says.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use types::AccountName;
use wire::Response;

use super::{Answer, Handler, Middleware, Parts};
use crate::call::Call;
use crate::config::StartError;
use crate::store::Store;
use crate::swift::constraints::means_true;
use crate::swift::error::Refusal;

/// `[proxy.read_only]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether nothing is written, in accounts that do not say otherwise.
    pub read_only: bool,
    /// Whether deleting is allowed all the same.
    pub allow_deletes: bool,
}

struct ReadOnly {
    config: Config,
    store: Arc<Store>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let (config, store) = (parts.config.read_only.clone(), Arc::clone(&parts.store));
    Ok(Arc::new(ReadOnly { config, store }))
}

impl Middleware for ReadOnly {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        if !writes(call.method.as_str(), self.config.allow_deletes) {
            return next.answer(call);
        }
        Box::pin(async move {
            match self.check(&call).await {
                Ok(()) => next.answer(call).await,
                Err(refusal) => Response::from(refusal),
            }
        })
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        self.config.read_only.then(|| ("read_only", json!({})))
    }
}

fn writes(method: &str, allow_deletes: bool) -> bool {
    matches!(method, "COPY" | "POST" | "PUT") || method == "DELETE" && !allow_deletes
}

impl ReadOnly {
    async fn check(&self, call: &Call) -> Result<(), Refusal> {
        let mut written = call.entity.to_account();
        if call.method.as_str() == "COPY"
            && let Some(account) = call.header("destination-account")
        {
            let account = percent_encoding::percent_decode_str(account).decode_utf8_lossy();
            let account = AccountName::parse(account.as_ref());
            written.account = account.map_err(|_| {
                let sentence = "Account name cannot contain slashes";
                Refusal::Sentence(StatusCode::PRECONDITION_FAILED, sentence.into())
            })?;
        }
        // Account servers that are away change nothing about what the cluster says.
        let account = self.store.account_info(&written).await.ok();
        let read_only = match account.as_ref().and_then(|account| account.sysmeta("read-only")) {
            Some(own) => means_true(own),
            None => self.config.read_only,
        };
        match read_only {
            true => Err(Refusal::Sentence(
                StatusCode::METHOD_NOT_ALLOWED,
                "Writes are disabled for this account.".into(),
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes() {
        for method in ["PUT", "POST", "COPY", "DELETE"] {
            assert!(writes(method, false), "{method}");
            assert_eq!(writes(method, true), method != "DELETE", "{method}");
        }
        assert!(!writes("GET", false) && !writes("HEAD", false) && !writes("OPTIONS", false));
    }
}

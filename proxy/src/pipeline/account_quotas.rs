//! How much an account may hold, in all and in each policy. Swift: common/middleware/account_quotas.py.
//!
//! Only reseller admins set quotas, and are not bound by them. What clients call `X-Account-Quota-Bytes` is system
//! metadata, so that owners of accounts cannot change it; the oldest form, `X-Account-Meta-Quota-Bytes`, is kept beside it.
//! As with containers, totals are those that are remembered.

use http::Method;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;
use types::PolicyIndex;
use wire::Response;

use super::container_quotas::{announced, exceeded, is_number};
use super::{Answer, Handler, Middleware, Parts};
use crate::auth::Judge;
use crate::call::Call;
use crate::config::StartError;
use crate::store::{AccountInfo, Level};
use crate::swift::error::Refusal;

struct AccountQuotas {
    judge: Judge,
    quotas: Vec<Quota>,
}

/// One quota that an account can have.
struct Quota {
    /// As clients call it, without what comes before: `quota-bytes-policy-gold`.
    shown: String,
    /// As it is stored: `quota-bytes-policy-1`.
    stored: String,
    /// What is counted: a header of the account.
    used: String,
    counts_bytes: bool,
    policy: Option<PolicyIndex>,
}

impl Quota {
    fn new(counts_bytes: bool, policy: Option<(PolicyIndex, &str)>) -> Self {
        let kind = if counts_bytes { "quota-bytes" } else { "quota-count" };
        let what = if counts_bytes { "bytes-used" } else { "object-count" };
        let (shown, stored, used) = match policy {
            None => (kind.to_owned(), kind.to_owned(), format!("x-account-{what}")),
            Some((index, name)) => (
                format!("{kind}-policy-{}", name.to_lowercase()),
                format!("{kind}-policy-{}", index.0),
                format!("x-account-storage-policy-{}-{what}", name.to_lowercase()),
            ),
        };
        let policy = policy.map(|(index, _)| index);
        Quota { shown, stored, used, counts_bytes, policy }
    }

    /// Whether an upload of this size fits into the account.
    fn holds(&self, account: &AccountInfo, upload: u64) -> bool {
        // A quota of the oldest form may stand alone, from before there was another.
        let legacy = || (self.stored == "quota-bytes").then(|| account.meta("quota-bytes"))?;
        let quota = account.sysmeta(&self.stored).or_else(legacy);
        let Some(quota) = quota.and_then(|quota| quota.parse::<u64>().ok()) else { return true };
        let used = account.header(&self.used).and_then(|used| used.parse::<u64>().ok());
        let more = if self.counts_bytes { upload } else { 1 };
        used.unwrap_or(0).saturating_add(more) <= quota
    }

    fn sentence(&self) -> &'static str {
        match self.policy {
            None => "Upload exceeds quota.",
            Some(_) => "Upload exceeds policy quota.",
        }
    }
}

/// It has no settings.
pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let mut quotas = vec![Quota::new(true, None), Quota::new(false, None)];
    for policy in parts.config.policies.iter() {
        let policy = Some((policy.index, policy.name.as_str()));
        quotas.extend([Quota::new(true, policy), Quota::new(false, policy)]);
    }
    Ok(Arc::new(AccountQuotas { judge: parts.judge(), quotas }))
}

impl Middleware for AccountQuotas {
    fn handle(self: Arc<Self>, mut call: Call, next: Handler) -> Answer {
        let reseller = call.context.caller.as_ref().is_some_and(|caller| caller.reseller_admin);
        match call.entity.level() {
            Level::Account => Box::pin(async move {
                let writes = call.method == Method::PUT || call.method == Method::POST;
                if writes && let Err(refusal) = self.translate(&mut call.headers, reseller) {
                    return Response::from(refusal);
                }
                let mut response = next.answer(call).await;
                self.show(response.headers_mut());
                response
            }),
            Level::Object if call.method == Method::PUT && !reseller => Box::pin(async move {
                match self.check(&call).await {
                    Ok(()) => next.answer(call).await,
                    Err(refusal) => Response::from(refusal),
                }
            }),
            _ => next.answer(call),
        }
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        Some(("account_quotas", json!({})))
    }
}

impl AccountQuotas {
    /// Makes quotas what accounts store. A removal wins over a new value.
    fn translate(&self, headers: &mut HeaderMap, reseller: bool) -> Result<(), Refusal> {
        for (old, new) in [
            ("x-account-meta-quota-bytes", "x-account-quota-bytes"),
            ("x-remove-account-meta-quota-bytes", "x-remove-account-quota-bytes"),
        ] {
            if let (Some(value), None) = (headers.get(old).cloned(), headers.get(new)) {
                headers.insert(new, value);
            }
        }
        for quota in &self.quotas {
            let removal = headers.remove(format!("x-remove-account-{}", quota.shown));
            let removed = removal.is_some_and(|value| !value.is_empty());
            let new = headers.remove(format!("x-account-{}", quota.shown));
            let new = if removed { Some(HeaderValue::from_static("")) } else { new };
            let Some(new) = new else { continue };
            if !reseller {
                return Err(Refusal::Status(StatusCode::FORBIDDEN));
            }
            if !new.is_empty() && !new.to_str().is_ok_and(is_number) {
                return Err(Refusal::Status(StatusCode::BAD_REQUEST));
            }
            let stored = HeaderName::try_from(format!("x-account-sysmeta-{}", quota.stored));
            if let Ok(stored) = stored {
                headers.insert(stored, new);
            }
        }
        Ok(())
    }

    /// Everybody who sees the account sees its quotas.
    fn show(&self, headers: &mut HeaderMap) {
        for quota in &self.quotas {
            let stored = headers.get(format!("x-account-sysmeta-{}", quota.stored)).cloned();
            let shown = HeaderName::try_from(format!("x-account-{}", quota.shown));
            if let (Some(stored), Ok(shown)) = (stored.filter(|value| !value.is_empty()), shown) {
                headers.insert(shown, stored);
            }
        }
    }

    async fn check(&self, call: &Call) -> Result<(), Refusal> {
        // What cannot be looked up limits nothing; whether the account can be used is for the application to find out.
        let Ok(account) = self.judge.store.account_info(&call.entity).await else { return Ok(()) };
        let upload = announced(&call.headers);
        let over = |quota: &&Quota| !quota.holds(&account, upload);
        if !self.quotas.iter().any(|quota| over(&quota)) {
            return Ok(());
        }
        let container = self.judge.store.container_info(&call.entity).await?;
        let policy = container.as_ref().map(|info| info.policy);
        let applies = |quota: &&Quota| quota.policy.is_none() || quota.policy == policy;
        let Some(quota) = self.quotas.iter().filter(applies).find(over) else { return Ok(()) };
        // Who may not write is not told how full the account is.
        let acl = container.as_ref().and_then(|info| info.write_acl.as_deref());
        self.judge.authorize(call, acl).await?;
        Err(exceeded(quota.sentence()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(pairs: &[(&'static str, &'static str)]) -> AccountInfo {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        AccountInfo::of(StatusCode::NO_CONTENT, &headers).expect("an account")
    }

    #[test]
    fn what_fits_and_what_does_not() {
        let bytes = Quota::new(true, None);
        let used = ("x-account-bytes-used", "10");
        let holds = |quota, upload| bytes.holds(&account(&[used, quota]), upload);
        assert!(holds(("x-account-sysmeta-quota-bytes", "15"), 5));
        assert!(!holds(("x-account-sysmeta-quota-bytes", "15"), 6));
        assert!(!holds(("x-account-meta-quota-bytes", "15"), 6), "the oldest form counts too");
        assert!(holds(("x-account-sysmeta-quota-count", "0"), 6));
        let gold = Quota::new(false, Some((PolicyIndex(1), "Gold")));
        let used = ("x-account-storage-policy-gold-object-count", "3");
        let holds = |quota| gold.holds(&account(&[used, quota]), 1_000);
        assert!(holds(("x-account-sysmeta-quota-count-policy-1", "4")));
        assert!(!holds(("x-account-sysmeta-quota-count-policy-1", "3")));
        assert!(!holds(("x-account-sysmeta-quota-count-policy-1", "0")));
        assert!(holds(("x-account-sysmeta-quota-count-policy-0", "0")));
    }
}

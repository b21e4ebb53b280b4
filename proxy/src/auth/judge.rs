//! Whether a request may be done: by who asks, by the container's ACL, and by the account's.

use std::sync::Arc;
use wire::Authenticator;

use super::Granted;
use crate::call::{Authority, Call};
use crate::store::Store;
use crate::swift::error::Refusal;

/// What it takes to judge. Clones judge the same.
#[derive(Clone)]
pub(crate) struct Judge {
    pub(crate) store: Arc<Store>,
    pub(crate) auth: Arc<dyn Authenticator>,
}

impl Judge {
    /// Whether the caller may do it where `acl` is the container's.
    pub(crate) async fn authorize(
        &self,
        call: &Call,
        acl: Option<&str>,
    ) -> Result<Granted, Refusal> {
        if matches!(call.context.authority, Authority::Caller) && !self.is_open(call) {
            return Err(call.denied());
        }
        match call.authorize(acl, None) {
            // An account may have an ACL, too, which is not looked up for those who need none.
            Err(refusal) if call.context.caller.is_some() => {
                let account = self.store.account_info(&call.entity).await?;
                let account_acl = account.access_control().ok_or(refusal)?;
                call.authorize(acl, Some(&account_acl))
            }
            decided => decided,
        }
    }

    /// Accounts without a reseller prefix are nobody's; those with a dot after it are the cluster's own.
    fn is_open(&self, call: &Call) -> bool {
        let account = call.entity.account.as_str();
        let prefix = self.auth.reseller_prefix(account);
        let own = prefix.and_then(|prefix| account.strip_prefix(prefix));
        own.is_some_and(|own| !own.is_empty() && !own.starts_with('.'))
    }
}

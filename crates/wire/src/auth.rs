//! Who asks: what the front door learns from whoever issued a token.

use std::future::Future;
use std::pin::Pin;

/// Somebody whose token was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user's full name, as logs and ACLs have it: `test:tester`.
    pub user: String,
    /// The storage account that is the user's own: `AUTH_test`.
    pub account: String,
    /// Every name under which an ACL may mean this user: `test:tester`, `test`, …
    pub groups: Vec<String>,
    /// Accounts in which the user may do everything, not only what ACLs allow.
    pub owns: Vec<Owned>,
    /// May do everything in every account.
    pub reseller_admin: bool,
    /// May read everything in every account.
    pub reseller_reader: bool,
}

/// An account that somebody may administer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Its full name.
    pub account: String,
    /// Who administers it must also be in this group: a service's, mostly.
    pub require_group: Option<String>,
}

impl Caller {
    /// Whether the caller administers an account.
    pub fn administers(&self, account: &str) -> bool {
        self.owns.iter().any(|owned| {
            let group = owned.require_group.as_ref();
            owned.account == account && group.is_none_or(|group| self.groups.contains(group))
        })
    }

    /// Adds what the service may on whose behalf the request comes (`X-Service-Token`). The user stays who they are.
    pub fn with_service(&mut self, service: Caller) {
        self.groups.extend(service.groups);
        self.owns.extend(service.owns);
        self.reseller_admin |= service.reseller_admin;
        self.reseller_reader |= service.reseller_reader;
    }
}

/// The issuer cannot be asked at the moment; the request is to be answered 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the identity service cannot be reached")]
pub struct AuthUnavailable;

/// What verifying gives, later.
pub type Verifying<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Caller>, AuthUnavailable>> + Send + 'a>>;

/// Verifies tokens. `None` means that the token is not valid, or not any more.
pub trait Authenticator: Send + Sync {
    /// Who holds `token`?
    fn verify<'a>(&'a self, token: &'a str) -> Verifying<'a>;

    /// Whether a token looks like one from here. The holder of another is nobody, as if there were none.
    fn issues(&self, _token: &str) -> bool {
        true
    }

    /// The beginning of the account's name that says that it is judged here; `None` for an account that nobody
    /// may touch. What follows it is the account's own name, and with a dot in front the cluster's.
    fn reseller_prefix<'a>(&self, _account: &'a str) -> Option<&'a str> {
        Some("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(account: &str, require_group: Option<&str>, groups: &[&str]) -> Caller {
        let require_group = require_group.map(str::to_owned);
        Caller {
            owns: vec![Owned { account: account.to_owned(), require_group }],
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Caller::default()
        }
    }

    #[test]
    fn a_service_account_takes_a_user_and_a_service() {
        let mut user = caller("SERVICE_a", Some("service"), &["a:u"]);
        assert!(!user.administers("SERVICE_a"));
        let service = caller("AUTH_s", None, &["s:s", "service"]);
        assert!(!service.administers("SERVICE_a"));
        user.with_service(service);
        assert!(user.administers("SERVICE_a") && !user.administers("SERVICE_b"));
    }
}

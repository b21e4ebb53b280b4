//! Who asks: what the front door learns from whoever issued a token.

use std::future::Future;
use std::pin::Pin;

/// Somebody whose token was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's full name, as logs and ACLs have it: `test:tester`.
    pub user: String,
    /// The storage account that is the user's own: `AUTH_test`.
    pub account: String,
    /// Every name under which an ACL may mean this user: `test:tester`, `test`, …
    pub groups: Vec<String>,
    /// May do everything in the own account, not only what container ACLs allow.
    pub account_admin: bool,
    /// May do everything in every account.
    pub reseller_admin: bool,
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
}

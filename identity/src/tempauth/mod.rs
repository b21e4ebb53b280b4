//! Swift's v1 authentication (Swift: common/middleware/tempauth.py), without a shared cache.
//!
//! Users come from the configuration. A token says by itself until when it is valid and for whom, under a
//! signature, so every node that has the same users and the same `token_secret` verifies it alone; `token.rs`
//! has its form. What a user may do is looked up when the token is verified, not
//! when it is made: a change of groups counts at once; a changed key, another `token_generation` or a removed user
//! revokes all of the user's tokens. One alone cannot be revoked, only made to live shorter (`X-Auth-Token-Lifetime`).
//!
//! Keystone is not here; see the crate's page.

mod face;
mod prefixes;
mod token;
mod users;

pub use users::ConfigError;

use crate::config::{Config, UrlScheme};
use daemon::{Observed, SharedClock};
use prefixes::Prefixes;
use std::sync::Arc;
use token::Signer;
use users::Users;
use wire::{Authenticator, Caller, Service, Verifying};

/// Issues tokens for the users of the configuration, and verifies them.
pub struct TempAuth {
    users: Users,
    prefixes: Prefixes,
    signer: Signer,
    clock: SharedClock,
    life_seconds: u64,
    url_scheme: UrlScheme,
}

impl TempAuth {
    /// Checks the configuration, which must hold a `token_secret`.
    pub fn new(config: Config, clock: SharedClock) -> Result<Arc<Self>, ConfigError> {
        if config.token_life_seconds == 0 {
            return Err(ConfigError::TokenLife);
        }
        let secret = config.token_secret.as_ref().ok_or(ConfigError::SecretMissing)?;
        if secret.expose().len() < token::SECRET_BYTES_MIN {
            return Err(ConfigError::SecretShort { bytes_min: token::SECRET_BYTES_MIN });
        }
        let prefixes = Prefixes::new(&config.reseller_prefix, &config.require_group)?;
        let signer = Signer::new(secret, prefixes.first());
        let users = Users::new(&config.users, &prefixes, &signer)?;
        Ok(Arc::new(TempAuth {
            users,
            prefixes,
            signer,
            clock,
            life_seconds: config.token_life_seconds,
            url_scheme: config.storage_url_scheme,
        }))
    }

    /// Answers `GET /auth/v1.0` and its older forms.
    pub fn service(self: &Arc<Self>) -> Service {
        let inner = wire::service_fn(Arc::clone(self), |auth, request| async move {
            face::answer(&auth, &request)
        });
        Observed::Public.wrap("identity", Arc::clone(&self.clock), inner)
    }

    /// Who holds a token; `None` when it is forged, has expired or its user has changed.
    pub fn caller(&self, token: &str) -> Option<&Caller> {
        let claim = self.signer.read(token)?;
        let user = self.users.by_id(&claim.user)?;
        let valid = self.signer.confirms(token, &claim, &user.token_key);
        (valid && self.now_seconds() < claim.expires).then_some(&user.caller)
    }

    fn now_seconds(&self) -> u64 {
        self.clock.micros() / 1_000_000
    }
}

impl Authenticator for TempAuth {
    fn verify<'a>(&'a self, token: &'a str) -> Verifying<'a> {
        // Two short HMACs cost about a microsecond, less than a lock around a cache of tokens would.
        let caller = self.caller(token).cloned();
        Box::pin(std::future::ready(Ok(caller)))
    }

    fn issues(&self, token: &str) -> bool {
        token.starts_with(self.prefixes.first())
    }

    fn reseller_prefix<'a>(&self, account: &'a str) -> Option<&'a str> {
        self.prefixes.of(account)
    }
}

#[cfg(test)]
mod tests;

//! How often something may be done in an account or a container. Swift: common/middleware/ratelimit.py.
//!
//! Requests that come too fast wait; who would have to wait too long is answered 498. Each proxy counts alone: with several
//! front doors the rates hold for each of them, where Swift's share a cache.

mod rates;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use wire::Response;

use super::{Answer, Handler, Middleware, Parts};
use crate::call::Call;
use crate::config::StartError;
use crate::store::{Level, Store};
use crate::swift::error::Refusal;
use rates::{Curve, Meter};

/// The rate from a size on.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateAt {
    /// Objects in the container.
    pub size: u64,
    /// Requests in a second.
    pub rate: f64,
}

/// `[proxy.ratelimit]`. Rates are requests in a second.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// PUTs and DELETEs of containers in an account; 0 for any.
    pub account_ratelimit: f64,
    /// Writes of objects in a container, by the number of objects in it.
    pub container_ratelimits: Vec<RateAt>,
    /// Listings of a container, by the number of objects in it.
    pub container_listing_ratelimits: Vec<RateAt>,
    /// Who would have to wait for longer is refused.
    pub max_sleep_time_seconds: f64,
    /// Waiting for longer than this is logged; 0 for never.
    pub log_sleep_time_seconds: f64,
    /// For how long what was not used of a rate may be made up for.
    pub rate_buffer_seconds: u64,
    /// Accounts without limits.
    pub account_whitelist: Vec<String>,
    /// Accounts that are answered 497.
    pub account_blacklist: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            account_ratelimit: 0.0,
            container_ratelimits: Vec::new(),
            container_listing_ratelimits: Vec::new(),
            max_sleep_time_seconds: 60.0,
            log_sleep_time_seconds: 0.0,
            rate_buffer_seconds: 5,
            account_whitelist: Vec::new(),
            account_blacklist: Vec::new(),
        }
    }
}

/// How long somebody who is not wanted waits for being told so.
const BLACKLIST_SLEEP: Duration = Duration::from_secs(1);
/// Swift's own statuses.
const BLACKLISTED: u16 = 497;
const RATE_LIMITED: u16 = 498;

struct RateLimit {
    config: Config,
    store: Arc<Store>,
    writes: Curve,
    listings: Curve,
    meter: Meter,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let config = parts.config.ratelimit.clone();
    let curve = |rates: &[RateAt], key| {
        let why = "rates must be above zero, and sizes all different";
        Curve::new(rates).ok_or(StartError::Setting { key, why })
    };
    let seconds = [
        ("ratelimit.account_ratelimit", config.account_ratelimit),
        ("ratelimit.max_sleep_time_seconds", config.max_sleep_time_seconds),
        ("ratelimit.log_sleep_time_seconds", config.log_sleep_time_seconds),
    ];
    for (key, value) in seconds {
        if !value.is_finite() || value < 0.0 {
            return Err(StartError::Setting { key, why: "it must be a number from zero" });
        }
    }
    Ok(Arc::new(RateLimit {
        writes: curve(&config.container_ratelimits, "ratelimit.container_ratelimits")?,
        listings: curve(
            &config.container_listing_ratelimits,
            "ratelimit.container_listing_ratelimits",
        )?,
        meter: Meter::new(
            Duration::from_secs(config.rate_buffer_seconds),
            Duration::from_secs_f64(config.max_sleep_time_seconds.min(rates::SECONDS_MAX)),
        ),
        store: Arc::clone(&parts.store),
        config,
    }))
}

impl Middleware for RateLimit {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        Box::pin(async move {
            match self.pass(&call).await {
                Ok(()) => next.answer(call).await,
                Err(refusal) => Response::from(refusal),
            }
        })
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        let pairs = |rates: &[RateAt]| {
            let mut pairs: Vec<(u64, f64)> = rates.iter().map(|at| (at.size, at.rate)).collect();
            pairs.sort_by_key(|(size, _)| *size);
            pairs
        };
        let section = json!({
            "account_ratelimit": self.config.account_ratelimit,
            "max_sleep_time_seconds": self.config.max_sleep_time_seconds,
            "container_ratelimits": pairs(&self.config.container_ratelimits),
            "container_listing_ratelimits": pairs(&self.config.container_listing_ratelimits),
        });
        Some(("ratelimit", section))
    }
}

fn refuse(status: u16, sentence: &'static str) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    Refusal::Sentence(status, sentence.into())
}

impl RateLimit {
    /// Lets a request pass, perhaps later.
    async fn pass(&self, call: &Call) -> Result<(), Refusal> {
        let account = call.entity.account.as_str();
        // Limits are no reason to fail when they cannot be looked up.
        let info = self.store.account_info(&call.entity).await.ok();
        let own = info.as_ref().and_then(|info| info.sysmeta("global-write-ratelimit"));
        let among = |list: &[String]| list.iter().any(|known| known == account);
        if among(&self.config.account_whitelist) || own == Some("WHITELIST") {
            return Ok(());
        }
        if among(&self.config.account_blacklist) || own == Some("BLACKLIST") {
            tracing::warn!(account, "a request of an account on the blacklist is refused");
            tokio::time::sleep(BLACKLIST_SLEEP).await;
            return Err(refuse(BLACKLISTED, "Your account has been blacklisted"));
        }
        for (key, rate) in self.rates(call, own).await {
            let Some(wait) = self.meter.take(&key, rate) else {
                tracing::warn!(account, key, "too many requests; one is refused");
                return Err(refuse(RATE_LIMITED, "Slow down"));
            };
            let log = self.config.log_sleep_time_seconds;
            if log > 0.0 && wait.as_secs_f64() > log {
                tracing::warn!(account, key, seconds = wait.as_secs_f64(), "a request has to wait");
            }
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        Ok(())
    }

    /// What this request counts for, and how often that may be.
    async fn rates(&self, call: &Call, own: Option<&str>) -> Vec<(String, f64)> {
        let mut rates = Vec::new();
        let account = call.entity.account.as_str();
        let container = call.entity.container.as_ref().map_or("", |name| name.as_str());
        let method = call.method.as_str();
        let writes = matches!(method, "PUT" | "DELETE" | "POST" | "COPY");
        match call.entity.level() {
            Level::Container if call.method == Method::GET && !self.listings.is_empty() => {
                if let Some(rate) = self.listings.at(self.object_count(call).await) {
                    rates.push((format!("listing/{account}/{container}"), rate));
                }
            }
            Level::Container
                if matches!(method, "PUT" | "DELETE") && self.config.account_ratelimit > 0.0 =>
            {
                rates.push((format!("account/{account}"), self.config.account_ratelimit));
            }
            Level::Object if writes && !self.writes.is_empty() => {
                if let Some(rate) = self.writes.at(self.object_count(call).await) {
                    rates.push((format!("container/{account}/{container}"), rate));
                }
            }
            _ => {}
        }
        let own = own.and_then(|text| text.parse::<f64>().ok());
        if let Some(rate) = own.filter(|rate| writes && rate.is_finite() && *rate > 0.0) {
            rates.push((format!("write/{account}"), rate));
        }
        rates
    }

    async fn object_count(&self, call: &Call) -> u64 {
        let info = self.store.container_info(&call.entity).await.ok().flatten();
        info.map_or(0, |info| info.object_count())
    }
}

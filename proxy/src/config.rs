//! What an operator can set about the front door. The names follow Swift's `proxy-server.conf`.

use serde::Deserialize;
use std::time::Duration;
use types::{Limits, Policies, PolicyIndex};

use crate::pipeline::{
    bulk, cname_lookup, copy, cors, crossdomain, dlo, domain_remap, etag_quoter, formpost,
    gatekeeper, healthcheck, list_endpoints, name_check, ratelimit, read_only, slo, staticweb,
    symlink, tempurl, versioned_writes,
};

/// In which order the primaries of a partition are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortingMethod {
    /// Those in this process first, then the others, each group in random order.
    #[default]
    Shuffle,
    /// As the ring lists them; for tests and for tracing a fault.
    Ring,
}

/// Settings of the proxy.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a storage node may take to answer, or to take or give the next piece of a body.
    pub node_timeout_ms: u64,
    /// The same for reads of objects, after which another replica is tried.
    pub recoverable_node_timeout_ms: u64,
    /// How long a client may take to send the next piece of a body.
    pub client_timeout_ms: u64,
    /// How long replicas beyond the quorum are waited for.
    pub post_quorum_timeout_ms: u64,
    /// Whether the first write to an account makes it.
    pub account_autocreate: bool,
    /// Whether reseller admins may PUT and DELETE accounts.
    pub allow_account_management: bool,
    /// How many nodes a request may try, as a multiple of the replicas.
    pub request_node_count_per_replica: u32,
    /// How many answers "not here, and nothing known of a deletion" of primaries are not believed, because a
    /// rebalance may have given the partition to a node that does not have it yet.
    pub rebalance_missing_suppression_count: u32,
    /// How long a container is believed to exist as last seen, in seconds.
    pub recheck_container_existence_s: u64,
    /// How long an account is believed to exist, in seconds.
    pub recheck_account_existence_s: u64,
    /// How many containers, and how many accounts, are remembered at most.
    pub info_cache_entries_max: u32,
    /// A node with more errors than this …
    pub error_suppression_limit: u32,
    /// … none of them longer ago than this, in seconds, is tried last.
    pub error_suppression_interval_s: u64,
    /// The order in which replicas are asked.
    pub sorting_method: SortingMethod,
    /// Whether clients that say `X-Open-Expired: true` may read what has expired and was not deleted yet.
    pub allow_open_expired: bool,
    /// What may stand first in a path.
    pub valid_api_versions: Vec<String>,
    /// Whether `/info` tells anything.
    pub expose_info: bool,
    /// The middlewares between clients and storage, from the client inwards.
    pub pipeline: Vec<String>,
    /// Of the middleware `gatekeeper`.
    pub gatekeeper: gatekeeper::Config,
    /// Of the middleware `healthcheck`.
    pub healthcheck: healthcheck::Config,
    /// Of the middleware `bulk`.
    pub bulk: bulk::Config,
    /// Of the middleware `name_check`.
    pub name_check: name_check::Config,
    /// Of the middleware `ratelimit`.
    pub ratelimit: ratelimit::Config,
    /// Of the middleware `read_only`.
    pub read_only: read_only::Config,
    /// Of the middleware `copy`.
    pub copy: copy::Config,
    /// Of the middleware `versioned_writes`.
    pub versioned_writes: versioned_writes::Config,
    /// Of the middleware `symlink`.
    pub symlink: symlink::Config,
    /// Of the middleware `slo`.
    pub slo: slo::Config,
    /// Of the middleware `dlo`.
    pub dlo: dlo::Config,
    /// Sections of `/info`, or keys in them (`section.key`), that only the administrator sees.
    pub disallowed_sections: Vec<String>,
    /// With a signature under this key `/info` tells the administrator more.
    pub admin_key: Option<AdminKey>,
    /// Of the middleware `crossdomain`.
    pub crossdomain: crossdomain::Config,
    /// Of the middleware `cname_lookup`.
    pub cname_lookup: cname_lookup::Config,
    /// Of the middleware `domain_remap`.
    pub domain_remap: domain_remap::Config,
    /// Of the middleware `etag_quoter`.
    pub etag_quoter: etag_quoter::Config,
    /// Of the middleware `list_endpoints`.
    pub list_endpoints: list_endpoints::Config,
    /// Of the middleware `cors`.
    pub cors: cors::Config,
    /// Of the middleware `formpost`.
    pub formpost: formpost::Config,
    /// Of the middleware `staticweb`.
    pub staticweb: staticweb::Config,
    /// Of the middleware `tempurl`.
    pub tempurl: tempurl::Config,
    /// The storage policies; they belong to the whole cluster, as limits do.
    #[serde(skip)]
    pub policies: Policies,
    /// The cluster's limits; they are filled in by whoever starts the proxy.
    #[serde(skip)]
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            node_timeout_ms: 10_000,
            recoverable_node_timeout_ms: 10_000,
            client_timeout_ms: 60_000,
            post_quorum_timeout_ms: 500,
            account_autocreate: true,
            allow_account_management: false,
            request_node_count_per_replica: 2,
            rebalance_missing_suppression_count: 1,
            recheck_container_existence_s: 5,
            recheck_account_existence_s: 60,
            info_cache_entries_max: 65_536,
            error_suppression_limit: 10,
            error_suppression_interval_s: 60,
            sorting_method: SortingMethod::default(),
            allow_open_expired: false,
            valid_api_versions: vec!["v1".to_owned(), "v1.0".to_owned()],
            expose_info: true,
            pipeline: crate::pipeline::usual(),
            gatekeeper: gatekeeper::Config::default(),
            healthcheck: healthcheck::Config::default(),
            slo: slo::Config::default(),
            dlo: dlo::Config::default(),
            disallowed_sections: ["valid_api_versions", "auto_create_account_prefix"]
                .map(|key| format!("swift.{key}"))
                .into(),
            admin_key: None,
            crossdomain: crossdomain::Config::default(),
            cname_lookup: cname_lookup::Config::default(),
            domain_remap: domain_remap::Config::default(),
            etag_quoter: etag_quoter::Config::default(),
            list_endpoints: list_endpoints::Config::default(),
            cors: cors::Config::default(),
            formpost: formpost::Config::default(),
            staticweb: staticweb::Config::default(),
            tempurl: tempurl::Config::default(),
            policies: Policies::default(),
            copy: copy::Config::default(),
            bulk: bulk::Config::default(),
            name_check: name_check::Config::default(),
            ratelimit: ratelimit::Config::default(),
            read_only: read_only::Config::default(),
            symlink: symlink::Config::default(),
            versioned_writes: versioned_writes::Config::default(),
            limits: Limits::default(),
        }
    }
}

/// A key that does not show in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct AdminKey(String);

impl AdminKey {
    /// Of a text.
    pub fn new(key: impl Into<String>) -> Self {
        AdminKey(key.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Why the proxy does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A setting that cannot work.
    #[error("the proxy's setting {key} cannot be used: {why}")]
    Setting {
        /// Which.
        key: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A ring without devices.
    #[error("the {0} ring has no devices, so nothing can be stored")]
    EmptyRing(String),
    /// A policy whose objects have no place.
    #[error("there is no object ring for the storage policy {0}")]
    NoRing(PolicyIndex),
    /// Middlewares that cannot work so.
    #[error("the proxy's setting pipeline cannot be used: {0}")]
    Pipeline(String),
    /// A name server that is no address.
    #[error("cname_lookup's name server {0:?} is no address, as 192.0.2.1 or 192.0.2.1:53")]
    NameServer(String),
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let positive = [
            ("node_timeout_ms", self.node_timeout_ms),
            ("recoverable_node_timeout_ms", self.recoverable_node_timeout_ms),
            ("client_timeout_ms", self.client_timeout_ms),
            ("request_node_count_per_replica", u64::from(self.request_node_count_per_replica)),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(StartError::Setting { key, why: "it must be above zero" });
            }
        }
        if self.valid_api_versions.is_empty() {
            let why = "without a version no path is valid";
            return Err(StartError::Setting { key: "valid_api_versions", why });
        }
        Ok(())
    }

    pub(crate) fn node_timeout(&self) -> Duration {
        Duration::from_millis(self.node_timeout_ms)
    }

    pub(crate) fn recoverable_node_timeout(&self) -> Duration {
        Duration::from_millis(self.recoverable_node_timeout_ms)
    }

    pub(crate) fn client_timeout(&self) -> Duration {
        Duration::from_millis(self.client_timeout_ms)
    }

    pub(crate) fn post_quorum_timeout(&self) -> Duration {
        Duration::from_millis(self.post_quorum_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_start_and_nonsense_does_not() {
        assert_eq!(Config::default().check(), Ok(()));
        let broken = [
            Config { node_timeout_ms: 0, ..Config::default() },
            Config { valid_api_versions: vec![], ..Config::default() },
        ];
        for config in broken {
            assert!(matches!(config.check(), Err(StartError::Setting { .. })), "{config:?}");
        }
    }

    #[test]
    fn unknown_settings_are_refused_and_missing_ones_have_defaults() {
        let read = |text: &str| serde_json::from_str::<Config>(text);
        let config = read(r#"{"node_timeout_ms": 5, "sorting_method": "ring"}"#).expect("valid");
        assert_eq!((config.node_timeout_ms, config.client_timeout_ms), (5, 60_000));
        assert_eq!(config.sorting_method, SortingMethod::Ring);
        assert!(read(r#"{"node_timeout": 5}"#).is_err());
        assert!(read(r#"{"limits": {}}"#).is_err(), "limits belong to the cluster");
    }
}

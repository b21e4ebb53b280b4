//! The table `[replicator]` of a node's configuration, and what the composition root adds to it.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use types::PolicyIndex;
use wire::Endpoint;
use wire::pending::REPORTS_MAX;

/// How fast and how wide this node's background work goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long after a look into a device's queue the next one follows.
    pub interval_ms: u64,
    /// How long updates that could not be delivered rest at most. The first rest is `interval_ms`; it doubles
    /// as long as something fails.
    pub retry_ms_max: u64,
    /// Most updates asked for at a time.
    pub batch: u32,
    /// Most updates of all devices together that are on their way at a time.
    pub concurrency: u32,
    /// Most updates that are sent for one device in a second.
    pub updates_per_second: u32,
    /// How long an answer may take.
    pub node_timeout_ms: u64,
    /// Which of the node's replicators this one is, from 0.
    pub worker: u32,
    /// How many replicators share this node's work.
    pub workers: u32,
    /// Most damaged objects of all devices together that are being mended at a time.
    pub heal_concurrency: u32,
    /// Most damaged objects of one device that are tried in a second.
    pub heals_per_second: u32,
    /// How long what could not be mended rests at most. The first rest is `interval_ms`; it doubles each time.
    pub heal_retry_ms_max: u64,
    /// How long after it was found a damaged record is kept, in seconds, when its object is whole again.
    pub quarantine_keep_s: u64,
    /// Whether what has expired is deleted.
    pub expire: bool,
    /// How long after its time that is done, in seconds.
    pub expire_delay_s: u64,
    /// Most expired objects of all devices together that are being deleted at a time.
    pub expire_concurrency: u32,
    /// Most expired objects of one device that are deleted in a second.
    pub expirations_per_second: u32,
    /// How long after a look into the queue of deletions that nobody waits for the next one follows.
    pub async_delete_interval_ms: u64,
    /// Whether devices are read through in search of damage.
    pub audit: bool,
    /// How long after a pass through a device has begun the next one does, in seconds.
    pub audit_interval_s: u64,
    /// Most objects of one device that are audited in a second.
    pub audit_objects_per_second: u64,
    /// Most bytes of one device that are audited in a second.
    pub audit_bytes_per_second: u64,
    /// Every so many passes MD5s are compared too; 0 for never.
    pub audit_md5_every: u64,
    /// Where the place of each device's pass is kept over restarts; nowhere if unset.
    #[serde(skip)]
    pub audit_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            interval_ms: 1000,
            retry_ms_max: 30_000,
            batch: 1000,
            concurrency: 8,
            updates_per_second: 2000,
            node_timeout_ms: 10_000,
            worker: 0,
            workers: 1,
            heal_concurrency: 4,
            heals_per_second: 100,
            heal_retry_ms_max: 600_000,
            quarantine_keep_s: 24 * 3600,
            expire: true,
            expire_delay_s: 0,
            expire_concurrency: 4,
            expirations_per_second: 500,
            async_delete_interval_ms: 5000,
            audit: true,
            audit_interval_s: 24 * 3600,
            audit_objects_per_second: 5000,
            audit_bytes_per_second: 1_000_000_000,
            audit_md5_every: 7,
            audit_dir: None,
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let positive = [
            ("interval_ms", self.interval_ms),
            ("batch", self.batch.into()),
            ("concurrency", self.concurrency.into()),
            ("updates_per_second", self.updates_per_second.into()),
            ("node_timeout_ms", self.node_timeout_ms),
            ("workers", self.workers.into()),
            ("heal_concurrency", self.heal_concurrency.into()),
            ("heals_per_second", self.heals_per_second.into()),
            ("heal_retry_ms_max", self.heal_retry_ms_max),
            ("expire_concurrency", self.expire_concurrency.into()),
            ("expirations_per_second", self.expirations_per_second.into()),
            ("async_delete_interval_ms", self.async_delete_interval_ms),
            ("audit_interval_s", self.audit_interval_s),
            ("audit_objects_per_second", self.audit_objects_per_second),
            ("audit_bytes_per_second", self.audit_bytes_per_second),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(StartError::Zero { key });
        }
        if self.batch > REPORTS_MAX {
            return Err(StartError::TooLarge { key: "batch", max: REPORTS_MAX });
        }
        let concurrent = [
            ("concurrency", self.concurrency),
            ("heal_concurrency", self.heal_concurrency),
            ("expire_concurrency", self.expire_concurrency),
        ];
        if let Some((key, _)) = concurrent.into_iter().find(|(_, most)| *most > CONCURRENCY_MAX) {
            return Err(StartError::TooLarge { key, max: CONCURRENCY_MAX });
        }
        if self.worker >= self.workers {
            return Err(StartError::Worker { worker: self.worker, workers: self.workers });
        }
        Ok(())
    }
}

const CONCURRENCY_MAX: u32 = 1000;

/// The devices that this replicator works for, each with the address its owner listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalNodes {
    /// Devices of object servers, once for each storage policy.
    pub object: Vec<(Endpoint, String, PolicyIndex)>,
    /// Devices of container servers.
    pub container: Vec<(Endpoint, String)>,
}

/// Why the replicator does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// With 0 nothing would ever be done, or without a pause.
    #[error("replicator.{key} is 0; set it to 1 or more, or leave it out")]
    Zero {
        /// Which key.
        key: &'static str,
    },
    /// More than others accept.
    #[error("replicator.{key} is too large; at most {max} are possible")]
    TooLarge {
        /// Which key.
        key: &'static str,
        /// What is possible.
        max: u32,
    },
    /// Nobody would do this worker's share.
    #[error("replicator.worker is {worker}, but {workers} workers are numbered from 0")]
    Worker {
        /// Which worker this should be.
        worker: u32,
        /// Of how many.
        workers: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_starts_and_nonsense_is_named() {
        let default = Config::default();
        assert_eq!(default.check(), Ok(()));
        let error = |config: Config| config.check().expect_err("nonsense").to_string();
        assert!(error(Config { batch: 0, ..default.clone() }).contains("replicator.batch is 0"));
        assert!(error(Config { batch: 10_001, ..default.clone() }).contains("at most 10000"));
        assert!(error(Config { concurrency: 2000, ..default.clone() }).contains("at most 1000"));
        let heal = Config { heal_concurrency: 1001, ..default.clone() };
        assert!(error(heal).contains("replicator.heal_concurrency is too large"));
        let audit = Config { audit_bytes_per_second: 0, ..default.clone() };
        assert!(error(audit).contains("replicator.audit_bytes_per_second is 0"));
        assert!(error(Config { worker: 1, ..default }).contains("worker is 1, but 1 workers"));
    }
}

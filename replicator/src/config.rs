//! The table `[replicator]` of a node's configuration, and what the composition root adds to it.

use serde::{Deserialize, Serialize};
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
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(StartError::Zero { key });
        }
        if self.batch > REPORTS_MAX {
            return Err(StartError::TooLarge { key: "batch", max: REPORTS_MAX });
        }
        if self.concurrency > CONCURRENCY_MAX {
            return Err(StartError::TooLarge { key: "concurrency", max: CONCURRENCY_MAX });
        }
        if self.worker >= self.workers {
            return Err(StartError::Worker { worker: self.worker, workers: self.workers });
        }
        Ok(())
    }
}

const CONCURRENCY_MAX: u32 = 1000;

/// The devices whose queues this replicator empties, each with the address its owner listens on.
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
        assert!(error(Config { worker: 1, ..default }).contains("worker is 1, but 1 workers"));
    }
}

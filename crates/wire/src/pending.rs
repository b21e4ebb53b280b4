//! Reports that containers owe to their accounts: asked for and acknowledged with the method [`UPDATES`].
//!
//! Swift's container-updater walks all databases of a disk to find containers whose totals their account does
//! not know. Here containerd keeps a durable queue of them and is asked for it: an extension of ours.
//!
//! - `UPDATES /<device>?limit=N&marker=T` → 200 with [`PendingReports`], the longest waiting first, which is in
//!   ascending order of their tokens; only those with tokens greater than `T` (0 when not given), so that
//!   reports which cannot be delivered never stand in the way of others.
//! - `UPDATES /<device>?ack` with a body of [`ReportedAck`] → 204. A report whose container has changed since
//!   stays in the queue under a new token, so an acknowledgement never loses a change.
//!
//! Both bodies are JSON.

use crate::AccountUpdate;
use serde::{Deserialize, Serialize};
use types::{AccountName, ContainerName, NameError, PolicyIndex, Timestamp, TimestampError};

/// The method, used on `/<device>`.
pub const UPDATES: &str = "UPDATES";

/// Most reports of one answer, and most tokens of one acknowledgement.
pub const REPORTS_MAX: u32 = 10_000;

/// What one container wants its account to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingReport {
    /// Identifies this state of this container in the device's queue. A later state has a greater one.
    pub token: u64,
    /// Whose container.
    pub account: String,
    /// Which container.
    pub container: String,
    /// When it was created last, in the internal form.
    pub put_timestamp: String,
    /// When it was deleted last, in the internal form.
    pub delete_timestamp: String,
    /// Objects in it.
    pub object_count: u64,
    /// Bytes in it.
    pub bytes_used: u64,
    /// Its storage policy.
    pub policy: u32,
}

/// The head of a device's queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingReports {
    /// The longest waiting first.
    pub reports: Vec<PendingReport>,
}

/// Says that a quorum of account servers has taken these reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedAck {
    /// The tokens of the reports taken.
    pub tokens: Vec<u64>,
}

/// A report that names no container or no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// A name in it is no name.
    #[error("in the report, {0}")]
    Name(#[from] NameError),
    /// A timestamp in it is no timestamp.
    #[error("in the report, {0}")]
    Timestamp(#[from] TimestampError),
}

impl PendingReport {
    /// From the update it carries.
    pub fn new(token: u64, update: &AccountUpdate) -> Self {
        PendingReport {
            token,
            account: update.account.to_string(),
            container: update.container.to_string(),
            put_timestamp: update.put_timestamp.internal(),
            delete_timestamp: update.delete_timestamp.internal(),
            object_count: update.object_count,
            bytes_used: update.bytes_used,
            policy: update.policy.0,
        }
    }

    /// The update to send to the account servers.
    pub fn update(&self) -> Result<AccountUpdate, ReportError> {
        Ok(AccountUpdate {
            account: AccountName::parse(&self.account)?,
            container: ContainerName::parse(&self.container)?,
            put_timestamp: Timestamp::parse(&self.put_timestamp)?,
            delete_timestamp: Timestamp::parse(&self.delete_timestamp)?,
            object_count: self.object_count,
            bytes_used: self.bytes_used,
            policy: PolicyIndex(self.policy),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_round_trip_through_json() {
        let update = AccountUpdate {
            account: AccountName::parse("AUTH_test").expect("name"),
            container: ContainerName::parse("c ü").expect("name"),
            put_timestamp: Timestamp { raw: 140_246_467_704_188, offset: 2 },
            delete_timestamp: Timestamp::default(),
            object_count: 3,
            bytes_used: u64::MAX,
            policy: PolicyIndex(1),
        };
        let reports = PendingReports { reports: vec![PendingReport::new(7, &update)] };
        let json = serde_json::to_string(&reports).expect("json");
        let back: PendingReports = serde_json::from_str(&json).expect("json");
        assert_eq!(back, reports);
        assert_eq!(back.reports[0].update(), Ok(update));
        let nameless = PendingReport { container: "a/b".into(), ..back.reports[0].clone() };
        assert_eq!(nameless.update(), Err(ReportError::Name(NameError::Slash)));
    }
}

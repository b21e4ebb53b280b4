//! The two kinds of queues, and where they differ.

use http::HeaderValue;
use serde::de::DeserializeOwned;
use types::{HashPaths, ObjectHash, Partition, Timestamp};
use wire::pending::PendingReports;
use wire::pending_object::PendingObjectUpdates;
use wire::{AccountUpdate, ObjectUpdate, Request, headers};

/// Whose updates a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Objects' rows for containers.
    Object,
    /// Containers' rows for accounts.
    Container,
}

impl Kind {
    /// The word in metrics, logs and recon.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Container => "container",
        }
    }

    /// Reads a page of the queue.
    pub(super) fn page(self, json: &[u8]) -> Result<Page, serde_json::Error> {
        let mut page = Page::default();
        match self {
            Kind::Object => {
                for update in parse::<PendingObjectUpdates>(json)?.updates {
                    page.add(update.token, update.update().ok().map(Update::Object));
                }
            }
            Kind::Container => {
                for report in parse::<PendingReports>(json)?.reports {
                    page.add(report.token, report.update().ok().map(Update::Container));
                }
            }
        }
        Ok(page)
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json)
}

/// A page of a queue, read.
#[derive(Default)]
pub(super) struct Page {
    pub(super) items: Vec<Pending>,
    /// Updates that nobody could send. They stay with their owner.
    pub(super) malformed: u64,
    /// How many there were of both.
    pub(super) count: usize,
    /// The greatest token.
    pub(super) last: u64,
}

impl Page {
    fn add(&mut self, token: u64, update: Option<Update>) {
        self.count += 1;
        self.last = self.last.max(token);
        match update {
            Some(update) => self.items.push(Pending { token, update }),
            None => self.malformed += 1,
        }
    }
}

/// One update of a queue.
pub(super) struct Pending {
    pub(super) token: u64,
    pub(super) update: Update,
}

/// What is to be sent.
pub(super) enum Update {
    Object(ObjectUpdate),
    Container(AccountUpdate),
}

impl Update {
    /// Where in the ring the listing lies that is to take this.
    pub(super) fn hash(&self, paths: &HashPaths) -> ObjectHash {
        match self {
            Update::Object(update) => {
                paths.container(update.account.as_str(), update.container.as_str())
            }
            Update::Container(update) => paths.account(update.account.as_str()),
        }
    }

    /// All updates of one listing are sent by the same worker.
    pub(super) fn share_key(&self) -> String {
        match self {
            Update::Object(update) => format!("{}/{}", update.account, update.container),
            Update::Container(update) => update.account.to_string(),
        }
    }

    /// When this was made. A report of a container does not say: it tells the totals of the moment.
    pub(super) fn since(&self) -> Option<Timestamp> {
        match self {
            Update::Object(update) => {
                [Some(update.timestamp), update.meta_timestamp].into_iter().flatten().max()
            }
            Update::Container(_) => None,
        }
    }

    /// The request for one server.
    pub(super) fn encode(&self, device: &str, partition: Partition, trans_id: &str) -> Request {
        match self {
            Update::Object(update) => update.encode(device, partition, trans_id),
            Update::Container(update) => {
                let mut request = update.encode(device, partition, trans_id);
                // As Swift's container updater: an account that was deleted while reports were under way
                // still learns what is left in it.
                let name = headers::X_ACCOUNT_OVERRIDE_DELETED;
                request.headers_mut().insert(name, HeaderValue::from_static("yes"));
                request
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_counts_what_it_cannot_read() {
        let json = br#"{"reports": [{"token": 9, "account": "a/b", "container": "c",
            "put_timestamp": "1", "delete_timestamp": "0", "object_count": 1, "bytes_used": 1,
            "policy": 0}]}"#;
        let page = Kind::Container.page(json).expect("a page");
        assert_eq!((page.items.len(), page.malformed, page.count, page.last), (0, 1, 1, 9));
        assert!(Kind::Object.page(json).is_err());
        assert!(Kind::Container.page(b"[").is_err());
    }
}

//! Listing updates that an object server still owes its container servers, as objectd shows them to the
//! replicator.
//!
//! The dialect is our own; Swift's updater reads `async_pending` from the disk instead.
//!
//! - `UPDATES /<device>?limit=N&marker=T` answers 200 with a [`PendingObjectUpdates`]: up to `N` updates
//!   whose tokens are greater than `T` (0 when not given), in ascending order of their tokens. Tokens are
//!   given in the order in which updates are queued, are never 0, and are never used again. A newer update of
//!   an object may take the place of an older one, under a new token.
//! - `UPDATES /<device>?ack` with a [`ReportedAck`](crate::pending::ReportedAck) forgets the updates of those tokens, durably, and
//!   answers 204. Tokens that are not known (any more) are no error: a crash between delivery and
//!   acknowledgement makes an update be delivered twice, which a listing merges to once.
//! - An unknown device is answered 507.

use crate::ObjectUpdate;
use serde::{Deserialize, Serialize};
use types::{AccountName, ContainerName, ObjectName, PolicyIndex, Timestamp};

/// One update with the number under which its owner keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingObjectUpdate {
    /// What to acknowledge it by.
    pub token: u64,
    /// Whose object.
    pub account: String,
    /// In which container.
    pub container: String,
    /// Which object.
    pub object: String,
    /// True when the object was deleted.
    pub deleted: bool,
    /// When its data was written, or it was deleted; the internal form.
    pub timestamp: String,
    /// When its content type was set, if that is another moment; the internal form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type_timestamp: Option<String>,
    /// When its metadata was set, if that is another moment; the internal form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_timestamp: Option<String>,
    /// Length in bytes.
    pub size: u64,
    /// Content type.
    pub content_type: String,
    /// ETag without quotes.
    pub etag: String,
    /// Storage policy it lies in.
    pub policy: u32,
    /// When it expires, in seconds; 0 for never.
    #[serde(default)]
    pub delete_at: u64,
}

/// A page of updates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingObjectUpdates {
    /// In ascending order of their tokens. Empty when nothing is left after the marker.
    pub updates: Vec<PendingObjectUpdate>,
}

/// A field of a pending update does not hold what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pending update {token} has a malformed {field}")]
pub struct PendingObjectError {
    /// Which update.
    pub token: u64,
    /// Which field.
    pub field: &'static str,
}

impl PendingObjectUpdate {
    /// Puts an update under a token.
    pub fn new(token: u64, update: &ObjectUpdate) -> Self {
        PendingObjectUpdate {
            token,
            account: update.account.to_string(),
            container: update.container.to_string(),
            object: update.object.to_string(),
            deleted: update.deleted,
            timestamp: update.timestamp.internal(),
            content_type_timestamp: update.content_type_timestamp.map(|at| at.internal()),
            meta_timestamp: update.meta_timestamp.map(|at| at.internal()),
            size: update.size,
            content_type: update.content_type.clone(),
            etag: update.etag.clone(),
            policy: update.policy.0,
            delete_at: update.delete_at,
        }
    }

    /// The update, validated.
    pub fn update(&self) -> Result<ObjectUpdate, PendingObjectError> {
        let bad = |field| PendingObjectError { token: self.token, field };
        let moment = |text: &str, field| Timestamp::parse(text).map_err(|_| bad(field));
        let optional = |text: &Option<String>, field| {
            text.as_deref().map(|text| moment(text, field)).transpose()
        };
        Ok(ObjectUpdate {
            account: AccountName::parse(&self.account).map_err(|_| bad("account"))?,
            container: ContainerName::parse(&self.container).map_err(|_| bad("container"))?,
            object: ObjectName::parse(&self.object).map_err(|_| bad("object"))?,
            deleted: self.deleted,
            timestamp: moment(&self.timestamp, "timestamp")?,
            content_type_timestamp: optional(
                &self.content_type_timestamp,
                "content_type_timestamp",
            )?,
            meta_timestamp: optional(&self.meta_timestamp, "meta_timestamp")?,
            size: self.size,
            content_type: self.content_type.clone(),
            etag: self.etag.clone(),
            policy: PolicyIndex(self.policy),
            delete_at: self.delete_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips_through_json(
            token: u64,
            deleted: bool,
            object in "[^\0]{1,40}",
            content_type in ".{0,40}",
            raw in 0u64..1_000_000_000_000_000,
            offset: u64,
            meta in proptest::option::of(0u64..1_000_000_000_000_000),
            size: u64,
            policy: u32,
        ) {
            let update = ObjectUpdate {
                account: AccountName::parse("AUTH_test").expect("a name"),
                container: ContainerName::parse("c ü").expect("a name"),
                object: ObjectName::parse(&object).expect("a name"),
                deleted,
                timestamp: Timestamp { raw, offset },
                content_type_timestamp: None,
                meta_timestamp: meta.map(Timestamp::from_raw),
                size,
                content_type,
                etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
                policy: PolicyIndex(policy), delete_at: 0 };
            let page = PendingObjectUpdates { updates: vec![PendingObjectUpdate::new(token, &update)] };
            let text = serde_json::to_string(&page).expect("JSON");
            let back: PendingObjectUpdates = serde_json::from_str(&text).expect("the same");
            prop_assert_eq!(&back, &page);
            prop_assert_eq!(back.updates[0].update(), Ok(update));
        }
    }

    #[test]
    fn names_the_malformed_field() {
        let text = r#"{"token": 7, "account": "AUTH_test", "container": "c", "object": "o",
            "deleted": false, "timestamp": "1402464677.04188", "size": 1, "content_type": "",
            "etag": "", "policy": 0}"#;
        let good: PendingObjectUpdate = serde_json::from_str(text).expect("an update");
        assert!(good.update().is_ok());
        let field = |change: fn(&mut PendingObjectUpdate)| {
            let mut update = good.clone();
            change(&mut update);
            update.update().expect_err("malformed")
        };
        let error = |field| PendingObjectError { token: 7, field };
        assert_eq!(field(|u| u.account = "a/b".into()), error("account"));
        assert_eq!(field(|u| u.container.clear()), error("container"));
        assert_eq!(field(|u| u.object = "o\0".into()), error("object"));
        assert_eq!(field(|u| u.timestamp = "-1".into()), error("timestamp"));
        assert_eq!(field(|u| u.meta_timestamp = Some(String::new())), error("meta_timestamp"));
    }
}

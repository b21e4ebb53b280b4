//! The row of a container in an account.
//!
//! Stored as: policy; put timestamp; delete timestamp; object count; bytes used; 1 if deleted, else 0.
//!
//! Timestamps merge to the newest of each; count, bytes and policy are those that arrived last, since
//! nothing says when they were true (Swift: account/backend.py, `merge_items`).

use crate::entity::Entity;
use crate::record::{Corrupt, Reader, put_integer, put_timestamp};
use crate::row::{Row, Totals};
use types::{PolicyIndex, Timestamp};
use wire::AccountUpdate;

/// A container, or the memory of its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRow {
    /// Its storage policy.
    pub policy: PolicyIndex,
    /// When it was created last.
    pub put_timestamp: Timestamp,
    /// When it was deleted last.
    pub delete_timestamp: Timestamp,
    /// Objects in it.
    pub object_count: u64,
    /// Bytes in it.
    pub bytes_used: u64,
    /// Whether it was deleted.
    pub deleted: bool,
}

impl From<&AccountUpdate> for ContainerRow {
    fn from(update: &AccountUpdate) -> Self {
        ContainerRow {
            policy: update.policy,
            put_timestamp: update.put_timestamp,
            delete_timestamp: update.delete_timestamp,
            object_count: update.object_count,
            bytes_used: update.bytes_used,
            deleted: false,
        }
        .judged()
    }
}

impl ContainerRow {
    fn judged(mut self) -> Self {
        self.deleted = self.delete_timestamp > self.put_timestamp && self.object_count == 0;
        self
    }
}

impl Row for ContainerRow {
    const DIRECTORY: &'static str = "accounts";
    const RECREATABLE: bool = false;
    const DELETED_EMPTY_ONLY: bool = false;
    const REPORTS: bool = false;
    const METADATA_KEPT: &'static [&'static str] = &[];

    fn encode(&self, out: &mut Vec<u8>) {
        put_integer(out, u64::from(self.policy.0));
        put_timestamp(out, self.put_timestamp);
        put_timestamp(out, self.delete_timestamp);
        put_integer(out, self.object_count);
        put_integer(out, self.bytes_used);
        out.push(u8::from(self.deleted));
    }

    fn decode(mut reader: Reader<'_>) -> Result<Self, Corrupt> {
        let row = ContainerRow {
            policy: PolicyIndex(reader.small()?),
            put_timestamp: reader.timestamp()?,
            delete_timestamp: reader.timestamp()?,
            object_count: reader.integer()?,
            bytes_used: reader.integer()?,
            deleted: reader.byte()? == 1,
        };
        reader.end()?;
        Ok(row)
    }

    fn merged(&self, existing: &Self) -> Option<Self> {
        let row = ContainerRow {
            put_timestamp: self.put_timestamp.max(existing.put_timestamp),
            delete_timestamp: self.delete_timestamp.max(existing.delete_timestamp),
            ..self.clone()
        }
        .judged();
        (row != *existing).then_some(row)
    }

    fn is_gone(&self) -> bool {
        self.deleted
    }

    fn totals(&self) -> Totals {
        let rows = u64::from(!self.deleted);
        Totals { rows, objects: self.object_count, bytes: self.bytes_used }
    }

    fn counted_policy(&self, _: PolicyIndex) -> PolicyIndex {
        self.policy
    }

    fn digest_text(&self) -> String {
        let (put, delete) = (self.put_timestamp.internal(), self.delete_timestamp.internal());
        format!("{put}-{delete}-{}-{}", self.object_count, self.bytes_used)
    }

    /// Marked so, or deleted last and empty.
    fn is_deleted(entity: &Entity) -> bool {
        entity.status_deleted
            || entity.sum().rows == 0 && entity.delete_timestamp > entity.put_timestamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Stored;
    use proptest::prelude::*;

    fn arbitrary() -> impl Strategy<Value = ContainerRow> {
        (0u64..4, 0u64..4, 0u64..2, any::<u64>(), 0u32..3).prop_map(
            |(put, delete, objects, bytes, policy)| {
                ContainerRow {
                    policy: PolicyIndex(policy),
                    put_timestamp: Timestamp::from_seconds(put),
                    delete_timestamp: Timestamp {
                        offset: delete,
                        ..Timestamp::from_seconds(delete)
                    },
                    object_count: objects,
                    bytes_used: bytes,
                    deleted: false,
                }
                .judged()
            },
        )
    }

    proptest! {
        #[test]
        fn timestamps_merge_in_any_order_and_totals_are_the_last(
            held in arbitrary(), mut rows in proptest::collection::vec(arbitrary(), 1..5),
        ) {
            let merge = |rows: &[ContainerRow]| rows.iter().fold(held.clone(), |held, row| {
                row.merged(&held).unwrap_or(held)
            });
            let forward = merge(&rows);
            prop_assert_eq!(rows[rows.len() - 1].merged(&forward), None);
            let last = &rows[rows.len() - 1];
            prop_assert_eq!((forward.object_count, forward.bytes_used), (last.object_count, last.bytes_used));
            rows.reverse();
            let backward = merge(&rows);
            prop_assert_eq!(forward.put_timestamp, backward.put_timestamp);
            prop_assert_eq!(forward.delete_timestamp, backward.delete_timestamp);
        }

        #[test]
        fn stored_rows_round_trip(row in arbitrary(), sequence: u64) {
            let stored = Stored { sequence, row };
            prop_assert_eq!(Stored::decode(&stored.encode()), Ok(stored));
        }

        #[test]
        fn decoding_never_panics(mut bytes: Vec<u8>) {
            bytes.insert(0, 1);
            let _ = Stored::<ContainerRow>::decode(&bytes);
        }
    }

    #[test]
    fn a_late_object_brings_a_deleted_container_back() {
        let deleted = ContainerRow {
            policy: PolicyIndex(0),
            put_timestamp: Timestamp::from_seconds(1),
            delete_timestamp: Timestamp::from_seconds(2),
            object_count: 0,
            bytes_used: 0,
            deleted: false,
        }
        .judged();
        assert!(deleted.is_gone());
        let late = ContainerRow { object_count: 1, ..deleted.clone() };
        assert!(!late.merged(&deleted).expect("changed").is_gone());
    }
}

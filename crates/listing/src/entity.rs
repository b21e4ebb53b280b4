//! The record of an account or a container: everything about it but its rows.
//!
//! Stored as: version (1); flags (bit 0: status is deleted); account; container (empty for an account);
//! timestamps created, put, delete, status changed; policy; sequence; tombstones; hash (16 bytes);
//! reported put and delete timestamps, objects, bytes; pending token or 0; number of totals, then each as
//! policy, rows, objects, bytes; number of metadata, then each as name, value, timestamp.
//! The primitives are those of [`crate::record`].

use crate::metadata::{Metadata, MetadataValue};
use crate::record::{Corrupt, Reader, put_integer, put_text, put_timestamp};
use crate::row::Totals;
use std::collections::BTreeMap;
use types::{PolicyIndex, Timestamp};

/// What the level above was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// When it was created last.
    pub put_timestamp: Timestamp,
    /// When it was deleted last.
    pub delete_timestamp: Timestamp,
    /// Objects in it.
    pub objects: u64,
    /// Bytes in it.
    pub bytes: u64,
}

/// An account or a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entity {
    /// The account's name.
    pub account: String,
    /// The container's name; empty for an account.
    pub container: String,
    /// When this list began to be kept.
    pub created_at: Timestamp,
    /// When it was created last.
    pub put_timestamp: Timestamp,
    /// When it was deleted last.
    pub delete_timestamp: Timestamp,
    /// When it last went from living to deleted or back.
    pub status_changed_at: Timestamp,
    /// Whether it was told to be deleted; only an account's life depends on it.
    pub status_deleted: bool,
    /// The container's storage policy.
    pub policy: PolicyIndex,
    /// The number of the last change to a row.
    pub sequence: u64,
    /// Deleted rows that are remembered.
    pub tombstones: u64,
    /// The exclusive or of all rows' digests, equal on replicas that hold the same.
    pub hash: u128,
    /// What the level above was told last.
    pub reported: Reported,
    /// The token of the report that waits to be sent.
    pub pending: Option<u64>,
    /// What the rows add up to, by policy.
    pub totals: BTreeMap<PolicyIndex, Totals>,
    /// Its metadata.
    pub metadata: Metadata,
}

const VERSION: u8 = 1;
const STATUS_DELETED: u8 = 1;

impl Entity {
    /// The totals of one policy.
    pub fn totals_of(&self, policy: PolicyIndex) -> Totals {
        self.totals.get(&policy).copied().unwrap_or_default()
    }

    /// The totals of all policies.
    pub fn sum(&self) -> Totals {
        let mut sum = Totals::default();
        self.totals.values().for_each(|totals| sum.add(*totals));
        sum
    }

    /// What the level above should be told.
    pub fn report(&self) -> Reported {
        let Totals { objects, bytes, .. } = self.totals_of(self.policy);
        Reported {
            put_timestamp: self.put_timestamp,
            delete_timestamp: self.delete_timestamp,
            objects,
            bytes,
        }
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.push(VERSION);
        out.push(if self.status_deleted { STATUS_DELETED } else { 0 });
        put_text(&mut out, &self.account);
        put_text(&mut out, &self.container);
        let moments =
            [self.created_at, self.put_timestamp, self.delete_timestamp, self.status_changed_at];
        moments.into_iter().for_each(|at| put_timestamp(&mut out, at));
        put_integer(&mut out, u64::from(self.policy.0));
        put_integer(&mut out, self.sequence);
        put_integer(&mut out, self.tombstones);
        out.extend_from_slice(&self.hash.to_be_bytes());
        put_timestamp(&mut out, self.reported.put_timestamp);
        put_timestamp(&mut out, self.reported.delete_timestamp);
        put_integer(&mut out, self.reported.objects);
        put_integer(&mut out, self.reported.bytes);
        put_integer(&mut out, self.pending.unwrap_or(0));
        put_integer(&mut out, self.totals.len() as u64);
        for (policy, totals) in &self.totals {
            let numbers = [u64::from(policy.0), totals.rows, totals.objects, totals.bytes];
            numbers.into_iter().for_each(|number| put_integer(&mut out, number));
        }
        put_integer(&mut out, self.metadata.0.len() as u64);
        for (name, item) in &self.metadata.0 {
            put_text(&mut out, name);
            put_text(&mut out, &item.value);
            put_timestamp(&mut out, item.at);
        }
        out
    }

    /// Reads the stored form.
    pub fn decode(value: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(value);
        if reader.byte()? != VERSION {
            return Err(Corrupt);
        }
        let mut entity = Entity {
            status_deleted: reader.byte()? & STATUS_DELETED != 0,
            account: reader.text()?.to_owned(),
            container: reader.text()?.to_owned(),
            created_at: reader.timestamp()?,
            put_timestamp: reader.timestamp()?,
            delete_timestamp: reader.timestamp()?,
            status_changed_at: reader.timestamp()?,
            policy: PolicyIndex(reader.small()?),
            sequence: reader.integer()?,
            tombstones: reader.integer()?,
            hash: u128::from_be_bytes(reader.array()?),
            reported: Reported {
                put_timestamp: reader.timestamp()?,
                delete_timestamp: reader.timestamp()?,
                objects: reader.integer()?,
                bytes: reader.integer()?,
            },
            pending: Some(reader.integer()?).filter(|token| *token != 0),
            ..Entity::default()
        };
        for _ in 0..reader.integer()? {
            let policy = PolicyIndex(reader.small()?);
            let (rows, objects, bytes) = (reader.integer()?, reader.integer()?, reader.integer()?);
            entity.totals.insert(policy, Totals { rows, objects, bytes });
        }
        for _ in 0..reader.integer()? {
            let (name, value) = (reader.text()?.to_owned(), reader.text()?.to_owned());
            let at = reader.timestamp()?;
            entity.metadata.0.insert(name, MetadataValue { value, at });
        }
        reader.end()?;
        Ok(entity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Entity {
        let at = Timestamp::from_seconds;
        let value = MetadataValue { value: "blue".into(), at: at(7) };
        Entity {
            account: "AUTH_test".into(),
            container: "ü".into(),
            created_at: at(1),
            put_timestamp: at(2),
            delete_timestamp: at(3),
            status_changed_at: Timestamp { offset: 5, ..at(4) },
            status_deleted: true,
            policy: PolicyIndex(2),
            sequence: 300,
            tombstones: 1,
            hash: 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e,
            reported: Reported {
                put_timestamp: at(2),
                objects: 4,
                bytes: 5,
                ..Reported::default()
            },
            pending: Some(9),
            totals: [(PolicyIndex(2), Totals { rows: 1, objects: 1, bytes: 6 })].into(),
            metadata: Metadata([("X-Container-Meta-Color".to_owned(), value)].into()),
        }
    }

    #[test]
    fn a_stored_entity_of_version_1_is_read_for_ever() {
        let stored = sample().encode();
        assert_eq!(Entity::decode(&stored), Ok(sample()));
        assert_eq!(types::hex_encode(&stored), include_str!("entity_v1.hex").trim());
    }

    #[test]
    fn every_truncation_is_corrupt() {
        let stored = sample().encode();
        for end in 0..stored.len() {
            assert_eq!(Entity::decode(&stored[..end]), Err(Corrupt), "{end}");
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(mut bytes: Vec<u8>, flips in proptest::collection::vec((0usize..120, any::<u8>()), 1..4)) {
            bytes.insert(0, VERSION);
            let _ = Entity::decode(&bytes);
            let mut stored = sample().encode();
            for (place, byte) in flips {
                let place = place % stored.len();
                stored[place] ^= byte;
            }
            let _ = Entity::decode(&stored);
        }
    }
}

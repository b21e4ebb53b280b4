//! What only the owner of a device knows of it, asked for without opening its files: extensions of ours, for whoever
//! replicates, audits or operates.
//!
//! All are methods on `/<device>`. Hashes are 32 hexadecimal digits. A range is `from=HEX&until=HEX`, both included
//! and each up to 32 digits long: `from=a1b2&until=a1b2` is all that begins with `a1b2`, and what is not given is no
//! bound. An answer that is not the end of what was asked for has a `marker`: the `from` of the next question, or its
//! `marker` where there is no `from`.
//!
//! | question | answer |
//! |---|---|
//! | `PARTITIONS ?part_power=N&marker=P&limit=N` | [`Partitions`]: in which partitions there is something; of the ring's part power when none is given |
//! | `FINGERPRINTS ?from&until&limit` | [`Fingerprints`]: summaries of all hashes that begin with the same four digits, whole ones for each that the range touches |
//! | `FINGERPRINTS ?objects&from&until&limit` | [`ObjectDigests`]: what is known of each object, as a digest |
//! | `RECORDS ?from&until&bytes=N` | a stream of [records](crate::records), with data |
//! | `RECORDS ?bytes=N` with [`Hashes`] | those of these objects |
//! | `MERGE` with a stream of records | [`Merged`]: what came of it |
//! | `VERIFY ?from&until&limit&bytes=N&ms=N` | [`Verified`]: what was read and what of it is damaged |
//! | `VERIFY ?md5` | the same, and the MD5 of all data is compared with the ETag it was stored under |
//! | `VERIFY ?unreadable` | the same, and what the disk fails to read is taken for damaged too |
//! | `EXPIRED ?until=S&marker&limit` | [`Expired`]: objects whose time has come, up to and with a second |
//! | `QUARANTINED ?marker&limit` | [`Quarantine`]: damaged records that are kept |
//! | `QUARANTINED ?unhealed` | the same without those whose objects are whole here again |
//! | `QUARANTINED ?seen=TURN&wait=MS` | the same, but not before [`Quarantine::turn`] is another one or so much time has passed |
//! | `QUARANTINED ?release` with [`Hashes`] | [`Released`]: those of these objects are given up |
//! | `QUARANTINED ?release&healed&found_before=SECONDS` | [`Released`]: those that were found before then, and whose objects are whole here again, are given up |
//!
//! A question ends between two objects, when the objects, bytes or milliseconds that it allows are over. The answer to a
//! VERIFY that takes long begins with blanks, one each second, so that whoever waits knows that there is somebody.
//!
//! An unknown device is answered 507, a malformed question 400 with what is wrong with it, a stream of records that
//! is damaged 422.

use serde::{Deserialize, Serialize};

/// The method that lists partitions.
pub const PARTITIONS: &str = "PARTITIONS";
/// The method that summarizes ranges of hashes.
pub const FINGERPRINTS: &str = "FINGERPRINTS";
/// The method that reads records.
pub const RECORDS: &str = "RECORDS";
/// The method that takes records.
pub const MERGE: &str = "MERGE";
/// The method that checks every byte.
pub const VERIFY: &str = "VERIFY";
/// The method that lists what has expired.
pub const EXPIRED: &str = "EXPIRED";
/// The method that lists what is damaged, or gives it up.
pub const QUARANTINED: &str = "QUARANTINED";

/// A page of partitions in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partitions {
    /// Those in which there is something.
    pub partitions: Vec<PartitionSummary>,
    /// The next one, when there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<u32>,
}

/// What a device has of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionSummary {
    /// Which.
    pub partition: u32,
    /// Objects of which something is known, deleted ones among them.
    pub objects: u64,
    /// Bytes of their data.
    pub bytes: u64,
}

/// A page of fingerprints in the order of hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprints {
    /// Those of cells in which there is something.
    pub cells: Vec<CellSummary>,
    /// The next one, when there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// What a device has of all hashes that begin with the same digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellSummary {
    /// Their first four digits.
    pub cell: String,
    /// Objects of which something is known, deleted ones among them.
    pub objects: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// XOR of the digests of all: equal where two devices hold the same. 32 hexadecimal digits.
    pub fingerprint: String,
}

/// A page of digests in the order of hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDigests {
    /// Of each object.
    pub objects: Vec<ObjectDigest>,
    /// The next one, when there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// What a device knows of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDigest {
    /// Which.
    pub hash: String,
    /// Equal where two devices know the same of it. 32 hexadecimal digits.
    pub digest: String,
}

/// A page of objects that have expired, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Those whose names can be read.
    pub objects: Vec<ExpiredObject>,
    /// Where more are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// An object that has expired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredObject {
    /// `/account/container/object`.
    pub name: String,
    /// When, in seconds.
    pub delete_at: u64,
}

/// Names objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// Their hashes.
    pub hashes: Vec<String>,
}

/// What came of a stream of records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// Records that are durable here now and were not before.
    pub taken: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Records that said nothing new.
    pub known: u64,
    /// Records that the sender began and gave up.
    pub abandoned: u64,
    /// Records that this device does not keep.
    pub refused: Vec<RefusedRecord>,
}

/// A record that a device does not keep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRecord {
    /// Of which object.
    pub hash: String,
    /// When it was made, in the internal form.
    pub timestamp: String,
    /// Why not.
    pub why: String,
}

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Objects.
    pub objects: u64,
    /// Records of them.
    pub records: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Records that cannot be read.
    pub damaged: Vec<DamagedRecord>,
    /// Where to go on, when this is not the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// A record that cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedRecord {
    /// Of which object.
    pub hash: String,
    /// What it is: `data`, `meta`, `tombstone`, `durable` or `purge`.
    pub kind: String,
    /// When it was made, in the internal form.
    pub timestamp: String,
    /// Which fragment it is, of an erasure-coded object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<u8>,
    /// What is wrong.
    pub why: String,
    /// Whether it is in quarantine now. A record that the disk fails to read is not, unless the question said so: it
    /// may be read later.
    pub quarantined: bool,
}

/// A page of damaged records that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// By hash.
    pub records: Vec<QuarantinedRecord>,
    /// The `marker` of the next question, when there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// Another one after each record that is put into quarantine, and after each start.
    #[serde(default)]
    pub turn: u64,
}

/// A damaged record that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedRecord {
    /// Of which object.
    pub hash: String,
    /// That object's name, `/account/container/object`, if it can still be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is: `data`, `meta`, `tombstone`, `durable` or `purge`.
    pub kind: String,
    /// When it was made, in the internal form.
    pub timestamp: String,
    /// Which fragment it is, of an erasure-coded object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<u8>,
    /// Bytes of its data.
    pub data_len: u64,
    /// When it was found damaged, in the internal form.
    pub found: String,
    /// The segment in which it stands.
    pub segment: u32,
    /// Its first byte in that.
    pub offset: u32,
    /// Whether the object is whole here again: the same or something newer is stored in another place, or nobody needs
    /// it any more.
    #[serde(default)]
    pub healed: bool,
}

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Records.
    pub released: u64,
}

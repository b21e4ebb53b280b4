//! What a row must be able to do, so that everything else is the same for accounts and containers.

use crate::entity::Entity;
use crate::record::{Corrupt, Reader, put_integer};
use md5::{Digest, Md5};
use types::PolicyIndex;

/// What rows add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Live rows.
    pub rows: u64,
    /// Objects: the live rows of a container, the objects in all containers of an account.
    pub objects: u64,
    /// Bytes of the objects.
    pub bytes: u64,
}

impl Totals {
    /// Adds a row's share.
    pub fn add(&mut self, other: Totals) {
        self.rows = self.rows.saturating_add(other.rows);
        self.objects = self.objects.saturating_add(other.objects);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Takes a row's share away.
    pub fn subtract(&mut self, other: Totals) {
        self.rows = self.rows.saturating_sub(other.rows);
        self.objects = self.objects.saturating_sub(other.objects);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// A row of a timestamp-merged list.
pub trait Row: Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The directory of the lists on a device: `containers` or `accounts`.
    const DIRECTORY: &'static str;
    /// Whether a deleted list can be created again at once.
    const RECREATABLE: bool;
    /// Whether only an empty list can be deleted.
    const DELETED_EMPTY_ONLY: bool;
    /// Whether totals are reported to somebody.
    const REPORTS: bool;
    /// Metadata that outlives a deletion, lower case.
    const METADATA_KEPT: &'static [&'static str];

    /// Appends the stored form.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads the stored form.
    fn decode(reader: Reader<'_>) -> Result<Self, Corrupt>;
    /// This row merged into the one already there; `None` when nothing in it is newer.
    fn merged(&self, existing: &Self) -> Option<Self>;
    /// Whether it only remembers a deletion.
    fn is_gone(&self) -> bool;
    /// Whether it is not to be shown any more, although it was not deleted yet.
    fn has_expired(&self, _now_seconds: u64) -> bool {
        false
    }
    /// Its share in the totals.
    fn totals(&self) -> Totals;
    /// The policy whose totals it counts for, when it is stored under `policy`.
    fn counted_policy(&self, policy: PolicyIndex) -> PolicyIndex;
    /// What the list's hash covers besides the name.
    fn digest_text(&self) -> String;
    /// Whether a list in this state counts as deleted.
    fn is_deleted(entity: &Entity) -> bool;
}

/// The MD5 that a row contributes to its list's hash, by exclusive or (Swift: common/db.py, `chexor`).
pub(crate) fn digest<R: Row>(name: &str, row: &R) -> u128 {
    let mut md5 = Md5::new();
    md5.update(name.as_bytes());
    md5.update(b"-");
    md5.update(row.digest_text().as_bytes());
    u128::from_be_bytes(md5.finalize().into())
}

/// A row as it is stored: `version (1) ∥ sequence ∥ row`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<R> {
    /// The number of its last change in the list's log.
    pub sequence: u64,
    /// The row.
    pub row: R,
}

const VERSION: u8 = 1;

impl<R: Row> Stored<R> {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.push(VERSION);
        put_integer(&mut out, self.sequence);
        self.row.encode(&mut out);
        out
    }

    /// Reads the stored form.
    pub fn decode(value: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(value);
        if reader.byte()? != VERSION {
            return Err(Corrupt);
        }
        let sequence = reader.integer()?;
        Ok(Stored { sequence, row: R::decode(reader)? })
    }
}

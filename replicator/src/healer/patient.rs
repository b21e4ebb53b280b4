//! One damaged object, and how it is mended.

use super::Healer;
use super::transfer::transfer;
use crate::device::{DeviceError, ObjectDevice};
use ring_builder::Node;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use types::{ObjectHash, Timestamp};
use wire::Body;
use wire::device::{Hashes, MERGE, Merged, QUARANTINED, Quarantine, QuarantinedRecord, RECORDS};

/// How long an object may be under way, as long as something of it comes.
const TRANSFER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Damaged records of one object.
pub(super) struct Patient {
    pub(super) hash: ObjectHash,
    pub(super) records: Vec<QuarantinedRecord>,
}

impl Patient {
    /// What the damaged records replaced is older than this.
    fn floor(&self) -> Option<Timestamp> {
        let replacing = |record: &&QuarantinedRecord| record.kind == "data" || is_deletion(record);
        let moments = self.records.iter().filter(replacing);
        moments.filter_map(|record| Timestamp::parse(&record.timestamp).ok()).max()
    }

    pub(super) fn name(&self) -> &str {
        self.records.iter().find_map(|record| record.name.as_deref()).unwrap_or("")
    }
}

fn is_deletion(record: &QuarantinedRecord) -> bool {
    record.kind == "tombstone"
}

/// What came of one attempt.
pub(super) enum Outcome {
    /// The object is whole again, by what this device had.
    Healed(ObjectDevice),
    /// All were asked, and nobody has a sound copy.
    Nobody,
    /// Some could not be asked, or what they have could not be taken.
    Failed(String),
}

/// Records of the same object stand behind each other. What has no hash cannot be healed and is passed over.
pub(super) fn patients(records: Vec<QuarantinedRecord>) -> Vec<Patient> {
    let mut patients: Vec<Patient> = Vec::new();
    for record in records {
        let Ok(hash) = record.hash.parse::<ObjectHash>() else { continue };
        match patients.last_mut().filter(|patient| patient.hash == hash) {
            Some(patient) => patient.records.push(record),
            None => patients.push(Patient { hash, records: vec![record] }),
        }
    }
    patients
}

impl Healer {
    /// Fetches an object from one device after the other, until it is whole.
    pub(super) async fn heal(&self, patient: &Patient) -> Outcome {
        // The semaphore is never closed.
        let Ok(_permit) = self.permits.acquire().await else { return Outcome::Nobody };
        let mut failed = None;
        for peer in self.peers(&patient.hash) {
            let whole = match self.fetch(patient, &peer).await {
                Ok(()) => self.is_whole(patient).await,
                Err(error) => Err(error),
            };
            match whole {
                Ok(true) => return Outcome::Healed(peer),
                Ok(false) => {}
                Err(error) => failed = Some(daemon::telemetry::chain(&error).to_string()),
            }
        }
        failed.map_or(Outcome::Nobody, Outcome::Failed)
    }

    /// Who may have the same object: primaries, those in this process first, then as many handoffs.
    fn peers(&self, hash: &ObjectHash) -> Vec<ObjectDevice> {
        let partition = self.ring.partition(hash);
        let mut primaries = self.ring.primaries(partition);
        let policy = self.device.policy;
        let here =
            |node: &Node<'_>| self.asker.client.is_local(&ObjectDevice::of(node, policy).owner);
        primaries.sort_by_key(|node| !here(node));
        let handoffs = self.ring.handoffs(partition).take(primaries.len());
        let others = primaries.into_iter().chain(handoffs).filter(|node| !self.device.is(node));
        others.map(|node| ObjectDevice::of(&node, policy)).collect()
    }

    async fn fetch(&self, patient: &Patient, peer: &ObjectDevice) -> Result<(), DeviceError> {
        let named = Hashes { hashes: vec![patient.hash.to_string()] };
        let named = serde_json::to_vec(&named).unwrap_or_default();
        let records = self.asker.ask(peer, RECORDS, "", named.into(), Duration::ZERO).await?;
        let taken = Arc::default();
        let patience = self.asker.patience;
        let records = transfer(records.into_body(), patient.floor(), patience, Arc::clone(&taken));
        let body = Body::from_stream(records);
        let mut merging = Box::pin(self.asker.json(&self.device, MERGE, "", body, TRANSFER_MAX));
        let mut before = 0;
        let merged: Merged = loop {
            // The next piece may take that long to come, and then to be taken.
            match tokio::time::timeout(patience * 2, &mut merging).await {
                Ok(merged) => break merged?,
                Err(_) => {
                    let now = taken.load(Ordering::Relaxed);
                    if now == before {
                        return Err(DeviceError::Body { device: self.device.clone() });
                    }
                    before = now;
                }
            }
        };
        metrics::counter!("apus_replicator_healed_bytes_total").increment(merged.bytes);
        tracing::debug!(%peer, hash = patient.hash.to_string(), ?merged, "records were fetched");
        Ok(())
    }

    async fn is_whole(&self, patient: &Patient) -> Result<bool, DeviceError> {
        let hash = patient.hash.to_string();
        // The object's records come first; a few more may have been found since.
        let limit = patient.records.len() + 4;
        let query = format!("limit={limit}&marker={hash}");
        let page =
            self.asker.json(&self.device, QUARANTINED, &query, Body::empty(), Duration::ZERO);
        let page: Quarantine = page.await?;
        Ok(page.records.iter().filter(|record| record.hash == hash).all(|record| record.healed))
    }
}

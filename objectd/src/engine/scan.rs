//! Reading much of the index at a time: what is known of many objects, in the order of their hashes.
//!
//! It is done on threads where waiting is no harm, by few at a time, and ends when nobody waits for it any more.

use super::commit::{self, Job};
use super::{Engine, EngineError};
use crate::format::CHUNK;
use crate::index::{Cell, Index, IndexError, Quarantined};
use crate::state::{ObjectState, Rule, Version};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use types::{HashRange, ObjectHash};

/// How many read much of a device's index at the same time; others wait.
pub(super) const SCANS: usize = 2;

/// Says that nobody waits any more.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Engine {
    /// Visits what is known of each object of a range, until the visitor has enough. Gives what it has gathered.
    pub async fn scan<T: Send + 'static>(
        &self,
        range: HashRange,
        mut gathered: T,
        mut visit: impl FnMut(&mut T, ObjectHash, ObjectState) -> ControlFlow<()> + Send + 'static,
    ) -> Result<T, EngineError> {
        let abandon = Abandon(Arc::default());
        let (inner, abandoned) = (Arc::clone(&self.0), Arc::clone(&abandon.0));
        let done = self.in_background(move |index| {
            for row in index.states(&range.first, &range.last) {
                let stopping = inner.shared.stopping.load(Ordering::Relaxed);
                if stopping || abandoned.load(Ordering::Relaxed) {
                    return Err(EngineError::Stopping);
                }
                let (hash, state) = row?;
                if visit(&mut gathered, hash, state).is_break() {
                    break;
                }
            }
            Ok(gathered)
        });
        done.await
    }

    /// What is known of the first objects of a range.
    pub async fn states(
        &self,
        range: HashRange,
        limit: usize,
    ) -> Result<Vec<(ObjectHash, ObjectState)>, EngineError> {
        let gather = move |found: &mut Vec<_>, hash, state| {
            found.push((hash, state));
            if found.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.scan(range, Vec::new(), gather).await
    }

    /// Summaries of the objects whose hashes begin alike, from one beginning up to and with another; empty ones are
    /// left out.
    pub async fn cells(
        &self,
        from: [u8; 2],
        until: [u8; 2],
        limit: usize,
    ) -> Result<Vec<([u8; 2], Cell)>, EngineError> {
        self.in_background(move |index| {
            let cells = index.cells(from, until).take(limit);
            Ok(cells.collect::<Result<_, IndexError>>()?)
        })
        .await
    }

    /// Damaged records that are kept, in the order of their keys, from a key or the beginning of one on.
    pub async fn quarantined(
        &self,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Quarantined>, EngineError> {
        let from = from.to_vec();
        self.in_background(move |index| Ok(index.quarantined(&from, limit)?)).await
    }

    /// Another number each time that a record is put into quarantine, and after each start.
    pub fn quarantine_turn(&self) -> u64 {
        *self.0.shared.quarantine_turn.borrow()
    }

    /// Waits until that number is not `seen`.
    pub async fn quarantine_turned(&self, seen: u64) {
        let mut turns = self.0.shared.quarantine_turn.subscribe();
        // The sender lives as long as this engine does.
        let _ = turns.wait_for(|turn| *turn != seen).await;
    }

    /// Serves a record no longer that a reader of all of its data knows to be wrong, as if its checksum did not hold.
    pub async fn condemn(&self, hash: ObjectHash, version: &Version) -> Result<(), EngineError> {
        let job = Job::Quarantine(hash, version.location);
        self.0.commits.send(job).await.map_err(|_| EngineError::Stopping)?;
        if let Some(cache) = &self.2 {
            cache.forget(&self.0.device_id, &version.location);
        }
        Ok(())
    }

    async fn in_background<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Index) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let permit = Arc::clone(&self.0.scans).acquire_owned().await;
        let permit = permit.map_err(|_| EngineError::Stopping)?;
        let index = Arc::clone(&self.0.index);
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&index)
        });
        reading.await.map_err(|_| EngineError::Stopping)?
    }

    /// Objects that expire up to and with a second, in order of time, behind one of them.
    pub async fn expired(
        &self,
        until: u64,
        behind: Option<(u64, ObjectHash)>,
        limit: usize,
    ) -> Result<Vec<(u64, ObjectHash)>, EngineError> {
        self.in_background(move |index| Ok(index.expired(until, behind, limit)?)).await
    }

    /// How the objects here are kept.
    pub fn rule(&self) -> Rule {
        self.0.rule
    }

    /// How long tombstones are kept, in seconds.
    pub fn reclaim_age(&self) -> u64 {
        self.0.reclaim_age
    }

    /// Longer data is not taken: half of a record is left for its table of checksums.
    pub fn data_max(&self) -> u64 {
        (commit::record_max(self.0.segments.blocks()) / 2 / 4 * CHUNK) as u64
    }
}

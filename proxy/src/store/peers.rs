//! The storage nodes of one ring: whom to ask for a partition, in which order, and who has failed lately.

use crate::config::{Config, SortingMethod};
use rand::seq::SliceRandom;
use ring_builder::{Device, Ring};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use types::{ObjectHash, Partition};
use wire::{Endpoint, NodeClient, encode_segment};

/// One device of a ring, ready to be called.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    /// Its name as it stands in paths.
    pub(crate) device: String,
    /// Its name as it stands in headers.
    pub(crate) device_name: String,
    errors: ErrorLimit,
}

/// Counts the errors of one device. Swift: common/error_limiter.py.
#[derive(Debug, Default)]
struct ErrorLimit {
    count: AtomicU32,
    /// Milliseconds after the proxy's start.
    last_ms: AtomicU64,
}

/// One ring and its devices.
pub(crate) struct RingSide {
    pub(crate) ring: Arc<Ring>,
    /// By device number.
    peers: Vec<Option<Arc<Peer>>>,
    sorting: SortingMethod,
    per_replica: usize,
    limit: u32,
    interval: Duration,
    started: Instant,
    client: NodeClient,
}

/// A node to try.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) peer: Arc<Peer>,
    pub(crate) is_handoff: bool,
}

impl RingSide {
    pub(crate) fn new(ring: Arc<Ring>, config: &Config, client: NodeClient) -> Self {
        let mut peers: Vec<Option<Arc<Peer>>> = Vec::new();
        for device in ring.devices() {
            let at = device.id as usize;
            if peers.len() <= at {
                peers.resize(at + 1, None);
            }
            peers[at] = Some(Arc::new(Peer::of(device)));
        }
        RingSide {
            ring,
            peers,
            sorting: config.sorting_method,
            per_replica: config.request_node_count_per_replica as usize,
            limit: config.error_suppression_limit,
            interval: Duration::from_secs(config.error_suppression_interval_s),
            started: Instant::now(),
            client,
        }
    }

    fn peer(&self, device: &Device) -> Option<Arc<Peer>> {
        self.peers.get(device.id as usize).cloned().flatten()
    }

    pub(crate) fn partition(&self, hash: &ObjectHash) -> Partition {
        self.ring.partition(hash)
    }

    /// The primaries of a partition, as the ring lists them.
    pub(crate) fn primaries(&self, partition: Partition) -> Vec<Arc<Peer>> {
        let nodes = self.ring.primaries(partition);
        nodes.iter().filter_map(|node| self.peer(node.device)).collect()
    }

    /// Everybody who may be asked about a partition.
    pub(crate) fn candidates(self: &Arc<Self>, partition: Partition) -> Candidates {
        let mut primaries = self.primaries(partition);
        let count = primaries.len();
        if self.sorting == SortingMethod::Shuffle && count > 1 {
            primaries.shuffle(&mut rand::rng());
            // A node in this process costs no network; sorting is stable, so the rest stays shuffled.
            primaries.sort_by_key(|peer| !self.client.is_local(&peer.endpoint));
        }
        let queue = primaries.into_iter().map(|peer| Candidate { peer, is_handoff: false });
        Candidates {
            queue: queue.collect(),
            limited: VecDeque::new(),
            handoffs_seen: false,
            primary_count: count,
            side: Arc::clone(self),
            partition,
        }
    }

    /// Notes that a node failed; enough of that, and it is tried last for a while.
    pub(crate) fn failed(&self, peer: &Peer) {
        if self.is_stale(peer) {
            peer.errors.count.store(0, Ordering::Relaxed);
        }
        peer.errors.count.fetch_add(1, Ordering::Relaxed);
        self.note_time(peer);
        metrics::counter!("apus_proxy_backend_errors_total").increment(1);
    }

    /// Notes that a node cannot store or serve at all (507): it is tried last from now on.
    pub(crate) fn suspended(&self, peer: &Peer) {
        peer.errors.count.store(self.limit.saturating_add(1), Ordering::Relaxed);
        self.note_time(peer);
        metrics::counter!("apus_proxy_backend_errors_total").increment(1);
    }

    fn note_time(&self, peer: &Peer) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        peer.errors.last_ms.store(now, Ordering::Relaxed);
    }

    fn is_stale(&self, peer: &Peer) -> bool {
        let last = Duration::from_millis(peer.errors.last_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last) > self.interval
    }

    /// Whether a node has failed too often lately.
    pub(crate) fn is_limited(&self, peer: &Peer) -> bool {
        peer.errors.count.load(Ordering::Relaxed) > self.limit && !self.is_stale(peer)
    }
}

impl Peer {
    fn of(device: &Device) -> Self {
        Peer {
            endpoint: Endpoint::new(device.ip.clone(), device.port),
            device: encode_segment(&device.device),
            device_name: device.device.clone(),
            errors: ErrorLimit::default(),
        }
    }
}

/// Gives the nodes of a partition one after another: primaries, handoffs, and at the end those that have
/// failed too often lately. Swift leaves the last ones out; asking them at the end costs only requests that
/// would fail anyway.
pub(crate) struct Candidates {
    side: Arc<RingSide>,
    partition: Partition,
    primary_count: usize,
    queue: VecDeque<Candidate>,
    limited: VecDeque<Candidate>,
    handoffs_seen: bool,
}

impl Candidates {
    pub(crate) fn primary_count(&self) -> usize {
        self.primary_count
    }

    fn find_handoffs(&mut self) {
        self.handoffs_seen = true;
        let limited = self.limited.len();
        let most = self.primary_count * self.side.per_replica.saturating_sub(1) + limited;
        let side = Arc::clone(&self.side);
        let found = side.ring.handoffs(self.partition).take(most);
        let found = found.filter_map(|node| side.peer(node.device));
        self.queue.extend(found.map(|peer| Candidate { peer, is_handoff: true }));
    }
}

impl Iterator for Candidates {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        loop {
            while let Some(candidate) = self.queue.pop_front() {
                if self.side.is_limited(&candidate.peer) {
                    self.limited.push_back(candidate);
                } else {
                    if candidate.is_handoff {
                        metrics::counter!("apus_proxy_handoffs_total").increment(1);
                    }
                    return Some(candidate);
                }
            }
            if self.handoffs_seen {
                return self.limited.pop_front();
            }
            self.find_handoffs();
        }
    }
}

/// Candidates that several requests share, so that no node is asked twice.
#[derive(Clone)]
pub(crate) struct SharedCandidates(Arc<Mutex<Candidates>>);

impl SharedCandidates {
    pub(crate) fn new(candidates: Candidates) -> Self {
        SharedCandidates(Arc::new(Mutex::new(candidates)))
    }

    pub(crate) fn next(&self) -> Option<Candidate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

//! objectd: one node's object bytes, and the only room that opens them.
//!
//! - [`io`]: the disk seam
//! - [`format`]: what lies on disk, byte by byte
//! - [`state`]: the rule by which an object changes
//! - [`index`]: where each object's records lie
//! - [`engine`]: the log that ties them together
//! - [`inspect`]: looking into a device that nobody opens for it
//! - [`suffix`]: digests by which Swift's replicators compare
//! - `api`: Swift's backend API on top
//!
//! Absent on purpose: everything that needs to know other nodes but where a listing update goes, which the
//! proxy says. Replication asks from outside.

mod api;
pub mod engine;
pub mod format;
pub mod index;
pub mod inspect;
pub mod io;
pub mod state;
pub mod suffix;

use api::{PolicyEngines, Server, answer};
use daemon::{DataLock, Env, LockError, Observed, Running, SharedClock};
use engine::{
    Engine, EngineError, EngineOptions, Identity, Maintenance, OpenError, RecordCache, Space,
};
use format::Superblock;
use index::IndexBudget;
use io::{BLOCK, IoChoice};
use lanes::Md5Lanes;
use serde::Deserialize;
use state::Rule;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use types::{HashPaths, Limits, PartPower, PolicyIndex};

/// How an object server runs. Sizes are in MiB, times in milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the devices' directories are.
    #[serde(skip)]
    pub devices_dir: PathBuf,
    /// What there is of each storage policy.
    #[serde(skip)]
    pub policies: Vec<PolicyDevices>,
    /// The cluster's hash prefix and suffix.
    #[serde(skip)]
    pub hash_paths: HashPaths,
    /// What the cluster accepts at most.
    #[serde(skip)]
    pub limits: Limits,
    /// `auto`, `uring` or `threads`.
    pub io: IoChoice,
    /// Size of each log segment.
    pub segment_mib: u32,
    /// Free space of the file system that is left to others; PUTs that would need it are refused with 507.
    pub reserve_mib: u64,
    /// What each device may take of its file system; 0 for all.
    pub capacity_mib: u64,
    /// How long tombstones are kept, in seconds. Longer than any node of the cluster may be away.
    pub reclaim_age: u64,
    /// Pause between looks for space to be won back.
    pub compaction_ms: u64,
    /// Cache of all devices' indexes together.
    pub index_cache_mib: usize,
    /// Cache of small objects that are read often, of all devices together; 0 for none.
    pub object_cache_mib: usize,
    /// Write buffer of each device's index.
    pub index_buffer_mib: usize,
    /// Memory that bodies of large objects may take while they arrive; over it PUTs are answered 503.
    pub body_memory_mib: u32,
    /// How often the index is made durable, so that a restart replays little.
    pub checkpoint_ms: u64,
    /// How long a body may pause.
    pub client_timeout_ms: u64,
    /// How long an answer waits for container servers.
    pub container_update_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            devices_dir: PathBuf::new(),
            policies: Vec::new(),
            hash_paths: HashPaths::default(),
            limits: Limits::default(),
            io: IoChoice::Auto,
            segment_mib: 64,
            reserve_mib: 256,
            capacity_mib: 0,
            reclaim_age: 7 * 24 * 3600,
            compaction_ms: 1000,
            index_cache_mib: 64,
            object_cache_mib: 64,
            index_buffer_mib: 8,
            body_memory_mib: 1024,
            checkpoint_ms: 60_000,
            client_timeout_ms: 60_000,
            container_update_timeout_ms: 1000,
        }
    }
}

/// A storage policy, as this server has it. Each has a log of its own on each of its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDevices {
    /// Which.
    pub policy: PolicyIndex,
    /// That of its ring; without it nothing can be said of partitions.
    pub part_power: Option<PartPower>,
    /// The devices' names, as in its ring.
    pub devices: Vec<String>,
}

impl PolicyDevices {
    /// Below a device's directory.
    fn dir_name(policy: PolicyIndex) -> String {
        match policy {
            PolicyIndex(0) => "pack".to_owned(),
            PolicyIndex(other) => format!("pack-{other}"),
        }
    }
}

/// Why an object server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A device is in use or cannot be written.
    #[error("device {device} cannot be used")]
    Lock {
        /// Which.
        device: String,
        /// Why.
        source: LockError,
    },
    /// A device's disk cannot be opened.
    #[error("device {device} cannot be opened for disk I/O")]
    Disk {
        /// Which.
        device: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A device's content cannot be used.
    #[error("device {device} in {dir} cannot be opened")]
    Open {
        /// Which.
        device: String,
        /// Where.
        dir: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The system has no thread to spare for MD5.
    #[error(transparent)]
    Md5(#[from] lanes::StartError),
    /// A setting makes no sense.
    #[error("segment_mib must be from 4 to 4095")]
    SegmentSize,
}

/// Opens all devices, recovering what a crash left, and gives the service on them.
pub async fn start(config: Config, env: Env) -> Result<Running, StartError> {
    if !(4..4096).contains(&config.segment_mib) {
        return Err(StartError::SegmentSize);
    }
    let md5 = Md5Lanes::start(Md5Lanes::workers_for_cores())?;
    let cache = config.index_cache_mib << 20;
    let budget = IndexBudget::new(cache, config.index_buffer_mib << 20);
    let records =
        (config.object_cache_mib > 0).then(|| RecordCache::new(config.object_cache_mib << 20));
    let all = config.policies.iter();
    let all = all.flat_map(|it| it.devices.iter().map(|device| (it.policy, device.clone())));
    let opening = all.map(|(policy, device)| {
        let config = config.clone();
        let (budget, records, clock) = (budget.clone(), records.clone(), env.clock.clone());
        tokio::task::spawn_blocking(move || {
            open(&config, policy, &device, &budget, records.as_ref(), clock)
                .map(|(engine, lock)| (policy, device, engine, lock))
        })
    });
    let mut policies: BTreeMap<PolicyIndex, PolicyEngines> = BTreeMap::new();
    for PolicyDevices { policy, part_power, .. } in &config.policies {
        policies.entry(*policy).or_default().part_power = *part_power;
    }
    let mut locks = Vec::new();
    for opened in futures_util::future::join_all(opening).await {
        // The task cannot be cancelled, and a panic in it is ours to pass on.
        let (policy, device, engine, lock) =
            opened.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))?;
        policies.entry(policy).or_default().devices.insert(device, engine);
        locks.push(lock);
    }
    let named = || policies.values().flat_map(|engines| &engines.devices);
    let engines: Vec<Engine> = named().map(|(_, engine)| engine.clone()).collect();
    let checkpoints = tokio::spawn(checkpoint(
        engines.clone(),
        Duration::from_millis(config.checkpoint_ms.max(100)),
        env.shutdown.clone(),
    ));
    let watched = named().map(|(device, engine)| (device.clone(), engine.clone()));
    let room = tokio::spawn(watch_room(watched.collect(), env.shutdown.clone()));
    let pause = Duration::from_millis(config.compaction_ms.max(10));
    let mut tasks = vec![checkpoints, room];
    for (device, engine) in named() {
        let maintaining = maintain(device.clone(), engine.clone(), pause, env.shutdown.clone());
        tasks.push(tokio::spawn(maintaining));
    }
    let server = Arc::new(Server {
        policies,
        hash_paths: config.hash_paths,
        limits: config.limits,
        client_timeout: Duration::from_millis(config.client_timeout_ms),
        update_timeout: Duration::from_millis(config.container_update_timeout_ms),
        in_flight: Default::default(),
        body_memory: Semaphore::new(config.body_memory_mib as usize),
        md5,
        env: env.clone(),
    });
    let service = wire::service_fn(server, answer);
    let service = Observed::Backend.wrap("object-server", env.clock.clone(), service);
    Ok(Running::new(service, move || async move {
        // A round of maintenance ends at its next step; its thread is waited for when the engine is closed.
        engines.iter().for_each(Engine::stop);
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        let close = move || {
            for engine in engines {
                engine.close();
            }
            drop(locks);
        };
        let _ = tokio::task::spawn_blocking(close).await;
    }))
}

fn open(
    config: &Config,
    policy: PolicyIndex,
    device: &str,
    budget: &IndexBudget,
    cache: Option<&RecordCache>,
    clock: SharedClock,
) -> Result<(Engine, DataLock), StartError> {
    let dir = config.devices_dir.join(device).join(PolicyDevices::dir_name(policy));
    let named = || device.to_owned();
    let lock =
        DataLock::take(&dir).map_err(|source| StartError::Lock { device: named(), source })?;
    let disk = io::open_device(&dir.join("log"), config.io);
    let disk = disk.map_err(|source| StartError::Disk { device: named(), source })?;
    let identity = Identity {
        hash_fingerprint: Superblock::fingerprint(&config.hash_paths),
        policy,
        new_device_id: rand::random(),
    };
    let options = EngineOptions {
        segment_blocks: config.segment_mib * ((1 << 20) / BLOCK as u32),
        reserve_bytes: config.reserve_mib << 20,
        capacity_bytes: config.capacity_mib << 20,
        reclaim_age: config.reclaim_age,
        rule: Rule::Replicated,
        cache: cache.cloned(),
    };
    let engine = Engine::open(disk, &dir.join("index"), budget, &identity, &options, clock);
    let engine = engine.map_err(|source| StartError::Open { device: named(), dir, source })?;
    tracing::info!(device, %policy, io = engine.io_kind(), "device is open");
    Ok((engine, lock))
}

/// Space may be freed by others, so it is looked at also when nothing is written.
const ROOM_EVERY: Duration = Duration::from_secs(1);

async fn watch_room(devices: Vec<(String, Engine)>, shutdown: daemon::Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(ROOM_EVERY) => {}
            () = shutdown.wait() => return,
        }
        let devices = devices.clone();
        let measure = move || devices.iter().for_each(|(device, engine)| tell_room(device, engine));
        let _ = tokio::task::spawn_blocking(measure).await;
    }
}

fn tell_room(device: &str, engine: &Engine) {
    engine.measure_room();
    let Space { live, garbage, free } = engine.space();
    for (kind, bytes) in [("live", live), ("garbage", garbage), ("free", free)] {
        let labels = [("device", device.to_owned()), ("kind", kind.to_owned())];
        metrics::gauge!("apus_object_space_bytes", &labels).set(bytes as f64);
    }
}

/// Gives space back, one round after the other: with a pause between, unless room is scarce and can be made.
async fn maintain(device: String, engine: Engine, pause: Duration, shutdown: daemon::Shutdown) {
    let mut helps = true;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = engine.scarce(), if helps => {}
            () = shutdown.wait() => return,
        }
        let working = engine.clone();
        let done = match tokio::task::spawn_blocking(move || working.maintain()).await {
            Ok(done) => done,
            // A panic was logged where it happened; to go on could repeat it for ever.
            Err(error) => {
                tracing::error!(device, %error, "no space is won back any more, until a restart");
                return;
            }
        };
        helps = done.as_ref().is_ok_and(|done| *done != Maintenance::default());
        match done {
            Ok(done) if done == Maintenance::default() => {}
            Ok(Maintenance { freed, emptied, moved_bytes, retired }) => {
                tracing::info!(device, freed, emptied, moved_bytes, retired, "space was won back");
            }
            Err(EngineError::Stopping) => return,
            Err(error) => {
                let error = daemon::telemetry::chain(&error);
                tracing::warn!(device, error, "no space could be won back");
            }
        }
    }
}

async fn checkpoint(engines: Vec<Engine>, every: Duration, shutdown: daemon::Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = shutdown.wait() => return,
        }
        for engine in engines.clone() {
            let done = tokio::task::spawn_blocking(move || engine.checkpoint()).await;
            if let Ok(Err(error)) = done {
                tracing::error!(
                    error = daemon::telemetry::chain(&error),
                    "an index could not be made durable"
                );
            }
        }
    }
}

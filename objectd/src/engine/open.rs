//! Opening a device: making it when it is new, and finding out what is durable when it is not.

use super::apply::Applier;
use super::commit::{Committer, QUEUE};
use super::scan::SCANS;
use super::segments::{Found, Segments};
use super::{Engine, Inner, RecordCache, Shared, rebuild, recover};
use crate::format::Superblock;
use crate::index::{Index, IndexBudget, IndexError};
use crate::io::{BLOCK, BlockBuf, BlockIo, Class, FairIo, WriteMode};
use crate::state::Rule;
use daemon::SharedClock;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, mpsc};
use types::PolicyIndex;

const SUPER: &str = "SUPER";
/// Less would not hold a chunk of bulk data, or a record with 64 KiB.
const SEGMENT_BLOCKS_MIN: u32 = 64;

/// To which cluster and policy a device belongs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// See [`Superblock::fingerprint`].
    pub hash_fingerprint: [u8; 32],
    /// Whose objects it holds.
    pub policy: PolicyIndex,
    /// A random id, used if the device is new.
    pub new_device_id: [u8; 16],
}

/// Sizes of a device.
#[derive(Clone)]
pub struct EngineOptions {
    /// Blocks of each segment.
    pub segment_blocks: u32,
    /// Bytes of the file system that are left to others.
    pub reserve_bytes: u64,
    /// Bytes that the device may take; 0 for all that the file system has.
    pub capacity_bytes: u64,
    /// How long tombstones are kept, in seconds.
    pub reclaim_age: u64,
    /// How the policy keeps its objects.
    pub rule: Rule,
    /// Keeps records that clients read often.
    pub cache: Option<RecordCache>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            segment_blocks: (64 << 20) / BLOCK as u32,
            reserve_bytes: 0,
            capacity_bytes: 0,
            reclaim_age: 7 * 24 * 3600,
            rule: Rule::Replicated,
            cache: None,
        }
    }
}

/// Why a device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk does not work.
    #[error("the disk cannot be read or written")]
    Io(#[source] std::io::Error),
    /// The superblock is not one.
    #[error(
        "its superblock is damaged ({0}); restore log/SUPER, or move the directory away: apus begins an empty one, and the other copies serve"
    )]
    Superblock(crate::format::FormatError),
    /// Another cluster's.
    #[error(
        "it belongs to another cluster: its hash prefix and suffix are not those of this configuration"
    )]
    Foreign,
    /// Another policy's.
    #[error("it holds objects of policy {0}")]
    Policy(PolicyIndex),
    /// Something that was acknowledged cannot be read any more.
    #[error(
        "its log is damaged: {0}; replace the disk, or move the directory away: apus begins an empty one, and the other copies serve"
    )]
    Damaged(String),
    /// The index does not work.
    #[error(
        "its index cannot be used; delete the directory index and it will be rebuilt from the log"
    )]
    Index(#[from] IndexError),
    /// Segments are too small.
    #[error("segments must have at least {SEGMENT_BLOCKS_MIN} blocks")]
    SegmentSize,
    /// No thread could be started.
    #[error("no thread could be started for it")]
    Thread(#[source] std::io::Error),
}

impl Engine {
    /// Opens a device, or makes it. Blocks for as long as recovery takes.
    pub fn open(
        io: Arc<dyn BlockIo>,
        index_dir: &Path,
        budget: &IndexBudget,
        identity: &Identity,
        options: &EngineOptions,
        clock: SharedClock,
    ) -> Result<Engine, OpenError> {
        let open = Self::open_async(io, index_dir, budget, identity, options, clock);
        // On a thread of its own: within a task of the runtime, waiting here would starve what is waited for.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("disk-open".to_owned());
            let opening = thread.spawn_scoped(scope, || futures_executor::block_on(open));
            let died = |_| OpenError::Damaged("opening it broke off".to_owned());
            opening.map_err(OpenError::Thread)?.join().map_err(died)?
        })
    }

    async fn open_async(
        io: Arc<dyn BlockIo>,
        index_dir: &Path,
        budget: &IndexBudget,
        identity: &Identity,
        options: &EngineOptions,
        clock: SharedClock,
    ) -> Result<Engine, OpenError> {
        if options.segment_blocks < SEGMENT_BLOCKS_MIN {
            return Err(OpenError::SegmentSize);
        }
        let superblock = superblock(&io, identity, &clock).await?;
        let found = Found::read(&io, &superblock.device_id).await?;
        let index = Arc::new(Index::open(index_dir, budget)?);
        let shared = Arc::new(Shared::default());
        let disk = FairIo::new(io);
        let io = disk.share(Class::Client);
        let segments = Arc::new(Segments::new(
            Arc::clone(&io),
            superblock.device_id,
            options,
            Arc::clone(&clock),
            &found,
            Arc::clone(&shared.poisoned),
        ));
        let applier = Applier {
            index: Arc::clone(&index),
            segments: Arc::clone(&segments),
            rule: options.rule,
            cells: Arc::default(),
        };
        let accounts: Vec<_> = index.accounts()?.into_iter().collect();
        segments.set_accounts(&accounts);
        let applied = match index.applied()? {
            Some(applied) => applied,
            None => rebuild::rebuild(&io, &found, &applier).await?,
        };
        let log = recover::replay(&io, &found, &applier, applied).await?;
        found.refuse_used(&io, &index).await?;
        for tail in log.tails.iter().flatten() {
            segments.reopen(tail.segment.id);
        }
        segments.resume_bulk();
        segments.measure_room();
        shared.next_lsn.store(log.next_lsn, Ordering::Release);
        shared.updates_from.store(log.updates_from, Ordering::Release);
        // Whoever saw a turn before this start is to look again.
        shared.quarantine_turn.send_replace(clock.micros());
        let (commits, queue) = mpsc::channel(QUEUE);
        let committer = Committer {
            applier,
            log,
            shared: Arc::clone(&shared),
            clock: Arc::clone(&clock),
            queue,
            frame: BlockBuf::default(),
            full: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("disk-commit".to_owned());
        let thread = thread.spawn(move || committer.run()).map_err(OpenError::Thread)?;
        let inner = Inner {
            disk,
            device_id: superblock.device_id,
            index,
            segments,
            commits,
            shared,
            clock,
            rule: options.rule,
            scans: Arc::new(Semaphore::new(SCANS)),
            reclaim_age: options.reclaim_age,
            commit_thread: Mutex::new(Some(thread)),
            maintaining: Mutex::default(),
        };
        Ok(Engine(Arc::new(inner), io, options.cache.clone()))
    }
}

async fn superblock(
    io: &Arc<dyn BlockIo>,
    identity: &Identity,
    clock: &SharedClock,
) -> Result<Superblock, OpenError> {
    let names = io.list().await.map_err(OpenError::Io)?;
    let segments = names.iter().any(|name| name.ends_with(".seg"));
    if !names.iter().any(|name| name == SUPER) {
        if segments {
            let why = "log/SUPER is missing, but there are segments".to_owned();
            return Err(OpenError::Damaged(why));
        }
        let file = io.create(SUPER, 2).await.map_err(OpenError::Io)?;
        return write_superblock(io, file, identity, clock).await;
    }
    let (file, _) = io.open(SUPER).await.map_err(OpenError::Io)?;
    let blocks = io.read(file, 0, 2).await.map_err(OpenError::Io)?;
    let (first, second) = blocks.as_ref().split_at(crate::io::BLOCK);
    let superblock = match Superblock::decode(first).or_else(|_| Superblock::decode(second)) {
        Ok(superblock) => superblock,
        // The very first start ended while it wrote the first copy; the second is written after that is durable.
        Err(_) if !segments && second.iter().all(|byte| *byte == 0) => {
            return write_superblock(io, file, identity, clock).await;
        }
        Err(error) => return Err(OpenError::Superblock(error)),
    };
    if superblock.hash_fingerprint != identity.hash_fingerprint {
        return Err(OpenError::Foreign);
    }
    if superblock.policy != identity.policy {
        return Err(OpenError::Policy(superblock.policy));
    }
    for (number, copy) in [(0, first), (1, second)] {
        if Superblock::decode(copy).is_err() {
            tracing::warn!(copy = number, "a damaged copy of the superblock is written anew");
            let buf = BlockBuf::from_bytes(&superblock.encode());
            io.write(file, number, buf, WriteMode::Durable).await.map_err(OpenError::Io)?;
        }
    }
    Ok(superblock)
}

async fn write_superblock(
    io: &Arc<dyn BlockIo>,
    file: crate::io::FileId,
    identity: &Identity,
    clock: &SharedClock,
) -> Result<Superblock, OpenError> {
    let superblock = Superblock {
        device_id: identity.new_device_id,
        hash_fingerprint: identity.hash_fingerprint,
        policy: identity.policy,
        created_micros: clock.micros(),
    };
    for block in 0..2 {
        let buf = BlockBuf::from_bytes(&superblock.encode());
        io.write(file, block, buf, WriteMode::Durable).await.map_err(OpenError::Io)?;
    }
    Ok(superblock)
}

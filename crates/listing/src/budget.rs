//! What all lists of a process may use together: memory for blocks and for rows not yet flushed, and threads.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, Env, LogLevel, Options,
};
use rocksdb::{DBRecoveryMode, WriteBufferManager};

/// Threads that flush and compact, for all databases of the process together.
const BACKGROUND_THREADS: i32 = 2;
/// A database's buffer of rows that are in the journal but in no table yet.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
const OPEN_FILES_MAX: i32 = 256;
const BLOCK_BYTES: usize = 16 << 10;
const METADATA_BLOCK_BYTES: usize = 8 << 10;
const FILTER_BITS_PER_KEY: f64 = 10.0;

/// Made once per process and shared by all its databases.
#[derive(Clone)]
pub struct Budget {
    cache: Cache,
    write_buffers: WriteBufferManager,
    env: Option<Env>,
}

impl Budget {
    /// At most `cache_bytes` of cached blocks, and `write_buffer_bytes` of unflushed rows.
    pub fn new(cache_bytes: u64, write_buffer_bytes: u64) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let env = Env::new().ok().map(|mut env| {
            env.set_background_threads(BACKGROUND_THREADS);
            env.set_high_priority_background_threads(1);
            env
        });
        Budget {
            cache: Cache::new_lru_cache(size(cache_bytes)),
            write_buffers: WriteBufferManager::new_write_buffer_manager(
                size(write_buffer_bytes),
                false,
            ),
            env,
        }
    }

    /// The options of one database.
    pub(crate) fn options(&self) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        // Indexes and filters count as cached blocks, so memory has one bound. They must then be in parts: one
        // filter for a whole file would not fit into a shard of the cache, and be read again for every row.
        table.set_cache_index_and_filter_blocks(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_metadata_block_size(METADATA_BLOCK_BYTES);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_pin_top_level_index_and_filter(true);
        table.set_block_size(BLOCK_BYTES);
        table.set_format_version(6);
        table.set_hybrid_ribbon_filter(FILTER_BITS_PER_KEY, 2);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_manager(&self.write_buffers);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        if let Some(env) = &self.env {
            options.set_env(env);
        }
        options.set_max_background_jobs(BACKGROUND_THREADS);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_bytes_per_sync(1 << 20);
        // Batches are in the journal. Databases of before there was one have them in RocksDB's log, whole; only a torn
        // end, never acknowledged, may be left out.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        // Deleting many objects leaves markers between live rows; tables full of them are rewritten soon.
        options.add_compact_on_deletion_collector_factory(4096, 1024, 0.3);
        options.set_keep_log_file_num(2);
        options.set_log_level(LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        options
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Budget")
    }
}

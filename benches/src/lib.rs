//! What the benchmarks share: stores to be measured, and measuring their wall time and CPU time.
//!
//! - `cargo bench --package benches --bench engine`: the object engine alone, by disk interface
//! - `cargo bench --package benches --bench baseline`: the object engine beside RocksDB with blob files
//! - `cargo bench --package benches --bench aged`: the object engine on a device that is nearly full
//! - `cargo bench --package benches --bench memory`: what the index takes of memory for each object
//! - `cargo bench --package benches --bench md5`: MD5, by kernel and number of streams
//!
//! `benches/compare_objectd.py` and `benches/compare_swift.py` measure beside Python Swift on the same machine in
//! the same run.

pub mod aging;
pub mod counting;
pub mod disk;
pub mod rocks;
pub mod store;
pub mod subject;

use std::time::{Duration, Instant};

/// What a run of many operations took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Operations.
    pub count: u64,
    /// From the first to the last.
    pub wall: Duration,
    /// Of all threads of this process together.
    pub cpu: Duration,
}

impl Cost {
    /// Operations in a second.
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.wall.as_secs_f64()
    }

    /// CPU microseconds of one operation.
    pub fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count as f64
    }

    /// Megabytes that one core moves in a second when operations are of `size` bytes.
    pub fn megabytes_per_core(&self, size: usize) -> f64 {
        size as f64 / self.cpu_micros()
    }
}

/// CPU time that this process has used so far.
pub fn cpu_time() -> Duration {
    let spec = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spec.tv_sec.unsigned_abs(), spec.tv_nsec.unsigned_abs() as u32)
}

/// Measures `count` operations that `work` does.
pub async fn measure(
    count: u64,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Cost> {
    let (wall, cpu) = (Instant::now(), cpu_time());
    work.await?;
    Ok(Cost { count, wall: wall.elapsed(), cpu: cpu_time().saturating_sub(cpu) })
}

/// The one in the middle, by CPU time of an operation.
pub fn median(mut costs: Vec<Cost>) -> Option<Cost> {
    costs.sort_by(|a, b| a.cpu_micros().total_cmp(&b.cpu_micros()));
    costs.get(costs.len() / 2).copied()
}

/// The number behind `name=` among the program's arguments.
pub fn argument(name: &str) -> Option<u64> {
    let words = std::env::args().skip(1);
    words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).next()
}

/// So many percent of a count, as the first number among the program's arguments says: a quick look needs less
/// than a measurement.
pub fn scaled(count: u64) -> u64 {
    let percent = std::env::args().skip(1).find_map(|word| word.parse::<u64>().ok());
    (count * percent.unwrap_or(100) / 100).max(1)
}

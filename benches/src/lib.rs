//! What the benchmarks share: measuring wall time and CPU time, and telling medians.
//!
//! `cargo bench --package benches --bench engine` measures the object engine alone. `benches/compare_swift.sh`
//! measures the whole product beside Python Swift on the same machine in the same run.

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

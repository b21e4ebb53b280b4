//! A device that ages: filled to a share of its room, then overwritten, with maintenance beside as in the server.

use crate::store::{Store, key, noise};
use crate::subject::{Subject, encoded_metadata};
use crate::{Cost, cpu_time, measure};
use objectd::engine::Maintenance;
use objectd::io::BLOCK;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Tasks that write.
const TASKS: u64 = 32;
/// Pause between rounds of maintenance, the server's default.
const PAUSE: Duration = Duration::from_secs(1);
/// How long somebody waits whom the server would have answered 507.
const REFUSED: Duration = Duration::from_millis(10);
/// So often the index is made durable, the server's default.
const CHECKPOINT: Duration = Duration::from_secs(60);
/// Bytes of a record before its metadata, and of each checksum and extent in it (docs/formats/pack.md).
const RECORD_FIXED: u64 = 104;
const CHUNK: u64 = 64 << 10;

/// Bytes of the object of a number: nine in ten have 4 KiB, one in a hundred has 256 KiB, which is bulk data, and the
/// others have 32 KiB.
pub fn size_of(number: u64) -> usize {
    match number % 100 {
        7 => 256 << 10,
        other if other % 11 == 3 => 32 << 10,
        _ => 4 << 10,
    }
}

/// What an object of so many bytes takes at the least, its record and its data.
pub fn record_bytes(size: usize) -> u64 {
    let size = size as u64;
    let head = RECORD_FIXED + encoded_metadata().len() as u64 + size.div_ceil(CHUNK) * 4;
    match size > CHUNK {
        true => head + 12 + size.next_multiple_of(BLOCK as u64),
        false => head + size,
    }
}

/// Which objects are overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// All alike.
    Uniform,
    /// Nine in ten writes are to one object in ten.
    Skewed,
}

impl Pattern {
    /// The object that the `nth` write is to, of `count`.
    pub fn pick(self, nth: u64, count: u64) -> u64 {
        // SplitMix64: any two writes are as unrelated as random ones.
        let mut word = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let (choice, any) = (word >> 40, word & 0xff_ffff_ffff);
        match self {
            Pattern::Skewed if choice % 10 > 0 => any % (count / 10).max(1) * 10,
            _ => any % count,
        }
    }
}

/// What a part of a device's life was.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// PUTs. CPU is that of everything, maintenance included.
    pub cost: Cost,
    /// Bytes of their records.
    pub records: u64,
    /// Bytes written to log and bulk segments.
    pub written: u64,
    /// Zeros to prepare segments.
    pub zeroed: u64,
    /// What the process has written to the disk altogether.
    pub process: u64,
    /// How often somebody would have been refused.
    pub refused: u64,
}

impl Stage {
    /// Bytes written for each byte of records.
    pub fn amplification(&self) -> f64 {
        self.written as f64 / self.records.max(1) as f64
    }
}

/// A device in use.
pub struct Aging {
    subject: Subject,
    maintaining: JoinHandle<()>,
    version: u64,
    /// Objects on it.
    pub objects: u64,
    refused: Arc<AtomicU64>,
}

impl Aging {
    /// Begins to use a device; in a runtime.
    pub fn begin(subject: Subject) -> Self {
        let maintaining = tokio::spawn(maintain(subject.clone()));
        Aging { subject, maintaining, version: 1, objects: 0, refused: Arc::default() }
    }

    /// Stores new objects until so many bytes live.
    pub async fn fill(&mut self, bytes: u64) -> anyhow::Result<Stage> {
        let mut records = 0;
        let mut count = 0;
        let first = self.objects;
        while records < bytes.saturating_sub(self.subject.engine.space().live) || count == 0 {
            records += record_bytes(size_of(first + count));
            count += 1;
        }
        self.objects += count;
        self.write(count, move |nth| first + nth).await
    }

    /// Overwrites as many objects as there are.
    pub async fn overwrite(&mut self, pattern: Pattern) -> anyhow::Result<Stage> {
        let (count, salt) = (self.objects, self.version << 32);
        self.write(count, move |nth| pattern.pick(salt + nth, count)).await
    }

    /// Of the device's room, what lives.
    pub fn live(&self) -> u64 {
        self.subject.engine.space().live
    }

    /// Ends it.
    pub async fn end(self) -> anyhow::Result<()> {
        self.subject.engine.stop();
        self.maintaining.abort();
        let _ = self.maintaining.await;
        let subject = self.subject;
        Ok(tokio::task::spawn_blocking(move || subject.close()).await?)
    }

    async fn write(
        &mut self,
        count: u64,
        number: impl Fn(u64) -> u64 + Copy + Send + 'static,
    ) -> anyhow::Result<Stage> {
        self.version += 1;
        let counted = Arc::clone(&self.subject.counted);
        let before = (counted.written(), counted.zeroed(), crate::disk::moved()?.1, cpu_time());
        let refused = self.refused.load(Ordering::Relaxed);
        let records = (0..count).map(|nth| record_bytes(size_of(number(nth)))).sum();
        let mut cost = measure(count, self.put_all(count, number)).await?;
        let subject = self.subject.clone();
        tokio::task::spawn_blocking(move || subject.settle()).await??;
        cost.cpu = cpu_time().saturating_sub(before.3);
        Ok(Stage {
            cost,
            records,
            written: counted.written() - before.0,
            zeroed: counted.zeroed() - before.1,
            process: crate::disk::moved()?.1 - before.2,
            refused: self.refused.load(Ordering::Relaxed) - refused,
        })
    }

    async fn put_all(
        &self,
        count: u64,
        number: impl Fn(u64) -> u64 + Copy + Send + 'static,
    ) -> anyhow::Result<()> {
        let data = noise(256 << 10);
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (subject, data) = (self.subject.clone(), Arc::clone(&data));
                // Later writes to an object have later moments.
                let (refused, moment) = (Arc::clone(&self.refused), self.version << 32);
                tokio::spawn(async move {
                    for nth in (task..count).step_by(TASKS as usize) {
                        while !subject.engine.has_room() {
                            refused.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(REFUSED).await;
                        }
                        let number = number(nth);
                        let data = Arc::from(&data[..size_of(number)]);
                        subject.put(key(number), moment + nth, data).await?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(())
    }
}

/// As the server does it.
async fn maintain(subject: Subject) {
    let mut helps = true;
    let mut checkpointed = std::time::Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = subject.engine.scarce(), if helps => {}
        }
        let working = subject.engine.clone();
        let due = checkpointed.elapsed() > CHECKPOINT;
        let round = move || {
            let done = working.maintain()?;
            if due {
                working.checkpoint()?;
            }
            anyhow::Ok(done)
        };
        if due {
            checkpointed = std::time::Instant::now();
        }
        match tokio::task::spawn_blocking(round).await {
            Ok(Ok(done)) => helps = done != Maintenance::default(),
            Ok(Err(error)) => eprintln!("no space could be won back: {error:#}"),
            Err(_) => return,
        }
    }
}

/// Bytes that a log writes for each new one in the long run, at least, when all is overwritten alike and `used` of it
/// lives: what is emptied, oldest first, has a share `x` that lives, where `used = (1 - x) / -ln x`.
pub fn uniform_amplification(used: f64) -> f64 {
    let (mut low, mut high) = (1e-9_f64, 1.0 - 1e-9);
    for _ in 0..100 {
        let x = (low + high) / 2.0;
        match (1.0 - x) / -x.ln() < used {
            true => low = x,
            false => high = x,
        }
    }
    1.0 / (1.0 - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_theory_is_what_books_say() {
        for (used, expected) in [(0.5, 1.26), (0.75, 2.2), (0.8, 2.7), (0.9, 5.2)] {
            let found = uniform_amplification(used);
            assert!((found - expected).abs() < 0.1, "{used}: {found}");
        }
    }

    #[test]
    fn skewed_writes_are_skewed_and_uniform_ones_are_not() {
        for (pattern, hot) in [(Pattern::Uniform, 0.1), (Pattern::Skewed, 0.91)] {
            let picks = 0..100_000;
            let found = picks.filter(|nth| pattern.pick(*nth, 5000).is_multiple_of(10)).count();
            assert!((found as f64 / 1e5 - hot).abs() < 0.01, "{pattern:?}: {found}");
        }
    }
}

//! The object engine alone: durable PUTs, and GETs of what was put, by concurrency and disk interface.
//!
//! The figures depend on the disk under the temporary directory (`TMPDIR`); compare only within one run.

use benches::{Cost, measure, median};
use daemon::SystemClock;
use objectd::engine::{Change, Engine, EngineOptions, Identity};
use objectd::format::{Metadata, RecordKind, Superblock};
use objectd::index::IndexBudget;
use objectd::io::{IoChoice, open_device};
use std::sync::Arc;
use types::{HashPaths, ObjectHash, PolicyIndex, Timestamp};

const REPEATS: usize = 5;
const SIZE: usize = 4096;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("engine, {SIZE} bytes an object, medians of {REPEATS} runs");
    println!(
        "{:10} {:>12} {:>6} {:>12} {:>12}",
        "disk", "operation", "tasks", "per second", "CPU us each"
    );
    for choice in [IoChoice::Uring, IoChoice::Threads] {
        let dir = tempfile::tempdir()?;
        let Ok(disk) = open_device(&dir.path().join("log"), choice) else {
            println!("{choice:?} is refused here");
            continue;
        };
        let budget = IndexBudget::new(64 << 20, 8 << 20);
        let identity = Identity {
            hash_fingerprint: Superblock::fingerprint(&HashPaths::default()),
            policy: PolicyIndex(0),
            new_device_id: [1; 16],
        };
        let options = EngineOptions { segment_blocks: 16 * 1024, reserve_bytes: 0 };
        let clock = Arc::new(SystemClock::default());
        let index = dir.path().join("index");
        let engine = Engine::open(disk, &index, &budget, &identity, &options, clock)?;
        let mut round = 0;
        for tasks in [1, 16, 64] {
            let count = if tasks == 1 { 2000 } else { 20_000 };
            let (mut puts, mut gets) = (Vec::new(), Vec::new());
            for _ in 0..REPEATS {
                round += 1;
                let (put, get) = runtime.block_on(run(&engine, round, tasks, count))?;
                puts.push(put);
                gets.push(get);
            }
            for (name, costs) in [("PUT", puts), ("GET", gets)] {
                if let Some(cost) = median(costs) {
                    let (rate, cpu) = (cost.per_second(), cost.cpu_micros());
                    println!(
                        "{:10} {name:>12} {tasks:>6} {rate:>12.0} {cpu:>12.1}",
                        engine.io_kind()
                    );
                }
            }
        }
        engine.close();
    }
    Ok(())
}

fn hash(round: u64, number: u64) -> ObjectHash {
    HashPaths::default().object("a", &round.to_string(), &number.to_string())
}

async fn run(engine: &Engine, round: u64, tasks: u64, count: u64) -> anyhow::Result<(Cost, Cost)> {
    let each = count / tasks;
    let put = measure(
        each * tasks,
        spread(tasks, |task| {
            let engine = engine.clone();
            async move {
                let (data, mut metadata) = (vec![7u8; SIZE], Metadata::default());
                metadata.set("content-type", b"application/octet-stream");
                for number in task * each..(task + 1) * each {
                    let mut body = engine.body();
                    body.push(&data).await?;
                    let change = Change {
                        kind: RecordKind::Data,
                        hash: hash(round, number),
                        timestamp: Timestamp::from_raw(round),
                        content_type_timestamp: None,
                        delete_at: 0,
                        metadata: &metadata,
                        body: body.finish().await?,
                        update: None,
                    };
                    engine.commit(change).await?;
                }
                Ok(())
            }
        }),
    )
    .await?;
    let get = measure(
        each * tasks,
        spread(tasks, |task| {
            let engine = engine.clone();
            async move {
                for number in task * each..(task + 1) * each {
                    let hash = hash(round, number);
                    let state = engine.state(hash).await?;
                    let version =
                        *state.data().ok_or_else(|| anyhow::anyhow!("an object is gone"))?;
                    let record = engine.open_record(hash, version.location).await?;
                    let data = engine.data(&record, 0..version.data_len).whole().await?;
                    anyhow::ensure!(data.len() == SIZE, "an object came back short");
                }
                Ok(())
            }
        }),
    )
    .await?;
    Ok((put, get))
}

async fn spread<F, Fut>(tasks: u64, work: F) -> anyhow::Result<()>
where
    F: Fn(u64) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let running: Vec<_> = (0..tasks).map(|task| tokio::spawn(work(task))).collect();
    for task in running {
        task.await??;
    }
    Ok(())
}

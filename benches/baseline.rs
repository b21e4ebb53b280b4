//! An honest baseline: our engine beside RocksDB with blob files and a synced WAL, in one process, on one disk, in
//! turns.
//!
//! If a log of our own is not clearly better at equal durability, it is not worth having. An argument is the
//! percentage of the usual counts; `direct` has RocksDB bypass the page cache, as the engine does:
//!
//! `cargo bench --package benches --bench baseline -- 10 direct`

use benches::disk::{moved, taken};
use benches::rocks::{Rocks, Setup};
use benches::store::{Load, Store, gets, puts};
use benches::subject::Subject;
use benches::{Cost, median, scaled};
use objectd::io::IoChoice;
use std::path::Path;
use tokio::runtime::Runtime;

const KIB: usize = 1024;
/// Rounds; in every second one the order is the other way round.
const REPEATS: u64 = 4;
/// Bytes of an object, how many with one task and how many with more.
const SIZES: [(usize, u64, u64); 3] =
    [(4 * KIB, 2000, 20_000), (64 * KIB, 500, 2000), (1024 * KIB, 100, 200)];
const TASKS: [u64; 3] = [1, 16, 64];

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let setup = Setup { direct: std::env::args().any(|word| word == "direct"), collect: false };
    let cache = if setup.direct { "bypasses" } else { "uses" };
    println!("medians of {REPEATS} rounds; RocksDB {cache} the page cache, the engine bypasses it");
    println!("CPU of PUTs includes what they leave to be done: flushing tables, a checkpoint\n");
    println!(
        "{:>8} {:>5} {:>6} | {:>10} {:>10} {:>6} | {:>10} {:>10} {:>6} | {:>12}",
        "bytes",
        "what",
        "tasks",
        "engine/s",
        "rocksdb/s",
        "ratio",
        "engine us",
        "rocksdb us",
        "ratio",
        "inline us"
    );
    for (size, few, many) in SIZES {
        let dir = tempfile::tempdir()?;
        let (mine, other) = (dir.path().join("engine"), dir.path().join("rocksdb"));
        for store in [&mine, &other] {
            std::fs::create_dir(store)?;
        }
        let pair = (Subject::open(&mine, IoChoice::Auto)?, Rocks::open(&other, setup)?);
        let mut next = 0;
        for tasks in TASKS {
            let count = scaled(if tasks == 1 { few } else { many });
            speed(&runtime, &pair, size, tasks, next..next + count * REPEATS)?;
            next += count * REPEATS;
        }
        pair.0.close();
    }
    amplification(&runtime, Setup { collect: true, ..setup })
}

/// Both stores with the same load, in turns, one range of numbers a round.
fn speed(
    runtime: &Runtime,
    (mine, other): &(Subject, Rocks),
    size: usize,
    tasks: u64,
    numbers: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    let each = (numbers.end - numbers.start) / REPEATS;
    let (mut ours, mut theirs) = (Costs::default(), Costs::default());
    for round in 0..REPEATS {
        let first = numbers.start + round * each;
        let load = Load { numbers: first..first + each, size, tasks, version: 1 };
        if round % 2 == 0 {
            ours.run(runtime, mine, &load)?;
            theirs.run(runtime, other, &load)?;
        } else {
            theirs.run(runtime, other, &load)?;
            ours.run(runtime, mine, &load)?;
        }
        theirs.inline.push(runtime.block_on(gets(&other.inline(), &load))?);
    }
    let inline = median(theirs.inline).map_or(0.0, |cost| cost.cpu_micros());
    row(size, "PUT", tasks, (ours.puts, theirs.puts), None);
    row(size, "GET", tasks, (ours.gets, theirs.gets), Some(inline));
    Ok(())
}

/// What one store's rounds cost.
#[derive(Default)]
struct Costs {
    puts: Vec<Cost>,
    gets: Vec<Cost>,
    inline: Vec<Cost>,
}

impl Costs {
    fn run<S: Store>(&mut self, runtime: &Runtime, store: &S, load: &Load) -> anyhow::Result<()> {
        self.puts.push(runtime.block_on(puts(store, load))?);
        self.gets.push(runtime.block_on(gets(store, load))?);
        Ok(())
    }
}

fn row(size: usize, what: &str, tasks: u64, costs: (Vec<Cost>, Vec<Cost>), inline: Option<f64>) {
    let (Some(mine), Some(other)) = (median(costs.0), median(costs.1)) else { return };
    let speed = (mine.per_second(), other.per_second());
    let cpu = (mine.cpu_micros(), other.cpu_micros());
    let inline = inline.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.1}"));
    println!(
        "{size:>8} {what:>5} {tasks:>6} | {:>10.0} {:>10.0} {:>5.2}x | {:>10.1} {:>10.1} {:>5.2}x | {inline:>12}",
        speed.0,
        speed.1,
        speed.0 / speed.1,
        cpu.0,
        cpu.1,
        cpu.1 / cpu.0
    );
}

/// Bytes written for each byte stored: when objects are new, and when all are overwritten twice.
fn amplification(runtime: &Runtime, setup: Setup) -> anyhow::Result<()> {
    println!(
        "\nbytes written to the disk for each byte of data, and bytes taken at the end for each live byte"
    );
    println!(
        "{:>8} {:>15} {:>8} {:>18} {:>8}",
        "bytes", "store", "new", "overwritten twice", "taken"
    );
    for (size, _, many) in SIZES {
        let dir = tempfile::tempdir()?;
        let load = Load { numbers: 0..scaled(many * 2), size, tasks: 64, version: 1 };
        let mine = dir.path().join("engine");
        let subject = Subject::open(&mine, IoChoice::Auto)?;
        written(runtime, &subject, &load, &mine)?;
        subject.close();
        let other = dir.path().join("rocksdb");
        written(runtime, &Rocks::open(&other, setup)?, &load, &other)?;
    }
    Ok(())
}

fn written<S: Store>(runtime: &Runtime, store: &S, load: &Load, dir: &Path) -> anyhow::Result<()> {
    let bytes = (load.numbers.end - load.numbers.start) as f64 * load.size as f64;
    let start = moved()?.1;
    runtime.block_on(puts(store, load))?;
    let new = moved()?.1;
    for version in [2, 3] {
        runtime.block_on(puts(store, &Load { version, ..load.clone() }))?;
    }
    let again = moved()?.1;
    println!(
        "{:>8} {:>15} {:>8.2} {:>18.2} {:>8.2}",
        load.size,
        store.name(),
        (new - start) as f64 / bytes,
        (again - new) as f64 / bytes / 2.0,
        taken(dir)? as f64 / bytes
    );
    Ok(())
}

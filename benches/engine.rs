//! The object engine alone, by disk interface: durable PUTs, GETs of what was put, cold GETs, and large objects.
//!
//! The figures depend on the disk under the temporary directory (`TMPDIR`); compare only within one run. An
//! argument is the percentage of the usual counts: `cargo bench --package benches --bench engine -- 10`.

use benches::disk::{forget_cached, moved};
use benches::store::{Load, gets, puts};
use benches::subject::Subject;
use benches::{Cost, median, scaled};
use objectd::io::IoChoice;
use std::path::Path;
use tokio::runtime::Runtime;

const REPEATS: usize = 5;
const SMALL: usize = 4096;
const MIB: usize = 1 << 20;

/// Numbers that no object has had yet.
#[derive(Default)]
struct Numbers(u64);

impl Numbers {
    fn load(&mut self, count: u64, size: usize, tasks: u64) -> Load {
        self.0 += count;
        Load { numbers: self.0 - count..self.0, size, tasks, version: 1 }
    }
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("engine, medians of {REPEATS} runs; CPU of PUTs includes the checkpoint after them");
    for choice in [IoChoice::Uring, IoChoice::Threads] {
        let dir = tempfile::tempdir()?;
        let Ok(subject) = Subject::open(dir.path(), choice) else {
            println!("{choice:?} is refused here");
            continue;
        };
        let mut numbers = Numbers::default();
        small(&runtime, &subject, &mut numbers)?;
        large(&runtime, &subject, &mut numbers)?;
        let kept = numbers.load(scaled(20_000), SMALL, 64);
        runtime.block_on(puts(&subject, &kept))?;
        subject.close();
        cold(&runtime, dir.path(), choice, &kept)?;
    }
    Ok(())
}

/// Objects that share frames.
fn small(runtime: &Runtime, subject: &Subject, numbers: &mut Numbers) -> anyhow::Result<()> {
    println!("\n{SMALL} bytes an object");
    println!(
        "{:10} {:>6} {:>6} {:>12} {:>12} {:>14} {:>12}",
        "disk", "what", "tasks", "per second", "CPU us each", "flushes each", "reads each"
    );
    for tasks in [1, 16, 64] {
        let count = scaled(if tasks == 1 { 2000 } else { 20_000 });
        let (mut put, mut get, mut durable, mut reads) = (Vec::new(), Vec::new(), 0, 0);
        for _ in 0..REPEATS {
            let load = numbers.load(count, SMALL, tasks);
            let before = (subject.counted.durable(), subject.counted.reads());
            put.push(runtime.block_on(puts(subject, &load))?);
            durable += subject.counted.durable() - before.0;
            get.push(runtime.block_on(gets(subject, &load))?);
            reads += subject.counted.reads() - before.1;
        }
        let total = (count * REPEATS as u64) as f64;
        let (durable, reads) = (durable as f64 / total, reads as f64 / total);
        let disk = subject.io_kind();
        row(disk, "PUT", tasks, put, &format!("{durable:>14.3} {:>12}", "-"));
        row(disk, "GET", tasks, get, &format!("{:>14} {reads:>12.3}", "-"));
    }
    Ok(())
}

fn row(disk: &str, what: &str, tasks: u64, costs: Vec<Cost>, more: &str) {
    if let Some(cost) = median(costs) {
        let (rate, cpu) = (cost.per_second(), cost.cpu_micros());
        println!("{disk:10} {what:>6} {tasks:>6} {rate:>12.0} {cpu:>12.1} {more}");
    }
}

/// Objects with data in bulk segments.
fn large(runtime: &Runtime, subject: &Subject, numbers: &mut Numbers) -> anyhow::Result<()> {
    println!("\nlarge objects");
    println!(
        "{:10} {:>6} {:>6} {:>6} {:>12} {:>16} {:>14}",
        "disk", "what", "MiB", "tasks", "MB/s", "MB/s per core", "flushes each"
    );
    for (size, count) in [(MIB, 256), (64 * MIB, 8)] {
        for tasks in [1, 4] {
            let (mut put, mut get, mut durable) = (Vec::new(), Vec::new(), 0);
            let count = scaled(count);
            for _ in 0..3 {
                let load = numbers.load(count, size, tasks);
                let before = subject.counted.durable();
                put.push(runtime.block_on(puts(subject, &load))?);
                durable += subject.counted.durable() - before;
                get.push(runtime.block_on(gets(subject, &load))?);
            }
            let flushes = format!("{:.2}", durable as f64 / (count * 3) as f64);
            for (what, costs, flushes) in [("PUT", put, flushes.as_str()), ("GET", get, "-")] {
                let Some(cost) = median(costs) else { continue };
                let wall = cost.per_second() * size as f64 / 1e6;
                let core = cost.megabytes_per_core(size);
                let (disk, mib) = (subject.io_kind(), size / MIB);
                println!(
                    "{disk:10} {what:>6} {mib:>6} {tasks:>6} {wall:>12.0} {core:>16.0} {flushes:>14}"
                );
            }
        }
    }
    Ok(())
}

/// The first GET of each object after a start, with nothing of the index in memory.
fn cold(runtime: &Runtime, dir: &Path, choice: IoChoice, load: &Load) -> anyhow::Result<()> {
    forget_cached(dir)?;
    let subject = Subject::open(dir, choice)?;
    let (reads, bytes) = (subject.counted.reads(), moved()?.0);
    let cost = runtime.block_on(gets(&subject, load))?;
    let count = cost.count as f64;
    println!(
        "\n{}: cold GETs of {} bytes after a start: {:.3} reads of the log each, {:.1} KiB from the disk each with \
         the index, CPU {:.1} us each",
        subject.io_kind(),
        load.size,
        (subject.counted.reads() - reads) as f64 / count,
        (moved()?.0 - bytes) as f64 / count / 1024.0,
        cost.cpu_micros(),
    );
    subject.close();
    Ok(())
}

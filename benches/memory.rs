//! What the index takes of memory for each object, and what less memory costs.
//!
//! A device is filled with tiny objects and closed. Then, in processes of their own, it is opened and read at random,
//! with caches of several sizes; resident memory is told less that of the same with few objects, and divided by how
//! many there are more. `cargo bench --package benches --bench memory -- objects=1000000 dir=/somewhere`.

use anyhow::Context;
use benches::disk::moved;
use benches::store::{Load, Store, key, puts};
use benches::subject::{Sizes, Subject};
use benches::{argument, cpu_time};
use objectd::io::IoChoice;
use rocksdb::{DB, Options};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Objects of the device that is compared with.
const FEW: u64 = 10_000;
const SIZE: usize = 64;
const TASKS: u64 = 64;
const GETS: u64 = 200_000;
const COLUMNS: [&str; 4] = ["obj", "upd", "own", "meta"];

fn main() -> anyhow::Result<()> {
    if let Some(dir) = word("read") {
        let (objects, cache) = (argument("objects"), argument("cache"));
        return read(Path::new(&dir), objects.context("objects=")?, cache.context("cache=")?);
    }
    let objects = argument("objects").unwrap_or(1_000_000);
    let parent = match word("dir") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").context("no HOME")?).join(".cache/apus"),
    };
    std::fs::create_dir_all(&parent)?;
    let (few, many) = (tempfile::tempdir_in(&parent)?, tempfile::tempdir_in(&parent)?);
    fill(few.path(), FEW)?;
    fill(many.path(), objects)?;
    println!("{objects} objects of {SIZE} bytes");
    tables(&many.path().join("index"), objects)?;
    println!(
        "\n{:>14} {:>14} {:>12} {:>12} {:>14}",
        "cache", "B resident", "GETs/s", "CPU us each", "KiB read each"
    );
    for bytes in [4, 16, 128] {
        // In KiB, so that few objects have some too.
        let cache = bytes * objects / 1024;
        let base = child(few.path(), FEW, cache)?;
        let full = child(many.path(), objects, cache)?;
        println!(
            "{:>10} B/o {:>14.1} {:>12.0} {:>12.1} {:>14.2}",
            bytes,
            (full.resident - base.resident) / (objects - FEW) as f64,
            full.per_second,
            full.cpu,
            full.read / 1024.0
        );
    }
    Ok(())
}

fn word(name: &str) -> Option<String> {
    std::env::args().find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

fn fill(dir: &Path, objects: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let subject = Subject::open(dir, IoChoice::Auto)?;
    let load = Load { numbers: 0..objects, size: SIZE, tasks: TASKS, version: 1 };
    runtime.block_on(puts(&subject, &load))?;
    subject.close();
    Ok(())
}

/// What RocksDB says of its tables, all of them together.
fn tables(index: &Path, objects: u64) -> anyhow::Result<()> {
    let db = DB::open_cf_for_read_only(&Options::default(), index, COLUMNS, false)?;
    let column = db.cf_handle(COLUMNS[0]).context("no objects")?;
    let told = db.property_value_cf(column, "rocksdb.aggregated-table-properties")?;
    let told = told.context("no properties")?;
    let of = |name: &str| -> anyhow::Result<f64> {
        let field = told.split(';').find(|field| field.trim().starts_with(name));
        let number = field.and_then(|field| field.rsplit('=').next());
        Ok(number.context(name.to_owned())?.trim().parse()?)
    };
    let each = |bytes: f64| bytes / objects as f64;
    println!(
        "tables: {:.2} bytes of filters, {:.2} of index blocks and {:.1} of data blocks for each object, on the disk",
        each(of("filter block size")?),
        each(of("index block size")?),
        each(of("data block size")?)
    );
    Ok(())
}

/// What a process of its own found.
struct Found {
    resident: f64,
    per_second: f64,
    cpu: f64,
    read: f64,
}

fn child(dir: &Path, objects: u64, cache: u64) -> anyhow::Result<Found> {
    let output = Command::new(std::env::current_exe()?)
        .arg(format!("read={}", dir.display()))
        .arg(format!("objects={objects}"))
        .arg(format!("cache={cache}"))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [resident, per_second, cpu, read] = numbers[..] else {
        anyhow::bail!("the child failed: {}", String::from_utf8_lossy(&output.stderr));
    };
    Ok(Found { resident, per_second, cpu, read })
}

/// Reads twice, the second time under measurement, and prints what was found.
fn read(dir: &Path, objects: u64, cache_kib: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let sizes = Sizes { cache: (cache_kib << 10) as usize, ..Sizes::default() };
    let subject = Subject::sized(dir, IoChoice::Auto, sizes)?;
    runtime.block_on(get(&subject, objects, 1))?;
    let (wall, cpu, disk) = (Instant::now(), cpu_time(), moved()?.0);
    runtime.block_on(get(&subject, objects, 2))?;
    let (wall, cpu) = (wall.elapsed(), cpu_time().saturating_sub(cpu));
    let gets = GETS as f64;
    println!(
        "{} {} {} {}",
        resident()?,
        gets / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / gets,
        (moved()?.0 - disk) as f64 / gets
    );
    subject.close();
    Ok(())
}

async fn get(subject: &Subject, objects: u64, salt: u64) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let subject = subject.clone();
            tokio::spawn(async move {
                for nth in (task..GETS).step_by(TASKS as usize) {
                    let number = benches::aging::Pattern::Uniform.pick(salt << 32 | nth, objects);
                    subject.get(key(number)).await?;
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

/// Resident memory of this process, in bytes.
fn resident() -> anyhow::Result<u64> {
    let told = std::fs::read_to_string("/proc/self/status")?;
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse::<u64>()? << 10)
}

//! A device that has aged: filled to a share of its room and overwritten twice, all alike and skewed, with compaction
//! beside. How fast it still is, and how much it writes for each byte.
//!
//! `cargo bench --package benches --bench aged -- mib=2048 segment=16 fill=85 skewed dir=/somewhere`. Without `fill` it
//! is measured at 75 % and at 85 %, and without `skewed` or `uniform` both ways. The directory must be on a disk; it is
//! `~/.cache/apus` if none is named.

use anyhow::Context;
use benches::aging::{Aging, Pattern, Stage, uniform_amplification};
use benches::argument;
use benches::subject::{Sizes, Subject};
use objectd::io::IoChoice;
use std::path::PathBuf;
use tokio::runtime::Runtime;

const PASSES: usize = 2;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let sizes = Sizes {
        segment: argument("segment").unwrap_or(16) << 20,
        capacity: argument("mib").unwrap_or(2048) << 20,
        ..Sizes::default()
    };
    let parent = parent()?;
    std::fs::create_dir_all(&parent)?;
    println!(
        "a device of {} MiB with segments of {} MiB; 90 % objects of 4 KiB, 9 % of 32 KiB, 1 % of 256 KiB",
        sizes.capacity >> 20,
        sizes.segment >> 20
    );
    println!(
        "CPU is that of the whole process, compaction included; written: bytes for each byte of records"
    );
    let fills = argument("fill").map_or_else(|| vec![75, 85], |fill| vec![fill]);
    for fill in fills {
        for (pattern, other) in [(Pattern::Uniform, "skewed"), (Pattern::Skewed, "uniform")] {
            if std::env::args().any(|word| word == other) {
                continue;
            }
            let dir = tempfile::tempdir_in(&parent)?;
            let subject = Subject::sized(dir.path(), IoChoice::Auto, sizes)?;
            age(&runtime, subject, fill, pattern, sizes)?;
        }
    }
    Ok(())
}

fn parent() -> anyhow::Result<PathBuf> {
    let named = std::env::args().find_map(|word| Some(word.strip_prefix("dir=")?.into()));
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/apus"));
    named.or_else(home).context("name a directory: dir=…")
}

fn age(
    runtime: &Runtime,
    subject: Subject,
    fill: u64,
    pattern: Pattern,
    sizes: Sizes,
) -> anyhow::Result<()> {
    println!(
        "\n{fill} % full, overwritten: {pattern:?}\n{:>12} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9} {:>8}",
        "", "PUTs/s", "MB/s", "ratio", "CPU us", "written", "process", "zeroed", "refused"
    );
    runtime.block_on(async {
        let mut aging = Aging::begin(subject);
        let fresh = aging.fill(sizes.capacity * fill / 100).await?;
        row("fresh", &fresh, &fresh);
        let mut all: Option<Stage> = None;
        for pass in 1..=PASSES {
            let stage = aging.overwrite(pattern).await?;
            row(&format!("overwrite {pass}"), &stage, &fresh);
            all = Some(all.map_or(stage, |before| sum(before, stage)));
        }
        if let Some(all) = all {
            row("both", &all, &fresh);
        }
        let live = aging.live() as f64 / sizes.capacity as f64;
        println!("{} objects; {:.1} % of the device lives", aging.objects, live * 100.0);
        if pattern == Pattern::Uniform {
            println!(
                "in the long run any log writes {:.2} for each byte, at least, when all is overwritten alike",
                uniform_amplification(live)
            );
        }
        aging.end().await
    })
}

fn sum(a: Stage, b: Stage) -> Stage {
    Stage {
        cost: benches::Cost {
            count: a.cost.count + b.cost.count,
            wall: a.cost.wall + b.cost.wall,
            cpu: a.cost.cpu + b.cost.cpu,
        },
        records: a.records + b.records,
        written: a.written + b.written,
        zeroed: a.zeroed + b.zeroed,
        process: a.process + b.process,
        refused: a.refused + b.refused,
    }
}

fn row(what: &str, stage: &Stage, fresh: &Stage) {
    let share = |bytes: u64| bytes as f64 / stage.records.max(1) as f64;
    println!(
        "{what:>12} {:>9.0} {:>9.0} {:>6.0}% {:>9.1} {:>9.2} {:>9.2} {:>9.2} {:>8}",
        stage.cost.per_second(),
        stage.records as f64 / 1e6 / stage.cost.wall.as_secs_f64(),
        stage.cost.per_second() / fresh.cost.per_second() * 100.0,
        stage.cost.cpu_micros(),
        stage.amplification(),
        share(stage.process),
        share(stage.zeroed),
        stage.refused
    );
}

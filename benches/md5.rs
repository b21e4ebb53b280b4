//! MD5 by kernel and number of streams, and the service from end to end.
//!
//! An argument is the percentage of the usual bytes: `cargo bench --package benches --bench md5 -- 10`.

use anyhow::Context;
use benches::store::noise;
use benches::{cpu_time, scaled};
use bytes::Bytes;
use lanes::{Kernel, Md5Lanes, digest_many};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const REPEATS: usize = 5;
const STREAMS: [usize; 12] = [1, 2, 4, 8, 12, 16, 17, 20, 24, 28, 32, 64];
/// A stream that a kernel is given.
const TEXT: usize = 64 << 10;
/// A stream of the service, and what it is handed over in.
const BODY: usize = 1 << 20;
const FRAME: usize = 64 << 10;

fn main() -> anyhow::Result<()> {
    kernels()?;
    service()
}

/// The one in the middle.
fn median(mut times: Vec<Duration>) -> anyhow::Result<f64> {
    times.sort();
    Ok(times.get(times.len() / 2).context("no runs")?.as_secs_f64())
}

/// On one thread, with all of the bytes there.
fn kernels() -> anyhow::Result<()> {
    println!("kernels: GB/s of one core, medians of {REPEATS} runs, streams of {TEXT} bytes");
    print!("{:10}", "streams");
    for streams in STREAMS {
        print!(" {streams:>6}");
    }
    println!();
    // Not a power of two apart: streams that begin at equal places of pages press into few lines of a cache.
    let apart = TEXT + 4096 + 64;
    let memory = noise(64 * apart);
    for kernel in Kernel::available() {
        print!("{:10}", format!("{kernel:?}"));
        for streams in STREAMS {
            let texts: Vec<&[u8]> =
                memory.chunks(apart).map(|chunk| &chunk[..TEXT]).take(streams).collect();
            let rounds = scaled((512 << 20) / (TEXT * streams) as u64 / 4);
            let mut times = Vec::new();
            for _ in 0..REPEATS {
                let before = cpu_time();
                for _ in 0..rounds {
                    black_box(digest_many(kernel, black_box(&texts)));
                }
                times.push(cpu_time().saturating_sub(before));
            }
            let bytes = (rounds as usize * streams * TEXT) as f64;
            print!(" {:>6.2}", bytes / median(times)? / 1e9);
        }
        println!();
    }
    Ok(())
}

/// From tasks that hand bytes over, to digests.
fn service() -> anyhow::Result<()> {
    let workers = Md5Lanes::workers_for_cores();
    println!(
        "\nservice: {workers} threads, bodies of {BODY} bytes in frames of {FRAME}; CPU of all threads of the process"
    );
    println!(
        "{:10} {:>8} {:>14} {:>14} {:>12}",
        "kernel", "streams", "CPU ms a GB", "GB/s per core", "GB/s"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let body = Bytes::from_owner(noise(BODY));
    for kernel in Kernel::available() {
        let lanes = Arc::new(Md5Lanes::start_with(kernel, workers)?);
        for streams in STREAMS {
            let bodies = scaled((1 << 30) / (BODY * streams) as u64);
            let (mut cpu, mut wall) = (Vec::new(), Vec::new());
            for _ in 0..REPEATS {
                let before = (cpu_time(), std::time::Instant::now());
                runtime.block_on(stream_all(&lanes, &body, streams, bodies))?;
                cpu.push(cpu_time().saturating_sub(before.0));
                wall.push(before.1.elapsed());
            }
            let gigabytes = (bodies as usize * streams * BODY) as f64 / 1e9;
            let (cpu, wall) = (median(cpu)?, median(wall)?);
            println!(
                "{:10} {streams:>8} {:>14.1} {:>14.2} {:>12.2}",
                format!("{kernel:?}"),
                cpu * 1e3 / gigabytes,
                gigabytes / cpu,
                gigabytes / wall
            );
        }
    }
    Ok(())
}

async fn stream_all(
    lanes: &Arc<Md5Lanes>,
    body: &Bytes,
    streams: usize,
    bodies: u64,
) -> anyhow::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let (lanes, body) = (Arc::clone(lanes), body.clone());
        tasks.spawn(async move {
            for _ in 0..bodies {
                let (mut stream, mut rest) = (lanes.stream(), body.clone());
                while !rest.is_empty() {
                    stream.update(rest.split_to(FRAME)).await?;
                }
                black_box(stream.finish().await?);
            }
            Ok::<(), lanes::Stopped>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

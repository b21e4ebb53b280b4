//! One process is killed at random moments while clients work. What it had promised must be there afterwards.

use anyhow::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::Apus;
use tests::ledger::Ledger;
use tests::load::{Doors, Load};
use tests::patience::until_no_complaint;

const WORKERS: usize = 8;
const OBJECTS: usize = 200;
const SETTLE: Duration = Duration::from_secs(60);

/// How often it is killed; `TEST_CRASH_ROUNDS` says otherwise.
fn rounds() -> Result<u32> {
    match std::env::var("TEST_CRASH_ROUNDS") {
        Ok(rounds) => Ok(rounds.parse()?),
        Err(_) => Ok(20),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_sigkill() -> Result<()> {
    let mut apus = Apus::serve()?;
    let client = apus.client().await?;
    assert_eq!(client.put("/crash", "").await?.status, 201);
    let ledger = Arc::new(Ledger::new("crash", OBJECTS));
    let doors = Arc::new(Doors::default());
    for round in 1..=rounds()? {
        let client = apus.client().await?;
        doors.set(vec![client.clone()]);
        let mut load = Load::start(WORKERS, &ledger, &doors);
        load.answer_more(rand::random_range(20..600)).await?;
        let moment = Duration::from_micros(rand::random_range(0..3000));
        tokio::time::sleep(moment).await;
        doors.close(client.address());
        apus.kill();
        let done = load.stop().await?;
        let begun = Instant::now();
        apus.start()?;
        let ready = begun.elapsed();
        let client = apus.client().await?;
        let there = ledger.verify_objects(&client).await?;
        until_no_complaint(SETTLE, || ledger.listing_complaints(&client)).await?;
        println!("round {round}: {done}; ready after {ready:?}, {there} objects there and right");
    }
    assert!(apus.terminate()?.success());
    Ok(())
}

//! A node dies while clients work. None of them may notice, and nothing they were promised may be lost.

use anyhow::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::ledger::Ledger;
use tests::load::{Doors, Load};
use tests::patience::until_no_complaint;
use tests::{Client, Cluster};

const WORKERS: usize = 8;
const OBJECTS: usize = 200;
/// How long updates may take that wait for a node to come back; they try again every 30 seconds at the latest.
const CATCH_UP: Duration = Duration::from_secs(120);

async fn verify_everywhere(ledger: &Ledger, clients: &[Client]) -> Result<()> {
    for client in clients {
        let there = ledger.verify_objects(client).await?;
        println!("{there} objects are there and right through {}", client.address());
    }
    Ok(())
}

async fn listings_agree(ledger: &Ledger, clients: &[Client]) -> Result<()> {
    let begun = Instant::now();
    for client in clients {
        until_no_complaint(CATCH_UP, || ledger.listing_complaints(client)).await?;
    }
    println!("listings agreed after {:?}", begun.elapsed());
    Ok(())
}

/// Kills a node of a cluster at work, whose clients use the doors of `used` only, and starts it again.
async fn kill_and_restart(victim: usize, used: &[usize]) -> Result<()> {
    let mut cluster = Cluster::start()?;
    let clients = cluster.clients().await?;
    let ledger = Arc::new(Ledger::new("kill", OBJECTS));
    assert_eq!(clients[0].put("/kill", "").await?.status, 201);
    let doors = Arc::new(Doors::default());
    doors.set(used.iter().map(|door| clients[*door].clone()).collect());
    let mut load = Load::start(WORKERS, &ledger, &doors);
    load.answer_more(1000).await?;
    doors.close(cluster.nodes[victim].address()?);
    cluster.nodes[victim].kill();
    load.answer_more(2000).await?;
    println!("while a node was dead: {}", load.stop().await?);

    let mut living = clients.clone();
    living.remove(victim);
    verify_everywhere(&ledger, &living).await?;

    cluster.nodes[victim].start()?;
    let clients = cluster.clients().await?;
    doors.set(used.iter().map(|door| clients[*door].clone()).collect());
    let mut load = Load::start(WORKERS, &ledger, &doors);
    load.answer_more(1000).await?;
    println!("after it came back: {}", load.stop().await?);
    verify_everywhere(&ledger, &clients).await?;
    listings_agree(&ledger, &clients).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_node_dies_behind_the_front_doors() -> Result<()> {
    kill_and_restart(2, &[0, 1]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_dies_whose_front_door_is_in_use() -> Result<()> {
    kill_and_restart(1, &[0, 1, 2]).await
}

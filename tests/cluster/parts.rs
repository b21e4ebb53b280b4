//! A node whose services are processes of their own.

use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;
use tests::Client;
use tests::cluster::{common_settings, free_ports, login, prepare};
use tests::ledger::Ledger;
use tests::load::{Doors, Load};
use tests::patience::until_no_complaint;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_is_a_process_on_the_same_data() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let home = dir.path();
    let ports = free_ports(4)?;
    let config = home.join("apus.toml");
    let text = format!(
        "data = \"{}\"\nlisten = \"127.0.0.1:{}\"\n[backend]\nobject_port = {}\n\
         container_port = {}\naccount_port = {}\n[cluster]\npart_power = 6\n\
         hash_path_prefix = \"p\"\nhash_path_suffix = \"s\"\n{}",
        home.join("data").display(),
        ports[0],
        ports[1],
        ports[2],
        ports[3],
        common_settings()
    );
    std::fs::write(&config, text)?;
    let mut processes = Vec::new();
    for part in ["accountd", "containerd", "objectd", "replicator", "proxy"] {
        let mut process = prepare(part, &config, home);
        process.start()?;
        processes.push(process);
    }
    let client = login(([127, 0, 0, 1], ports[0]).into(), "test:tester").await?;
    assert_eq!(client.put("/parts", "").await?.status, 201);
    as_much_metadata_as_there_may_be(&client).await?;
    let ledger = Arc::new(Ledger::new("parts", 50));
    let doors = Arc::new(Doors::default());
    doors.set(vec![client.clone()]);
    let mut load = Load::start(4, &ledger, &doors);
    load.answer_more(300).await?;
    // The object server is killed when nobody asks it anything; it must know everything when it is back.
    println!("{}", load.stop().await?);
    processes[2].restart()?;
    ledger.verify_objects(&client).await?;
    let patience = Duration::from_secs(60);
    until_no_complaint(patience, || ledger.listing_complaints(&client)).await?;
    for mut process in processes.into_iter().rev() {
        assert!(process.is_alive());
        assert!(process.terminate()?.success());
    }
    Ok(())
}

/// More headers than HTTP libraries take by default go through all services.
async fn as_much_metadata_as_there_may_be(client: &Client) -> Result<()> {
    for (kind, path) in [("Object", "/parts/all"), ("Container", "/parts")] {
        let names: Vec<String> = (0..90).map(|number| format!("X-{kind}-Meta-{number}")).collect();
        let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert!(matches!(client.ask("PUT", path, &headers, "").await?.status, 201 | 202));
        let head = client.head(path).await?;
        assert_eq!(head.status / 100, 2, "{path}");
        assert!(names.iter().all(|name| head.header(name) == "1"), "{head:?}");
    }
    assert_eq!(client.delete("/parts/all").await?.status, 204);
    Ok(())
}

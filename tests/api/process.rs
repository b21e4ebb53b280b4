//! The process itself: what it refuses to start with, and how it says so.

use crate::Server;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tests::patience::until_no_complaint;
use tests::process::{Options, command, wait};
use tests::raw::Raw;
use tests::{Apus, Client};

/// What a start says that must fail, on standard error.
fn refused(arguments: &[&str]) -> Result<String> {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let mut command = command("serve", &arguments)?;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let ended = wait(&mut child, Duration::from_secs(30));
    if ended.is_err() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    let status = ended?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(status.code().is_some_and(|code| code != 0), "{status}: {text}");
    ensure!(!text.contains("panicked"), "it panicked: {text}");
    ensure!(output.stdout.is_empty(), "it said it was ready");
    let sentence = text.lines().rfind(|line| line.starts_with("apus: "));
    Ok(sentence.with_context(|| format!("no sentence for a person in {text:?}"))?.to_owned())
}

fn said(arguments: &[&str], parts: &[&str]) -> Result<()> {
    let sentence = refused(arguments)?;
    for part in parts {
        ensure!(sentence.contains(part), "{part:?} is not in {sentence:?}");
    }
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

#[test]
fn a_configuration_that_is_wrong() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("apus.toml");
    let start = |content: &str, parts: &[&str]| {
        std::fs::write(&config, content)?;
        // What is wrong may be seen only when something is made for the first time.
        let data = tempfile::tempdir()?;
        let data = text(data.path());
        said(&["--config", text(&config), "--data", data, "--listen", "127.0.0.1:0"], parts)
    };
    start("[objectd]\nsegment_mb = 3\n", &["apus.toml", "segment_mb", "segment_mib"])?;
    start("[proxy]\nnode_timeout_ms = \"soon\"\n", &["apus.toml"])?;
    start("listen = \"nowhere\"\n", &["apus.toml"])?;
    start("this is no toml", &["apus.toml"])?;
    start("[proxy]\nclient_timeout_ms = 0\n", &["client_timeout_ms"])?;
    start("[objectd]\nsegment_mib = 1\n", &["segment_mib"])?;
    start("[replicator]\nbatch = 0\n", &["batch"])?;
    start("[cluster]\nhash_path_suffix = \"\"\n", &["hash_path_suffix"])?;
    start("[cluster]\npart_power = 40\n", &["part_power"])?;
    std::fs::remove_file(&config)?;
    said(&["--config", text(&config)], &["apus.toml", "cannot be read"])
}

#[test]
fn arguments_that_are_wrong() -> Result<()> {
    for arguments in [["--listen", "nowhere"], ["--devices", "-3"], ["--unknown", "x"]] {
        let arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        let output = command("serve", &arguments)?.output()?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8(output.stderr)?.contains("error:"), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_data_directory_that_cannot_be_used() -> Result<()> {
    let apus = Apus::serve()?;
    let in_use = text(apus.data());
    said(&["--data", in_use, "--listen", "127.0.0.1:0"], &[in_use, "in use by another process"])?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way")?;
    said(&["--data", text(&file)], &[text(&file), "cannot be used"])?;
    // Nobody can write there, not even root.
    said(&["--data", "/proc/apus"], &["/proc/apus", "cannot be used"])
}

#[test]
fn an_address_that_cannot_be_listened_on() -> Result<()> {
    let holder = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = holder.local_addr()?.to_string();
    let dir = tempfile::tempdir()?;
    said(&["--data", text(dir.path()), "--listen", &taken], &[&taken, "cannot be listened on"])?;
    drop(holder);
    // An address that belongs to no machine.
    let foreign = "192.0.2.1:80";
    said(&["--data", text(dir.path()), "--listen", foreign], &[foreign, "cannot be listened on"])
}

/// Damages files below the data directory of a process that was stopped, and says what starting it says then.
async fn damaged(damage: impl FnOnce(PathBuf) -> Result<()>) -> Result<String> {
    let mut server = Server::start().await?;
    server.put("/c/o", "x").await?;
    assert!(server.apus.terminate()?.success());
    let data = server.apus.data().to_owned();
    damage(data.clone())?;
    refused(&["--data", text(&data), "--listen", "127.0.0.1:0"])
}

#[tokio::test]
async fn a_device_whose_superblock_is_destroyed() -> Result<()> {
    let sentence = damaged(|data| {
        let path = data.join("devices/d1/pack/log/SUPER");
        let length = std::fs::metadata(&path)?.len() as usize;
        Ok(std::fs::write(path, vec![0xa5; length])?)
    })
    .await?;
    assert!(sentence.contains("device d1"), "{sentence}");
    Ok(())
}

#[tokio::test]
async fn secrets_that_are_damaged_or_changed() -> Result<()> {
    let damage = |data: PathBuf| Ok(std::fs::write(data.join("secrets.toml"), "hash_path_pre")?);
    let sentence = damaged(damage).await?;
    assert!(sentence.contains("secrets.toml is damaged"), "{sentence}");
    // Other secrets than those by which everything was stored: nothing would be found.
    let damage = |data: PathBuf| Ok(std::fs::remove_file(data.join("secrets.toml"))?);
    let sentence = damaged(damage).await?;
    assert!(sentence.contains("device d"), "{sentence}");
    Ok(())
}

#[tokio::test]
async fn a_ring_that_is_damaged() -> Result<()> {
    let damage = |data: PathBuf| Ok(std::fs::write(data.join("rings/object.ring.gz"), "no ring")?);
    let sentence = damaged(damage).await?;
    assert!(sentence.contains("object.ring.gz") && sentence.contains("restore"), "{sentence}");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_takes_nothing_and_gives_everything() -> Result<()> {
    let mut server = Server::start().await?;
    server.put("/c/old", "old").await?;
    server.put("/c/older", "older").await?;
    let data = server.apus.data().to_owned();
    assert!(server.apus.terminate()?.success());
    // As full as a disk is that has less room than shall always be left.
    let arguments = ["--data", text(&data), "--listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
    let options = Options { part: "serve".to_owned(), arguments, ..Options::default() }
        .with("APUS_OBJECTD__RESERVE_MIB", "1000000000");
    let mut full = Apus::prepare(data.clone(), data.join("full.log"), options);
    full.start()?;
    let client = full.client().await?;
    for path in ["/c/new", "/c/old"] {
        assert_eq!(client.put(path, "x").await?.status, 503, "{path}");
        // One that is too large to be taken before anybody is asked.
        let mut raw = Raw::connect(full.address()?).await?;
        let head = format!(
            "PUT {}{path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {}\r\nContent-Length: 2000000\r\n\
             Expect: 100-continue\r\n\r\n",
            client.account(),
            client.token()
        );
        raw.send(head).await?;
        let mut answer = raw.answer().await?;
        if answer.status == 100 {
            raw.send(vec![b'x'; 2_000_000]).await?;
            answer = raw.answer().await?;
        }
        assert_eq!(answer.status, 503, "{path}");
    }
    assert_eq!(client.get("/c/new").await?.status, 404);
    assert_eq!(client.get("/c/old").await?.text(), "old");
    assert_eq!(client.delete("/c/older").await?.status, 204, "deleting makes room");
    assert_eq!(client.get("/c/older").await?.status, 404);
    assert_eq!(client.get("/c").await?.lines(), ["old"]);
    assert!(full.is_alive());
    assert!(full.terminate()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_lets_a_request_end() -> Result<()> {
    let mut server = Server::start().await?;
    let mut raw = Raw::connect(server.apus.address()?).await?;
    raw.send(server.head("PUT", "/c/o") + "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        .await?;
    assert_eq!(raw.answer().await?.status, 100);
    raw.send("01234").await?;
    // The process is told to stop in the middle of the body, and takes no new connections from then on.
    let address = server.apus.address()?;
    let stopping = tokio::task::spawn_blocking(move || {
        let stopped = server.apus.terminate();
        (stopped, server)
    });
    until_no_complaint(Duration::from_secs(20), || async {
        let connected = tokio::net::TcpStream::connect(address).await.is_ok();
        Ok(connected.then(|| "it still listens".to_owned()).into_iter().collect())
    })
    .await?;
    raw.send("56789").await?;
    assert_eq!(raw.answer().await?.status, 201);
    let (stopped, mut server) = stopping.await?;
    assert!(stopped?.success());
    server.apus.start()?;
    let client = server.apus.client().await?;
    assert_eq!(client.get("/c/o").await?.text(), "0123456789");
    Ok(())
}

#[tokio::test]
async fn the_shipped_example_starts() -> Result<()> {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/apus.example.toml");
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("apus.toml");
    std::fs::copy(example, &config)?;
    let arguments = vec!["--config".to_owned(), text(&config).to_owned()];
    let mut apus = Apus::serve_with(Options { arguments, ..Options::default() })?;
    let client: Client = apus.client().await?;
    assert_eq!(client.put("/c", "").await?.status, 201);
    assert_eq!(client.put("/c/o", "x").await?.status, 201);
    assert_eq!(client.get("/c/o").await?.text(), "x");
    assert!(apus.terminate()?.success());
    Ok(())
}

/// What `apus objectd inspect` says of a device, and its exit code.
fn inspect(device: &Path, arguments: &[&str]) -> Result<(String, Option<i32>)> {
    let mut all = vec!["inspect".to_owned(), text(device).to_owned()];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let output = command("objectd", &all)?.output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(!said.contains("panicked"), "it panicked: {said}");
    Ok((String::from_utf8(output.stdout)? + &said, output.status.code()))
}

#[tokio::test]
async fn a_device_is_looked_into_beside_the_server_and_after_it() -> Result<()> {
    let options = Options {
        arguments: ["--devices", "1", "--replicas", "1"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let mut server = Server::start_with(options).await?;
    server.put("/c/small", "small").await?;
    let large: String = "large".repeat(60_000);
    let stored = server.client.put("/c/large", large.clone()).await?;
    ensure!(stored.status == 201, "{stored:?}");
    let device = server.apus.data().join("devices/d1");
    let sound = |said: &(String, Option<i32>)| {
        ensure!(said.0.contains("nothing is wrong") && said.1 == Some(0), "{said:?}");
        Ok(())
    };
    sound(&inspect(&device, &["verify"])?)?;
    let account = server.client.account().trim_start_matches("/v1");
    let path = format!("{account}/c/large");
    let (object, _) = inspect(&device, &["object", &path])?;
    ensure!(object.contains("300000 bytes in 00000001:1-74"), "{object}");
    assert!(server.apus.terminate()?.success());
    sound(&inspect(&device, &["verify"])?)?;
    let (segments, _) = inspect(&device, &["segments", "--json"])?;
    ensure!(segments.contains("\"class\": \"bulk\""), "{segments}");

    // One bit of the second chunk of 64 KiB.
    let segment = device.join("pack/log/00000001.seg");
    let mut bytes = std::fs::read(&segment)?;
    bytes[17 * 4096 + 5] ^= 1;
    std::fs::write(&segment, bytes)?;
    let (said, code) = inspect(&device, &["verify"])?;
    ensure!(said.contains("segment 00000001, block 17") && code == Some(1), "{said}");
    let saved = server.apus.data().join("saved");
    let (said, code) = inspect(&device, &["object", &path, "--data", text(&saved)])?;
    ensure!(said.contains("bytes 65536 to 131071 are lost") && code == Some(1), "{said}");
    let saved = std::fs::read(&saved)?;
    ensure!(saved[..65_536] == large.as_bytes()[..65_536]);
    ensure!(saved[131_072..] == large.as_bytes()[131_072..]);
    let (said, code) = inspect(&device.join("nothing"), &[])?;
    ensure!(said.contains("is no device") && code == Some(1), "{said}");
    Ok(())
}

//! The engine against disks that fail.

mod crash;
mod failure;
mod space;

use super::*;
use crate::format::SegmentHeader;
use crate::index::IndexBudget;
use crate::io::{SimIo, open_device};
use crate::state::Version;
use daemon::ManualClock;
use std::collections::HashMap;
use std::path::Path;
use types::{AccountName, ContainerName, HashPaths, ObjectName, PolicyIndex};

const SEGMENT_BLOCKS: u32 = 640;

fn identity() -> Identity {
    Identity {
        hash_fingerprint: crate::format::Superblock::fingerprint(&HashPaths::default()),
        policy: PolicyIndex(0),
        new_device_id: [9; 16],
    }
}

fn options() -> EngineOptions {
    EngineOptions { segment_blocks: SEGMENT_BLOCKS, ..EngineOptions::default() }
}

fn open(io: Arc<dyn BlockIo>, index: &Path) -> Result<Engine, OpenError> {
    let budget = IndexBudget::new(1 << 20, 1 << 20);
    let clock = Arc::new(ManualClock::at_seconds(1_700_000_000));
    Engine::open(io, index, &budget, &identity(), &options(), clock)
}

/// With an index in memory that nothing is in yet.
fn open_anew(io: Arc<dyn BlockIo>) -> Result<Engine, OpenError> {
    let budget = IndexBudget::new(1 << 20, 1 << 20).in_memory().expect("memory");
    let clock = Arc::new(ManualClock::at_seconds(1_700_000_000));
    Engine::open(io, Path::new("/index"), &budget, &identity(), &options(), clock)
}

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    for i in (0..len as u64).step_by(8) {
        let word = (i ^ seed.wrapping_mul(977)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        out.extend_from_slice(&(word ^ word >> 29).to_le_bytes());
    }
    out.truncate(len);
    out
}

fn hash_of(number: u64) -> ObjectHash {
    HashPaths::default().object("a", "c", &number.to_string())
}

fn update_of(number: u64, raw: u64) -> ObjectUpdate {
    ObjectUpdate {
        account: AccountName::parse("a").expect("a name"),
        container: ContainerName::parse("c").expect("a name"),
        object: ObjectName::parse(number.to_string()).expect("a name"),
        deleted: false,
        timestamp: Timestamp::from_raw(raw),
        content_type_timestamp: None,
        meta_timestamp: None,
        size: 0,
        content_type: "text/plain".into(),
        etag: String::new(),
        policy: PolicyIndex(0),
        delete_at: 0,
    }
}

async fn put(engine: &Engine, number: u64, raw: u64, data: &[u8]) -> Result<(), EngineError> {
    let mut body = engine.body();
    for piece in data.chunks(100_000) {
        body.push(piece).await?;
    }
    let mut metadata = Metadata::default();
    metadata.set("name", number.to_string().as_bytes());
    let change = Change {
        kind: RecordKind::Data,
        hash: hash_of(number),
        timestamp: Timestamp::from_raw(raw),
        content_type_timestamp: None,
        delete_at: 0,
        fragment: None,
        metadata: &metadata,
        body: body.finish().await?,
        update: Some(&update_of(number, raw)),
    };
    engine.commit(change).await.map(drop)
}

async fn delete(engine: &Engine, number: u64, raw: u64) -> Result<(), EngineError> {
    let change = Change {
        kind: RecordKind::Tombstone,
        hash: hash_of(number),
        timestamp: Timestamp::from_raw(raw),
        content_type_timestamp: None,
        delete_at: 0,
        fragment: None,
        metadata: &Metadata::default(),
        body: StoredBody::default(),
        update: None,
    };
    engine.commit(change).await.map(drop)
}

async fn get(engine: &Engine, number: u64) -> Result<Option<(Version, Vec<u8>)>, EngineError> {
    let hash = hash_of(number);
    let state = engine.state(hash).await?;
    let Some(version) = state.data() else { return Ok(None) };
    let record = engine.open_record(hash, version).await?;
    let whole = engine.data(&record, 0..version.data_len).whole().await?;
    Ok(Some((version.clone(), whole.to_vec())))
}

#[tokio::test]
async fn what_was_put_is_read_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    for choice in [crate::io::IoChoice::Auto, crate::io::IoChoice::Threads] {
        let base = dir.path().join(format!("{choice:?}"));
        let io = || open_device(&base.join("log"), choice).expect("opens");
        let engine = open(io(), &base.join("index")).expect("opens");
        let sizes = [0, 1, 4096, 65_536, 65_537, 1 << 20, 5_000_000];
        for (number, size) in sizes.into_iter().enumerate() {
            let data = content(number as u64, size);
            put(&engine, number as u64, 10, &data).await.expect("put");
        }
        delete(&engine, 1, 11).await.expect("deleted");
        put(&engine, 2, 9, b"older").await.expect("put");
        let check = async |engine: &Engine| {
            for (number, size) in sizes.into_iter().enumerate() {
                let found = get(engine, number as u64).await.expect("read");
                match number {
                    1 => assert!(found.is_none()),
                    _ => assert!(found.expect("there").1 == content(number as u64, size), "{size}"),
                }
            }
            let record = engine.state(hash_of(6)).await.expect("state");
            let version = record.data().expect("data");
            let record = engine.open_record(hash_of(6), version).await.expect("record");
            let part = engine.data(&record, 1_048_000..3_333_333).whole().await.expect("read");
            assert!(part == content(6, 5_000_000)[1_048_000..3_333_333]);
        };
        check(&engine).await;
        assert_eq!(engine.pending_updates(UpdateToken(0), 100).await.expect("listed").len(), 8);
        tokio::task::spawn_blocking(move || engine.close()).await.expect("closed");

        let engine = open(io(), &base.join("index")).expect("opens again");
        check(&engine).await;
        tokio::task::spawn_blocking(move || engine.close()).await.expect("closed");

        std::fs::remove_dir_all(base.join("index")).expect("removed");
        let engine = open(io(), &base.join("index")).expect("rebuilds its index");
        check(&engine).await;
        let pending = engine.pending_updates(UpdateToken(0), 100).await.expect("listed");
        engine.updates_done(pending.iter().map(|(t, _)| *t).collect()).await.expect("done");
        assert!(engine.pending_updates(UpdateToken(0), 100).await.expect("listed").is_empty());
        tokio::task::spawn_blocking(move || engine.close()).await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_the_log_is_never_served() {
    let disk = SimIo::new(1 << 28, 5);
    let engine = open_anew(Arc::new(disk.clone())).expect("opens");
    for number in 0..6 {
        put(&engine, number, 10 + number, &content(number, 3000)).await.expect("put");
    }
    put(&engine, 6, 20, &content(6, 200_000)).await.expect("put");
    let used = 64 * 4096 * 8;
    let (mut noticed, mut harmless) = (0, 0);
    let mut engine = engine;
    for step in 0..300u64 {
        let mut quarantined = false;
        let bit = step.wrapping_mul(7919 * 131) % used;
        let name = SegmentHeader::file_name((step % 2) as u32);
        disk.flip_bit(&name, bit);
        for number in 0..7u64 {
            let size = if number == 6 { 200_000 } else { 3000 };
            match get(&engine, number).await {
                Ok(Some((_, data))) => assert!(data == content(number, size), "bit {bit}"),
                Ok(None) => panic!("object {number} vanished"),
                Err(_) => {
                    noticed += 1;
                    let gone = |found: &Quarantined| found.hash == hash_of(number);
                    // Reads wait for the commit thread through this.
                    engine.updates_done(Vec::new()).await.expect("done");
                    assert!(engine.quarantined(&[], 10).await.expect("listed").iter().any(gone));
                    quarantined = true;
                }
            }
        }
        // A restart, from the log alone, either finds everything or refuses; it never shortens the log.
        match open_anew(Arc::new(disk.clone())) {
            Ok(again) => {
                for number in 0..7u64 {
                    let state = again.state(hash_of(number)).await.expect("state");
                    // The very last frame is the one that a torn write looks like.
                    assert!(state.data().is_some() || number == 6, "bit {bit}: {number} is lost");
                }
                harmless += 1;
                tokio::task::spawn_blocking(move || again.close()).await.expect("closed");
            }
            Err(OpenError::Damaged(_)) => {}
            Err(other) => panic!("bit {bit}: {other}"),
        }
        disk.flip_bit(&name, bit);
        if quarantined {
            tokio::task::spawn_blocking(move || engine.close()).await.expect("closed");
            engine = open_anew(Arc::new(disk.clone())).expect("opens");
        }
    }
    assert!(noticed > 20 && harmless > 20, "noticed {noticed}, harmless {harmless}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_stays_sound() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SimIo::new(3 * u64::from(SEGMENT_BLOCKS) * 4096 + 8192, 1);
    let engine = open(Arc::new(disk), &dir.path().join("index")).expect("opens");
    let mut stored = 0;
    let full = loop {
        match put(&engine, stored, 10, &content(stored, 60_000)).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, EngineError::Full), "{full}");
    assert!(stored > 30);
    for number in 0..stored {
        let found = get(&engine, number).await.expect("read").expect("there");
        assert!(found.1 == content(number, 60_000));
    }
    delete(&engine, 0, 11).await.expect("a tombstone still fits");
}

/// A bulk segment may begin with zeros, so zeros behind a damaged header do not make it unused.
#[tokio::test]
async fn a_damaged_segment_header_never_makes_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SimIo::new(1 << 28, 5);
    let engine = open(Arc::new(disk.clone()), &dir.path().join("index")).expect("opens");
    put(&engine, 1, 10, &vec![0; 1_000_000]).await.expect("put");
    put(&engine, 2, 11, &content(2, 900_000)).await.expect("put");
    let names = disk.list().await.expect("listed");
    tokio::task::spawn_blocking(move || engine.close()).await.expect("closed");
    for name in names.iter().filter(|name| name.ends_with(".seg")) {
        for header in 0..2 {
            let damage = |disk: &SimIo| match header {
                0 => disk.flip_bit(name, 2000 * 8),
                _ => disk.zero(name, 0..4096),
            };
            let copy = disk.crash();
            damage(&copy);
            for index in ["index", "rebuilt"] {
                let index = dir.path().join(index);
                let opened = open(Arc::new(copy.clone()), &index).err().expect(name);
                assert!(matches!(opened, OpenError::Damaged(_)), "{name}: {opened}");
            }
            let _ = std::fs::remove_dir_all(dir.path().join("rebuilt"));
        }
    }
}

#[tokio::test]
async fn a_foreign_or_damaged_superblock_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SimIo::new(1 << 28, 5);
    drop(open(Arc::new(disk.clone()), &dir.path().join("a")).expect("opens"));
    let mut foreign = identity();
    foreign.hash_fingerprint[0] ^= 1;
    let budget = IndexBudget::new(1 << 20, 1 << 20);
    let clock = Arc::new(ManualClock::at_seconds(1));
    let opened = Engine::open(
        Arc::new(disk.clone()),
        &dir.path().join("b"),
        &budget,
        &foreign,
        &options(),
        clock,
    );
    assert!(matches!(opened.err(), Some(OpenError::Foreign)));
    disk.flip_bit("SUPER", 100);
    drop(open(Arc::new(disk.clone()), &dir.path().join("c")).expect("the second copy counts"));
    disk.flip_bit("SUPER", 4096 * 8 + 100);
    drop(open(Arc::new(disk.clone()), &dir.path().join("e")).expect("the first was mended"));
    disk.flip_bit("SUPER", 100);
    disk.flip_bit("SUPER", 4096 * 8 + 100);
    let error = open(Arc::new(disk), &dir.path().join("d")).err().expect("refused");
    assert!(error.to_string().starts_with("its superblock is damaged"), "{error}");
}

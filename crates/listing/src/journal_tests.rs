//! Journals on a real disk. A crash leaves what is in the files at a moment, so files are copied while they are open.

use super::{BLOCK, HEAD_BYTES, MAGIC, NAMES};
use crate::lifecycle::{Names, create};
use crate::{
    Budget, Database, DatabaseOptions, JournalError, ObjectRow, OpenError, PageQuery, StoreError,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;
use types::{ObjectHash, PolicyIndex, Timestamp};

const HASH: ObjectHash = ObjectHash([7; 16]);
const POLICY: PolicyIndex = PolicyIndex(0);

fn open_with(device: &Path, journal_bytes: u64) -> Result<Database<ObjectRow>, OpenError> {
    let options =
        DatabaseOptions { reserve_percent: 0, journal_bytes, ..DatabaseOptions::default() };
    Database::open(device, &Budget::new(8 << 20, 8 << 20), &options)
}

fn open(device: &Path) -> Result<Database<ObjectRow>, OpenError> {
    open_with(device, 8 * BLOCK as u64)
}

async fn made(device: &Path, journal_bytes: u64) -> Database<ObjectRow> {
    let database = open_with(device, journal_bytes).expect("opens");
    let names = Names { account: "a".into(), container: "c".into() };
    let at = Timestamp::from_seconds(1);
    let made = database.write(move |transaction| {
        transaction.store_entity(&HASH, create(&names, at, at, POLICY));
        Ok(())
    });
    made.await.expect("made");
    database
}

/// Merges rows with one batch; each is at least so long.
async fn merge(database: &Database<ObjectRow>, rows: &[&str], length: usize) {
    let at = Timestamp::from_seconds(2);
    let row = ObjectRow {
        data: at,
        content_type_at: at,
        meta: at,
        size: 1,
        content_type: "x".repeat(length),
        swift_bytes: None,
        etag: String::new(),
        deleted: false,
        delete_at: 0,
    };
    let rows: Vec<String> = rows.iter().map(|name| (*name).to_owned()).collect();
    let merged = database.write(move |transaction| {
        rows.iter()
            .try_for_each(|name| transaction.merge_row(&HASH, POLICY, name, &row).map(|_| ()))
    });
    merged.await.expect("merged");
}

async fn names(database: &Database<ObjectRow>) -> BTreeSet<String> {
    let query = PageQuery { limit: 10_000, ..PageQuery::default() };
    let read = database.read(move |view| {
        let mut names = BTreeSet::new();
        view.each(&HASH, POLICY, &query, |item| {
            names.insert(item.name().to_owned());
        })?;
        Ok(names)
    });
    read.await.expect("a page")
}

/// What a crash would leave: all files as they are at one moment.
fn copy(device: &Path, to: &Path) {
    let (from, to) = (device.join("containers"), to.join("containers"));
    let state = || -> BTreeSet<(OsString, u64, SystemTime)> {
        let files = std::fs::read_dir(&from).expect("read").map(|file| file.expect("an entry"));
        let state = files.filter_map(|file| {
            let about = file.metadata().ok()?;
            Some((file.file_name(), about.len(), about.modified().ok()?))
        });
        state.collect()
    };
    // RocksDB flushes meanwhile.
    loop {
        let before = state();
        let _ = std::fs::remove_dir_all(&to);
        std::fs::create_dir_all(&to).expect("made");
        let copied = |name| std::fs::copy(from.join(name), to.join(name)).is_ok();
        if before.iter().all(|(name, ..)| copied(name)) && state() == before {
            return;
        }
    }
}

/// Where the records of a file begin.
fn records(file: &Path) -> Vec<u64> {
    let bytes = std::fs::read(file).expect("read");
    let blocks = bytes.chunks(BLOCK).enumerate().filter(|(_, block)| block.starts_with(&MAGIC));
    blocks.map(|(number, _)| (number * BLOCK) as u64).collect()
}

fn change(file: &Path, at: u64, change: impl Fn(u8) -> u8) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[change(byte[0])], at).expect("written");
    file.sync_all().expect("synced");
}

#[tokio::test]
async fn every_acknowledged_batch_survives_a_crash_at_any_moment() {
    let dir = tempfile::tempdir().expect("a directory");
    let device = dir.path().join("sda");
    let database = made(&device, 8 * BLOCK as u64).await;
    let mut acknowledged = BTreeSet::new();
    // Both files are used many times.
    for number in 0..60 {
        let name = format!("{number:02}");
        merge(&database, &[&name], if number % 7 == 0 { 2 * BLOCK } else { 1 }).await;
        acknowledged.insert(name);
        let crashed = dir.path().join(number.to_string());
        copy(&device, &crashed);
        let found = open(&crashed).expect("opens after a crash");
        assert_eq!(names(&found).await, acknowledged);
        // And what comes after it survives the next crash.
        merge(&found, &["after"], 1).await;
        let again = dir.path().join(format!("{number} again"));
        copy(&crashed, &again);
        found.close().await;
        let found = open(&again).expect("opens after another crash");
        assert_eq!(names(&found).await.len(), acknowledged.len() + 1);
        found.close().await;
        std::fs::remove_dir_all(&crashed).expect("removed");
        std::fs::remove_dir_all(&again).expect("removed");
    }
    database.close().await;
}

#[tokio::test]
async fn a_torn_end_is_left_out_and_damage_before_it_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let device = dir.path().join("sda");
    let database = made(&device, 64 * BLOCK as u64).await;
    for name in ["1", "2", "3", "4"] {
        merge(&database, &[name], 1).await;
    }
    let all = records(&device.join("containers").join(NAMES[0]));
    assert_eq!(all.len(), 5);
    let crashed = |name: &str, record: usize| {
        let crashed = dir.path().join(name);
        copy(&device, &crashed);
        let file = crashed.join("containers").join(NAMES[0]);
        change(&file, all[record] + HEAD_BYTES as u64 + 3, |byte| byte ^ 1);
        crashed
    };
    let found = open(&crashed("torn", 4)).expect("opens");
    assert_eq!(names(&found).await, ["1", "2", "3"].map(str::to_owned).into());
    merge(&found, &["5"], 1).await;
    found.close().await;
    let found = open(&dir.path().join("torn")).expect("opens again");
    assert_eq!(names(&found).await.len(), 4);
    found.close().await;
    for record in 0..4 {
        let Err(error) = open(&crashed(&format!("damaged {record}"), record)) else {
            panic!("record {record} is missing and nobody says so")
        };
        let missing = record as u64 + 1;
        assert!(
            matches!(&error, OpenError::Damaged {
                source: StoreError::Journal(JournalError::Missing(number)), ..
            } if *number == missing),
            "{error:?}"
        );
    }
    database.close().await;
}

#[tokio::test]
async fn a_batch_longer_than_the_journal_is_durable_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let device = dir.path().join("sda");
    let database = made(&device, 4 * BLOCK as u64).await;
    merge(&database, &["before"], 1).await;
    merge(&database, &["long"], 5 * BLOCK).await;
    copy(&device, &dir.path().join("1"));
    merge(&database, &["after"], 1).await;
    copy(&device, &dir.path().join("2"));
    database.close().await;
    for (crashed, rows) in [("1", 2), ("2", 3)] {
        let found = open(&dir.path().join(crashed)).expect("opens");
        assert_eq!(names(&found).await.len(), rows);
        found.close().await;
    }
}

#[tokio::test]
async fn what_clients_store_is_never_taken_for_a_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let device = dir.path().join("sda");
    let database = made(&device, 64 * BLOCK as u64).await;
    merge(&database, &["a"], 1).await;
    // A record of another database, with a number far ahead, where a torn record shows what it holds.
    let mut forged = Vec::new();
    let forged = super::lay(&mut forged, 0, 1000, b"").to_vec();
    let crashed = dir.path().join("crashed");
    copy(&device, &crashed);
    let file = crashed.join("containers").join(NAMES[0]);
    let file = std::fs::OpenOptions::new().write(true).open(file).expect("opens");
    file.write_all_at(&forged, 10 * BLOCK as u64).expect("written");
    let found = open(&crashed).expect("opens");
    assert_eq!(names(&found).await.len(), 1);
    found.close().await;
    database.close().await;
}

#[tokio::test]
async fn a_journal_whose_database_is_gone_is_not_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = made(dir.path(), 8 * BLOCK as u64).await;
    database.close().await;
    let path = dir.path().join("containers");
    for file in std::fs::read_dir(&path).expect("read") {
        let file = file.expect("an entry");
        if !NAMES.iter().any(|name| file.file_name() == *name) {
            std::fs::remove_file(file.path()).expect("removed");
        }
    }
    assert!(matches!(refused(dir.path()), JournalError::Alone));
    assert!(!path.join("CURRENT").exists(), "nothing was made in its place");
}

/// Why a database is not opened.
fn refused(device: &Path) -> JournalError {
    match open(device).map(|_| ()) {
        Err(OpenError::Damaged { source: StoreError::Journal(error), .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_is_gone_is_missed() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = made(dir.path(), 8 * BLOCK as u64).await;
    merge(&database, &["a"], 1).await;
    database.close().await;
    std::fs::remove_file(dir.path().join("containers").join(NAMES[1])).expect("removed");
    assert!(matches!(refused(dir.path()), JournalError::Lost));
}

#[tokio::test]
async fn damage_in_what_is_superfluous_keeps_nothing_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = made(dir.path(), 8 * BLOCK as u64).await;
    for number in 0..20 {
        merge(&database, &[&number.to_string()], 1).await;
    }
    // Closing flushes.
    database.close().await;
    for name in NAMES {
        let file = dir.path().join("containers").join(name);
        for at in 0..std::fs::metadata(&file).expect("there").len().min(8 * BLOCK as u64) / 512 {
            change(&file, at * 512 + 30, |byte| !byte);
        }
    }
    let database = open(dir.path()).expect("opens");
    assert_eq!(names(&database).await.len(), 20);
    database.close().await;
}

#[tokio::test]
async fn a_database_without_a_journal_gets_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = made(dir.path(), 8 * BLOCK as u64).await;
    merge(&database, &["a"], 1).await;
    database.close().await;
    let path = dir.path().join("containers");
    let rocks = rocksdb::DB::open_default(&path).expect("opens");
    for (key, value) in [(crate::keys::mark::FORMAT, Some(1)), (crate::keys::mark::SALT, None)] {
        match value {
            Some(number) => rocks.put(key, crate::keys::mark::encode_value(number)),
            None => rocks.delete(key),
        }
        .expect("written");
    }
    drop(rocks);
    assert!(matches!(refused(dir.path()), JournalError::Alone), "it had one already");
    for name in NAMES {
        std::fs::remove_file(path.join(name)).expect("removed");
    }
    let rocks = rocksdb::DB::open_default(&path).expect("opens");
    rocks.delete(crate::keys::mark::APPLIED).expect("written");
    drop(rocks);
    let database = open(dir.path()).expect("opens");
    merge(&database, &["b"], 1).await;
    assert_eq!(names(&database).await.len(), 2);
    database.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any batches, any crash, any damage in what is not the last record: what opens has all that was acknowledged.
    #[test]
    fn nothing_acknowledged_is_lost_in_silence(
        lengths in proptest::collection::vec(1usize..3 * BLOCK, 1..40),
        crash in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let (device, crashed) = (dir.path().join("sda"), dir.path().join("crashed"));
            let database = made(&device, 8 * BLOCK as u64).await;
            let crash = crash.index(lengths.len());
            for (number, length) in lengths.iter().enumerate().take(crash + 1) {
                merge(&database, &[&format!("{number:02}")], *length).await;
            }
            copy(&device, &crashed);
            database.close().await;
            let file = crashed.join("containers").join(NAMES[at.index(2)]);
            let length = std::fs::metadata(&file).expect("there").len();
            if length > 0 {
                change(&file, at.index(length as usize) as u64, |byte| byte ^ (1 << bit));
            }
            let Ok(found) = open(&crashed) else { return };
            let rows = names(&found).await.len();
            // The damage may be in the last record, which then looks as if it had not been written whole.
            assert!(rows == crash + 1 || rows == crash, "{rows} of {}", crash + 1);
            found.close().await;
        });
    }
}

//! Databases on a real disk.

use crate::lifecycle::{Names, create};
use crate::{
    Budget, Database, DatabaseError, DatabaseOptions, Entity, ObjectRow, OpenError, PageQuery,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use types::{ObjectHash, PolicyIndex, Timestamp};

const HASH: ObjectHash = ObjectHash([7; 16]);
const POLICY: PolicyIndex = PolicyIndex(0);

fn open(device: &Path) -> Result<Database<ObjectRow>, OpenError> {
    let options = DatabaseOptions { reserve_percent: 0, ..DatabaseOptions::default() };
    Database::open(device, &Budget::new(8 << 20, 8 << 20), &options)
}

fn row(at: u64, deleted: bool) -> ObjectRow {
    let at = Timestamp::from_seconds(at);
    ObjectRow {
        data: at,
        content_type_at: at,
        meta: at,
        size: if deleted { 0 } else { at.seconds() },
        content_type: "text/plain".into(),
        swift_bytes: None,
        etag: format!("{:032x}", at.seconds()),
        deleted,
        delete_at: 0,
    }
}

async fn make(database: &Database<ObjectRow>) {
    let names = Names { account: "a".into(), container: "c".into() };
    let at = Timestamp::from_seconds(1);
    let made = database.write(move |transaction| {
        transaction.store_entity(&HASH, create(&names, at, at, POLICY));
        Ok(())
    });
    made.await.expect("made");
}

async fn merge(database: &Database<ObjectRow>, name: &str, row: ObjectRow) -> bool {
    let name = name.to_owned();
    let merged =
        database.write(move |transaction| transaction.merge_row(&HASH, POLICY, &name, &row));
    merged.await.expect("merged")
}

async fn names(database: &Database<ObjectRow>) -> Vec<String> {
    let query = PageQuery { limit: 10_000, ..PageQuery::default() };
    let read = database.read(move |view| {
        let mut names = Vec::new();
        view.each(&HASH, POLICY, &query, |item| names.push(item.name().to_owned()))?;
        Ok(names)
    });
    read.await.expect("a page")
}

async fn entity(database: &Database<ObjectRow>) -> Entity {
    database.entity(HASH).await.expect("read").expect("there")
}

#[tokio::test]
async fn acknowledged_rows_survive_a_process_that_never_closes() {
    let dir = tempfile::tempdir().expect("a directory");
    let device = dir.path().join("sda");
    let copy = dir.path().join("copy");
    let database = open(&device).expect("opens");
    make(&database).await;
    for n in 0..200 {
        assert!(merge(&database, &format!("{n:03}"), row(n + 1, false)).await);
    }
    // What a killed process leaves is what is in the files now, while they are still open.
    std::fs::create_dir_all(copy.join("containers")).expect("made");
    for file in std::fs::read_dir(device.join("containers")).expect("read") {
        let file = file.expect("an entry");
        std::fs::copy(file.path(), copy.join("containers").join(file.file_name())).expect("copied");
    }
    let found = open(&copy).expect("opens after a crash");
    assert_eq!(names(&found).await.len(), 200);
    assert_eq!(entity(&found).await, entity(&database).await);
    found.close().await;
    database.close().await;
}

#[tokio::test]
async fn one_process_at_a_time_and_again_after_closing() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = open(dir.path()).expect("opens");
    assert!(matches!(open(dir.path()), Err(OpenError::InUse(_))));
    let held = database.clone();
    database.close().await;
    let again = open(dir.path()).expect("opens although a handle is held");
    assert_eq!(held.entity(HASH).await, Err(DatabaseError::Stopping));
    assert_eq!(held.write(|_| Ok(())).await, Err(DatabaseError::Stopping));
    again.close().await;
}

#[tokio::test]
async fn what_is_no_directory_is_explained() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("sda");
    std::fs::write(&file, "").expect("written");
    let Err(error) = open(&file) else { panic!("opened a file") };
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

#[tokio::test]
async fn a_poisoned_database_refuses_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = open(dir.path()).expect("opens");
    make(&database).await;
    database.poison();
    assert_eq!(database.write(|_| Ok(())).await, Err(DatabaseError::Device));
    assert_eq!(database.entity(HASH).await, Err(DatabaseError::Device));
    assert_eq!(database.read(|_| Ok(())).await, Err(DatabaseError::Device));
    database.close().await;
}

#[tokio::test]
async fn more_jobs_than_may_wait_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = DatabaseOptions { queue_max: 1, ..DatabaseOptions::default() };
    let database: Database<ObjectRow> =
        Database::open(dir.path(), &Budget::new(1 << 20, 1 << 20), &options).expect("opens");
    let (started, running) = tokio::sync::oneshot::channel();
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    let first = tokio::spawn({
        let database = database.clone();
        async move {
            let job = database.write(move |_| {
                let _ = started.send(());
                let _ = finished.recv();
                Ok(())
            });
            job.await
        }
    });
    running.await.expect("running");
    let waits = database.write(|_| Ok(()));
    tokio::pin!(waits);
    assert!(futures_poll(waits.as_mut()).is_pending());
    assert_eq!(database.write(|_| Ok(())).await, Err(DatabaseError::Busy));
    finish.send(()).expect("still running");
    assert_eq!(waits.await, Ok(()));
    assert_eq!(first.await.expect("ended"), Ok(()));
    database.close().await;
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_report_is_not_settled_by_a_change_in_the_same_batch() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = open(dir.path()).expect("opens");
    make(&database).await;
    let first = database.pending(0, 10).await.expect("read")[0].0;
    let both = database.write(move |transaction| {
        transaction.merge_row(&HASH, POLICY, "o", &row(5, false))?;
        transaction.acknowledge(first)
    });
    both.await.expect("written");
    let waiting = database.pending(0, 10).await.expect("read");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].1.report().objects, 1);
    database.acknowledge(vec![waiting[0].0]).await.expect("written");
    assert!(database.pending(0, 10).await.expect("read").is_empty());
    // A change taken back before anybody was told leaves nothing to tell.
    merge(&database, "p", row(6, false)).await;
    merge(&database, "p", row(7, true)).await;
    assert!(database.pending(0, 10).await.expect("read").is_empty());
    database.close().await;
}

#[tokio::test]
async fn a_report_that_one_scan_misses_is_not_hidden_by_what_another_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = open(dir.path()).expect("opens");
    let store = database.store().expect("open");
    let early = store.scan_waiting(0);
    make(&database).await;
    assert_eq!(store.waiting(0, 10).expect("read").len(), 1);
    assert!(early.take(10).expect("read").is_empty(), "begun before there was anything");
    assert_eq!(store.waiting(0, 10).expect("read").len(), 1);
    drop(store);
    database.close().await;
}

#[tokio::test]
async fn a_damaged_record_is_no_failure_of_its_device() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = open(dir.path()).expect("opens");
    let store = database.store().expect("open");
    store.db.put(crate::keys::entity::encode(&HASH), b"no record").expect("written");
    drop(store);
    assert_eq!(database.entity(HASH).await, Err(DatabaseError::Unreadable));
    let read = database.read(|view| view.entity(&HASH)).await;
    assert_eq!(read, Err(DatabaseError::Unreadable));
    let written = database.write(|transaction| transaction.entity(&HASH)).await;
    assert_eq!(written, Err(DatabaseError::Unreadable));
    let status = |error| crate::Refusal::Database(error).response().status().as_u16();
    assert_eq!((status(DatabaseError::Unreadable), status(DatabaseError::Device)), (500, 507));
    assert_eq!(database.entity(ObjectHash([8; 16])).await, Ok(None), "others are served");
    database.close().await;
}

#[derive(Clone, Debug)]
struct Change {
    name: u8,
    at: u64,
    deleted: bool,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (0u8..6, 1u64..8).prop_map(|(name, at)| {
        // One moment carries one write of a name.
        Change { name, at, deleted: (u64::from(name) + at).is_multiple_of(3) }
    });
    proptest::collection::vec(change, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the order and however jobs fall into batches: rows, totals, tombstones and hash are those of
    /// the newest write of each name, and the log has one entry per row.
    #[test]
    fn totals_are_exact_and_replicas_agree(changes in changes(), at_once in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut entities = Vec::new();
            let mut reversed = changes.clone();
            reversed.reverse();
            for changes in [&changes, &reversed] {
                let dir = tempfile::tempdir().expect("a directory");
                let database = open(dir.path()).expect("opens");
                make(&database).await;
                apply(&database, changes, at_once).await;
                let live = newest(changes);
                let expected: Vec<String> =
                    live.iter().filter(|(_, c)| !c.deleted).map(|(n, _)| n.to_string()).collect();
                assert_eq!(names(&database).await, expected);
                let entity = entity(&database).await;
                let bytes: u64 = live.values().filter(|c| !c.deleted).map(|c| c.at).sum();
                let totals = entity.totals_of(POLICY);
                assert_eq!((totals.rows, totals.bytes), (expected.len() as u64, bytes));
                assert_eq!(entity.tombstones, (live.len() - expected.len()) as u64);
                assert_eq!(database.log_names(), live.keys().map(u8::to_string).collect());
                entities.push((entity.hash, totals));
                database.close().await;
            }
            assert_eq!(entities[0], entities[1]);
        });
    }
}

async fn apply(database: &Database<ObjectRow>, changes: &[Change], at_once: bool) {
    if at_once {
        let changes = changes.to_vec();
        let all = database.write(move |transaction| {
            for change in &changes {
                let row = row(change.at, change.deleted);
                transaction.merge_row(&HASH, POLICY, &change.name.to_string(), &row)?;
            }
            Ok(())
        });
        return all.await.expect("merged");
    }
    for change in changes {
        merge(database, &change.name.to_string(), row(change.at, change.deleted)).await;
    }
}

fn newest(changes: &[Change]) -> BTreeMap<u8, Change> {
    let mut newest: BTreeMap<u8, Change> = BTreeMap::new();
    for change in changes {
        let held = newest.entry(change.name).or_insert_with(|| change.clone());
        if change.at > held.at {
            *held = change.clone();
        }
    }
    newest
}

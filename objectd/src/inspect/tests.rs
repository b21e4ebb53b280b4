use super::*;
use crate::engine::{Change, Engine, EngineOptions, Identity};
use crate::format::{Metadata, RecordKind, SegmentClass, SegmentHeader, Superblock};
use crate::index::{Account, Index, IndexBudget};
use crate::io::{BLOCK, SimIo};
use daemon::ManualClock;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use types::{HashPaths, ObjectHash, PolicyIndex, Timestamp};
use wire::ObjectUpdate;

const SEGMENT_BLOCKS: u32 = 256;

/// A device in memory.
struct Rig {
    disk: SimIo,
    budget: IndexBudget,
}

impl Rig {
    fn new() -> Self {
        let budget = IndexBudget::new(1 << 20, 1 << 20).in_memory().expect("memory");
        Rig { disk: SimIo::new(1 << 28, 3), budget }
    }

    fn engine(&self) -> Engine {
        let clock = Arc::new(ManualClock::at_seconds(1_700_000_000));
        let options = EngineOptions { segment_blocks: SEGMENT_BLOCKS, ..EngineOptions::default() };
        let io = Arc::new(self.disk.clone());
        Engine::open(io, Path::new("/index"), &self.budget, &identity(), &options, clock)
            .expect("opens")
    }

    fn device(&self) -> Device {
        Device::on(Arc::new(self.disk.clone()), Path::new("/index"), &self.budget).expect("opens")
    }

    /// The index, to be falsified.
    fn index(&self) -> Index {
        Index::open(Path::new("/index"), &self.budget).expect("opens")
    }

    fn flip(&self, segment: u32, block: u32, byte: u64) {
        let bit = (u64::from(block) * BLOCK as u64 + byte) * 8;
        self.disk.flip_bit(&SegmentHeader::file_name(segment), bit);
    }
}

fn identity() -> Identity {
    Identity {
        hash_fingerprint: Superblock::fingerprint(&HashPaths::default()),
        policy: PolicyIndex(0),
        new_device_id: [9; 16],
    }
}

fn hash_of(number: u64) -> ObjectHash {
    HashPaths::default().object("a", "c", &number.to_string())
}

fn content(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| ((i * 31 + i / 253) ^ number.wrapping_mul(977)) as u8).collect()
}

fn update_of(number: u64, raw: u64) -> ObjectUpdate {
    ObjectUpdate {
        account: types::AccountName::parse("a").expect("a name"),
        container: types::ContainerName::parse("c").expect("a name"),
        object: types::ObjectName::parse(number.to_string()).expect("a name"),
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

async fn change(engine: &Engine, kind: RecordKind, number: u64, raw: u64, data: &[u8]) {
    let mut body = engine.body();
    body.push(data).await.expect("room");
    let mut metadata = Metadata::default();
    metadata.set("name", format!("/a/c/{number}").as_bytes());
    let update = update_of(number, raw);
    let change = Change {
        kind,
        hash: hash_of(number),
        timestamp: Timestamp::from_raw(raw),
        content_type_timestamp: None,
        delete_at: 0,
        fragment: None,
        metadata: &metadata,
        body: body.finish().await.expect("written"),
        update: number.is_multiple_of(2).then_some(&update),
    };
    engine.commit(change).await.expect("committed");
}

async fn put(engine: &Engine, number: u64, raw: u64, len: usize) {
    change(engine, RecordKind::Data, number, raw, &content(number, len)).await;
}

async fn close(engine: Engine) {
    tokio::task::spawn_blocking(move || engine.close()).await.expect("closed");
}

/// Objects of all sizes, some written over, some deleted, in several segments of each class.
async fn fill(engine: &Engine) {
    for round in 0..3 {
        for number in 0..40 {
            let len = [10, 3000, 30_000, 66_000, 200_000][number as usize % 5];
            put(engine, number, 10 + round, len).await;
        }
    }
    for number in 0..5 {
        change(engine, RecordKind::Tombstone, number, 20, &[]).await;
    }
    change(engine, RecordKind::Meta, 7, 21, &[]).await;
}

fn verify(device: &Device, scope: Scope) -> Report {
    let mut verifier = Verifier::new(device, scope).expect("begins");
    assert_eq!(verifier.step(u64::MAX).expect("verified"), Progress::Done);
    verifier.report().clone()
}

fn clean(device: &Device) -> Report {
    let report = verify(device, Scope::Device);
    assert!(report.is_clean(), "{:#?}", report.findings);
    report
}

/// What is wrong at a place.
fn problems(report: &Report, segment: u32) -> Vec<&Problem> {
    let here = report.findings.iter().filter(|finding| finding.segment == Some(segment));
    here.map(|finding| &finding.problem).collect()
}

fn log_segment(device: &Device, class: SegmentClass) -> u32 {
    device.of_class(class).first().expect("one").id
}

fn frames(device: &Device, segment: u32) -> Vec<FrameRow> {
    let mut rows = Vec::new();
    device.frames(segment, 1, |row| rows.push(row)).expect("frames");
    rows
}

#[tokio::test]
async fn a_sound_device_is_found_to_be_sound() {
    let rig = Rig::new();
    let engine = rig.engine();
    fill(&engine).await;
    close(engine).await;
    let report = clean(&rig.device());
    // Thirty-five objects, one of them with metadata of its own, and five tombstones.
    assert_eq!((report.objects, report.live_records, report.records), (35, 41, 126));
    assert_eq!((report.frames_behind_index, report.torn_end, report.changed), (0, false, 0));
    let bulk = 66_000u64.next_multiple_of(4096) * 8 + 200_000u64.next_multiple_of(4096) * 8;
    // Of the two that are deleted nothing is read.
    let gone = 66_000u64.next_multiple_of(4096) + 200_000u64.next_multiple_of(4096);
    assert_eq!(report.bulk_bytes, bulk - gone);

    // Little at a time comes to the same.
    let device = rig.device();
    let mut verifier = Verifier::new(&device, Scope::Device).expect("begins");
    let mut steps = 0;
    while verifier.step(10_000).expect("verified") == Progress::More {
        steps += 1;
    }
    assert!(steps > 10, "{steps}");
    assert_eq!(verifier.report().bytes_read, report.bytes_read);
    for (segment, _) in device.segments() {
        assert!(verify(&device, Scope::Segment(segment)).is_clean(), "segment {segment}");
    }
}

#[tokio::test]
async fn a_device_that_was_compacted_is_found_to_be_sound() {
    let rig = Rig::new();
    let engine = rig.engine();
    fill(&engine).await;
    for number in 0..30 {
        put(&engine, number, 30, 20_000).await;
    }
    let working = engine.clone();
    let done = tokio::task::spawn_blocking(move || {
        (0..20)
            .map(|_| working.maintain().expect("maintained"))
            .map(|done| done.freed)
            .sum::<usize>()
    });
    assert!(done.await.expect("done") > 0);
    let found = clean(&rig.device());
    close(engine).await;
    let report = clean(&rig.device());
    assert!(report.frames >= found.frames);
    assert_eq!(report.objects, 40);
    let classes = rig.device().summary().expect("a summary").classes;
    assert!(classes.iter().any(|row| row.class == "free" && row.segments > 0), "{classes:?}");
}

#[tokio::test]
async fn tables_say_what_was_written() {
    let rig = Rig::new();
    let engine = rig.engine();
    fill(&engine).await;
    close(engine).await;
    let device = rig.device();
    let summary = device.summary().expect("a summary");
    let index = summary.index.expect("an index");
    assert_eq!((summary.superblocks, index.objects, index.quarantined), (2, 40, 0));
    assert_eq!((index.applied_lsn, summary.log.last_lsn), (126, 126));
    assert_eq!((index.pending_updates, index.oldest_pending_lsn), (63, Some(1)));
    let table = device.segment_table().expect("a table");
    let records: u64 = table.iter().filter_map(|row| row.records).sum();
    assert_eq!(records, 126);
    assert!(table.iter().any(|row| row.footer == Some(FooterState::Whole)));
    assert!(table.iter().any(|row| row.garbage_percent().is_some_and(|percent| percent > 50)));
    let hot = log_segment(&device, SegmentClass::Hot);
    let rows = frames(&device, hot);
    assert_eq!((rows[0].lsn, rows[0].block, rows[0].chained), (Some(1), 1, None));
    assert!(rows[1..].iter().all(|row| row.chained == Some(true) && row.damage.is_none()));
    let later = rows[3].block;
    let mut from = Vec::new();
    device.frames(hot, later, |row| from.push(row.lsn)).expect("frames");
    assert_eq!(from[0], Some(4));
    let mut all = Vec::new();
    device.records(hot, |row| all.push(row)).expect("records");
    assert_eq!(all[0].name.as_deref(), Some("/a/c/0"));
    assert_eq!((all[0].state, all[0].update_waits), (RecordState::Dead, Some(true)));
    let of_frame = device.records_of_frame(126).expect("the last frame");
    assert_eq!((of_frame[0].kind, of_frame[0].state), (RecordKind::Meta, RecordState::Live));
    assert!(matches!(device.records_of_frame(127), Err(InspectError::NoFrame(127))));
    let bulk = log_segment(&device, SegmentClass::Bulk);
    assert!(matches!(device.frames(bulk, 1, drop), Err(InspectError::NoFrames { .. })));
}

#[tokio::test]
async fn a_damaged_frame_is_named_with_its_records() {
    let rig = Rig::new();
    let engine = rig.engine();
    fill(&engine).await;
    close(engine).await;
    let device = rig.device();
    // The last segment of hot frames, in which all that counts lies, and the first, where there is a footer.
    let last = device.of_class(SegmentClass::Hot).last().expect("one").id;
    for segment in [last, log_segment(&device, SegmentClass::Hot)] {
        for row in frames(&device, segment) {
            for byte in [20, 70, 300] {
                rig.flip(segment, row.block, byte);
                let report = verify(&rig.device(), Scope::Device);
                rig.flip(segment, row.block, byte);
                let found = report.findings.iter().find(|finding| {
                    finding.segment == Some(segment) && finding.block == Some(row.block)
                });
                // Nothing may say what stands at the end of an open segment, but what the index knows.
                let ends = |problem: &Problem| matches!(problem, Problem::EndsEarly);
                let found = found.or(report.findings.iter().find(|f| ends(&f.problem)));
                assert!(found.is_some(), "block {} byte {byte}: {:#?}", row.block, report.findings);
                let lost = |finding: &&Finding| finding.segment != Some(segment);
                assert_eq!(report.findings.iter().find(lost), None, "block {}", row.block);
            }
        }
    }
    clean(&rig.device());
}

#[tokio::test]
async fn damaged_bulk_data_is_named_with_its_object_and_the_rest_is_saved() {
    let rig = Rig::new();
    let engine = rig.engine();
    put(&engine, 1, 10, 10).await;
    put(&engine, 2, 11, 200_000).await;
    close(engine).await;
    let bulk = log_segment(&rig.device(), SegmentClass::Bulk);
    // The second chunk begins in block 17.
    rig.flip(bulk, 20, 5);
    let device = rig.device();
    for scope in [Scope::Device, Scope::Segment(bulk)] {
        let report = verify(&device, scope);
        let found = report.findings.first().expect("a finding");
        assert_eq!((found.segment, found.block), (Some(bulk), Some(17)), "{report:?}");
        assert_eq!((found.hash, found.lsn), (Some(hash_of(2)), Some(2)));
        assert!(matches!(found.problem, Problem::Data { offset: 65_536, .. }));
        assert_eq!(report.findings.len(), 1);
    }
    let view = device.object(&hash_of(2)).expect("looked up");
    let known = view.versions.into_iter().next().expect("a version");
    assert_eq!(known.role, Role::Data);
    let mut reader = device.data(known.stored.expect("a record"));
    let mut good = Vec::new();
    while let Some(chunk) = reader.next_chunk() {
        let offset = chunk.offset as usize;
        match chunk.bytes {
            Ok(bytes) => {
                assert!(bytes == &content(2, 200_000)[offset..offset + bytes.len()]);
                good.push(offset);
            }
            Err(error) => assert!(matches!(error, ReadError::Damaged(_)), "{error}"),
        }
    }
    assert_eq!(good, [0, 131_072, 196_608]);
}

#[tokio::test]
async fn an_index_that_is_behind_is_no_damage() {
    let rig = Rig::new();
    let engine = rig.engine();
    put(&engine, 1, 10, 100).await;
    let flushing = engine.clone();
    tokio::task::spawn_blocking(move || flushing.checkpoint()).await.expect("ran").expect("made");
    put(&engine, 1, 11, 200_000).await;
    put(&engine, 2, 12, 100).await;
    let device = rig.device();
    let report = clean(&device);
    assert_eq!((report.frames, report.frames_behind_index, report.torn_end), (3, 2, false));
    assert_eq!(report.bulk_bytes, 200_704);
    let summary = device.summary().expect("a summary");
    assert_eq!((summary.log.last_lsn, summary.log.frames_behind_index), (3, 2));
    let view = device.object(&hash_of(1)).expect("looked up");
    assert!(view.completed);
    assert_eq!(view.versions.len(), 1);
    assert_eq!(view.versions[0].version.timestamp, Timestamp::from_raw(11));
    // A torn last frame was never acknowledged.
    let hot = log_segment(&device, SegmentClass::Hot);
    let rows = frames(&device, hot);
    rig.flip(hot, rows[2].block, 100);
    assert!(clean(&rig.device()).torn_end);
    // Unless another one stands behind it.
    rig.flip(hot, rows[2].block, 100);
    rig.flip(hot, rows[1].block, 100);
    let report = verify(&rig.device(), Scope::Device);
    assert!(matches!(problems(&report, hot)[..], [Problem::Frame(_)]), "{report:?}");
    rig.flip(hot, rows[1].block, 100);
    close(engine).await;
    clean(&rig.device());
}

#[tokio::test]
async fn an_index_that_says_something_else_is_noticed() {
    let falsify = async |change: fn(&Index)| {
        let rig = Rig::new();
        let engine = rig.engine();
        fill(&engine).await;
        close(engine).await;
        let index = rig.index();
        change(&index);
        index.flush().expect("flushed");
        drop(index);
        verify(&rig.device(), Scope::Device).findings
    };
    let has = |findings: &[Finding], is: fn(&Problem) -> bool| {
        assert!(findings.iter().any(|finding| is(&finding.problem)), "{findings:#?}");
    };
    let forgotten = falsify(|index| {
        let mut batch = index.batch();
        batch.put_state(&hash_of(30), &crate::state::ObjectState::default());
        batch.write().expect("written");
    })
    .await;
    has(&forgotten, |problem| *problem == Problem::NotInIndex);
    has(&forgotten, |problem| matches!(problem, Problem::Account { what: "live bytes", .. }));
    has(&forgotten, |problem| matches!(problem, Problem::Cell(_)));
    let invented = falsify(|index| {
        let state = index.state(&hash_of(30)).expect("a state");
        let mut batch = index.batch();
        batch.put_state(&ObjectHash([7; 16]), &state);
        batch.write().expect("written");
    })
    .await;
    has(&invented, |problem| matches!(problem, Problem::NoRecord(_)));
    let revived = falsify(|index| {
        // The object was deleted; its data is still there, as garbage.
        let mut version = index.state(&hash_of(0)).expect("a state").versions()[0].clone();
        version.kind = RecordKind::Data;
        let mut batch = index.batch();
        batch.put_state(&hash_of(0), &crate::state::ObjectState::of_one(version));
        batch.write().expect("written");
    })
    .await;
    has(&revived, |problem| *problem == Problem::IndexDiffers);
    let disowned = falsify(|index| {
        let state = index.state(&hash_of(34)).expect("a state");
        let segment = state.data().expect("data").bulk[0].segment;
        let mut batch = index.batch();
        batch.forget_owner(segment, &hash_of(34));
        batch.put_account(segment, &Account::default());
        batch.write().expect("written");
    })
    .await;
    has(&disowned, |problem| matches!(problem, Problem::Owners { .. }));
    has(&disowned, |problem| *problem == Problem::Taken);
}

#[tokio::test]
async fn a_lost_header_and_a_lost_superblock_are_named() {
    let rig = Rig::new();
    let engine = rig.engine();
    fill(&engine).await;
    close(engine).await;
    let device = rig.device();
    let hot = device.of_class(SegmentClass::Hot).last().expect("one").id;
    rig.disk.zero(&SegmentHeader::file_name(hot), 0..BLOCK);
    rig.disk.flip_bit("SUPER", 100);
    let device = rig.device();
    assert!(device.superblock().is_some());
    let report = verify(&device, Scope::Device);
    assert!(matches!(report.findings[0].problem, Problem::Superblock { copy: 0, .. }));
    assert!(problems(&report, hot).contains(&&Problem::HeaderGone));
    assert!(problems(&report, hot).contains(&&Problem::NoSegment));
    let row = device.segment_table().expect("a table").into_iter().find(|row| row.segment == hot);
    assert_eq!(row.expect("a row").class, "unused");
}

#[tokio::test]
async fn without_an_index_the_log_tells() {
    let rig = Rig::new();
    let engine = rig.engine();
    fill(&engine).await;
    close(engine).await;
    let none = IndexBudget::new(1 << 20, 1 << 20);
    let device = Device::on(Arc::new(rig.disk.clone()), Path::new("/nowhere"), &none);
    let device = device.expect("opens");
    assert!(!device.has_index());
    let report = clean(&device);
    assert_eq!((report.index, report.records, report.bulk_bytes), (false, 126, 0));
    for number in 0..40u64 {
        let view = device.object(&hash_of(number)).expect("looked up");
        let with_index = rig.device().object(&hash_of(number)).expect("looked up");
        let versions = |view: &ObjectView| {
            view.versions
                .iter()
                .map(|known| (known.version.clone(), known.role))
                .collect::<Vec<_>>()
        };
        assert_eq!(versions(&view), versions(&with_index), "{number}");
        let deleted = view.versions.iter().any(|known| known.role == Role::Deletion);
        assert_eq!(deleted, number < 5);
    }
    assert!(device.summary().expect("a summary").index.is_none());
}

#[tokio::test]
async fn what_is_in_quarantine_is_listed_and_not_missed() {
    let rig = Rig::new();
    let engine = rig.engine();
    put(&engine, 1, 10, 100).await;
    put(&engine, 2, 11, 200_000).await;
    let bulk = log_segment(&rig.device(), SegmentClass::Bulk);
    rig.flip(bulk, 3, 1);
    let state = engine.state(hash_of(2)).await.expect("a state");
    let record = engine.open_record(hash_of(2), state.data().expect("data")).await.expect("opens");
    assert!(engine.data(&record, 0..200_000).whole().await.is_err());
    // Waits for the commit thread.
    engine.updates_done(Vec::new()).await.expect("done");
    close(engine).await;
    let device = rig.device();
    clean(&device);
    assert_eq!(device.summary().expect("a summary").index.expect("an index").quarantined, 1);
    let view = device.object(&hash_of(2)).expect("looked up");
    assert_eq!((view.versions.len(), view.quarantined.len()), (0, 1));
    assert!(view.quarantined[0].stored.is_ok());
}

/// Everything in a directory: names, times and contents.
fn everything(dir: &Path) -> BTreeMap<std::path::PathBuf, (std::time::SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let modified = std::fs::metadata(&path).expect("there").modified().expect("a time");
        if path.is_dir() {
            found.extend(everything(&path));
            found.insert(path, (modified, Vec::new()));
        } else {
            let content = std::fs::read(&path).expect("read");
            found.insert(path, (modified, content));
        }
    }
    found
}

#[tokio::test]
async fn nothing_in_the_directory_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let pack = dir.path().join("pack");
    let io = crate::io::open_device(&pack.join("log"), crate::io::IoChoice::Auto).expect("opens");
    let budget = IndexBudget::new(1 << 20, 1 << 20);
    let options = EngineOptions { segment_blocks: SEGMENT_BLOCKS, ..EngineOptions::default() };
    let clock = Arc::new(ManualClock::at_seconds(1_700_000_000));
    let index = pack.join("index");
    let engine = Engine::open(io, &index, &budget, &identity(), &options, clock).expect("opens");
    fill(&engine).await;
    // While the engine has it open, and after. On a thread, for here is a real disk to wait for.
    let look = |dir: &Path| {
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || look_at_everything(&dir))
    };
    look(dir.path()).await.expect("looked");
    close(engine).await;
    let before = everything(dir.path());
    look(dir.path()).await.expect("looked");
    assert!(everything(dir.path()) == before);
    let empty = tempfile::tempdir().expect("a directory");
    assert!(matches!(Device::open(empty.path()), Err(InspectError::NoDevice(_))));
    assert_eq!(std::fs::read_dir(empty.path()).expect("there").count(), 0);
}

fn look_at_everything(dir: &Path) {
    let device = Device::open(dir).expect("opens");
    clean(&device);
    device.summary().expect("a summary");
    device.segment_table().expect("a table");
    device.object(&hash_of(30)).expect("looked up");
    let file = device.files.values().next().expect("a segment").file;
    let buf = crate::io::BlockBuf::zeroed(1);
    let write = device.io.write(file, 0, buf, crate::io::WriteMode::Durable);
    assert!(futures_executor::block_on(write).is_err());
    assert!(futures_executor::block_on(device.io.create("x", 1)).is_err());
}

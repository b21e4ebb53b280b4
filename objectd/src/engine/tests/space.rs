//! Space: what is overwritten or deleted comes back, and what is needed does not go.

use super::*;

const CAPACITY: u64 = 48;

struct Device {
    disk: SimIo,
    clock: Arc<ManualClock>,
    budget: IndexBudget,
}

impl Device {
    fn new() -> Self {
        Device {
            disk: SimIo::new(1 << 30, 3),
            clock: Arc::new(ManualClock::at_seconds(1_700_000_000)),
            budget: IndexBudget::new(1 << 20, 1 << 20).in_memory().expect("memory"),
        }
    }

    fn options() -> EngineOptions {
        let segment_blocks = 128;
        EngineOptions {
            segment_blocks,
            capacity_bytes: CAPACITY * u64::from(segment_blocks) * 4096,
            reclaim_age: 3600,
            ..EngineOptions::default()
        }
    }

    fn open(&self, index: &str) -> Engine {
        let disk: Arc<dyn BlockIo> = Arc::new(self.disk.clone());
        let (options, clock) = (Self::options(), Arc::<ManualClock>::clone(&self.clock));
        let index = Path::new(index);
        Engine::open(disk, index, &self.budget, &identity(), &options, clock).expect("opens")
    }

    /// Now, as a moment of changes.
    fn now(&self) -> u64 {
        use daemon::Clock;
        self.clock.micros() / 10
    }
}

async fn maintain(engine: &Engine) -> Maintenance {
    let engine = engine.clone();
    let round = tokio::task::spawn_blocking(move || engine.maintain());
    round.await.expect("joined").expect("a round of maintenance")
}

async fn close(engine: Engine) {
    tokio::task::spawn_blocking(move || engine.close()).await.expect("closed");
}

fn in_use(engine: &Engine) -> usize {
    engine.0.segments.uses().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_overwritten_makes_room_for_ever() {
    let device = Device::new();
    let engine = device.open("/index");
    let mut written = 0;
    let mut moved = 0;
    for round in 1..=90u64 {
        for number in 0..60 {
            // Some is never touched again, and lies among what is.
            if round > 1 && number % 3 == 0 {
                continue;
            }
            let data = content(round * 1000 + number, 20_000 + (number as usize * 37) % 40_000);
            written += data.len() as u64;
            while !engine.has_room() {
                assert_ne!(maintain(&engine).await, Maintenance::default(), "it stays full");
            }
            put(&engine, number, device.now() + round * 1000 + number, &data).await.expect("put");
        }
        moved += maintain(&engine).await.moved_bytes;
        device.clock.advance_micros(1_000_000);
    }
    assert!(written > 3 * CAPACITY * 128 * 4096, "{written} bytes are not many");
    assert!(moved > 0, "what was never touched again had to be moved");
    let check = async |engine: &Engine| {
        for number in 0..60u64 {
            let round = if number % 3 == 0 { 1 } else { 90 };
            let (_, found) = get(engine, number).await.expect("read").expect("there");
            let wanted = content(round * 1000 + number, found.len());
            assert!(found == wanted, "object {number}");
        }
    };
    check(&engine).await;
    close(engine).await;
    for index in ["/index", "/made-anew"] {
        let engine = device.open(index);
        check(&engine).await;
        close(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_data_is_moved_out_of_segments_that_hold_mostly_garbage() {
    // Nothing of the index stays in memory.
    let budget = IndexBudget::new(0, 1 << 20).in_memory().expect("memory");
    let device = Device { budget, ..Device::new() };
    let engine = device.open("/index");
    for round in 0..6u64 {
        for number in 0..40 {
            let stays = number % 8 == round % 8;
            let name = if stays { 1000 + round * 100 + number } else { number };
            let data = content(round * 1000 + number, 100_000 + number as usize * 1000);
            while !engine.has_room() {
                assert_ne!(maintain(&engine).await, Maintenance::default(), "it stays full");
            }
            let at = device.now() + round * 1000 + number;
            put(&engine, name, at, &data).await.expect("put");
        }
        device.clock.advance_micros(1_000_000);
    }
    let mut moved = 0;
    for number in 0..40 {
        delete(&engine, number, device.now() + 100_000).await.expect("deleted");
    }
    loop {
        let done = maintain(&engine).await;
        moved += done.moved_bytes;
        if done == Maintenance::default() {
            break;
        }
    }
    assert!(moved > 500_000, "only {moved} bytes were moved");
    for index in ["/index", "/made-anew"] {
        let engine = if index == "/index" { engine.clone() } else { device.open(index) };
        for round in 0..6u64 {
            for number in (0..40).filter(|number| number % 8 == round % 8) {
                let found = get(&engine, 1000 + round * 100 + number).await.expect("read");
                let (_, found) = found.expect("there");
                assert!(found == content(round * 1000 + number, found.len()), "{round} {number}");
            }
        }
        close(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_are_given_up_when_they_are_old_and_nothing_needs_them() {
    let device = Device::new();
    let engine = device.open("/index");
    for number in 0..400 {
        put(&engine, number, device.now(), &content(number, 15_000)).await.expect("put");
    }
    for number in 0..400 {
        delete(&engine, number, device.now() + 1).await.expect("deleted");
    }
    let known = async |engine: &Engine| {
        let mut known = 0;
        for number in 0..400 {
            known += usize::from(!engine.state(hash_of(number)).await.expect("state").is_empty());
        }
        known
    };
    while maintain(&engine).await != Maintenance::default() {}
    assert_eq!(known(&engine).await, 400, "young tombstones stay");
    device.clock.advance_micros(7_200_000_000);
    let mut retired = 0;
    loop {
        let done = maintain(&engine).await;
        retired += done.retired;
        if done == Maintenance::default() {
            break;
        }
    }
    assert_eq!((known(&engine).await, retired), (0, 400));
    close(engine).await;
    let engine = device.open("/made-anew");
    assert_eq!(known(&engine).await, 0, "nothing comes back");
    assert!(in_use(&engine) <= 3, "{} segments are still in use", in_use(&engine));
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_keeps_what_it_reads() {
    let device = Device::new();
    let engine = device.open("/index");
    let data = content(5, 400_000);
    put(&engine, 5, device.now(), &data).await.expect("put");
    let state = engine.state(hash_of(5)).await.expect("state");
    let version = state.data().expect("data").clone();
    let record = engine.open_record(hash_of(5), &version).await.expect("opened");
    let mut stream = engine.data(&record, 0..version.data_len);
    let first = stream.next().await.expect("a piece").expect("read");
    drop(record);
    delete(&engine, 5, device.now() + 1).await.expect("deleted");
    // The segment is full and closed, and somebody else wants room.
    for number in 100..130 {
        put(&engine, number, device.now(), &content(number, 300_000)).await.expect("put");
        maintain(&engine).await;
    }
    let mut all = first.to_vec();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece.expect("read"));
    }
    assert!(all == data);
    let before = in_use(&engine);
    drop(stream);
    assert!(maintain(&engine).await.freed > 0);
    assert!(in_use(&engine) < before);
    assert!(matches!(
        engine.open_record(hash_of(5), &version).await.err(),
        Some(EngineError::Changed)
    ));
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_begin_together_share_a_segment() {
    let device = Device::new();
    let engine = device.open("/index");
    let bodies = (0..40).map(|number| {
        let (engine, at) = (engine.clone(), device.now());
        tokio::spawn(async move { put(&engine, number, at, &content(number, 70_000)).await })
    });
    for body in futures_util::future::join_all(bodies).await {
        body.expect("joined").expect("put");
    }
    // 40 bodies of 18 blocks, seven in a segment, and one segment of the log.
    assert!(in_use(&engine) <= 8, "{} segments are in use", in_use(&engine));
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_full_takes_deletions_and_is_empty_afterwards() {
    let device = Device::new();
    let engine = device.open("/index");
    let mut stored = 0;
    while engine.has_room() {
        put(&engine, stored, device.now(), &content(stored, 50_000)).await.expect("put");
        stored += 1;
        maintain(&engine).await;
    }
    assert!(stored > CAPACITY * 6, "only {stored} objects fit");
    for number in 0..stored {
        let (_, found) = get(&engine, number).await.expect("read").expect("there");
        assert!(found == content(number, 50_000));
        delete(&engine, number, device.now() + 1).await.expect("deleted");
        if number % 50 == 0 {
            maintain(&engine).await;
        }
    }
    maintain(&engine).await;
    assert!(engine.has_room());
    assert!(in_use(&engine) < 6, "{} segments are still in use", in_use(&engine));
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_often_is_kept_in_memory_and_never_stale() {
    use crate::io::Calls;
    let device = Device::new();
    let options = EngineOptions { cache: Some(RecordCache::new(1 << 20)), ..Device::options() };
    let disk: Arc<dyn BlockIo> = Arc::new(device.disk.clone());
    let clock = Arc::<ManualClock>::clone(&device.clock);
    let index = Path::new("/index");
    let opened = Engine::open(disk, index, &device.budget, &identity(), &options, clock);
    let engine = opened.expect("opens");
    for round in 0..3u64 {
        let data = content(round, 4096);
        put(&engine, 1, device.now() + round, &data).await.expect("put");
        assert!(get(&engine, 1).await.expect("read").expect("there").1 == data);
        let reads = device.disk.calls(Calls::Reads);
        for _ in 0..10 {
            assert!(get(&engine, 1).await.expect("read").expect("there").1 == data);
        }
        assert_eq!(device.disk.calls(Calls::Reads), reads, "from memory");
        let auditor = engine.share(crate::io::Class::Audit);
        assert!(get(&auditor, 1).await.expect("read").expect("there").1 == data);
        assert_eq!(device.disk.calls(Calls::Reads), reads + 1, "an auditor means the disk");
    }
    // Its bound holds.
    for number in 0..400 {
        put(&engine, number, device.now() + 10, &content(number, 10_000)).await.expect("put");
        get(&engine, number).await.expect("read");
    }
    let reads = device.disk.calls(Calls::Reads);
    for number in 0..400 {
        let (_, found) = get(&engine, number).await.expect("read").expect("there");
        assert!(found == content(number, 10_000));
    }
    assert!(device.disk.calls(Calls::Reads) - reads > 200, "most do not fit");
    delete(&engine, 1, device.now() + 20).await.expect("deleted");
    assert!(get(&engine, 1).await.expect("read").is_none());
    close(engine).await;
}

/// Data that arrives behind a newer deletion is garbage at once, in a frame that is younger than the tombstone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_stays_while_late_data_that_it_deleted_is_on_the_disk() {
    let device = Device::new();
    let engine = device.open("/index");
    let at = device.now();
    delete(&engine, 1, at + 10).await.expect("deleted");
    put(&engine, 1, at, &content(1, 9000)).await.expect("put, and dead on arrival");
    // The segment with it holds mostly what lives, and stays.
    for number in 100..130 {
        put(&engine, number, at, &content(number, 15_000)).await.expect("put");
    }
    device.clock.advance_micros(7_200_000_000);
    for _ in 0..4 {
        maintain(&engine).await;
    }
    close(engine).await;
    let engine = device.open("/made-anew");
    assert!(get(&engine, 1).await.expect("read").is_none(), "the object is back");
    close(engine).await;
}

fn bare(kind: RecordKind, number: u64, raw: u64, metadata: &Metadata) -> Change<'_> {
    Change {
        kind,
        hash: hash_of(number),
        timestamp: Timestamp::from_raw(raw),
        content_type_timestamp: None,
        delete_at: 0,
        fragment: None,
        metadata,
        body: StoredBody::default(),
        update: None,
    }
}

/// What came after a purge lives, also if it says the same as what the purge took; and purges are moved like all else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_that_is_moved_takes_nothing_that_came_after_it() {
    let device = Device::new();
    let engine = device.open("/index");
    let (at, none) = (device.now(), Metadata::default());
    // Garbage that is older than the purge, among what lives, so that the purge is needed.
    for number in 100..140 {
        put(&engine, number, at, &content(number, 15_000)).await.expect("put");
    }
    delete(&engine, 100, at + 1).await.expect("deleted");
    put(&engine, 1, at, &content(1, 9000)).await.expect("put");
    engine.commit(bare(RecordKind::Purge, 1, at, &none)).await.expect("purged");
    for number in 200..260 {
        put(&engine, number, at, &content(number, 15_000)).await.expect("put");
    }
    put(&engine, 1, at, &content(1, 9000)).await.expect("put again");
    for number in 200..260 {
        delete(&engine, number, at + 1).await.expect("deleted");
    }
    for _ in 0..4 {
        maintain(&engine).await;
    }
    assert!(get(&engine, 1).await.expect("read").is_some(), "the object is lost");
    close(engine).await;
    let engine = device.open("/made-anew");
    assert!(get(&engine, 1).await.expect("read").is_some(), "the object is lost");
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_stays_while_its_container_was_not_told() {
    let device = Device::new();
    let engine = device.open("/index");
    let none = Metadata::default();
    let at = device.now();
    for number in 0..2 {
        let update = update_of(number, at);
        let change =
            Change { update: Some(&update), ..bare(RecordKind::Tombstone, number, at, &none) };
        engine.commit(change).await.expect("deleted");
    }
    let told = engine.pending_updates(UpdateToken(0), 1).await.expect("listed")[0].0;
    engine.updates_done(vec![told]).await.expect("done");
    device.clock.advance_micros(7_200_000_000);
    let mut retired = 0;
    for _ in 0..4 {
        retired += maintain(&engine).await.retired;
    }
    assert_eq!(retired, 1);
    close(engine).await;
    let engine = device.open("/made-anew");
    assert_eq!(engine.pending_updates(UpdateToken(0), 10).await.expect("listed").len(), 1);
    close(engine).await;
}

/// Whether a tombstone is needed is decided where nothing can come in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_late_while_a_segment_is_emptied_still_counts() {
    let device = Device::new();
    let engine = device.open("/index");
    let at = device.now();
    delete(&engine, 1, at + 10).await.expect("deleted");
    let state = engine.state(hash_of(1)).await.expect("state");
    let tombstone = state.tombstone().expect("a tombstone").location;
    put(&engine, 1, at, &content(1, 9000)).await.expect("put, and dead on arrival");
    let needed = tokio::task::spawn_blocking({
        let engine = engine.clone();
        move || {
            let markers = vec![(hash_of(1), tombstone)];
            engine.tell(|answer| commit::Job::Retire(tombstone.segment, markers, answer))
        }
    });
    assert_eq!(needed.await.expect("joined").expect("told").len(), 1);
    assert!(!engine.state(hash_of(1)).await.expect("state").is_empty());
    close(engine).await;
}

/// A device of few segments must not wait for a share of free space that is less than one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_device_that_is_full_wins_back_what_little_is_garbage() {
    let device = Device::new();
    let options = EngineOptions { capacity_bytes: 20 * 128 * 4096, ..Device::options() };
    let disk: Arc<dyn BlockIo> = Arc::new(device.disk.clone());
    let clock = Arc::<ManualClock>::clone(&device.clock);
    let opened =
        Engine::open(disk, Path::new("/index"), &device.budget, &identity(), &options, clock);
    let engine = opened.expect("opens");
    let mut stored = 0;
    while engine.has_room() {
        put(&engine, stored, device.now(), &content(stored, 15_000)).await.expect("put");
        stored += 1;
    }
    for number in (0..stored).step_by(4) {
        delete(&engine, number, device.now() + 1).await.expect("deleted");
    }
    while maintain(&engine).await != Maintenance::default() {}
    assert!(engine.has_room(), "it stays full");
    for number in (0..stored).filter(|number| number % 4 > 0) {
        let (_, found) = get(&engine, number).await.expect("read").expect("there");
        assert!(found == content(number, 15_000));
    }
    close(engine).await;
}

/// Pieces of bulk data that do not fill a segment leave a rest that moving them does not win back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lives_is_not_moved_for_nothing() {
    let device = Device::new();
    let engine = device.open("/index");
    let mut stored = 0;
    while engine.has_room() {
        put(&engine, stored, device.now(), &content(stored, 32 * 4096)).await.expect("put");
        stored += 1;
    }
    let mut rounds = 0;
    while maintain(&engine).await != Maintenance::default() {
        rounds += 1;
        assert!(rounds < 10, "it moves what lives, and for nothing");
    }
    close(engine).await;
}

/// Whoever waits for room to become scarce is told so once it is, and not because it was before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_makes_room_is_called_when_it_is_scarce_and_not_afterwards() {
    let device = Device::new();
    let engine = device.open("/index");
    let called = async |engine: &Engine| {
        let soon = std::time::Duration::from_millis(50);
        tokio::time::timeout(soon, engine.scarce()).await.is_ok()
    };
    assert!(!called(&engine).await, "an empty device has room");
    let mut stored = 0;
    while engine.has_room() {
        put(&engine, stored, device.now(), &content(stored, 60_000)).await.expect("put");
        stored += 1;
    }
    assert!(called(&engine).await, "a full one has none");
    engine.measure_room();
    for number in 0..stored {
        delete(&engine, number, device.now() + 1).await.expect("deleted");
    }
    while maintain(&engine).await != Maintenance::default() {}
    assert!(engine.has_room());
    assert!(!called(&engine).await, "there is room again");
    close(engine).await;
}

/// The power goes after a segment was opened and before a frame stood in it. The segment before that is freed, and the
/// power goes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_log_is_not_looked_for_in_a_segment_that_was_freed() {
    let mut freed = 0;
    for calls in 0..12 {
        let mut device = Device::new();
        let engine = device.open("/index");
        // So many that the next one does not fit.
        for number in 0..8 {
            put(&engine, number, 100 + number, &content(number, 60_000)).await.expect("put");
        }
        for number in 0..8 {
            delete(&engine, number, 200 + number).await.expect("deleted");
        }
        device.disk.fail_after(calls);
        let taken = put(&engine, 8, 300, &content(8, 60_000)).await.is_ok();
        let mut end = async |engine: Engine| {
            tokio::task::spawn_blocking(move || engine.end()).await.expect("ended");
            device.disk = device.disk.crash();
            device.open("/index")
        };
        let engine = end(engine).await;
        freed += maintain(&engine).await.freed;
        let engine = end(engine).await;
        let found = get(&engine, 8).await.expect("read");
        assert!(found.is_some() || !taken, "after {calls} calls");
        close(engine).await;
    }
    assert!(freed > 0, "nothing was freed");
}

//! What every [`BlockIo`] must do, run against all three.

use super::uring::Buffers;
use super::*;

fn pattern(seed: u8, blocks: u32) -> BlockBuf {
    let bytes: Vec<u8> = (0..blocks as usize * BLOCK).map(|i| (i / 7 % 251) as u8 ^ seed).collect();
    BlockBuf::from_bytes(&bytes)
}

async fn conforms(device: Arc<dyn BlockIo>) {
    long_transfers_conform(&device).await;
    let file = device.create("a.seg", 16).await.expect("created");
    let other = device.create("b.seg", 4).await.expect("created");
    assert_ne!(file, other);
    let mut names = device.list().await.expect("listed");
    names.sort();
    assert_eq!(names, ["a.seg", "b.seg", "long.seg"]);

    let zeros = device.read(file, 0, 16).await.expect("read");
    assert!(zeros.as_ref().iter().all(|byte| *byte == 0), "a new file reads as zeros");

    for (seed, mode) in [(1, WriteMode::Volatile), (2, WriteMode::Durable)] {
        let buf = device.write(file, 3, pattern(seed, 5), mode).await.expect("written");
        assert_eq!(buf.as_ref(), pattern(seed, 5).as_ref(), "the buffer comes back");
        let back = device.read(file, 2, 7).await.expect("read");
        assert!(back.as_ref()[..BLOCK].iter().all(|byte| *byte == 0));
        assert_eq!(&back.as_ref()[BLOCK..6 * BLOCK], pattern(seed, 5).as_ref());
        assert!(back.as_ref()[6 * BLOCK..].iter().all(|byte| *byte == 0));
    }
    device.flush(file).await.expect("flushed");
    let untouched = device.read(other, 0, 4).await.expect("read");
    assert!(untouched.as_ref().iter().all(|byte| *byte == 0), "files do not mix");

    assert!(device.read(file, 15, 2).await.is_err(), "a read past the end fails");
    assert!(
        device.write(file, 15, pattern(3, 2), WriteMode::Durable).await.is_err(),
        "a write past the end fails"
    );
    assert!(device.open("none").await.is_err());
    let (again, blocks) = device.open("a.seg").await.expect("opened");
    assert_eq!(blocks, 16);
    let back = device.read(again, 3, 5).await.expect("read");
    assert_eq!(back.as_ref(), pattern(2, 5).as_ref());
    assert!(device.free_bytes().expect("known") > 0);

    let writes = (0..64u32).map(|i| {
        let device = Arc::clone(&device);
        tokio::spawn(async move {
            let at = i % 16;
            device.write(file, at, pattern(at as u8, 1), WriteMode::Volatile).await.map(drop)
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.expect("joined").expect("written");
    }
    for at in 0..16u32 {
        let back = device.read(file, at, 1).await.expect("read");
        assert_eq!(back.as_ref(), pattern(at as u8, 1).as_ref(), "block {at}");
    }
}

/// Transfers as of large objects, more at a time than there are buffers made for them.
async fn long_transfers_conform(device: &Arc<dyn BlockIo>) {
    const MIB: u32 = (1 << 20) / BLOCK as u32;
    let file = device.create("long.seg", 6 * MIB).await.expect("created");
    for round in 0..2u8 {
        let lengths = [MIB, MIB - 1, MIB / 2, MIB / 2 - 1, MIB + 1, 1];
        for (at, length) in (0..).map(|i| i * MIB).zip(lengths) {
            let length = length.min(6 * MIB - at);
            let mode = [WriteMode::Volatile, WriteMode::Durable][usize::from(round)];
            let seed = at as u8 ^ length as u8 ^ round;
            let buf = device.write(file, at, pattern(seed, length), mode).await.expect("written");
            assert!(buf.as_ref() == pattern(seed, length).as_ref(), "the buffer comes back");
            let back = device.read(file, at, length).await.expect("read");
            assert!(back.as_ref() == pattern(seed, length).as_ref(), "{at} {length}");
        }
    }
    let write =
        |i: u32| device.write(file, i % 6 * MIB, pattern((i % 6) as u8, MIB), WriteMode::Volatile);
    for done in futures_util::future::join_all((0..6).map(write)).await {
        done.expect("written");
    }
    let reads = (0..48).map(|i| device.read(file, i % 6 * MIB, MIB));
    for (i, back) in futures_util::future::join_all(reads).await.into_iter().enumerate() {
        let back = back.expect("read");
        assert!(back.as_ref() == pattern((i % 6) as u8, MIB).as_ref(), "{i}");
    }
    assert!(device.read(file, 5 * MIB, MIB + 1).await.is_err(), "a long read past the end fails");
    let past = device.write(file, 6 * MIB - 1, pattern(1, MIB), WriteMode::Durable).await;
    assert!(past.is_err(), "a long write past the end fails");
}

#[tokio::test]
async fn threads_conform() {
    let dir = tempfile::tempdir().expect("a directory");
    conforms(Arc::new(ThreadIo::open(dir.path()).expect("opens"))).await;
}

#[tokio::test]
async fn uring_conforms() {
    let dir = tempfile::tempdir().expect("a directory");
    for buffers in [Buffers::Registered, Buffers::Plain] {
        let dir = dir.path().join(format!("{buffers:?}"));
        match UringIo::open_with(&dir, buffers) {
            Ok(uring) => conforms(Arc::new(uring)).await,
            Err(error) => eprintln!("SKIPPED: this kernel grants no io_uring: {error}"),
        }
    }
}

/// The commit thread is no task of a runtime, and finds the queue full of reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_plain_threads_wait_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let device: Arc<dyn BlockIo> = Arc::new(ThreadIo::open(dir.path()).expect("opens"));
    let file = device.create("a.seg", 512).await.expect("created");
    let reads = (0..2000).map(|_| {
        let device = Arc::clone(&device);
        tokio::spawn(async move { device.read(file, 0, 512).await.map(drop) })
    });
    let reads: Vec<_> = reads.collect();
    let writer = std::thread::spawn(move || {
        for at in 0..64 {
            let write = device.write(file, at, pattern(1, 1), WriteMode::Durable);
            futures_executor::block_on(write).expect("written");
        }
    });
    for read in reads {
        read.await.expect("joined").expect("read");
    }
    tokio::task::spawn_blocking(move || writer.join()).await.expect("joined").expect("no panic");
}

#[tokio::test]
async fn the_simulation_conforms() {
    conforms(Arc::new(SimIo::new(64 << 20, 1))).await;
}

#[tokio::test]
async fn a_fair_share_conforms() {
    for class in Class::ALL {
        let disk = Arc::new(SimIo::new(64 << 20, 1));
        conforms(FairIo::new(disk).share(class)).await;
        let disk = Arc::new(SimIo::new(64 << 20, 1));
        let narrow = Window { operations: 1, blocks: 1 };
        conforms(FairIo::with_window(disk, narrow).share(class)).await;
    }
}

#[tokio::test]
async fn a_crash_keeps_what_was_durable_and_some_of_the_rest() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..20 {
        let disk = SimIo::new(1 << 20, seed);
        let file = disk.create("a", 8).await.expect("created");
        disk.write(file, 0, pattern(1, 2), WriteMode::Durable).await.expect("written");
        disk.write(file, 2, pattern(2, 2), WriteMode::Volatile).await.expect("written");
        disk.flush(file).await.expect("flushed");
        disk.write(file, 4, pattern(3, 2), WriteMode::Volatile).await.expect("written");
        let after = disk.crash().content("a").expect("there");
        assert_eq!(&after[..2 * BLOCK], pattern(1, 2).as_ref());
        assert_eq!(&after[2 * BLOCK..4 * BLOCK], pattern(2, 2).as_ref());
        for sector in 0..16 {
            let range = 4 * BLOCK + sector * 512..4 * BLOCK + (sector + 1) * 512;
            let whole = after[range.clone()] == disk.content("a").expect("there")[range.clone()];
            let gone = after[range].iter().all(|byte| *byte == 0);
            assert!(whole || gone, "a sector is old or new");
            kept += usize::from(whole);
            lost += usize::from(gone);
        }
    }
    assert!(kept > 0 && lost > 0, "kept {kept}, lost {lost}");
}

#[tokio::test]
async fn calls_fail_from_the_nth_on() {
    let disk = SimIo::new(1 << 20, 1);
    let file = disk.create("a", 8).await.expect("created");
    disk.fail_after(1);
    disk.flush(file).await.expect("the first one works");
    assert!(disk.flush(file).await.is_err());
    assert!(disk.write(file, 0, pattern(1, 1), WriteMode::Durable).await.is_err());
    assert!(disk.create("b", 8).await.is_err());
    assert!(disk.read(file, 0, 1).await.is_ok(), "reads go on");
}

#[tokio::test]
async fn a_chosen_call_fails_and_later_ones_work() {
    let disk = SimIo::new(1 << 20, 1);
    let file = disk.create("a", 8).await.expect("created");
    let write = || disk.write(file, 0, pattern(1, 4), WriteMode::Durable);
    let kinds = [
        (Failure::Error, io::Error::from_raw_os_error(5).kind()),
        (Failure::Full, io::ErrorKind::StorageFull),
        (Failure::Short, io::ErrorKind::UnexpectedEof),
    ];
    for (failure, kind) in kinds {
        let next = disk.calls(Calls::Changes) + 1;
        disk.fail_call(Calls::Changes, next, failure);
        write().await.expect("the one before works");
        assert_eq!(write().await.expect_err("fails").kind(), kind);
        write().await.expect("the one after works");
        assert_eq!(disk.calls(Calls::Changes), next + 2);

        disk.fail_call(Calls::Changes, next + 2, failure);
        assert!(disk.create("b", 1).await.is_err());
        disk.fail_call(Calls::Changes, next + 3, failure);
        assert!(disk.flush(file).await.is_err());
        disk.flush(file).await.expect("works again");
    }
    let changes = disk.calls(Calls::Changes);
    for failure in [Failure::Error, Failure::Short] {
        let next = disk.calls(Calls::Reads);
        disk.fail_call(Calls::Reads, next, failure);
        assert!(disk.read(file, 0, 2).await.is_err());
        disk.read(file, 0, 2).await.expect("works again");
    }
    disk.fail_from(Calls::Reads, disk.calls(Calls::Reads), Failure::Error);
    assert!(disk.read(file, 0, 2).await.is_err());
    assert!(disk.read(file, 0, 2).await.is_err());
    assert_eq!(disk.calls(Calls::Changes), changes, "reads count by themselves");
    let after = disk.crash();
    assert_eq!((after.calls(Calls::Reads), after.calls(Calls::Changes)), (0, 0));
    after.read(file, 0, 2).await.expect("a crashed disk has no faults");
}

/// What makes it wrong to try a flush again.
#[tokio::test]
async fn a_flush_after_a_failed_one_proves_nothing() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = SimIo::new(1 << 20, seed);
        let file = disk.create("a", 2).await.expect("created");
        disk.write(file, 0, pattern(1, 1), WriteMode::Volatile).await.expect("written");
        disk.fail_call(Calls::Changes, 2, Failure::Error);
        assert!(disk.flush(file).await.is_err());
        disk.flush(file).await.expect("the second one works");
        assert_eq!(&disk.content("a").expect("there")[..BLOCK], pattern(1, 1).as_ref());
        let after = disk.crash().content("a").expect("there");
        lost += usize::from(after[..BLOCK] != *pattern(1, 1).as_ref());
    }
    assert!(lost > 10, "{lost}");
}

#[tokio::test]
async fn a_short_write_leaves_its_beginning() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let disk = SimIo::new(1 << 20, seed);
        let file = disk.create("a", 3).await.expect("created");
        disk.fail_call(Calls::Changes, 1, Failure::Short);
        assert!(disk.write(file, 0, pattern(1, 3), WriteMode::Volatile).await.is_err());
        let content = disk.content("a").expect("there");
        let same = content.iter().zip(pattern(1, 3).as_ref()).take_while(|(a, b)| a == b).count();
        assert!(content[same..].iter().all(|byte| *byte == 0), "nothing behind it");
        lengths.insert(same / 512);
    }
    assert!(lengths.len() > 5, "{lengths:?}");
}

/// The same calls on a disk of plain vectors give the same content.
#[tokio::test]
async fn absent_blocks_are_zeros() {
    let disk = SimIo::new(1 << 20, 1);
    let file = disk.create("a", 8).await.expect("created");
    let mut plain = vec![0; 8 * BLOCK];
    for step in 0..200usize {
        let (at, blocks) = (step * 5 % 7, 1 + step % 2);
        let mut buf = pattern(step as u8, blocks as u32);
        if step.is_multiple_of(3) {
            buf = BlockBuf::zeroed(blocks as u32);
        }
        if at + blocks <= 8 {
            plain[at * BLOCK..][..blocks * BLOCK].copy_from_slice(buf.as_ref());
            let mode = [WriteMode::Durable, WriteMode::Volatile][step % 2];
            disk.write(file, at as u32, buf, mode).await.expect("written");
        }
        if step.is_multiple_of(11) {
            let start = step * 97 % (7 * BLOCK);
            disk.zero("a", start..start + 900);
            plain[start..start + 900].fill(0);
            disk.flip_bit("a", step as u64 * 1237);
            plain[step * 1237 / 8 % (8 * BLOCK)] ^= 1 << (step * 1237 % 8);
        }
        assert!(disk.content("a").expect("there") == plain, "step {step}");
    }
    disk.flush(file).await.expect("flushed");
    assert!(disk.crash().content("a").expect("there") == plain);
}

//! Fairness on a disk that does one thing at a time, when the test says so.

use super::*;
use crate::io::SimIo;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// A device that holds every operation until the test completes it. Each class uses its own file.
#[derive(Default)]
struct Scripted {
    held: Mutex<VecDeque<(FileId, u32, oneshot::Sender<()>)>>,
}

impl Scripted {
    fn hold<T: Send + 'static>(&self, file: FileId, blocks: u32, value: T) -> IoFuture<T> {
        let (done, wait) = oneshot::channel();
        self.held.lock().expect("a lock").push_back((file, blocks, done));
        Box::pin(async move {
            wait.await.map_err(io::Error::other)?;
            Ok(value)
        })
    }

    /// Completes the oldest operation, and tells its file and size.
    fn complete(&self) -> Option<(FileId, u32)> {
        let (file, blocks, done) = self.held.lock().expect("a lock").pop_front()?;
        let _ = done.send(());
        Some((file, blocks))
    }

    fn held(&self) -> usize {
        self.held.lock().expect("a lock").len()
    }
}

impl BlockIo for Scripted {
    fn kind(&self) -> &'static str {
        "script"
    }

    fn list(&self) -> IoFuture<Vec<String>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn create(&self, _: &str, _: u32) -> IoFuture<FileId> {
        Box::pin(std::future::ready(Ok(FileId(0))))
    }

    fn open(&self, _: &str) -> IoFuture<(FileId, u32)> {
        Box::pin(std::future::ready(Ok((FileId(0), 0))))
    }

    fn read(&self, file: FileId, _: u32, blocks: u32) -> IoFuture<BlockBuf> {
        self.hold(file, blocks, BlockBuf::default())
    }

    fn write(&self, file: FileId, _: u32, buf: BlockBuf, _: WriteMode) -> IoFuture<BlockBuf> {
        self.hold(file, buf.blocks(), buf)
    }

    fn flush(&self, file: FileId) -> IoFuture<()> {
        self.hold(file, 0, ())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Futures that are polled when they were woken, on no runtime.
#[derive(Default)]
struct Tasks(Vec<(IoFuture<()>, Arc<Count>, usize)>);

impl Tasks {
    fn start(&mut self, future: IoFuture<()>) {
        self.0.push((future, Arc::new(Count(AtomicUsize::new(1))), 0));
    }

    /// Polls what was woken until nothing is, and forgets what is done.
    fn run(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            self.0.retain_mut(|(future, woken, seen)| {
                let now = woken.0.load(Ordering::SeqCst);
                if now == *seen {
                    return true;
                }
                (*seen, moved) = (now, true);
                let waker = Waker::from(Arc::clone(woken));
                future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
        }
    }
}

fn read(share: &Arc<dyn BlockIo>, class: Class, blocks: u32) -> IoFuture<()> {
    let reading = share.read(FileId(class as u32), 0, blocks);
    Box::pin(async move { reading.await.map(drop) })
}

struct Bench {
    disk: Arc<Scripted>,
    fair: FairIo,
    shares: Vec<Arc<dyn BlockIo>>,
    tasks: Tasks,
}

impl Bench {
    fn new(window: Window) -> Self {
        let disk = Arc::new(Scripted::default());
        let fair = FairIo::with_window(Arc::clone(&disk) as Arc<dyn BlockIo>, window);
        let shares = Class::ALL.map(|class| fair.share(class)).to_vec();
        Bench { disk, fair, shares, tasks: Tasks::default() }
    }

    fn start(&mut self, class: Class, blocks: u32) {
        let reading = read(&self.shares[class as usize], class, blocks);
        self.tasks.start(reading);
    }

    /// Blocks moved for each class in `rounds` completions, where each completion brings a new operation.
    fn saturate(&mut self, sizes: [u32; 4], rounds: u32) -> [u32; 4] {
        let mut moved = [0; 4];
        for class in Class::ALL {
            for _ in 0..if sizes[class as usize] == 0 { 0 } else { 200 } {
                self.start(class, sizes[class as usize]);
            }
        }
        self.tasks.run();
        for _ in 0..rounds {
            let (file, blocks) = self.disk.complete().expect("something is in flight");
            moved[file.0 as usize] += blocks;
            self.start(Class::ALL[file.0 as usize], blocks);
            self.tasks.run();
            let (operations, blocks, _) = self.fair.state();
            assert!(operations <= 64 && blocks <= 4096, "{operations} {blocks}");
            assert_eq!(operations as usize, self.disk.held());
        }
        moved
    }

    fn drain(&mut self) {
        while self.disk.complete().is_some() {
            self.tasks.run();
        }
        assert_eq!(self.fair.state(), (0, 0, 0), "all is given back");
    }
}

#[test]
fn shares_are_by_weight_in_bytes_whatever_the_sizes() {
    for sizes in [[8, 8, 8, 8], [1, 256, 256, 256], [256, 1, 16, 64], [16, 64, 4, 2048]] {
        let moved = Bench::new(Window::default()).saturate(sizes, 60_000);
        let all: u32 = moved.iter().sum();
        for class in Class::ALL {
            let part = f64::from(moved[class as usize]) / f64::from(all);
            let due = class.weight() as f64 / 12.0;
            assert!((part / due - 1.0).abs() < 0.1, "{sizes:?}: {class:?} had {part} of {due}");
        }
    }
}

#[test]
fn what_a_class_does_not_want_goes_to_the_others() {
    let moved = Bench::new(Window::default()).saturate([0, 8, 0, 8], 20_000);
    assert_eq!(moved[0] + moved[2], 0);
    let ratio = f64::from(moved[1]) / f64::from(moved[3]);
    assert!((ratio / 2.0 - 1.0).abs() < 0.05, "{moved:?}");
    let moved = Bench::new(Window::default()).saturate([0, 0, 0, 8], 1000);
    assert_eq!(moved, [0, 0, 0, 8000]);
}

#[test]
fn a_client_finds_room_beside_any_background() {
    let mut bench = Bench::new(Window::default());
    for class in [Class::Replication, Class::Audit, Class::Compaction] {
        for _ in 0..100 {
            bench.start(class, 64);
        }
    }
    bench.tasks.run();
    let (operations, blocks, waiting) = bench.fair.state();
    assert!(
        operations == 32 && blocks == 2048 && waiting == 268,
        "{operations} {blocks} {waiting}"
    );
    for _ in 0..32 {
        bench.start(Class::Client, 1);
    }
    bench.tasks.run();
    assert_eq!(bench.fair.state().0, 64);
    bench.drain();
}

#[test]
fn a_class_saves_up_no_claim_while_it_pauses() {
    let mut bench = Bench::new(Window { operations: 4, blocks: 4096 });
    for _ in 0..1000 {
        bench.start(Class::Client, 8);
    }
    bench.tasks.run();
    for _ in 0..500 {
        bench.disk.complete();
        bench.tasks.run();
    }
    for _ in 0..100 {
        bench.start(Class::Audit, 8);
    }
    bench.tasks.run();
    let mut audits = 0;
    for _ in 0..90 {
        audits += usize::from(bench.disk.complete().expect("in flight").0.0 == 2);
        bench.tasks.run();
    }
    assert!((8..=12).contains(&audits), "{audits} of 90");
    bench.drain();
}

#[test]
fn an_operation_larger_than_the_window_goes_alone() {
    let mut bench = Bench::new(Window { operations: 8, blocks: 100 });
    bench.start(Class::Client, 1);
    bench.start(Class::Client, 1000);
    bench.start(Class::Compaction, 1000);
    bench.start(Class::Client, 1);
    bench.tasks.run();
    bench.drain();
    assert!(bench.tasks.0.is_empty());
}

#[test]
fn futures_dropped_at_any_point_leak_nothing() {
    let mut random = 1u64;
    let mut next = |end: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % end
    };
    for _ in 0..200 {
        let mut bench = Bench::new(Window { operations: 4, blocks: 64 });
        for _ in 0..300 {
            match next(4) {
                0 | 1 => {
                    let blocks = 1 + next(40) as u32;
                    bench.start(Class::ALL[next(4)], blocks);
                }
                2 if !bench.tasks.0.is_empty() => {
                    let victim = next(bench.tasks.0.len());
                    drop(bench.tasks.0.swap_remove(victim));
                }
                _ => drop(bench.disk.complete()),
            }
            if next(3) > 0 {
                bench.tasks.run();
            }
            let (operations, blocks, _) = bench.fair.state();
            assert!(operations <= 4 && blocks <= 64);
        }
        bench.tasks.run();
        bench.drain();
        assert!(bench.tasks.0.is_empty(), "nobody is left waiting");
    }
}

#[test]
fn a_dropped_operation_counts_until_the_disk_is_done_with_it() {
    let mut bench = Bench::new(Window { operations: 1, blocks: 64 });
    bench.start(Class::Client, 8);
    bench.start(Class::Client, 8);
    bench.tasks.run();
    drop(bench.tasks.0.remove(0));
    bench.tasks.run();
    assert_eq!(bench.fair.state(), (1, 8, 1));
    assert_eq!(bench.disk.held(), 1, "the second still waits for the first");
    bench.disk.complete();
    bench.tasks.run();
    assert_eq!(bench.fair.state(), (1, 8, 0));
    bench.drain();
}

/// Dropped inside of a task, whose budget tokio's channels spend.
#[tokio::test]
async fn a_task_without_budget_may_drop_an_operation() {
    let disk = Arc::new(Scripted::default());
    let fair = FairIo::new(Arc::clone(&disk) as Arc<dyn BlockIo>);
    let share = fair.share(Class::Client);
    std::future::poll_fn(|cx| {
        let mut reading = share.read(FileId(0), 0, 1);
        assert!(reading.as_mut().poll(cx).is_pending());
        while tokio::task::coop::has_budget_remaining() {
            let (_, mut other) = oneshot::channel::<()>();
            let _ = Pin::new(&mut other).poll(cx);
        }
        drop(reading);
        Poll::Ready(())
    })
    .await;
    assert_eq!(fair.state().0, 1);
    disk.complete();
    assert_eq!(fair.state(), (0, 0, 0));
}

#[tokio::test]
async fn an_error_gives_its_room_back() {
    let fair = FairIo::new(Arc::new(SimIo::new(1 << 20, 1)));
    for class in Class::ALL {
        let share = fair.share(class);
        assert!(share.read(FileId(9), 0, 1).await.is_err());
        assert!(share.flush(FileId(9)).await.is_err());
    }
    assert_eq!(fair.state(), (0, 0, 0));
}

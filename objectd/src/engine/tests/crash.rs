//! Random lives of a device: changes, maintenance and checkpoints until the disk fails, then a crash, then what
//! recovery must find.

use super::*;
use std::path::PathBuf;

const OBJECTS: u64 = 12;
const LIVES: u64 = 2;

/// A linear congruential generator: equal seeds give equal histories.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What an acknowledged change left: its moment, and the data, unless it was a deletion.
type Acknowledged = HashMap<u64, (u64, Option<usize>)>;

struct History {
    seed: u64,
    random: Random,
    moment: u64,
    known: Acknowledged,
    budget: IndexBudget,
    dir: PathBuf,
}

impl History {
    fn options() -> EngineOptions {
        EngineOptions {
            segment_blocks: 96,
            capacity_bytes: 40 * 96 * 4096,
            // Every tombstone is old enough, as moments of these histories are long ago.
            reclaim_age: 100,
            ..EngineOptions::default()
        }
    }

    fn open(&self, disk: &SimIo, index: &Path) -> Engine {
        let clock = Arc::new(ManualClock::at_seconds(1_700_000_000));
        let disk: Arc<dyn BlockIo> = Arc::new(disk.clone());
        let options = Self::options();
        let opened = Engine::open(disk, index, &self.budget, &identity(), &options, clock);
        opened.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed))
    }

    /// Everything that was acknowledged is there, or something later that was not.
    async fn check(&mut self, engine: &Engine) {
        for number in 0..OBJECTS {
            let seed = self.seed;
            let state = engine.state(hash_of(number)).await.expect("state");
            let (raw, len) = self.known.get(&number).copied().unwrap_or((0, None));
            let Some(at) = state.data_timestamp().map(|at| at.raw) else {
                // Tombstones are given up; data is not.
                assert!(len.is_none(), "seed {seed}: object {number} is lost");
                continue;
            };
            assert!(at >= raw, "seed {seed}: object {number} went back from {raw} to {at}");
            let found = get(engine, number).await;
            let found = found.unwrap_or_else(|e| panic!("seed {seed}: object {number}: {e}"));
            let found = found.map(|(_, data)| data);
            if at == raw {
                assert_eq!(found.as_ref().map(Vec::len), len, "seed {seed}: object {number}");
            }
            if let Some(found) = &found {
                assert!(*found == content(at, found.len()), "seed {seed}: object {number} differs");
            }
            self.known.insert(number, (at, found.map(|found| found.len())));
        }
    }

    /// Changes until the disk fails.
    async fn live(&mut self, engine: &Engine) {
        let concurrency = 1 + self.random.below(4);
        loop {
            let mut group = Vec::new();
            for _ in 0..concurrency {
                self.moment += 1;
                let (number, raw, engine) =
                    (self.random.below(OBJECTS), self.moment, engine.clone());
                let size = match self.random.below(10) {
                    0..3 => None,
                    3 => Some(66_000 + self.random.below(300_000) as usize),
                    _ => Some(self.random.below(60_000) as usize),
                };
                if size.is_some() && !engine.has_room() {
                    continue;
                }
                group.push(tokio::spawn(async move {
                    let done = match size {
                        Some(size) => put(&engine, number, raw, &content(raw, size)).await,
                        None => delete(&engine, number, raw).await,
                    };
                    (number, raw, size, done)
                }));
            }
            match self.random.below(12) {
                0 => blocking(engine, |engine| drop(engine.checkpoint())).await,
                1 | 2 => blocking(engine, |engine| drop(engine.maintain())).await,
                _ => {}
            }
            let mut failed = false;
            for task in group {
                let (number, raw, len, done) = task.await.expect("joined");
                match done {
                    Ok(()) => {
                        let newest = self.known.entry(number).or_insert((0, None));
                        if raw > newest.0 {
                            *newest = (raw, len);
                        }
                    }
                    // Refused, and nothing came of it.
                    Err(EngineError::Full) => {}
                    Err(_) => failed = true,
                }
            }
            if failed || engine.is_poisoned() {
                return;
            }
        }
    }

    async fn run(mut self) {
        let mut disk = SimIo::new(1 << 30, self.seed);
        let mut index = self.dir.join("index-0");
        for life in 1..=LIVES {
            let engine = self.open(&disk, &index);
            self.check(&engine).await;
            engine.0.index.keep_copies(self.dir.join(format!("copy-{life}")));
            disk.fail_after(self.random.below(160));
            self.live(&engine).await;
            assert!(delete(&engine, 0, 1).await.is_err(), "a failed device takes nothing");
            let copy = engine.0.index.last_copy();
            blocking(&engine, |engine| engine.end()).await;
            drop(engine);
            disk = disk.crash();
            // What is left of the index: all of it, what was durable last, or nothing.
            index = match (self.random.below(3), copy) {
                (0, _) => index,
                (1, Some(copy)) => copy,
                _ => self.dir.join(format!("index-{life}")),
            };
        }
        let engine = self.open(&disk, &index);
        self.check(&engine).await;
        blocking(&engine, |engine| engine.end()).await;
    }
}

async fn blocking(engine: &Engine, work: impl FnOnce(&Engine) + Send + 'static) {
    let engine = engine.clone();
    tokio::task::spawn_blocking(move || work(&engine)).await.expect("joined");
}

/// Runs every `of`-th history, beginning with one, so that several processes share the work. `APUS_CRASH_HISTORIES`
/// says how many there are in all, `APUS_CRASH_SEED` names the first.
async fn histories(first: u64, of: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let count = number("APUS_CRASH_HISTORIES").unwrap_or(200);
    let base = number("APUS_CRASH_SEED").unwrap_or(0);
    for seed in (base + first..base + count).step_by(of as usize) {
        let dir = tempfile::tempdir().expect("a directory");
        let budget = IndexBudget::new(1 << 20, 1 << 20).in_memory().expect("memory");
        let history = History {
            seed,
            random: Random(seed),
            moment: 100,
            known: HashMap::new(),
            budget,
            dir: dir.path().to_owned(),
        };
        history.run().await;
    }
}

macro_rules! shares {
    ($($name:ident: $share:expr),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            histories($share, 4).await;
        }
    )*};
}

shares!(
    crashes_lose_nothing_that_was_acknowledged_1: 0,
    crashes_lose_nothing_that_was_acknowledged_2: 1,
    crashes_lose_nothing_that_was_acknowledged_3: 2,
    crashes_lose_nothing_that_was_acknowledged_4: 3
);

//! Stores of objects by hash, as the benchmarks see them, and the load on them.

use crate::{Cost, cpu_time, measure};
use std::ops::Range;
use std::sync::Arc;
use types::{HashPaths, ObjectHash};

/// A store under measurement. Clones are the same store.
pub trait Store: Clone + Send + Sync + 'static {
    /// What the tables call it.
    fn name(&self) -> &'static str;

    /// Stores an object with metadata; it is durable afterwards.
    fn put(
        &self,
        key: ObjectHash,
        version: u64,
        data: Arc<[u8]>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Reads an object's metadata and all of its data, checked. Tells how many bytes of data came.
    fn get(&self, key: ObjectHash) -> impl Future<Output = anyhow::Result<u64>> + Send;

    /// Does what writes have left for later, so that it is in their costs and in nobody else's. Blocks.
    fn settle(&self) -> anyhow::Result<()>;
}

/// Some operations on objects that are numbered.
#[derive(Clone, Debug)]
pub struct Load {
    /// Which objects.
    pub numbers: Range<u64>,
    /// Bytes of each.
    pub size: usize,
    /// Among so many tasks they are shared.
    pub tasks: u64,
    /// Greater for every overwrite.
    pub version: u64,
}

/// Where an object of a number is.
pub fn key(number: u64) -> ObjectHash {
    HashPaths::default().object("a", "c", &number.to_string())
}

/// Bytes that do not compress.
pub fn noise(size: usize) -> Arc<[u8]> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(next).collect()
}

/// Stores all. Wall time ends with the last answer; CPU time includes what [`Store::settle`] does.
pub async fn puts<S: Store>(store: &S, load: &Load) -> anyhow::Result<Cost> {
    let (data, before) = (noise(load.size), cpu_time());
    let version = load.version;
    let putting = store.clone();
    let work = spread(load, move |number| {
        let (store, data) = (putting.clone(), Arc::clone(&data));
        async move { store.put(key(number), version, data).await }
    });
    let mut cost = measure(total(load), work).await?;
    let settling = store.clone();
    tokio::task::spawn_blocking(move || settling.settle()).await??;
    cost.cpu = cpu_time().saturating_sub(before);
    Ok(cost)
}

/// Reads all.
pub async fn gets<S: Store>(store: &S, load: &Load) -> anyhow::Result<Cost> {
    let (size, getting) = (load.size as u64, store.clone());
    let work = spread(load, move |number| {
        let store = getting.clone();
        async move {
            let found = store.get(key(number)).await?;
            anyhow::ensure!(found == size, "an object of {size} bytes came back with {found}");
            Ok(())
        }
    });
    measure(total(load), work).await
}

/// How many operations a load is.
fn total(load: &Load) -> u64 {
    load.numbers.end - load.numbers.start
}

async fn spread<F, Fut>(load: &Load, operation: F) -> anyhow::Result<()>
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let tasks = load.tasks.clamp(1, total(load).max(1));
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (operation, numbers) = (operation.clone(), load.numbers.clone());
            tokio::spawn(async move {
                for number in numbers.skip(task as usize).step_by(tasks as usize) {
                    operation(number).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in running {
        task.await??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rocks::{Rocks, Setup};
    use crate::subject::Subject;
    use objectd::io::IoChoice;

    fn load(numbers: Range<u64>, size: usize) -> Load {
        Load { numbers, size, tasks: 3, version: 1 }
    }

    async fn keeps_objects<S: Store>(store: S) {
        for (first, size) in [(0, 4096), (10, 100_000)] {
            let written = puts(&store, &load(first..first + 7, size)).await.expect("stored");
            assert_eq!(written.count, 7);
            gets(&store, &load(first..first + 7, size)).await.expect("all of them are there");
            gets(&store, &load(first..first + 8, size)).await.expect_err("one more is not");
            gets(&store, &load(first..first + 7, size + 1)).await.expect_err("they are shorter");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stores_give_back_what_was_put_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let rocks = Rocks::open(&dir.path().join("rocksdb"), Setup::default()).expect("opens");
        keeps_objects(rocks.inline()).await;
        keeps_objects(rocks).await;
        keeps_objects(Subject::open(dir.path(), IoChoice::Auto).expect("opens")).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_put_of_a_lone_task_is_one_durable_write_and_each_get_one_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let subject = Subject::open(dir.path(), IoChoice::Threads).expect("opens");
        let lone = Load { tasks: 1, ..load(0..20, 4096) };
        let before = (subject.counted.durable(), subject.counted.reads());
        puts(&subject, &lone).await.expect("stored");
        // The first frame also needs a segment, whose header is a durable write.
        assert!((20..=22).contains(&(subject.counted.durable() - before.0)));
        gets(&subject, &lone).await.expect("read");
        assert_eq!(subject.counted.reads() - before.1, 20);
    }
}

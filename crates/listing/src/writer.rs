//! The thread that writes.

use crate::database::{DatabaseError, StoreError};
use crate::journal::Journal;
use crate::row::Row;
use crate::store::Store;
use crate::transaction::{Tokens, Transaction};
use rocksdb::WriteBatch;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Jobs of one batch at most, and rows; more only make those that came first wait.
const JOBS_MAX: usize = 1024;
const ROWS_MAX: usize = 4096;
const MEASURE_ROOM_EVERY: Duration = Duration::from_secs(1);

/// Told how the batch ended.
type Answer = Box<dyn FnOnce(Result<(), DatabaseError>) + Send>;

/// Runs a change, and says whom to tell.
type Change<R> = dyn FnOnce(&Store, &mut Transaction<'_, R>) -> Answer + Send;

/// A change that waits.
pub(crate) struct Job<R>(Box<Change<R>>);

impl<R: Row> Job<R> {
    /// `change`, whose result goes to `answer` when it is durable.
    pub(crate) fn new<T, F>(change: F, answer: oneshot::Sender<Result<T, DatabaseError>>) -> Self
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_, R>) -> Result<T, StoreError> + Send + 'static,
    {
        Job(Box::new(move |store, transaction| {
            let changed = change(transaction).map_err(|error| store.log(&error));
            Box::new(move |written| {
                // Whoever asked may have gone; the change stays.
                let _ = answer.send(written.and(changed));
            })
        }))
    }
}

/// Starts the thread; it ends when nobody can send jobs any more.
pub(crate) fn spawn<R: Row>(
    store: Arc<Store>,
    journal: Journal,
    jobs: mpsc::Receiver<Job<R>>,
    tokens: Tokens,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let name = format!("{}-writer", R::DIRECTORY);
    std::thread::Builder::new().name(name).spawn(move || run(&store, journal, jobs, tokens))
}

fn run<R: Row>(
    store: &Arc<Store>,
    mut journal: Journal,
    mut jobs: mpsc::Receiver<Job<R>>,
    mut tokens: Tokens,
) {
    let mut answers: Vec<Answer> = Vec::with_capacity(JOBS_MAX);
    let mut measured: Option<Instant> = None;
    while let Some(Job(first)) = jobs.blocking_recv() {
        if measured.is_none_or(|at| at.elapsed() >= MEASURE_ROOM_EVERY) {
            store.measure_room();
            measured = Some(Instant::now());
        }
        let mut transaction = Transaction::new(&store.db, &mut tokens);
        answers.push(first(store, &mut transaction));
        while answers.len() < JOBS_MAX && transaction.rows() < ROWS_MAX {
            let Ok(Job(next)) = jobs.try_recv() else { break };
            answers.push(next(store, &mut transaction));
        }
        metrics::histogram!("apus_listing_batch_rows", "kind" => R::DIRECTORY)
            .record(transaction.rows() as f64);
        metrics::histogram!("apus_listing_batch_jobs", "kind" => R::DIRECTORY)
            .record(answers.len() as f64);
        let written = match transaction.into_batch() {
            Some(batch) => write::<R>(store, &mut journal, batch),
            None => poisoned(store),
        };
        for answer in answers.drain(..) {
            answer(written);
        }
    }
}

fn poisoned(store: &Store) -> Result<(), DatabaseError> {
    if store.poisoned.load(Ordering::Acquire) { Err(DatabaseError::Device) } else { Ok(()) }
}

fn write<R: Row>(
    store: &Arc<Store>,
    journal: &mut Journal,
    batch: WriteBatch,
) -> Result<(), DatabaseError> {
    poisoned(store)?;
    let started = Instant::now();
    let written = journal.write(store, batch);
    metrics::histogram!("apus_listing_sync_seconds", "kind" => R::DIRECTORY)
        .record(started.elapsed().as_secs_f64());
    written.map_err(|error| {
        store.poisoned.store(true, Ordering::Release);
        metrics::counter!("apus_listing_device_failures_total", "kind" => R::DIRECTORY)
            .increment(1);
        let error = daemon::telemetry::chain(&error);
        tracing::error!(path = %store.path.display(), error,
            "a write failed; this device answers 507 from now on, until this server is restarted");
        DatabaseError::Device
    })
}

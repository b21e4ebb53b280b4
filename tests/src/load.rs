//! Many clients at once that write everything down.

use crate::client::Client;
use crate::ledger::{Ledger, NUMBER};
use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::task::JoinSet;

/// The front doors that clients may use, as a balancer before them would know.
#[derive(Default)]
pub struct Doors(RwLock<Vec<Client>>);

impl Doors {
    /// These and no others.
    pub fn set(&self, clients: Vec<Client>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = clients;
    }

    /// This one is about to die; what breaks there from now on is no fault.
    pub fn close(&self, address: SocketAddr) {
        let mut clients = self.0.write().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|client| client.address() != address);
    }

    fn any(&self) -> Option<Client> {
        let clients = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (!clients.is_empty()).then(|| clients[rand::random_range(0..clients.len())].clone())
    }

    fn is_open(&self, address: SocketAddr) -> bool {
        let clients = self.0.read().unwrap_or_else(PoisonError::into_inner);
        clients.iter().any(|client| client.address() == address)
    }
}

/// Clients at work.
pub struct Load {
    workers: JoinSet<Result<()>>,
    stop: Arc<AtomicBool>,
    done: Arc<Done>,
}

/// How much was answered.
#[derive(Debug, Default)]
struct Done {
    writes: AtomicU64,
    reads: AtomicU64,
    deletes: AtomicU64,
}

impl Load {
    /// Starts so many clients, each of which uses any open door for every request.
    pub fn start(workers: usize, ledger: &Arc<Ledger>, doors: &Arc<Doors>) -> Load {
        let mut load = Load {
            workers: JoinSet::new(),
            stop: Arc::new(AtomicBool::new(false)),
            done: Arc::new(Done::default()),
        };
        for _ in 0..workers {
            let worker = Worker {
                ledger: Arc::clone(ledger),
                doors: Arc::clone(doors),
                done: Arc::clone(&load.done),
            };
            let stop = Arc::clone(&load.stop);
            load.workers.spawn(async move { worker.run(&stop).await });
        }
        load
    }

    /// Requests that were answered so far.
    pub fn answered(&self) -> u64 {
        let done = &self.done;
        [&done.writes, &done.reads, &done.deletes].map(|n| n.load(Ordering::Relaxed)).iter().sum()
    }

    /// Waits until so many more requests were answered.
    pub async fn answer_more(&mut self, count: u64) -> Result<()> {
        let enough = self.answered() + count;
        while self.answered() < enough {
            let pause = tokio::time::sleep(std::time::Duration::from_millis(2));
            tokio::select! {
                () = pause => {}
                ended = self.workers.join_next() => {
                    ended.context("all clients have stopped")???;
                    bail!("a client has stopped by itself");
                }
            }
        }
        Ok(())
    }

    /// Ends it; fails if any client met an error at an open door.
    pub async fn stop(mut self) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.workers.join_next().await {
            ended??;
        }
        Ok(format!("{:?}", self.done))
    }
}

struct Worker {
    ledger: Arc<Ledger>,
    doors: Arc<Doors>,
    done: Arc<Done>,
}

impl Worker {
    async fn run(&self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let Some(client) = self.doors.any() else { return Ok(()) };
            let done = match rand::random_range(0..20) {
                0..10 => self.write(&client).await,
                10..17 => self.read(&client).await,
                _ => self.delete(&client).await,
            };
            if let Err(error) = done
                && (self.doors.is_open(client.address()) || !is_broken_connection(&error))
            {
                return Err(error.context("a client met an error"));
            }
        }
        Ok(())
    }

    async fn write(&self, client: &Client) -> Result<()> {
        let entry = self.ledger.any();
        let mut known = entry.known.lock().await;
        let version = self.ledger.next_version();
        known.try_to(Some(version));
        let number = version.number.to_string();
        let headers = [(NUMBER, number.as_str())];
        let path = self.ledger.path(entry);
        let answer = client.ask("PUT", &path, &headers, version.bytes(&entry.name)).await?;
        ensure!(answer.status == 201, "PUT {path} gives {answer:?}");
        known.acknowledge();
        self.done.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn delete(&self, client: &Client) -> Result<()> {
        let entry = self.ledger.any();
        let mut known = entry.known.lock().await;
        known.try_to(None);
        let path = self.ledger.path(entry);
        let answer = client.delete(&path).await?;
        ensure!(matches!(answer.status, 204 | 404), "DELETE {path} gives {answer:?}");
        known.acknowledge();
        self.done.deletes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn read(&self, client: &Client) -> Result<()> {
        let entry = self.ledger.any();
        let known = entry.known.lock().await;
        let newest = rand::random();
        let headers = [("X-Newest", "true")];
        let headers = if newest { &headers[..] } else { &[] };
        let path = self.ledger.path(entry);
        let answer = client.ask("GET", &path, headers, "").await?;
        let shown = Ledger::shown(entry, &answer)?;
        let fits = if newest { known.may_be(shown) } else { known.may_have_been(shown) };
        ensure!(
            fits,
            "{path} shows {shown:?} but known is {known:?} (newest: {newest}, transaction {})",
            answer.header("x-trans-id")
        );
        self.done.reads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether the other side went away, as opposed to an answer that is wrong.
fn is_broken_connection(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<hyper_util::client::legacy::Error>() || cause.is::<std::io::Error>()
    }) || error.to_string().contains("the body broke")
}

//! What a daemon is given, and what starting it gives back.

use crate::clock::SharedClock;
use std::future::Future;
use std::pin::Pin;
use tokio::sync::watch;
use wire::{NodeClient, Service};

/// What comes into a daemon from outside.
#[derive(Clone)]
pub struct Env {
    /// The time.
    pub clock: SharedClock,
    /// The way to other services.
    pub client: NodeClient,
    /// Tells when to stop.
    pub shutdown: Shutdown,
}

/// Tells many tasks that it is time to stop.
#[derive(Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Tells everybody, now and later.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is time.
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is time.
    pub async fn wait(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives in self, so this cannot fail before it is triggered.
        let _ = receiver.wait_for(|stop| *stop).await;
    }
}

type Stop = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A daemon that has been started.
pub struct Running {
    service: Service,
    stop: Stop,
}

impl Running {
    /// A daemon that answers by `service` and has run `stop` when it holds nothing any more.
    pub fn new<F, Fut>(service: Service, stop: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Running { service, stop: Box::new(move || Box::pin(stop())) }
    }

    /// Its service, to be called in process or served on a socket.
    pub fn service(&self) -> Service {
        self.service.clone()
    }

    /// Stops it in order; afterwards its files are closed.
    pub async fn stop(self) {
        drop(self.service);
        (self.stop)().await;
    }
}

//! Serving a [`Service`] on a socket, within limits.

use crate::head_timer::HeadTimer;
use crate::patience::Patient;
use crate::running::Shutdown;
use http::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wire::{Body, Service};

/// What one listener allows.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Connections open at a time; more wait to be accepted.
    pub connections_max: usize,
    /// How long a client may take to send a request's headers, and how long it may idle between two.
    pub header_timeout: Duration,
    /// How long a client may stop reading its response.
    pub write_timeout: Duration,
    /// Most header lines of one request; more are answered 431.
    pub headers_max: usize,
    /// Most bytes of request line and headers together; more are answered 431 or 414.
    pub header_bytes_max: usize,
    /// How long requests in flight may go on when stopping.
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            connections_max: 4096,
            header_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            headers_max: 256,
            header_bytes_max: 128 * 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Where a request's connection comes from, in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Accepts and serves until `shutdown`, then lets requests in flight end.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    options: ServeOptions,
    shutdown: Shutdown,
) {
    let slots = Arc::new(Semaphore::new(options.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = shutdown.wait() => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, client, slot)) => {
                let (service, options) = (service.clone(), options.clone());
                let connection = converse(stream, client, service, options, shutdown.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to be closed instead of spinning.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(options.drain_timeout, drained).await.is_err() {
        tracing::warn!("requests were still in flight when this server stopped");
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, ClientAddress, Option<tokio::sync::OwnedSemaphorePermit>)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    let (stream, client) = listener.accept().await?;
    // An IPv4 client of a socket for both is an IPv4 client.
    Ok((stream, ClientAddress(client.ip().to_canonical()), slot))
}

async fn converse(
    stream: TcpStream,
    client: ClientAddress,
    service: Service,
    options: ServeOptions,
    shutdown: Shutdown,
) {
    let _ = stream.set_nodelay(true);
    let hyper_service = hyper::service::service_fn(move |mut request: http::Request<_>| {
        request.extensions_mut().insert(client);
        let keeps_alive = says_keep_alive(request.headers());
        let answer = service.answer(request.map(Body::new));
        async move {
            let mut response = answer.await;
            if keeps_alive {
                let keep_alive = HeaderValue::from_static("keep-alive");
                response.headers_mut().entry(header::CONNECTION).or_insert(keep_alive);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(HeadTimer::new(options.header_timeout))
        .header_read_timeout(options.header_timeout)
        .max_headers(options.headers_max)
        .max_buf_size(options.header_bytes_max.max(8192))
        .title_case_headers(true)
        .half_close(false)
        .serve_connection(TokioIo::new(Patient::new(stream, options.write_timeout)), hyper_service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => log_end(ended),
        () = shutdown.wait() => {
            connection.as_mut().graceful_shutdown();
            log_end(connection.await);
        }
    }
}

/// Whoever says so, though HTTP/1.1 means it anyway, wants to hear the same, as from Swift.
fn says_keep_alive(headers: &HeaderMap) -> bool {
    let says = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
    headers.get(header::CONNECTION).is_some_and(says)
}

/// Clients vanish all the time; that is theirs to know, and ours only when debugging.
fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(error = crate::telemetry::chain(&error), "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A server that answers all with 200, and where it listens.
    async fn serving(options: ServeOptions) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let service =
            wire::service_fn((), |(), _| async { crate::text(http::StatusCode::OK, "OK") });
        tokio::spawn(serve(listener, service, options, Shutdown::default()));
        address
    }

    #[tokio::test]
    async fn who_says_keep_alive_hears_it() {
        let address = serving(ServeOptions::default()).await;
        for (said, heard) in [("", false), ("Connection: Keep-Alive\r\n", true)] {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{said}\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = Vec::new();
            while !answer.ends_with(b"OK") {
                assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0);
            }
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(answer.contains("\r\nConnection: keep-alive\r\n"), heard, "{answer}");
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_is_not_waited_for() {
        let patience = Duration::from_millis(300);
        let address =
            serving(ServeOptions { header_timeout: patience, ..Default::default() }).await;
        for begun in [&b""[..], b"GET / HTT"] {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            // Requests that were answered in time do not shorten what the next one has.
            for _ in 0..3 {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
                let mut answer = Vec::new();
                while !answer.ends_with(b"OK") {
                    assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0);
                }
            }
            let last = Instant::now();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("still open");
            stream.write_all(begun).await.expect("sent");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.expect("closed in order");
            assert!(rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
            assert!(last.elapsed() >= patience, "{:?}", last.elapsed());
        }
    }
}

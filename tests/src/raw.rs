//! Bytes on a socket, for clients that do not speak HTTP as they should.

use crate::client::Answer;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(30);
/// More than any answer here has.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection on which anything can be said.
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    /// Opens it.
    pub async fn connect(address: SocketAddr) -> Result<Raw> {
        let stream = timeout(TIMEOUT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Raw { stream, received: Vec::new() })
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        timeout(TIMEOUT, self.stream.write_all(bytes.as_ref())).await??;
        Ok(())
    }

    /// The next answer, `100 Continue` included. Its body is read as Content-Length says.
    pub async fn answer(&mut self) -> Result<Answer> {
        self.answer_to("GET").await
    }

    /// The same after a method that decides whether there is a body.
    pub async fn answer_to(&mut self, method: &str) -> Result<Answer> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            ensure!(self.fill().await?, "the connection ended after {:?}", self.text());
        };
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        self.received.drain(..end + 4);
        let (status, headers) = parse_head(&head)?;
        let length = headers.get("content-length").and_then(|value| value.to_str().ok());
        let length: usize = length.map_or(Ok(0), str::parse)?;
        let length = if method == "HEAD" || status < 200 { 0 } else { length };
        while self.received.len() < length {
            ensure!(self.fill().await?, "the connection ended within a body after {head:?}");
        }
        let body: Bytes = self.received.drain(..length).collect();
        Ok(Answer { status, headers, body })
    }

    /// Whether the other side has closed, which is waited for.
    pub async fn is_closed(&mut self) -> Result<bool> {
        self.received.clear();
        Ok(!self.fill().await?)
    }

    /// Reads what is there, but not everything.
    pub async fn read_some(&mut self) -> Result<usize> {
        ensure!(self.fill().await?, "the connection ended");
        Ok(self.received.len())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    async fn fill(&mut self) -> Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        let read = timeout(TIMEOUT, self.stream.read(&mut buffer)).await.context("no answer")?;
        let read = match read {
            // Unread bytes of ours turn the end into a reset.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            read => read?,
        };
        self.received.extend_from_slice(&buffer[..read]);
        ensure!(self.received.len() < ANSWER_BYTES_MAX, "the answer has no end");
        Ok(read > 0)
    }
}

/// Sends one request and gives its answer.
pub async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Result<Answer> {
    let mut raw = Raw::connect(address).await?;
    // A server that has seen enough may close before everything is sent; its answer is what counts.
    let _ = raw.send(request).await;
    raw.answer().await
}

fn parse_head(head: &str) -> Result<(u16, HeaderMap)> {
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)).context("a status line")?.parse()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').context("a header")?;
        headers.append(HeaderName::try_from(name)?, HeaderValue::from_str(value.trim())?);
    }
    Ok((status, headers))
}

//! Metrics as lines over UDP, under Swift's names. Swift: common/statsd_client.py.
//!
//! Whoever counts never waits: lines go into a bounded queue, and one that finds it full is lost. A thread sends them.

use serde::Deserialize;
use std::net::{ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// `[log.statsd]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatsdConfig {
    /// Where they go; nothing is sent without it.
    pub host: Option<String>,
    /// The port there.
    pub port: u16,
    /// What names start with.
    pub metric_prefix: String,
    /// The share of events that is sent.
    pub default_sample_rate: f64,
    /// What that share is multiplied with.
    pub sample_rate_factor: f64,
}

impl Default for StatsdConfig {
    fn default() -> Self {
        StatsdConfig {
            host: None,
            port: 8125,
            metric_prefix: String::new(),
            default_sample_rate: 1.0,
            sample_rate_factor: 1.0,
        }
    }
}

/// Lines that wait to be sent.
const QUEUE_MAX: usize = 8192;
/// Lines are put together into packets up to this, which pass any network in one piece.
const PACKET_BYTES: usize = 1400;
/// How long a host that cannot be found is left alone.
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);

/// Where metrics are given to be sent.
pub(super) struct Statsd {
    queue: SyncSender<String>,
    prefix: String,
    sample_rate: f64,
}

impl Statsd {
    /// Starts to send, for the server of this name.
    pub(super) fn start(config: &StatsdConfig, server: &str) -> Option<Self> {
        let target = (config.host.clone()?, config.port);
        let (queue, lines) = sync_channel(QUEUE_MAX);
        let sender = std::thread::Builder::new().name("statsd".to_owned());
        if let Err(error) = sender.spawn(move || send_all(&lines, &target)) {
            tracing::error!(%error, "metrics cannot be sent");
            return None;
        }
        let prefix = match config.metric_prefix.as_str() {
            "" => format!("{server}."),
            prefix => format!("{prefix}.{server}."),
        };
        let sample_rate = config.default_sample_rate * config.sample_rate_factor;
        Some(Statsd { queue, prefix, sample_rate })
    }

    /// How long something took.
    pub(super) fn timing(&self, metric: &str, took: Duration) {
        let milliseconds = (took.as_secs_f64() * 10_000_000.0).round() / 10_000.0;
        self.send(metric, milliseconds, "ms");
    }

    /// How much of something there was.
    pub(super) fn count(&self, metric: &str, count: u64) {
        self.send(metric, count, "c");
    }

    fn send(&self, metric: &str, value: impl std::fmt::Display, kind: &str) {
        let sampled = self.sample_rate < 1.0;
        if sampled && rand::random::<f64>() >= self.sample_rate {
            return;
        }
        let mut line = format!("{}{metric}:{value}|{kind}", self.prefix);
        if sampled {
            line.push_str(&format!("|@{}", self.sample_rate));
        }
        // A full queue means that sending does not keep up; then this one is lost.
        let _ = self.queue.try_send(line);
    }
}

fn send_all(lines: &Receiver<String>, target: &(String, u16)) {
    let mut socket: Option<UdpSocket> = None;
    let mut tried: Option<Instant> = None;
    while let Ok(mut packet) = lines.recv() {
        while packet.len() < PACKET_BYTES
            && let Ok(line) = lines.try_recv()
        {
            packet.push('\n');
            packet.push_str(&line);
        }
        if socket.is_none() && tried.is_none_or(|tried| tried.elapsed() > RESOLVE_AGAIN) {
            tried = Some(Instant::now());
            socket = connect(target)
                .map_err(|error| {
                    tracing::warn!(%error, host = target.0, "metrics cannot be sent there");
                })
                .ok();
        }
        if let Some(socket) = &socket {
            // Nobody there is no error of ours.
            let _ = socket.send(packet.as_bytes());
        }
    }
}

fn connect(target: &(String, u16)) -> std::io::Result<UdpSocket> {
    let found = target.to_socket_addrs()?.next();
    let address = found.ok_or_else(|| std::io::Error::other("the host has no address"))?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(change: fn(&mut StatsdConfig)) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let port = socket.local_addr().expect("an address").port();
        let mut config =
            StatsdConfig { host: Some("127.0.0.1".to_owned()), port, ..StatsdConfig::default() };
        change(&mut config);
        let statsd = Statsd::start(&config, "proxy-server").expect("starts");
        statsd.timing("object.GET.200.timing", Duration::from_micros(12_346));
        statsd.count("object.GET.200.xfer", 5);
        drop(statsd);
        let mut all = Vec::new();
        while all.len() < 2 {
            let mut packet = [0; 2000];
            let length = socket.recv(&mut packet).expect("a packet");
            let text = String::from_utf8_lossy(&packet[..length]).into_owned();
            all.extend(text.lines().map(str::to_owned));
        }
        all.join("\n")
    }

    #[test]
    fn lines_are_swifts() {
        let expected =
            "proxy-server.object.GET.200.timing:12.346|ms\nproxy-server.object.GET.200.xfer:5|c";
        assert_eq!(received(|_| {}), expected);
        let prefixed = received(|config| config.metric_prefix = "east".to_owned());
        assert!(prefixed.starts_with("east.proxy-server.object."), "{prefixed}");
    }

    #[test]
    fn nothing_is_sent_without_a_host_and_nobody_waits() {
        assert!(Statsd::start(&StatsdConfig::default(), "x").is_none());
        let (queue, _lines) = sync_channel(1);
        let statsd = Statsd { queue, prefix: String::new(), sample_rate: 1.0 };
        for _ in 0..10 {
            statsd.count("x", 1);
        }
    }
}

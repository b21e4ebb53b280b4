//! The metrics of requests: how many, how long they took, and how much was answered.
//!
//! To find a metric by its labels costs an allocation and a hash each time, and every request counts in three;
//! so each is looked for once and kept. One that is first used before [`crate::telemetry::init_metrics`] counts
//! nothing ever after.

use metrics::{Counter, Histogram};
use std::sync::OnceLock;
use std::time::Duration;

/// Methods with a label of their own; metrics must not grow with what clients invent.
const METHODS: [&str; 15] = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "COPY",
    "REPLICATE",
    "UPDATES",
    "PARTITIONS",
    "FINGERPRINTS",
    "RECORDS",
    "MERGE",
    "VERIFY",
    "QUARANTINED",
];
const OTHER: &str = "other";
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The metrics of one server.
pub(crate) struct Meters {
    server: &'static str,
    methods: [MethodMeters; METHODS.len() + 1],
    bytes: OnceLock<Counter>,
}

#[derive(Default)]
struct MethodMeters {
    requests: [OnceLock<Counter>; CLASSES.len()],
    seconds: OnceLock<Histogram>,
}

impl Meters {
    pub(crate) fn new(server: &'static str) -> Self {
        Meters { server, methods: Default::default(), bytes: OnceLock::new() }
    }

    pub(crate) fn server(&self) -> &'static str {
        self.server
    }

    /// Counts one request that has ended.
    pub(crate) fn count(&self, method: &http::Method, status: u16, took: Duration, bytes: u64) {
        let server = self.server;
        let known = METHODS.iter().position(|known| *known == method.as_str());
        let method = known.map_or(OTHER, |number| METHODS[number]);
        let meters = &self.methods[known.unwrap_or(METHODS.len())];
        let class = match status {
            200..=299 => 0,
            300..=399 => 1,
            400..=499 => 2,
            _ => 3,
        };
        let requests = meters.requests[class].get_or_init(|| {
            let class = CLASSES[class];
            metrics::counter!("apus_requests_total", "server" => server, "method" => method, "status" => class)
        });
        requests.increment(1);
        let seconds = meters.seconds.get_or_init(
            || metrics::histogram!("apus_request_duration_seconds", "server" => server, "method" => method),
        );
        seconds.record(took.as_secs_f64());
        let sent = self
            .bytes
            .get_or_init(|| metrics::counter!("apus_response_bytes_total", "server" => server));
        sent.increment(bytes);
    }
}

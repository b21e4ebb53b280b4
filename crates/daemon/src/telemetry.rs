//! Logs and metrics of the whole process.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;

/// How this process logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged, in the words of `RUST_LOG`: `info`, `warn,access=info`, …
    pub filter: String,
    /// Whether each request leaves a line.
    pub access: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { filter: "info".to_owned(), access: true }
    }
}

/// Starts logging to standard error. Later calls in the same process change nothing.
pub fn init_logs(config: &LogConfig) {
    let mut filter = config.filter.clone();
    if !config.access {
        filter.push_str(",access=off");
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

const SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Starts collecting metrics for this process. Later calls change nothing.
pub fn init_metrics() {
    METRICS.get_or_init(|| {
        let durations = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(durations, &SECONDS).ok()?;
        builder.install_recorder().ok()
    });
}

/// All metrics in Prometheus' text form.
pub fn render_metrics() -> String {
    METRICS.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default()
}

/// Moves observations that wait in buffers into their buckets; to be called now and then, or they pile up.
pub fn upkeep_metrics() {
    if let Some(handle) = METRICS.get().and_then(Option::as_ref) {
        handle.run_upkeep();
    }
}

/// An error with all its causes, as one line for a log or a person.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

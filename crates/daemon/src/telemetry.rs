//! Logs and metrics of the whole process.

pub use crate::access::statsd::StatsdConfig;
use crate::access::swift;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How this process logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged, in the words of `RUST_LOG`: `info`, `warn,access=info`, …
    pub filter: String,
    /// Whether each request leaves a line.
    pub access: bool,
    /// The form of these lines.
    pub format: LogFormat,
    /// Whether lines in Swift's form tell the headers of requests.
    pub headers: bool,
    /// Which; all if there are none here.
    pub headers_only: Vec<String>,
    /// How much of tokens and signatures lines in Swift's form show.
    pub reveal_sensitive_prefix: usize,
    /// Where metrics of the front door are sent, beside being there to be fetched.
    pub statsd: StatsdConfig,
}

/// The form of the front door's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Fields with names.
    #[default]
    Fields,
    /// Swift's, for programs that read it.
    Swift,
}

impl LogConfig {
    pub(crate) fn is_swift(&self) -> bool {
        self.access && self.format == LogFormat::Swift
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            filter: "info".to_owned(),
            access: true,
            format: LogFormat::default(),
            headers: false,
            headers_only: Vec::new(),
            reveal_sensitive_prefix: 16,
            statsd: StatsdConfig::default(),
        }
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
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match config.is_swift() {
        true => {
            let lines = subscriber.event_format(SwiftLines(Format::default()));
            tracing::subscriber::set_global_default(lines.finish())
        }
        false => tracing::subscriber::set_global_default(subscriber.finish()),
    };
    swift::start(config);
}

/// Lines in Swift's form stand alone, without a time and a level before them.
struct SwiftLines(Format);

impl<S, N> FormatEvent<S, N> for SwiftLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if event.metadata().target() != swift::TARGET {
            return self.0.format_event(context, writer, event);
        }
        let mut line = Message(String::new());
        event.record(&mut line);
        writeln!(writer, "{}", line.0)
    }
}

/// The words of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
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

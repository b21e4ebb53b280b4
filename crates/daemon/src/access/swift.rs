//! The access line of Swift's proxy, and its metrics. Swift: common/middleware/proxy_logging.py.
//!
//! The fields, with spaces between them, each percent-encoded, `-` for what is not there:
//!
//! ```text
//! client_ip remote_addr end_time.datetime method path protocol status_int referer user_agent auth_token bytes_recvd
//! bytes_sent client_etag transaction_id headers request_time source log_info start_time end_time policy_index
//! access_user_id
//! ```

use super::statsd::{Statsd, StatsdConfig};
use crate::ClientAddress;
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// How lines in Swift's form are written, and whether.
pub(super) struct Settings {
    /// Whether there are lines at all, beside metrics.
    pub(super) lines: bool,
    pub(super) headers: bool,
    /// In lower case; all if there are none.
    pub(super) headers_only: Vec<String>,
    pub(super) reveal_sensitive_prefix: usize,
    pub(super) statsd: Option<Statsd>,
}

/// What its lines are known by among others. They are chosen as `access` in filters.
pub(crate) const TARGET: &str = "access::swift";

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Those of the process, if anything is to be written or sent in Swift's form.
pub(super) fn settings() -> Option<&'static Settings> {
    SETTINGS.get()
}

/// Sets them for the process, once.
pub(crate) fn start(config: &crate::telemetry::LogConfig) {
    let lines = config.is_swift();
    let StatsdConfig { host, .. } = &config.statsd;
    if !lines && host.is_none() {
        return;
    }
    SETTINGS.get_or_init(|| Settings {
        lines,
        headers: config.headers,
        headers_only: config.headers_only.iter().map(|name| name.to_lowercase()).collect(),
        reveal_sensitive_prefix: config.reveal_sensitive_prefix,
        statsd: Statsd::start(&config.statsd, "proxy-server"),
    });
}

/// What the lines of a request, and of those made on its behalf, have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    pub(super) client_ip: String,
    pub(super) remote_addr: String,
    pub(super) protocol: &'static str,
    pub(super) referer: String,
    pub(super) user_agent: String,
    pub(super) auth_token: String,
    pub(super) etag: String,
    pub(super) headers: String,
    pub(super) trans_id: String,
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    value.unwrap_or_default().into_owned()
}

/// Headers and parameters whose holders can act for the client. Of each only the beginning is shown.
const SENSITIVE_HEADERS: [&str; 6] = [
    "x-auth-token",
    "x-storage-token",
    "x-service-token",
    "authorization",
    "x-auth-key",
    "x-storage-pass",
];
const SENSITIVE_PARAMETERS: [&str; 4] =
    ["temp_url_sig", "signature", "x-amz-signature", "swiftinfo_sig"];

impl Settings {
    fn obscured(&self, value: &str) -> String {
        match value.char_indices().nth(self.reveal_sensitive_prefix) {
            Some((end, _)) => format!("{}...", &value[..end]),
            None => value.to_owned(),
        }
    }

    /// What a request says of who sends it.
    pub(super) fn client(&self, request: &wire::Request, trans_id: &str) -> Client {
        let headers = request.headers();
        let peer = request.extensions().get::<ClientAddress>();
        let remote_addr = peer.map(|peer| peer.0.to_string()).unwrap_or_default();
        let forwarded = text(headers, "x-forwarded-for");
        let forwarded = forwarded.split(',').next().unwrap_or_default().trim().to_owned();
        let told = [text(headers, "x-cluster-client-ip"), forwarded];
        let client_ip = told.into_iter().find(|ip| !ip.is_empty());
        Client {
            client_ip: client_ip.unwrap_or_else(|| remote_addr.clone()),
            remote_addr,
            protocol: match request.version() {
                http::Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            referer: text(headers, "referer"),
            user_agent: text(headers, "user-agent"),
            auth_token: self.obscured(&text(headers, "x-auth-token")),
            etag: text(headers, "etag"),
            headers: if self.headers { self.listed(headers) } else { String::new() },
            trans_id: trans_id.to_owned(),
        }
    }

    fn listed(&self, headers: &HeaderMap) -> String {
        let wanted = |name: &str| {
            self.headers_only.is_empty() || self.headers_only.iter().any(|known| known == name)
        };
        let mut lines = Vec::new();
        for (name, value) in headers.iter().filter(|(name, _)| wanted(name.as_str())) {
            let value = String::from_utf8_lossy(value.as_bytes());
            let shown = match SENSITIVE_HEADERS.contains(&name.as_str()) {
                true => self.obscured(&value),
                false => value.into_owned(),
            };
            lines.push(format!("{}: {shown}", titled(name.as_str())));
        }
        lines.join("\n")
    }

    /// Path and query, with the secrets in it cut short.
    pub(super) fn path(&self, path_and_query: &str) -> String {
        let Some((path, query)) = path_and_query.split_once('?') else {
            return path_and_query.to_owned();
        };
        let shown = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, value))
                if SENSITIVE_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) =>
            {
                format!("{name}={}", self.obscured(value))
            }
            _ => pair.to_owned(),
        });
        format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
    }

    /// Metrics of a request that has ended, or of its first byte.
    pub(super) fn count(&self, ended: &Ended<'_>) {
        let Some(statsd) = &self.statsd else { return };
        for name in ended.metric_names() {
            statsd.timing(&format!("{name}.timing"), ended.took);
            statsd.count(&format!("{name}.xfer"), ended.received + ended.sent);
            if let Some(first) = ended.first_byte.filter(|_| ended.method == "GET") {
                statsd.timing(&format!("{name}.first-byte.timing"), first);
            }
        }
    }
}

/// `X-Auth-Token`, as Swift shows names.
fn titled(name: &str) -> String {
    let mut titled = String::with_capacity(name.len());
    let mut begins = true;
    for c in name.chars() {
        titled.push(if begins { c.to_ascii_uppercase() } else { c });
        begins = !c.is_ascii_alphanumeric();
    }
    titled
}

/// A request that has ended.
pub(super) struct Ended<'a> {
    pub(super) client: &'a Client,
    pub(super) method: &'a str,
    /// Secrets in it are cut short already.
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) source: Option<&'a str>,
    pub(super) user: Option<&'a str>,
    pub(super) policy: Option<u32>,
    pub(super) end: SystemTime,
    pub(super) took: Duration,
    pub(super) first_byte: Option<Duration>,
}

/// As Python's `quote` leaves them with `:/{}` as safe.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b':')
    .remove(b'/')
    .remove(b'{')
    .remove(b'}')
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~');

/// Methods with metrics of their own.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "COPY", "OPTIONS", "UPDATE"];

impl Ended<'_> {
    pub(super) fn line(&self) -> String {
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
        };
        let end = seconds(self.end);
        let begin = end - self.took.as_secs_f64();
        let or_none = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        let fields = [
            self.client.client_ip.clone(),
            self.client.remote_addr.clone(),
            date_time(end as u64),
            self.method.to_owned(),
            self.path.to_owned(),
            self.client.protocol.to_owned(),
            self.status.to_string(),
            self.client.referer.clone(),
            self.client.user_agent.clone(),
            self.client.auth_token.clone(),
            or_none(self.received),
            or_none(self.sent),
            self.client.etag.clone(),
            self.client.trans_id.clone(),
            self.client.headers.clone(),
            format!("{:.4}", self.took.as_secs_f64()),
            self.source.unwrap_or_default().to_owned(),
            String::new(),
            format!("{begin:.9}"),
            format!("{end:.9}"),
            self.policy.map(|index| index.to_string()).unwrap_or_default(),
            self.user.unwrap_or_default().to_owned(),
        ];
        let mut line = String::with_capacity(256);
        for (number, field) in fields.iter().enumerate() {
            if number > 0 {
                line.push(' ');
            }
            match field.as_str() {
                "" => line.push('-'),
                field => _ = write!(line, "{}", utf8_percent_encode(field, PLAIN)),
            }
        }
        line
    }

    /// `object.GET.200`, and the same of the policy.
    fn metric_names(&self) -> Vec<String> {
        let path = self.path.split('?').next().unwrap_or_default();
        let mut parts = path.trim_start_matches('/').splitn(4, '/');
        let versioned = matches!(parts.next(), Some("v1" | "v1.0"));
        let level = if versioned { parts.filter(|part| !part.is_empty()).count() } else { 0 };
        let kind = match level {
            3 => "object",
            2 => "container",
            1 => "account",
            _ => self.source.unwrap_or("UNKNOWN"),
        };
        let method = if METHODS.contains(&self.method) { self.method } else { "BAD_METHOD" };
        let mut names = vec![format!("{kind}.{method}.{}", self.status)];
        if let (Some(index), 3) = (self.policy, level) {
            names.push(format!("object.policy.{index}.{method}.{}", self.status));
        }
        names
    }
}

/// `25/May/2026/07/08/09`, in UTC.
fn date_time(seconds: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = types::civil_from_days(days);
    let month = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{day:02}/{month}/{year}/{hour:02}/{minute:02}/{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            lines: true,
            headers: true,
            headers_only: vec!["x-auth-token".to_owned(), "x-a".to_owned()],
            reveal_sensitive_prefix: 6,
            statsd: None,
        }
    }

    fn request() -> wire::Request {
        let mut request = wire::Request::new(wire::Body::empty());
        for (name, value) in [
            ("x-auth-token", "AUTH_tk0123456789"),
            ("x-a", "1"),
            ("x-b", "2"),
            ("x-forwarded-for", "10.0.0.9, 10.0.0.1"),
            ("user-agent", "curl/8 (x)"),
            ("etag", "abc"),
        ] {
            let name = http::HeaderName::from_static(name);
            request.headers_mut().append(name, http::HeaderValue::from_static(value));
        }
        request.extensions_mut().insert(ClientAddress("192.0.2.7".parse().expect("an address")));
        request
    }

    #[test]
    fn the_line_is_swifts() {
        let settings = settings();
        let client = settings.client(&request(), "tx1-5f");
        let path = settings.path("/v1/AUTH_a/c/%C3%A9?temp_url_sig=0123456789&limit=1");
        let ended = Ended {
            client: &client,
            method: "GET",
            path: &path,
            status: 200,
            received: 0,
            sent: 12,
            source: None,
            user: Some("a:u"),
            policy: Some(0),
            end: SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_210_096),
            took: Duration::from_millis(250),
            first_byte: None,
        };
        assert_eq!(
            ended.line(),
            "10.0.0.9 192.0.2.7 29/Feb/2024/12/34/56 GET \
             /v1/AUTH_a/c/%25C3%25A9%3Ftemp_url_sig%3D012345...%26limit%3D1 HTTP/1.1 200 - \
             curl/8%20%28x%29 AUTH_t... - 12 abc tx1-5f X-Auth-Token:%20AUTH_t...%0AX-A:%201 0.2500 - - \
             1709210095.750000000 1709210096.000000000 0 a:u"
        );
        assert_eq!(ended.line().split(' ').count(), 22);
        assert_eq!(ended.metric_names(), ["object.GET.200", "object.policy.0.GET.200"]);
        let other = |method, path, source| {
            Ended { method, path, source, ..ended_like(&client) }.metric_names().remove(0)
        };
        assert_eq!(other("PUT", "/v1/a/c/", None), "container.PUT.200");
        assert_eq!(other("WRONG", "/v1/a?x=/b/c", None), "account.BAD_METHOD.200");
        assert_eq!(other("GET", "/info", None), "UNKNOWN.GET.200");
        assert_eq!(other("GET", "/x", Some("SW")), "SW.GET.200");
    }

    fn ended_like(client: &Client) -> Ended<'_> {
        Ended {
            client,
            method: "GET",
            path: "/",
            status: 200,
            received: 0,
            sent: 0,
            source: None,
            user: None,
            policy: None,
            end: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            first_byte: None,
        }
    }

    #[test]
    fn days_have_dates() {
        assert_eq!(date_time(0), "01/Jan/1970/00/00/00");
        assert_eq!(date_time(951_782_400), "29/Feb/2000/00/00/00");
        assert_eq!(date_time(4_102_444_799), "31/Dec/2099/23/59/59");
    }
}

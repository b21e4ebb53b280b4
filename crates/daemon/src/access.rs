//! One line and a few metrics for every request, under its transaction id.
//!
//! Those of the proxy can have Swift's form ([`swift`]) and be sent to a statsd too ([`statsd`]); [`told`] has what that
//! takes.

mod heard;
pub(crate) mod statsd;
pub(crate) mod swift;
mod told;

pub use told::{Notes, Within};

use crate::meters::Meters;
use heard::{Heard, Listener};
use http::{HeaderMap, HeaderValue};
use http_body::Body as HttpBody;
use std::sync::Arc;
use std::time::Instant;
use told::Told;
use tracing::Instrument;
use wire::{Body, Request, Response, Service, headers};

/// What Swift logs of a client that went away.
const CLIENT_GONE: u16 = 499;

/// The id of a transaction, `tx` + 21 hex digits + `-` + the time in 10, as Swift forms it. Taken from the
/// request's extensions by whoever logs or calls on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransId(pub Arc<str>);

impl TransId {
    /// A new one; `extra` is what the client wants appended (`X-Trans-Id-Extra`).
    pub fn new(now_seconds: u64, extra: Option<&HeaderValue>) -> Self {
        let random: u128 = rand::random();
        let digits = random & ((1 << 84) - 1);
        let extra = extra.and_then(|value| value.to_str().ok()).map(|extra| {
            let kept = extra.bytes().take(32).filter(u8::is_ascii_graphic).map(char::from);
            format!("-{}", kept.collect::<String>())
        });
        TransId(format!("tx{digits:021x}-{now_seconds:010x}{}", extra.unwrap_or_default()).into())
    }

    /// The one a caller sent along, or none.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(headers::X_TRANS_ID)?.to_str().ok()?;
        (text.len() <= 128).then(|| TransId(text.into()))
    }

    /// The one of a request, or an empty one outside of [`Observed`].
    pub fn of(request: &Request) -> Self {
        let known = request.extensions().get::<TransId>().cloned();
        known.or_else(|| TransId::from_headers(request.headers())).unwrap_or(TransId("-".into()))
    }
}

/// Whether a daemon believes the transaction id of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The front door: ids are made here and returned to the client.
    Public,
    /// A storage node: ids come from the proxy.
    Backend,
}

impl Observed {
    /// Wraps a service so that each request gets an id, a span, a log line and metrics under the name `server`.
    pub fn wrap(self, server: &'static str, clock: crate::SharedClock, inner: Service) -> Service {
        let meters = Arc::new(Meters::new(server));
        wire::service_fn(
            (inner, clock, meters),
            move |(inner, clock, meters), mut request: Request| {
                let trans_id = match self {
                    Observed::Public => None,
                    Observed::Backend => TransId::from_headers(request.headers()),
                };
                let trans_id = trans_id.unwrap_or_else(|| {
                    TransId::new(
                        clock.micros() / 1_000_000,
                        request.headers().get("x-trans-id-extra"),
                    )
                });
                request.extensions_mut().insert(trans_id.clone());
                let (request, line) = Line::of(meters, request, trans_id.clone());
                let span = tracing::info_span!("request", server, trans_id = %trans_id.0);
                async move {
                    let mut response = inner.answer(request).await;
                    if let Ok(id) = HeaderValue::from_str(&trans_id.0) {
                        response.headers_mut().insert(headers::X_TRANS_ID, id.clone());
                        response.headers_mut().insert(headers::X_OPENSTACK_REQUEST_ID, id);
                    }
                    line.follow(response)
                }
                .instrument(span)
            },
        )
    }
}

/// What is known of a request before it is answered; written when its response's body has ended or was dropped.
struct Line {
    meters: Arc<Meters>,
    method: http::Method,
    uri: http::Uri,
    trans_id: TransId,
    started: Instant,
    status: u16,
    sent: u64,
    /// What a line in Swift's form takes more.
    told: Option<Told>,
}

impl Line {
    /// Of a request, which goes on with what its line wants to know of it.
    fn of(meters: Arc<Meters>, request: Request, trans_id: TransId) -> (Request, Self) {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (request, told) = match Told::is_wanted().filter(|_| meters.server() == "proxy") {
            Some(settings) => {
                let (request, told) = Told::of(settings, request, &trans_id);
                (request, Some(told))
            }
            None => (request, None),
        };
        let started = Instant::now();
        (request, Line { meters, method, uri, trans_id, started, status: 0, sent: 0, told })
    }

    fn follow(mut self, response: Response) -> Response {
        self.status = response.status().as_u16();
        let (parts, body) = response.into_parts();
        if let Some(told) = &mut self.told {
            told.begin(&body);
        }
        if body.is_end_stream() {
            drop(self);
            return Response::from_parts(parts, body);
        }
        Response::from_parts(parts, Body::new(Heard::new(body, self)))
    }
}

impl Listener for Line {
    fn data(&mut self, bytes: u64) {
        self.sent += bytes;
        if let Some(told) = &mut self.told {
            told.data(bytes);
        }
    }

    fn end(&mut self) {
        if let Some(told) = &mut self.told {
            told.end();
        }
    }
}

/// Signatures in a query would let a reader of the log act for the client.
fn without_secrets(uri: &http::Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    let masked = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=***"),
        _ => pair.to_owned(),
    });
    format!("{path}?{}", masked.collect::<Vec<_>>().join("&"))
}

/// Whether a parameter of this name is a signature, in whatever way the name is encoded.
fn is_secret(name: &str) -> bool {
    let name: Vec<u8> = percent_encoding::percent_decode_str(name).collect();
    name.to_ascii_lowercase().windows(3).any(|word| word == b"sig")
}

impl Drop for Line {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        // A caller that went away before an answer: Swift logs it as 499.
        let status = if self.status == 0 { CLIENT_GONE } else { self.status };
        self.meters.count(&self.method, status, took, self.sent);
        if self.told.as_ref().is_some_and(|told| told.write(self.method.as_str(), status)) {
            return;
        }
        let (server, bytes, seconds) = (self.meters.server(), self.sent, took.as_secs_f64());
        // Fields are only worked out for a line that is written.
        if server == "proxy" {
            tracing::info!(target: "access", server, method = %self.method, path = %without_secrets(&self.uri),
                status, bytes, seconds = %format_args!("{seconds:.6}"), trans_id = %self.trans_id.0);
        } else {
            tracing::debug!(target: "access", server, method = %self.method, path = %without_secrets(&self.uri),
                status, bytes, seconds = %format_args!("{seconds:.6}"), trans_id = %self.trans_id.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_swifts_form() {
        let id = TransId::new(0x5f00_0000, Some(&HeaderValue::from_static("mine")));
        let (head, tail) = id.0.split_once('-').expect("two parts");
        assert_eq!((head.len(), &head[..2]), (23, "tx"));
        assert_eq!(tail, "005f000000-mine");
    }

    #[test]
    fn signatures_stay_out_of_logs() {
        let uri = http::Uri::from_static("/v1/a/c/o?temp_url_sig=abc&x=1");
        let line = without_secrets(&uri);
        assert_eq!(line, "/v1/a/c/o?temp_url_sig=***&x=1");
        let uri = http::Uri::from_static("/v1/a/c/o?temp_url_%73i%67=abc&x=1");
        assert_eq!(without_secrets(&uri), "/v1/a/c/o?temp_url_%73i%67=***&x=1");
    }
}

//! What lines in Swift's form tell beside what is seen from outside, and the lines of requests that middlewares make.

use super::heard::{Heard, Listener, counted};
use super::swift::{self, Client, Ended, Settings};
use super::{CLIENT_GONE, TransId};
use http_body::Body as HttpBody;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use wire::{Body, Request, Response};

/// What becomes known of a client's request while it is answered. Whoever learns it says it here; a request has none when
/// nobody wants to know.
#[derive(Clone)]
pub struct Notes(Arc<Known>);

struct Known {
    settings: &'static Settings,
    client: Client,
    user: OnceLock<String>,
    policy: OnceLock<u32>,
}

impl Notes {
    fn new(settings: &'static Settings, client: Client) -> Self {
        let (user, policy) = (OnceLock::new(), OnceLock::new());
        Notes(Arc::new(Known { settings, client, user, policy }))
    }

    /// Who asks.
    pub fn user(&self, name: &str) {
        let _ = self.0.user.set(name.to_owned());
    }

    /// The storage policy that the request is about.
    pub fn policy(&self, index: u32) {
        let _ = self.0.policy.set(index);
    }

    /// Begins the line of a request that a middleware makes on behalf of this one; `source` is Swift's name of it.
    pub fn within(
        &self,
        method: &http::Method,
        path: &str,
        source: &'static str,
        body: Body,
    ) -> (Within, Body) {
        let settings = self.0.settings;
        let notes = Notes::new(settings, Client { etag: String::new(), ..self.0.client.clone() });
        if let Some(user) = self.0.user.get() {
            notes.user(user);
        }
        let received = Arc::new(AtomicU64::new(0));
        let body = counted(body, &received);
        let path = settings.path(path);
        let told = Told { source: Some(source), ..Told::new(notes, path, received) };
        (Within { told, method: method.clone(), status: 0 }, body)
    }
}

/// The line of a request that a middleware made. It is written when the body of its answer has ended.
pub struct Within {
    told: Told,
    method: http::Method,
    status: u16,
}

impl Within {
    /// The notes of this request, not of the client's.
    pub fn notes(&self) -> &Notes {
        &self.told.notes
    }

    /// Follows the answer to its end.
    pub fn follow(mut self, response: Response) -> Response {
        self.status = response.status().as_u16();
        let (parts, body) = response.into_parts();
        self.told.begin(&body);
        // Who asked reads what it wants to know; only what is read on for the client can be left by it.
        self.told.complete = self.method != http::Method::GET;
        if body.is_end_stream() {
            drop(self);
            return Response::from_parts(parts, body);
        }
        Response::from_parts(parts, Body::new(Heard::new(body, self)))
    }
}

impl Listener for Within {
    fn data(&mut self, bytes: u64) {
        self.told.data(bytes);
    }

    fn end(&mut self) {
        self.told.end();
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let status = if self.status == 0 { CLIENT_GONE } else { self.status };
        self.told.write(self.method.as_str(), status);
    }
}

/// What is told of one request.
pub(super) struct Told {
    notes: Notes,
    path: String,
    received: Arc<AtomicU64>,
    sent: u64,
    source: Option<&'static str>,
    started: Instant,
    first_byte: Option<Duration>,
    /// How long the answer is, if that is known.
    length: Option<u64>,
    complete: bool,
}

impl Told {
    /// Whether anything is written or sent in Swift's form.
    pub(super) fn is_wanted() -> Option<&'static Settings> {
        swift::settings()
    }

    fn new(notes: Notes, path: String, received: Arc<AtomicU64>) -> Self {
        Told {
            notes,
            path,
            received,
            sent: 0,
            source: None,
            started: Instant::now(),
            first_byte: None,
            length: None,
            complete: false,
        }
    }

    /// Of a client's request, which goes on with notes and with a body that is counted.
    pub(super) fn of(
        settings: &'static Settings,
        request: Request,
        trans_id: &TransId,
    ) -> (Request, Self) {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let path = settings.path(path);
        let notes = Notes::new(settings, settings.client(&request, &trans_id.0));
        let received = Arc::new(AtomicU64::new(0));
        let mut request = request.map(|body| counted(body, &received));
        request.extensions_mut().insert(notes.clone());
        (request, Told::new(notes, path, received))
    }

    /// The answer is there, and has this body.
    pub(super) fn begin(&mut self, body: &Body) {
        self.first_byte = Some(self.started.elapsed());
        self.length = body.size_hint().exact();
    }

    pub(super) fn data(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    pub(super) fn end(&mut self) {
        self.complete = true;
    }

    /// Writes the line, and says whether lines are written.
    pub(super) fn write(&self, method: &str, status: u16) -> bool {
        let whole = self.complete || self.length.is_some_and(|length| self.sent >= length);
        let ended = Ended {
            client: &self.notes.0.client,
            method,
            path: &self.path,
            // A client that did not wait for the end.
            status: if whole { status } else { CLIENT_GONE },
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent,
            source: self.source,
            user: self.notes.0.user.get().map(String::as_str),
            policy: self.notes.0.policy.get().copied(),
            end: SystemTime::now(),
            took: self.started.elapsed(),
            first_byte: self.first_byte,
        };
        let settings = self.notes.0.settings;
        settings.count(&ended);
        if settings.lines {
            tracing::info!(target: swift::TARGET, "proxy-server: {}", ended.line());
        }
        settings.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> &'static Settings {
        static SETTINGS: OnceLock<Settings> = OnceLock::new();
        SETTINGS.get_or_init(|| Settings {
            lines: false,
            headers: false,
            headers_only: Vec::new(),
            reveal_sensitive_prefix: 16,
            statsd: None,
        })
    }

    #[tokio::test]
    async fn bytes_are_counted_and_notes_reach_the_line() {
        let mut request = Request::new(Body::from("12345"));
        *request.uri_mut() = http::Uri::from_static("/v1/a/c/o");
        let (mut request, told) = Told::of(settings(), request, &TransId("tx1".into()));
        let notes = request.extensions_mut().remove::<Notes>().expect("notes");
        notes.user("a:u");
        notes.policy(3);
        let body = std::mem::take(request.body_mut());
        axum::body::to_bytes(body, 100).await.expect("a body");
        assert_eq!(told.received.load(Ordering::Relaxed), 5);
        assert_eq!(told.notes.0.user.get().map(String::as_str), Some("a:u"));
        assert_eq!(told.notes.0.policy.get(), Some(&3));
    }

    #[tokio::test]
    async fn the_end_of_an_answer_is_told_from_a_client_that_left() {
        let notes = Notes::new(settings(), Client::default());
        let told = Told::new(notes, "/".to_owned(), Arc::default());
        let mut line = Within { told, method: http::Method::GET, status: 200 };
        line.told.begin(&Body::from("four"));
        line.data(2);
        assert!(!(line.told.complete || line.told.sent >= line.told.length.unwrap_or(u64::MAX)));
        line.data(2);
        assert_eq!(line.told.length, Some(line.told.sent));
        line.end();
        assert!(line.told.complete);
    }
}

//! Reports of work on many objects: how it went, and what went wrong with which of them. Sent while the work goes on, with
//! padding that keeps the connection alive. Swift: common/request_helpers.py, `get_heartbeat_response_body`.

use bytes::Bytes;
use futures_util::stream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use wire::{Body, xml};

use super::listing::Format;

/// What Python's `quote` leaves as it is.
const QUOTED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b'/');

/// A path as reports show it.
pub(crate) fn quoted(path: impl AsRef<[u8]>) -> String {
    percent_encode(path.as_ref(), QUOTED).to_string()
}

/// What came of it all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// Named values, such as `Response Status`.
    pub(crate) fields: Vec<(Cow<'static, str>, Value)>,
    /// What went wrong: a name, and why.
    pub(crate) errors: Vec<(String, String)>,
}

impl Report {
    /// Adds a named value.
    pub(crate) fn say(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.fields.push((name.into(), value.into()));
    }

    /// As a document; XML has `root` around it.
    pub(crate) fn render(mut self, format: Format, root: &str) -> Bytes {
        self.fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        match format {
            Format::Json => self.json(),
            Format::Xml | Format::TextXml => self.xml(root),
            Format::Plain => self.plain(),
        }
    }

    fn json(self) -> Bytes {
        let named = self.fields.into_iter().map(|(name, value)| (name.into_owned(), value));
        let mut document: Map<String, Value> = named.collect();
        let errors = self.errors.into_iter().map(|(name, why)| Value::from(vec![name, why]));
        document.insert("Errors".to_owned(), Value::Array(errors.collect()));
        Value::Object(document).to_string().into()
    }

    fn xml(self, root: &str) -> Bytes {
        let mut out = format!("<{root}>\n");
        for (name, value) in &self.fields {
            let tag = name.replace(' ', "_").to_lowercase();
            out.push_str(&format!("<{tag}>{}</{tag}>\n", escaped(&text(value))));
        }
        out.push_str("<errors>\n");
        for (name, why) in &self.errors {
            let (name, why) = (escaped(name), escaped(why));
            out.push_str(&format!("<object><name>{name}</name><status>{why}</status></object>\n"));
        }
        out.push_str(&format!("</errors>\n</{root}>\n"));
        out.into()
    }

    fn plain(self) -> Bytes {
        let mut out = String::new();
        for (name, value) in &self.fields {
            out.extend([name.as_ref(), ": ", &text(value), "\n"]);
        }
        out.push_str("Errors:\n");
        for (name, why) in &self.errors {
            out.extend([name.as_str(), ", ", why, "\n"]);
        }
        out.into()
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    xml::escape(&mut out, text, false);
    out
}

/// How a connection is kept alive until a report is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// How long nothing is sent at most.
    pub(crate) every: Duration,
    /// What the report's document begins with; when that is nothing and something must be sent, it is a space.
    pub(crate) declaration: &'static str,
    /// Whether that is sent at once.
    pub(crate) at_once: bool,
}

type Work = Pin<Box<dyn Future<Output = Bytes> + Send>>;

struct Waiting {
    work: Work,
    keep_alive: KeepAlive,
    begun: bool,
}

/// A body that is what the work makes, with padding before it as long as that takes. Whoever drops it ends the work.
/// Unless something is to be sent at once, work that is done soon enough is done before there is an answer.
pub(crate) async fn kept_alive(
    work: impl Future<Output = Bytes> + Send + 'static,
    keep_alive: KeepAlive,
) -> Body {
    let mut work: Work = Box::pin(work);
    if !keep_alive.at_once
        && let Ok(report) = tokio::time::timeout(keep_alive.every, &mut work).await
    {
        return Body::from(Bytes::from([keep_alive.declaration.as_bytes(), &report].concat()));
    }
    let waiting = Waiting { work, keep_alive, begun: false };
    Body::from_stream(stream::unfold(Some(waiting), |waiting| async {
        let (bytes, waiting) = waiting?.next().await;
        Some((Ok::<_, Infallible>(bytes), waiting))
    }))
}

impl Waiting {
    async fn next(mut self) -> (Bytes, Option<Self>) {
        if !self.begun {
            self.begun = true;
            let opening = match self.keep_alive.declaration {
                "" => " ",
                declaration => declaration,
            };
            return (Bytes::from_static(opening.as_bytes()), Some(self));
        }
        match tokio::time::timeout(self.keep_alive.every, &mut self.work).await {
            Ok(report) => ([b"\r\n\r\n", &report[..]].concat().into(), None),
            Err(_) => (Bytes::from_static(b" "), Some(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.say("Response Status", "400 Bad Request");
        report.say("Number Deleted", 2);
        report.errors.push(("a%20b".into(), "<404>".into()));
        report
    }

    fn rendered(format: Format) -> String {
        String::from_utf8(report().render(format, "delete").to_vec()).expect("text")
    }

    #[test]
    fn reports_have_three_forms() {
        let plain = "Number Deleted: 2\nResponse Status: 400 Bad Request\nErrors:\na%20b, <404>\n";
        assert_eq!(rendered(Format::Plain), plain);
        let json = r#"{"Number Deleted":2,"Response Status":"400 Bad Request","Errors":[["a%20b","<404>"]]}"#;
        assert_eq!(rendered(Format::Json), json);
        let xml = "<delete>\n<number_deleted>2</number_deleted>\n\
                   <response_status>400 Bad Request</response_status>\n<errors>\n<object><name>a%20b</name>\
                   <status>&lt;404&gt;</status></object>\n</errors>\n</delete>\n";
        assert_eq!(rendered(Format::Xml), xml);
        assert_eq!(quoted("/c/ä b~"), "/c/%C3%A4%20b~");
    }

    async fn sent(declaration: &'static str, at_once: bool, seconds: u64) -> String {
        let keep_alive = KeepAlive { every: Duration::from_secs(10), declaration, at_once };
        let work = async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Bytes::from_static(b"done")
        };
        let body =
            axum::body::to_bytes(kept_alive(work, keep_alive).await, 100).await.expect("a body");
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn padding_comes_while_there_is_work() {
        assert_eq!(sent("", false, 9).await, "done");
        assert_eq!(sent("", false, 35).await, "   \r\n\r\ndone");
        assert_eq!(sent("", true, 9).await, " \r\n\r\ndone");
        assert_eq!(sent("", true, 15).await, "  \r\n\r\ndone");
        assert_eq!(sent("?", false, 9).await, "?done");
        assert_eq!(sent("?", false, 25).await, "? \r\n\r\ndone");
        assert_eq!(sent("?", true, 9).await, "?\r\n\r\ndone");
        assert_eq!(sent("?", true, 15).await, "? \r\n\r\ndone");
    }
}

//! What a bulk request did, in the forms that clients read. Swift: common/request_helpers.py,
//! `get_heartbeat_response_body`.

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Map, Value};

use crate::auth::ascii;
use crate::swift::listing::Format;

/// What a bulk request did so far.
pub(super) struct Report {
    root: &'static str,
    /// The best that can come of it.
    success: StatusCode,
    nothing_done: &'static str,
    /// Counts, under their names there.
    counts: Vec<(&'static str, u64)>,
    errors: Vec<(String, String)>,
    /// Whether something failed that was not the client's fault.
    server_failed: bool,
    aborted: Option<(StatusCode, String)>,
}

/// As Python's `quote` leaves them.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// A name in a report, which is ASCII.
pub(super) fn quoted(name: &[u8], bytes_max: usize) -> String {
    percent_encode(&name[..name.len().min(bytes_max)], PLAIN).to_string()
}

/// A status as Swift writes it.
pub(super) fn status_line(status: StatusCode) -> String {
    let words = match status.as_u16() {
        413 => "Request Entity Too Large",
        416 => "Requested Range Not Satisfiable",
        497 => "Blacklisted",
        498 => "Rate Limited",
        499 => "Client Disconnect",
        500 => "Internal Error",
        _ => status.canonical_reason().unwrap_or("Unknown"),
    };
    format!("{} {words}", status.as_u16())
}

impl Report {
    pub(super) fn extraction() -> Self {
        Report {
            root: "extract",
            success: StatusCode::CREATED,
            nothing_done: "Invalid Tar File: No Valid Files",
            counts: vec![("Number Files Created", 0)],
            errors: Vec::new(),
            server_failed: false,
            aborted: None,
        }
    }

    pub(super) fn deletion() -> Self {
        Report {
            root: "delete",
            success: StatusCode::OK,
            nothing_done: "Invalid bulk delete.",
            counts: vec![("Number Deleted", 0), ("Number Not Found", 0)],
            errors: Vec::new(),
            server_failed: false,
            aborted: None,
        }
    }

    /// Counts one under a name.
    pub(super) fn count(&mut self, name: &str) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == name) {
            *count += 1;
        }
    }

    /// Notes what was not done, under its quoted name.
    pub(super) fn failed(&mut self, name: String, status: StatusCode) {
        self.server_failed |= status.is_server_error();
        self.errors.push((name, status_line(status)));
    }

    /// The same of something that another failure is the reason for, and which decides nothing.
    pub(super) fn note(&mut self, name: String, status: StatusCode) {
        self.errors.push((name, status_line(status)));
    }

    pub(super) fn failures(&self) -> usize {
        self.errors.len()
    }

    /// Given up, for a reason.
    pub(super) fn aborted(mut self, status: StatusCode, why: impl Into<String>) -> Self {
        self.aborted = Some((status, why.into()));
        self
    }

    /// How it went, and in words if that is not all.
    fn outcome(&self) -> (StatusCode, &str) {
        if let Some((status, why)) = &self.aborted {
            return (*status, why);
        }
        match (self.errors.is_empty(), self.server_failed) {
            (false, true) => (StatusCode::BAD_GATEWAY, ""),
            (false, false) => (StatusCode::BAD_REQUEST, ""),
            _ if self.counts.iter().all(|(_, count)| *count == 0) => {
                (StatusCode::BAD_REQUEST, self.nothing_done)
            }
            _ => (self.success, ""),
        }
    }

    /// The document.
    pub(super) fn render(&self, format: Format) -> String {
        let (status, body) = self.outcome();
        let mut fields: Vec<(&str, Value)> =
            vec![("Response Status", status_line(status).into()), ("Response Body", body.into())];
        fields.extend(self.counts.iter().map(|(name, count)| (*name, (*count).into())));
        if format == Format::Json {
            let errors =
                self.errors.iter().map(|(name, status)| Value::from([name.as_str(), status]));
            fields.push(("Errors", errors.collect()));
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
            return ascii(&Value::Object(fields.collect::<Map<_, _>>()).to_string());
        }
        fields.sort_by_key(|(name, _)| *name);
        let fields = fields.iter().map(|(name, value)| {
            (*name, value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        });
        match format {
            Format::Xml | Format::TextXml => self.xml(fields),
            _ => self.plain(fields),
        }
    }

    fn plain<'a>(&self, fields: impl Iterator<Item = (&'a str, String)>) -> String {
        let mut text = String::new();
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str("Errors:\n");
        for (name, status) in &self.errors {
            text.push_str(&format!("{name}, {status}\n"));
        }
        text
    }

    fn xml<'a>(&self, fields: impl Iterator<Item = (&'a str, String)>) -> String {
        let root = self.root;
        let mut text = format!("<{root}>\n");
        for (name, value) in fields {
            let name = name.replace(' ', "_").to_lowercase();
            text.push_str(&format!("<{name}>{}</{name}>\n", escaped(&value)));
        }
        text.push_str("<errors>\n");
        for (name, status) in &self.errors {
            let (name, status) = (escaped(name), escaped(status));
            let line = format!("<object><name>{name}</name><status>{status}</status></object>\n");
            text.push_str(&line);
        }
        text.push_str(&format!("</errors>\n</{root}>\n"));
        text
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_swifts() {
        let mut report = Report::deletion();
        report.count("Number Deleted");
        report.failed(quoted("c/ü<".as_bytes(), 100), StatusCode::CONFLICT);
        assert_eq!(
            report.render(Format::Json),
            "{\"Response Status\":\"400 Bad Request\",\"Response Body\":\"\",\"Number Deleted\":1,\
             \"Number Not Found\":0,\"Errors\":[[\"c/%C3%BC%3C\",\"409 Conflict\"]]}"
        );
        assert_eq!(
            report.render(Format::Plain),
            "Number Deleted: 1\nNumber Not Found: 0\nResponse Body: \nResponse Status: 400 Bad \
             Request\nErrors:\nc/%C3%BC%3C, 409 Conflict\n"
        );
        assert_eq!(
            report.render(Format::Xml),
            "<delete>\n<number_deleted>1</number_deleted>\n<number_not_found>0</number_not_found>\n\
             <response_body></response_body>\n<response_status>400 Bad Request</response_status>\n\
             <errors>\n<object><name>c/%C3%BC%3C</name><status>409 Conflict</status></object>\n\
             </errors>\n</delete>\n"
        );
    }

    #[test]
    fn the_status_says_the_worst() {
        let status = |report: &Report| report.outcome().0.as_u16();
        let mut report = Report::extraction();
        assert_eq!(report.outcome().1, "Invalid Tar File: No Valid Files");
        report.count("Number Files Created");
        assert_eq!(status(&report), 201);
        report.note("c".into(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(&report), 400);
        report.failed("c/o".into(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(&report), 502);
        assert_eq!(status(&report.aborted(StatusCode::UNAUTHORIZED, "")), 401);
    }
}

//! What a bulk request did so far, and what is to be said of it at its end.

use bytes::Bytes;
use http::StatusCode;

use crate::swift::error::status_line;
use crate::swift::listing::Format;
use crate::swift::report;

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

/// The beginning of a name in a report, which is ASCII.
pub(super) fn quoted(name: &[u8], bytes_max: usize) -> String {
    report::quoted(&name[..name.len().min(bytes_max)])
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
    pub(super) fn render(self, format: Format) -> Bytes {
        let mut document = report::Report::default();
        let (status, body) = self.outcome();
        document.say("Response Status", status_line(status));
        document.say("Response Body", body);
        for (name, count) in &self.counts {
            document.say(*name, *count);
        }
        document.errors = self.errors;
        document.render(format, self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_said() {
        let mut report = Report::deletion();
        report.count("Number Deleted");
        report.failed(quoted("c/ü<".as_bytes(), 100), StatusCode::CONFLICT);
        report.failed(quoted(b"c/\xff\xff", 3), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(
            String::from_utf8_lossy(&report.render(Format::Plain)),
            "Number Deleted: 1\nNumber Not Found: 0\nResponse Body: \nResponse Status: 400 Bad \
             Request\nErrors:\nc/%C3%BC%3C, 409 Conflict\nc/%FF, 413 Request Entity Too Large\n"
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

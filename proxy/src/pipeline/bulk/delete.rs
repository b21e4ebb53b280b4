//! Deleting what the lines of a body name.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Method, StatusCode};
use percent_encoding::percent_decode;
use std::time::Duration;
use types::{ContainerName, Limits, ObjectName};

use super::report::{Report, quoted};
use super::{Asking, Config, drain, path_bytes_max};
use crate::store::{ClientBody, Entity};

/// Why a list is not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListError {
    #[error("Maximum Bulk Deletes: {0} per request")]
    TooMany(usize),
    #[error("Invalid File Name")]
    TooLong,
}

impl ListError {
    fn status(self) -> StatusCode {
        match self {
            ListError::TooMany(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ListError::TooLong => StatusCode::BAD_REQUEST,
        }
    }
}

/// Lines of a body that comes in pieces.
pub(super) struct Lines {
    lines_max: usize,
    line_bytes_max: usize,
    /// Begun, and not ended.
    line: Vec<u8>,
    count: usize,
    /// Decoded; those that are empty are only counted.
    names: Vec<Vec<u8>>,
}

impl Lines {
    pub(super) fn new(lines_max: usize, path_bytes_max: usize) -> Self {
        let (line, names) = (Vec::new(), Vec::new());
        Lines { lines_max, line_bytes_max: path_bytes_max * 2, line, count: 0, names }
    }

    /// Takes the next piece.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), ListError> {
        let mut lines = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            if self.line.len() + part.len() > self.line_bytes_max {
                return Err(ListError::TooLong);
            }
            self.line.extend_from_slice(part);
            if lines.peek().is_some() {
                self.end_line()?;
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), ListError> {
        self.count += 1;
        if self.count > self.lines_max {
            return Err(ListError::TooMany(self.lines_max));
        }
        let name: Vec<u8> = percent_decode(self.line.trim_ascii()).collect();
        self.line.clear();
        if !name.is_empty() {
            self.names.push(name);
        }
        Ok(())
    }

    /// All names, the last line included.
    pub(super) fn finish(mut self) -> Result<Vec<Vec<u8>>, ListError> {
        if !self.line.trim_ascii().is_empty() {
            self.end_line()?;
        }
        Ok(self.names)
    }
}

/// What a name means, beside what it is called in the report.
struct Target {
    name: String,
    /// Or why it means nothing.
    entity: Result<Entity, StatusCode>,
}

impl Target {
    fn of(name: &[u8], account: &Entity, bytes_max: usize) -> Self {
        Target { name: quoted(name, bytes_max), entity: entity(name, account) }
    }

    /// Containers are deleted after all objects.
    fn is_container(&self) -> bool {
        self.entity.as_ref().is_ok_and(|entity| entity.object.is_none())
    }
}

fn entity(name: &[u8], account: &Entity) -> Result<Entity, StatusCode> {
    let no_text = StatusCode::PRECONDITION_FAILED;
    let name = super::client_text(name).ok_or(no_text)?;
    let name = name.trim_start_matches('/');
    // Not the account itself, whoever asks: nobody means that with an empty name.
    if name.is_empty() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let (container, object) = name.split_once('/').unwrap_or((name, ""));
    let container = ContainerName::parse(container).map_err(|_| no_text)?;
    let container = account.with_container(container);
    if object.is_empty() {
        return Ok(container);
    }
    Ok(container.with_object(ObjectName::parse(object).map_err(|_| no_text)?))
}

/// Deletes everything, and reports.
pub(super) async fn all(
    config: &Config,
    limits: &Limits,
    asking: Asking,
    mut body: ClientBody,
) -> Report {
    let report = Report::deletion();
    let mut lines = Lines::new(config.max_deletes_per_request, path_bytes_max(limits));
    let names = loop {
        let fed = match body.next().await {
            Ok(Some(piece)) => lines.feed(&piece),
            Ok(None) => break lines.finish(),
            // Nobody is there any more to read what came of it.
            Err(_) => return report.aborted(StatusCode::REQUEST_TIMEOUT, ""),
        };
        if let Err(error) = fed {
            break Err(error);
        }
    };
    match names {
        Ok(names) => delete(config, limits, &asking, names, report).await,
        Err(error) => {
            drain(body).await;
            report.aborted(error.status(), error.to_string())
        }
    }
}

async fn delete(
    config: &Config,
    limits: &Limits,
    asking: &Asking,
    names: Vec<Vec<u8>>,
    mut report: Report,
) -> Report {
    let account = asking.call.entity.to_account();
    let bytes_max = path_bytes_max(limits);
    let targets = names.iter().map(|name| Target::of(name, &account, bytes_max));
    let (containers, objects): (Vec<Target>, Vec<Target>) = targets.partition(Target::is_container);
    for targets in [objects, containers] {
        let mut waiting = targets.into_iter();
        let mut running = FuturesUnordered::new();
        loop {
            let full = report.failures() >= config.max_failed_deletes;
            while !full && running.len() < config.delete_concurrency {
                let Some(target) = waiting.next() else { break };
                running.push(one(config, asking, target));
            }
            let Some((name, status)) = running.next().await else { break };
            match status {
                status if status.is_success() => report.count("Number Deleted"),
                StatusCode::NOT_FOUND => report.count("Number Not Found"),
                status => report.failed(name, status),
            }
        }
        if report.failures() >= config.max_failed_deletes {
            return report.aborted(StatusCode::BAD_REQUEST, "Max delete failures exceeded");
        }
    }
    report
}

async fn one(config: &Config, asking: &Asking, target: Target) -> (String, StatusCode) {
    let entity = match target.entity {
        Ok(entity) => entity,
        Err(status) => return (target.name, status),
    };
    let mut tries = 0;
    loop {
        let call = asking.sub(Method::DELETE, entity.clone());
        let status = asking.next.answer(call).await.status();
        if status != StatusCode::CONFLICT || tries >= config.delete_container_retry_count {
            return (target.name, status);
        }
        tries += 1;
        // Its listing may not know yet what was just deleted.
        let seconds = 1.5_f64.powi(i32::try_from(tries).unwrap_or(i32::MAX)).min(60.0);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::entity as named;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]]) -> Result<Vec<String>, ListError> {
        let mut lines = Lines::new(3, 10);
        for piece in pieces {
            lines.feed(piece)?;
        }
        let names = lines.finish()?;
        Ok(names.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect())
    }

    #[test]
    fn lines_come_in_any_pieces() {
        assert_eq!(
            lines(&[b"c/o\nc", b"/p\r\n", b"%41"]),
            Ok(vec!["c/o".into(), "c/p".into(), "A".into()])
        );
        assert_eq!(lines(&[b"", b" \n\n"]), Ok(vec![]));
        assert_eq!(lines(&[b"1\n2\n3\n4"]), Err(ListError::TooMany(3)));
        assert_eq!(lines(&[b"\n\n\n\n"]), Err(ListError::TooMany(3)));
        assert_eq!(lines(&[&[b'x'; 20]]).map(|names| names.len()), Ok(1));
        assert_eq!(lines(&[&[b'x'; 11], &[b'x'; 10]]), Err(ListError::TooLong));
    }

    #[test]
    fn what_names_mean() {
        let means = |name: &str| entity(name.as_bytes(), &named("a"));
        assert_eq!(means("c"), Ok(named("a/c")));
        assert_eq!(means("/c/"), Ok(named("a/c")));
        assert_eq!(means("//c/o/p"), Ok(named("a/c/o/p")));
        assert_eq!(means("c//o"), Ok(named("a/c//o")));
        assert_eq!(means("c//"), Ok(named("a/c//")));
        assert_eq!(means("///"), Err(StatusCode::BAD_REQUEST));
        for reserved in ["c/\0", "\0c\0d", "c/\0o"] {
            assert_eq!(means(reserved), Err(StatusCode::PRECONDITION_FAILED));
        }
        assert_eq!(entity(b"c/\xff", &named("a")), Err(StatusCode::PRECONDITION_FAILED));
    }

    proptest! {
        #[test]
        fn never_panics_and_pieces_do_not_matter(text in "[a-z%/\\n\u{e9} ]{0,40}", at in 0usize..40) {
            let whole = lines(&[text.as_bytes()]);
            let at = at.min(text.len());
            let (head, tail) = text.as_bytes().split_at(at);
            prop_assert_eq!(lines(&[head, tail]), whole);
            let _ = entity(text.as_bytes(), &named("a"));
        }
    }
}

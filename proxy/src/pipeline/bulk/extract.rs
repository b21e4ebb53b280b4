//! Storing the files of an archive as objects, one after another, while it arrives.

use bytes::Bytes;
use futures_util::future::join;
use futures_util::stream;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use std::collections::HashSet;
use tokio::sync::mpsc;
use types::{ContainerName, Limits, ObjectName};
use wire::Body;

use super::report::{Report, quoted};
use super::tar::{Entry, Step, TarError, TarReader};
use super::unpack::{Coding, UnpackError, Unpacked};
use super::{Asking, Config, drain, path_bytes_max};
use crate::store::{ClientBody, Entity};

/// Why the rest of an archive is not looked at.
#[derive(Debug, thiserror::Error)]
enum Abort {
    #[error("Invalid Tar File: {0}")]
    Tar(#[from] TarError),
    #[error("Invalid Tar File: {0}")]
    Packing(UnpackError),
    /// Nobody is there any more who could read the report.
    #[error("the client's body did not arrive")]
    Body,
    #[error("")]
    Unauthorized,
    #[error("More than {0} containers to create from tar.")]
    Containers(usize),
}

impl Abort {
    fn status(&self) -> StatusCode {
        match self {
            Abort::Unauthorized => StatusCode::UNAUTHORIZED,
            Abort::Body => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<UnpackError> for Abort {
    fn from(error: UnpackError) -> Self {
        match error {
            UnpackError::Body(_) => Abort::Body,
            UnpackError::Damaged => Abort::Packing(error),
        }
    }
}

/// An archive that arrives.
struct Archive {
    bytes: Unpacked,
    tar: TarReader,
}

impl Archive {
    async fn step(&mut self) -> Result<Step, Abort> {
        loop {
            match self.tar.next()? {
                Step::Hungry => match self.bytes.next().await? {
                    Some(bytes) => self.tar.feed(bytes),
                    None => {
                        self.tar.finish()?;
                        return Ok(Step::End);
                    }
                },
                step => return Ok(step),
            }
        }
    }

    /// The next file, past what was not read of the one before.
    async fn entry(&mut self) -> Result<Option<Entry>, Abort> {
        loop {
            match self.step().await? {
                Step::Entry(entry) => return Ok(Some(entry)),
                Step::End => return Ok(None),
                Step::Data(_) | Step::Hungry => {}
            }
        }
    }

    /// Hands the data of a file on, as long as somebody wants it.
    async fn send(
        &mut self,
        mut left: u64,
        to: mpsc::Sender<std::io::Result<Bytes>>,
    ) -> Result<(), Abort> {
        while left > 0 {
            match self.step().await {
                Ok(Step::Data(data)) => {
                    left = left.saturating_sub(data.len() as u64);
                    if to.send(Ok(data)).await.is_err() {
                        // Answered already: what is left of it is passed over with the next file.
                        return Ok(());
                    }
                }
                other => {
                    // An object must not end where the archive breaks off.
                    let _ = to.send(Err(std::io::Error::other("the archive broke off"))).await;
                    return other.and(Err(Abort::Tar(TarError::Truncated)));
                }
            }
        }
        Ok(())
    }
}

struct Extraction<'a> {
    config: &'a Config,
    limits: &'a Limits,
    asking: Asking,
    report: Report,
    /// Containers that need not be looked for again.
    containers: HashSet<String>,
    created: usize,
}

/// Stores everything, and reports.
pub(super) async fn all(
    config: &Config,
    limits: &Limits,
    asking: Asking,
    coding: Coding,
    body: ClientBody,
) -> Report {
    let mut archive = Archive { bytes: Unpacked::new(body, coding), tar: TarReader::new() };
    let mut extraction = Extraction {
        config,
        limits,
        asking,
        report: Report::extraction(),
        containers: HashSet::new(),
        created: 0,
    };
    let done = extraction.run(&mut archive).await;
    let Extraction { report, .. } = extraction;
    if !matches!(done, Err(Abort::Body)) {
        drain(archive.bytes.into_body()).await;
    }
    match done {
        Ok(()) => report,
        Err(abort) => report.aborted(abort.status(), abort.to_string()),
    }
}

/// Where a file goes, as Swift names it: below the path of the request, without a dot or slashes in front. A file that
/// would be a container is none.
fn destination(base: &str, path: &[u8]) -> Option<Vec<u8>> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let begin = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let path = &path[begin..];
    let full = match base {
        "" => path.to_vec(),
        base => [base.as_bytes(), b"/", path].concat(),
    };
    full.contains(&b'/').then_some(full)
}

/// What a file's attribute is of an object.
fn header_of(attribute: &str) -> Option<Result<HeaderName, StatusCode>> {
    let own = attribute
        .strip_prefix("SCHILY.xattr.user.")
        .or_else(|| attribute.strip_prefix("LIBARCHIVE.xattr.user."))?;
    if own == "mime_type" {
        return Some(Ok(header::CONTENT_TYPE));
    }
    let name = own.strip_prefix("meta.")?;
    let name = HeaderName::try_from(format!("x-object-meta-{name}"));
    Some(name.map_err(|_| StatusCode::BAD_REQUEST))
}

impl Extraction<'_> {
    async fn run(&mut self, archive: &mut Archive) -> Result<(), Abort> {
        let call = &self.asking.call.entity;
        let container = call.container.as_ref().map_or("", |name| name.as_str());
        let object = call.object.as_ref().map_or("", |name| name.as_str());
        let base = format!("{container}/{object}");
        let base = base.trim_end_matches('/').to_owned();
        while self.report.failures() < self.config.max_failed_extractions {
            let Some(entry) = archive.entry().await? else { break };
            let Some(path) = destination(&base, &entry.path) else { continue };
            let name = quoted(&path, path_bytes_max(self.limits));
            match self.target(&path, &entry) {
                Ok(target) => self.file(archive, entry, target, name).await?,
                Err(status) => self.report.failed(name, status),
            }
        }
        Ok(())
    }

    /// The object that a file becomes, if it can.
    fn target(&self, path: &[u8], entry: &Entry) -> Result<Entity, StatusCode> {
        let no_text = StatusCode::PRECONDITION_FAILED;
        let path = super::client_text(path).ok_or(no_text)?;
        if entry.size > self.limits.max_file_size {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let (container, object) = path.split_once('/').unwrap_or((path, ""));
        let container = ContainerName::parse(container).map_err(|_| no_text)?;
        let object = ObjectName::parse(object).map_err(|_| no_text)?;
        Ok(self.asking.call.entity.with_container(container).with_object(object))
    }

    async fn file(
        &mut self,
        archive: &mut Archive,
        entry: Entry,
        target: Entity,
        name: String,
    ) -> Result<(), Abort> {
        let headers = match self.headers(&entry) {
            Ok(headers) => headers,
            Err(status) => {
                self.report.failed(name, status);
                return Ok(());
            }
        };
        let container = self.container(&target).await?;
        let (sender, receiver) = mpsc::channel(1);
        let body = Body::from_stream(stream::unfold(receiver, async |mut receiver| {
            let piece: std::io::Result<Bytes> = receiver.recv().await?;
            Some((piece, receiver))
        }));
        let mut put = self.asking.sub(Method::PUT, target).carrying(body);
        put.headers.extend(headers);
        let answer = self.asking.next.answer(put);
        let (response, sent) = join(answer, archive.send(entry.size, sender)).await;
        sent?;
        let status = response.status();
        if status.is_success() {
            self.report.count("Number Files Created");
            return Ok(());
        }
        if let Some((container, status)) = container {
            self.report.note(container, status);
        }
        self.report.failed(name, status);
        match status {
            StatusCode::UNAUTHORIZED => Err(Abort::Unauthorized),
            _ => Ok(()),
        }
    }

    /// What the request says of all objects, and the file of itself.
    fn headers(&self, entry: &Entry) -> Result<HeaderMap, StatusCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(entry.size));
        for (name, value) in &self.asking.call.headers {
            let text = name.as_str();
            if text.starts_with("x-object-meta-")
                || matches!(text, "x-delete-at" | "x-delete-after")
            {
                headers.insert(name.clone(), value.clone());
            }
        }
        for (attribute, value) in &entry.attributes {
            let Some(name) = header_of(attribute) else { continue };
            let value = HeaderValue::from_bytes(value).map_err(|_| StatusCode::BAD_REQUEST)?;
            headers.insert(name?, value);
        }
        Ok(headers)
    }

    /// Makes the container of an object, unless it is there. Gives what failed of it: the object may be written all
    /// the same, when an ACL allows that and not to look at the container.
    async fn container(&mut self, object: &Entity) -> Result<Option<(String, StatusCode)>, Abort> {
        let container = object.to_container();
        let name = container.container.as_ref().map_or("", |name| name.as_str()).to_owned();
        if self.containers.contains(&name) {
            return Ok(None);
        }
        let head = self.asking.sub(Method::HEAD, container.clone());
        let mut status = self.asking.next.answer(head).await.status();
        if status == StatusCode::NOT_FOUND {
            let put = self.asking.sub(Method::PUT, container);
            status = self.asking.next.answer(put).await.status();
            if status.is_success() {
                self.created += 1;
                if self.created > self.config.max_containers_per_extraction {
                    return Err(Abort::Containers(self.config.max_containers_per_extraction));
                }
            }
        }
        if self.containers.len() >= self.config.max_containers_per_extraction {
            self.containers.clear();
        }
        self.containers.insert(name.clone());
        if status == StatusCode::UNAUTHORIZED {
            return Err(Abort::Unauthorized);
        }
        if status.is_success() {
            return Ok(None);
        }
        let path = format!("/v1/{}/{name}", object.account);
        Ok(Some((quoted(path.as_bytes(), path_bytes_max(self.limits)), status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_go_below_the_path_of_the_request() {
        let goes = |base: &str, path: &str| {
            destination(base, path.as_bytes()).map(|path| String::from_utf8(path).expect("text"))
        };
        assert_eq!(goes("", "c/o").as_deref(), Some("c/o"));
        assert_eq!(goes("", "./c/./o").as_deref(), Some("c/./o"));
        assert_eq!(goes("", "//c/../o").as_deref(), Some("c/../o"));
        assert_eq!(goes("", "o"), None);
        assert_eq!(goes("c", "o").as_deref(), Some("c/o"));
        assert_eq!(goes("c/p", "/o/").as_deref(), Some("c/p/o/"));
    }

    #[test]
    fn attributes_are_headers() {
        let name = |attribute| header_of(attribute).map(|name| name.map(|name| name.to_string()));
        assert_eq!(name("SCHILY.xattr.user.mime_type"), Some(Ok("content-type".into())));
        assert_eq!(
            name("LIBARCHIVE.xattr.user.meta.Color"),
            Some(Ok("x-object-meta-color".into()))
        );
        assert_eq!(name("SCHILY.xattr.user.meta.a b"), Some(Err(StatusCode::BAD_REQUEST)));
        assert_eq!(name("SCHILY.xattr.user.other"), None);
        assert_eq!(name("SCHILY.acl.access"), None);
    }

    proptest! {
        #[test]
        fn never_panics(base in "[a-z/]{0,5}", path in proptest::collection::vec(any::<u8>(), 0..20), attribute in "(SCHILY.xattr.user.)?(meta.)?\\PC{0,9}") {
            let _ = destination(&base, &path);
            let _ = header_of(&attribute);
        }
    }
}

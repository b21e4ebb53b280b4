//! The two older ways. Swift: common/middleware/versioned_writes/legacy.py.
//!
//! A container names another one of the same account. Before an object is overwritten, what is there is copied into that
//! container, as `%03x<name>/<timestamp>`, the number being the length of the name. With `X-Versions-Location` a deletion
//! brings the latest version back (a stack); with `X-History-Location` the object is copied, a marker tells when it was
//! deleted, and then it is.

use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::collections::VecDeque;
use types::{ContainerName, ObjectName, Timestamp};
use wire::{Response, headers};

use super::{DELETE_MARKER, copies, names};
use crate::call::{CONTENT_TYPE_OVERRIDDEN, Call};
use crate::pipeline::Handler;
use crate::store::{ContainerInfo, Entity};
use crate::swift::error::Refusal;
use crate::swift::rows::{self, Row};

pub(super) const VERSIONS_LOCATION: &str = "x-versions-location";
pub(super) const HISTORY_LOCATION: &str = "x-history-location";
const REMOVE_VERSIONS_LOCATION: &str = "x-remove-versions-location";
const REMOVE_HISTORY_LOCATION: &str = "x-remove-history-location";
const SYSMETA_LOCATION: &str = "x-container-sysmeta-versions-location";
const SYSMETA_MODE: &str = "x-container-sysmeta-versions-mode";

const SOURCE: &str = "VW";
/// Versions that are asked for at a time: one is nearly always enough.
const PAGE: usize = 100;

fn precondition(sentence: &'static str) -> Refusal {
    Refusal::Sentence(StatusCode::PRECONDITION_FAILED, sentence.into())
}

/// Turns what a client says of a container's location into what is stored.
pub(super) fn translate(call: &mut Call, allowed: bool) -> Result<(), Refusal> {
    let changes = matches!(call.method.as_str(), "PUT" | "POST");
    let mut take = |name: &str| call.headers.remove(name);
    let said = [(take(VERSIONS_LOCATION), "stack"), (take(HISTORY_LOCATION), "history")];
    let removals = [take(REMOVE_VERSIONS_LOCATION), take(REMOVE_HISTORY_LOCATION)];
    if !changes {
        return Ok(());
    }
    let is_set = |(value, _): &&(Option<HeaderValue>, &str)| {
        value.as_ref().is_some_and(|value| !value.is_empty())
    };
    let mut set = said.iter().filter(is_set);
    let chosen = set.next();
    if set.next().is_some() {
        let sentence = "Only one of x-versions-location or x-history-location may be specified";
        return Err(Refusal::bad_request(sentence));
    }
    if let Some((Some(location), mode)) = chosen {
        if !allowed {
            return Err(precondition("Versioned Writes is disabled"));
        }
        check_location(location)?;
        call.headers.insert(SYSMETA_LOCATION, location.clone());
        call.headers.insert(SYSMETA_MODE, HeaderValue::from_static(mode));
        return Ok(());
    }
    let empty = said.iter().any(|(value, _)| value.is_some());
    if empty || removals.iter().flatten().any(|value| !value.is_empty()) {
        call.headers.insert(SYSMETA_LOCATION, HeaderValue::from_static(""));
        call.headers.insert(SYSMETA_MODE, HeaderValue::from_static(""));
    }
    Ok(())
}

fn check_location(location: &HeaderValue) -> Result<(), Refusal> {
    let text = std::str::from_utf8(location.as_bytes()).unwrap_or_default();
    if text.contains('/') {
        return Err(precondition("Container name cannot contain slashes"));
    }
    let known = names::stored_container(text).filter(|name| !name.is_reserved());
    known.map(|_| ()).ok_or(precondition("Invalid UTF8 or contains NULL"))
}

/// Tells clients of the location.
pub(super) fn tell(headers: &mut HeaderMap) {
    let Some(location) = headers.get(SYSMETA_LOCATION).filter(|value| !value.is_empty()) else {
        return;
    };
    let history = headers.get(SYSMETA_MODE).is_some_and(|mode| mode == "history");
    let name = if history { HISTORY_LOCATION } else { VERSIONS_LOCATION };
    headers.insert(name, location.clone());
}

/// Where the versions of a container's objects go, and when they come back.
pub(super) struct Location {
    container: ContainerName,
    history: bool,
}

impl Location {
    pub(super) fn of(info: &ContainerInfo) -> Option<Self> {
        let container = names::stored_container(info.sysmeta("versions-location")?)?;
        let history = info.sysmeta("versions-mode") == Some("history");
        (!container.is_reserved()).then_some(Location { container, history })
    }
}

/// A write to an object of a container that has a location; whether the caller may is known.
pub(super) struct Versioning {
    pub(super) location: Location,
    pub(super) next: Handler,
    pub(super) bytes_max: u64,
}

/// What has to go well for something else.
fn checked(response: Response) -> Result<Response, Refusal> {
    match response.status() {
        status if status.is_success() => Ok(response),
        // The location is not there, or cannot be used.
        status if status.is_client_error() => Err(Refusal::Status(StatusCode::PRECONDITION_FAILED)),
        _ => Err(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE)),
    }
}

/// What the names of all versions of an object begin with.
fn prefix(object: &str) -> String {
    format!("{:03x}{object}/", object.len())
}

impl Versioning {
    pub(super) async fn answer(&self, call: Call, now: Timestamp) -> Result<Response, Refusal> {
        match (call.method == Method::PUT, self.location.history) {
            (true, _) => self.keep_current(&call).await?,
            (false, true) => {
                self.keep_current(&call).await?;
                self.mark_deleted(&call, now).await?;
            }
            (false, false) => return self.pop(call).await,
        }
        Ok(self.next.answer(call).await)
    }

    fn object(of: &Call) -> &str {
        of.entity.object.as_ref().map_or("", |name| name.as_str())
    }

    /// An object of the location.
    fn archived(&self, of: &Call, name: &str) -> Result<Entity, Refusal> {
        let name = ObjectName::parse(name).map_err(|_| Refusal::not_found())?;
        Ok(of.entity.with_container(self.location.container.clone()).with_object(name))
    }

    fn version(&self, of: &Call, at: Timestamp) -> Result<Entity, Refusal> {
        self.archived(of, &format!("{}{}", prefix(Self::object(of)), at.internal()))
    }

    /// Copies what is there now.
    async fn keep_current(&self, call: &Call) -> Result<(), Refusal> {
        let entity = call.entity.clone();
        let current = copies::read(call, entity, &self.next, SOURCE, self.bytes_max).await;
        let Some(current) = current else { return Ok(()) };
        let current = checked(current)?;
        let written = current.headers().get(headers::X_TIMESTAMP);
        let written = written.and_then(|value| Timestamp::parse(value.to_str().ok()?).ok());
        let version = self.version(call, written.unwrap_or_default())?;
        checked(copies::write(call, version, current, &self.next, SOURCE).await).map(|_| ())
    }

    async fn mark_deleted(&self, call: &Call, now: Timestamp) -> Result<(), Refusal> {
        let yes = HeaderValue::from_static("true");
        let put = call
            .sub(Method::PUT, self.version(call, now)?, SOURCE)
            .granted()
            .with("content-type", HeaderValue::from_static(DELETE_MARKER))
            .with("content-length", HeaderValue::from_static("0"))
            .with(CONTENT_TYPE_OVERRIDDEN, yes);
        checked(self.next.answer(put).await).map(|_| ())
    }

    /// Brings the previous version back. What is deleted then is that version at its place in the location.
    async fn pop(&self, call: Call) -> Result<Response, Refusal> {
        let mut versions = Versions::new(self, &call);
        while let Some(version) = versions.next().await? {
            if version.is_marker {
                return self.pop_marker(call, versions, version).await;
            }
            if self.restore(&call, &version).await? {
                return self.delete(&call, &version).await;
            }
        }
        Ok(self.next.answer(call).await)
    }

    /// The latest version tells of a deletion: what was before it comes back, if that was not undone already.
    async fn pop_marker(
        &self,
        call: Call,
        mut versions: Versions<'_>,
        marker: Version,
    ) -> Result<Response, Refusal> {
        let newest = HeaderValue::from_static("true");
        let head = call.sub(Method::HEAD, call.entity.clone(), SOURCE).granted();
        let head = self.next.answer(head.with(headers::X_NEWEST, newest)).await;
        if head.status() != StatusCode::NOT_FOUND {
            checked(head)?;
            // There is an object, so the marker is a state to go back to.
            return Ok(self.next.answer(call).await);
        }
        while let Some(version) = versions.next().await? {
            if version.is_marker {
                break;
            }
            if !self.restore(&call, &version).await? {
                continue;
            }
            let deleted = self.delete(&call, &version).await?;
            if deleted.status() != StatusCode::NOT_FOUND {
                checked(deleted)?;
            }
            break;
        }
        self.delete(&call, &marker).await
    }

    /// Copies a version to where it came from; says whether it was there.
    async fn restore(&self, call: &Call, version: &Version) -> Result<bool, Refusal> {
        let from = self.archived(call, &version.name)?;
        let source = copies::read(call, from, &self.next, SOURCE, self.bytes_max).await;
        let Some(source) = source else { return Ok(false) };
        let source = checked(source)?;
        let to = call.entity.clone();
        checked(copies::write(call, to, source, &self.next, SOURCE).await)?;
        Ok(true)
    }

    async fn delete(&self, call: &Call, version: &Version) -> Result<Response, Refusal> {
        let entity = self.archived(call, &version.name)?;
        let delete = call.sub(Method::DELETE, entity, SOURCE).granted();
        Ok(self.next.answer(delete).await)
    }
}

struct Version {
    name: String,
    is_marker: bool,
}

impl Version {
    fn of(row: &Row) -> Self {
        let is_marker = rows::text(row, "content_type") == DELETE_MARKER;
        Version { name: rows::name(row).to_owned(), is_marker }
    }
}

/// The versions of an object, the latest first, page by page.
struct Versions<'a> {
    versioning: &'a Versioning,
    /// For the list of the location.
    listing: Call,
    prefix: String,
    page: VecDeque<Version>,
    marker: String,
    ended: bool,
}

impl<'a> Versions<'a> {
    fn new(versioning: &'a Versioning, of: &Call) -> Self {
        let location = of.entity.with_container(versioning.location.container.clone());
        Versions {
            versioning,
            listing: of.sub(Method::GET, location, SOURCE).granted(),
            prefix: prefix(Versioning::object(of)),
            page: VecDeque::new(),
            marker: String::new(),
            ended: false,
        }
    }

    async fn next(&mut self) -> Result<Option<Version>, Refusal> {
        if self.page.is_empty() && !self.ended {
            self.page = self.fetch().await?;
            self.ended = self.page.len() < PAGE;
            if let Some(last) = self.page.back() {
                self.marker.clone_from(&last.name);
            }
        }
        Ok(self.page.pop_front())
    }

    async fn fetch(&self) -> Result<VecDeque<Version>, Refusal> {
        let entity = self.listing.entity.clone();
        let ask = self.listing.sub(Method::GET, entity, SOURCE).granted();
        let ask = ask.ask("format", "json").ask("limit", PAGE.to_string()).ask("reverse", "on");
        let ask = ask.ask("prefix", self.prefix.clone()).ask("marker", self.marker.clone());
        let response = self.versioning.next.answer(ask).await;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(VecDeque::new()),
            status if status.is_server_error() => {
                return Err(Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR));
            }
            _ => {}
        }
        let (_, rows) = rows::read(checked(response)?).await?;
        Ok(rows.iter().map(Version::of).collect())
    }
}

//! Objects of a container that has, or had, versions with ids. Swift: versioned_writes/object_versioning.py,
//! `ObjectContext`.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use types::{ContainerName, Timestamp};
use wire::{Body, Response, headers};

use super::{DELETE_MARKER, NULL, SYSMETA_LINK, VERSION_ID, copies, inside, names, reserved, tell};
use crate::auth::Judge;
use crate::call::{CONTENT_TYPE_OVERRIDDEN, Call};
use crate::pipeline::Handler;
use crate::store::{ContainerInfo, Entity};
use crate::swift::constraints::{self, is_true};
use crate::swift::error::Refusal;
use crate::swift::object::guess_content_type;

pub(super) const SOURCE: &str = "OV";

const TARGET: &str = "x-symlink-target";
const TARGET_ACCOUNT: &str = "x-symlink-target-account";
const SYSMETA_TARGET_ETAG: &str = "x-object-sysmeta-symlink-target-etag";
const SYSMETA_TARGET_BYTES: &str = "x-object-sysmeta-symlink-target-bytes";
/// Links that are marked so do not count against the number of links that are followed.
const SYSMETA_EXTEND: &str = "x-object-sysmeta-symloop-extend";
/// Links that are marked so lead to what is reserved, and may be followed by whoever may read the link.
const SYSMETA_ALLOW_RESERVED: &str = "x-object-sysmeta-allow-reserved-names";
pub(super) const SYSMETA_SLO_SIZE: &str = "x-object-sysmeta-slo-size";

/// What a link does not have although the version has it.
const NOT_FOR_LINKS: [&str; 9] = [
    "etag",
    "x-if-delete-at",
    TARGET_ACCOUNT,
    "x-object-manifest",
    "x-static-large-object",
    "x-object-sysmeta-slo-etag",
    SYSMETA_SLO_SIZE,
    "transfer-encoding",
    CONTENT_TYPE_OVERRIDDEN,
];

/// The container of an object, and what is known of its versions.
pub(super) struct Versioned {
    pub(super) judge: Judge,
    pub(super) next: Handler,
    pub(super) info: Arc<ContainerInfo>,
    /// Where the versions lie.
    pub(super) versions: ContainerName,
    /// Whether new ones are made.
    pub(super) enabled: bool,
}

/// A version that was written.
pub(super) struct Version {
    pub(super) entity: Entity,
    pub(super) id: Timestamp,
    pub(super) etag: HeaderValue,
    pub(super) bytes: u64,
    pub(super) content_type: HeaderValue,
}

/// What has to go well before the request itself is done.
pub(super) fn checked(response: Response) -> Result<Response, Refusal> {
    match response.status() {
        status if status.is_success() => Ok(response),
        StatusCode::NOT_FOUND => Err(Refusal::Status(StatusCode::PRECONDITION_FAILED)),
        status if status.is_client_error() => Err(Refusal::Passed(Box::new(response))),
        _ => Err(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE)),
    }
}

pub(super) fn no_versions_container() -> Refusal {
    let sentence =
        "The versions container does not exist. You may want to re-enable object versioning.";
    Refusal::Sentence(StatusCode::INTERNAL_SERVER_ERROR, sentence.into())
}

/// Whether an answer is about a link that was made here.
pub(super) fn is_link(headers: &HeaderMap) -> bool {
    is_true(headers.get(SYSMETA_LINK))
}

/// When an object expires is a matter of the link; its versions stay.
fn without_expiry(headers: &mut HeaderMap) {
    headers.remove("x-delete-at");
    headers.remove("x-delete-after");
}

/// How many bytes a body has had so far.
fn counted(body: Body) -> (Body, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let body = body.map_frame(move |frame| {
        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
        counter.fetch_add(length as u64, Ordering::Relaxed);
        frame
    });
    (Body::new(body), count)
}

fn number(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

impl Versioned {
    /// Answers a request that names no version.
    pub(super) async fn answer(&self, call: Call) -> Result<Response, Refusal> {
        match call.method.as_str() {
            "PUT" if self.enabled => self.put(call).await,
            "DELETE" if self.enabled => self.delete(call).await,
            "POST" => self.post(call).await,
            "GET" | "HEAD" => self.read(call).await,
            _ => Ok(self.next.answer(call).await),
        }
    }

    pub(super) fn version(&self, of: &Entity, id: Timestamp) -> Result<Entity, Refusal> {
        let version = names::version(of, &self.versions, id);
        version.ok_or(Refusal::Status(StatusCode::BAD_REQUEST))
    }

    async fn authorize_write(&self, call: &Call) -> Result<(), Refusal> {
        let acl = self.info.write_acl.as_deref();
        self.judge.authorize(call, acl).await.map(|_| ())
    }

    /// What was there before versions were made is kept as one. Says whether there is anything.
    async fn keep_current(&self, call: &Call) -> Result<bool, Refusal> {
        let bytes_max = self.judge.store.config.limits.max_file_size;
        let entity = call.entity.clone();
        let current = copies::read(call, entity, &self.next, SOURCE, bytes_max).await;
        let Some(current) = current else { return Ok(false) };
        let current = checked(current)?;
        if is_link(current.headers()) {
            return Ok(true);
        }
        let written = [headers::X_BACKEND_TIMESTAMP, headers::X_TIMESTAMP];
        let written = written.iter().find_map(|name| current.headers().get(*name));
        let written = written.and_then(|value| Timestamp::parse(value.to_str().ok()?).ok());
        let id = Timestamp { offset: 0, ..written.unwrap_or_default() };
        let version = self.version(&call.entity, id)?;
        let copied = copies::write(call, version, current, &self.next, SOURCE).await;
        if copied.status() == StatusCode::NOT_FOUND {
            return Err(no_versions_container());
        }
        checked(copied).map(|_| true)
    }

    async fn put(&self, mut call: Call) -> Result<Response, Refusal> {
        self.authorize_write(&call).await?;
        let name = call.entity.object.as_ref().map_or("", |name| name.as_str());
        let longest = self.judge.store.config.limits.max_object_name_length;
        constraints::check_name("Object", name, longest)?;
        let exists = self.keep_current(&call).await?;
        if exists && call.headers.contains_key(header::IF_NONE_MATCH) {
            // The link would be refused, and the version be left alone.
            return Err(Refusal::Status(StatusCode::PRECONDITION_FAILED));
        }
        let now = self.judge.store.env.clock.now();
        let version = self.put_version(&mut call, now).await?;
        let abandoned = inside(call.sub(Method::DELETE, version.entity.clone(), SOURCE));
        let response = self.put_link(call, version, now).await;
        if response.status().is_client_error() {
            // No node made the link, so nothing leads to the version.
            self.next.answer(abandoned).await;
        }
        Ok(response)
    }

    /// Writes what the client sends as a version.
    async fn put_version(&self, call: &mut Call, id: Timestamp) -> Result<Version, Refusal> {
        let entity = self.version(&call.entity, id)?;
        let mut put = inside(call.sub(Method::PUT, entity.clone(), SOURCE));
        let is_link = call.headers.contains_key(TARGET);
        if !is_link {
            let name = call.entity.object.as_ref().map_or("", |name| name.as_str());
            guess_content_type(&mut call.headers, name);
            call.headers.remove("x-detect-content-type");
        }
        for (name, value) in &call.headers {
            put.headers.insert(name.clone(), value.clone());
        }
        without_expiry(&mut put.headers);
        stamp(&mut put.headers, id);
        let (body, count) = counted(call.take_body());
        let response = self.next.answer(put.carrying(body)).await;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(no_versions_container());
        }
        let response = checked(response)?;
        let etag = response.headers().get(header::ETAG).cloned();
        let etag = etag.ok_or(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE))?;
        let bytes = number(&call.headers, SYSMETA_SLO_SIZE);
        let bytes = bytes.unwrap_or_else(|| count.load(Ordering::Relaxed));
        let content_type = match is_link {
            false => call.headers.get(header::CONTENT_TYPE).cloned(),
            // A static link takes its target's.
            true => {
                self.head(call, entity.clone()).await?.headers().get(header::CONTENT_TYPE).cloned()
            }
        };
        let content_type = without_parameters(content_type);
        Ok(Version { entity, id, etag, bytes, content_type })
    }

    /// The headers of a version, a link not followed.
    pub(super) async fn head(&self, call: &Call, entity: Entity) -> Result<Response, Refusal> {
        let head = call.sub(Method::HEAD, entity, SOURCE).ask("symlink", "get");
        let response = self.next.answer(inside(head)).await;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(Refusal::not_found());
        }
        checked(response)
    }

    /// Makes a version the latest: the object becomes a link to it.
    pub(super) async fn put_link(
        &self,
        mut call: Call,
        version: Version,
        now: Timestamp,
    ) -> Response {
        drop(call.take_body());
        call.query.0.clear();
        call.context.source = Some(SOURCE);
        let mut call = reserved(call);
        let headers = &mut call.headers;
        for name in NOT_FOR_LINKS {
            headers.remove(name);
        }
        // Behind the version, in case that anybody compares.
        stamp(headers, Timestamp { offset: 1, ..now });
        let yes = HeaderValue::from_static("true");
        for name in [SYSMETA_LINK, SYSMETA_EXTEND, SYSMETA_ALLOW_RESERVED] {
            headers.insert(name, yes.clone());
        }
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        headers.insert(header::CONTENT_TYPE, version.content_type);
        headers.insert(SYSMETA_TARGET_ETAG, version.etag.clone());
        headers.insert(SYSMETA_TARGET_BYTES, HeaderValue::from(version.bytes));
        if let Ok(target) = HeaderValue::try_from(names::link_target(&version.entity)) {
            headers.insert(TARGET, target);
        }
        let mut response = self.next.answer(call).await;
        if response.status().is_success() {
            response.headers_mut().insert(header::ETAG, version.etag);
            tell(&mut response, VERSION_ID, &version.id.internal());
        }
        response
    }

    /// A deletion is a version of its own, which has no bytes.
    async fn delete(&self, mut call: Call) -> Result<Response, Refusal> {
        self.authorize_write(&call).await?;
        self.keep_current(&call).await?;
        let id = self.judge.store.env.clock.now();
        let marker = self.version(&call.entity, id)?;
        let mut put = inside(call.sub(Method::PUT, marker, SOURCE))
            .with("content-type", HeaderValue::from_static(DELETE_MARKER))
            .with("content-length", HeaderValue::from_static("0"))
            .with(CONTENT_TYPE_OVERRIDDEN, HeaderValue::from_static("true"));
        stamp(&mut put.headers, id);
        checked(self.next.answer(put).await)?;
        stamp(&mut call.headers, id);
        let mut response = self.next.answer(call).await;
        if response.status().is_success() || response.status() == StatusCode::NOT_FOUND {
            tell(&mut response, VERSION_ID, &id.internal());
            tell(&mut response, "x-backend-content-type", DELETE_MARKER);
        }
        Ok(response)
    }

    /// Metadata of a link is changed, and so is that of the version which it leads to.
    async fn post(&self, call: Call) -> Result<Response, Refusal> {
        let mut again = call.sub(Method::POST, call.entity.clone(), SOURCE);
        again.headers = call.headers.clone();
        without_expiry(&mut again.headers);
        let account = call.entity.account.clone();
        let response = self.next.answer(call).await;
        if response.status() != StatusCode::TEMPORARY_REDIRECT || !is_link(response.headers()) {
            return Ok(response);
        }
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|value| names::parse_path(value.to_str().ok()?));
        match location {
            Some((of, container, object))
                if of == account.as_str() && container == self.versions.as_str() =>
            {
                let object = types::ObjectName::parse(object).map_err(|_| Refusal::not_found())?;
                let versions = again.entity.with_container(self.versions.clone());
                again.entity = versions.with_object(object);
                Ok(self.next.answer(inside(again)).await)
            }
            _ => Ok(response),
        }
    }

    /// Tells which version was read; links to versions show as what clients know of.
    async fn read(&self, call: Call) -> Result<Response, Refusal> {
        let entity = call.entity.clone();
        let mut response = self.next.answer(call).await;
        tell(&mut response, VERSION_ID, NULL);
        let container = entity.container.as_ref().map_or("", |name| name.as_str());
        let object = entity.object.as_ref().map_or("", |name| name.as_str());
        let account = entity.account.as_str();
        if let Some(id) = self.followed_to(&entity, &response) {
            tell(&mut response, VERSION_ID, &id);
            let path = names::path_of_version(account, container, object, &id);
            tell(&mut response, "content-location", &path);
        }
        let target = response.headers().get(TARGET).and_then(|value| value.to_str().ok());
        let target = target.and_then(names::parse_target);
        let version = target.filter(|(to, _)| to == self.versions.as_str());
        if let Some((_, id)) = version.as_ref().and_then(|(_, version)| names::parse(version)) {
            tell(&mut response, VERSION_ID, &id);
            let path = wire::encode_segment(&format!("{container}/{object}"));
            tell(&mut response, TARGET, &format!("{path}?version-id={id}"));
        }
        Ok(response)
    }

    /// The id of the version that an answer is from.
    pub(super) fn followed_to(&self, of: &Entity, response: &Response) -> Option<String> {
        let location = response.headers().get(header::CONTENT_LOCATION)?;
        let (account, container, object) = names::parse_path(location.to_str().ok()?)?;
        let ours = account == of.account.as_str() && container == self.versions.as_str();
        names::parse(&object).filter(|_| ours).map(|(_, id)| id)
    }
}

/// Says when a write happens.
fn stamp(headers: &mut HeaderMap, at: Timestamp) {
    if let Ok(at) = HeaderValue::try_from(at.internal()) {
        headers.insert(headers::X_TIMESTAMP, at);
    }
}

/// A content type without what stands behind it.
fn without_parameters(kind: Option<HeaderValue>) -> HeaderValue {
    let octets = HeaderValue::from_static("application/octet-stream");
    let Some(kind) = kind else { return octets };
    let bare = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    HeaderValue::from_bytes(bare.trim_ascii()).unwrap_or(octets)
}

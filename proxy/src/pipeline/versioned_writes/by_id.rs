//! Requests that name a version. Swift: versioned_writes/object_versioning.py, `handle_request_with_version_id`.

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use types::Timestamp;
use wire::{Response, headers};

use super::objects::{SOURCE, SYSMETA_SLO_SIZE, Version, Versioned, checked, is_link};
use super::{DELETE_MARKER, NULL, VERSION_ID, names, reserved, tell};
use crate::call::Call;
use crate::pipeline::Handler;
use crate::store::Entity;
use crate::swift::error::Refusal;

/// What the object itself has then.
const CURRENT_VERSION_ID: &str = "x-object-current-version-id";

/// Reads the id of a version that is not the null version.
fn parse_id(id: &str) -> Result<Timestamp, Refusal> {
    Timestamp::parse(id).map_err(|_| Refusal::bad_request("Invalid version parameter"))
}

/// In a container that never had versions there is only the null version.
pub(super) async fn unversioned(
    mut call: Call,
    next: &Handler,
    id: &str,
) -> Result<Response, Refusal> {
    match call.method.as_str() {
        "POST" => Err(Refusal::bad_request("POST to a specific version is not allowed")),
        "OPTIONS" => Ok(next.answer(call).await),
        _ if id != NULL => {
            let sentence = "version-aware operations require that the container is versioned";
            Err(Refusal::bad_request(sentence))
        }
        "PUT" => Err(Refusal::bad_request("Invalid version parameter")),
        "GET" | "HEAD" => {
            call.query.remove("version-id");
            let mut response = next.answer(call).await;
            if response.status().is_success() {
                tell(&mut response, VERSION_ID, NULL);
            }
            Ok(response)
        }
        _ => {
            call.query.remove("version-id");
            Ok(next.answer(call).await)
        }
    }
}

impl Versioned {
    pub(super) async fn answer_by_id(&self, mut call: Call, id: &str) -> Result<Response, Refusal> {
        call.query.remove("version-id");
        match (call.method.as_str(), id) {
            ("POST", _) => Err(Refusal::bad_request("POST to a specific version is not allowed")),
            ("PUT", _) => self.make_latest(call, parse_id(id)?).await,
            ("GET" | "HEAD", NULL) => self.read_null(call).await,
            ("GET" | "HEAD", _) => self.read_version(call, parse_id(id)?).await,
            // The null version is what is there; a link as well.
            ("DELETE", NULL) => Ok(self.next.answer(call).await),
            ("DELETE", _) => self.delete_version(call, parse_id(id)?).await,
            _ => Ok(self.next.answer(call).await),
        }
    }

    /// A version is read by those who may read the hidden container: owners.
    async fn read_version(&self, mut call: Call, id: Timestamp) -> Result<Response, Refusal> {
        call.entity = self.version(&call.entity, id)?;
        let mut response = self.next.answer(reserved(call)).await;
        let is_marker = response
            .headers()
            .get("x-backend-content-type")
            .or_else(|| response.headers().get(header::CONTENT_TYPE))
            .is_some_and(|kind| kind == DELETE_MARKER);
        if is_marker {
            let mut missing = Response::from(Refusal::not_found());
            tell(&mut missing, header::CONTENT_TYPE.as_str(), DELETE_MARKER);
            tell(&mut missing, VERSION_ID, &id.internal());
            return Ok(missing);
        }
        if response.status().is_success() {
            tell(&mut response, VERSION_ID, &id.internal());
        }
        Ok(response)
    }

    async fn read_null(&self, call: Call) -> Result<Response, Refusal> {
        let entity = call.entity.clone();
        let mut response = self.next.answer(call).await;
        if response.status().is_success() {
            if is_link(response.headers()) || self.followed_to(&entity, &response).is_some() {
                // There is something, but it has an id.
                return Err(Refusal::not_found());
            }
            tell(&mut response, VERSION_ID, NULL);
        }
        Ok(response)
    }

    /// Deletes a version for good; if it is the latest, the object, too.
    async fn delete_version(&self, mut call: Call, id: Timestamp) -> Result<Response, Refusal> {
        let version = self.version(&call.entity, id)?;
        // Without this, somebody who may write, but not this, would lose the object and keep the version.
        let asked = call.sub(Method::DELETE, version.clone(), SOURCE);
        self.judge.authorize(&asked, None).await?;
        let current = self.current(&call).await?;
        let mut told = NULL.to_owned();
        match &current {
            Some(current) if *current == version => {
                call.query.0.clear();
                let mut link = call.sub(Method::DELETE, call.entity.clone(), SOURCE);
                link.headers = call.headers.clone();
                checked(self.next.answer(link).await)?;
            }
            Some(current) => {
                let name = current.object.as_ref().map_or("", |name| name.as_str());
                told = names::parse(name).map_or(told, |(_, id)| id);
            }
            None => {}
        }
        call.entity = version;
        let mut response = self.next.answer(reserved(call)).await;
        tell(&mut response, VERSION_ID, &id.internal());
        tell(&mut response, CURRENT_VERSION_ID, &told);
        Ok(response)
    }

    /// The version that the object is a link to, if it is one.
    async fn current(&self, call: &Call) -> Result<Option<Entity>, Refusal> {
        let newest = HeaderValue::from_static("true");
        let head = call.sub(Method::HEAD, call.entity.clone(), SOURCE).granted();
        let head = head.with(headers::X_NEWEST, newest).ask("symlink", "get");
        let response = self.next.answer(head).await;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = checked(response)?;
        if !is_link(response.headers()) {
            return Ok(None);
        }
        let target = response.headers().get("x-symlink-target");
        let target = target.and_then(|value| names::parse_target(value.to_str().ok()?));
        Ok(target.and_then(|(container, object)| {
            let container = types::ContainerName::parse(container).ok()?;
            let object = types::ObjectName::parse(object).ok()?;
            Some(call.entity.with_container(container).with_object(object))
        }))
    }

    /// Makes an older version the latest again.
    async fn make_latest(&self, mut call: Call, id: Timestamp) -> Result<Response, Refusal> {
        if !call.headers.contains_key(header::CONTENT_LENGTH)
            && !call.headers.contains_key(header::TRANSFER_ENCODING)
        {
            let sentence = "Missing Content-Length header.";
            return Err(Refusal::Sentence(StatusCode::LENGTH_REQUIRED, sentence.into()));
        }
        if call.has_body(self.judge.store.config.client_timeout()).await? {
            return Err(Refusal::bad_request("PUT version-id requests require a zero byte body"));
        }
        let acl = self.info.write_acl.as_deref();
        self.judge.authorize(&call, acl).await?;
        let entity = self.version(&call.entity, id)?;
        let head = self.head(&call, entity.clone()).await;
        let head = match head {
            Err(Refusal::Status(StatusCode::NOT_FOUND)) => {
                return Err(self.no_version(&entity).await);
            }
            head => head?,
        };
        let headers = head.headers();
        let number = |name: &str| headers.get(name)?.to_str().ok()?.parse().ok();
        let bytes = number(SYSMETA_SLO_SIZE).or_else(|| number("content-length")).unwrap_or(0);
        let etag = headers.get(header::ETAG).cloned();
        let content_type = headers.get(header::CONTENT_TYPE).cloned();
        let (Some(etag), Some(content_type)) = (etag, content_type) else {
            return Err(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE));
        };
        let now = self.judge.store.env.clock.now();
        Ok(self.put_link(call, Version { entity, id, etag, bytes, content_type }, now).await)
    }

    async fn no_version(&self, version: &Entity) -> Refusal {
        match self.judge.store.container_info(version).await {
            Ok(Some(_)) => {
                let sentence = "The specified version does not exist";
                Refusal::Sentence(StatusCode::NOT_FOUND, sentence.into())
            }
            Ok(None) => super::objects::no_versions_container(),
            Err(unavailable) => unavailable.into(),
        }
    }
}

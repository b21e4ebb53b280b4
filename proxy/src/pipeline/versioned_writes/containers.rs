//! Containers whose objects have versions with ids. Swift: versioned_writes/object_versioning.py, `ContainerContext`.

use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use types::ContainerName;
use wire::Response;

use super::objects::SOURCE;
use super::{ENABLED, SYSMETA_CONTAINER, SYSMETA_ENABLED, inside, listing, names};
use crate::auth::Judge;
use crate::call::Call;
use crate::pipeline::Handler;
use crate::store::{ContainerInfo, Store};
use crate::swift::constraints::is_true;
use crate::swift::error::Refusal;

const BYTES_USED: &str = "x-container-bytes-used";
const OBJECT_COUNT: &str = "x-container-object-count";

/// Answers a container's request.
pub(super) async fn answer(
    judge: &Judge,
    mut call: Call,
    next: &Handler,
) -> Result<Response, Refusal> {
    let said = call.headers.remove(ENABLED);
    match (call.method.as_str(), said) {
        ("PUT" | "POST", Some(said)) => enable(judge, call, is_true(Some(&said)), next).await,
        ("DELETE", _) => delete(judge, call, next).await,
        ("GET", _) => listing::list(&judge.store, call, next).await,
        ("HEAD", _) => {
            let again = call.sub(Method::HEAD, call.entity.clone(), SOURCE);
            let mut response = next.answer(call).await;
            tell(response.headers_mut(), &again, next).await;
            Ok(response)
        }
        _ => Ok(next.answer(call).await),
    }
}

/// Tells whether versions are made, and adds their size to the container's. Says where they lie.
pub(super) async fn tell(
    headers: &mut HeaderMap,
    of: &Call,
    next: &Handler,
) -> Option<ContainerName> {
    if let Some(enabled) = headers.get(SYSMETA_ENABLED).filter(|value| !value.is_empty()).cloned() {
        headers.insert(ENABLED, enabled);
    }
    let location = headers.get(SYSMETA_CONTAINER).and_then(|value| value.to_str().ok());
    let location = location.and_then(names::stored_container)?;
    if let Some(bytes) = number(headers, BYTES_USED)
        && let Ok(Some(versions)) = head(of, &location, next).await
    {
        let bytes = bytes.saturating_add(number(versions.headers(), BYTES_USED).unwrap_or(0));
        headers.insert(BYTES_USED, HeaderValue::from(bytes));
    }
    Some(location)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The headers of a container, of the versions' own or another; `None` when there is none.
async fn head(
    of: &Call,
    container: &ContainerName,
    next: &Handler,
) -> Result<Option<Response>, Refusal> {
    let entity = of.entity.with_container(container.clone());
    let response = next.answer(inside(of.sub(Method::HEAD, entity, SOURCE))).await;
    match response.status() {
        status if status.is_success() => Ok(Some(response)),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(deletion_failed()),
    }
}

fn deletion_failed() -> Refusal {
    let sentence = "Error deleting versioned container";
    Refusal::Sentence(StatusCode::INTERNAL_SERVER_ERROR, sentence.into())
}

/// A container goes only when all versions are gone; their container goes with it.
async fn delete(judge: &Judge, call: Call, next: &Handler) -> Result<Response, Refusal> {
    let info = judge.store.container_info(&call.entity).await?;
    let versions = info.as_ref().and_then(|info| info.sysmeta("versions-container"));
    let Some(versions) = versions.and_then(names::stored_container) else {
        return Ok(next.answer(call).await);
    };
    judge.authorize(&call, None).await?;
    let objects = |response: &Response| number(response.headers(), OBJECT_COUNT).unwrap_or(0);
    let hidden = head(&call, &versions, next).await?;
    if hidden.as_ref().is_some_and(|hidden| objects(hidden) > 0) {
        let sentence = "Delete all versions before deleting container.";
        return Err(Refusal::Sentence(StatusCode::CONFLICT, sentence.into()));
    }
    // What is not empty will not be deleted, and must keep the place for its versions.
    let container = call.entity.container.clone();
    let is_empty = match container {
        Some(container) => {
            let own = head(&call, &container, next).await?;
            own.is_none_or(|own| objects(&own) == 0)
                || judge.store.delete_expired(&call.entity).await.unwrap_or(false)
        }
        None => false,
    };
    if hidden.is_some() && is_empty {
        let entity = call.entity.with_container(versions);
        let deleted = next.answer(inside(call.sub(Method::DELETE, entity, SOURCE))).await;
        if !deleted.status().is_success() && deleted.status() != StatusCode::NOT_FOUND {
            return Err(deletion_failed());
        }
    }
    Ok(next.answer(call).await)
}

/// From now on versions are made, or no more; those that there are stay.
async fn enable(
    judge: &Judge,
    mut call: Call,
    enabled: bool,
    next: &Handler,
) -> Result<Response, Refusal> {
    let info = judge.store.container_info(&call.entity).await?;
    check_compatible(&call, info.as_deref())?;
    judge.authorize(&call, None).await?;
    let kept_by = info.as_ref().and_then(|info| judge.store.config.policies.get(info.policy));
    if enabled && kept_by.is_some_and(|policy| policy.deprecated) {
        let sentence =
            "Cannot enable object versioning on a container that uses a deprecated storage policy.";
        return Err(Refusal::bad_request(sentence));
    }
    let word = if enabled { "True" } else { "False" };
    call.headers.insert(SYSMETA_ENABLED, HeaderValue::from_static(word));
    if !enabled {
        return Ok(next.answer(call).await);
    }
    let container = call.entity.container.as_ref().map_or("", |name| name.as_str());
    let versions = names::versions_container(container);
    let versions = versions.and_then(|name| ContainerName::parse(name).ok());
    let versions = versions.ok_or(Refusal::Status(StatusCode::BAD_REQUEST))?;
    let entity = call.entity.with_container(versions.clone());
    let mut put = inside(call.sub(Method::PUT, entity.clone(), SOURCE));
    if let Some(policy) = policy(&judge.store, &call, info.as_deref()) {
        put.headers.insert("x-storage-policy", policy);
    }
    let made = next.answer(put).await;
    if !made.status().is_success() && made.status() != StatusCode::CONFLICT {
        let sentence = "Error enabling object versioning";
        return Err(Refusal::Sentence(StatusCode::INTERNAL_SERVER_ERROR, sentence.into()));
    }
    if let Ok(versions) = HeaderValue::try_from(wire::encode_segment(versions.as_str())) {
        call.headers.insert(SYSMETA_CONTAINER, versions);
    }
    let undo = inside(call.sub(Method::DELETE, entity, SOURCE));
    let response = next.answer(call).await;
    if !response.status().is_success() {
        // It is empty if it is new, and stays if it is not.
        next.answer(undo).await;
    }
    Ok(response)
}

fn check_compatible(call: &Call, info: Option<&ContainerInfo>) -> Result<(), Refusal> {
    let located = info.is_some_and(|info| info.sysmeta("versions-location").is_some());
    let locating = call.headers.get("x-container-sysmeta-versions-location");
    if located || locating.is_some_and(|location| !location.is_empty()) {
        let sentence = "Cannot enable object versioning on a container that is already using the legacy versioned writes feature.";
        return Err(Refusal::bad_request(sentence));
    }
    if info.is_some_and(|info| info.header("x-container-sync-to").is_some()) {
        let sentence = "Cannot enable object versioning on a container configured as source of container syncing.";
        return Err(Refusal::bad_request(sentence));
    }
    Ok(())
}

/// Versions lie in the policy of the container itself.
fn policy(store: &Store, call: &Call, info: Option<&ContainerInfo>) -> Option<HeaderValue> {
    match info {
        Some(info) => {
            let policy = store.config.policies.get(info.policy)?;
            HeaderValue::from_str(&policy.name).ok()
        }
        None if call.method == Method::PUT => call.headers.get("x-storage-policy").cloned(),
        None => None,
    }
}

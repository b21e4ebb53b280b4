//! The verbs of a container itself.

use crate::account_update::{self, Told};
use crate::info;
use crate::server::{Asked, Server};
use crate::shards;
use http::{HeaderMap, StatusCode};
use listing::lifecycle::{DeleteOutcome, Post, PostOutcome, Put, PutOutcome};
use listing::{Entity, Metadata, ObjectRow, Refusal, Row, answer, render, request};
use std::sync::Arc;
use types::{PolicyIndex, Timestamp};
use wire::{Body, Response, headers};

/// Headers kept beside user and system metadata.
const SAVED: &[&str] =
    &["x-container-read", "x-container-write", "x-container-sync-key", "x-container-sync-to"];

pub(crate) fn metadata(asked: &Asked, at: Timestamp) -> Result<Metadata, Refusal> {
    Ok(request::metadata(&asked.parts.headers, "container", SAVED, at)?)
}

pub(crate) fn policy_header(policy: PolicyIndex) -> HeaderMap {
    let mut out = HeaderMap::new();
    answer::set(&mut out, headers::X_BACKEND_STORAGE_POLICY_INDEX, &policy.to_string());
    out
}

/// Where a container is to be synchronised to is at least an address.
fn check_sync_to(from: &HeaderMap) -> Result<(), Refusal> {
    let Some(to) = from.get("x-container-sync-to").filter(|to| !to.is_empty()) else {
        return Ok(());
    };
    let is_address = |to: &str| ["//", "http://", "https://"].iter().any(|it| to.starts_with(it));
    match to.to_str().is_ok_and(is_address) {
        true => Ok(()),
        false => Err(Refusal::Invalid("Invalid X-Container-Sync-To: it is no address".to_owned())),
    }
}

/// Creates or refreshes the container: 201 or 202; 409 for another policy, or when it was deleted since.
pub(crate) async fn put(server: &Server, asked: Asked, body: Body) -> Result<Response, Refusal> {
    let from = &asked.parts.headers;
    let at = request::timestamp(from)?;
    check_sync_to(from)?;
    if shards::are_asked(from) {
        return Box::pin(shards::put(server, asked, body)).await;
    }
    let database = server.database(&asked)?;
    let default = server.policy(from, "x-backend-storage-policy-default")?;
    let change = Put {
        at,
        now: server.clock.now(),
        policy: server.policy(from, headers::X_BACKEND_STORAGE_POLICY_INDEX)?,
        default_policy: default.unwrap_or_default(),
        metadata: metadata(&asked, at)?,
    };
    let targets = account_update::targets(from)?;
    database.check_room().await?;
    let (hash, names, limits) = (asked.hash, asked.names.clone(), Arc::clone(&server.limits));
    let outcome =
        database.write(move |transaction| transaction.put(&hash, &names, &change, &limits)).await?;
    match outcome {
        PutOutcome::Stored { entity, created } => {
            if account_update::tell(server, &asked, targets, &entity).await == Told::NoAccount {
                return Ok(answer::not_found(HeaderMap::new()));
            }
            let status = if created { StatusCode::CREATED } else { StatusCode::ACCEPTED };
            Ok(answer::bare(status, policy_header(entity.policy)))
        }
        PutOutcome::OtherPolicy(policy) => Ok(answer::conflict(policy_header(policy))),
        // Of containers only the first occurs.
        PutOutcome::DeletedSince | PutOutcome::RecentlyDeleted => {
            Ok(answer::conflict(HeaderMap::new()))
        }
        PutOutcome::Metadata(error) => Err(error.into()),
    }
}

/// Changes metadata: 204, or 404.
pub(crate) async fn post(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    if asked.path.object.is_some() {
        return Err(request::invalid_path(&asked.parts.uri));
    }
    let from = &asked.parts.headers;
    let at = request::timestamp(from)?;
    check_sync_to(from)?;
    let database = server.database(&asked)?;
    let still = request::flag(from, "x-backend-no-timestamp-update").unwrap_or(false);
    let change = Post { touch: (!still).then_some(at), metadata: metadata(&asked, at)? };
    database.check_room().await?;
    let (hash, limits) = (asked.hash, Arc::clone(&server.limits));
    let outcome =
        database.write(move |transaction| transaction.post(&hash, &change, &limits)).await?;
    match outcome {
        PostOutcome::Stored(_) => Ok(daemon::empty(StatusCode::NO_CONTENT)),
        PostOutcome::NotFound(_) => Ok(answer::not_found(HeaderMap::new())),
        PostOutcome::Metadata(error) => Err(error.into()),
    }
}

/// Deletes the container: 204; 404 when there is none; 409 when there are objects in it, or it is newer.
pub(crate) async fn delete(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let at = request::timestamp(&asked.parts.headers)?;
    let database = server.database(&asked)?;
    let targets = account_update::targets(&asked.parts.headers)?;
    let (hash, names) = (asked.hash, asked.names.clone());
    let deleted = database.write(move |transaction| {
        match transaction.has_objects_in_shards(&hash, &names)? {
            true => Ok(DeleteOutcome::NotEmpty),
            false => transaction.delete(&hash, at),
        }
    });
    match deleted.await? {
        DeleteOutcome::NotFound(_) => Ok(answer::not_found(HeaderMap::new())),
        DeleteOutcome::NotEmpty | DeleteOutcome::Stored { deleted: false, .. } => {
            Ok(answer::conflict(HeaderMap::new()))
        }
        DeleteOutcome::Stored { entity, existed, .. } => {
            let told = account_update::tell(server, &asked, targets, &entity).await;
            match existed && told != Told::NoAccount {
                true => Ok(daemon::empty(StatusCode::NO_CONTENT)),
                false => Ok(answer::not_found(HeaderMap::new())),
            }
        }
    }
}

/// The container's headers: 204, or 404 with what is known of a deleted one.
pub(crate) async fn head(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let (_, format) = request::listing(&asked.parts, server.limits.container_listing_limit)?;
    let entity = server.database(&asked)?.entity(asked.hash).await?;
    match entity.as_ref().filter(|entity| !ObjectRow::is_deleted(entity)) {
        Some(living) => Ok(answer::head(info::living(living), format)),
        None => Ok(answer::not_found(info::backend(entity.as_ref()))),
    }
}

/// What a GET finds.
enum Found {
    Living(Entity, Vec<u8>),
    Deleted(Option<Entity>),
}

/// A page of the listing: 200, 204 when it is empty plain text, or 404.
pub(crate) async fn get(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    if shards::are_asked(&asked.parts.headers) {
        return Box::pin(shards::get(server, asked)).await;
    }
    let limit_max = server.limits.container_listing_limit;
    let (mut query, format) = request::listing(&asked.parts, limit_max)?;
    let from = &asked.parts.headers;
    if !request::flag(from, headers::X_BACKEND_OPEN_EXPIRED).unwrap_or(false) {
        query.now_seconds = server.clock.now().seconds();
    }
    let asked_policy = server.policy(from, headers::X_BACKEND_STORAGE_POLICY_INDEX)?;
    let (hash, name) = (asked.hash, asked.names.container.clone());
    let read = server.database(&asked)?.read(move |view| {
        let entity = match view.entity(&hash)? {
            Some(entity) if !ObjectRow::is_deleted(&entity) => entity,
            other => return Ok(Found::Deleted(other)),
        };
        let policy = asked_policy.unwrap_or(entity.policy);
        let mut page = render::Page::of_container(format, &name);
        view.each(&hash, policy, &query, |item| page.add(item))?;
        Ok(Found::Living(entity, page.finish()))
    });
    match read.await? {
        Found::Deleted(entity) => Ok(answer::not_found(info::backend(entity.as_ref()))),
        Found::Living(entity, page) => {
            let mut headers = info::living(&entity);
            answer::set(&mut headers, "x-backend-record-type", "object");
            let policy = asked_policy.unwrap_or(entity.policy).to_string();
            answer::set(&mut headers, "x-backend-record-storage-policy-index", &policy);
            Ok(answer::page(headers, format, page))
        }
    }
}

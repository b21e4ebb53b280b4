//! The verbs of an account itself.

use crate::info;
use crate::server::{Asked, Server};
use http::{HeaderMap, StatusCode};
use listing::lifecycle::{DeleteOutcome, Post, PostOutcome, Put, PutOutcome};
use listing::{ContainerRow, Entity, Metadata, Refusal, Row, answer, render, request};
use std::sync::Arc;
use types::{PolicyIndex, Timestamp};
use wire::Response;

fn metadata(asked: &Asked, at: Timestamp) -> Result<Metadata, Refusal> {
    Ok(request::metadata(&asked.parts.headers, "account", &[], at)?)
}

/// Creates or refreshes the account: 201 or 202; 403 while it is remembered as deleted.
pub(crate) async fn put(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let at = request::timestamp(&asked.parts.headers)?;
    let database = server.database(&asked)?;
    let change = Put {
        at,
        now: server.clock.now(),
        policy: None,
        default_policy: PolicyIndex::default(),
        metadata: metadata(&asked, at)?,
    };
    database.check_room().await?;
    let (hash, names, limits) = (asked.hash, asked.names, Arc::clone(&server.limits));
    let outcome =
        database.write(move |transaction| transaction.put(&hash, &names, &change, &limits)).await?;
    match outcome {
        PutOutcome::Stored { created: true, .. } => Ok(daemon::empty(StatusCode::CREATED)),
        PutOutcome::Stored { created: false, .. } => Ok(daemon::empty(StatusCode::ACCEPTED)),
        PutOutcome::RecentlyDeleted => {
            let mut response = daemon::text(StatusCode::FORBIDDEN, "Recently deleted");
            answer::set(response.headers_mut(), "x-account-status", "Deleted");
            Ok(response)
        }
        // Accounts have no policy, so only the second occurs.
        PutOutcome::OtherPolicy(_) | PutOutcome::DeletedSince => {
            Ok(answer::conflict(HeaderMap::new()))
        }
        PutOutcome::Metadata(error) => Err(error.into()),
    }
}

/// Changes metadata: 204, or 404.
pub(crate) async fn post(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let at = request::timestamp(&asked.parts.headers)?;
    let database = server.database(&asked)?;
    let change = Post { touch: None, metadata: metadata(&asked, at)? };
    database.check_room().await?;
    let (hash, limits) = (asked.hash, Arc::clone(&server.limits));
    let outcome =
        database.write(move |transaction| transaction.post(&hash, &change, &limits)).await?;
    match outcome {
        PostOutcome::Stored(_) => Ok(daemon::empty(StatusCode::NO_CONTENT)),
        PostOutcome::NotFound(entity) => Ok(answer::not_found(info::status(entity.as_deref()))),
        PostOutcome::Metadata(error) => Err(error.into()),
    }
}

/// Marks the account deleted, whatever is in it: 204, or 404. Its containers are the reaper's.
pub(crate) async fn delete(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let at = request::timestamp(&asked.parts.headers)?;
    let hash = asked.hash;
    let database = server.database(&asked)?;
    match database.write(move |transaction| transaction.delete(&hash, at)).await? {
        DeleteOutcome::Stored { entity, .. } => {
            Ok(answer::bare(StatusCode::NO_CONTENT, info::status(Some(&entity))))
        }
        DeleteOutcome::NotFound(entity) => Ok(answer::not_found(info::status(entity.as_deref()))),
        // Only containers must be empty.
        DeleteOutcome::NotEmpty => Ok(answer::conflict(HeaderMap::new())),
    }
}

/// The account's headers: 204, or 404.
pub(crate) async fn head(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let (_, format) = request::listing(&asked.parts, server.limits.account_listing_limit)?;
    let entity = server.database(&asked)?.entity(asked.hash).await?;
    match entity.as_ref().filter(|entity| !ContainerRow::is_deleted(entity)) {
        Some(living) => Ok(answer::head(info::living(living, &server.policies), format)),
        None => Ok(answer::not_found(info::status(entity.as_ref()))),
    }
}

/// What a GET finds.
enum Found {
    Living(Entity, Vec<u8>),
    Deleted(Option<Entity>),
}

/// A page of the listing: 200, 204 when it is empty plain text, or 404.
pub(crate) async fn get(server: &Server, asked: Asked) -> Result<Response, Refusal> {
    let limit_max = server.limits.account_listing_limit;
    let (mut query, format) = request::listing(&asked.parts, limit_max)?;
    // An account's listing does not know it.
    query.path = None;
    let (hash, name) = (asked.hash, asked.names.account.clone());
    let policies = Arc::clone(&server.policies);
    let read = server.database(&asked)?.read(move |view| {
        let entity = match view.entity(&hash)? {
            Some(entity) if !ContainerRow::is_deleted(&entity) => entity,
            other => return Ok(Found::Deleted(other)),
        };
        let mut page = render::Page::of_account(format, &name, &policies);
        view.each(&hash, PolicyIndex::default(), &query, |item| page.add(item))?;
        Ok(Found::Living(entity, page.finish()))
    });
    match read.await? {
        Found::Deleted(entity) => Ok(answer::not_found(info::status(entity.as_ref()))),
        Found::Living(entity, page) => {
            Ok(answer::page(info::living(&entity, &server.policies), format, page))
        }
    }
}

//! How an account or a container comes into being, changes and goes: pure functions over its record.
//!
//! ```text
//!            PUT                      DELETE (container: only when empty)
//! (nothing) -----> living ---------------------------------------------> deleted
//!                    ^ |                                                    |
//!                    | +-- PUT, POST: metadata merged, put timestamp raised |
//!                    +------------------- PUT of a container ---------------+
//!                                         (PUT of an account: refused until reclaimed)
//! ```
//!
//! Time stamps decide, not the order of arrival: a PUT older than the deletion does not bring anything back.
//! Swift: container/server.py and account/server.py; common/db.py, `delete_db`.

use crate::entity::Entity;
use crate::metadata::{Metadata, MetadataError};
use crate::row::Row;
use types::{Limits, PolicyIndex, Timestamp};

/// Whose record it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The account.
    pub account: String,
    /// The container; empty for an account.
    pub container: String,
}

impl Names {
    /// `account/container`, as shard ranges name a container.
    pub fn path(&self) -> String {
        format!("{}/{}", self.account, self.container)
    }
}

/// A request to create, or to create again.
#[derive(Clone, Debug)]
pub struct Put {
    /// When the client asked.
    pub at: Timestamp,
    /// The time on this node.
    pub now: Timestamp,
    /// The policy the client asked for.
    pub policy: Option<PolicyIndex>,
    /// The policy otherwise, if it does not exist yet.
    pub default_policy: PolicyIndex,
    /// Metadata to set.
    pub metadata: Metadata,
}

/// How a PUT ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// To be stored.
    Stored {
        /// The new record.
        entity: Box<Entity>,
        /// Whether there was none, or a deleted one.
        created: bool,
    },
    /// It lives under another policy.
    OtherPolicy(PolicyIndex),
    /// It was deleted after this request was made.
    DeletedSince,
    /// It was deleted and may not be created again yet.
    RecentlyDeleted,
    /// The metadata is refused.
    Metadata(MetadataError),
}

/// A new record.
pub fn create(names: &Names, at: Timestamp, now: Timestamp, policy: PolicyIndex) -> Entity {
    Entity {
        account: names.account.clone(),
        container: names.container.clone(),
        created_at: Timestamp { offset: 0, ..now },
        put_timestamp: at,
        status_changed_at: at,
        policy,
        ..Entity::default()
    }
}

/// Creates, creates again, or refreshes.
pub fn put<R: Row>(
    existing: Option<Entity>,
    names: &Names,
    request: &Put,
    limits: &Limits,
) -> PutOutcome {
    let policy = request.policy.unwrap_or(request.default_policy);
    let (mut entity, created) = match existing {
        None => (create(names, request.at, request.now, policy), true),
        Some(mut entity) => {
            if !R::RECREATABLE && marked_deleted(&entity) {
                return PutOutcome::RecentlyDeleted;
            }
            let again = R::is_deleted(&entity);
            if again && entity.policy != policy {
                entity.policy = policy;
                entity.status_changed_at = entity.status_changed_at.max(request.at);
            } else if request.policy.is_some_and(|policy| policy != entity.policy) {
                return PutOutcome::OtherPolicy(entity.policy);
            }
            entity.put_timestamp = entity.put_timestamp.max(request.at);
            if R::is_deleted(&entity) {
                return PutOutcome::DeletedSince;
            }
            if again {
                entity.status_changed_at = entity.status_changed_at.max(request.at);
            }
            (entity, again)
        }
    };
    match change_metadata(&mut entity, &request.metadata, limits) {
        Ok(()) => PutOutcome::Stored { entity: Box::new(entity), created },
        Err(error) => PutOutcome::Metadata(error),
    }
}

/// Whether an account was told to go, empty or not (Swift: `is_status_deleted`).
pub fn marked_deleted(entity: &Entity) -> bool {
    entity.status_deleted || entity.delete_timestamp > entity.put_timestamp
}

/// Removals remembered for each item that may be there at a time; they are written with every row.
const REMOVALS_PER_ITEM: usize = 4;

/// Swift judges metadata only when some is sent.
pub(crate) fn change_metadata(
    entity: &mut Entity,
    changes: &Metadata,
    limits: &Limits,
) -> Result<(), MetadataError> {
    if !entity.metadata.merge(changes) {
        return Ok(());
    }
    let most = (limits.max_meta_count as usize).saturating_mul(REMOVALS_PER_ITEM);
    entity.metadata.forget_removals(most);
    entity.metadata.check(limits)
}

/// A request to change metadata.
#[derive(Clone, Debug)]
pub struct Post {
    /// When the client asked; raises the put timestamp if given.
    pub touch: Option<Timestamp>,
    /// Metadata to set.
    pub metadata: Metadata,
}

/// How a POST ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostOutcome {
    /// To be stored.
    Stored(Box<Entity>),
    /// There is none, or a deleted one.
    NotFound(Option<Box<Entity>>),
    /// The metadata is refused.
    Metadata(MetadataError),
}

/// Changes the metadata of a living entity.
pub fn post<R: Row>(existing: Option<Entity>, request: &Post, limits: &Limits) -> PostOutcome {
    let Some(mut entity) = existing else { return PostOutcome::NotFound(None) };
    if R::is_deleted(&entity) {
        return PostOutcome::NotFound(Some(Box::new(entity)));
    }
    if let Some(at) = request.touch {
        entity.put_timestamp = entity.put_timestamp.max(at);
    }
    match change_metadata(&mut entity, &request.metadata, limits) {
        Ok(()) => PostOutcome::Stored(Box::new(entity)),
        Err(error) => PostOutcome::Metadata(error),
    }
}

/// How a DELETE ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// To be stored.
    Stored {
        /// The new record.
        entity: Box<Entity>,
        /// Whether there was a living one before.
        existed: bool,
        /// Whether it is deleted now, or lives on because it was created after this request was made.
        deleted: bool,
    },
    /// There is none, or (of accounts) a deleted one.
    NotFound(Option<Box<Entity>>),
    /// There are rows in it.
    NotEmpty,
}

/// Deletes as of a moment.
pub fn delete<R: Row>(existing: Option<Entity>, at: Timestamp) -> DeleteOutcome {
    let Some(mut entity) = existing else { return DeleteOutcome::NotFound(None) };
    let was_deleted = R::is_deleted(&entity);
    if R::DELETED_EMPTY_ONLY {
        if entity.totals.values().any(|totals| totals.objects > 0) {
            return DeleteOutcome::NotEmpty;
        }
    } else if was_deleted {
        return DeleteOutcome::NotFound(Some(Box::new(entity)));
    }
    let existed = entity.put_timestamp != Timestamp::default() && !was_deleted;
    entity.metadata.merge(&entity.metadata.cleared(at, R::METADATA_KEPT));
    if entity.delete_timestamp < at {
        entity.delete_timestamp = at;
        entity.status_deleted = true;
        entity.status_changed_at = at;
    }
    let deleted = R::is_deleted(&entity);
    DeleteOutcome::Stored { entity: Box::new(entity), existed, deleted }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;

//! A container's record as headers (Swift: container/server.py, `gen_resp_headers`).

use http::{HeaderMap, header};
use listing::{Entity, answer};
use wire::headers;

/// What every answer about a container tells the proxy, whether it lives, is deleted or never was.
pub(crate) fn backend(entity: Option<&Entity>) -> HeaderMap {
    let nothing = Entity::default();
    let entity = entity.unwrap_or(&nothing);
    let mut out = HeaderMap::with_capacity(16);
    let pairs = [
        (headers::X_BACKEND_TIMESTAMP, entity.created_at),
        ("x-backend-put-timestamp", entity.put_timestamp),
        ("x-backend-delete-timestamp", entity.delete_timestamp),
        ("x-backend-status-changed-at", entity.status_changed_at),
    ];
    for (name, at) in pairs {
        answer::set(&mut out, name, &at.internal());
    }
    let policy = entity.policy.to_string();
    answer::set(&mut out, headers::X_BACKEND_STORAGE_POLICY_INDEX, &policy);
    out
}

/// The same and what clients may know, of a living container.
pub(crate) fn living(entity: &Entity) -> HeaderMap {
    let mut out = backend(Some(entity));
    let totals = entity.totals_of(entity.policy);
    answer::set(&mut out, "x-container-object-count", &totals.objects.to_string());
    answer::set(&mut out, "x-container-bytes-used", &totals.bytes.to_string());
    answer::set(&mut out, headers::X_TIMESTAMP, &entity.created_at.normal());
    answer::set(&mut out, headers::X_PUT_TIMESTAMP, &entity.put_timestamp.normal());
    answer::set(&mut out, "x-backend-sharding-state", "unsharded");
    answer::set(&mut out, header::LAST_MODIFIED.as_str(), &entity.put_timestamp.http_date());
    answer::set_metadata(&mut out, &entity.metadata);
    out
}

//! An account's record as headers (Swift: account/utils.py, `get_response_headers`).

use http::HeaderMap;
use listing::{Entity, Totals, answer, lifecycle};
use std::collections::BTreeMap;
use types::PolicyIndex;
use wire::headers;

/// What clients may know of a living account.
pub(crate) fn living(entity: &Entity, policies: &BTreeMap<PolicyIndex, String>) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(16);
    totals(&mut out, "x-account", entity.sum());
    for (policy, sum) in &entity.totals {
        if let Some(name) = policies.get(policy) {
            totals(&mut out, &format!("x-account-storage-policy-{name}"), *sum);
        }
    }
    answer::set(&mut out, headers::X_TIMESTAMP, &entity.created_at.normal());
    answer::set(&mut out, headers::X_PUT_TIMESTAMP, &entity.put_timestamp.normal());
    answer::set_metadata(&mut out, &entity.metadata);
    out
}

fn totals(out: &mut HeaderMap, prefix: &str, totals: Totals) {
    answer::set(out, &format!("{prefix}-container-count"), &totals.rows.to_string());
    answer::set(out, &format!("{prefix}-object-count"), &totals.objects.to_string());
    answer::set(out, &format!("{prefix}-bytes-used"), &totals.bytes.to_string());
}

/// Tells an account that was deleted from one that never was.
pub(crate) fn status(entity: Option<&Entity>) -> HeaderMap {
    let mut out = HeaderMap::new();
    if entity.is_some_and(lifecycle::marked_deleted) {
        answer::set(&mut out, "x-account-status", "Deleted");
    }
    out
}

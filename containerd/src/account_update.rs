//! Telling account servers at once that a container was created or deleted.
//!
//! Whoever is not reached learns of it from the queue of reports; so only one answer matters here: that the
//! account does not exist, from all of them.

use crate::server::{Asked, Server};
use daemon::TransId;
use http::{HeaderMap, HeaderValue, StatusCode};
use listing::{Entity, Refusal};
use tokio::task::JoinSet;
use wire::{AccountUpdate, UpdateTarget, UpdateTargets, headers};

/// What the account servers said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// All of them: there is no such account.
    NoAccount,
    /// Anything else.
    Sent,
}

/// The account servers that the proxy wants to be told.
pub(crate) fn targets(from: &HeaderMap) -> Result<Option<UpdateTargets>, Refusal> {
    Ok(UpdateTargets::decode(headers::ACCOUNT, from)?)
}

/// Tells all targets at the same time and waits for them, within limits.
pub(crate) async fn tell(
    server: &Server,
    asked: &Asked,
    targets: Option<UpdateTargets>,
    entity: &Entity,
) -> Told {
    let (Some(targets), Some(update)) = (targets, update(asked, entity)) else {
        return Told::Sent;
    };
    let trans_id = asked.parts.extensions.get::<TransId>().cloned().unwrap_or(TransId("-".into()));
    let override_deleted = asked.parts.headers.get(headers::X_ACCOUNT_OVERRIDE_DELETED).cloned();
    let count = targets.targets.len();
    let mut calls = JoinSet::new();
    for UpdateTarget { endpoint, device } in targets.targets {
        let mut request = update.encode(&device, targets.partition, &trans_id.0);
        if let Some(value) = override_deleted.clone().filter(says_yes) {
            request.headers_mut().insert(headers::X_ACCOUNT_OVERRIDE_DELETED, value);
        }
        let (client, timeout) = (server.client.clone(), server.account_update_timeout);
        calls.spawn(async move {
            let answer = client.call(&endpoint, request, timeout).await;
            (endpoint, answer.map(|response| response.status()))
        });
    }
    let mut missing = 0;
    while let Some(called) = calls.join_next().await {
        match called {
            Ok((_, Ok(StatusCode::NOT_FOUND))) => missing += 1,
            Ok((_, Ok(status))) if status.is_success() => {}
            Ok((to, Ok(status))) => {
                tracing::warn!(%to, %status, "an account update failed; it is queued");
            }
            Ok((_, Err(error))) => {
                let error = daemon::telemetry::chain(&error);
                tracing::warn!(error, "an account update failed; it is queued");
            }
            Err(error) => tracing::error!(%error, "an account update was broken off"),
        }
    }
    if missing == count { Told::NoAccount } else { Told::Sent }
}

fn says_yes(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"yes")
}

fn update(asked: &Asked, entity: &Entity) -> Option<AccountUpdate> {
    let report = entity.report();
    Some(AccountUpdate {
        account: asked.path.account.clone()?,
        container: asked.path.container.clone()?,
        put_timestamp: report.put_timestamp,
        delete_timestamp: report.delete_timestamp,
        object_count: report.objects,
        bytes_used: report.bytes,
        policy: entity.policy,
    })
}

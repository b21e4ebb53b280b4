//! How much a container may hold. Swift: common/middleware/container_quotas.py.
//!
//! It is judged by the container's totals as they are remembered, so several uploads at a time, and those of the
//! last seconds, may go over it. A body without a length counts when it is stored. Versions of objects count with their bytes.

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use wire::Response;

use super::versioned_writes::versions_of;
use super::{Answer, Handler, Middleware, Parts};
use crate::auth::Judge;
use crate::call::Call;
use crate::config::StartError;
use crate::store::{ContainerInfo, Level};
use crate::swift::error::Refusal;

const QUOTA_BYTES: &str = "x-container-meta-quota-bytes";

struct ContainerQuotas {
    judge: Judge,
}

/// It has no settings.
pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    Ok(Arc::new(ContainerQuotas { judge: parts.judge() }))
}

impl Middleware for ContainerQuotas {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        let writes = call.method == Method::PUT || call.method == Method::POST;
        match call.entity.level() {
            Level::Container if writes => match check_settings(&call) {
                Ok(()) => Box::pin(async move {
                    self.forget_versions(&call).await;
                    next.answer(call).await
                }),
                Err(refusal) => Box::pin(std::future::ready(refusal.into())),
            },
            Level::Object if call.method == Method::PUT => Box::pin(async move {
                match self.check(&call).await {
                    Ok(()) => next.answer(call).await,
                    Err(refusal) => Response::from(refusal),
                }
            }),
            _ => next.answer(call),
        }
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        Some(("container_quotas", json!({})))
    }
}

/// Whether a quota is a number, as storage nodes keep it: digits and nothing else.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// How large the upload is, as far as that is known.
pub(super) fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}

pub(super) fn exceeded(what: &'static str) -> Refusal {
    Refusal::Sentence(StatusCode::PAYLOAD_TOO_LARGE, what.into())
}

fn check_settings(call: &Call) -> Result<(), Refusal> {
    for (name, sentence) in [
        (QUOTA_BYTES, "Invalid bytes quota."),
        ("x-container-meta-quota-count", "Invalid count quota."),
    ] {
        let Some(value) = call.headers.get(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        if !value.to_str().is_ok_and(is_number) {
            return Err(Refusal::bad_request(sentence));
        }
    }
    Ok(())
}

/// A quota that is no number limits nothing.
fn quota(info: &ContainerInfo, name: &str) -> Option<u64> {
    info.meta(name).and_then(|quota| quota.parse().ok())
}

/// Whether an upload of this size fits, beside versions that take so many bytes.
fn fits(info: &ContainerInfo, versions: u64, upload: u64) -> bool {
    let bytes = info.bytes_used().saturating_add(versions).saturating_add(upload);
    let count = info.object_count().saturating_add(1);
    quota(info, "quota-bytes").is_none_or(|quota| bytes <= quota)
        && quota(info, "quota-count").is_none_or(|quota| count <= quota)
}

impl ContainerQuotas {
    /// Whoever sets a quota has it judged by the totals of now, those of the versions, too.
    async fn forget_versions(&self, call: &Call) {
        if !call.headers.contains_key(QUOTA_BYTES) {
            return;
        }
        if let Ok(Some(info)) = self.judge.store.container_info(&call.entity).await
            && let Some(versions) = versions_of(&call.entity, &info)
        {
            self.judge.store.forget_container(&versions);
        }
    }

    async fn check(&self, call: &Call) -> Result<(), Refusal> {
        let Some(info) = self.judge.store.container_info(&call.entity).await? else {
            return Ok(());
        };
        let versions = versions_of(&call.entity, &info);
        let versions = versions.filter(|_| quota(&info, "quota-bytes").is_some());
        let versions = match versions {
            Some(versions) => self.judge.store.container_info(&versions).await?,
            None => None,
        };
        let versions = versions.map_or(0, |versions| versions.bytes_used());
        if fits(&info, versions, announced(&call.headers)) {
            return Ok(());
        }
        // Who may not write is not told how full the container is.
        self.judge.authorize(call, info.write_acl.as_deref()).await?;
        Err(exceeded("Upload exceeds quota."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderValue;

    fn info(pairs: &[(&'static str, &'static str)]) -> ContainerInfo {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        ContainerInfo::of(&headers)
    }

    #[test]
    fn what_fits_and_what_does_not() {
        let used = [("x-container-bytes-used", "10"), ("x-container-object-count", "2")];
        let with = |name, value| info(&[used[0], used[1], (name, value)]);
        assert!(super::fits(&with("x-container-meta-quota-bytes", "18"), 3, 5));
        assert!(!super::fits(&with("x-container-meta-quota-bytes", "17"), 3, 5));
        let fits = |info: &ContainerInfo, upload| fits(info, 0, upload);
        assert!(fits(&with("x-container-meta-other", "1"), u64::MAX));
        let bytes = with("x-container-meta-quota-bytes", "15");
        assert!(fits(&bytes, 5) && !fits(&bytes, 6) && !fits(&bytes, u64::MAX));
        assert!(fits(&with("x-container-meta-quota-count", "3"), 100));
        assert!(!fits(&with("x-container-meta-quota-count", "2"), 0));
        assert!(fits(&with("x-container-meta-quota-bytes", "many"), 100));
    }

    #[test]
    fn quotas_are_digits() {
        let refused = |value: &'static str| {
            let mut call = crate::call::tests::call(Method::POST, "a/c");
            call.headers.insert("x-container-meta-quota-count", HeaderValue::from_static(value));
            check_settings(&call).is_err()
        };
        assert!(!refused("") && !refused("0") && !refused("10"));
        assert!(refused("-1") && refused("1.5") && refused("x") && refused(" 1"));
    }
}

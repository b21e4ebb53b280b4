//! What the proxy remembers of accounts and containers, so that an object's request need not ask for them.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use types::PolicyIndex;
use wire::headers;

use crate::auth::AccountAcl;

/// What an object's request must know of its container.
#[derive(Clone, Debug)]
pub struct ContainerInfo {
    /// Who may read its objects, cleaned.
    pub read_acl: Option<String>,
    /// Who may write its objects, cleaned.
    pub write_acl: Option<String>,
    /// Where its objects lie.
    pub policy: PolicyIndex,
    /// Its metadata, settings and totals.
    headers: Arc<HeaderMap>,
    /// For each request of an object write, the headers that name the container servers to tell.
    pub(crate) updates: Vec<Vec<(HeaderName, HeaderValue)>>,
    /// The same for large objects, whose requests may be lost in their middle.
    pub(crate) updates_of_large: Vec<Vec<(HeaderName, HeaderValue)>>,
}

/// What is known of an account.
#[derive(Clone, Debug)]
pub struct AccountInfo {
    /// Whether it is there.
    pub status: AccountStatus,
    /// Its metadata and totals, if it is there.
    headers: Arc<HeaderMap>,
}

/// Whether an account is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountStatus {
    /// It is.
    Exists,
    /// It is not, and never was.
    Missing,
    /// It was deleted, and not all of it is gone yet.
    Deleted,
}

/// What is remembered of a listing's headers: metadata, settings and totals.
fn remembered(from: &HeaderMap, prefix: &str) -> Arc<HeaderMap> {
    let wanted = |(name, _): &(&HeaderName, &HeaderValue)| name.as_str().starts_with(prefix);
    let pairs = from.iter().filter(wanted).map(|(name, value)| (name.clone(), value.clone()));
    Arc::new(pairs.collect())
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = std::str::from_utf8(headers.get(name)?.as_bytes()).ok()?;
    (!value.is_empty()).then_some(value)
}

impl ContainerInfo {
    pub(crate) fn of(from: &HeaderMap) -> Self {
        let text = |name: &str| {
            let value = from.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let policy = text(headers::X_BACKEND_STORAGE_POLICY_INDEX);
        ContainerInfo {
            headers: remembered(from, "x-container-"),
            read_acl: text("x-container-read"),
            write_acl: text("x-container-write"),
            policy: policy.and_then(|index| index.parse().ok()).unwrap_or_default(),
            updates: Vec::new(),
            updates_of_large: Vec::new(),
        }
    }

    /// Metadata of the users: `X-Container-Meta-…`. What is empty is not there.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.header(&format!("x-container-meta-{name}"))
    }

    /// Metadata of the cluster: `X-Container-Sysmeta-…`.
    pub fn sysmeta(&self, name: &str) -> Option<&str> {
        self.header(&format!("x-container-sysmeta-{name}"))
    }

    /// Any header of the container that starts with `x-container-`.
    pub fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    /// Objects in it, as of the last look.
    pub fn object_count(&self) -> u64 {
        self.header("x-container-object-count").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Bytes in it, as of the last look.
    pub fn bytes_used(&self) -> u64 {
        self.header("x-container-bytes-used").and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

impl AccountInfo {
    pub(crate) fn of(status: StatusCode, from: &HeaderMap) -> Option<Self> {
        let deleted = || {
            let status = from.get("x-account-status")?;
            Some(status.as_bytes().eq_ignore_ascii_case(b"deleted"))
        };
        let status = match status {
            status if status.is_success() => AccountStatus::Exists,
            StatusCode::GONE => AccountStatus::Deleted,
            StatusCode::NOT_FOUND if deleted() == Some(true) => AccountStatus::Deleted,
            StatusCode::NOT_FOUND => AccountStatus::Missing,
            _ => return None,
        };
        Some(AccountInfo { status, headers: remembered(from, "x-account-") })
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.status == AccountStatus::Exists
    }

    /// Metadata of the users: `X-Account-Meta-…`. What is empty is not there.
    pub fn meta(&self, name: &str) -> Option<&str> {
        text(&self.headers, &format!("x-account-meta-{name}"))
    }

    /// Metadata of the cluster: `X-Account-Sysmeta-…`.
    pub fn sysmeta(&self, name: &str) -> Option<&str> {
        text(&self.headers, &format!("x-account-sysmeta-{name}"))
    }

    /// Bytes in it, as of the last look.
    pub fn bytes_used(&self) -> u64 {
        let text = text(&self.headers, "x-account-bytes-used");
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Any header of the account that starts with `x-account-`.
    pub fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    pub(crate) fn access_control(&self) -> Option<AccountAcl> {
        AccountAcl::parse(self.sysmeta("core-access-control")?)
    }
}

/// A bounded memory of things that are so for a while. Things that are not there are not remembered: a
/// container made through another proxy must be usable at once.
pub(crate) struct InfoCache<T> {
    entries_max: usize,
    lifetime: Duration,
    generations: Mutex<Generations<T>>,
    /// Counts what was forgotten, so that what was read before a change is not remembered after it.
    epoch: AtomicU64,
}

/// When the young are half of what may be, they become the old, and the old are forgotten.
struct Generations<T> {
    young: HashMap<Box<str>, Entry<T>>,
    old: HashMap<Box<str>, Entry<T>>,
}

type Entry<T> = (Instant, T);

/// Taken before something is read that is to be remembered.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(u64);

impl<T: Clone> InfoCache<T> {
    pub(crate) fn new(entries_max: u32, lifetime: Duration) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        InfoCache {
            entries_max: entries_max as usize,
            lifetime,
            generations: Mutex::new(generations),
            epoch: AtomicU64::new(0),
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Generations<T>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &str) -> Option<T> {
        let generations = self.locked();
        let entry = generations.young.get(key).or_else(|| generations.old.get(key));
        let (until, value) = entry?;
        (*until > Instant::now()).then(|| value.clone())
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Remembers, unless something was forgotten since `epoch`.
    pub(crate) fn put(&self, key: &str, value: T, epoch: Epoch) {
        let mut generations = self.locked();
        if self.epoch.load(Ordering::Acquire) != epoch.0 {
            return;
        }
        if generations.young.len() >= self.entries_max / 2 {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key.into(), (Instant::now() + self.lifetime, value));
    }

    pub(crate) fn forget(&self, key: &str) {
        let mut generations = self.locked();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        generations.young.remove(key);
        generations.old.remove(key);
    }
}

/// Both memories.
pub(crate) struct Infos {
    pub(crate) accounts: InfoCache<AccountInfo>,
    pub(crate) containers: InfoCache<Arc<ContainerInfo>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn forgets_in_time_and_on_demand() {
        let cache = InfoCache::new(10, Duration::from_secs(60));
        cache.put("a", 1, cache.epoch());
        assert_eq!(cache.get("a"), Some(1));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(cache.get("a"), None);
        cache.put("a", 2, cache.epoch());
        cache.forget("a");
        assert_eq!(cache.get("a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let cache = InfoCache::new(10, Duration::from_secs(60));
        let before = cache.epoch();
        cache.forget("a");
        cache.put("a", 1, before);
        assert_eq!(cache.get("a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn stays_bounded() {
        let cache = InfoCache::new(10, Duration::from_secs(60));
        for number in 0..1000 {
            cache.put(&number.to_string(), number, cache.epoch());
        }
        let generations = cache.locked();
        assert!(generations.young.len() + generations.old.len() <= 10);
        drop(generations);
        assert_eq!(cache.get("999"), Some(999));
    }

    #[test]
    fn accounts_are_judged_by_status() {
        let mut headers = HeaderMap::new();
        let judge =
            |status, headers: &HeaderMap| AccountInfo::of(status, headers).map(|info| info.status);
        assert_eq!(judge(StatusCode::NO_CONTENT, &headers), Some(AccountStatus::Exists));
        assert_eq!(judge(StatusCode::NOT_FOUND, &headers), Some(AccountStatus::Missing));
        assert_eq!(judge(StatusCode::SERVICE_UNAVAILABLE, &headers), None);
        headers.insert("x-account-status", HeaderValue::from_static("Deleted"));
        assert_eq!(judge(StatusCode::NOT_FOUND, &headers), Some(AccountStatus::Deleted));
    }
}

//! Deleting what has expired (Swift: obj/expirer.py). From its second on nobody reads or lists it; this gives its space back.
//!
//! Each device knows by an index in order of time what of its own has expired ([`wire::device::EXPIRED`]), so there is no
//! queue that could be lost or fall behind. For each object its primaries are asked what they know of it, and the newest
//! that a majority knows counts: a client may have set another time, or none, while this device was away. Then the device is
//! told to delete its own copy, with the second of expiry as the deletion's time, so that all copies come to the same
//! tombstone without talking to each other, and to tell all servers of the listing.

#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::device::{Asker, DeviceError, ObjectDevice};
use crate::recon::Recon;
use daemon::{SharedClock, TransId};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use ring_builder::Ring;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use types::{AccountName, ContainerName, HashPaths, ObjectName, Timestamp, quorum_size};
use wire::device::{EXPIRED, Expired, ExpiredObject};
use wire::{BackendPath, Body, Endpoint, Request, Response, UpdateTarget, UpdateTargets, headers};

/// Expired objects that are asked for at a time.
const PAGE: usize = 200;

/// Deletes what has expired on one device.
pub(crate) struct Expirer {
    pub(crate) device: ObjectDevice,
    /// Names the devices that have the same objects.
    pub(crate) ring: Arc<Ring>,
    /// Names the servers of their listings.
    pub(crate) containers: Arc<Ring>,
    pub(crate) hash_paths: HashPaths,
    pub(crate) config: Config,
    pub(crate) asker: Asker,
    pub(crate) clock: SharedClock,
    /// Shared by all expirers of the process.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) recon: Arc<Recon>,
}

/// What one look at a device came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Objects that were deleted.
    pub(crate) deleted: u64,
    /// Objects that stay until a later pass.
    pub(crate) left: u64,
}

/// What a primary knows of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// When it was changed last.
    at: Timestamp,
    /// When it expires, if it is there.
    delete_at: Option<u64>,
    /// Whether it is there.
    exists: bool,
}

/// What may be done with a copy that has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Delete,
    /// A newer change gave it another time, or none. This device will learn of that.
    Outdated,
    /// Too few have answered.
    Unknown,
}

/// An object, found in the ring.
struct Doomed {
    account: AccountName,
    container: ContainerName,
    object: ObjectName,
    delete_at: u64,
}

impl Expirer {
    /// Goes on for ever.
    pub(crate) async fn run(&self) {
        let interval = Duration::from_millis(self.config.interval_ms);
        let rest_max = Duration::from_millis(self.config.retry_ms_max).max(interval);
        let (mut rest, mut failing) = (interval, false);
        loop {
            let begun = Instant::now();
            let mut pass = Pass::default();
            let ended = self.look(&mut pass).await;
            metrics::counter!("apus_replicator_expired_total").increment(pass.deleted);
            self.recon.expired(&self.device, pass, begun.elapsed().as_secs_f64());
            let fine = ended.is_ok() && pass.left == 0;
            self.tell(pass, ended.err(), !failing);
            (rest, failing) = match fine {
                true => (interval, false),
                false => ((rest * 2).min(rest_max), true),
            };
            tokio::time::sleep(rest).await;
        }
    }

    fn tell(&self, pass: Pass, error: Option<DeviceError>, news: bool) {
        let (device, Pass { deleted, left }) = (self.device.label(), pass);
        match error {
            Some(error) if news => {
                let error = daemon::telemetry::chain(&error);
                tracing::warn!(device, error, "a device cannot be asked what has expired");
            }
            None if left > 0 && news => {
                tracing::warn!(device, deleted, left, "what has expired stays until later");
            }
            None if deleted > 0 => tracing::debug!(device, deleted, "what had expired was deleted"),
            _ => {}
        }
    }

    /// Deletes all that has expired by now, and can be deleted.
    async fn look(&self, pass: &mut Pass) -> Result<(), DeviceError> {
        let until = self.clock.now().seconds().saturating_sub(self.config.expire_delay_s);
        let trans_id = TransId::new(self.clock.micros() / 1_000_000, None);
        let mut marker = String::new();
        loop {
            let begun = Instant::now();
            let query = format!("until={until}&limit={PAGE}{marker}");
            let page =
                self.asker.json(&self.device, EXPIRED, &query, Body::empty(), Duration::ZERO);
            let page: Expired = page.await?;
            let calls: Vec<BoxFuture<'_, bool>> = page
                .objects
                .iter()
                .map(|object| self.expire(object, &trans_id.0).boxed())
                .collect();
            let count = calls.len() as u32;
            let deleted: Vec<bool> = stream::iter(calls)
                .buffered(self.config.expire_concurrency as usize)
                .collect()
                .await;
            let deleted = deleted.into_iter().filter(|deleted| *deleted).count() as u64;
            pass.deleted += deleted;
            pass.left += u64::from(count) - deleted;
            let Some(next) = page.marker else { return Ok(()) };
            marker = format!("&marker={next}");
            let pace = Duration::from_secs(1) / self.config.expirations_per_second;
            tokio::time::sleep_until(begun + pace.saturating_mul(count)).await;
        }
    }

    /// Deletes this device's copy of an object, if that is what the cluster knows. Says whether it is gone.
    async fn expire(&self, object: &ExpiredObject, trans_id: &str) -> bool {
        // The semaphore is never closed.
        let Ok(_permit) = self.permits.acquire().await else { return false };
        let Some(doomed) = Doomed::parse(object) else { return false };
        match self.verdict(&doomed, trans_id).await {
            Verdict::Delete => {
                let status = self.delete(&doomed, trans_id).await.map(|response| response.status());
                // Whoever says 404 has deleted it meanwhile; with 412 it has been given another time.
                let gone = [StatusCode::NOT_FOUND, StatusCode::PRECONDITION_FAILED];
                status.is_ok_and(|status| status.is_success() || gone.contains(&status))
            }
            Verdict::Outdated | Verdict::Unknown => false,
        }
    }

    /// Asks the primaries.
    async fn verdict(&self, doomed: &Doomed, trans_id: &str) -> Verdict {
        let hash = doomed.hash(&self.hash_paths);
        let primaries = self.ring.primaries(self.ring.partition(&hash));
        let mut asked: Vec<ObjectDevice> =
            primaries.iter().map(|node| ObjectDevice::of(node, self.device.policy)).collect();
        let count = primaries.len();
        if !primaries.iter().any(|node| self.device.is(node)) {
            asked.push(self.device.clone());
        }
        let answers = join_all(asked.iter().map(|device| async move {
            let head = self.request(Method::HEAD, device, doomed, trans_id);
            let response = self.call(&device.owner, head).await?;
            known(response.status(), response.headers())
        }));
        let answers: Vec<Option<Known>> = answers.await;
        let heard = answers.iter().take(count).flatten().count();
        if heard < quorum_size(count) {
            return Verdict::Unknown;
        }
        let known: Vec<Known> = answers.into_iter().flatten().collect();
        verdict(&known, doomed.delete_at)
    }

    async fn call(&self, to: &Endpoint, request: Request) -> Option<Response> {
        self.asker.client.call(to, request, self.asker.patience).await.ok()
    }

    /// Deletes the copy here.
    async fn delete(&self, doomed: &Doomed, trans_id: &str) -> Result<Response, wire::CallError> {
        let mut request = self.request(Method::DELETE, &self.device, doomed, trans_id);
        let hash = self.hash_paths.container(doomed.account.as_str(), doomed.container.as_str());
        let partition = self.containers.partition(&hash);
        let targets = self.containers.primaries(partition).into_iter().map(|node| UpdateTarget {
            endpoint: Endpoint::new(&node.device.replication_ip, node.device.replication_port),
            device: node.device.device.clone(),
        });
        let targets = UpdateTargets { partition, targets: targets.collect() };
        targets.encode(headers::CONTAINER, request.headers_mut());
        self.asker.client.call(&self.device.owner, request, self.asker.patience).await
    }

    fn request(
        &self,
        method: Method,
        device: &ObjectDevice,
        doomed: &Doomed,
        trans_id: &str,
    ) -> Request {
        let path = BackendPath {
            device: device.name.clone(),
            partition: self.ring.partition(&doomed.hash(&self.hash_paths)),
            account: Some(doomed.account.clone()),
            container: Some(doomed.container.clone()),
            object: Some(doomed.object.clone()),
        };
        let mut request = Request::new(Body::empty());
        // What is percent-encoded is always a path.
        *request.uri_mut() = path.encode().parse().unwrap_or_default();
        let into = request.headers_mut();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::try_from(value) {
                into.insert(name, value);
            }
        };
        put(headers::X_BACKEND_STORAGE_POLICY_INDEX, &device.policy.to_string());
        put(headers::X_BACKEND_OPEN_EXPIRED, "true");
        put(headers::X_TRANS_ID, trans_id);
        if method == Method::DELETE {
            put(headers::X_TIMESTAMP, &Timestamp::from_seconds(doomed.delete_at).internal());
            put(headers::X_IF_DELETE_AT, &doomed.delete_at.to_string());
        }
        *request.method_mut() = method;
        request
    }
}

impl Doomed {
    fn parse(object: &ExpiredObject) -> Option<Self> {
        let mut names = object.name.strip_prefix('/')?.splitn(3, '/');
        Some(Doomed {
            account: AccountName::parse(names.next()?).ok()?,
            container: ContainerName::parse(names.next()?).ok()?,
            object: ObjectName::parse(names.next()?).ok()?,
            delete_at: object.delete_at,
        })
    }

    fn hash(&self, paths: &HashPaths) -> types::ObjectHash {
        paths.object(self.account.as_str(), self.container.as_str(), self.object.as_str())
    }
}

/// Reads the answer to HEAD. `None` when it tells nothing of the object.
fn known(status: StatusCode, headers: &HeaderMap) -> Option<Known> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let at = text(headers::X_BACKEND_TIMESTAMP).and_then(|text| Timestamp::parse(text).ok());
    match status {
        StatusCode::NOT_FOUND => {
            Some(Known { at: at.unwrap_or_default(), delete_at: None, exists: false })
        }
        status if status.is_success() => {
            let delete_at = text(headers::X_DELETE_AT).and_then(|text| text.parse().ok());
            Some(Known { at: at?, delete_at, exists: true })
        }
        _ => None,
    }
}

/// The newest change counts.
fn verdict(known: &[Known], delete_at: u64) -> Verdict {
    match known.iter().max_by_key(|known| known.at) {
        None => Verdict::Unknown,
        Some(newest) if newest.exists && newest.delete_at != Some(delete_at) => Verdict::Outdated,
        Some(_) => Verdict::Delete,
    }
}

//! Deleting what somebody asked to be deleted and did not wait for ([`wire::deletions`]; Swift: obj/expirer.py, which takes
//! such rows from the same queue).
//!
//! Each container device works through its own copies of the queue's containers: so no row is lost that a copy lacks. Rows are
//! first the business of the device that the ring names first; the second takes those that are left after a while, then the
//! third. Deleting twice does no harm: an object is deleted as of the moment at which that was asked for, and newer stays.
//!
//! A row is taken out when every primary of its object has answered. As long as one is away it stays, because nobody else
//! would tell it.

#[cfg(test)]
mod tests;

use crate::Rings;
use crate::config::Config;
use axum::body::Bytes;
use daemon::{SharedClock, TransId};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use ring_builder::{Node, Ring};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use types::{
    AccountName, ContainerName, HashPaths, ObjectName, Partition, PolicyIndex, quorum_size,
};
use wire::deletions::{self, Deletion};
use wire::{
    AccountRow, BackendPath, Body, ContainerRow, Endpoint, NodeClient, ObjectUpdate, Request,
    UpdateTarget, UpdateTargets, encode_segment, headers,
};

/// Rows that are asked for at a time.
const PAGE: usize = 1000;
/// So many rows have up to some kilobytes of names each.
const PAGE_BYTES_MAX: usize = PAGE * 8192;
/// Containers whose policies are remembered during one look.
const POLICIES_MAX: usize = 10_000;
/// How long the next device waits before it does the work of the one before it.
const TAKEOVER_S: u64 = 600;
/// A container of the queue that is empty and so old gets no rows any more.
const OUTLIVED_S: u64 = 3 * deletions::DIVISOR_S;

/// Works through one container device's part of the queue.
pub(crate) struct Deleter {
    /// Who owns the device.
    pub(crate) owner: Endpoint,
    pub(crate) device: String,
    pub(crate) rings: Rings,
    pub(crate) hash_paths: HashPaths,
    pub(crate) config: Config,
    pub(crate) client: NodeClient,
    pub(crate) clock: SharedClock,
    /// Shared by all deleters of the process.
    pub(crate) permits: Arc<Semaphore>,
}

/// What one look at the queue came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pass {
    /// Rows whose objects are gone.
    done: u64,
    /// Rows that stay until a later pass.
    left: u64,
}

/// The queue, or a part of it, could not be read.
#[derive(Debug, thiserror::Error)]
#[error("no server of {0} answers")]
struct Unreadable(&'static str);

/// An answer and what it says.
struct Heard {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What lasts for one look.
struct Look<'d> {
    deleter: &'d Deleter,
    account: AccountName,
    trans_id: TransId,
    /// The storage policies of containers; `None` for one that there is not.
    policies: Mutex<HashMap<(AccountName, ContainerName), Option<PolicyIndex>>>,
}

impl Deleter {
    /// Goes on for ever.
    pub(crate) async fn run(&self) {
        let interval = Duration::from_millis(self.config.async_delete_interval_ms);
        let rest_max = Duration::from_millis(self.config.retry_ms_max).max(interval);
        let Ok(account) = AccountName::parse(deletions::ACCOUNT) else { return };
        let mut rest = interval;
        loop {
            tokio::time::sleep(rest).await;
            let look = Look {
                deleter: self,
                account: account.clone(),
                trans_id: TransId::new(self.clock.micros() / 1_000_000, None),
                policies: Mutex::default(),
            };
            let mut pass = Pass::default();
            let ended = look.look(&mut pass).await;
            metrics::counter!("apus_replicator_async_deleted_total").increment(pass.done);
            let (device, Pass { done, left }) = (&self.device, pass);
            let fine = ended.is_ok() && left == 0;
            // Only the first of many failures in a row is news.
            match ended {
                Err(error) if rest == interval => {
                    tracing::warn!(device, %error, "the queue of deletions cannot be read");
                }
                Ok(()) if left > 0 && rest == interval => {
                    tracing::warn!(device, done, left, "deletions stay in the queue until later");
                }
                _ => {}
            }
            rest = if fine { interval } else { (rest * 2).min(rest_max) };
        }
    }

    /// Asks a server. `None` if it gives no answer.
    async fn ask(&self, to: &Endpoint, request: Request) -> Option<Heard> {
        let patience = Duration::from_millis(self.config.node_timeout_ms);
        let response = self.client.call(to, request, patience).await.ok()?;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, PAGE_BYTES_MAX);
        let body = tokio::time::timeout(patience, body).await.ok()?.ok()?;
        Some(Heard { status: parts.status, headers: parts.headers, body })
    }

    /// Whether a ring means this device.
    fn is(&self, node: &Node<'_>) -> bool {
        let front = Endpoint::new(&node.device.ip, node.device.port);
        self.device == node.device.device && (self.owner == front || self.owner == endpoint(node))
    }
}

fn endpoint(node: &Node<'_>) -> Endpoint {
    Endpoint::new(&node.device.replication_ip, node.device.replication_port)
}

impl Look<'_> {
    async fn look(&self, pass: &mut Pass) -> Result<(), Unreadable> {
        let now = self.deleter.clock.now().seconds();
        let mut marker = String::new();
        loop {
            let page = self.containers(&marker).await?;
            let is_last = page.len() < PAGE;
            for name in page {
                // They are in order of time.
                if name.as_str().parse::<u64>().is_ok_and(|from| from > now) {
                    return Ok(());
                }
                marker = name.as_str().to_owned();
                self.work_through(&name, now, pass).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// A page of the queue's containers.
    async fn containers(&self, marker: &str) -> Result<Vec<ContainerName>, Unreadable> {
        let ring = &self.deleter.rings.account;
        let partition = ring.partition(&self.deleter.hash_paths.account(self.account.as_str()));
        for node in ring.primaries(partition) {
            let mut path = self.path(&node, partition);
            path.container = None;
            let request = self.list(&path, marker);
            match self.deleter.ask(&endpoint(&node), request).await {
                Some(heard) if heard.status.is_success() => {
                    let rows: Result<Vec<AccountRow>, _> = serde_json::from_slice(&heard.body);
                    let rows = rows.map_err(|_| Unreadable("accounts"))?;
                    let name = |row| match row {
                        AccountRow::Container { name, .. } => ContainerName::parse(name).ok(),
                        AccountRow::Subdir { .. } => None,
                    };
                    return Ok(rows.into_iter().filter_map(name).collect());
                }
                Some(heard) if heard.status == StatusCode::NOT_FOUND => return Ok(Vec::new()),
                _ => {}
            }
        }
        Err(Unreadable("accounts"))
    }

    /// Does what this device's copy of a container asks for.
    async fn work_through(
        &self,
        container: &ContainerName,
        now: u64,
        pass: &mut Pass,
    ) -> Result<(), Unreadable> {
        let (ring, partition) = self.place(&self.account, container);
        let primaries = ring.primaries(partition);
        let Some(turn) = primaries.iter().position(|node| self.deleter.is(node)) else {
            return Ok(());
        };
        let due = now.saturating_sub(turn as u64 * TAKEOVER_S);
        let mut path = self.path(&primaries[turn], partition);
        path.container = Some(container.clone());
        let mut marker = String::new();
        loop {
            let heard = self.deleter.ask(&self.deleter.owner, self.list(&path, &marker)).await;
            let heard = heard.ok_or(Unreadable("containers"))?;
            if !heard.status.is_success() {
                // This copy of the container does not exist yet, or does not any more.
                return Ok(());
            }
            let rows: Vec<ContainerRow> =
                serde_json::from_slice(&heard.body).map_err(|_| Unreadable("containers"))?;
            if rows.is_empty() && marker.is_empty() && is_outlived(container, now) {
                self.forget(container).await;
            }
            let is_last = rows.len() < PAGE;
            let mut asked_for = Vec::new();
            for row in rows {
                let ContainerRow::Object { name, content_type, .. } = row else { continue };
                // Others are of objects that expire by themselves.
                let deletion = Deletion::parse(&name).filter(|deletion| {
                    content_type == deletions::CONTENT_TYPE && deletion.at.seconds() <= due
                });
                marker = name;
                asked_for.extend(deletion);
            }
            self.delete_all(container, asked_for, pass).await;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn delete_all(
        &self,
        container: &ContainerName,
        asked_for: Vec<Deletion>,
        pass: &mut Pass,
    ) {
        let begun = Instant::now();
        let count = asked_for.len() as u32;
        let calls: Vec<BoxFuture<'_, bool>> = asked_for
            .into_iter()
            .map(|deletion| self.settle(container, deletion).boxed())
            .collect();
        let width = self.deleter.config.expire_concurrency as usize;
        let settled: Vec<bool> = stream::iter(calls).buffer_unordered(width).collect().await;
        let done = settled.into_iter().filter(|settled| *settled).count() as u64;
        pass.done += done;
        pass.left += u64::from(count) - done;
        let pace = Duration::from_secs(1) / self.deleter.config.expirations_per_second;
        tokio::time::sleep_until(begun + pace.saturating_mul(count)).await;
    }

    /// Deletes an object and takes its row out. Says whether both are done.
    async fn settle(&self, container: &ContainerName, deletion: Deletion) -> bool {
        // The semaphore is never closed.
        let Ok(_permit) = self.deleter.permits.acquire().await else { return false };
        let gone = match self.policy(&deletion).await {
            Ok(Some(policy)) => self.delete(&deletion, policy).await,
            Ok(None) => true,
            Err(Unreadable(_)) => false,
        };
        gone && self.take_out(container, &deletion).await
    }

    /// The storage policy of an object's container. `None` if there is no such container.
    async fn policy(&self, deletion: &Deletion) -> Result<Option<PolicyIndex>, Unreadable> {
        let key = (deletion.account.clone(), deletion.container.clone());
        let known = |look: &Self| {
            let policies = look.policies.lock().unwrap_or_else(PoisonError::into_inner);
            policies.get(&key).copied()
        };
        if let Some(policy) = known(self) {
            return Ok(policy);
        }
        let (ring, partition) = self.place(&deletion.account, &deletion.container);
        let mut found = Ok(None);
        for node in ring.primaries(partition) {
            let path = BackendPath { object: None, ..path_of(deletion, &node, partition) };
            let request = self.request(Method::HEAD, &path, "");
            match self.deleter.ask(&endpoint(&node), request).await {
                Some(heard) if heard.status.is_success() => {
                    let policy = heard.headers.get(headers::X_BACKEND_STORAGE_POLICY_INDEX);
                    let policy = policy.and_then(|policy| policy.to_str().ok()?.parse().ok());
                    found = policy
                        .map(|policy| Some(PolicyIndex(policy)))
                        .ok_or(Unreadable("containers"));
                    break;
                }
                Some(heard) if heard.status == StatusCode::NOT_FOUND => {}
                // Who does not answer may have it.
                _ => found = Err(Unreadable("containers")),
            }
        }
        if let Ok(policy) = &found {
            let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
            if policies.len() >= POLICIES_MAX {
                policies.clear();
            }
            policies.insert(key, *policy);
        }
        found
    }

    /// Deletes an object everywhere. False as long as somebody has not answered.
    async fn delete(&self, deletion: &Deletion, policy: PolicyIndex) -> bool {
        let Some(ring) = self.deleter.rings.objects.get(&policy) else { return false };
        let (account, container) = (deletion.account.as_str(), deletion.container.as_str());
        let hash = self.deleter.hash_paths.object(account, container, deletion.object.as_str());
        let partition = ring.partition(&hash);
        let primaries = ring.primaries(partition);
        let calls = primaries.iter().enumerate().map(|(number, node)| {
            let path = path_of(deletion, node, partition);
            let mut request = self.request(Method::DELETE, &path, "");
            let out = request.headers_mut();
            put(out, headers::X_BACKEND_STORAGE_POLICY_INDEX, &policy.to_string());
            put(out, headers::X_TIMESTAMP, &deletion.at.internal());
            self.updates(deletion, number).encode(headers::CONTAINER, out);
            async move { self.deleter.ask(&endpoint(node), request).await }
        });
        // 404: it is gone already, and 409: it is newer.
        let settled = |status: StatusCode| {
            status.is_success() || status == StatusCode::NOT_FOUND || status == StatusCode::CONFLICT
        };
        let answers = join_all(calls).await;
        answers.iter().all(|heard| heard.as_ref().is_some_and(|heard| settled(heard.status)))
    }

    /// Whom the object server of a number tells of the listing: two, so that each is told although one of those who tell is
    /// away.
    fn updates(&self, deletion: &Deletion, number: usize) -> UpdateTargets {
        let (ring, partition) = self.place(&deletion.account, &deletion.container);
        let primaries = ring.primaries(partition);
        let targets = primaries.iter().cycle().skip(number).take(primaries.len().min(2));
        let targets = targets.map(|node| UpdateTarget {
            endpoint: endpoint(node),
            device: node.device.device.clone(),
        });
        UpdateTargets { partition, targets: targets.collect() }
    }

    /// Takes a row out of the queue.
    async fn take_out(&self, container: &ContainerName, deletion: &Deletion) -> bool {
        let Ok(object) = ObjectName::parse(deletion.name()) else { return false };
        let (account, container) = (self.account.clone(), container.clone());
        let at = self.deleter.clock.now();
        let row = ObjectUpdate::deletion(account, container, object, at);
        let (ring, partition) = self.place(&row.account, &row.container);
        let primaries = ring.primaries(partition);
        let calls = primaries.iter().map(|node| {
            let request = row.encode(&node.device.device, partition, &self.trans_id.0);
            async move { self.deleter.ask(&endpoint(node), request).await }
        });
        let answers = join_all(calls).await;
        let taken = answers.iter().flatten().filter(|heard| heard.status.is_success()).count();
        taken >= quorum_size(primaries.len())
    }

    /// Deletes an empty container of the queue. Whoever is not reached does it by itself later.
    async fn forget(&self, container: &ContainerName) {
        let (ring, partition) = self.place(&self.account, container);
        let at = self.deleter.clock.now().internal();
        for node in ring.primaries(partition) {
            let mut path = self.path(&node, partition);
            path.container = Some(container.clone());
            let mut request = self.request(Method::DELETE, &path, "");
            put(request.headers_mut(), headers::X_TIMESTAMP, &at);
            let _ = self.deleter.ask(&endpoint(&node), request).await;
        }
    }

    fn place(&self, account: &AccountName, container: &ContainerName) -> (&Ring, Partition) {
        let ring = &self.deleter.rings.container;
        let hash = self.deleter.hash_paths.container(account.as_str(), container.as_str());
        (ring, ring.partition(&hash))
    }

    /// The queue's account on a node.
    fn path(&self, node: &Node<'_>, partition: Partition) -> BackendPath {
        BackendPath {
            device: node.device.device.clone(),
            partition,
            account: Some(self.account.clone()),
            container: None,
            object: None,
        }
    }

    fn list(&self, path: &BackendPath, marker: &str) -> Request {
        let marker = encode_segment(marker);
        self.request(Method::GET, path, &format!("?format=json&limit={PAGE}&marker={marker}"))
    }

    fn request(&self, method: Method, path: &BackendPath, query: &str) -> Request {
        let mut request = Request::new(Body::empty());
        // What is percent-encoded is always a path.
        *request.uri_mut() = format!("{}{query}", path.encode()).parse().unwrap_or_default();
        *request.method_mut() = method;
        put(request.headers_mut(), headers::X_TRANS_ID, &self.trans_id.0);
        request
    }
}

fn path_of(deletion: &Deletion, node: &Node<'_>, partition: Partition) -> BackendPath {
    BackendPath {
        device: node.device.device.clone(),
        partition,
        account: Some(deletion.account.clone()),
        container: Some(deletion.container.clone()),
        object: Some(deletion.object.clone()),
    }
}

fn put(into: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        into.insert(name, value);
    }
}

fn is_outlived(container: &ContainerName, now: u64) -> bool {
    container.as_str().parse::<u64>().is_ok_and(|from| from.saturating_add(OUTLIVED_S) < now)
}

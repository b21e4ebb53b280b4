//! Containers: lists of objects.

use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use types::{PolicyIndex, quorum_size};
use wire::{UpdateTarget, UpdateTargets, headers};

use super::account::NOBODY_HAD_IT;
use super::call::Answer;
use super::entity::{Entity, Place};
use super::fanout::Fanout;
use super::info::ContainerInfo;
use super::peers::Peer;
use super::read::Read;
use super::{Store, Unavailable};

fn key(entity: &Entity) -> String {
    let container = entity.container.as_ref().map_or("", |name| name.as_str());
    let mut key = String::with_capacity(entity.account.as_str().len() + 1 + container.len());
    key.push_str(entity.account.as_str());
    key.push('/');
    key.push_str(container);
    key
}

/// Spreads the servers to be told over the requests that will tell them, one after the other; which
/// update headers each request carries.
fn spread(
    place: &Place,
    prefix: &'static str,
    requests: usize,
    updates: usize,
    peers: &[Arc<Peer>],
) -> Vec<Vec<(HeaderName, HeaderValue)>> {
    let numbered = peers.iter().cycle().take(updates).enumerate();
    carried(place, prefix, requests, numbered)
}

/// The same so that every server is told by any `quorum` of the requests. A large write loses a node in its
/// middle without another taking its place, and what that node was to tell must not be lost with it.
fn spread_for_any(
    place: &Place,
    prefix: &'static str,
    requests: usize,
    quorum: usize,
    peers: &[Arc<Peer>],
) -> Vec<Vec<(HeaderName, HeaderValue)>> {
    let shifts = 0..=requests.saturating_sub(quorum);
    let numbered = shifts.flat_map(|shift| {
        peers.iter().enumerate().map(move |(number, peer)| (number + shift, peer))
    });
    carried(place, prefix, requests, numbered)
}

/// The update headers of each request, when a server of number `n` is told by request `n` of them.
fn carried<'a>(
    place: &Place,
    prefix: &'static str,
    requests: usize,
    numbered: impl Iterator<Item = (usize, &'a Arc<Peer>)>,
) -> Vec<Vec<(HeaderName, HeaderValue)>> {
    let mut targets = vec![Vec::new(); requests];
    for (number, peer) in numbered {
        if let Some(targets) = targets.get_mut(number % requests.max(1)) {
            let device = peer.device_name.clone();
            targets.push(UpdateTarget { endpoint: peer.endpoint.clone(), device });
        }
    }
    let encode = |targets: Vec<UpdateTarget>| {
        let mut encoded = HeaderMap::new();
        if !targets.is_empty() {
            UpdateTargets { partition: place.partition, targets }.encode(prefix, &mut encoded);
        }
        encoded.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    targets.into_iter().map(encode).collect()
}

/// How many container servers must be told so that a quorum of object writes means a durable listing.
/// Swift: proxy/controllers/obj.py, `num_container_updates`.
fn container_updates(containers: usize, objects: usize) -> usize {
    let needed = quorum_size(containers) + objects.saturating_sub(quorum_size(objects));
    needed.max(containers)
}

impl Store {
    /// What is known of the container that an entity is or lies in; `None` when there is no such container.
    pub async fn container_info(
        self: &Arc<Self>,
        entity: &Entity,
    ) -> Result<Option<Arc<ContainerInfo>>, Unavailable> {
        let key = key(entity);
        if let Some(info) = self.infos.containers.get(&key) {
            return Ok(Some(info));
        }
        metrics::counter!("apus_proxy_container_info_misses_total").increment(1);
        let epoch = self.infos.containers.epoch();
        if !self.account_info(entity).await?.exists() {
            return Ok(None);
        }
        let container = entity.to_container();
        let read = Read::head();
        let response = Box::pin(self.read(&container, read)).await?;
        match response.status() {
            status if status.is_success() => {}
            status if status.is_client_error() => return Ok(None),
            _ => return Err(Unavailable),
        }
        let mut info = ContainerInfo::of(response.headers());
        let place = self.place(&container);
        let peers = place.side.primaries(place.partition);
        let Some(objects) = self.objects.get(&info.policy) else {
            tracing::error!(policy = %info.policy, container = key, "its storage policy is not known");
            return Err(Unavailable);
        };
        let requests = objects.ring.replica_count();
        let updates = container_updates(peers.len(), requests);
        info.updates = spread(&place, headers::CONTAINER, requests, updates, &peers);
        let quorum = quorum_size(requests);
        info.updates_of_large =
            spread_for_any(&place, headers::CONTAINER, requests, quorum, &peers);
        let info = Arc::new(info);
        self.infos.containers.put(&key, Arc::clone(&info), epoch);
        Ok(Some(info))
    }

    /// What was remembered of a container is asked for again.
    pub fn forget_container(&self, entity: &Entity) {
        self.infos.containers.forget(&key(&entity.to_container()));
    }

    /// Makes a container, or changes one that exists. Without a `policy` the cluster's default is taken for a
    /// new one and an existing one keeps its own.
    pub async fn put_container(
        self: &Arc<Self>,
        entity: &Entity,
        mut headers: HeaderMap,
        policy: Option<PolicyIndex>,
    ) -> Result<Answer, Unavailable> {
        let default = self.config.policies.default_policy().index;
        let (name, index) = match policy {
            Some(index) => (headers::X_BACKEND_STORAGE_POLICY_INDEX, index),
            None => ("x-backend-storage-policy-default", default),
        };
        headers.insert(name, HeaderValue::from(index.0));
        self.write_container(entity, Method::PUT, headers).await
    }

    /// Changes a container's metadata.
    pub async fn post_container(
        self: &Arc<Self>,
        entity: &Entity,
        headers: HeaderMap,
    ) -> Result<Answer, Unavailable> {
        self.write_container(entity, Method::POST, headers).await
    }

    /// Deletes an empty container; `None` when there was none.
    pub async fn delete_container(
        self: &Arc<Self>,
        entity: &Entity,
        headers: HeaderMap,
    ) -> Result<Option<Answer>, Unavailable> {
        let answer = self.write_container(entity, Method::DELETE, headers).await?;
        Ok((answer.status != NOBODY_HAD_IT).then_some(answer))
    }

    async fn write_container(
        self: &Arc<Self>,
        entity: &Entity,
        method: Method,
        mut headers: HeaderMap,
    ) -> Result<Answer, Unavailable> {
        let container = entity.to_container();
        let key = key(&container);
        let place = self.place(&container);
        self.stamp(&mut headers);
        let (nodes, node_count) = place.nodes();
        let mut requests = vec![headers; node_count];
        if method != Method::POST {
            let account = self.place(&entity.to_account());
            let peers = account.side.primaries(account.partition);
            let updates = spread(&account, headers::ACCOUNT, node_count, peers.len(), &peers);
            for (request, update) in requests.iter_mut().zip(updates) {
                request.extend(update);
            }
        }
        self.infos.containers.forget(&key);
        let fanout = Fanout { method, headers: requests, body: Bytes::new(), nodes, node_count };
        let outcomes = self.gather(&place, fanout).await;
        let answer = self.best_answer(outcomes, quorum_size(node_count), &[]).await;
        self.infos.containers.forget(&key);
        answer.ok_or(Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_container_servers_are_told() {
        assert_eq!(container_updates(3, 3), 3);
        assert_eq!(container_updates(1, 1), 1);
        assert_eq!(container_updates(3, 5), 4);
        assert_eq!(container_updates(5, 3), 5);
        assert_eq!(container_updates(1, 3), 2);
    }
}

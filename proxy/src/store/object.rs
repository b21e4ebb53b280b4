//! Objects, apart from their bytes: metadata, deletion, and the headers that all writes carry.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::sync::Arc;
use types::{Timestamp, quorum_size};
use wire::headers;

use super::call::Answer;
use super::entity::Entity;
use super::fanout::{Fanout, Outcome};
use super::info::ContainerInfo;
use super::{Store, Unavailable};

impl Store {
    /// One set of headers for each replica: the client's, the timestamp, the policy, and whom to tell.
    pub(crate) fn object_headers(
        &self,
        base: &HeaderMap,
        timestamp: Timestamp,
        container: &ContainerInfo,
        count: usize,
    ) -> Vec<HeaderMap> {
        // Cloning a map is cheap, filling one is not: all that requests share is filled in once.
        let mut shared = base.clone();
        if let Ok(stamp) = HeaderValue::try_from(timestamp.internal()) {
            shared.insert(headers::X_TIMESTAMP, stamp);
        }
        let policy = HeaderValue::from(container.policy.0);
        shared.insert(headers::X_BACKEND_STORAGE_POLICY_INDEX, policy);
        let of = |number: usize| {
            let mut headers = shared.clone();
            for (name, value) in container.updates.get(number).into_iter().flatten() {
                headers.insert(name.clone(), value.clone());
            }
            headers
        };
        (0..count).map(of).collect()
    }

    /// Replaces an object's metadata.
    pub async fn post_object(
        self: &Arc<Self>,
        entity: &Entity,
        container: &ContainerInfo,
        headers: &HeaderMap,
    ) -> Result<Answer, Unavailable> {
        let place = self.place_of_object(entity, container.policy)?;
        let (nodes, count) = place.nodes();
        let headers = self.object_headers(headers, self.moment(headers), container, count);
        let fanout = Fanout {
            method: Method::POST,
            headers: headers.clone(),
            body: Bytes::new(),
            nodes: nodes.clone(),
            node_count: count,
        };
        let mut outcomes = self.gather(&place, fanout).await;
        let accepted = with_status(&outcomes, StatusCode::ACCEPTED);
        if accepted > 0 && accepted < quorum_size(count) {
            // Handoffs have already stood in for primaries that failed; now also for those that lack it.
            let missing = with_status(&outcomes, StatusCode::NOT_FOUND);
            let headers = headers.into_iter().skip(count - missing).collect();
            let method = Method::POST;
            let fanout = Fanout { method, headers, body: Bytes::new(), nodes, node_count: missing };
            outcomes.extend(self.gather(&place, fanout).await);
        }
        let answer =
            self.best_answer(outcomes, quorum_size(count), &[]).await.ok_or(Unavailable)?;
        if answer.status == StatusCode::NOT_FOUND && accepted > 0 {
            // Somebody has it, so "not found" would be wrong.
            return Err(Unavailable);
        }
        Ok(answer)
    }

    /// Deletes an object.
    pub async fn delete_object(
        self: &Arc<Self>,
        entity: &Entity,
        container: &ContainerInfo,
        headers: &HeaderMap,
    ) -> Result<Answer, Unavailable> {
        let place = self.place_of_object(entity, container.policy)?;
        let (nodes, node_count) = place.nodes();
        let headers = self.object_headers(headers, self.moment(headers), container, node_count);
        let fanout =
            Fanout { method: Method::DELETE, headers, body: Bytes::new(), nodes, node_count };
        let outcomes = self.gather(&place, fanout).await;
        let overrides = [(StatusCode::NOT_FOUND, StatusCode::NO_CONTENT)];
        self.best_answer(outcomes, quorum_size(node_count), &overrides).await.ok_or(Unavailable)
    }
}

fn with_status(outcomes: &[Outcome], status: StatusCode) -> usize {
    outcomes.iter().filter(|outcome| outcome.status() == status).count()
}

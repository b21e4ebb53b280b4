//! The same request to every replica, and the one answer that many make.
//!
//! Swift: proxy/controllers/base.py, `make_requests` and `best_response`.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http::header::HeaderMap;
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;
use types::quorum_size;
use wire::{Body, Response, SharedMd5, headers};

use super::Store;
use super::call::{Answer, read_answer, request, uri};
use super::entity::Place;
use super::peers::{Candidate, SharedCandidates};

/// What is to be sent to the replicas.
pub(crate) struct Fanout {
    pub(crate) method: Method,
    /// One set of headers for each request.
    pub(crate) headers: Vec<HeaderMap>,
    pub(crate) body: Bytes,
    /// Whom to ask. Primaries come first, handoffs stand in for those that fail.
    pub(crate) nodes: SharedCandidates,
    /// Of how many answers a quorum is to be found.
    pub(crate) node_count: usize,
}

/// An answer whose body has not been read, or `None` where none came.
pub(crate) struct Outcome {
    pub(crate) response: Option<Response>,
}

impl Outcome {
    pub(crate) fn status(&self) -> StatusCode {
        let status = self.response.as_ref().map(Response::status);
        status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }
}

type Slot = BoxFuture<'static, Option<Response>>;

impl Store {
    /// Sends, and collects answers until they decide and the rest had a short grace. The rest go on
    /// in the background: dropping them would leave replicas apart for no reason.
    pub(crate) async fn gather(self: &Arc<Self>, place: &Place, fanout: Fanout) -> Vec<Outcome> {
        let Fanout { method, headers, body, nodes, node_count } = fanout;
        let mut slots: FuturesUnordered<Slot> = FuturesUnordered::new();
        let md5 = (!body.is_empty()).then(SharedMd5::default);
        for headers in headers {
            let store = Arc::clone(self);
            let md5 = md5.clone();
            let (place, method, body) = (place.clone(), method.clone(), body.clone());
            let nodes = nodes.clone();
            slots.push(Box::pin(async move {
                store.until_answered(&place, &method, &headers, (&body, md5), &nodes).await
            }));
        }
        let mut outcomes = Vec::with_capacity(node_count);
        let mut deadline: Option<Instant> = None;
        loop {
            let next = match deadline {
                None => slots.next().await,
                Some(deadline) => match tokio::time::timeout_at(deadline, slots.next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            let Some(response) = next else { break };
            outcomes.extend(response.map(|response| Outcome { response: Some(response) }));
            if deadline.is_none() && is_decided(&outcomes, quorum_size(node_count)) {
                deadline = Some(Instant::now() + self.config.post_quorum_timeout());
            }
        }
        self.finish_in_background(slots);
        while outcomes.len() < node_count {
            outcomes.push(Outcome { response: None });
        }
        outcomes
    }

    /// Asks one node after another until one answers other than with 5xx.
    async fn until_answered(
        &self,
        place: &Place,
        method: &Method,
        headers: &HeaderMap,
        (body, md5): (&Bytes, Option<SharedMd5>),
        nodes: &SharedCandidates,
    ) -> Option<Response> {
        loop {
            let Candidate { peer, is_handoff } = nodes.next()?;
            let body = if body.is_empty() { Body::empty() } else { Body::from(body.clone()) };
            let mut request = request(method, uri(place, &peer, None), headers.clone(), body);
            if let Some(md5) = &md5 {
                request.extensions_mut().insert(md5.clone());
            }
            let answer = self.call(place, &peer, request, self.config.node_timeout()).await;
            let Some(response) = answer else { continue };
            if !self.judge(place, &peer, response.status()) {
                continue;
            }
            // What a handoff does not have says nothing, unless it knows of a deletion.
            let tells_nothing = is_handoff
                && response.status() == StatusCode::NOT_FOUND
                && !response.headers().contains_key(headers::X_BACKEND_TIMESTAMP);
            return (!tells_nothing).then_some(response);
        }
    }

    fn finish_in_background(self: &Arc<Self>, mut slots: FuturesUnordered<Slot>) {
        if slots.is_empty() {
            return;
        }
        // Over the limit the stragglers are dropped; replication repairs what they would have done.
        if let Ok(permit) = Arc::clone(&self.background).try_acquire_owned() {
            let longest = self.config.node_timeout();
            let rest = async move {
                let all = async { while slots.next().await.is_some() {} };
                let _ = tokio::time::timeout(longest, all).await;
                drop(permit);
            };
            tokio::spawn(rest.in_current_span());
        }
    }

    /// The best answer in full, or none when there is no agreement.
    pub(crate) async fn best_answer(
        &self,
        outcomes: Vec<Outcome>,
        quorum: usize,
        overrides: &[(StatusCode, StatusCode)],
    ) -> Option<Answer> {
        let statuses: Vec<StatusCode> = outcomes.iter().map(Outcome::status).collect();
        let Some(best) = best_response(&statuses, quorum, overrides) else {
            tracing::warn!(?statuses, "storage nodes do not agree");
            metrics::counter!("apus_proxy_no_quorum_total").increment(1);
            return None;
        };
        let chosen = match best {
            Best::Of(index) => outcomes.into_iter().nth(index)?.response?,
            Best::Override(status) => return Some(Answer::of(status)),
        };
        Some(read_answer(chosen, BODY_TIMEOUT_MAX.min(self.config.node_timeout())).await)
    }
}

/// Sentences come with their headers; waiting longer for them is not worth it.
const BODY_TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// Whether some class of statuses has its quorum already.
fn is_decided(outcomes: &[Outcome], quorum: usize) -> bool {
    let in_class = |class: u16| {
        outcomes.iter().filter(|outcome| outcome.status().as_u16() / 100 == class).count()
    };
    outcomes.len() >= quorum && [2, 3, 4].iter().any(|class| in_class(*class) >= quorum)
}

/// Which answer speaks for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Best {
    /// The one at this place.
    Of(usize),
    /// None of them: only with an override there is agreement.
    Override(StatusCode),
}

/// The first class, of 2xx, 3xx and 4xx, that has a quorum wins, and in it the highest status. Without any,
/// `overrides` tell which statuses may count as others.
pub(crate) fn best_response(
    statuses: &[StatusCode],
    quorum: usize,
    overrides: &[(StatusCode, StatusCode)],
) -> Option<Best> {
    if let Some(index) = highest_of_quorum(statuses, quorum, &[]) {
        return Some(Best::Of(index));
    }
    let overridden = |status: &StatusCode| overrides.iter().find(|(from, _)| from == status);
    let avoid: Vec<bool> = statuses.iter().map(|status| overridden(status).is_some()).collect();
    if !avoid.contains(&true) {
        return None;
    }
    let changed: Vec<StatusCode> =
        statuses.iter().map(|status| overridden(status).map_or(*status, |(_, to)| *to)).collect();
    let index = highest_of_quorum(&changed, quorum, &avoid)?;
    Some(if avoid[index] { Best::Override(changed[index]) } else { Best::Of(index) })
}

fn highest_of_quorum(statuses: &[StatusCode], quorum: usize, avoid: &[bool]) -> Option<usize> {
    let avoided = |index: usize| avoid.get(index).copied().unwrap_or(false);
    for class in [2, 3, 4] {
        let members = statuses.iter().enumerate().filter(|(_, s)| s.as_u16() / 100 == class);
        let (count, mut best): (usize, Option<usize>) = (members.clone().count(), None);
        if count == 0 || count < quorum {
            continue;
        }
        for (index, status) in members {
            if !avoided(index) && best.is_none_or(|best| *status > statuses[best]) {
                best = Some(index);
            }
        }
        if best.is_some() {
            return best;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(codes: &[u16], quorum: usize, overrides: &[(u16, u16)]) -> Option<u16> {
        let status = |code: u16| StatusCode::from_u16(code).expect("a status");
        let statuses: Vec<_> = codes.iter().copied().map(status).collect();
        let overrides: Vec<_> = overrides.iter().map(|(a, b)| (status(*a), status(*b))).collect();
        best_response(&statuses, quorum, &overrides).map(|best| match best {
            Best::Of(index) => codes[index],
            Best::Override(status) => status.as_u16(),
        })
    }

    #[test]
    fn the_class_with_a_quorum_wins_and_in_it_the_highest() {
        assert_eq!(best(&[201, 201, 503], 2, &[]), Some(201));
        assert_eq!(best(&[201, 202, 404], 2, &[]), Some(202));
        assert_eq!(best(&[404, 409, 503], 2, &[]), Some(409));
        assert_eq!(best(&[201, 404, 503], 2, &[]), None);
        assert_eq!(best(&[503, 503, 503], 2, &[]), None);
        assert_eq!(best(&[], 0, &[]), None);
    }

    #[test]
    fn half_of_an_even_number_is_a_quorum() {
        assert_eq!(best(&[201, 503], quorum_size(2), &[]), Some(201));
        assert_eq!(best(&[404, 204], quorum_size(2), &[]), Some(204));
    }

    #[test]
    fn a_missing_replica_counts_as_deleted_only_without_a_quorum() {
        assert_eq!(best(&[204, 404, 503], 2, &[(404, 204)]), Some(204));
        assert_eq!(best(&[204, 404, 404], 2, &[(404, 204)]), Some(404));
        assert_eq!(best(&[404, 503, 503], 2, &[(404, 204)]), None);
    }
}

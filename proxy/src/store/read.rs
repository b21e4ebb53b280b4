//! Choosing the replica to read from. Swift: proxy/controllers/base.py, `GetOrHeadHandler`.
//!
//! The first good answer wins, unless the newest is asked for. What is not there needs care: an answer "not
//! here" which knows of a deletion forbids every older source; one that knows nothing is not believed from a
//! handoff, nor from the first primary (a rebalance may just have given it the partition).

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use types::{PolicyIndex, Timestamp, quorum_size};
use wire::{Body, Response, headers};

use super::call::{request, source_timestamp, timestamp_of, uri};
use super::entity::{Entity, Level, Place};
use super::fanout::Outcome;
use super::peers::{Candidate, Candidates, Peer};
use super::resume::Resuming;
use super::{Store, Unavailable};

/// A GET or HEAD as it is put to storage nodes.
#[derive(Clone, Debug)]
pub struct Read {
    /// GET or HEAD.
    pub method: Method,
    /// The query, encoded, for listings.
    pub query: Option<String>,
    /// Range, conditions and the transaction's id.
    pub headers: HeaderMap,
    /// Asks all replicas for the newest.
    pub newest: bool,
    /// Of an object: the storage policy of its container.
    pub policy: Option<PolicyIndex>,
}

impl Read {
    /// HEAD of a listing, with nothing said.
    pub(crate) fn head() -> Self {
        let (method, headers) = (Method::HEAD, HeaderMap::new());
        Read { method, query: None, headers, newest: false, policy: None }
    }
}

/// A good answer, and who gave it.
pub(crate) struct Source {
    pub(crate) response: Response,
    pub(crate) peer: Arc<Peer>,
}

/// The search for a source, which may go on after one has broken off.
pub(crate) struct Search {
    place: Place,
    pub(crate) read: Read,
    nodes: Candidates,
    /// The ETag that all further sources must have.
    pub(crate) etag: Option<HeaderValue>,
    latest_deletion: Timestamp,
    suppressions_left: usize,
    refusals: Vec<Outcome>,
}

impl Search {
    fn is_object(&self) -> bool {
        self.place.level == Level::Object
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Takes an answer in. Returns it when it is a source.
    fn weigh(&mut self, candidate: &Candidate, response: Response) -> Option<Response> {
        let status = response.status();
        let good = status.is_success()
            || status.is_redirection()
            || (self.is_object() && status == StatusCode::RANGE_NOT_SATISFIABLE);
        if good {
            return self.weigh_good(response);
        }
        let knows_nothing =
            timestamp_of(response.headers(), headers::X_BACKEND_TIMESTAMP) == Timestamp::default();
        let missing = status == StatusCode::NOT_FOUND;
        if candidate.is_handoff && knows_nothing && (missing || status.is_server_error()) {
            return None;
        }
        if missing && knows_nothing && self.suppressions_left > 0 {
            self.suppressions_left -= 1;
            return None;
        }
        if self.is_object() && missing {
            let deletion = timestamp_of(response.headers(), headers::X_BACKEND_TIMESTAMP);
            self.latest_deletion = self.latest_deletion.max(deletion);
        }
        self.refusals.push(Outcome { response: Some(response) });
        None
    }

    fn weigh_good(&mut self, response: Response) -> Option<Response> {
        // A listing that was made only because an update arrived: no copy was synced here yet.
        let put = response.headers().get(headers::X_PUT_TIMESTAMP);
        let never_put = put.is_some()
            && timestamp_of(response.headers(), headers::X_PUT_TIMESTAMP) == Timestamp::default();
        let found = response.headers().get(header::ETAG).map(bare_etag);
        let other_etag = self.etag.is_some() && found != self.etag.as_ref().map(bare_etag);
        if never_put || other_etag {
            let mut missing = Response::new(Body::empty());
            *missing.status_mut() = StatusCode::NOT_FOUND;
            self.refusals.push(Outcome { response: Some(missing) });
            return None;
        }
        (source_timestamp(response.headers()) >= self.latest_deletion).then_some(response)
    }
}

/// An ETag without its quotes; older storage nodes leave them out.
fn bare_etag(value: &HeaderValue) -> &[u8] {
    let bytes = value.as_bytes();
    bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(bytes)
}

impl Store {
    /// Reads an entity. What storage nodes refused in agreement (404, 412, …) is a response as well; its
    /// body is theirs. The body of an object goes on from another replica when one breaks off.
    pub async fn read(
        self: &Arc<Self>,
        entity: &Entity,
        read: Read,
    ) -> Result<Response, Unavailable> {
        let place = match read.policy {
            Some(policy) => self.place_of_object(entity, policy)?,
            None => self.place(entity),
        };
        let mut search = self.search(place, read);
        let Some(source) = self.find_source(&mut search).await else {
            return self.refusal(search).await;
        };
        let resumable = search.is_object()
            && search.read.method == Method::GET
            && matches!(source.response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if !resumable {
            let patience = self.config.node_timeout();
            return Ok(source.response.map(|body| Body::new(Resuming::patient(body, patience))));
        }
        let (parts, body) = source.response.into_parts();
        search.etag = parts.headers.get(header::ETAG).cloned();
        if search.read.newest {
            // Everybody was asked already. From here on, whoever has the same bytes may go on with them.
            search.read.newest = false;
            search.nodes = search.place.side.candidates(search.place.partition);
        }
        let body = Resuming::of(Arc::clone(self), search, source.peer, &parts, body);
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    pub(crate) fn search(&self, place: Place, mut read: Read) -> Search {
        if let Some(policy) = read.policy {
            let name = headers::X_BACKEND_STORAGE_POLICY_INDEX;
            read.headers.insert(name, HeaderValue::from(policy.0));
        }
        let nodes = place.side.candidates(place.partition);
        let most = nodes.primary_count().saturating_sub(1);
        let suppressions = self.config.rebalance_missing_suppression_count as usize;
        Search {
            nodes,
            read,
            etag: None,
            latest_deletion: Timestamp::default(),
            suppressions_left: suppressions.min(most),
            refusals: Vec::new(),
            place,
        }
    }

    pub(crate) fn read_timeout(&self, search: &Search) -> Duration {
        if search.is_object() && !search.read.newest {
            self.config.recoverable_node_timeout()
        } else {
            self.config.node_timeout()
        }
    }

    /// Finds the next source, beginning with nodes that were not asked yet.
    pub(crate) async fn find_source(&self, search: &mut Search) -> Option<Source> {
        if search.read.newest {
            return self.find_newest(search).await;
        }
        let timeout = self.read_timeout(search);
        while let Some(candidate) = search.nodes.next() {
            let asked = self.ask(&search.place, &search.read, &candidate, timeout).await;
            let Some(response) = asked else { continue };
            if let Some(response) = search.weigh(&candidate, response) {
                return Some(Source { response, peer: candidate.peer });
            }
        }
        None
    }

    /// Asks everybody at once and takes the newest, unless it was deleted later. All answers are waited for, so
    /// nodes that failed too often lately are left out as long as there are others: one that hangs would make
    /// every such read wait.
    async fn find_newest(&self, search: &mut Search) -> Option<Source> {
        let side = &search.place.side;
        let all: Vec<Candidate> = search.nodes.by_ref().collect();
        let (limited, usable): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|candidate| side.is_limited(&candidate.peer));
        let candidates = if usable.is_empty() { limited } else { usable };
        let mut answers = Vec::with_capacity(candidates.len());
        let timeout = self.read_timeout(search);
        {
            let (place, read) = (&search.place, &search.read);
            let mut asked: FuturesUnordered<_> = candidates
                .into_iter()
                .map(|candidate| async move {
                    (self.ask(place, read, &candidate, timeout).await, candidate)
                })
                .collect();
            while let Some((answer, candidate)) = asked.next().await {
                answers.extend(answer.map(|response| (response, candidate)));
            }
        }
        let mut newest: Option<Source> = None;
        for (response, candidate) in answers {
            let Some(response) = search.weigh(&candidate, response) else { continue };
            let at = source_timestamp(response.headers());
            let known = newest.as_ref().map(|source| source_timestamp(source.response.headers()));
            if known.is_none_or(|known| at > known) {
                newest = Some(Source { response, peer: candidate.peer });
            }
        }
        newest
            .filter(|source| source_timestamp(source.response.headers()) >= search.latest_deletion)
    }

    async fn ask(
        &self,
        place: &Place,
        read: &Read,
        candidate: &Candidate,
        timeout: Duration,
    ) -> Option<Response> {
        let uri = uri(place, &candidate.peer, read.query.as_deref());
        let request = request(&read.method, uri, read.headers.clone(), Body::empty());
        let response = self.call(place, &candidate.peer, request, timeout).await?;
        self.judge(place, &candidate.peer, response.status());
        Some(response)
    }

    async fn refusal(&self, search: Search) -> Result<Response, Unavailable> {
        let quorum = quorum_size(search.refusals.len());
        let answer = self.best_answer(search.refusals, quorum, &[]).await.ok_or(Unavailable)?;
        let mut response = Response::new(Body::from(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

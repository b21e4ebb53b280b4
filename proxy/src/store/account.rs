//! Accounts: lists of containers.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::sync::Arc;
use types::{Timestamp, quorum_size};
use wire::headers;

use super::call::Answer;
use super::entity::Entity;
use super::fanout::Fanout;
use super::info::AccountInfo;
use super::read::Read;
use super::{Store, Unavailable};

impl Store {
    /// What is known of the account that an entity is or lies in, as remembered or as its servers say.
    pub async fn account_info(
        self: &Arc<Self>,
        entity: &Entity,
    ) -> Result<AccountInfo, Unavailable> {
        let key = entity.account.as_str();
        if let Some(info) = self.infos.accounts.get(key) {
            return Ok(info);
        }
        let epoch = self.infos.accounts.epoch();
        let read = Read::head();
        let response = Box::pin(self.read(&entity.to_account(), read)).await?;
        let info = AccountInfo::of(response.status(), response.headers()).ok_or(Unavailable)?;
        if info.exists() {
            self.infos.accounts.put(key, info.clone(), epoch);
        }
        Ok(info)
    }

    /// PUT, POST or DELETE of an account with the given headers.
    pub async fn write_account(
        self: &Arc<Self>,
        entity: &Entity,
        method: Method,
        mut headers: HeaderMap,
    ) -> Result<Answer, Unavailable> {
        let entity = entity.to_account();
        let place = self.place(&entity);
        self.stamp(&mut headers);
        let (nodes, node_count) = place.nodes();
        let headers = vec![headers; node_count];
        let key = entity.account.as_str();
        self.infos.accounts.forget(key);
        let fanout = Fanout { method, headers, body: Bytes::new(), nodes, node_count };
        let outcomes = self.gather(&place, fanout).await;
        let answer = self.best_answer(outcomes, quorum_size(node_count), &[]).await;
        self.infos.accounts.forget(key);
        answer.ok_or(Unavailable)
    }

    /// Makes an account because something is to be stored in it.
    pub async fn autocreate_account(
        self: &Arc<Self>,
        entity: &Entity,
        trans_id: &HeaderValue,
    ) -> Result<(), Unavailable> {
        let mut headers = HeaderMap::new();
        headers.insert(headers::X_TRANS_ID, trans_id.clone());
        let answer = self.write_account(entity, Method::PUT, headers).await?;
        if answer.status.is_success() {
            tracing::info!(account = %entity.account, "an account was made");
            Ok(())
        } else {
            tracing::warn!(account = %entity.account, status = %answer.status, "an account could not be made");
            Err(Unavailable)
        }
    }

    /// When a write to an object happens: now, unless a middleware says so in its headers.
    pub(crate) fn moment(&self, headers: &HeaderMap) -> Timestamp {
        let said = headers.get(headers::X_TIMESTAMP).and_then(|value| value.to_str().ok());
        let said = said.and_then(|text| Timestamp::parse(text).ok());
        said.unwrap_or_else(|| self.env.clock.now())
    }

    /// Gives a write its timestamp.
    pub(crate) fn stamp(&self, headers: &mut HeaderMap) {
        let now = self.env.clock.now().internal();
        if let Ok(now) = HeaderValue::try_from(now) {
            headers.insert(headers::X_TIMESTAMP, now);
        }
    }
}

/// Swift's status for a container DELETE that reached no container.
pub(crate) const NOBODY_HAD_IT: StatusCode = StatusCode::ACCEPTED;

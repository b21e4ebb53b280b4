//! Asking the owner of a device for its queue, and telling it what is done.

use super::Updater;
use super::kind::Page;
use http::{Method, StatusCode};
use std::time::Duration;
use wire::pending::{ReportedAck, UPDATES};
use wire::{Body, CallError, Endpoint, Request, headers};

/// A page of the most updates with the longest names and content types is less than half of this.
const PAGE_BYTES_MAX: usize = 128 << 20;

/// Why the owner of a device gave no page or took no acknowledgement.
#[derive(Debug, thiserror::Error)]
pub(super) enum OwnerError {
    #[error("the owner of the queue cannot be asked")]
    Call(#[source] CallError),
    #[error("{owner} answered {status}")]
    Status { owner: Endpoint, status: StatusCode },
    #[error("the answer of {owner} broke off, is too long or took too long")]
    Body { owner: Endpoint },
    #[error("{owner} answered what is no page of updates")]
    Json { owner: Endpoint, source: serde_json::Error },
}

impl Updater {
    /// The next page after a token.
    pub(super) async fn fetch(&self, marker: u64) -> Result<Page, OwnerError> {
        let query = format!("limit={}&marker={marker}", self.config.batch);
        let body = self.ask(&query, Body::empty()).await?;
        let owner = || self.owner.clone();
        self.kind.page(&body).map_err(|source| OwnerError::Json { owner: owner(), source })
    }

    /// Lets the owner forget what is done.
    pub(super) async fn acknowledge(&self, tokens: &[u64]) -> Result<(), OwnerError> {
        let ack = ReportedAck { tokens: tokens.to_vec() };
        let json = serde_json::to_vec(&ack)
            .map_err(|source| OwnerError::Json { owner: self.owner.clone(), source })?;
        self.ask("ack", Body::from(json)).await.map(drop)
    }

    async fn ask(&self, query: &str, body: Body) -> Result<axum::body::Bytes, OwnerError> {
        let mut request = Request::new(body);
        // A name of a device is percent-encoded, so this is always a URI and a method.
        let path = format!("/{}?{query}", wire::encode_segment(&self.device));
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.method_mut() = Method::from_bytes(UPDATES.as_bytes()).unwrap_or_default();
        let policy = http::HeaderValue::from(self.policy.0);
        request.headers_mut().insert(headers::X_BACKEND_STORAGE_POLICY_INDEX, policy);
        let timeout = Duration::from_millis(self.config.node_timeout_ms);
        let response =
            self.client.call(&self.owner, request, timeout).await.map_err(OwnerError::Call)?;
        let status = response.status();
        if !status.is_success() {
            return Err(OwnerError::Status { owner: self.owner.clone(), status });
        }
        let body = axum::body::to_bytes(response.into_body(), PAGE_BYTES_MAX);
        match tokio::time::timeout(timeout, body).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) | Err(_) => Err(OwnerError::Body { owner: self.owner.clone() }),
        }
    }
}

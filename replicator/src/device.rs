//! Object devices, here and on other nodes, as [`wire::device`] lets them be asked.

use axum::body::Bytes;
use futures_util::StreamExt;
use http::{Method, StatusCode};
use ring_builder::Node;
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;
use types::PolicyIndex;
use wire::{Body, CallError, Endpoint, NodeClient, Request, Response, headers};

/// The longest answers name ten thousand damaged records, and take a tenth of this.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What of a refusal is quoted.
const REFUSAL_BYTES_MAX: usize = 300;

/// One object device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectDevice {
    /// Where its owner listens.
    pub(crate) owner: Endpoint,
    /// Its name in the ring.
    pub(crate) name: String,
    /// Of which storage policy: each has a log of its own on a device.
    pub(crate) policy: PolicyIndex,
}

impl ObjectDevice {
    /// What it is called in logs, metrics and recon, as Swift calls its directories: `d1`, and `d1-2` for policy 2.
    pub(crate) fn label(&self) -> String {
        match self.policy {
            PolicyIndex(0) => self.name.clone(),
            PolicyIndex(other) => format!("{}-{other}", self.name),
        }
    }
}

impl ObjectDevice {
    /// The one that a ring names.
    pub(crate) fn of(node: &Node<'_>, policy: PolicyIndex) -> Self {
        let owner = Endpoint::new(&node.device.replication_ip, node.device.replication_port);
        ObjectDevice { owner, name: node.device.device.clone(), policy }
    }

    /// Whether a ring means this one.
    pub(crate) fn is(&self, node: &Node<'_>) -> bool {
        let front = Endpoint::new(&node.device.ip, node.device.port);
        let named = ObjectDevice::of(node, self.policy);
        self.name == named.name && (self.owner == front || self.owner == named.owner)
    }
}

impl fmt::Display for ObjectDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.label())
    }
}

/// Why a device's owner gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("the owner of a device cannot be asked")]
    Call(#[source] CallError),
    #[error("{device} answered {status}: {why}")]
    Status { device: ObjectDevice, status: StatusCode, why: String },
    #[error("the answer of {device} broke off, is too long or took too long")]
    Body { device: ObjectDevice },
    #[error("{device} answered what it should not")]
    Json { device: ObjectDevice, source: serde_json::Error },
}

/// Asks devices.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) client: NodeClient,
    /// How long an answer, or the next piece of one, may take.
    pub(crate) patience: Duration,
}

impl Asker {
    /// Puts a question whose answer begins after at most `work` and the usual patience.
    pub(crate) async fn ask(
        &self,
        device: &ObjectDevice,
        method: &str,
        query: &str,
        body: Body,
        work: Duration,
    ) -> Result<Response, DeviceError> {
        let mut request = Request::new(body);
        // A name of a device is percent-encoded and a query is ours, so this is always a URI and a method.
        let path = format!("/{}?{query}", wire::encode_segment(&device.name));
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap_or_default();
        let policy = http::HeaderValue::from(device.policy.0);
        request.headers_mut().insert(headers::X_BACKEND_STORAGE_POLICY_INDEX, policy);
        let patience = self.patience.saturating_add(work);
        let called = self.client.call(&device.owner, request, patience).await;
        let response = called.map_err(DeviceError::Call)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let why = self.whole(device, response, REFUSAL_BYTES_MAX).await.unwrap_or_default();
        let why = String::from_utf8_lossy(&why).into_owned();
        Err(DeviceError::Status { device: device.clone(), status, why })
    }

    /// The same, of an answer that is JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        device: &ObjectDevice,
        method: &str,
        query: &str,
        body: Body,
        work: Duration,
    ) -> Result<T, DeviceError> {
        let response = self.ask(device, method, query, body, work).await?;
        let body = self.whole(device, response, ANSWER_BYTES_MAX).await?;
        let read = serde_json::from_slice(&body);
        read.map_err(|source| DeviceError::Json { device: device.clone(), source })
    }

    async fn whole(
        &self,
        device: &ObjectDevice,
        response: Response,
        most: usize,
    ) -> Result<Vec<u8>, DeviceError> {
        let broken = || DeviceError::Body { device: device.clone() };
        let mut pieces = response.into_body().into_data_stream();
        let mut body: Vec<u8> = Vec::new();
        loop {
            let piece: Bytes = match tokio::time::timeout(self.patience, pieces.next()).await {
                Ok(None) => return Ok(body),
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(_))) | Err(_) => return Err(broken()),
            };
            if body.len() + piece.len() > most {
                return Err(broken());
            }
            body.extend_from_slice(&piece);
        }
    }
}

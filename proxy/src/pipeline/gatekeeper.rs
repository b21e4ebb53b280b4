//! Keeps what storage nodes say to each other apart from what clients say. Swift: common/middleware/gatekeeper.py.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::sync::Arc;
use wire::{Answer, Request, Service, headers};

use super::{FrontMiddleware, Parts};
use crate::config::StartError;

/// `[proxy.gatekeeper]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether a client may name what is reserved, with `X-Allow-Reserved-Names: true`. For tests and operators
    /// of a closed cluster only.
    pub allow_reserved_names_header: bool,
}

struct Gatekeeper {
    allow_reserved_names_header: bool,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn FrontMiddleware>, StartError> {
    let allow_reserved_names_header = parts.config.gatekeeper.allow_reserved_names_header;
    Ok(Arc::new(Gatekeeper { allow_reserved_names_header }))
}

impl FrontMiddleware for Gatekeeper {
    fn handle(self: Arc<Self>, mut request: Request, next: Service) -> Answer {
        let asked = request.headers_mut().remove("x-allow-reserved-names");
        admit(request.headers_mut());
        if let (Some(asked), true) = (asked, self.allow_reserved_names_header) {
            request.headers_mut().insert(headers::X_BACKEND_ALLOW_RESERVED_NAMES, asked);
        }
        Box::pin(async move {
            let mut response = next.answer(request).await;
            release(response.headers_mut());
            response
        })
    }
}

const PREFIXES: [&str; 5] = [
    "x-account-sysmeta-",
    "x-container-sysmeta-",
    "x-object-sysmeta-",
    "x-object-transient-sysmeta-",
    "x-backend",
];

/// Update headers from before `x-backend-…`: with them a client could make a storage node call anybody.
const NAMES: [&str; 11] = [
    "x-account-host",
    "x-account-device",
    "x-account-partition",
    "x-container-host",
    "x-container-device",
    "x-container-partition",
    "x-container-root-db-state",
    "x-delete-at-host",
    "x-delete-at-device",
    "x-delete-at-partition",
    "x-delete-at-container",
];

fn is_internal(name: &str) -> bool {
    name.starts_with("x-")
        && (PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name))
}

/// Makes a client's headers what Swift takes them for: `_` is `-`, a repeated header is a list, and nothing in
/// them is internal. When the request happened is for the proxy to say.
fn admit(headers: &mut HeaderMap) {
    let underscored = headers.keys().any(|name| name.as_str().contains('_'));
    if underscored || headers.len() != headers.keys_len() {
        *headers = normalized(headers);
    }
    let internal = |name: &&HeaderName| is_internal(name.as_str());
    let unwanted: Vec<HeaderName> = headers.keys().filter(internal).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
    headers.remove(headers::X_TIMESTAMP);
    headers.remove(headers::X_TRANS_ID);
    if headers.contains_key(http::header::TRANSFER_ENCODING) {
        // Two lengths would be an invitation to smuggle a request past one of the readers.
        headers.remove(http::header::CONTENT_LENGTH);
    }
}

fn normalized(headers: &HeaderMap) -> HeaderMap {
    let mut all = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let name = match name.as_str().contains('_') {
            true => HeaderName::try_from(name.as_str().replace('_', "-")),
            false => Ok(name.clone()),
        };
        let Ok(name) = name else { continue };
        match all.get_mut(&name) {
            None => {
                all.insert(name, value.clone());
            }
            Some(before) => {
                let joined = [before.as_bytes(), b",", value.as_bytes()].concat();
                if let Ok(joined) = HeaderValue::from_bytes(&joined) {
                    *before = joined;
                }
            }
        }
    }
    all
}

/// Takes out of a response what no client may see.
fn release(headers: &mut HeaderMap) {
    let internal = |name: &&HeaderName| is_internal(name.as_str());
    let unwanted: Vec<HeaderName> = headers.keys().filter(internal).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admitted(pairs: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        admit(&mut headers);
        let text = |value: &HeaderValue| value.to_str().expect("text").to_owned();
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }

    #[test]
    fn internal_headers_do_not_come_in() {
        let pairs = [
            ("x-backend-storage-policy-index", "1"),
            ("x_backend_replication", "t"),
            ("x-container-host", "10.0.0.1:80"),
            ("x-object-sysmeta-a", "1"),
            ("x-timestamp", "1"),
            ("x-object-meta-a", "1"),
        ];
        assert_eq!(admitted(&pairs), [("x-object-meta-a".to_owned(), "1".to_owned())]);
    }

    #[tokio::test]
    async fn reserved_names_are_an_operators_choice() {
        for allowed in [false, true] {
            let inner = wire::service_fn((), |(), request: Request| async move {
                let mut response = wire::Response::new(wire::Body::empty());
                let told = request.headers().contains_key(headers::X_BACKEND_ALLOW_RESERVED_NAMES);
                response.headers_mut().insert("x-told", HeaderValue::from(u16::from(told)));
                response
            });
            let mut request = Request::new(wire::Body::empty());
            let yes = HeaderValue::from_static("true");
            request.headers_mut().insert("x-allow-reserved-names", yes.clone());
            request.headers_mut().insert(headers::X_BACKEND_ALLOW_RESERVED_NAMES, yes);
            let keeper = Gatekeeper { allow_reserved_names_header: allowed };
            let response = Arc::new(keeper).handle(request, inner).await;
            assert_eq!(response.headers()["x-told"], if allowed { "1" } else { "0" });
        }
    }

    #[test]
    fn underscores_are_dashes_and_repetitions_lists() {
        let pairs = [("x-object-meta-a_b", "1"), ("x-object-meta-a-b", "2")];
        assert_eq!(admitted(&pairs), [("x-object-meta-a-b".to_owned(), "1,2".to_owned())]);
    }

    #[test]
    fn of_two_lengths_the_chunks_win() {
        let pairs = [("transfer-encoding", "chunked"), ("content-length", "5")];
        assert_eq!(admitted(&pairs), [("transfer-encoding".to_owned(), "chunked".to_owned())]);
    }

    proptest! {
        #[test]
        fn nothing_internal_passes_either_way(name in "x[-_](backend|object|container|account|delete[-_]at)[-_](sysmeta|host|meta|transient[-_]sysmeta|device)([-_][a-z]{1,4})?") {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::try_from(name).expect("a name"), HeaderValue::from_static("1"));
            admit(&mut headers);
            prop_assert!(headers.keys().all(|name| !is_internal(name.as_str())));
            release(&mut headers);
            prop_assert!(headers.keys().all(|name| !is_internal(name.as_str())));
        }
    }
}

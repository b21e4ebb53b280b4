//! Making a client's response of a storage node's.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use wire::{Body, Response};

use super::error::{Refusal, page};
use super::listing::{Format, Wanted};
use crate::auth::{AccountAcl, Granted};
use crate::config::Config;
use crate::store::Answer;
use wire::headers;

/// What only the owner of an account sees and sets. Swift: proxy/server.py, `swift_owner_headers`.
const OWNER_HEADERS: [&str; 9] = [
    "x-container-read",
    "x-container-write",
    "x-container-sync-key",
    "x-container-sync-to",
    "x-account-meta-temp-url-key",
    "x-account-meta-temp-url-key-2",
    "x-container-meta-temp-url-key",
    "x-container-meta-temp-url-key-2",
    "x-account-access-control",
];

/// Takes out of a guest's request what only an owner sets; what is left is done, as in Swift.
pub(crate) fn without_owners_settings(headers: &mut HeaderMap) {
    for name in OWNER_HEADERS {
        headers.remove(name);
        // `x-container-read` is set to nothing by `x-remove-container-read`.
        headers.remove(format!("x-remove-{}", name.trim_start_matches("x-")));
    }
}

/// Said anew for each connection, or of no use to a client. Swift: proxy/controllers/base.py, `update_headers`.
const NOT_RELAYED: [&str; 9] = [
    "date",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "x-put-timestamp",
    "x-delete-after",
    "x-trans-id",
    "x-openstack-request-id",
    "server",
];

/// Turns a node's headers into a client's. The gatekeeper takes out the internal ones at the end.
fn relay_headers(headers: &mut HeaderMap) {
    for name in NOT_RELAYED {
        headers.remove(name);
    }
    if let Some(etag) = headers.get(header::ETAG) {
        let bare: Vec<u8> = etag.as_bytes().iter().copied().filter(|byte| *byte != b'"').collect();
        if let Ok(bare) = HeaderValue::from_bytes(&bare) {
            headers.insert(header::ETAG, bare);
        }
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
}

/// A node's refusal: its status and its headers, with our words.
fn refusal(mut from: Response) -> Response {
    let mut response = page(from.status());
    let headers = from.headers_mut();
    relay_headers(headers);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::CONTENT_TYPE);
    if from.status() != StatusCode::RANGE_NOT_SATISFIABLE {
        from.headers_mut().remove(header::ACCEPT_RANGES);
    }
    for (name, value) in from.headers() {
        response.headers_mut().append(name.clone(), value.clone());
    }
    response
}

/// The answer to a write: its status, and the node's sentence if it refused.
pub(crate) fn written(answer: Answer) -> Response {
    if answer.status.is_success() {
        page(answer.status)
    } else {
        Refusal::Backend(Box::new(answer)).into()
    }
}

/// A listing of an account or container, or its headers alone.
pub(crate) fn listing(
    mut response: Response,
    wanted: &Wanted,
    granted: Granted,
    config: &Config,
    is_head: bool,
) -> Response {
    if !response.status().is_success() {
        return refusal(response);
    }
    let length = response.headers().get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let empty = length.is_some_and(|length| length == b"0");
    let headers = response.headers_mut();
    relay_headers(headers);
    show_account_acl(headers);
    if granted != Granted::Owner {
        for name in OWNER_HEADERS {
            headers.remove(name);
        }
    }
    let index = headers.get(headers::X_BACKEND_STORAGE_POLICY_INDEX);
    let index = index.and_then(|value| value.to_str().ok()?.parse().ok());
    let policy = index.and_then(|index| config.policies.get(index));
    if let Some(policy) = policy.and_then(|policy| HeaderValue::from_str(&policy.name).ok()) {
        headers.insert("x-storage-policy", policy);
    }
    if wanted.varies {
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    }
    headers.insert(header::CONTENT_TYPE, wanted.format.content_type());
    if is_head {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        *response.body_mut() = Body::empty();
        *response.status_mut() = StatusCode::NO_CONTENT;
    } else if empty && wanted.format == Format::Plain {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}

/// The ACL of an account stands in its system metadata, which clients do not see.
fn show_account_acl(headers: &mut HeaderMap) {
    let stored = headers.remove("x-account-sysmeta-core-access-control");
    let acl = stored.and_then(|acl| AccountAcl::parse(std::str::from_utf8(acl.as_bytes()).ok()?));
    let shown = acl.and_then(|acl| HeaderValue::try_from(acl.shown()?).ok());
    if let Some(shown) = shown {
        headers.insert("x-account-access-control", shown);
    }
}

/// An object, a part of it, or why it is not sent.
pub(crate) fn object(mut response: Response) -> Response {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        return refusal(response);
    }
    let headers = response.headers_mut();
    relay_headers(headers);
    if let Some(kind) = headers.get(header::CONTENT_TYPE)
        && let Some(cleaned) = without_swift_parameters(kind)
    {
        headers.insert(header::CONTENT_TYPE, cleaned);
    }
    if status == StatusCode::NOT_MODIFIED {
        headers.remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::empty();
    }
    response
}

/// Storage nodes keep sizes of listings in parameters of the content type.
fn without_swift_parameters(kind: &HeaderValue) -> Option<HeaderValue> {
    let text =
        std::str::from_utf8(kind.as_bytes()).ok().filter(|text| text.contains("swift_bytes"))?;
    let kept = text.split(';').filter(|part| !part.trim_start().starts_with("swift_bytes="));
    HeaderValue::from_bytes(kept.collect::<Vec<_>>().join(";").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swifts_own_parameters_stay_inside() {
        let clean = |text: &'static str| without_swift_parameters(&HeaderValue::from_static(text));
        assert_eq!(
            clean("text/plain; charset=x;swift_bytes=5").expect("changed"),
            "text/plain; charset=x"
        );
        assert_eq!(clean("text/plain; charset=x"), None);
    }

    #[test]
    fn guests_do_not_set_acls() {
        let mut headers = HeaderMap::new();
        for name in ["x-container-read", "x-remove-container-write", "x-container-meta-color"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        without_owners_settings(&mut headers);
        assert_eq!(
            headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
            ["x-container-meta-color"]
        );
    }

    #[test]
    fn guests_do_not_see_acls() {
        let wanted = Wanted { format: Format::Json, varies: true };
        let listed = |granted| {
            let mut response = Response::new(Body::from("[]"));
            let headers = response.headers_mut();
            headers.insert("x-container-read", HeaderValue::from_static(".r:*"));
            headers.insert("x-backend-storage-policy-index", HeaderValue::from_static("0"));
            headers.insert("etag", HeaderValue::from_static("\"abc\""));
            listing(response, &wanted, granted, &Config::default(), false)
        };
        let owner = listed(Granted::Owner);
        assert_eq!(owner.headers()["x-container-read"], ".r:*");
        assert_eq!(owner.headers()["x-storage-policy"], "Policy-0");
        assert_eq!(owner.headers()["etag"], "abc");
        assert_eq!(owner.headers()["vary"], "Accept");
        assert!(!listed(Granted::Guest).headers().contains_key("x-container-read"));
    }
}

//! ETags in quotes, as RFC 9110 wants them, where somebody asked for that. Swift: common/middleware/etag_quoter.py.
//!
//! A container says so for its objects, an account for containers that say nothing, and the setting for the rest:
//! many clients of Swift compare ETags with MD5s that have no quotes.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

use super::{Answer, Handler, Middleware, Parts};
use crate::call::Call;
use crate::config::StartError;
use crate::store::{Level, Store};
use crate::swift::constraints::{is_true, means_true};

const SYSMETA: &str = "rfc-compliant-etags";

/// `[proxy.etag_quoter]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether ETags have quotes where neither container nor account say anything.
    pub enable_by_default: bool,
}

struct EtagQuoter {
    config: Config,
    store: Arc<Store>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let (config, store) = (parts.config.etag_quoter.clone(), Arc::clone(&parts.store));
    Ok(Arc::new(EtagQuoter { config, store }))
}

/// How a level says it: what clients send and see, what takes it away, and what is stored.
struct Names {
    client: &'static str,
    remove: &'static str,
    stored: &'static str,
}

const ACCOUNT: Names = Names {
    client: "x-account-rfc-compliant-etags",
    remove: "x-remove-account-rfc-compliant-etags",
    stored: "x-account-sysmeta-rfc-compliant-etags",
};
const CONTAINER: Names = Names {
    client: "x-container-rfc-compliant-etags",
    remove: "x-remove-container-rfc-compliant-etags",
    stored: "x-container-sysmeta-rfc-compliant-etags",
};

impl Middleware for EtagQuoter {
    fn handle(self: Arc<Self>, mut call: Call, next: Handler) -> Answer {
        let names = match call.entity.level() {
            Level::Account => ACCOUNT,
            Level::Container => CONTAINER,
            Level::Object => {
                let entity = call.entity.clone();
                return Box::pin(async move {
                    let mut response = next.answer(call).await;
                    if let Some(etag) = response.headers().get(header::ETAG).and_then(quoted)
                        && self.is_wanted(&entity).await
                    {
                        response.headers_mut().insert(header::ETAG, etag);
                    }
                    response
                });
            }
        };
        translate(&mut call.headers, &names);
        Box::pin(async move {
            let mut response = next.answer(call).await;
            let headers = response.headers_mut();
            if let Some(stored) = headers.remove(names.stored).filter(|stored| !stored.is_empty()) {
                headers.insert(HeaderName::from_static(names.client), stored);
            }
            response
        })
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        Some(("etag_quoter", json!({ "enable_by_default": self.config.enable_by_default })))
    }
}

impl EtagQuoter {
    /// Whether the ETag of an object has quotes. Without its container it has none, as the cluster says nothing.
    async fn is_wanted(&self, object: &crate::store::Entity) -> bool {
        let Ok(Some(container)) = self.store.container_info(object).await else { return false };
        if let Some(said) = container.sysmeta(SYSMETA) {
            return means_true(said);
        }
        let Ok(account) = self.store.account_info(object).await else { return false };
        match account.sysmeta(SYSMETA) {
            Some(said) => means_true(said),
            None => account.exists() && self.config.enable_by_default,
        }
    }
}

/// Turns what a client says into what is stored.
fn translate(headers: &mut HeaderMap, names: &Names) {
    let said = headers.remove(names.client);
    let removes = headers.remove(names.remove).is_some_and(|value| !value.is_empty());
    let stored = match &said {
        _ if removes => "",
        None => return,
        Some(said) if said.is_empty() => "",
        said if is_true(said.as_ref()) => "True",
        _ => "False",
    };
    headers.insert(HeaderName::from_static(names.stored), HeaderValue::from_static(stored));
}

/// An ETag with quotes, unless it has some.
fn quoted(etag: &HeaderValue) -> Option<HeaderValue> {
    let bytes = etag.as_bytes();
    let has = (bytes.starts_with(b"\"") || bytes.starts_with(b"W/\"")) && bytes.ends_with(b"\"");
    if has {
        return None;
    }
    HeaderValue::from_bytes(&[b"\"", bytes, b"\""].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_added_once() {
        let quoted = |etag| super::quoted(&HeaderValue::from_static(etag));
        assert_eq!(quoted("abc").expect("quoted"), "\"abc\"");
        for etag in ["\"abc\"", "W/\"abc\"", "\"\""] {
            assert_eq!(quoted(etag), None, "{etag}");
        }
        assert_eq!(quoted("\"abc").expect("half is not enough"), "\"\"abc\"");
    }

    #[test]
    fn what_clients_say_is_stored_as_system_metadata() {
        let stored = |said: &[(&'static str, &'static str)]| {
            let pairs = said.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            let mut headers: HeaderMap = pairs.collect();
            translate(&mut headers, &CONTAINER);
            assert!(!headers.contains_key(CONTAINER.client));
            assert!(!headers.contains_key(CONTAINER.remove));
            headers.get(CONTAINER.stored).map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(stored(&[]), None);
        assert_eq!(stored(&[(CONTAINER.client, "on")]).as_deref(), Some("True"));
        assert_eq!(stored(&[(CONTAINER.client, "no")]).as_deref(), Some("False"));
        assert_eq!(stored(&[(CONTAINER.client, "")]).as_deref(), Some(""));
        let removed = [(CONTAINER.client, "on"), (CONTAINER.remove, "x")];
        assert_eq!(stored(&removed).as_deref(), Some(""));
        assert_eq!(stored(&[(CONTAINER.remove, "")]), None);
        assert_eq!(stored(&[(ACCOUNT.client, "on")]), None);
    }
}

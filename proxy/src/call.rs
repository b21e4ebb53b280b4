//! One client's request on its way through the pipeline, and those that middlewares make on its behalf.
//!
//! Swift hands a WSGI environment along; here its parts have names and types. A [`Call`] is parsed once, at the front:
//! its path is an [`Entity`], its query is decoded, its headers hold nothing internal that a client sent. Headers
//! that middlewares add (`X-Object-Sysmeta-…`, `X-Backend-…`) reach storage nodes as they are.

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use sync_wrapper::SyncWrapper;
use wire::{Body, Caller, headers};

use crate::auth::{AccountAcl, Asked, Granted};
use crate::store::{Entity, Read};
use crate::swift::constraints::is_true;
use crate::swift::error::Refusal;

/// Set by a middleware that added a `swift_…` parameter to the content type itself (Swift:
/// `swift.content_type_overridden`). No client can say it.
pub(crate) const CONTENT_TYPE_OVERRIDDEN: &str = "x-backend-content-type-overridden";

/// One request to something stored.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) entity: Entity,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    /// Only its owner can touch it, so calls can be shared while something is waited for.
    pub(crate) body: SyncWrapper<Body>,
    pub(crate) context: Context,
}

/// What stays the same when a middleware asks on, in other words or for something else.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) trans_id: HeaderValue,
    /// Who asks, once that is known.
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) authority: Authority,
    /// The front door as the client named it: scheme, host and port.
    pub(crate) host: Option<Arc<str>>,
    /// The path as the client named it, decoded: `/v1/a/c/o`. It tells the version, and a slash at the end.
    pub(crate) path: Arc<str>,
    /// Where the client's connection comes from.
    pub(crate) client: Option<IpAddr>,
    /// Which middleware asks, if it is not the client (Swift: `swift.source`).
    pub(crate) source: Option<&'static str>,
    /// Where what becomes known of the request is noted for its log line.
    pub(crate) notes: Option<daemon::Notes>,
}

/// By what right something is done (Swift: `swift.authorize`).
#[derive(Clone, Debug, Default)]
pub(crate) enum Authority {
    /// By what the caller is, and what ACLs say.
    #[default]
    Caller,
    /// A middleware has made sure of it, or does it for the cluster.
    Granted,
    /// A signature lets anybody into this container, or this account.
    Signed(Entity),
}

/// A decoded query. Where a name is there twice the last one counts, as in Swift.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(pub(crate) Vec<(String, String)>);

impl Query {
    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Takes a parameter out.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// Sets a parameter, in the place of all of that name.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.0.push((name.to_owned(), value.into()));
    }
}

impl Call {
    /// A request of our own under the same transaction, for the same caller and by the same right. It has neither
    /// headers nor a body yet.
    pub(crate) fn sub(&self, method: Method, entity: Entity, source: &'static str) -> Call {
        self.context.call(method, entity, source)
    }

    /// The same by the cluster's own right: what it asks for was allowed, or is nobody's business.
    pub(crate) fn granted(mut self) -> Call {
        self.context.authority = Authority::Granted;
        self
    }

    /// With a header.
    pub(crate) fn with(mut self, name: &'static str, value: HeaderValue) -> Call {
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// With a parameter.
    pub(crate) fn ask(mut self, name: &str, value: impl Into<String>) -> Call {
        self.query.set(name, value);
        self
    }

    /// With a body, and no word of its length.
    pub(crate) fn carrying(mut self, body: Body) -> Call {
        self.body = SyncWrapper::new(body);
        self
    }

    /// Takes the body out.
    pub(crate) fn take_body(&mut self) -> Body {
        std::mem::replace(&mut self.body, SyncWrapper::new(Body::empty())).into_inner()
    }

    /// Whether a body comes with it that is not empty. Where its length is not told, its first byte is waited for.
    pub(crate) async fn has_body(&mut self, patience: Duration) -> Result<bool, Refusal> {
        if let Some(length) = self.headers.get(header::CONTENT_LENGTH) {
            return Ok(length != "0");
        }
        let body = self.body.get_mut();
        let first = async {
            loop {
                match body.frame().await {
                    None => return false,
                    Some(Ok(frame)) if frame.data_ref().is_none_or(Bytes::is_empty) => {}
                    Some(_) => return true,
                }
            }
        };
        let late = |_| Refusal::Status(http::StatusCode::REQUEST_TIMEOUT);
        tokio::time::timeout(patience, first).await.map_err(late)
    }

    /// A header as text; `None` when it is not there or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// Whether it reads.
    pub(crate) fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// Whether the caller may do this where `acl` says who may.
    pub(crate) fn authorize(
        &self,
        acl: Option<&str>,
        account_acl: Option<&AccountAcl>,
    ) -> Result<Granted, Refusal> {
        match &self.context.authority {
            Authority::Granted => return Ok(Granted::Owner),
            Authority::Signed(scope) if self.entity.is_within(scope) => return Ok(Granted::Guest),
            Authority::Signed(_) => return Err(self.unauthorized()),
            Authority::Caller => {}
        }
        let asked = Asked {
            caller: self.context.caller.as_deref(),
            method: &self.method,
            account: self.entity.account.as_str(),
            has_container: self.entity.container.is_some(),
            has_object: self.entity.object.is_some(),
            referer: self.header("referer"),
            account_acl,
        };
        asked.with_acl(acl).map_err(|_| self.denied())
    }

    /// Strangers are asked who they are; others are told that it is not theirs to do.
    pub(crate) fn denied(&self) -> Refusal {
        match self.context.caller {
            Some(_) => Refusal::Status(http::StatusCode::FORBIDDEN),
            None => self.unauthorized(),
        }
    }

    pub(crate) fn unauthorized(&self) -> Refusal {
        Refusal::Unauthorized(self.entity.account.to_string())
    }

    /// The headers of every backend request: the transaction, and what middlewares have to say to storage nodes.
    pub(crate) fn backend_headers(&self) -> HeaderMap {
        let mut out = HeaderMap::with_capacity(8);
        for (name, value) in &self.headers {
            if name.as_str().starts_with("x-backend-") {
                out.append(name.clone(), value.clone());
            }
        }
        out.insert(headers::X_TRANS_ID, self.context.trans_id.clone());
        out
    }

    /// Metadata of an account or a container: what is set, and what is to be removed.
    pub(crate) fn metadata(&self, kind: &str, further: &[&'static str]) -> HeaderMap {
        let mut out = self.backend_headers();
        let (meta, remove) = (format!("x-{kind}-meta-"), format!("x-remove-{kind}-meta-"));
        let system = format!("x-{kind}-sysmeta-");
        for name in self.headers.keys() {
            let Some(target) = name.as_str().strip_prefix("x-remove-") else { continue };
            let target = format!("x-{target}");
            let known = name.as_str().starts_with(&remove) || further.contains(&target.as_str());
            if let (true, Ok(target)) = (known, HeaderName::try_from(target)) {
                out.insert(target, HeaderValue::from_static(""));
            }
        }
        for (name, value) in &self.headers {
            let text = name.as_str();
            if text.starts_with(&meta) || text.starts_with(&system) || further.contains(&text) {
                out.insert(name.clone(), value.clone());
            }
        }
        out
    }

    /// A read as the store takes it, with only those of the client's headers that choose what is read.
    pub(crate) fn read(&self, query: Option<String>, choosing: &[header::HeaderName]) -> Read {
        let mut headers = self.backend_headers();
        for name in choosing {
            if let Some(value) = self.headers.get(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        let newest = is_true(self.headers.get(headers::X_NEWEST));
        if newest {
            headers.insert(headers::X_NEWEST, HeaderValue::from_static("true"));
        }
        Read { method: self.method.clone(), query, headers, newest, policy: None }
    }
}

impl Context {
    /// A request in this context; see [`Call::sub`].
    pub(crate) fn call(&self, method: Method, entity: Entity, source: &'static str) -> Call {
        let context = Context { source: Some(source), ..self.clone() };
        Call {
            method,
            entity,
            query: Query::default(),
            headers: HeaderMap::new(),
            body: SyncWrapper::new(Body::empty()),
            context,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use types::{AccountName, ContainerName, ObjectName};

    /// `account[/container[/object]]`.
    pub(crate) fn entity(path: &str) -> Entity {
        let mut parts = path.splitn(3, '/');
        Entity {
            account: AccountName::parse(parts.next().expect("an account")).expect("a name"),
            container: parts.next().map(|name| ContainerName::parse(name).expect("a name")),
            object: parts.next().map(|name| ObjectName::parse(name).expect("a name")),
        }
    }

    /// A request of nobody.
    pub(crate) fn call(method: Method, path: &str) -> Call {
        let context = Context {
            trans_id: HeaderValue::from_static("tx1"),
            caller: None,
            authority: Authority::Caller,
            host: None,
            path: format!("/v1/{path}").into(),
            client: None,
            source: None,
            notes: None,
        };
        let mut call = context.call(method, entity(path), "test");
        call.context.source = None;
        call
    }

    #[test]
    fn the_last_of_equal_parameters_counts() {
        let mut query = Query(vec![("a".into(), "1".into()), ("a".into(), "2".into())]);
        assert_eq!(query.get("a"), Some("2"));
        query.set("a", "3");
        assert_eq!(query.0, [("a".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn a_signature_lets_into_its_scope_only() {
        let allowed = |scope: &str, path: &str| {
            let mut call = call(Method::GET, path);
            call.context.authority = Authority::Signed(entity(scope));
            call.authorize(None, None).is_ok()
        };
        assert!(allowed("a/c", "a/c/o") && allowed("a", "a/c/o"));
        assert!(!allowed("a/c", "a/d/o") && !allowed("a", "b/c/o") && !allowed("a/c", "a"));
    }

    #[test]
    fn what_a_middleware_says_to_nodes_reaches_them_and_settings_are_removed() {
        let mut call = call(Method::POST, "a/c")
            .with("x-backend-test", HeaderValue::from_static("1"))
            .with("x-container-sysmeta-versions", HeaderValue::from_static("on"))
            .with("x-remove-container-meta-color", HeaderValue::from_static("x"));
        call.headers.insert("x-other", HeaderValue::from_static("1"));
        let sent = call.metadata("container", &[]);
        assert_eq!(sent["x-backend-test"], "1");
        assert_eq!(sent["x-container-sysmeta-versions"], "on");
        assert_eq!(sent["x-container-meta-color"], "");
        assert!(!sent.contains_key("x-other"));
    }
}

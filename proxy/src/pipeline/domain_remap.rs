//! Accounts and containers as names of hosts: `container.AUTH-account.example.com/object`.
//! Swift: common/middleware/domain_remap.py. Without a domain it does nothing.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use wire::{Answer, Request, Response, Service, encode_segment};

use super::{FrontMiddleware, Parts};
use crate::config::StartError;
use crate::swift::error::Refusal;

/// `[proxy.domain_remap]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The domains below which hosts are accounts and containers; usually none.
    pub storage_domain: Vec<String>,
    /// What paths begin with.
    pub path_root: String,
    /// What accounts begin with; hosts lose the case of letters, and it is given back by this.
    pub reseller_prefixes: Vec<String>,
    /// What is put before accounts that begin with none of these; without it they are not translated.
    pub default_reseller_prefix: Option<String>,
    /// Whether `path_root` at the beginning of a client's path is taken for what it is, not for a name.
    pub mangle_client_paths: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            storage_domain: Vec::new(),
            path_root: "v1".to_owned(),
            reseller_prefixes: vec!["AUTH".to_owned()],
            default_reseller_prefix: None,
            mangle_client_paths: false,
        }
    }
}

struct DomainRemap {
    domains: Domains,
    config: Config,
}

/// Domains of the storage: each with a dot before it, in lower case.
pub(super) struct Domains(Vec<String>);

impl Domains {
    pub(super) fn new(given: &[String]) -> Self {
        let domains = given.iter().map(|domain| domain.trim_start_matches('.'));
        Domains(domains.map(|domain| format!(".{}", domain.to_ascii_lowercase())).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a host is one of them, or below one.
    pub(super) fn contain(&self, host: &str) -> bool {
        self.below(&format!(".{host}")).is_some()
    }

    /// What stands in a host before one of them.
    fn below<'h>(&self, host: &'h str) -> Option<&'h str> {
        let lower = host.to_ascii_lowercase();
        let domain = self.0.iter().find(|domain| lower.ends_with(domain.as_str()))?;
        // Only letters of ASCII changed, so lengths are the same.
        Some(&host[..host.len() - domain.len()])
    }
}

/// The name in the value of `Host`.
pub(super) fn without_port(host: &str) -> &str {
    // Not one of the colons in an address.
    let port = host.rfind(':').filter(|colon| !host[*colon..].contains(']'));
    &host[..port.unwrap_or(host.len())]
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn FrontMiddleware>, StartError> {
    Ok(Arc::new(DomainRemap::new(parts.config.domain_remap.clone())))
}

/// What a host stands for.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// Nothing: the path says all.
    Nothing,
    /// A host below the domain, but no account.
    Bad,
    Account(String),
    Container {
        account: String,
        container: String,
    },
}

impl FrontMiddleware for DomainRemap {
    fn handle(self: Arc<Self>, mut request: Request, next: Service) -> Answer {
        // Names of containers may have letters that names of hosts have not.
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| std::str::from_utf8(host.as_bytes()).ok());
        let root = match host.map_or(Meaning::Nothing, |host| self.meaning(host)) {
            Meaning::Nothing => return next.answer(request),
            Meaning::Bad => {
                let refusal = Refusal::bad_request("Bad domain in host header");
                return Box::pin(std::future::ready(Response::from(refusal)));
            }
            Meaning::Account(account) => format!("/{}/{account}", self.root()),
            Meaning::Container { account, container } => {
                format!("/{}/{account}/{container}", self.root())
            }
        };
        let (asked, meant) = self.paths(&encode_segment(&root), request.uri().path());
        let Some(uri) = with_path(request.uri(), &meant) else {
            let refusal = Refusal::bad_request("Bad domain in host header");
            return Box::pin(std::future::ready(Response::from(refusal)));
        };
        *request.uri_mut() = uri;
        Box::pin(async move {
            let mut response = next.answer(request).await;
            for name in [header::LOCATION, header::CONTENT_LOCATION] {
                restore(response.headers_mut(), &name, &asked, &meant);
            }
            response
        })
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        if self.domains.is_empty() {
            return None;
        }
        let prefix = &self.config.default_reseller_prefix;
        Some(("domain_remap", json!({ "default_reseller_prefix": prefix })))
    }
}

impl DomainRemap {
    fn new(config: Config) -> Self {
        DomainRemap { domains: Domains::new(&config.storage_domain), config }
    }

    fn root(&self) -> &str {
        self.config.path_root.trim_matches('/')
    }

    fn meaning(&self, host: &str) -> Meaning {
        let Some(names) = self.domains.below(without_port(host)) else { return Meaning::Nothing };
        let names = names.trim_matches('.');
        let (container, account) = match names.split_once('.') {
            None => (None, names),
            Some((_, rest)) if rest.contains('.') => return Meaning::Bad,
            Some((container, account)) => (Some(container), account),
        };
        let Some(account) = self.account(account) else { return Meaning::Nothing };
        match container {
            None => Meaning::Account(account),
            Some(container) => Meaning::Container { account, container: container.to_owned() },
        }
    }

    /// The account of a name in a host, which has no underscores and perhaps no capitals.
    fn account(&self, name: &str) -> Option<String> {
        let prefixes = &self.config.reseller_prefixes;
        if prefixes.is_empty() {
            return Some(name.to_owned());
        }
        let name = match name.contains('_') {
            true => name.to_owned(),
            false => name.replacen('-', "_", 1),
        };
        let found = name.split('_').next().unwrap_or_default();
        match prefixes.iter().find(|prefix| prefix.eq_ignore_ascii_case(found)) {
            Some(prefix) => Some(format!("{prefix}{}", &name[found.len()..])),
            None => {
                let prefix = self.config.default_reseller_prefix.as_ref()?;
                Some(format!("{prefix}_{name}"))
            }
        }
    }

    /// The client's path, and what it means, both encoded in our own way.
    fn paths(&self, root: &str, path: &str) -> (String, String) {
        let decoded: Vec<u8> = percent_decode_str(path).collect();
        let Ok(text) = String::from_utf8(decoded) else {
            // What is no text is refused further in, as it is.
            return (path.to_owned(), format!("{root}{path}"));
        };
        let asked = encode_segment(&text);
        let rest = text.strip_prefix('/').unwrap_or(&text);
        let start = format!("{}/", self.root());
        let mangled = self.config.mangle_client_paths && format!("{rest}/").starts_with(&start);
        let rest = if mangled { rest.get(start.len()..).unwrap_or_default() } else { rest };
        (asked, format!("{root}/{}", encode_segment(rest)))
    }
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let path = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// Clients are sent on in the words in which they asked.
fn restore(headers: &mut HeaderMap, name: &HeaderName, asked: &str, meant: &str) {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else { return };
    let Some((scheme, rest)) = value.split_once("://") else { return };
    let Some(slash) = rest.find('/') else { return };
    let (host, path) = rest.split_at(slash);
    let Some(rest) = path.strip_prefix(meant) else { return };
    if let Ok(value) = HeaderValue::try_from(format!("{scheme}://{host}{asked}{rest}")) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use proptest::prelude::*;
    use wire::Body;

    fn config() -> Config {
        Config { storage_domain: vec!["example.com".to_owned()], ..Config::default() }
    }

    /// The path that arrives further in, or the refusal.
    async fn arrives(config: Config, host: &str, path: &str) -> Result<String, StatusCode> {
        let inner = wire::service_fn((), |(), request: Request| async move {
            let mut response = Response::default();
            let path = HeaderValue::try_from(request.uri().to_string()).expect("a path");
            response.headers_mut().insert("x-path", path);
            response
        });
        let request = http::Request::builder().uri(path).header("host", host).body(Body::empty());
        let response =
            Arc::new(DomainRemap::new(config)).handle(request.expect("a request"), inner).await;
        match response.status() {
            StatusCode::OK => Ok(response.headers()["x-path"].to_str().expect("text").to_owned()),
            status => Err(status),
        }
    }

    #[tokio::test]
    async fn hosts_become_accounts_and_containers() {
        let cases = [
            ("AUTH-a.example.com", "/c/o", Ok("/v1/AUTH_a/c/o")),
            ("auth_a.EXAMPLE.com:8080", "/", Ok("/v1/AUTH_a/")),
            ("c.auth-a-b.example.com", "/o?x=y", Ok("/v1/AUTH_a-b/c/o?x=y")),
            ("c.auth-a.example.com", "/v1/o%20p", Ok("/v1/AUTH_a/c/v1/o%20p")),
            ("ü.auth-a.example.com", "/o", Ok("/v1/AUTH_a/%C3%BC/o")),
            ("other-a.example.com", "/v1/x", Ok("/v1/x")),
            ("example.com", "/v1/x", Ok("/v1/x")),
            ("auth-a.example.org", "/v1/x", Ok("/v1/x")),
            ("x.c.auth-a.example.com", "/o", Err(StatusCode::BAD_REQUEST)),
        ];
        for (host, path, expected) in cases {
            let found = arrives(config(), host, path).await;
            assert_eq!(found, expected.map(str::to_owned), "{host}{path}");
        }
    }

    #[tokio::test]
    async fn settings() {
        let prefixed = Config { default_reseller_prefix: Some("AUTH".into()), ..config() };
        let path = arrives(prefixed, "a.example.com", "/c").await;
        assert_eq!(path.as_deref(), Ok("/v1/AUTH_a/c"));
        let mangling = || Config { mangle_client_paths: true, ..config() };
        for (path, meant) in
            [("/v1/c", "/v1/AUTH_a/c"), ("/v1", "/v1/AUTH_a/"), ("/v12", "/v1/AUTH_a/v12")]
        {
            let found = arrives(mangling(), "auth-a.example.com", path).await;
            assert_eq!(found.as_deref(), Ok(meant), "{path}");
        }
        let any = Config { reseller_prefixes: Vec::new(), ..config() };
        let path = arrives(any, "a-b.example.com", "/c").await;
        assert_eq!(path.as_deref(), Ok("/v1/a-b/c"));
        assert_eq!(
            arrives(Config::default(), "auth-a.example.com", "/c").await.as_deref(),
            Ok("/c")
        );
    }

    #[test]
    fn locations_are_told_in_the_clients_words() {
        let restored = |location: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, HeaderValue::from_static(location));
            restore(&mut headers, &header::LOCATION, "/d%20e", "/v1/AUTH_a/c/d%20e");
            headers[header::LOCATION].to_str().expect("text").to_owned()
        };
        assert_eq!(restored("http://h/v1/AUTH_a/c/d%20e/"), "http://h/d%20e/");
        assert_eq!(restored("http://h/elsewhere"), "http://h/elsewhere");
        assert_eq!(restored("/v1/AUTH_a/c/d%20e/"), "/v1/AUTH_a/c/d%20e/");
    }

    proptest! {
        #[test]
        fn never_panics(host in "\\PC{0,30}|[a-z_.:-]{0,20}\\.example\\.com(:80)?", path in "/[\\PC]{0,20}") {
            let remap = DomainRemap::new(config());
            let _ = remap.meaning(&host);
            let _ = remap.paths("/v1/a", &path);
        }
    }
}

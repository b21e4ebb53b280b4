//! Customers' own names of hosts: a host that is not of the storage's domain is looked up in the DNS, and if it is a
//! CNAME of one that is, stands for that ([`super::domain_remap`] translates it further).
//! Swift: common/middleware/cname_lookup.py. Without a domain it does nothing; with one, hosts that lead nowhere are refused.
//!
//! What the DNS says is remembered for as long as it says, and that a name leads nowhere for a minute. Only so many questions
//! are asked at a time: who sends names that nobody answers for makes others wait, but not for longer than `timeout_ms`.

use domain::base::iana::{Class, Rcode};
use domain::base::{Name, Rtype};
use domain::rdata::Cname;
use domain::resolv::StubResolver;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};
use http::HeaderMap;
use http::header::{self, HeaderValue};
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wire::{Answer, Request, Response, Service};

use super::domain_remap::{Domains, without_port};
use super::{FrontMiddleware, Parts};
use crate::config::StartError;
use crate::swift::error::Refusal;

/// The port of name servers.
const DNS_PORT: u16 = 53;
/// How long it is remembered that a name has no CNAME.
const NOWHERE: Duration = Duration::from_secs(60);
/// Nothing is remembered for longer than this, whatever the DNS says.
const REMEMBERED_MAX: Duration = Duration::from_secs(24 * 3600);

/// `[proxy.cname_lookup]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The domains below which hosts are the storage's; usually none.
    pub storage_domain: Vec<String>,
    /// How many CNAMEs are followed from a client's host.
    pub lookup_depth: u32,
    /// Addresses of name servers, as `192.0.2.1` or `192.0.2.1:5353`; without one, those of the machine.
    pub nameservers: Vec<String>,
    /// How long all questions about a host may take.
    pub timeout_ms: u64,
    /// Questions that are asked at a time.
    pub lookups_max: u32,
    /// Names that are remembered.
    pub cache_entries_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            storage_domain: Vec::new(),
            lookup_depth: 1,
            nameservers: Vec::new(),
            timeout_ms: 5000,
            lookups_max: 64,
            cache_entries_max: 10_000,
        }
    }
}

struct CnameLookup {
    domains: Domains,
    lookup_depth: u32,
    timeout: Duration,
    names: Names,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn FrontMiddleware>, StartError> {
    Ok(Arc::new(CnameLookup::new(&parts.config.cname_lookup)?))
}

impl FrontMiddleware for CnameLookup {
    fn handle(self: Arc<Self>, mut request: Request, next: Service) -> Answer {
        let host = request.headers().get(header::HOST);
        let asked = host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let Some(asked) = asked.filter(|host| self.concerns(host)) else {
            return next.answer(request);
        };
        Box::pin(async move {
            let name = without_port(&asked);
            let found = match tokio::time::timeout(self.timeout, self.find(name)).await {
                Ok(Ok(found)) => found,
                Ok(Err(lost)) => return lost.refusal(self.lookup_depth).into(),
                Err(_) => return Lost::Nowhere.refusal(self.lookup_depth).into(),
            };
            let meant = format!("{found}{}", &asked[name.len()..]);
            // What the DNS gives as text is a value, and if not, no host.
            let Ok(value) = HeaderValue::try_from(&meant) else {
                return Lost::Nowhere.refusal(self.lookup_depth).into();
            };
            request.headers_mut().insert(header::HOST, value);
            let mut response: Response = next.answer(request).await;
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
        Some(("cname_lookup", json!({ "lookup_depth": self.lookup_depth })))
    }
}

/// Why a host stands for nothing.
#[derive(Debug, PartialEq, Eq)]
enum Lost {
    /// Its CNAMEs go on after as many as are followed.
    TooFar,
    /// It has none, or the DNS does not say.
    Nowhere,
}

impl Lost {
    fn refusal(&self, depth: u32) -> Refusal {
        Refusal::bad_request(match self {
            Lost::TooFar => format!("CNAME lookup failed after {depth} tries"),
            Lost::Nowhere => "CNAME lookup failed to resolve to a valid domain".to_owned(),
        })
    }
}

impl CnameLookup {
    fn new(config: &Config) -> Result<Self, StartError> {
        Ok(CnameLookup {
            domains: Domains::new(&config.storage_domain),
            lookup_depth: config.lookup_depth,
            timeout: Duration::from_millis(config.timeout_ms),
            names: Names::new(config)?,
        })
    }

    /// Whether a host is to be looked up.
    fn concerns(&self, host: &str) -> bool {
        let name = without_port(host);
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        !self.domains.is_empty() && address.is_err() && !self.domains.contain(name)
    }

    /// The host of the storage that a name leads to.
    async fn find(&self, name: &str) -> Result<String, Lost> {
        let mut name = name.to_owned();
        for _ in 0..self.lookup_depth {
            let found = self.names.cname(&name).await.filter(|found| *found != name);
            let found = found.ok_or(Lost::Nowhere)?;
            if self.domains.contain(&found) {
                return Ok(found);
            }
            name = found;
        }
        Err(Lost::TooFar)
    }
}

/// What is known of names.
struct Names {
    resolver: StubResolver,
    asking: Semaphore,
    known: Cache<String, Known>,
}

#[derive(Clone)]
struct Known {
    cname: Option<String>,
    until: Instant,
}

impl Names {
    fn new(config: &Config) -> Result<Self, StartError> {
        let mut servers = Vec::with_capacity(config.nameservers.len());
        for given in &config.nameservers {
            let address = given.parse::<SocketAddr>();
            let address =
                address.or_else(|_| given.parse().map(|ip: IpAddr| (ip, DNS_PORT).into()));
            let address = address.map_err(|_| StartError::NameServer(given.clone()))?;
            servers.push(ServerConf::new(address, Transport::UdpTcp));
        }
        let mut resolver = ResolvConf::default();
        if !servers.is_empty() {
            resolver.servers = servers;
        }
        Ok(Names {
            resolver: StubResolver::from_conf(resolver),
            asking: Semaphore::new(config.lookups_max as usize),
            known: Cache::new(config.cache_entries_max as usize),
        })
    }

    /// The name that a name is an alias of, in lower case and without the last dot.
    async fn cname(&self, name: &str) -> Option<String> {
        let key = name.to_ascii_lowercase();
        let current = |known: &Known| known.until > Instant::now();
        if let Some(known) = self.known.get(&key).filter(current) {
            return known.cname;
        }
        // The semaphore is never closed.
        let _permit = self.asking.acquire().await.ok()?;
        let (cname, ttl) = match self.ask(&key).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(name = key, %error, "the DNS gives no answer about a host");
                return None;
            }
        };
        let until = Instant::now() + ttl.min(REMEMBERED_MAX);
        self.known.insert(key, Known { cname: cname.clone(), until });
        cname
    }

    /// Asks the DNS.
    async fn ask(&self, name: &str) -> io::Result<(Option<String>, Duration)> {
        // What can be no name in the DNS is none.
        let Ok(name) = name.parse::<Name<Vec<u8>>>() else { return Ok((None, NOWHERE)) };
        let answer = self.resolver.query((&name, Rtype::CNAME, Class::IN)).await?;
        let rcode = answer.header().rcode();
        if rcode != Rcode::NOERROR && rcode != Rcode::NXDOMAIN {
            return Err(io::Error::other(format!("it answers {rcode}")));
        }
        let section = answer.answer().map_err(io::Error::other)?;
        for record in section.limit_to_in::<Cname<_>>() {
            let record = record.map_err(io::Error::other)?;
            if record.owner() == &name {
                let cname = record.data().cname().to_string().to_ascii_lowercase();
                let cname = cname.trim_end_matches('.').to_owned();
                return Ok((Some(cname), record.ttl().into_duration()));
            }
        }
        Ok((None, NOWHERE))
    }
}

/// Clients are sent on to the host that they asked.
fn restore(headers: &mut HeaderMap, name: &header::HeaderName, asked: &str, meant: &str) {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else { return };
    let Some((scheme, rest)) = value.split_once("://") else { return };
    let Some(path) = rest.strip_prefix(meant) else { return };
    if !(path.is_empty() || path.starts_with('/')) {
        return;
    }
    if let Ok(value) = HeaderValue::try_from(format!("{scheme}://{asked}{path}")) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::Ttl;
    use domain::base::iana::Opcode;
    use domain::base::message::Message;
    use domain::base::message_builder::MessageBuilder;
    use http::StatusCode;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::net::UdpSocket;
    use wire::Body;

    /// A name server that knows some aliases. It counts what it is asked.
    struct Dns {
        address: SocketAddr,
        asked: Arc<AtomicUsize>,
    }

    type Alias = (&'static str, &'static str);

    fn answer(question: &[u8], aliases: &[Alias]) -> Vec<u8> {
        let question = Message::from_octets(question).expect("a message");
        assert_eq!(question.header().opcode(), Opcode::QUERY);
        let asked = question.sole_question().expect("a question");
        let name = asked.qname().to_string();
        let known = aliases.iter().find(|(alias, _)| name.eq_ignore_ascii_case(alias));
        let rcode = known.map_or(Rcode::NXDOMAIN, |_| Rcode::NOERROR);
        let builder = MessageBuilder::new_vec().start_answer(&question, rcode);
        let mut builder = builder.expect("there is room");
        if let Some((_, target)) = known {
            let target: Name<Vec<u8>> = target.parse().expect("a name");
            let data = Cname::new(target);
            builder.push((asked.qname(), Class::IN, Ttl::from_secs(300), data)).expect("room");
        }
        builder.finish()
    }

    impl Dns {
        async fn start(aliases: &'static [Alias]) -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            let address = socket.local_addr().expect("an address");
            let asked = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&asked);
            tokio::spawn(async move {
                let mut question = [0; 1500];
                while let Ok((length, from)) = socket.recv_from(&mut question).await {
                    counter.fetch_add(1, Ordering::SeqCst);
                    let answer = answer(&question[..length], aliases);
                    socket.send_to(&answer, from).await.expect("the asker is there");
                }
            });
            Dns { address, asked }
        }

        fn lookup(&self, depth: u32) -> Arc<CnameLookup> {
            let config = Config {
                storage_domain: vec!["example.com".to_owned()],
                lookup_depth: depth,
                nameservers: vec![self.address.to_string()],
                ..Config::default()
            };
            Arc::new(CnameLookup::new(&config).expect("a configuration"))
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    /// The host that arrives further in, or why none does. Further in, clients are sent on.
    async fn arrives(lookup: &Arc<CnameLookup>, host: &str) -> Result<String, String> {
        let inner = wire::service_fn((), |(), request: Request| async move {
            let mut response = Response::default();
            let host = request.headers()[header::HOST].clone();
            let location = format!("http://{}/there", host.to_str().expect("text"));
            let location = HeaderValue::try_from(location).expect("a value");
            response.headers_mut().insert(header::LOCATION, location);
            response.headers_mut().insert("x-host", host);
            response
        });
        let request = http::Request::builder().uri("/o").header(header::HOST, host);
        let request = request.body(Body::empty()).expect("a request");
        let response = Arc::clone(lookup).handle(request, inner).await;
        if response.status() == StatusCode::OK {
            let text = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
            assert_eq!(text("location"), format!("http://{host}/there"));
            return Ok(text("x-host"));
        }
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("a body");
        Err(String::from_utf8(body.to_vec()).expect("text"))
    }

    const ALIASES: &[Alias] = &[
        ("www.customer.test", "C.auth-a.Example.com."),
        ("shop.customer.test", "www.customer.test."),
        ("itself.customer.test", "itself.customer.test."),
        ("elsewhere.customer.test", "other.test."),
    ];

    #[tokio::test]
    async fn hosts_of_customers_stand_for_those_of_the_storage() {
        let dns = Dns::start(ALIASES).await;
        let lookup = dns.lookup(1);
        for (host, meant) in [
            ("www.customer.test", "c.auth-a.example.com"),
            ("WWW.customer.test:8080", "c.auth-a.example.com:8080"),
            // These are not looked up.
            ("c.AUTH-a.example.com", "c.AUTH-a.example.com"),
            ("example.com", "example.com"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(arrives(&lookup, host).await.as_deref(), Ok(meant), "{host}");
        }
        assert_eq!(dns.asked(), 1, "the answer is remembered");
    }

    #[tokio::test]
    async fn what_leads_nowhere_is_refused() {
        let dns = Dns::start(ALIASES).await;
        let lookup = dns.lookup(1);
        for (host, why) in [
            ("shop.customer.test", "CNAME lookup failed after 1 tries"),
            ("elsewhere.customer.test", "CNAME lookup failed after 1 tries"),
            ("itself.customer.test", "CNAME lookup failed to resolve to a valid domain"),
            ("unknown.test", "CNAME lookup failed to resolve to a valid domain"),
            ("no..name", "CNAME lookup failed to resolve to a valid domain"),
        ] {
            let refused = arrives(&lookup, host).await.expect_err("refused");
            assert!(refused.contains(why), "{host}: {refused}");
        }
        assert_eq!(dns.asked(), 4, "what is no name is not asked for");
        assert!(arrives(&lookup, "unknown.test").await.is_err());
        assert_eq!(dns.asked(), 4, "that a name is unknown is remembered");
        let deeper = dns.lookup(2);
        let found = arrives(&deeper, "shop.customer.test").await;
        assert_eq!(found.as_deref(), Ok("c.auth-a.example.com"));
    }

    #[tokio::test]
    async fn settings() {
        let dns = Dns::start(ALIASES).await;
        let off = Arc::new(CnameLookup::new(&Config::default()).expect("the default"));
        assert_eq!(arrives(&off, "www.customer.test").await.as_deref(), Ok("www.customer.test"));
        assert!(off.info().is_none());
        let info = dns.lookup(3).info().expect("a section");
        assert_eq!(info, ("cname_lookup", json!({ "lookup_depth": 3 })));
        let named = |name: &str| Config { nameservers: vec![name.to_owned()], ..Config::default() };
        for good in ["192.0.2.1", "192.0.2.1:5353", "::1", "[::1]:53"] {
            assert!(CnameLookup::new(&named(good)).is_ok(), "{good}");
        }
        for bad in ["localhost", "192.0.2.1:dns", ""] {
            assert!(CnameLookup::new(&named(bad)).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_silent_name_server_costs_only_the_patience() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let config = Config {
            storage_domain: vec!["example.com".to_owned()],
            nameservers: vec![silent.local_addr().expect("an address").to_string()],
            timeout_ms: 20,
            ..Config::default()
        };
        let lookup = Arc::new(CnameLookup::new(&config).expect("a configuration"));
        let refused = arrives(&lookup, "www.customer.test").await.expect_err("refused");
        assert!(refused.contains("failed to resolve"), "{refused}");
    }
}

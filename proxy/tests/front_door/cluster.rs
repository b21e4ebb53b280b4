//! A proxy, its rings and its nodes.

use crate::node::Node;
use bytes::Bytes;
use daemon::{Env, ManualClock, Running};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proxy::{Config, Rings, SortingMethod, StartError};
use ring_builder::{Device, Ring, RingData};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;
use types::{HashPaths, PolicyIndex};
use wire::{
    AuthUnavailable, Authenticator, Body, Caller, Endpoint, NodeClient, Request, Response,
    Verifying,
};

pub(crate) const DEVICES: usize = 5;

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) client: NodeClient,
    ring: Arc<Ring>,
    running: Running,
    clock: Arc<ManualClock>,
}

/// Tokens are names: what somebody may do is in the name.
struct Tokens;

fn owned(account: &str) -> wire::Owned {
    wire::Owned { account: account.into(), require_group: None }
}

impl Authenticator for Tokens {
    fn verify<'a>(&'a self, token: &'a str) -> Verifying<'a> {
        let caller = |user: &str, account: &str, admin: bool, reseller: bool| Caller {
            user: user.into(),
            account: account.into(),
            groups: vec![user.into(), user.split(':').next().unwrap_or_default().into()],
            owns: admin.then(|| owned(account)).into_iter().collect(),
            reseller_admin: reseller,
            ..Caller::default()
        };
        let answer = match token {
            "owner" => Ok(Some(caller("test:tester", "AUTH_test", true, false))),
            "member" => Ok(Some(caller("test:member", "AUTH_test", false, false))),
            "other" => Ok(Some(caller("other:admin", "AUTH_other", true, false))),
            "reseller" => Ok(Some(caller("admin:admin", "AUTH_admin", true, true))),
            "unavailable" => Err(AuthUnavailable),
            _ => Ok(None),
        };
        Box::pin(async move { answer })
    }
}

/// How the proxy reaches its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wiring {
    InProcess,
    Sockets,
}

pub(crate) const WIRINGS: [Wiring; 2] = [Wiring::InProcess, Wiring::Sockets];

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body ended with an error.
    pub(crate) broken: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn ring(replicas: usize, ports: &[u16]) -> Ring {
    let devs = (0..DEVICES).map(|id| {
        Some(Device {
            device: format!("d{id}"),
            id: id as u32,
            ip: "127.0.0.1".into(),
            meta: String::new(),
            port: ports[id],
            region: 1,
            replication_ip: "127.0.0.1".into(),
            replication_port: ports[id],
            weight: 1.0,
            zone: id as u32,
        })
    });
    let row = |replica: usize| (0..16).map(|part| ((part + replica) % DEVICES) as u32).collect();
    let data = RingData {
        devs: devs.collect(),
        part_shift: 28,
        rows: (0..replicas).map(row).collect(),
        version: None,
        next_part_power: None,
    };
    Ring::new(data).expect("a ring")
}

pub(crate) fn config() -> Config {
    Config { sorting_method: SortingMethod::Ring, ..Config::default() }
}

impl Cluster {
    pub(crate) async fn start(replicas: usize) -> Self {
        Cluster::with(replicas, config()).await
    }

    pub(crate) async fn with(replicas: usize, config: Config) -> Self {
        Cluster::try_with(replicas, config, Wiring::InProcess).await.expect("starts")
    }

    pub(crate) async fn try_with(
        replicas: usize,
        config: Config,
        wiring: Wiring,
    ) -> Result<Self, StartError> {
        let client = NodeClient::new(Duration::from_millis(200));
        let nodes: Vec<Arc<Node>> = (0..DEVICES).map(|_| Arc::default()).collect();
        let shutdown = daemon::Shutdown::default();
        let mut ports = Vec::new();
        for (id, node) in nodes.iter().enumerate() {
            let service = wire::service_fn(Arc::clone(node), |node, request| node.serve(request));
            match wiring {
                Wiring::InProcess => {
                    ports.push(1 + id as u16);
                    client.register(Endpoint::new("127.0.0.1", 1 + id as u16), service);
                }
                Wiring::Sockets => {
                    let listener =
                        tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
                    ports.push(listener.local_addr().expect("an address").port());
                    let options = daemon::ServeOptions::default();
                    tokio::spawn(daemon::serve(listener, service, options, shutdown.clone()));
                }
            }
        }
        let ring = Arc::new(ring(replicas, &ports));
        let rings = Rings {
            account: ring.clone(),
            container: ring.clone(),
            objects: [(PolicyIndex(0), ring.clone())].into(),
        };
        let clock = Arc::new(ManualClock::at_seconds(1_700_000_000));
        let env = Env { clock: clock.clone(), client: client.clone(), shutdown: shutdown.clone() };
        let running = proxy::start(config, env, rings, HashPaths::default(), Arc::new(Tokens));
        Ok(Cluster { nodes, client, ring, running: running.await?, clock })
    }

    /// The same as [`Cluster::furnished`], with the nodes near or far.
    pub(crate) async fn wired(replicas: usize, wiring: Wiring) -> Self {
        let cluster = Cluster::try_with(replicas, config(), wiring).await.expect("starts");
        assert_eq!(cluster.owner("PUT", "/v1/AUTH_test/c", &[]).await.status, 201);
        cluster
    }

    pub(crate) fn service(&self) -> wire::Service {
        self.running.service()
    }

    /// With an account and a container `c` in it.
    pub(crate) async fn furnished(replicas: usize) -> Self {
        let cluster = Cluster::start(replicas).await;
        assert_eq!(cluster.owner("PUT", "/v1/AUTH_test/c", &[]).await.status, 201);
        cluster
    }

    pub(crate) async fn call(&self, request: Request) -> Answer {
        self.clock.advance_micros(10_000);
        let response: Response = self.running.service().oneshot(request).await.expect("answers");
        let (parts, body) = response.into_parts();
        let mut stream = body.into_data_stream();
        let (mut bytes, mut broken) = (Vec::new(), false);
        while let Some(chunk) = futures_util::StreamExt::next(&mut stream).await {
            match chunk {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        let status = parts.status.as_u16();
        Answer { status, headers: parts.headers, body: bytes.into(), broken }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(request(method, path, headers, Body::empty())).await
    }

    /// By the name of a host, of nobody.
    pub(crate) async fn ask_host(&self, method: &str, host: &str, path: &str) -> Answer {
        self.ask(method, path, &[("host", host)]).await
    }

    pub(crate) async fn owner(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("x-auth-token", "owner")];
        all.extend_from_slice(headers);
        self.ask(method, path, &all).await
    }

    /// Writes an object as the owner, with its length.
    pub(crate) async fn put(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let body = body.into();
        let length = body.len().to_string();
        let mut all = vec![("x-auth-token", "owner"), ("content-length", &length)];
        all.extend_from_slice(headers);
        self.call(request("PUT", path, &all, Body::from(body))).await
    }

    /// The nodes for `a/c/o`: primaries in the ring's order, then handoffs in theirs.
    pub(crate) fn nodes_of(&self, key: &str) -> Vec<Arc<Node>> {
        let paths = HashPaths::default();
        let parts: Vec<&str> = key.splitn(3, '/').collect();
        let hash = match parts.as_slice() {
            [a] => paths.account(a),
            [a, c] => paths.container(a, c),
            [a, c, o] => paths.object(a, c, o),
            _ => unreachable!("at most three parts"),
        };
        let partition = self.ring.partition(&hash);
        let primaries = self.ring.primaries(partition).into_iter();
        let all = primaries.chain(self.ring.handoffs(partition));
        all.map(|node| Arc::clone(&self.nodes[node.device.id as usize])).collect()
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
    *request.uri_mut() = path.parse().expect("a path");
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).expect("a name");
        request
            .headers_mut()
            .append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    request
}

//! The proxy on a real socket: what only a connection can show.

use crate::cluster::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Front {
    cluster: Cluster,
    address: std::net::SocketAddr,
    shutdown: daemon::Shutdown,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

async fn front() -> Front {
    let cluster = Cluster::furnished(3).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let shutdown = daemon::Shutdown::default();
    let options = daemon::ServeOptions::default();
    tokio::spawn(daemon::serve(listener, cluster.service(), options, shutdown.clone()));
    Front { cluster, address, shutdown }
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if text.contains(end) {
            return text;
        }
        let length = stream.read(&mut buffer).await.expect("readable");
        assert!(length > 0, "the connection ended after {text:?}");
        read.extend_from_slice(&buffer[..length]);
    }
}

fn put(token: &str) -> String {
    format!(
        "PUT /v1/AUTH_test/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\
         Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
}

#[tokio::test]
async fn the_client_is_told_to_continue_only_when_its_body_is_wanted() {
    let front = front().await;
    let mut stream = TcpStream::connect(front.address).await.expect("connected");
    stream.write_all(put("other").as_bytes()).await.expect("sent");
    let refused = read_until(&mut stream, "\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let mut stream = TcpStream::connect(front.address).await.expect("connected");
    stream.write_all(put("owner").as_bytes()).await.expect("sent");
    let go_on = read_until(&mut stream, "\r\n\r\n").await;
    assert!(go_on.starts_with("HTTP/1.1 100 "), "{go_on}");
    stream.write_all(b"hello").await.expect("sent");
    let stored = read_until(&mut stream, "\r\n\r\n").await;
    assert!(stored.starts_with("HTTP/1.1 201 "), "{stored}");
    for header in ["Etag: 5d41402abc4b2a76b9719d911017c592", "X-Trans-Id: tx", "Date: "] {
        assert!(stored.to_lowercase().contains(&header.to_lowercase()), "{stored}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_nothing() {
    let front = front().await;
    let mut stream = TcpStream::connect(front.address).await.expect("connected");
    let head = put("owner")
        .replace("Content-Length: 5", "Content-Length: 300000")
        .replace("Expect: 100-continue\r\n", "");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&vec![7; 200_000]).await.expect("sent");
    let broken = || {
        front
            .cluster
            .nodes
            .iter()
            .map(|node| *node.broken_bodies.lock().expect("lock"))
            .sum::<usize>()
    };
    drop(stream);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while broken() < 3 {
        assert!(std::time::Instant::now() < deadline, "{} bodies broke", broken());
        tokio::task::yield_now().await;
    }
    assert!(front.cluster.nodes.iter().all(|node| node.body_of("AUTH_test/c/o").is_none()));
}

#[tokio::test]
async fn heads_and_empty_answers_keep_the_connection_in_step() {
    let front = front().await;
    assert_eq!(front.cluster.put("/v1/AUTH_test/c/o", "hello", &[]).await.status, 201);
    let mut stream = TcpStream::connect(front.address).await.expect("connected");
    let ask = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: owner\r\n\r\n")
    };
    let expectations = [
        ("HEAD", "/v1/AUTH_test/c/o", "200"),
        ("HEAD", "/v1/AUTH_test/c", "204"),
        ("HEAD", "/v1/AUTH_test/c/missing", "404"),
        ("POST", "/v1/AUTH_test/c", "204"),
        ("HEAD", "/info", "200"),
    ];
    for (method, path, status) in expectations {
        stream.write_all(ask(method, path).as_bytes()).await.expect("sent");
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
        let empty = answer.contains("\r\nContent-Length: 0\r\n");
        assert_eq!(empty, status == "204", "{method} {path}: {answer}");
    }
}

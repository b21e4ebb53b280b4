//! The Swift API of one real process: what it does when asked properly, and that nothing else moves it.
//!
//! Each test starts a process of its own, which takes less time than keeping tests out of each other's way.

mod access;
mod connections;
mod expiry;
mod listings;
mod names;
mod process;
mod reads;
mod refusals;
mod site;
mod uploads;
mod verbs;

use anyhow::{Context, Result, ensure};
use tests::{Answer, Apus, Client, Options};

/// A process with one empty container `c`.
struct Server {
    apus: Apus,
    client: Client,
}

impl Server {
    async fn start() -> Result<Server> {
        Server::start_with(Options::default()).await
    }

    async fn start_with(options: Options) -> Result<Server> {
        let apus = Apus::serve_with(options)?;
        let client = apus.client().await?;
        let made = client.put("/c", "").await?;
        ensure!(made.status == 201, "{made:?}");
        Ok(Server { apus, client })
    }

    /// An object whose content is expected to be stored.
    async fn put(&self, path: &str, body: &'static str) -> Result<Answer> {
        let answer = self.client.put(path, body).await?;
        ensure!(answer.status == 201, "PUT {path} gives {answer:?}");
        Ok(answer)
    }

    /// The head of a raw request to something in the account, with the token; more headers may follow.
    fn head(&self, method: &str, path: &str) -> String {
        let (account, token) = (self.client.account(), self.client.token());
        format!("{method} {account}{path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n")
    }

    /// What must be true after everything that was refused: the container holds these objects and no others, in
    /// its rows and in its totals, and the process is well.
    async fn holds(&mut self, names: &[&str]) -> Result<()> {
        let listed = self.client.get("/c").await?;
        ensure!(listed.lines() == names, "listed are {:?} instead of {names:?}", listed.lines());
        let head = self.client.head("/c").await?;
        let count = head.header("x-container-object-count");
        ensure!(count == names.len().to_string(), "the container counts {count} objects");
        let health = self.client.at("GET", "/healthcheck", &[], "").await?;
        ensure!((health.status, health.text().as_str()) == (200, "OK"), "{health:?}");
        ensure!(self.apus.is_alive(), "the process has ended");
        let log = self.apus.log();
        let panicked = log.lines().find(|line| line.contains("panicked"));
        ensure!(panicked.is_none(), "a panic was logged: {panicked:?}");
        Ok(())
    }
}

/// An answer's status and its sentence, if it has a plain one.
fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text())
}

/// The value of a metric, summed over its labels.
fn metric(text: &str, name: &str) -> Result<f64> {
    let values = text.lines().filter(|line| line.starts_with(name));
    let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.reduce(|a, b| a + b).with_context(|| format!("there is no metric {name}"))
}

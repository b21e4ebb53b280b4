//! What a client was promised, and whether it is so.
//!
//! Each object has one writer at a time, so its acknowledged state is known exactly. A request whose answer never
//! came may have been carried out or not: its outcome is kept as possible until a later write is acknowledged.

use crate::client::{Answer, Client, encode, etag};
use crate::content::Version;
use anyhow::{Context, Result, ensure};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// Names the version in the metadata too, which must never be another than the body's.
pub const NUMBER: &str = "X-Object-Meta-Number";

/// A container and everything that was ever written to it.
pub struct Ledger {
    container: String,
    objects: Vec<Entry>,
    numbers: AtomicU64,
}

/// One object.
pub struct Entry {
    /// Its name, not encoded.
    pub name: String,
    /// What is known of it; whoever changes the object holds this meanwhile.
    pub known: Mutex<Known>,
}

/// What is known of an object. `None` stands for: it is not there.
#[derive(Clone, Debug, Default)]
pub struct Known {
    acknowledged: Option<Version>,
    possible: Vec<Option<Version>>,
    /// Every version anybody tried to write: what a replica that lags behind may show.
    history: HashSet<Version>,
}

impl Known {
    /// A write begins whose outcome will be `state`.
    pub fn try_to(&mut self, state: Option<Version>) {
        self.possible.push(state);
        self.history.extend(state);
    }

    /// The write that was begun last was acknowledged.
    pub fn acknowledge(&mut self) {
        if let Some(state) = self.possible.pop() {
            self.acknowledged = state;
        }
        self.possible.clear();
    }

    /// Whether this can be the newest state.
    pub fn may_be(&self, state: Option<Version>) -> bool {
        self.acknowledged == state || self.possible.contains(&state)
    }

    /// Whether a replica that lags behind may show this. It never shows what nobody wrote, and an object that
    /// was acknowledged and that nobody tried to delete since is never missing.
    pub fn may_have_been(&self, state: Option<Version>) -> bool {
        match state {
            Some(version) => self.history.contains(&version),
            None => self.may_be(None),
        }
    }
}

impl Ledger {
    /// A container of so many objects, none of which exists yet. Their names are not the easy ones.
    pub fn new(container: &str, objects: usize) -> Ledger {
        let name = |number| format!("{}/größe & 100% <{number}>?#;", number % 7);
        let entry = |number| Entry { name: name(number), known: Mutex::default() };
        Ledger {
            container: container.to_owned(),
            objects: (0..objects).map(entry).collect(),
            numbers: AtomicU64::new(1),
        }
    }

    /// The container's name.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Any of the objects.
    pub fn any(&self) -> &Entry {
        &self.objects[rand::random_range(0..self.objects.len())]
    }

    /// A version that was never written before.
    pub fn next_version(&self) -> Version {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        // Mostly small, some as large as what is read at once, a few that are streamed.
        let size = match rand::random_range(0..100) {
            0..70 => rand::random_range(100..4096),
            70..95 => rand::random_range(4096..65_536),
            _ => rand::random_range(65_536..1_600_000),
        };
        Version { number, size }
    }

    /// The path of an object in an account.
    pub fn path(&self, entry: &Entry) -> String {
        format!("/{}/{}", self.container, encode(&entry.name))
    }

    /// What an answer to GET shows, after a look at every byte.
    pub fn shown(entry: &Entry, answer: &Answer) -> Result<Option<Version>> {
        if answer.status == 404 {
            return Ok(None);
        }
        ensure!(answer.status == 200, "GET of {} gives {answer:?}", entry.name);
        let version = Version::of(&entry.name, &answer.body)?;
        let number = answer.header(NUMBER);
        ensure!(
            number == version.number.to_string(),
            "{} has the body of {version:?} and the metadata of {number}",
            entry.name
        );
        ensure!(answer.header("etag") == etag(&answer.body), "{} has a wrong ETag", entry.name);
        Ok(Some(version))
    }

    /// Reads every object in both ways and compares it. Gives the number of objects that are there.
    pub async fn verify_objects(&self, client: &Client) -> Result<usize> {
        let mut there = 0;
        for entry in &self.objects {
            let known = entry.known.lock().await;
            let path = self.path(entry);
            let newest = client.ask("GET", &path, &[("X-Newest", "true")], "").await?;
            let newest = Ledger::shown(entry, &newest)?;
            ensure!(known.may_be(newest), "{} is {newest:?} but known is {known:?}", entry.name);
            let any = Ledger::shown(entry, &client.get(&path).await?)?;
            ensure!(known.may_have_been(any), "{} was {any:?} but known is {known:?}", entry.name);
            there += usize::from(newest.is_some());
        }
        Ok(there)
    }

    /// In what the listing differs from what was acknowledged.
    pub async fn listing_complaints(&self, client: &Client) -> Result<Vec<String>> {
        let mut rows = HashMap::new();
        for row in client.rows(&self.container).await? {
            let name = row["name"].as_str().context("a name")?.to_owned();
            ensure!(rows.insert(name.clone(), row).is_none(), "{name} is listed twice");
        }
        let mut complaints = Vec::new();
        let listed = rows.len();
        let mut bytes = 0;
        for entry in &self.objects {
            let known = entry.known.lock().await;
            let row = rows.remove(&entry.name);
            let size = row.as_ref().and_then(|row| row["bytes"].as_u64());
            let hash = row.as_ref().and_then(|row| row["hash"].as_str());
            bytes += size.unwrap_or(0);
            let agrees = |state: &Option<Version>| match state {
                None => row.is_none(),
                Some(version) => {
                    size == Some(u64::from(version.size))
                        && hash == Some(etag(&version.bytes(&entry.name)).as_str())
                }
            };
            if !agrees(&known.acknowledged) && !known.possible.iter().any(agrees) {
                complaints.push(format!("{}: row {row:?}, known {known:?}", entry.name));
            }
        }
        complaints.extend(rows.keys().map(|name| format!("{name} is listed, nobody wrote it")));
        let head = client.head(&format!("/{}", self.container)).await?;
        for (name, expected) in [("object-count", listed as u64), ("bytes-used", bytes)] {
            let total = head.header(&format!("x-container-{name}")).to_owned();
            if total != expected.to_string() {
                complaints.push(format!("the container's {name} is {total}, the rows' {expected}"));
            }
        }
        complaints.extend(self.account_complaint(client, listed as u64, bytes).await?);
        Ok(complaints)
    }

    /// In what the account's row of the container differs from the container's rows.
    async fn account_complaint(
        &self,
        client: &Client,
        count: u64,
        bytes: u64,
    ) -> Result<Option<String>> {
        let rows = client.get("?format=json").await?.json()?;
        let row = rows.as_array().into_iter().flatten().find(|row| row["name"] == *self.container);
        let row = row.map(|row| (row["count"].as_u64(), row["bytes"].as_u64()));
        let agrees = row == Some((Some(count), Some(bytes)));
        Ok((!agrees).then(|| {
            format!(
                "the account's row is {row:?}, the container has {count} objects, {bytes} bytes"
            )
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_acknowledged_or_never_answered_is_possible() {
        let (one, two) = (Version { number: 1, size: 100 }, Version { number: 2, size: 100 });
        let mut known = Known::default();
        assert!(known.may_be(None) && !known.may_be(Some(one)));
        known.try_to(Some(one));
        assert!(known.may_be(None) && known.may_be(Some(one)));
        known.acknowledge();
        assert!(known.may_be(Some(one)) && !known.may_be(None) && !known.may_have_been(None));
        known.try_to(None);
        known.try_to(Some(two));
        assert!(known.may_be(None) && known.may_be(Some(one)) && known.may_be(Some(two)));
        known.acknowledge();
        assert!(!known.may_be(None) && !known.may_be(Some(one)) && known.may_be(Some(two)));
        assert!(known.may_have_been(Some(one)) && !known.may_have_been(None));
    }
}

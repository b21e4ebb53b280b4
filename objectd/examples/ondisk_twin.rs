//! The merge rule as a filter, for `tests/ondisk_twin.py`, which holds it against Swift's own.
//!
//! Each line of the input is `replicated` or `erasure`, then names of files as Swift has them in an object's
//! directory, in the order in which they came. Each line of the output says which of them count:
//! `data=… meta=… ctype=… ts=…` (`-` for none) and, behind `kept=`, all that would not be removed, sorted.

use anyhow::{Context, Result, bail};
use objectd::format::{RecordKind, content_type_at};
use objectd::state::{Fragment, Location, ObjectState, Rule, Version, merge};
use std::io::{BufRead, Write};
use types::Timestamp;

fn main() -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        let rule = match words.next() {
            Some("replicated") => Rule::Replicated,
            Some("erasure") => Rule::Erasure,
            other => bail!("{other:?} is no rule"),
        };
        let names: Vec<&str> = words.collect();
        let mut state = ObjectState::default();
        for (number, name) in names.iter().enumerate() {
            let version = parse(name, number as u64 + 1).with_context(|| name.to_string())?;
            state = merge(&state, version, rule);
        }
        writeln!(out, "{}", answer(&state, &names))?;
    }
    Ok(out.flush()?)
}

/// The version that a file stands for; its LSN says which name it had.
fn parse(name: &str, lsn: u64) -> Result<Version> {
    let (stem, extension) = name.rsplit_once('.').context("no extension")?;
    let mut version = Version {
        kind: RecordKind::Tombstone,
        timestamp: Timestamp::default(),
        content_type_timestamp: None,
        delete_at: 0,
        data_len: 0,
        fragment: None,
        bulk: Vec::new(),
        location: Location { lsn, ..Location::default() },
    };
    let mut moment = stem;
    match extension {
        "ts" => {}
        "data" => {
            version.kind = RecordKind::Data;
            let mut parts = stem.split('#');
            moment = parts.next().unwrap_or_default();
            if let Some(index) = parts.next() {
                let durable = parts.next() == Some("d");
                version.fragment = Some(Fragment { index: index.parse()?, durable });
            }
        }
        "meta" => {
            version.kind = RecordKind::Meta;
            if let Some(at) = stem.find(['+', '-']) {
                let (first, delta) = stem.split_at(at);
                moment = first;
                let timestamp = Timestamp::parse(first)?;
                let delta = i64::from_str_radix(delta, 16)?;
                let raw = timestamp.raw.checked_add_signed(delta).context("out of range")?;
                version.content_type_timestamp = content_type_at(raw, timestamp);
            }
        }
        other => bail!("{other} is no extension"),
    }
    version.timestamp = Timestamp::parse(moment)?;
    Ok(version)
}

fn answer(state: &ObjectState, names: &[&str]) -> String {
    let name = |version: &Version| names[version.location.lsn as usize - 1].to_owned();
    let shown = |version: Option<&Version>| version.map_or("-".to_owned(), name);
    let mut kept: Vec<String> = state.versions().iter().map(name).collect();
    kept.sort();
    format!(
        "data={} meta={} ctype={} ts={} kept={}",
        shown(state.data()),
        shown(state.meta()),
        shown(state.content_type()),
        shown(state.tombstone()),
        kept.join(",")
    )
}

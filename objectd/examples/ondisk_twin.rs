//! The merge rule for another program to ask: `tests/ondisk_twin.py` compares its answers with Swift's own.
//!
//! Each line of the input names a rule (`replicated` or `erasure`) and then the files that Swift would have in an
//! object's hash directory, in the order in which their events arrive. Each line of the output says, as JSON, which
//! of them are chosen and which are kept. Between any two events the state goes through the form it has in the index.

use objectd::format::{FormatError, RecordKind};
use objectd::state::{Fragment, Location, ObjectState, Rule, Version, merge};
use serde::Serialize;
use std::io::{BufRead, BufWriter, Write};
use types::Timestamp;

#[derive(Debug, thiserror::Error)]
enum TwinError {
    #[error("no rule: {0:?}; replicated or erasure is expected")]
    Rule(String),
    #[error("no name of a file of Swift: {0:?}")]
    Name(String),
    #[error("a state does not come back from the index")]
    State(#[from] FormatError),
    #[error("input or output failed")]
    Io(#[from] std::io::Error),
    #[error("an answer cannot be written")]
    Json(#[from] serde_json::Error),
}

/// What became of a set of files, by their names.
#[derive(Serialize)]
struct Answer<'a> {
    data: Option<&'a str>,
    meta: Option<&'a str>,
    ctype: Option<&'a str>,
    ts: Option<&'a str>,
    /// Data that may be counted on.
    durable: Vec<&'a str>,
    kept: Vec<&'a str>,
}

fn main() -> Result<(), TwinError> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        serde_json::to_writer(&mut out, &answer(&line)?)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

fn answer(line: &str) -> Result<Answer<'_>, TwinError> {
    let mut words = line.split_ascii_whitespace();
    let rule = match words.next() {
        Some("replicated") => Rule::Replicated,
        Some("erasure") => Rule::Erasure,
        other => return Err(TwinError::Rule(other.unwrap_or_default().to_owned())),
    };
    let names: Vec<&str> = words.collect();
    let mut state = ObjectState::default();
    for (at, name) in names.iter().enumerate() {
        let event = version(name, at).ok_or_else(|| TwinError::Name((*name).to_owned()))?;
        state = ObjectState::decode(&merge(&state, event, rule).encode())?;
    }
    let name_of = |version: &Version| names[version.location.offset as usize];
    Ok(Answer {
        data: state.data().map(name_of),
        meta: state.meta().map(name_of),
        ctype: state.content_type().map(name_of),
        ts: state.tombstone().map(name_of),
        durable: state.fragments().filter(|data| state.is_durable(data)).map(name_of).collect(),
        kept: state.versions().iter().map(name_of).collect(),
    })
}

/// The event that leaves a file of this name (Swift: obj/diskfile.py, `parse_on_disk_filename`).
fn version(name: &str, at: usize) -> Option<Version> {
    let (stem, extension) = name.rsplit_once('.')?;
    let mut fragment = None;
    let mut content_type_timestamp = None;
    let (kind, timestamp) = match extension {
        "data" => {
            let mut parts = stem.split('#');
            let timestamp = Timestamp::parse(parts.next()?).ok()?;
            if let Some(index) = parts.next() {
                let durable = parts.next() == Some("d");
                fragment = Some(Fragment { index: index.parse().ok()?, durable });
            }
            (RecordKind::Data, timestamp)
        }
        "meta" => {
            let (timestamp, delta) = stem.split_at(stem.find(['+', '-']).unwrap_or(stem.len()));
            let timestamp = Timestamp::parse(timestamp).ok()?;
            if !delta.is_empty() {
                let delta = i64::from_str_radix(delta, 16).ok()?;
                content_type_timestamp = Some(match delta {
                    0 => timestamp,
                    _ => Timestamp::from_raw(timestamp.raw.checked_add_signed(delta)?),
                });
            }
            (RecordKind::Meta, timestamp)
        }
        "ts" => (RecordKind::Tombstone, Timestamp::parse(stem).ok()?),
        "durable" => (RecordKind::Durable, Timestamp::parse(stem).ok()?),
        _ => return None,
    };
    let at = u32::try_from(at).ok()?;
    Some(Version {
        kind,
        timestamp,
        content_type_timestamp,
        delete_at: 0,
        data_len: 0,
        fragment,
        bulk: Vec::new(),
        location: Location { lsn: u64::from(at) + 1, offset: at, ..Location::default() },
    })
}

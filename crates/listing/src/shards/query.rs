//! Choosing from a table of shard ranges (Swift: container/backend.py, `get_shard_ranges`).
//!
//! All by bytes. A range is asked for when a part of it lies between the markers, or when one name is in it; they come in
//! the order of their upper bounds. Who asks for the ranges to list from or to write to (`listing`, `updating`) gets as the
//! last one, if the tail is not covered, the container itself for that tail.
//!
//! There is no limit of a page: who asks needs all of them, and a table has a limit.

use super::{ShardRange, ShardState};
use std::collections::BTreeSet;
use types::Timestamp;

/// What is asked for. Empty texts ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardQuery {
    /// Only ranges with names after it; in reverse order, before it.
    pub marker: String,
    /// Only ranges with names before it; in reverse order, after it.
    pub end_marker: String,
    /// Only the one that has this name; then markers and order say nothing.
    pub includes: String,
    /// From the last to the first.
    pub reverse: bool,
    /// Deleted ones, too.
    pub deleted: bool,
    /// The container's own, too.
    pub own: bool,
    /// The tail that no range covers, too.
    pub tail: bool,
    /// Only those in one of these states, if there are any.
    pub states: BTreeSet<ShardState>,
}

/// What is neither a state nor an alias of some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Bad state: {0}")]
pub struct BadState(String);

/// The states that an alias stands for.
fn alias(text: &str) -> Option<&'static [ShardState]> {
    use ShardState::{Active, Cleaved, Created, Sharded, Sharding, Shrinking, Shrunk};
    match text {
        "listing" => Some(&[Cleaved, Active, Shrinking, Sharding]),
        "updating" => Some(&[Created, Cleaved, Active, Sharding]),
        "auditing" => Some(&[Created, Cleaved, Active, Shrinking, Sharding, Sharded, Shrunk]),
        _ => None,
    }
}

impl ShardQuery {
    /// Where the row of an object belongs.
    pub fn to_update(name: &str) -> Self {
        let states = alias("updating").unwrap_or_default().iter().copied().collect();
        ShardQuery { includes: name.to_owned(), states, ..ShardQuery::default() }
    }

    /// Restricts it to states: names, numbers and aliases, between commas.
    pub fn restrict(&mut self, text: &str) -> Result<(), BadState> {
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            self.own |= word == "auditing";
            self.tail |= matches!(word, "listing" | "updating");
            match (alias(word), ShardState::parse(word)) {
                (Some(states), _) => self.states.extend(states),
                (None, Some(state)) => _ = self.states.insert(state),
                (None, None) => return Err(BadState(word.to_owned())),
            }
        }
        Ok(())
    }

    /// What it finds among all ranges of the container named `own`.
    pub fn choose(&self, all: Vec<ShardRange>, own: &str, now: Timestamp) -> Vec<ShardRange> {
        let (after, before) = match self.reverse {
            false => (self.marker.as_str(), self.end_marker.as_str()),
            true => (self.end_marker.as_str(), self.marker.as_str()),
        };
        if !before.is_empty() && before <= after {
            return Vec::new();
        }
        let itself = all.iter().find(|range| range.name == own).cloned();
        let wanted = |range: &ShardRange| {
            (self.deleted || !range.extent.deleted)
                && (self.own || range.name != own)
                && (self.states.is_empty() || self.states.contains(&range.stage.state))
                && match self.includes.as_str() {
                    "" => reaches_between(range, after, before),
                    name => range.includes(name),
                }
        };
        let mut chosen: Vec<_> = all.into_iter().filter(wanted).collect();
        chosen.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        if !self.includes.is_empty() {
            chosen.truncate(1);
            return chosen;
        }
        if self.tail {
            let itself = itself.unwrap_or_else(|| ShardRange::whole(own, now));
            chosen.extend(tail(chosen.last(), itself, after, before));
        }
        if self.reverse {
            chosen.reverse();
        }
        chosen
    }
}

/// An upper bound, so that none is the greatest.
fn end(upper: &str) -> (bool, &str) {
    (upper.is_empty(), upper)
}

fn order(range: &ShardRange) -> impl Ord + '_ {
    (end(&range.extent.upper), range.stage.state, &range.extent.lower, &range.name)
}

/// Whether there may be a name in it after the one and before the other, each if given.
fn reaches_between(range: &ShardRange, after: &str, before: &str) -> bool {
    (before.is_empty() || range.extent.lower.as_str() < before)
        && (after.is_empty() || end(&range.extent.upper) > (false, after))
}

/// The part of the container itself, or of what lies between the markers, that comes after the last range.
fn tail(
    last: Option<&ShardRange>,
    mut itself: ShardRange,
    after: &str,
    before: &str,
) -> Option<ShardRange> {
    let lower = match last.map(|range| range.extent.upper.as_str()) {
        Some("") => return None,
        Some(upper) => upper,
        None => after.max(itself.extent.lower.as_str()),
    };
    let upper = end(before).min(end(&itself.extent.upper));
    if upper <= (false, lower) {
        return None;
    }
    (itself.extent.lower, itself.extent.upper) = (lower.to_owned(), upper.1.to_owned());
    Some(itself)
}

//! Shard ranges: which part of a container's names is kept in which other container.
//!
//! A container that grew too large can be cut into *shards*, containers of a hidden account. Which names each of them has
//! is a table that the container server keeps beside the rows of objects: a [`ShardRange`] per shard, found by its name
//! (`account/container` of the shard), and maybe one of the container's own name, which says what is known of itself.
//!
//! Here is the table and nothing else: keeping it (`table`, as durable as rows of objects are), merging what arrives
//! ([`ShardRange::merged`]) and choosing from it ([`ShardQuery`]). Nothing here cuts a container or moves a row: there is no
//! sharder, so every container is *unsharded*, and what the table says changes neither its listing nor its totals. Two
//! things look into it: a row whose sender is willing to be sent on is sent to its shard, and a container that says of
//! itself that it is being sharded is not deleted while its shards have objects.
//!
//! Swift: container/backend.py, `merge_shards`; common/utils, `ShardRange`. Deleted ranges are remembered for ever.

mod query;
mod stored;
mod table;

pub use query::{BadState, ShardQuery};
pub use table::{PutShards, PutShardsOutcome, RANGES_MAX};

use types::Timestamp;

/// How far a shard has come. In the order in which they follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardState {
    /// Its bounds were found.
    Found = 10,
    /// Its container was made.
    Created = 20,
    /// Its rows were copied into it.
    Cleaved = 30,
    /// It stands for its part of the names.
    Active = 40,
    /// It is being merged into a neighbour.
    Shrinking = 50,
    /// It is being cut itself.
    Sharding = 60,
    /// It was cut.
    Sharded = 70,
    /// It was merged into a neighbour.
    Shrunk = 80,
}

impl ShardState {
    /// All, with their names.
    pub const ALL: [(ShardState, &str); 8] = [
        (ShardState::Found, "found"),
        (ShardState::Created, "created"),
        (ShardState::Cleaved, "cleaved"),
        (ShardState::Active, "active"),
        (ShardState::Shrinking, "shrinking"),
        (ShardState::Sharding, "sharding"),
        (ShardState::Sharded, "sharded"),
        (ShardState::Shrunk, "shrunk"),
    ];

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The state with a number.
    pub fn of_number(number: u64) -> Option<Self> {
        let mut states = ShardState::ALL.into_iter().map(|(state, _)| state);
        states.find(|state| u64::from(state.number()) == number)
    }

    /// The state that a name, in whatever case, or a number in digits means.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return ShardState::of_number(number);
        }
        let mut named = ShardState::ALL.into_iter();
        named.find(|(_, name)| text.eq_ignore_ascii_case(name)).map(|(state, _)| state)
    }
}

/// Which names a shard has. What is set when it is made, or deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// When that was.
    pub at: Timestamp,
    /// Whether it is gone.
    pub deleted: bool,
    /// Only names after it.
    pub lower: String,
    /// Only names up to it, and itself. Empty for no end.
    pub upper: String,
}

/// What was counted in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usage {
    /// When.
    pub at: Timestamp,
    /// Objects.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Deleted rows, if that is known.
    pub tombstones: Option<u64>,
}

/// How far a shard has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    /// When this state was forced; it advances by itself without a new moment.
    pub at: Timestamp,
    /// The state.
    pub state: ShardState,
    /// When sharding began, if it did.
    pub epoch: Option<Timestamp>,
}

/// A part of a container's names, and the container that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRange {
    /// `account/container` of the shard.
    pub name: String,
    /// Which names it has.
    pub extent: Extent,
    /// What was counted in it.
    pub usage: Usage,
    /// How far it has come.
    pub stage: Stage,
    /// Whether the container it is a part of was told usage and stage.
    pub reported: bool,
}

impl ShardRange {
    /// All names: what a container is taken for that says nothing of itself.
    pub fn whole(name: &str, at: Timestamp) -> Self {
        ShardRange {
            name: name.to_owned(),
            extent: Extent { at, ..Extent::default() },
            usage: Usage { at, ..Usage::default() },
            stage: Stage { at, state: ShardState::Active, epoch: None },
            reported: false,
        }
    }

    /// This range merged into the one already there; `None` when it says nothing new.
    ///
    /// The younger extent wins with all that goes with it. Of two that are equally old, usage and stage are taken each from
    /// where it is younger; within one moment the later state wins. So far this is Swift's rule, which otherwise keeps what
    /// came first. Here the greater wins then, so that replicas agree whatever order ranges reach them in.
    ///
    /// `reported` alone depends on the order: a younger extent takes it back, as in Swift, and it stays only with the very
    /// usage and stage that were reported, where Swift also takes a report of older counts for one of the younger.
    pub fn merged(&self, existing: &Self) -> Option<Self> {
        let merged = match self.extent.at.cmp(&existing.extent.at) {
            std::cmp::Ordering::Less => return None,
            std::cmp::Ordering::Greater => ShardRange { reported: false, ..self.clone() },
            std::cmp::Ordering::Equal => {
                let mut both = ShardRange {
                    name: self.name.clone(),
                    extent: self.extent.clone().max(existing.extent.clone()),
                    usage: self.usage.max(existing.usage),
                    stage: self.stage.max(existing.stage),
                    reported: false,
                };
                both.reported = [self, existing].iter().any(|it| it.reported && it.reports(&both));
                both
            }
        };
        (merged != *existing).then_some(merged)
    }

    /// Whether a report of this one tells all there is to tell of the other.
    fn reports(&self, other: &Self) -> bool {
        let content = |range: &Self| {
            let Usage { objects, bytes, tombstones, .. } = range.usage;
            (objects, bytes, tombstones, range.stage.state, range.stage.epoch)
        };
        content(self) == content(other)
    }

    /// Whether a name is in it.
    pub fn includes(&self, name: &str) -> bool {
        self.extent.lower.as_str() < name
            && (self.extent.upper.is_empty() || name <= self.extent.upper.as_str())
    }
}

#[cfg(test)]
mod tests;

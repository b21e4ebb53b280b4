//! Shard ranges as they travel: JSON objects (Swift: common/utils, `ShardRange.from_dict` and `__iter__`).
//!
//! What is read here will steer where rows go, so nothing is guessed: what is missing, malformed or contradicts itself is
//! refused, and the refusal names it.

use crate::server::Server;
use listing::shards::{Extent, ShardRange, ShardState, Stage, Usage};
use listing::{Refusal, request};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::Timestamp;
use wire::Body;

/// Most shard ranges of a body.
const RANGES_MAX: usize = 10_000;
/// Most bytes of a name: those of an account and of a container, to which a sharder adds what makes it one of a kind.
const NAME_BYTES_MAX: usize = 1024;

/// A range as it is sent. What may be null must be there all the same.
#[derive(Deserialize)]
struct Sent {
    name: String,
    timestamp: Moment,
    #[serde(deserialize_with = "Option::deserialize")]
    lower: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    upper: Option<String>,
    object_count: u64,
    bytes_used: u64,
    #[serde(deserialize_with = "Option::deserialize")]
    meta_timestamp: Option<Moment>,
    deleted: Flag,
    state: State,
    #[serde(deserialize_with = "Option::deserialize")]
    state_timestamp: Option<Moment>,
    #[serde(deserialize_with = "Option::deserialize")]
    epoch: Option<Moment>,
    #[serde(default)]
    reported: Flag,
    /// Negative, or not there: unknown.
    #[serde(default)]
    tombstones: Option<i64>,
}

/// A timestamp without an offset, as text or number.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Value")]
struct Moment(Timestamp);

impl TryFrom<Value> for Moment {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let parsed = Timestamp::parse(&text).ok().filter(|at| at.offset == 0);
        parsed.map(Moment).ok_or_else(|| format!("{value} is no timestamp of a shard range"))
    }
}

/// By name or number; null is the first.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
struct State(ShardState);

impl TryFrom<Value> for State {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let state = match &value {
            Value::Null => Some(ShardState::Found),
            Value::String(text) => ShardState::parse(text),
            other => other.as_u64().and_then(ShardState::of_number),
        };
        state.map(State).ok_or_else(|| format!("{value} is no state of a shard range"))
    }
}

/// Yes or no, as JSON has it or as a number.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "Value")]
struct Flag(bool);

impl TryFrom<Value> for Flag {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        match (value.as_bool(), value.as_u64()) {
            (Some(flag), _) => Ok(Flag(flag)),
            (None, Some(0 | 1)) => Ok(Flag(value == 1)),
            _ => Err(format!("{value} is neither 0 nor 1")),
        }
    }
}

impl Sent {
    fn judge(self, bound_bytes_max: usize) -> Result<ShardRange, String> {
        let at = self.timestamp.0;
        let or_then = |moment: Option<Moment>| moment.map_or(at, |moment| moment.0);
        let range = ShardRange {
            extent: Extent {
                at,
                deleted: self.deleted.0,
                lower: self.lower.unwrap_or_default(),
                upper: self.upper.unwrap_or_default(),
            },
            usage: Usage {
                at: or_then(self.meta_timestamp),
                objects: self.object_count,
                bytes: self.bytes_used,
                tombstones: self.tombstones.and_then(|count| u64::try_from(count).ok()),
            },
            stage: Stage {
                at: or_then(self.state_timestamp),
                state: self.state.0,
                epoch: self.epoch.map(|epoch| epoch.0),
            },
            reported: self.reported.0,
            name: self.name,
        };
        let Extent { lower, upper, .. } = &range.extent;
        let is_path = matches!(range.name.split_once('/'), Some((account, container))
            if !account.is_empty() && !container.is_empty() && !container.contains('/'));
        if !is_path || range.name.len() > NAME_BYTES_MAX {
            return Err(format!(
                "name must be account/container, of {NAME_BYTES_MAX} bytes at most"
            ));
        }
        if lower.len().max(upper.len()) > bound_bytes_max {
            return Err(format!("lower and upper must be of {bound_bytes_max} bytes at most"));
        }
        if !upper.is_empty() && lower > upper {
            return Err("lower must not be greater than upper".to_owned());
        }
        Ok(range)
    }
}

/// The ranges of a body: all of them are sound, or none is taken.
pub(crate) async fn read(server: &Server, body: Body) -> Result<Vec<ShardRange>, Refusal> {
    let bound_bytes_max = server.limits.max_object_name_length as usize;
    let sent: Vec<Sent> = request::json(body).await?;
    if sent.len() > RANGES_MAX {
        let sentence = format!("The body has too many shard ranges; max {RANGES_MAX}");
        return Err(Refusal::TooLarge(sentence));
    }
    let judge = |(number, sent): (usize, Sent)| {
        let refused = |what| Refusal::Invalid(format!("Invalid body: in range {number}, {what}"));
        sent.judge(bound_bytes_max).map_err(refused)
    };
    (1..).zip(sent).map(judge).collect()
}

/// A range with all that is known of it.
#[derive(Serialize)]
struct Full {
    name: String,
    timestamp: String,
    lower: String,
    upper: String,
    object_count: u64,
    bytes_used: u64,
    meta_timestamp: String,
    deleted: u8,
    state: u8,
    state_timestamp: String,
    epoch: Option<String>,
    reported: u8,
    tombstones: i64,
    last_modified: String,
}

impl From<ShardRange> for Full {
    fn from(ShardRange { name, extent, usage, stage, reported }: ShardRange) -> Self {
        let tombstones = usage.tombstones.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        Full {
            name,
            timestamp: extent.at.internal(),
            lower: extent.lower,
            upper: extent.upper,
            object_count: usage.objects,
            bytes_used: usage.bytes,
            meta_timestamp: usage.at.internal(),
            deleted: extent.deleted.into(),
            state: stage.state.number(),
            state_timestamp: stage.at.internal(),
            epoch: stage.epoch.map(|epoch| epoch.internal()),
            reported: reported.into(),
            tombstones: tombstones.unwrap_or(-1),
            last_modified: extent.at.isoformat(),
        }
    }
}

/// A range as who only looks for the right shard needs it.
#[derive(Serialize)]
struct Namespace {
    name: String,
    lower: String,
    upper: String,
}

impl From<ShardRange> for Namespace {
    fn from(ShardRange { name, extent, .. }: ShardRange) -> Self {
        Namespace { name, lower: extent.lower, upper: extent.upper }
    }
}

/// What of each range is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Full,
    Namespace,
}

impl Shown {
    /// Its name in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shown::Full => "full",
            Shown::Namespace => "namespace",
        }
    }

    /// The ranges as an array.
    pub(crate) fn json(self, ranges: Vec<ShardRange>) -> Vec<u8> {
        let written = match self {
            Shown::Full => serde_json::to_vec(&all::<Full>(ranges)),
            Shown::Namespace => serde_json::to_vec(&all::<Namespace>(ranges)),
        };
        // Texts and numbers into memory: there is nothing that could fail.
        written.unwrap_or_default()
    }
}

fn all<T: From<ShardRange>>(ranges: Vec<ShardRange>) -> Vec<T> {
    ranges.into_iter().map(T::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent() -> Value {
        json!({
            "name": ".shards_a/c", "timestamp": "0000000010.00000", "lower": "l", "upper": "u",
            "object_count": 1, "bytes_used": 2, "meta_timestamp": "0000000011.00000", "deleted": 0,
            "state": 40, "state_timestamp": "0000000012.00000", "epoch": null, "reported": 1,
            "tombstones": -1
        })
    }

    fn judged(change: Value) -> Result<ShardRange, String> {
        let mut sent = sent();
        for (name, value) in change.as_object().expect("an object") {
            sent[name] = value.clone();
        }
        let sent: Sent = serde_json::from_value(sent).map_err(|error| error.to_string())?;
        sent.judge(10)
    }

    #[test]
    fn what_was_sent_is_shown_again() {
        let mut expected = sent();
        expected["last_modified"] = "1970-01-01T00:00:10.000000".into();
        let shown = |shown: Shown| {
            let range = judged(json!({})).expect("a range");
            serde_json::from_slice::<Value>(&shown.json(vec![range])).expect("JSON")
        };
        assert_eq!(shown(Shown::Full), json!([expected]));
        let bounds = json!([{"name": ".shards_a/c", "lower": "l", "upper": "u"}]);
        assert_eq!(shown(Shown::Namespace), bounds);
    }

    #[test]
    fn what_may_be_null_has_a_meaning() {
        let nulls = json!({
            "timestamp": 10.5, "lower": null, "upper": null, "meta_timestamp": null,
            "state_timestamp": null, "state": null, "deleted": true, "tombstones": 3
        });
        let range = judged(nulls).expect("a range");
        let at = Timestamp::parse("10.5").expect("a timestamp");
        assert_eq!((range.extent.at, range.usage.at, range.stage.at), (at, at, at));
        assert_eq!((range.extent.lower.as_str(), range.extent.upper.as_str()), ("", ""));
        assert!(range.extent.deleted);
        assert_eq!(range.stage.state, ShardState::Found);
        assert_eq!(range.usage.tombstones, Some(3));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (change, word) in [
            (json!({"name": "c"}), "account/container"),
            (json!({"name": "/c"}), "account/container"),
            (json!({"name": "a/c/o"}), "account/container"),
            (json!({"name": "x".repeat(1024) + "/c"}), "1024 bytes"),
            (json!({"lower": "v"}), "greater than upper"),
            (json!({"upper": "x".repeat(11)}), "10 bytes"),
            (json!({"timestamp": null}), "timestamp"),
            (json!({"timestamp": "10_1"}), "timestamp"),
            (json!({"timestamp": []}), "timestamp"),
            (json!({"epoch": "then"}), "timestamp"),
            (json!({"state": 41}), "state"),
            (json!({"state": "done"}), "state"),
            (json!({"object_count": -1}), "-1"),
            (json!({"bytes_used": "many"}), "many"),
            (json!({"deleted": 2}), "neither 0 nor 1"),
            (json!({"lower": 1}), "string"),
        ] {
            let error = judged(change.clone()).expect_err("refused");
            assert!(error.contains(word), "{change}: {error}");
        }
        for name in sent().as_object().expect("an object").keys() {
            let mut less = sent();
            less.as_object_mut().expect("an object").remove(name);
            let read = serde_json::from_value::<Sent>(less);
            let may_lack = ["reported", "tombstones"].contains(&name.as_str());
            assert_eq!(read.is_ok(), may_lack, "{name}");
        }
    }
}

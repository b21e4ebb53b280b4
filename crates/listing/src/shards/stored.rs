//! A shard range as it is stored, under its name.
//!
//! Version (1); flags; timestamp, lower and upper bound of the extent; timestamp of usage if other than the extent's;
//! objects; bytes; deleted rows if known; timestamp of the stage if other than the extent's; state; epoch if there is one.
//! Flags, from the lowest bit: deleted, reported, timestamp of usage follows, deleted rows follow, timestamp of the stage
//! follows, epoch follows. The primitives are those of [`crate::record`].

use super::{Extent, ShardRange, ShardState, Stage, Usage};
use crate::record::{Corrupt, Reader, put_integer, put_text, put_timestamp};

const VERSION: u8 = 1;

const DELETED: u8 = 1;
const REPORTED: u8 = 2;
const USAGE_AT: u8 = 4;
const TOMBSTONES: u8 = 8;
const STAGE_AT: u8 = 16;
const EPOCH: u8 = 32;

impl ShardRange {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let ShardRange { name: _, extent, usage, stage, reported } = self;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut out = Vec::with_capacity(64 + extent.lower.len() + extent.upper.len());
        out.push(VERSION);
        out.push(
            flag(extent.deleted, DELETED)
                | flag(*reported, REPORTED)
                | flag(usage.at != extent.at, USAGE_AT)
                | flag(usage.tombstones.is_some(), TOMBSTONES)
                | flag(stage.at != extent.at, STAGE_AT)
                | flag(stage.epoch.is_some(), EPOCH),
        );
        put_timestamp(&mut out, extent.at);
        put_text(&mut out, &extent.lower);
        put_text(&mut out, &extent.upper);
        if usage.at != extent.at {
            put_timestamp(&mut out, usage.at);
        }
        put_integer(&mut out, usage.objects);
        put_integer(&mut out, usage.bytes);
        usage.tombstones.iter().for_each(|count| put_integer(&mut out, *count));
        if stage.at != extent.at {
            put_timestamp(&mut out, stage.at);
        }
        out.push(stage.state.number());
        stage.epoch.iter().for_each(|at| put_timestamp(&mut out, *at));
        out
    }

    /// Reads the stored form of the range with this name.
    pub fn decode(name: &str, value: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(value);
        if reader.byte()? != VERSION {
            return Err(Corrupt);
        }
        let flags = reader.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let extent = Extent {
            at: reader.timestamp()?,
            deleted: has(DELETED),
            lower: reader.text()?.to_owned(),
            upper: reader.text()?.to_owned(),
        };
        let usage = Usage {
            at: if has(USAGE_AT) { reader.timestamp()? } else { extent.at },
            objects: reader.integer()?,
            bytes: reader.integer()?,
            tombstones: has(TOMBSTONES).then(|| reader.integer()).transpose()?,
        };
        let stage = Stage {
            at: if has(STAGE_AT) { reader.timestamp()? } else { extent.at },
            state: ShardState::of_number(reader.byte()?.into()).ok_or(Corrupt)?,
            epoch: has(EPOCH).then(|| reader.timestamp()).transpose()?,
        };
        reader.end()?;
        Ok(ShardRange { name: name.to_owned(), extent, usage, stage, reported: has(REPORTED) })
    }
}

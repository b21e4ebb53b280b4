//! Where the blocks of a volume lie.
//!
//! The map holds extents: runs of consecutive blocks that lie one after the other in one object. Extents never
//! overlap. What is written over an extent cuts out of it what it covers, so one write may shorten two extents,
//! remove many, or split one in two. Neighbours that continue each other in the same object are joined, or a disk
//! written block by block would have an extent for each block.

use std::collections::BTreeMap;

/// Consecutive blocks of a volume: `start`, `start + 1`, … `start + count - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// The first block.
    pub start: u64,
    /// How many.
    pub count: u64,
}

impl BlockRange {
    /// One past the last block. Volumes end long before 2^64 blocks; a range beyond is cut there.
    fn end(self) -> u64 {
        self.start.saturating_add(self.count)
    }
}

/// A place in one of the volume's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The object's number in the volume's sequence.
    pub sequence: u64,
    /// How many blocks into the object.
    pub offset: u64,
}

impl Location {
    fn advanced(self, blocks: u64) -> Self {
        Location { offset: self.offset.saturating_add(blocks), ..self }
    }
}

/// A part of what a reader asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which blocks.
    pub blocks: BlockRange,
    /// Where they lie, one after the other; `None` for blocks that were never written or were discarded and
    /// read as zeros, or, in a clone, as the volume below has them.
    pub location: Option<Location>,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    count: u64,
    location: Location,
}

/// For every block of a volume, the object it lies in.
#[derive(Clone, Debug, Default)]
pub struct ExtentMap {
    /// By first block.
    extents: BTreeMap<u64, Extent>,
}

impl ExtentMap {
    /// Nothing is written yet.
    pub fn new() -> Self {
        ExtentMap::default()
    }

    /// From now on these blocks lie at `location`, whatever was there before.
    pub fn write(&mut self, blocks: BlockRange, location: Location) {
        self.discard(blocks);
        let count = blocks.end() - blocks.start;
        if count > 0 {
            self.extents.insert(blocks.start, Extent { count, location });
            self.join(blocks.end());
            self.join(blocks.start);
        }
    }

    /// From now on these blocks lie nowhere.
    pub fn discard(&mut self, blocks: BlockRange) {
        if blocks.count == 0 {
            return;
        }
        self.split(blocks.start);
        self.split(blocks.end());
        let covered: Vec<u64> =
            self.extents.range(blocks.start..blocks.end()).map(|(start, _)| *start).collect();
        for start in covered {
            self.extents.remove(&start);
        }
    }

    /// Where these blocks lie, in their order and without gaps. Takes time by the extents found.
    pub fn read(&self, blocks: BlockRange) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut next = blocks.start;
        let before = self.extents.range(..=blocks.start).next_back().map(|(start, _)| *start);
        for (start, extent) in self.extents.range(before.unwrap_or(blocks.start)..blocks.end()) {
            let (from, to) = ((*start).max(next), (start + extent.count).min(blocks.end()));
            if from >= to {
                continue;
            }
            push(&mut runs, next, from, None);
            push(&mut runs, from, to, Some(extent.location.advanced(from - start)));
            next = to;
        }
        push(&mut runs, next, blocks.end(), None);
        runs
    }

    /// How many extents there are: what the map costs in memory.
    pub fn extent_count(&self) -> usize {
        self.extents.len()
    }

    /// How many blocks of an object are still in use; an object without any can be removed from the store.
    pub fn blocks_in(&self, sequence: u64) -> u64 {
        let its = self.extents.values().filter(|extent| extent.location.sequence == sequence);
        its.map(|extent| extent.count).sum()
    }

    /// Makes an extent begin at a block, if one covers it.
    fn split(&mut self, at: u64) {
        let Some((start, extent)) = self.extents.range_mut(..at).next_back() else { return };
        let head = at - start;
        if head < extent.count {
            let tail = extent.count - head;
            let location = extent.location.advanced(head);
            extent.count = head;
            self.extents.insert(at, Extent { count: tail, location });
        }
    }

    /// Joins the extent that begins at a block with the one before, if it continues that.
    fn join(&mut self, at: u64) {
        let Some(extent) = self.extents.get(&at).copied() else { return };
        let Some((start, before)) = self.extents.range_mut(..at).next_back() else { return };
        let continues =
            start + before.count == at && before.location.advanced(before.count) == extent.location;
        if continues {
            before.count += extent.count;
            self.extents.remove(&at);
        }
    }
}

fn push(runs: &mut Vec<Run>, from: u64, to: u64, location: Option<Location>) {
    if from < to {
        runs.push(Run { blocks: BlockRange { start: from, count: to - from }, location });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCKS: u64 = 64;

    fn range(start: u64, count: u64) -> BlockRange {
        BlockRange { start, count }
    }

    fn at(sequence: u64, offset: u64) -> Location {
        Location { sequence, offset }
    }

    /// A place for each block, which is what the map means.
    fn places(map: &ExtentMap) -> Vec<Option<Location>> {
        let runs = map.read(range(0, BLOCKS));
        let run = |run: &Run| {
            let (count, location) = (run.blocks.count, run.location);
            (0..count).map(move |block| location.map(|location| location.advanced(block)))
        };
        runs.iter().flat_map(run).collect()
    }

    proptest! {
        #[test]
        fn is_what_a_table_of_blocks_would_be(
            steps in proptest::collection::vec(
                (0..BLOCKS, 0..BLOCKS, proptest::option::weighted(0.8, (0u64..4, 0u64..8))), 0..40,
            ),
            (from, count) in (0..BLOCKS, 0..BLOCKS),
        ) {
            let mut map = ExtentMap::new();
            let mut table = vec![None; BLOCKS as usize];
            for (start, count, place) in steps {
                let count = count.min(BLOCKS - start);
                match place {
                    Some((sequence, offset)) => map.write(range(start, count), at(sequence, offset)),
                    None => map.discard(range(start, count)),
                }
                for block in 0..count {
                    table[(start + block) as usize] =
                        place.map(|(sequence, offset)| at(sequence, offset + block));
                }
            }
            prop_assert_eq!(&places(&map), &table);

            // A part is read as the whole is, without gaps.
            let runs = map.read(range(from, count));
            let mut next = from;
            for run in &runs {
                prop_assert_eq!(run.blocks.start, next);
                prop_assert_eq!(run.location, table.get(next as usize).copied().flatten());
                next += run.blocks.count;
            }
            prop_assert_eq!(next, from + count);

            // There is an extent for each place where one block does not continue the last, and no more.
            let continues = |pair: &[Option<Location>]| match pair {
                [Some(a), Some(b)] => a.advanced(1) == *b,
                _ => false,
            };
            let written = table.iter().flatten().count();
            let joined = table.windows(2).filter(|pair| continues(pair)).count();
            prop_assert_eq!(map.extent_count(), written - joined);
            for sequence in 0..4 {
                let used = table.iter().flatten().filter(|place| place.sequence == sequence).count();
                prop_assert_eq!(map.blocks_in(sequence), used as u64);
            }
        }
    }

    #[test]
    fn a_write_in_the_middle_splits_and_the_same_again_joins() {
        let mut map = ExtentMap::new();
        map.write(range(0, 10), at(1, 0));
        map.write(range(4, 2), at(2, 0));
        assert_eq!(map.extent_count(), 3);
        assert_eq!(map.read(range(3, 2))[1], Run { blocks: range(4, 1), location: Some(at(2, 0)) });
        assert_eq!(map.read(range(6, 9))[0], Run { blocks: range(6, 4), location: Some(at(1, 6)) });
        assert_eq!(map.read(range(6, 9))[1], Run { blocks: range(10, 5), location: None });
        map.write(range(4, 2), at(1, 4));
        assert_eq!(map.extent_count(), 1);
    }

    #[test]
    fn blocks_written_one_by_one_are_one_extent() {
        let mut map = ExtentMap::new();
        for block in (0..1000).rev() {
            map.write(range(block, 1), at(7, block));
        }
        assert_eq!((map.extent_count(), map.blocks_in(7)), (1, 1000));
    }

    #[test]
    fn the_end_of_all_blocks_is_no_trap() {
        let mut map = ExtentMap::new();
        map.write(range(u64::MAX - 1, 9), at(1, u64::MAX));
        assert_eq!(map.read(range(u64::MAX - 1, 9)).len(), 1);
        map.discard(range(0, u64::MAX));
        assert_eq!(map.extent_count(), 0);
    }
}

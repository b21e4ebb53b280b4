//! A place among the names of a list.

use rocksdb::{DB, DBRawIterator, ReadOptions};

/// Walks names in their order. Off either end it has no name.
pub(crate) trait Cursor {
    /// To the first name that is `at` or after it.
    fn seek(&mut self, at: &[u8]);
    /// To the last name before `before`; to the very last when there is none given.
    fn seek_before(&mut self, before: Option<&[u8]>);
    /// One further.
    fn next(&mut self);
    /// One back.
    fn prev(&mut self);
    /// The name here.
    fn name(&self) -> Option<&[u8]>;
    /// The stored row here.
    fn value(&self) -> Option<&[u8]>;
}

/// A cursor over the live rows of one list and policy.
pub(crate) struct RocksCursor<'a> {
    rows: DBRawIterator<'a>,
    /// What all keys begin with, and behind it, reused, the name last sought.
    key: Vec<u8>,
    prefix_length: usize,
}

impl<'a> RocksCursor<'a> {
    pub(crate) fn new(db: &'a DB, mut options: ReadOptions, prefix: Vec<u8>) -> Self {
        options.set_iterate_lower_bound(prefix.clone());
        if let Some(end) = crate::keys::successor(&prefix) {
            options.set_iterate_upper_bound(end);
        }
        let prefix_length = prefix.len();
        RocksCursor { rows: db.raw_iterator_opt(options), key: prefix, prefix_length }
    }

    pub(crate) fn status(&self) -> Result<(), rocksdb::Error> {
        self.rows.status()
    }

    fn key_of(&mut self, name: &[u8]) -> &[u8] {
        self.key.truncate(self.prefix_length);
        self.key.extend_from_slice(name);
        &self.key
    }
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, at: &[u8]) {
        self.key_of(at);
        self.rows.seek(&self.key);
    }

    fn seek_before(&mut self, before: Option<&[u8]>) {
        let Some(before) = before else { return self.rows.seek_to_last() };
        self.key_of(before);
        self.rows.seek_for_prev(&self.key);
        // That also finds `before` itself.
        if self.rows.key() == Some(self.key.as_slice()) {
            self.rows.prev();
        }
    }

    fn next(&mut self) {
        if self.rows.valid() {
            self.rows.next();
        }
    }

    fn prev(&mut self) {
        if self.rows.valid() {
            self.rows.prev();
        }
    }

    fn name(&self) -> Option<&[u8]> {
        self.rows.key().and_then(|key| key.get(self.prefix_length..))
    }

    fn value(&self) -> Option<&[u8]> {
        self.rows.value()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Cursor;
    use std::collections::BTreeMap;
    use std::ops::Bound::{Excluded, Included, Unbounded};

    /// A cursor over names in memory, which counts its moves.
    pub(crate) struct MemoryCursor<'a> {
        names: &'a BTreeMap<Vec<u8>, Vec<u8>>,
        here: Option<&'a [u8]>,
        pub(crate) moves: usize,
    }

    impl<'a> MemoryCursor<'a> {
        pub(crate) fn new(names: &'a BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
            MemoryCursor { names, here: None, moves: 0 }
        }

        fn go(&mut self, to: Option<(&'a Vec<u8>, &'a Vec<u8>)>) {
            self.moves += 1;
            self.here = to.map(|(name, _)| name.as_slice());
        }
    }

    impl Cursor for MemoryCursor<'_> {
        fn seek(&mut self, at: &[u8]) {
            let to = self.names.range::<[u8], _>((Included(at), Unbounded)).next();
            self.go(to);
        }

        fn seek_before(&mut self, before: Option<&[u8]>) {
            let end = before.map_or(Unbounded, Excluded);
            let to = self.names.range::<[u8], _>((Unbounded, end)).next_back();
            self.go(to);
        }

        fn next(&mut self) {
            let to = self
                .here
                .and_then(|here| self.names.range::<[u8], _>((Excluded(here), Unbounded)).next());
            self.go(to);
        }

        fn prev(&mut self) {
            let to = self.here.and_then(|here| {
                self.names.range::<[u8], _>((Unbounded, Excluded(here))).next_back()
            });
            self.go(to);
        }

        fn name(&self) -> Option<&[u8]> {
            self.here
        }

        fn value(&self) -> Option<&[u8]> {
            self.here.and_then(|here| self.names.get(here)).map(Vec::as_slice)
        }
    }
}

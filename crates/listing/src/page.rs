//! One page of a listing: prefix, markers, delimiter, order, limit.
//!
//! The rules are Swift's (container/backend.py, `list_objects_iter`), all by bytes:
//!
//! - `marker` and `end_marker` are exclusive, and swap when the order is reversed.
//! - A delimiter folds all names that have it behind the prefix into one [`Item::Subdir`], which ends with the
//!   delimiter and counts as one of the page. The subdir that *is* the lower marker is left out; a marker
//!   *inside* a subdir lists that subdir again.
//! - `path` lists what lies directly in a pseudo-directory, no subdirs, and not the entry of the directory
//!   itself; it overrides prefix and delimiter.
//!
//! - Names that begin with NUL are reserved, and left out unless they are asked for.
//!
//! Two slips of Swift in `path` listings are not repeated: a name that differs from a skipped directory only
//! in having `0` for its slash is listed, and the entry `x/` of a directory is listed in reverse order as well.
//!
//! What has expired is not listed; a subdir in which everything has is, until the objects are deleted.
//!
//! What is folded is leapt over, so a page costs by what it shows and not by what lies beneath.

use crate::cursor::Cursor;
use crate::database::StoreError;
use crate::keys::successor;
use crate::row::{Row, Stored};

/// What is asked for. Empty texts ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// Most items.
    pub limit: u32,
    /// Only names after it; in reverse order, before it.
    pub marker: String,
    /// Only names before it; in reverse order, after it.
    pub end_marker: String,
    /// Only names that begin with it.
    pub prefix: String,
    /// Folds names that have it behind the prefix.
    pub delimiter: String,
    /// Only what is directly in this pseudo-directory; empty for the uppermost.
    pub path: Option<String>,
    /// From the last to the first.
    pub reverse: bool,
    /// What has expired at this moment is left out; with 0 nothing is.
    pub now_seconds: u64,
    /// Reserved names, too.
    pub reserved: bool,
}

/// A line of a page.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'n, R> {
    /// What a delimiter folded; ends with the delimiter.
    Subdir(&'n str),
    /// A row.
    Row(&'n str, R),
}

impl<'n, R> Item<'n, R> {
    /// What the page shows it as.
    pub fn name(&self) -> &'n str {
        match self {
            Item::Subdir(name) | Item::Row(name, _) => name,
        }
    }
}

/// No name that is not reserved sorts before it.
const FIRST_OF_USERS: &str = "\u{1}";

/// A few steps are cheaper than a leap.
const STEPS_BEFORE_LEAP: usize = 4;

/// How a name shows.
enum Shown<'n> {
    AsRow,
    Folded(&'n [u8]),
    HiddenWith(&'n [u8]),
    Hidden,
}

/// The query, with defaults resolved and markers in the order of names.
struct Plan {
    lower: Vec<u8>,
    lower_included: bool,
    upper: Option<Vec<u8>>,
    /// The subdir not to show.
    suppressed: Vec<u8>,
    prefix: Vec<u8>,
    delimiter: Vec<u8>,
    path: bool,
    reverse: bool,
}

impl Plan {
    fn new(query: &PageQuery) -> Self {
        let (after, before) = match query.reverse {
            false => (&query.marker, &query.end_marker),
            true => (&query.end_marker, &query.marker),
        };
        let (prefix, delimiter) = match query.path.as_deref() {
            None => (query.prefix.clone(), query.delimiter.clone()),
            Some("") => (String::new(), "/".to_owned()),
            Some(path) => (format!("{}/", path.trim_end_matches('/')), "/".to_owned()),
        };
        let prefix_end = successor(prefix.as_bytes());
        let before = (!before.is_empty()).then(|| before.clone().into_bytes());
        let upper = match (before, prefix_end) {
            (Some(before), Some(end)) => Some(before.min(end)),
            (before, end) => before.or(end),
        };
        let mut lower_included = after.is_empty() || *after < prefix;
        let mut lower = if lower_included { prefix.clone() } else { after.clone() };
        if !query.reserved && lower.as_str() < FIRST_OF_USERS {
            (lower, lower_included) = (FIRST_OF_USERS.to_owned(), true);
        }
        Plan {
            lower: lower.into_bytes(),
            lower_included,
            upper,
            suppressed: after.clone().into_bytes(),
            prefix: prefix.into_bytes(),
            delimiter: delimiter.into_bytes(),
            path: query.path.is_some(),
            reverse: query.reverse,
        }
    }

    fn start(&self, cursor: &mut impl Cursor) {
        if self.reverse {
            return cursor.seek_before(self.upper.as_deref());
        }
        cursor.seek(&self.lower);
        if !self.lower_included && cursor.name() == Some(&self.lower) {
            cursor.next();
        }
    }

    /// Whether a name is still within the page's range; the other end was seen to by [`Plan::start`].
    fn covers(&self, name: &[u8]) -> bool {
        match self.reverse {
            false => self.upper.as_deref().is_none_or(|upper| name < upper),
            true if self.lower_included => name >= self.lower.as_slice(),
            true => name > self.lower.as_slice(),
        }
    }

    fn show<'n>(&self, name: &'n [u8]) -> Shown<'n> {
        if self.delimiter.is_empty() {
            return Shown::AsRow;
        }
        if self.path && name == self.prefix {
            return Shown::Hidden;
        }
        let behind = name.get(self.prefix.len()..).unwrap_or_default();
        let found = behind.windows(self.delimiter.len()).position(|part| part == self.delimiter);
        match found.map(|at| &name[..self.prefix.len() + at + self.delimiter.len()]) {
            None => Shown::AsRow,
            Some(subdir) if !self.path => Shown::Folded(subdir),
            Some(subdir) if subdir.len() == name.len() => Shown::AsRow,
            Some(subdir) => Shown::HiddenWith(subdir),
        }
    }

    fn step(&self, cursor: &mut impl Cursor) {
        if self.reverse { cursor.prev() } else { cursor.next() }
    }

    /// Leaves all names that begin with `subdir`. In reverse order a path listing still wants the very name.
    fn leave(&self, cursor: &mut impl Cursor, subdir: &[u8]) {
        let inside = |name: &[u8]| {
            name.starts_with(subdir) && !(self.path && self.reverse && name == subdir)
        };
        for _ in 0..STEPS_BEFORE_LEAP {
            self.step(cursor);
            if !cursor.name().is_some_and(inside) {
                return;
            }
        }
        if !self.reverse {
            match successor(subdir) {
                Some(end) => cursor.seek(&end),
                // A delimiter of UTF-8 always has one.
                None => {
                    while cursor.name().is_some_and(inside) {
                        cursor.next()
                    }
                }
            }
        } else if self.path {
            cursor.seek_before(Some(&[subdir, b"\0"].concat()));
        } else {
            cursor.seek_before(Some(subdir));
        }
    }
}

/// Shows each line of the page that `query` asks for, of the rows `cursor` walks. Lines are not collected: what is made
/// of ten thousand of them is all that a page keeps in memory.
pub(crate) fn each<R: Row>(
    cursor: &mut impl Cursor,
    query: &PageQuery,
    mut show: impl FnMut(Item<'_, R>),
) -> Result<(), StoreError> {
    let plan = Plan::new(query);
    let mut left = query.limit;
    plan.start(cursor);
    while left > 0 {
        let Some(name) = cursor.name().filter(|name| plan.covers(name)) else { break };
        let leave = match plan.show(name) {
            Shown::AsRow => {
                let row: R = Stored::decode(cursor.value().unwrap_or_default())?.row;
                if !row.has_expired(query.now_seconds) {
                    show(Item::Row(text(name)?, row));
                    left -= 1;
                }
                None
            }
            Shown::Hidden => None,
            Shown::HiddenWith(subdir) => Some(subdir.to_vec()),
            Shown::Folded(subdir) => {
                if subdir != plan.suppressed {
                    show(Item::Subdir(text(subdir)?));
                    left -= 1;
                }
                Some(subdir.to_vec())
            }
        };
        match leave {
            None => plan.step(cursor),
            Some(subdir) => plan.leave(cursor, &subdir),
        }
    }
    Ok(())
}

fn text(name: &[u8]) -> Result<&str, StoreError> {
    Ok(std::str::from_utf8(name).map_err(|_| crate::record::Corrupt)?)
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;

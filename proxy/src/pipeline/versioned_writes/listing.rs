//! Listings of containers whose objects have versions: links show as what they lead to, and with `versions` all versions are
//! listed. Swift: versioned_writes/object_versioning.py, `ContainerContext.handle_request` and `_list_versions`.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{ContainerName, RESERVED, Timestamp, reserved_name, reserved_parts};
use wire::Response;

use super::objects::SOURCE;
use super::{DELETE_MARKER, NULL, containers, inside, names};
use crate::call::{Call, Query};
use crate::pipeline::Handler;
use crate::store::Store;
use crate::swift::constraints::is_true;
use crate::swift::error::Refusal;
use crate::swift::listing::{Format, Wanted, accepts, wanted};
use crate::swift::rows::{self, Row};

/// Where no smaller limit is given, nodes list at most so many rows.
const ROWS_MAX: usize = 10_000;

/// How many rows a page has at most, and whether its order is reversed.
pub(super) fn order(query: &Query) -> (usize, bool) {
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(ROWS_MAX);
    let reverse = query.get("reverse").and_then(|value| value.parse().ok());
    (limit, is_true(reverse.as_ref()))
}

/// Sorts by name; rows of one name stay in their order.
pub(super) fn sort(listed: &mut Vec<Row>, limit: usize, reverse: bool) {
    listed.sort_by(|a, b| {
        let order = rows::name(a).cmp(rows::name(b));
        if reverse { order.reverse() } else { order }
    });
    listed.truncate(limit);
}

/// Answers GET of a container.
pub(super) async fn list(
    store: &Arc<Store>,
    mut call: Call,
    next: &Handler,
) -> Result<Response, Refusal> {
    let all = call.query.has("versions");
    let again = call.sub(Method::GET, call.entity.clone(), SOURCE);
    let info = store.container_info(&call.entity).await?;
    let versioned = info.is_some_and(|info| info.sysmeta("versions-container").is_some());
    let reserved = call.entity.is_reserved();
    if !(all || versioned) || reserved {
        let mut response = next.answer(call).await;
        containers::tell(response.headers_mut(), &again, next).await;
        return Ok(response);
    }
    let mut wanted = wanted(&call.query, &call.headers)?;
    if all {
        wanted = only_json(&call, wanted)?;
    }
    let query = call.query.clone();
    call.query.set("format", "json");
    let mut response = next.answer(call).await;
    let location = containers::tell(response.headers_mut(), &again, next).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, mut listed) = rows::read(response).await?;
    let Some(names) = Names::of(&again, location) else {
        return Ok(rows::answer(parts, &listed, &again.entity, &wanted));
    };
    listed.iter_mut().for_each(|row| names.show_target(row, all));
    if all {
        listed = names.all_versions(&again, query, listed, next).await?;
    }
    Ok(rows::answer(parts, &listed, &again.entity, &wanted))
}

/// A listing of versions is told as JSON alone.
fn only_json(call: &Call, wanted: Wanted) -> Result<Wanted, Refusal> {
    let asked = call.query.get("format").filter(|format| !format.is_empty());
    let json = match asked {
        Some(_) => wanted.format == Format::Json,
        None => accepts(&call.headers, Format::Json),
    };
    match json {
        true => Ok(Wanted { format: Format::Json, varies: false }),
        false => Err(Refusal::Status(StatusCode::NOT_ACCEPTABLE)),
    }
}

/// Whose listing it is.
struct Names {
    account: String,
    container: String,
    /// Where versions lie, or would lie.
    versions: ContainerName,
}

impl Names {
    fn of(call: &Call, location: Option<ContainerName>) -> Option<Self> {
        let container = call.entity.container.as_ref()?.as_str();
        // What is known of the container may be old, so versions are looked for in any case.
        let by_name = || ContainerName::parse(names::versions_container(container)?).ok();
        let versions = location.or_else(by_name)?;
        let account = call.entity.account.to_string();
        Some(Names { account, container: container.to_owned(), versions })
    }

    /// The name of the version that a row is a link to.
    fn version_of(&self, row: &Row) -> Option<String> {
        let (_, container, object) = names::parse_path(rows::text(row, "symlink_path"))?;
        (container == self.versions.as_str()).then_some(object)
    }

    /// Makes a row of a link to a version tell of the version.
    fn show_target(&self, row: &mut Row, all: bool) {
        let complete = row.contains_key("symlink_etag") && row.contains_key("symlink_bytes");
        let Some(version) = self.version_of(row).filter(|_| complete) else { return };
        let etag = row.remove("symlink_etag");
        let etag = etag.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let hash = rows::text(row, "hash");
        let parameters = hash.find(';').map(|at| &hash[at..]).unwrap_or_default();
        let hash = format!("{etag}{parameters}");
        let bytes = match row.remove("symlink_bytes") {
            Some(Value::String(text)) => text.parse().unwrap_or(0).into(),
            Some(number) => number,
            None => 0.into(),
        };
        row.insert("bytes".to_owned(), bytes);
        row.insert("hash".to_owned(), hash.into());
        row.insert("version_symlink".to_owned(), true.into());
        if let (Some((object, id)), false) = (names::parse(&version), all) {
            let path = names::path_of_version(&self.account, &self.container, object, &id);
            row.insert("symlink_path".to_owned(), path.into());
        }
    }

    /// Merges what there is with all versions.
    async fn all_versions(
        &self,
        call: &Call,
        query: Query,
        listed: Vec<Row>,
        next: &Handler,
    ) -> Result<Vec<Row>, Refusal> {
        let (limit, reverse) = order(&query);
        let ask = self.versions_query(&query)?;
        let mut merged = Merged::of(self, listed);
        let entity = call.entity.with_container(self.versions.clone());
        let mut get = inside(call.sub(Method::GET, entity, SOURCE));
        get.query = ask;
        let response = next.answer(get).await;
        if response.status().is_success() {
            let (_, versions) = rows::read(response).await?;
            let begun = query.get("marker").filter(|_| query.has("version_marker"));
            let paging = Paging { reverse, begun };
            merged.add_versions(versions, &paging);
        } else if response.status() != StatusCode::NOT_FOUND {
            return Err(Refusal::Passed(Box::new(response)));
        }
        let mut all = merged.into_rows();
        sort(&mut all, limit, reverse);
        Ok(all)
    }

    /// The query for the container of versions.
    fn versions_query(&self, query: &Query) -> Result<Query, Refusal> {
        let bad = |sentence: &'static str| Refusal::bad_request(sentence);
        let mut ask = Query::default();
        ask.set("format", "json");
        for name in ["limit", "reverse", "delimiter"] {
            if let Some(value) = query.get(name) {
                ask.set(name, value);
            }
        }
        let delimiter = query.get("delimiter").unwrap_or_default();
        // What is between the object and the end of a version's name must not be folded.
        if delimiter.contains(|c: char| c.is_ascii_digit() || c == '.' || c == RESERVED) {
            return Err(bad("invalid delimiter param"));
        }
        if let Some(prefix) = query.get("prefix") {
            // Not up to the end of a name: it may be the beginning of one.
            let prefix = reserved_name(&[prefix]).ok_or(bad("invalid prefix param"))?;
            ask.set("prefix", prefix);
        }
        let version_marker = query.get("version_marker");
        match query.get("marker") {
            Some(marker) => ask.set("marker", version_place(marker, version_marker)?),
            None if version_marker.is_some() => {
                return Err(bad("version_marker param requires marker"));
            }
            None => {}
        }
        Ok(ask)
    }
}

/// Where in the container of versions a page begins.
fn version_place(marker: &str, version_marker: Option<&str>) -> Result<String, Refusal> {
    let prefix = names::prefix(marker).ok_or(Refusal::bad_request("invalid marker param"))?;
    match version_marker {
        // Behind all versions.
        None => Ok(prefix + ":"),
        // Before all of them: the null version is the latest.
        Some(NULL) => Ok(prefix),
        Some(id) => {
            let id = Timestamp::parse(id)
                .map_err(|_| Refusal::bad_request("invalid version_marker param"))?;
            Ok(prefix + &id.inverted().internal())
        }
    }
}

/// What has to be known of a page to tell what is the latest.
struct Paging<'a> {
    reverse: bool,
    /// An object with versions on a page before this: later ones, unless the order is reversed.
    begun: Option<&'a str>,
}

/// A listing of versions in the making.
struct Merged {
    /// Objects that are no links: null versions.
    nulls: Vec<Row>,
    versions: Vec<Row>,
    subdirs: BTreeSet<String>,
    /// Links by the version that they lead to.
    links: BTreeMap<String, Row>,
    /// Objects whose latest version is known.
    latest: BTreeSet<String>,
}

impl Merged {
    fn of(names: &Names, listed: Vec<Row>) -> Self {
        let mut merged = Merged {
            nulls: Vec::new(),
            versions: Vec::new(),
            subdirs: BTreeSet::new(),
            links: BTreeMap::new(),
            latest: BTreeSet::new(),
        };
        for mut row in listed {
            if row.contains_key("subdir") {
                merged.subdirs.insert(rows::text(&row, "subdir").to_owned());
            } else if let Some(version) =
                names.version_of(&row).filter(|_| row.contains_key("version_symlink"))
            {
                merged.links.insert(version, row);
            } else {
                merged.latest.insert(rows::text(&row, "name").to_owned());
                row.insert("version_id".to_owned(), NULL.into());
                row.insert("is_latest".to_owned(), true.into());
                merged.nulls.push(row);
            }
        }
        merged
    }

    fn add_versions(&mut self, mut versions: Vec<Row>, paging: &Paging<'_>) {
        // The latest first, in any case.
        if paging.reverse {
            versions.reverse();
        } else if let Some(begun) = paging.begun {
            self.latest.insert(begun.to_owned());
        }
        for row in versions {
            self.add_version(row);
        }
        if paging.reverse {
            self.versions.reverse();
        }
    }

    fn add_version(&mut self, mut row: Row) {
        if row.contains_key("subdir") {
            let subdir = reserved_parts(rows::text(&row, "subdir")).first().copied();
            self.subdirs.extend(subdir.map(str::to_owned));
            return;
        }
        let stored = rows::text(&row, "name").to_owned();
        let Some((object, id)) = names::parse(&stored) else { return };
        let linked = self.links.remove(&stored).is_some();
        let deleted = rows::text(&row, "content_type") == DELETE_MARKER;
        let latest = linked || deleted && !self.latest.contains(object);
        if latest {
            self.latest.insert(object.to_owned());
        }
        row.insert("name".to_owned(), object.into());
        row.insert("version_id".to_owned(), id.into());
        row.insert("is_latest".to_owned(), latest.into());
        self.versions.push(row);
    }

    fn into_rows(self) -> Vec<Row> {
        let mut all = self.nulls;
        all.extend(self.versions);
        all.extend(self.subdirs.into_iter().map(|subdir| {
            let mut row = Row::new();
            row.insert("subdir".to_owned(), subdir.into());
            row
        }));
        // Links to what is not listed, because it is gone, or not told of yet.
        for (version, link) in &self.links {
            let Some((object, id)) = names::parse(version) else { continue };
            let mut row = Row::new();
            row.insert("name".to_owned(), object.into());
            row.insert("version_id".to_owned(), id.into());
            row.insert("is_latest".to_owned(), json!(!self.latest.contains(object)));
            for name in ["content_type", "bytes", "hash", "last_modified"] {
                row.insert(name.to_owned(), link.get(name).cloned().unwrap_or_default());
            }
            all.push(row);
        }
        all
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;

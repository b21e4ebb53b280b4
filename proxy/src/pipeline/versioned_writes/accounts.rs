//! Listings of accounts: containers of versions do not show, but their sizes do. Swift:
//! versioned_writes/object_versioning.py, `AccountContext`.

use http::Method;
use serde_json::Value;
use std::collections::BTreeMap;
use wire::Response;

use super::objects::SOURCE;
use super::{inside, listing, names};
use crate::call::Call;
use crate::pipeline::Handler;
use crate::swift::error::Refusal;
use crate::swift::listing::wanted;
use crate::swift::rows::{self, Row};

/// Answers GET of an account.
pub(super) async fn list(mut call: Call, next: &Handler) -> Result<Response, Refusal> {
    let wanted = wanted(&call.query, &call.headers)?;
    let mut hidden = inside(call.sub(Method::GET, call.entity.clone(), SOURCE));
    let entity = call.entity.clone();
    call.query.set("format", "json");
    hidden.query = call.query.clone();
    let prefix = match hidden.query.get("prefix") {
        // What holds NUL names reserved containers itself.
        Some(prefix) => names::versions_container(prefix).unwrap_or_else(|| prefix.to_owned()),
        None => names::versions_containers(),
    };
    hidden.query.set("prefix", prefix);
    for name in ["marker", "end_marker"] {
        let Some(marker) = hidden.query.get(name).filter(|marker| !marker.is_empty()) else {
            continue;
        };
        if let Some(marker) = names::versions_container(marker) {
            hidden.query.set(name, marker);
        }
    }
    let (limit, reverse) = listing::order(&call.query);
    let response = next.answer(call).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, mut listed) = rows::read(response).await?;
    let hidden = next.answer(hidden).await;
    if hidden.status().is_success() {
        let (_, hidden) = rows::read(hidden).await?;
        add_sizes(&mut listed, hidden);
        listing::sort(&mut listed, limit, reverse);
    }
    Ok(rows::answer(parts, &listed, &entity, &wanted))
}

/// Adds the sizes of versions to those of the containers that they belong to. Those that belong to none show as
/// an empty container of that size, so that somebody can clean them up.
fn add_sizes(listed: &mut Vec<Row>, hidden: Vec<Row>) {
    let mut versions: BTreeMap<String, Row> = BTreeMap::new();
    for row in hidden {
        if let Some(container) = names::user_container(rows::text(&row, "name")) {
            versions.insert(container.to_owned(), row);
        }
    }
    let bytes = |row: &Row| row.get("bytes").and_then(Value::as_u64).unwrap_or(0);
    for row in listed.iter_mut() {
        if let Some(hidden) = versions.remove(rows::text(row, "name")) {
            let sum = bytes(row).saturating_add(bytes(&hidden));
            row.insert("bytes".to_owned(), sum.into());
        }
    }
    for (container, mut row) in versions {
        row.insert("name".to_owned(), container.into());
        row.insert("count".to_owned(), 0.into());
        listed.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(json: &str) -> Vec<Row> {
        serde_json::from_str(json).expect("rows")
    }

    #[test]
    fn sizes_are_added_and_orphans_show() {
        let mut listed = rows(
            r#"[{"name":"b","count":1,"bytes":2},{"subdir":"c"},{"name":"d","count":0,"bytes":0}]"#,
        );
        let hidden = rows(
            r#"[{"name":"\u0000versions\u0000a","count":3,"bytes":4},
                {"name":"\u0000versions\u0000b","count":5,"bytes":6},
                {"name":"\u0000other\u0000d","count":5,"bytes":6}]"#,
        );
        add_sizes(&mut listed, hidden);
        listing::sort(&mut listed, 3, false);
        let expected = rows(
            r#"[{"name":"a","count":0,"bytes":4},{"name":"b","count":1,"bytes":8},{"subdir":"c"}]"#,
        );
        assert_eq!(listed, expected);
    }
}

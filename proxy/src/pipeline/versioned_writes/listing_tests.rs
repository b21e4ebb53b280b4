use super::*;
use crate::call::tests::entity;

const AT: &str = "1402464677.04188";

fn names() -> Names {
    let versions = ContainerName::parse("\0versions\0c").expect("a name");
    Names { account: "a".into(), container: "c".into(), versions }
}

fn rows(json: Value) -> Vec<Row> {
    serde_json::from_value(json).expect("rows")
}

fn version(object: &str, at: &str) -> String {
    names::version_name(object, Timestamp::parse(at).expect("a timestamp")).expect("a name")
}

/// A link as the middleware symlink lists it.
fn link(object: &str, at: &str) -> Value {
    let mut target = entity("a/c").with_container(names().versions);
    target.object = types::ObjectName::parse(version(object, at)).ok();
    json!({
        "name": object, "hash": "d41d8cd98f00b204e9800998ecf8427e; slo_etag=s", "bytes": 0,
        "content_type": "a/b", "last_modified": "t", "symlink_etag": "e", "symlink_bytes": 5,
        "symlink_path": format!("/v1/a/{}", names::link_target(&target)),
    })
}

fn listed(object: &str, at: &str, content_type: &str) -> Value {
    json!({ "name": version(object, at), "bytes": 5, "content_type": content_type })
}

fn shown(merged: Merged, limit: usize, reverse: bool) -> Vec<String> {
    let mut all = merged.into_rows();
    sort(&mut all, limit, reverse);
    let show = |row: &Row| match row.get("subdir") {
        Some(_) => format!(">{}", rows::name(row)),
        None => {
            let latest = row["is_latest"] == true;
            let latest = if latest { "!" } else { "" };
            format!("{}@{}{latest}", rows::name(row), rows::text(row, "version_id"))
        }
    };
    all.iter().map(show).collect()
}

#[test]
fn links_show_as_what_they_lead_to() {
    let mut row = rows(json!([link("o", AT)])).remove(0);
    names().show_target(&mut row, false);
    let expected = json!({
        "name": "o", "hash": "e; slo_etag=s", "bytes": 5, "content_type": "a/b",
        "last_modified": "t", "version_symlink": true,
        "symlink_path": format!("/v1/a/c/o?version-id={AT}"),
    });
    assert_eq!(Value::from(row), expected);
    let other = json!([{ "name": "l", "symlink_path": "/v1/a/d/o", "symlink_etag": "e",
        "symlink_bytes": 1, "hash": "h" }]);
    let mut row = rows(other.clone()).remove(0);
    names().show_target(&mut row, false);
    assert_eq!(json!([row]), other);
}

const FIRST: Paging = Paging { reverse: false, begun: None };

fn merged(listed: Value) -> Merged {
    let mut listed = rows(listed);
    listed.iter_mut().for_each(|row| names().show_target(row, true));
    Merged::of(&names(), listed)
}

#[test]
fn versions_null_versions_and_markers_are_one_list() {
    let start = || {
        let mut merged = merged(json!([
            { "name": "n", "bytes": 1 }, link("o", "2"), { "subdir": "s/" }
        ]));
        let versions = json!([
            listed("d", "3", DELETE_MARKER), listed("d", "1", "a/b"), listed("n", "1", "a/b"),
            listed("o", "3", DELETE_MARKER), listed("o", "2", "a/b"), { "subdir": "\0s/" },
        ]);
        merged.add_versions(rows(versions), &FIRST);
        merged
    };
    let id = |seconds: u64| Timestamp::from_seconds(seconds).internal();
    let (one, two, three) = (id(1), id(2), id(3));
    let expected = [
        format!("d@{three}!"),
        format!("d@{one}"),
        "n@null!".to_owned(),
        format!("n@{one}"),
        // The link was made again after the object had been deleted.
        format!("o@{three}!"),
        format!("o@{two}!"),
        ">s/".to_owned(),
    ];
    assert_eq!(shown(start(), 100, false), expected);
    assert_eq!(shown(start(), 3, false), expected[..3]);
    let reversed = shown(start(), 2, true);
    assert_eq!(reversed, [">s/".to_owned(), format!("o@{three}!")]);
}

#[test]
fn what_goes_on_from_a_page_before_is_not_the_latest() {
    let mut next = merged(json!([]));
    let paging = Paging { reverse: false, begun: Some("o") };
    next.add_versions(rows(json!([listed("o", "1", DELETE_MARKER)])), &paging);
    assert_eq!(shown(next, 10, false), ["o@0000000001.00000"]);
    let mut back = merged(json!([]));
    let markers = json!([listed("o", "1", DELETE_MARKER), listed("o", "2", DELETE_MARKER)]);
    back.add_versions(rows(markers), &Paging { reverse: true, begun: Some("o") });
    assert_eq!(shown(back, 10, true), ["o@0000000001.00000", "o@0000000002.00000!"]);
}

#[test]
fn links_to_what_is_not_listed_show() {
    let merged = merged(json!([link("o", AT)]));
    assert_eq!(shown(merged, 10, false), [format!("o@{AT}!")]);
}

fn asked(query: &str) -> Result<Vec<(String, String)>, u16> {
    let query = Query(wire::parse_query(Some(query)).expect("a query"));
    let ask = names().versions_query(&query).map(|query| query.0);
    ask.map_err(|refusal| Response::from(refusal).status().as_u16())
}

#[test]
fn pages_begin_where_the_last_one_ended() {
    let marker = |query: &str| {
        let ask = asked(query).expect("a query");
        ask.into_iter().find(|(name, _)| name == "marker").map(|(_, marker)| marker)
    };
    assert_eq!(marker("marker=o").as_deref(), Some("\0o\0:"));
    assert_eq!(marker("marker=o&version_marker=null").as_deref(), Some("\0o\0"));
    let place = marker(&format!("marker=o&version_marker={AT}"));
    assert_eq!(place, Some(version("o", AT)));
    assert_eq!(marker("prefix=o"), None);
    assert!(asked("prefix=o").expect("a query").contains(&("prefix".into(), "\0o".into())));
    for bad in [
        "version_marker=1",
        "marker=o&version_marker=x",
        "delimiter=1",
        "delimiter=.",
        "delimiter=%00",
        "prefix=%00",
        "marker=%00",
    ] {
        assert_eq!(asked(bad), Err(400), "{bad}");
    }
}

//! Listings that a middleware changes: read as JSON, and written in the form that the client asked for. Ordinary ones
//! are rendered by storage nodes. Swift: common/middleware/listing_formats.py.

use http::StatusCode;
use http::header::{self, HeaderValue};
use http::response::Parts;
use serde_json::{Map, Value};
use wire::xml::{DECLARATION, element, open};
use wire::{Body, Response};

use super::error::Refusal;
use super::listing::{Format, Wanted};
use crate::store::{Entity, Level};

/// A line of a listing: a container, an object, or what a delimiter folded.
pub(crate) type Row = Map<String, Value>;

/// Most bytes of a listing that is read. A page of 10,000 rows has less, unless its names are all control characters.
const LISTING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A text of a row; empty when there is none.
pub(crate) fn text<'r>(row: &'r Row, key: &str) -> &'r str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What a row is sorted by: its name, or the folded prefix.
pub(crate) fn name(row: &Row) -> &str {
    row.get("subdir").or_else(|| row.get("name")).and_then(Value::as_str).unwrap_or_default()
}

/// Reads a listing that was asked for as JSON.
pub(crate) async fn read(response: Response) -> Result<(Parts, Vec<Row>), Refusal> {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, LISTING_BYTES_MAX).await;
    let rows = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok((parts, rows.ok_or(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE))?))
}

/// The answer with these rows, in the place of what was read.
pub(crate) fn answer(mut parts: Parts, rows: &[Row], entity: &Entity, wanted: &Wanted) -> Response {
    let body = match wanted.format {
        Format::Plain => plain(rows),
        // Strings and numbers into memory: there is nothing that could fail.
        Format::Json => serde_json::to_vec(rows).unwrap_or_default(),
        Format::Xml | Format::TextXml => match (entity.level(), &entity.container) {
            (Level::Account, _) | (_, None) => account_xml(rows, entity.account.as_str()),
            (_, Some(container)) => container_xml(rows, container.as_str()),
        }
        .into_bytes(),
    };
    parts.status = if body.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    parts.headers.insert(header::CONTENT_TYPE, wanted.format.content_type());
    if wanted.varies {
        parts.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    }
    Response::from_parts(parts, Body::from(body))
}

fn plain(rows: &[Row]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        out.extend_from_slice(name(row).as_bytes());
        out.push(b'\n');
    }
    out
}

fn container_xml(rows: &[Row], container: &str) -> String {
    let mut out = String::from(DECLARATION);
    if !open(&mut out, "container", container, rows.is_empty()) {
        return out;
    }
    for row in rows {
        if let Some(subdir) = row.get("subdir").and_then(Value::as_str) {
            open(&mut out, "subdir", subdir, false);
            element(&mut out, "name", subdir);
            out.push_str("</subdir>");
        } else {
            let fields = ["name", "hash", "bytes", "content_type", "last_modified"];
            object(&mut out, "object", row, &fields);
        }
    }
    out.push_str("</container>");
    out
}

/// An account's page.
pub(crate) fn account_xml(rows: &[Row], account: &str) -> String {
    let mut out = String::from(DECLARATION);
    open(&mut out, "account", account, false);
    out.push('\n');
    for row in rows {
        if let Some(subdir) = row.get("subdir").and_then(Value::as_str) {
            open(&mut out, "subdir", subdir, true);
        } else {
            let fields = ["name", "count", "bytes", "last_modified", "storage_policy"];
            object(&mut out, "container", row, &fields);
        }
        out.push('\n');
    }
    out.push_str("</account>");
    out
}

fn object(out: &mut String, tag: &str, row: &Row, fields: &[&str]) {
    out.extend(["<", tag, ">"]);
    for field in fields {
        match row.get(*field) {
            Some(Value::String(text)) => element(out, field, text),
            Some(Value::Number(number)) => element(out, field, &number.to_string()),
            _ => {}
        }
    }
    out.extend(["</", tag, ">"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::entity;

    async fn told(json: &'static str, path: &str, format: Format) -> (u16, String) {
        let mut response = Response::new(Body::from(json));
        response.headers_mut().insert("x-container-object-count", HeaderValue::from_static("1"));
        let (parts, rows) = read(response).await.expect("rows");
        let response = answer(parts, &rows, &entity(path), &Wanted { format, varies: true });
        assert_eq!(response.headers()["x-container-object-count"], "1");
        assert_eq!(response.headers()["vary"], "Accept");
        assert_eq!(response.headers()["content-type"], format.content_type());
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    const OBJECTS: &str = r#"[{"name":"a<\"&","hash":"e","bytes":3,"content_type":"",
        "last_modified":"t","symlink_path":"/v1"},{"subdir":"s\"/"}]"#;

    #[tokio::test]
    async fn containers_in_all_forms() {
        assert_eq!(told(OBJECTS, "a/c", Format::Plain).await, (200, "a<\"&\ns\"/\n".to_owned()));
        let (_, json) = told(OBJECTS, "a/c", Format::Json).await;
        assert!(
            json.contains("\"symlink_path\":\"/v1\"") && json.contains("\"bytes\":3"),
            "{json}"
        );
        let (_, xml) = told(OBJECTS, "a/c", Format::Xml).await;
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"c\"><object>\
             <name>a&lt;\"&amp;</name><hash>e</hash><bytes>3</bytes><content_type />\
             <last_modified>t</last_modified></object><subdir name=\"s&quot;/\"><name>s\"/</name>\
             </subdir></container>"
        );
        assert_eq!(told("[]", "a/c", Format::Plain).await, (204, String::new()));
        assert_eq!(told("[]", "a/c", Format::Json).await, (200, "[]".to_owned()));
        let (_, empty) = told("[]", "a/c", Format::TextXml).await;
        assert!(empty.ends_with("<container name=\"c\" />"), "{empty}");
    }

    #[tokio::test]
    async fn accounts_in_all_forms() {
        let rows = r#"[{"name":"c","count":1,"bytes":2,"last_modified":"t","storage_policy":"gold"},{"subdir":"s-"}]"#;
        assert_eq!(told(rows, "a", Format::Plain).await.1, "c\ns-\n");
        let (_, xml) = told(rows, "a", Format::Xml).await;
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"a\">\n<container>\
             <name>c</name><count>1</count><bytes>2</bytes><last_modified>t</last_modified><storage_policy>gold</storage_policy>\
             </container>\n<subdir name=\"s-\" />\n</account>"
        );
    }

    #[tokio::test]
    async fn what_is_no_listing_is_unavailable() {
        let response = Response::new(Body::from("<html>"));
        assert!(read(response).await.is_err());
    }
}

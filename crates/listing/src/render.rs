//! Pages as text, JSON and XML (Swift: common/middleware/listing_formats.py).
//!
//! XML 1.0 has no way to write most control characters, which names may hold; they show as U+FFFD there, so
//! that the document stays readable. JSON and text show every name as it is.

use crate::container_row::ContainerRow as ListedContainer;
use crate::object_row::ObjectRow;
use crate::page::Item;
use std::collections::BTreeMap;
use types::PolicyIndex;
use wire::xml::{DECLARATION, element, open};
use wire::{AccountRow, ContainerRow};

/// The form of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A name per line.
    Plain,
    /// An array of objects.
    Json,
    /// XML as `application/xml`.
    Xml,
    /// XML as `text/xml`.
    TextXml,
}

impl Format {
    /// All, in the order of preference.
    pub const ALL: [Format; 4] = [Format::Plain, Format::Json, Format::Xml, Format::TextXml];

    /// The one that `format=` names; unknown ones mean plain.
    pub fn of_query(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "json" => Format::Json,
            "xml" => Format::Xml,
            _ => Format::Plain,
        }
    }

    /// Its media type.
    pub fn mime(self) -> &'static str {
        match self {
            Format::Plain => "text/plain",
            Format::Json => "application/json",
            Format::Xml => "application/xml",
            Format::TextXml => "text/xml",
        }
    }

    /// Its Content-Type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Plain => "text/plain; charset=utf-8",
            Format::Json => "application/json; charset=utf-8",
            Format::Xml => "application/xml; charset=utf-8",
            Format::TextXml => "text/xml; charset=utf-8",
        }
    }
}

/// The rows of a container's page as the wire has them.
fn container_rows(page: Vec<Item<ObjectRow>>) -> Vec<ContainerRow> {
    let row = |item: Item<ObjectRow>| match item {
        Item::Subdir(subdir) => ContainerRow::Subdir { subdir },
        Item::Row(name, row) => ContainerRow::Object {
            name,
            bytes: row.listed_size(),
            last_modified: row.meta.isoformat(),
            hash: row.etag,
            content_type: row.content_type,
        },
    };
    page.into_iter().map(row).collect()
}

/// The rows of an account's page as the wire has them.
fn account_rows(
    page: Vec<Item<ListedContainer>>,
    policies: &BTreeMap<PolicyIndex, String>,
) -> Vec<AccountRow> {
    let row = |item: Item<ListedContainer>| match item {
        Item::Subdir(subdir) => AccountRow::Subdir { subdir },
        Item::Row(name, row) => AccountRow::Container {
            name,
            count: row.object_count,
            bytes: row.bytes_used,
            last_modified: row.put_timestamp.isoformat(),
            storage_policy: policies.get(&row.policy).cloned(),
        },
    };
    page.into_iter().map(row).collect()
}

/// A container's page.
pub fn container(page: Vec<Item<ObjectRow>>, format: Format, container: &str) -> Vec<u8> {
    match format {
        // Names alone: what else rows have need not be put into words.
        Format::Plain => plain(&page),
        Format::Json => json(&container_rows(page)),
        Format::Xml | Format::TextXml => {
            container_xml(&container_rows(page), container).into_bytes()
        }
    }
}

/// An account's page.
pub fn account(
    page: Vec<Item<ListedContainer>>,
    format: Format,
    account: &str,
    policies: &BTreeMap<PolicyIndex, String>,
) -> Vec<u8> {
    match format {
        Format::Plain => plain(&page),
        Format::Json => json(&account_rows(page, policies)),
        Format::Xml | Format::TextXml => {
            account_xml(&account_rows(page, policies), account).into_bytes()
        }
    }
}

fn plain<R>(page: &[Item<R>]) -> Vec<u8> {
    let names = page.iter().map(Item::name);
    let mut out = Vec::with_capacity(names.clone().map(|name| name.len() + 1).sum());
    for name in names {
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out
}

fn json<T: serde::Serialize>(rows: &[T]) -> Vec<u8> {
    // Strings and numbers into memory: there is nothing that could fail.
    serde_json::to_vec(rows).unwrap_or_default()
}

fn container_xml(rows: &[ContainerRow], container: &str) -> String {
    let mut out = String::with_capacity(64 + rows.len() * 256);
    out.push_str(DECLARATION);
    if !open(&mut out, "container", container, rows.is_empty()) {
        return out;
    }
    for row in rows {
        match row {
            ContainerRow::Subdir { subdir } => {
                open(&mut out, "subdir", subdir, false);
                element(&mut out, "name", subdir);
                out.push_str("</subdir>");
            }
            ContainerRow::Object { name, hash, bytes, content_type, last_modified } => {
                out.push_str("<object>");
                element(&mut out, "name", name);
                element(&mut out, "hash", hash);
                element(&mut out, "bytes", &bytes.to_string());
                element(&mut out, "content_type", content_type);
                element(&mut out, "last_modified", last_modified);
                out.push_str("</object>");
            }
        }
    }
    out.push_str("</container>");
    out
}

fn account_xml(rows: &[AccountRow], account: &str) -> String {
    let mut out = String::with_capacity(64 + rows.len() * 192);
    out.push_str(DECLARATION);
    open(&mut out, "account", account, false);
    out.push('\n');
    for row in rows {
        match row {
            AccountRow::Subdir { subdir } => {
                open(&mut out, "subdir", subdir, true);
            }
            AccountRow::Container { name, count, bytes, last_modified, storage_policy } => {
                out.push_str("<container>");
                element(&mut out, "name", name);
                element(&mut out, "count", &count.to_string());
                element(&mut out, "bytes", &bytes.to_string());
                element(&mut out, "last_modified", last_modified);
                if let Some(policy) = storage_policy {
                    element(&mut out, "storage_policy", policy);
                }
                out.push_str("</container>");
            }
        }
        out.push('\n');
    }
    out.push_str("</account>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Timestamp;

    fn object(name: &str) -> Item<ObjectRow> {
        let at = Timestamp::parse("1402464677.04188").expect("a timestamp");
        let row = ObjectRow {
            data: Timestamp::default(),
            content_type_at: Timestamp::default(),
            meta: at,
            size: 3,
            content_type: String::new(),
            swift_bytes: None,
            etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
            deleted: false,
            delete_at: 0,
        };
        Item::Row(name.into(), row)
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn containers_in_all_forms() {
        let page = || vec![object("a<\"&\u{1}\r\n"), Item::Subdir("s\"/".into())];
        let plain = container(page(), Format::Plain, "c");
        assert_eq!(text(plain), "a<\"&\u{1}\r\n\ns\"/\n");
        let json = text(container(page(), Format::Json, "c"));
        assert_eq!(
            json,
            "[{\"name\":\"a<\\\"&\\u0001\\r\\n\",\"hash\":\"d41d8cd98f00b204e9800998ecf8427e\",\"bytes\":3,\
             \"content_type\":\"\",\"last_modified\":\"2014-06-11T05:31:17.041880\"},{\"subdir\":\"s\\\"/\"}]"
        );
        let xml = text(container(page(), Format::Xml, "c\n"));
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"c&#10;\"><object>\
             <name>a&lt;\"&amp;\u{fffd}&#13;\n</name><hash>d41d8cd98f00b204e9800998ecf8427e</hash>\
             <bytes>3</bytes><content_type /><last_modified>2014-06-11T05:31:17.041880</last_modified>\
             </object><subdir name=\"s&quot;/\"><name>s\"/</name></subdir></container>"
        );
        let empty = text(container(vec![], Format::TextXml, "c"));
        assert_eq!(empty, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"c\" />");
        assert_eq!(text(container(vec![], Format::Json, "c")), "[]");
        assert_eq!(text(container(vec![], Format::Plain, "c")), "");
    }

    #[test]
    fn accounts_in_all_forms() {
        let row = ListedContainer {
            put_timestamp: Timestamp::parse("1402464677.04188").expect("a timestamp"),
            object_count: 1,
            bytes_used: 2,
            policy: PolicyIndex(7),
            delete_timestamp: Timestamp::default(),
            deleted: false,
        };
        let page = || vec![Item::Row("ü".into(), row.clone()), Item::Subdir("s-".into())];
        let policies = BTreeMap::from([(PolicyIndex(7), "gold".to_owned())]);
        let xml = text(account(page(), Format::Xml, "a", &policies));
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"a\">\n<container><name>ü</name>\
             <count>1</count><bytes>2</bytes><last_modified>2014-06-11T05:31:17.041880</last_modified>\
             <storage_policy>gold</storage_policy></container>\n<subdir name=\"s-\" />\n</account>"
        );
        let json = text(account(page(), Format::Json, "a", &policies));
        assert_eq!(
            json,
            "[{\"name\":\"ü\",\"count\":1,\"bytes\":2,\"last_modified\":\"2014-06-11T05:31:17.041880\",\
             \"storage_policy\":\"gold\"},{\"subdir\":\"s-\"}]"
        );
        assert_eq!(text(account(page(), Format::Plain, "a", &policies)), "ü\ns-\n");
        let empty = text(account(vec![], Format::Xml, "a", &policies));
        assert_eq!(
            empty,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"a\">\n</account>"
        );
    }
}

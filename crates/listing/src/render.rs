//! Pages as text, JSON and XML (Swift: common/middleware/listing_formats.py).
//!
//! XML 1.0 has no way to write most control characters, which names may hold; they show as U+FFFD there, so
//! that the document stays readable. JSON and text show every name as it is.

use crate::container_row::ContainerRow as ListedContainer;
use crate::object_row::ObjectRow;
use crate::page::Item;
use serde::Serialize;
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

/// How a list of one kind shows.
pub trait List {
    /// What it stores.
    type Row;
    /// What it shows of a line.
    type Line: Serialize;

    /// A line as the wire has it.
    fn line(&self, item: Item<'_, Self::Row>) -> Self::Line;
    /// What an XML document begins with. Says whether [`List::end_xml`] follows.
    fn begin_xml(&self, out: &mut String, is_empty: bool) -> bool;
    /// A line in XML.
    fn line_xml(line: &Self::Line, out: &mut String);
    /// What an XML document ends with.
    fn end_xml(out: &mut String);
}

/// A page that is written line by line.
pub struct Page<L> {
    list: L,
    format: Format,
    out: Vec<u8>,
    is_empty: bool,
}

impl<'a> Page<OfContainer<'a>> {
    /// A container's.
    pub fn of_container(format: Format, name: &'a str) -> Self {
        Page::new(OfContainer { name }, format)
    }
}

impl<'a> Page<OfAccount<'a>> {
    /// An account's, with names of policies.
    pub fn of_account(
        format: Format,
        name: &'a str,
        policies: &'a BTreeMap<PolicyIndex, String>,
    ) -> Self {
        Page::new(OfAccount { name, policies }, format)
    }
}

impl<L: List> Page<L> {
    fn new(list: L, format: Format) -> Self {
        Page { list, format, out: Vec::new(), is_empty: true }
    }

    /// Writes a line.
    pub fn add(&mut self, item: Item<'_, L::Row>) {
        let is_first = std::mem::take(&mut self.is_empty);
        match self.format {
            // Names alone: what else rows have need not be put into words.
            Format::Plain => {
                self.out.extend_from_slice(item.name().as_bytes());
                self.out.push(b'\n');
            }
            Format::Json => {
                self.out.push(if is_first { b'[' } else { b',' });
                // Strings and numbers into memory: there is nothing that could fail.
                serde_json::to_writer(&mut self.out, &self.list.line(item)).unwrap_or_default();
            }
            Format::Xml | Format::TextXml => {
                let mut text = String::with_capacity(256);
                if is_first {
                    self.list.begin_xml(&mut text, false);
                }
                L::line_xml(&self.list.line(item), &mut text);
                self.out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// The whole page.
    pub fn finish(mut self) -> Vec<u8> {
        match self.format {
            Format::Plain => {}
            Format::Json if self.is_empty => self.out.extend_from_slice(b"[]"),
            Format::Json => self.out.push(b']'),
            Format::Xml | Format::TextXml => {
                let mut text = String::new();
                if !self.is_empty || self.list.begin_xml(&mut text, true) {
                    L::end_xml(&mut text);
                }
                self.out.extend_from_slice(text.as_bytes());
            }
        }
        self.out
    }
}

/// Objects of a container.
pub struct OfContainer<'a> {
    name: &'a str,
}

impl List for OfContainer<'_> {
    type Row = ObjectRow;
    type Line = ContainerRow;

    fn line(&self, item: Item<'_, ObjectRow>) -> ContainerRow {
        match item {
            Item::Subdir(subdir) => ContainerRow::Subdir { subdir: subdir.to_owned() },
            Item::Row(name, row) => ContainerRow::Object {
                name: name.to_owned(),
                bytes: row.listed_size(),
                last_modified: row.meta.isoformat(),
                hash: row.etag,
                content_type: row.content_type,
            },
        }
    }

    fn begin_xml(&self, out: &mut String, is_empty: bool) -> bool {
        out.push_str(DECLARATION);
        open(out, "container", self.name, is_empty)
    }

    fn line_xml(line: &ContainerRow, out: &mut String) {
        match line {
            ContainerRow::Subdir { subdir } => {
                open(out, "subdir", subdir, false);
                element(out, "name", subdir);
                out.push_str("</subdir>");
            }
            ContainerRow::Object { name, hash, bytes, content_type, last_modified } => {
                out.push_str("<object>");
                element(out, "name", name);
                element(out, "hash", hash);
                element(out, "bytes", &bytes.to_string());
                element(out, "content_type", content_type);
                element(out, "last_modified", last_modified);
                out.push_str("</object>");
            }
        }
    }

    fn end_xml(out: &mut String) {
        out.push_str("</container>");
    }
}

/// Containers of an account.
pub struct OfAccount<'a> {
    name: &'a str,
    policies: &'a BTreeMap<PolicyIndex, String>,
}

impl List for OfAccount<'_> {
    type Row = ListedContainer;
    type Line = AccountRow;

    fn line(&self, item: Item<'_, ListedContainer>) -> AccountRow {
        match item {
            Item::Subdir(subdir) => AccountRow::Subdir { subdir: subdir.to_owned() },
            Item::Row(name, row) => AccountRow::Container {
                name: name.to_owned(),
                count: row.object_count,
                bytes: row.bytes_used,
                last_modified: row.put_timestamp.isoformat(),
                storage_policy: self.policies.get(&row.policy).cloned(),
            },
        }
    }

    fn begin_xml(&self, out: &mut String, _is_empty: bool) -> bool {
        out.push_str(DECLARATION);
        open(out, "account", self.name, false);
        out.push('\n');
        true
    }

    fn line_xml(line: &AccountRow, out: &mut String) {
        match line {
            AccountRow::Subdir { subdir } => {
                open(out, "subdir", subdir, true);
            }
            AccountRow::Container { name, count, bytes, last_modified, storage_policy } => {
                out.push_str("<container>");
                element(out, "name", name);
                element(out, "count", &count.to_string());
                element(out, "bytes", &bytes.to_string());
                element(out, "last_modified", last_modified);
                if let Some(policy) = storage_policy {
                    element(out, "storage_policy", policy);
                }
                out.push_str("</container>");
            }
        }
        out.push('\n');
    }

    fn end_xml(out: &mut String) {
        out.push_str("</account>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Timestamp;

    fn object(name: &str) -> Item<'_, ObjectRow> {
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
        Item::Row(name, row)
    }

    fn text<L: List>(mut page: Page<L>, items: Vec<Item<'_, L::Row>>) -> String {
        items.into_iter().for_each(|item| page.add(item));
        String::from_utf8(page.finish()).expect("UTF-8")
    }

    #[test]
    fn containers_in_all_forms() {
        let items = || vec![object("a<\"&\u{1}\r\n"), Item::Subdir("s\"/")];
        let page = Page::of_container;
        assert_eq!(text(page(Format::Plain, "c"), items()), "a<\"&\u{1}\r\n\ns\"/\n");
        let json = text(page(Format::Json, "c"), items());
        assert_eq!(
            json,
            "[{\"name\":\"a<\\\"&\\u0001\\r\\n\",\"hash\":\"d41d8cd98f00b204e9800998ecf8427e\",\"bytes\":3,\
             \"content_type\":\"\",\"last_modified\":\"2014-06-11T05:31:17.041880\"},{\"subdir\":\"s\\\"/\"}]"
        );
        let xml = text(page(Format::Xml, "c\n"), items());
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"c&#10;\"><object>\
             <name>a&lt;\"&amp;\u{fffd}&#13;\n</name><hash>d41d8cd98f00b204e9800998ecf8427e</hash>\
             <bytes>3</bytes><content_type /><last_modified>2014-06-11T05:31:17.041880</last_modified>\
             </object><subdir name=\"s&quot;/\"><name>s\"/</name></subdir></container>"
        );
        let empty = text(page(Format::TextXml, "c"), vec![]);
        assert_eq!(empty, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"c\" />");
        assert_eq!(text(page(Format::Json, "c"), vec![]), "[]");
        assert_eq!(text(page(Format::Plain, "c"), vec![]), "");
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
        let items = || vec![Item::Row("ü", row.clone()), Item::Subdir("s-")];
        let policies = BTreeMap::from([(PolicyIndex(7), "gold".to_owned())]);
        let page = |format| Page::of_account(format, "a", &policies);
        let xml = text(page(Format::Xml), items());
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"a\">\n<container><name>ü</name>\
             <count>1</count><bytes>2</bytes><last_modified>2014-06-11T05:31:17.041880</last_modified>\
             <storage_policy>gold</storage_policy></container>\n<subdir name=\"s-\" />\n</account>"
        );
        let json = text(page(Format::Json), items());
        assert_eq!(
            json,
            "[{\"name\":\"ü\",\"count\":1,\"bytes\":2,\"last_modified\":\"2014-06-11T05:31:17.041880\",\
             \"storage_policy\":\"gold\"},{\"subdir\":\"s-\"}]"
        );
        assert_eq!(text(page(Format::Plain), items()), "ü\ns-\n");
        let empty = text(page(Format::Xml), vec![]);
        assert_eq!(
            empty,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"a\">\n</account>"
        );
    }
}

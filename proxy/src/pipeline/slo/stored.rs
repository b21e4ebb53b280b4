//! Manifests as they are stored: a JSON list of segments, in the form that Swift's proxies write and read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::{Map, Value};
use types::hex_encode;

/// One segment of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Bytes that are in the manifest itself.
    Data(Bytes),
    Object(ObjectPart),
}

/// An object that is a segment, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectPart {
    /// `/container/object`.
    pub(super) name: String,
    pub(super) etag: String,
    /// How long the object is in all.
    pub(super) bytes: u64,
    /// The first and the last byte that are wanted, unless it is all.
    pub(super) range: Option<(u64, u64)>,
    /// Whether it is a manifest itself.
    pub(super) is_manifest: bool,
}

impl Part {
    pub(super) fn len(&self) -> u64 {
        match self {
            Part::Data(bytes) => bytes.len() as u64,
            Part::Object(object) => match object.range {
                Some((first, last)) => last.saturating_sub(first).saturating_add(1),
                None => object.bytes,
            },
        }
    }

    /// What the ETag of the whole is made of.
    pub(super) fn digest(&self) -> String {
        match self {
            Part::Data(bytes) => hex_encode(&Md5::digest(bytes)),
            Part::Object(object) => match object.range {
                Some((first, last)) => format!("{}:{first}-{last};", object.etag),
                None => object.etag.clone(),
            },
        }
    }
}

/// How long all parts are together.
pub(super) fn len(parts: &[Part]) -> u64 {
    parts.iter().map(Part::len).fold(0, u64::saturating_add)
}

/// The ETag of the whole, without quotes.
pub(super) fn etag(parts: &[Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part.digest());
    }
    hex_encode(&md5.finalize())
}

/// A number, or the text of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

/// A truth, or a word for it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Truth {
    Bool(bool),
    Text(String),
}

#[derive(Deserialize)]
struct Written {
    data: Option<String>,
    name: Option<String>,
    bytes: Option<Number>,
    hash: Option<String>,
    range: Option<String>,
    content_type: Option<String>,
    sub_slo: Option<Truth>,
}

/// Reads a stored manifest.
pub(super) fn parse(manifest: &[u8]) -> Result<Vec<Part>, String> {
    let written: Vec<Written> =
        serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    written.into_iter().map(part).collect()
}

fn part(written: Written) -> Result<Part, String> {
    let lacks = |what: &str| format!("a segment has no {what}");
    if let Some(data) = written.data {
        let bytes = STANDARD.decode(data).map_err(|error| error.to_string())?;
        return Ok(Part::Data(bytes.into()));
    }
    let is_manifest = match written.sub_slo {
        None => false,
        Some(Truth::Bool(truth)) => truth,
        Some(Truth::Text(word)) => word.eq_ignore_ascii_case("true"),
    };
    // Old manifests have the length of another manifest's own text, and that of what it stands for behind the type.
    let of_type = written.content_type.filter(|_| is_manifest).and_then(|kind| {
        let (_, bytes) = wire::extract_swift_bytes(&kind);
        bytes?.parse().ok()
    });
    let bytes = match written.bytes {
        Some(Number::Number(bytes)) => Some(bytes),
        Some(Number::Text(text)) => text.trim().parse().ok(),
        None => None,
    };
    let range = written.range.map(|range| span(&range).ok_or_else(|| lacks("sound range")));
    Ok(Part::Object(ObjectPart {
        name: written.name.ok_or_else(|| lacks("name"))?,
        etag: written.hash.ok_or_else(|| lacks("hash"))?,
        bytes: of_type.or(bytes).ok_or_else(|| lacks("length"))?,
        range: range.transpose()?,
        is_manifest,
    }))
}

fn span(range: &str) -> Option<(u64, u64)> {
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// A stored manifest in the form in which clients write one.
pub(super) fn as_written_by_clients(manifest: &[u8]) -> Result<Vec<u8>, String> {
    let mut segments: Vec<Map<String, Value>> =
        serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    for segment in segments.iter_mut().filter(|segment| !segment.contains_key("data")) {
        for name in ["content_type", "last_modified", "sub_slo"] {
            segment.remove(name);
        }
        for (theirs, ours) in [("name", "path"), ("bytes", "size_bytes"), ("hash", "etag")] {
            let value = segment.remove(theirs).unwrap_or_default();
            segment.insert(ours.to_owned(), value);
        }
        segment.sort_keys();
    }
    serde_json::to_vec(&segments).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MANIFEST: &str = r#"[
        {"name": "/c/a", "bytes": 10, "hash": "aaa", "content_type": "x/y", "last_modified": "then"},
        {"name": "/c/b", "bytes": "20", "hash": "bbb", "range": "5-9", "sub_slo": true,
         "content_type": "x/y;swift_bytes=100"},
        {"data": "aGk="}
    ]"#;

    #[test]
    fn manifests_have_lengths_and_etags() {
        let parts = parse(MANIFEST.as_bytes()).expect("a manifest");
        assert_eq!(parts.iter().map(Part::len).collect::<Vec<_>>(), [10, 5, 2]);
        assert_eq!(len(&parts), 17);
        let hi = hex_encode(&Md5::digest("hi"));
        let expected = hex_encode(&Md5::digest(format!("aaabbb:5-9;{hi}")));
        assert_eq!(etag(&parts), expected);
        let Part::Object(nested) = &parts[1] else { panic!("an object") };
        assert!(nested.is_manifest && nested.bytes == 100);
    }

    #[test]
    fn clients_get_back_what_they_wrote() {
        let raw = as_written_by_clients(MANIFEST.as_bytes()).expect("a manifest");
        let expected = r#"[{"etag":"aaa","path":"/c/a","size_bytes":10},{"etag":"bbb","path":"/c/b","range":"5-9","size_bytes":"20"},{"data":"aGk="}]"#;
        assert_eq!(String::from_utf8(raw).expect("text"), expected);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for bad in [
            "",
            "{}",
            "[1]",
            r#"[{"name": "/c/a"}]"#,
            r#"[{"data": "*"}]"#,
            r#"[{"name": "/c/a", "bytes": 10, "hash": "a", "range": "9-5"}]"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in "(\\[|\\]|\\{|\\}|\"name\":|\"bytes\":|\"range\":|\"hash\":|\"a\"|,|[0-9-]{0,20}){0,20}") {
            if let Ok(parts) = parse(bytes.as_bytes()) {
                let _ = (len(&parts), etag(&parts));
            }
            let _ = as_written_by_clients(bytes.as_bytes());
        }
    }
}

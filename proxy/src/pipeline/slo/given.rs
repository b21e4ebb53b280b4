//! Manifests as clients write them. Swift: common/middleware/slo.py, `parse_and_validate_input`.
//!
//! A manifest is read segment by segment, and only sound ones are kept, so that a long list of nonsense takes no more
//! memory than its own text. What is wrong is said of each segment in a line of its own.

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use wire::ranges::{RangeSpec, Wanted, range_specs, wanted};

/// So many lines about what is wrong are enough.
const PROBLEMS_MAX: usize = 1000;

/// Padding may be missing or too much, and the last bits may be anything, as with Python's decoder.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// A segment that a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Data(Bytes),
    Object(Named),
}

/// An object, as the client describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// `container/object`, as it was written.
    pub(super) path: String,
    pub(super) etag: Option<String>,
    pub(super) size: Option<i64>,
    /// As it was written.
    pub(super) range: Option<String>,
}

/// Why a manifest is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsound {
    NotJson,
    NotList,
    /// A line for each problem.
    Segments(String),
    /// More objects than there may be.
    TooMany,
}

/// Reads a manifest for the object `own` (`container/object`) with at most so many objects in it.
pub(super) fn parse(text: &[u8], own: &str, objects_max: usize) -> Result<Vec<Segment>, Unsound> {
    let list = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !list {
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
        return Err(if json { Unsound::NotList } else { Unsound::NotJson });
    }
    let mut reading = Reading::new(own, objects_max);
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = json.deserialize_seq(&mut reading).and_then(|()| json.end());
    read.map_err(|_| Unsound::NotJson)?;
    reading.finish()
}

struct Reading<'a> {
    own: &'a str,
    objects_max: usize,
    count: usize,
    objects: usize,
    segments: Vec<Segment>,
    problems: Vec<String>,
    /// The last segment, if it is empty, which only the last may be.
    empty: Option<usize>,
}

impl<'de> Visitor<'de> for &mut Reading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of segments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(segment) = list.next_element::<Value>()? {
            self.take(segment);
        }
        Ok(())
    }
}

impl<'a> Reading<'a> {
    fn new(own: &'a str, objects_max: usize) -> Self {
        let (segments, problems) = (Vec::new(), Vec::new());
        Reading { own, objects_max, count: 0, objects: 0, segments, problems, empty: None }
    }

    fn take(&mut self, segment: Value) {
        if let Some(index) = self.empty.take() {
            self.problem(index, "too small; each segment must be at least 1 byte.");
        }
        let index = self.count;
        self.count += 1;
        let sound = match segment {
            Value::Object(fields) => self.segment(index, fields),
            _ => Err("not a JSON object".to_owned()),
        };
        match sound {
            Err(problem) => self.problem(index, &problem),
            // It will be refused as a whole, so no more of them need to be kept.
            Ok(Segment::Object(_)) if self.objects > self.objects_max => {}
            Ok(segment) => self.segments.push(segment),
        }
    }

    fn problem(&mut self, index: usize, what: &str) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(format!("Index {index}: {what}\n"));
        }
    }

    fn segment(&mut self, index: usize, fields: Map<String, Value>) -> Result<Segment, String> {
        if let Some(data) = fields.get("data") {
            only(&fields, &["data"])?;
            return inline(data);
        }
        if !fields.contains_key("path") {
            return Err("expected keys to include one of 'data' or 'path'".to_owned());
        }
        only(&fields, &["path", "range", "etag", "size_bytes"])?;
        let (named, is_empty) = named(&fields, self.own)?;
        self.objects += 1;
        self.empty = is_empty.then_some(index);
        Ok(Segment::Object(named))
    }

    fn finish(mut self) -> Result<Vec<Segment>, Unsound> {
        if self.objects == 0 && self.count > 0 && self.problems.is_empty() {
            self.problems
                .push("Inline data segments require at least one object-backed segment.\n".into());
        }
        if !self.problems.is_empty() {
            return Err(Unsound::Segments(self.problems.concat()));
        }
        if self.objects > self.objects_max {
            return Err(Unsound::TooMany);
        }
        Ok(self.segments)
    }
}

fn only(fields: &Map<String, Value>, allowed: &[&str]) -> Result<(), String> {
    let mut others: Vec<&String> =
        fields.keys().filter(|key| !allowed.contains(&key.as_str())).collect();
    if others.is_empty() {
        return Ok(());
    }
    others.sort();
    let names: Vec<String> =
        others.iter().map(|key| Value::from(key.as_str()).to_string()).collect();
    Err(format!("extraneous keys {}", names.join(", ")))
}

fn inline(data: &Value) -> Result<Segment, String> {
    let bad = || "data must be valid base64".to_owned();
    let text = data.as_str().ok_or_else(bad)?;
    let bytes = LENIENT.decode(text.trim_matches('=')).map_err(|_| bad())?;
    if bytes.is_empty() {
        return Err("too small; each segment must be at least 1 byte.".to_owned());
    }
    Ok(Segment::Data(bytes.into()))
}

/// Bytes as they are stored.
pub(super) fn encoded(data: &[u8]) -> String {
    STANDARD.encode(data)
}

/// The object, and whether it is said to be empty.
fn named(fields: &Map<String, Value>, own: &str) -> Result<(Named, bool), String> {
    let path = fields.get("path").and_then(Value::as_str);
    let path = path.ok_or("\"path\" must be a string")?;
    let etag = match fields.get("etag") {
        None | Some(Value::Null) => None,
        Some(Value::String(etag)) => Some(etag.clone()),
        Some(_) => return Err("\"etag\" must be a string or null (if provided)".to_owned()),
    };
    if !path.trim_matches('/').contains('/') {
        let form = "Path must be of the form /container/object.";
        return Err(format!("path does not refer to an object. {form}"));
    }
    let size = match fields.get("size_bytes") {
        None | Some(Value::Null) => None,
        Some(size) => Some(integer(size).ok_or("invalid size_bytes")?),
    };
    if path.trim_start_matches('/') == own {
        return Err("manifest must not include itself as a segment".to_owned());
    }
    let range = range(fields.get("range"), size)?;
    let named = Named { path: path.to_owned(), etag, size, range };
    Ok((named, size.is_some_and(|size| size < 1)))
}

/// What Python's `int` makes an integer of.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.abs() < 9e15)?;
            Some(float.trunc() as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(truth) => Some(i64::from(*truth)),
        _ => None,
    }
}

fn range(value: Option<&Value>, size: Option<i64>) -> Result<Option<String>, String> {
    let text = match value {
        None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return Err("invalid range".to_owned()),
    };
    let specs: Vec<RangeSpec> = range_specs(&format!("bytes={text}")).ok_or("invalid range")?;
    if specs.len() > 1 {
        return Err("multiple ranges (only one allowed)".to_owned());
    }
    // Who lies about the size is found out later.
    if let Some(size) = size.and_then(|size| u64::try_from(size).ok())
        && wanted(&format!("bytes={text}"), size) == Wanted::Unsatisfiable
    {
        return Err("unsatisfiable range".to_owned());
    }
    Ok(Some(text.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        match parse(text.as_bytes(), "c/own", 3) {
            Err(Unsound::Segments(problems)) => problems,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn sound_segments_are_read() {
        let text = r#"[{"path": "/c/a", "etag": null, "size_bytes": "12", "range": "-5"},
                       {"data": "aGk"}, {"path": "c/b", "size_bytes": 0}]"#;
        let named = |path: &str, size, range: Option<&str>| {
            let (etag, range) = (None, range.map(str::to_owned));
            Segment::Object(Named { path: path.to_owned(), etag, size, range })
        };
        let expected = [
            named("/c/a", Some(12), Some("-5")),
            Segment::Data(Bytes::from_static(b"hi")),
            named("c/b", Some(0), None),
        ];
        assert_eq!(parse(text.as_bytes(), "c/own", 3).expect("sound"), expected);
        assert_eq!(encoded(b"hi"), "aGk=");
        assert_eq!(parse(b"[]", "c/own", 3), Ok(vec![]));
    }

    #[test]
    fn each_problem_has_a_line() {
        let all = refused(
            r#"[1, {}, {"path": 1}, {"path": "c"}, {"path": "c/a", "etag": 1}, {"path": "c/a", "x": 1, "b": 2},
                {"path": "c/a", "size_bytes": "x"}, {"path": "c/a", "size_bytes": 0}, {"path": "/c/own"},
                {"path": "c/a", "range": "x"}, {"path": "c/a", "range": "1-2,4-5"},
                {"path": "c/a", "size_bytes": 3, "range": "3-"}, {"data": "*"}, {"data": ""}, {"data": 5}]"#,
        );
        let expected = r#"Index 0: not a JSON object
Index 1: expected keys to include one of 'data' or 'path'
Index 2: "path" must be a string
Index 3: path does not refer to an object. Path must be of the form /container/object.
Index 4: "etag" must be a string or null (if provided)
Index 5: extraneous keys "b", "x"
Index 6: invalid size_bytes
Index 7: too small; each segment must be at least 1 byte.
Index 8: manifest must not include itself as a segment
Index 9: invalid range
Index 10: multiple ranges (only one allowed)
Index 11: unsatisfiable range
Index 12: data must be valid base64
Index 13: too small; each segment must be at least 1 byte.
Index 14: data must be valid base64
"#;
        assert_eq!(all, expected);
        let inline = refused(r#"[{"data": "aGk="}]"#);
        assert_eq!(inline, "Inline data segments require at least one object-backed segment.\n");
        assert_eq!(refused(&format!("[{}0]", "0,".repeat(5000))).lines().count(), PROBLEMS_MAX);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, expected) in [
            ("", Unsound::NotJson),
            ("[", Unsound::NotJson),
            ("[] []", Unsound::NotJson),
            ("{}", Unsound::NotList),
            (" 1", Unsound::NotList),
        ] {
            assert_eq!(parse(text.as_bytes(), "c/own", 3), Err(expected), "{text}");
        }
        let many = format!("[{}]", [r#"{"path": "c/a"}"#; 4].join(","));
        assert_eq!(parse(many.as_bytes(), "c/own", 3), Err(Unsound::TooMany));
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\[|\\]|\\{|\\}|\"path\":|\"data\":|\"size_bytes\":|\"range\":|\"c/a\"|\"1-\"|,|[0-9.e-]{0,20}){0,20}") {
            let _ = parse(text.as_bytes(), "c/own", 3);
        }
    }
}

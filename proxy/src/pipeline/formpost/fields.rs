//! The fields of a form that came so far.

use http::header::{HeaderName, HeaderValue};
use std::collections::HashMap;

use super::PostError;
use crate::call::Call;

/// More fields than this are refused; Swift knows ten.
const FIELDS_MAX: usize = 256;

/// By name, in lower case.
#[derive(Debug, Default)]
pub(super) struct Fields(HashMap<String, String>);

impl Fields {
    /// Takes a field in; one without a name says nothing.
    pub(super) fn add(&mut self, name: Option<&str>, value: &[u8]) -> Result<(), PostError> {
        let Some(name) = name else { return Ok(()) };
        let Ok(value) = std::str::from_utf8(value) else {
            return Err(PostError::Invalid("a field is not valid UTF-8".into()));
        };
        // Forms that were put together by hand end in pieces of the boundary.
        let value = value.trim_end_matches(['\r', '\n', '-']);
        if self.0.len() >= FIELDS_MAX {
            return Err(PostError::Invalid("there are too many fields".into()));
        }
        self.0.insert(name.to_lowercase(), value.to_owned());
        Ok(())
    }

    /// A field, if it has a value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.get_even_empty(name).filter(|value| !value.is_empty())
    }

    /// A field, if it is there.
    pub(super) fn get_even_empty(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number; none is zero.
    pub(super) fn number(&self, name: &'static str) -> Result<i64, PostError> {
        let Some(text) = self.get(name) else { return Ok(0) };
        let invalid = |_| PostError::Invalid(format!("{name} not an integer").into());
        text.trim().parse().map_err(invalid)
    }

    /// Tells an upload when its object is to go, if the form says so.
    pub(super) fn expiry(
        &self,
        name: &'static str,
        unit: &str,
        put: &mut Call,
    ) -> Result<(), PostError> {
        let Some(text) = self.get_even_empty(name) else { return Ok(()) };
        let number: Result<i64, _> = text.trim().parse();
        let sentence = || format!("{name} not an integer: {unit} required.");
        let number = number.map_err(|_| PostError::Invalid(sentence().into()))?;
        let header = match name {
            "x_delete_at" => HeaderName::from_static("x-delete-at"),
            _ => HeaderName::from_static("x-delete-after"),
        };
        put.headers.insert(header, HeaderValue::from(number));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            assert!(fields.add(Some(name), value.as_bytes()).is_ok());
        }
        fields
    }

    #[test]
    fn names_have_no_case_and_values_no_end_of_boundary() {
        let fields = fields(&[("MAX_File_size", "12\r\n--"), ("redirect", "")]);
        assert_eq!(fields.number("max_file_size").ok(), Some(12));
        assert_eq!(fields.number("max_file_count").ok(), Some(0));
        assert_eq!(fields.get("redirect"), None);
        assert_eq!(fields.get_even_empty("redirect"), Some(""));
    }

    #[test]
    fn nonsense_is_refused() {
        let many = fields(&[("max_file_size", "x")]);
        assert!(many.number("max_file_size").is_err());
        assert!(fields(&[]).add(Some("a"), b"\xff").is_err());
        let mut many = Fields::default();
        let added = (0..FIELDS_MAX + 1).map(|n| many.add(Some(&n.to_string()), b"").is_ok());
        assert_eq!(added.filter(|added| *added).count(), FIELDS_MAX);
    }

    #[test]
    fn expiry_is_a_number() {
        let mut put = crate::call::tests::call(http::Method::PUT, "a/c/o");
        let given = fields(&[("x_delete_at", "17"), ("x_delete_after", "soon")]);
        assert!(given.expiry("x_delete_at", "Unix timestamp", &mut put).is_ok());
        assert!(given.expiry("x_delete_after", "Number of seconds", &mut put).is_err());
        assert_eq!(put.headers["x-delete-at"], "17");
        assert!(!put.headers.contains_key("x-delete-after"));
    }
}

//! Headers that name an object or an account elsewhere: `Destination`, `X-Copy-From`, `X-Symlink-Target` and the like.
//! Their values are percent-encoded. Swift: common/request_helpers.py, `check_path_header`.

use http::StatusCode;
use http::header::HeaderValue;
use percent_encoding::percent_decode;
use std::borrow::Cow;
use types::{AccountName, ContainerName, NameError, ObjectName};

use super::error::Refusal;
use super::path::not_text;

/// An object of an account that is told elsewhere.
pub(crate) type Reference = (ContainerName, ObjectName);

fn precondition(sentence: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::Sentence(StatusCode::PRECONDITION_FAILED, sentence.into())
}

/// What a header's value is when it is decoded.
pub(crate) fn decoded(value: &HeaderValue) -> Result<String, Refusal> {
    let bytes: Vec<u8> = percent_decode(value.as_bytes()).collect();
    String::from_utf8(bytes).map_err(|_| not_text())
}

/// The object that the header `name` leads to: `container/object`, with or without a slash before it.
pub(crate) fn object(name: &str, value: &HeaderValue) -> Result<Reference, Refusal> {
    let path = decoded(value)?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let form = || {
        precondition(format!("{name} header must be of the form <container name>/<object name>"))
    };
    let (container, object) = path.split_once('/').ok_or_else(form)?;
    let judged = |error| if error == NameError::Nul { not_text() } else { form() };
    Ok((
        ContainerName::parse(container).map_err(judged)?,
        ObjectName::parse(object).map_err(judged)?,
    ))
}

/// The account that a header names.
pub(crate) fn account(value: &HeaderValue) -> Result<AccountName, Refusal> {
    AccountName::parse(decoded(value)?).map_err(|error| match error {
        NameError::Empty => precondition("Account name cannot be empty"),
        NameError::Slash => precondition("Account name cannot contain slashes"),
        _ => not_text(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<(String, String), u16> {
        let value = HeaderValue::from_bytes(text.as_bytes()).expect("a value");
        let names = object("Destination", &value);
        names
            .map(|(container, object)| (container.to_string(), object.to_string()))
            .map_err(|refusal| wire::Response::from(refusal).status().as_u16())
    }

    #[test]
    fn objects_with_and_without_a_slash() {
        let names = |c: &str, o: &str| Ok((c.to_owned(), o.to_owned()));
        assert_eq!(read("c/o"), names("c", "o"));
        assert_eq!(read("/c/o/p"), names("c", "o/p"));
        assert_eq!(read("c%2Fo%20%C3%BC"), names("c", "o ü"));
        assert_eq!(read("c//o"), names("c", "/o"));
        for bad in ["", "/", "c", "/c", "c/", "//c", "//c/o", "c/o%00", "c/%ff"] {
            assert_eq!(read(bad), Err(412), "{bad}");
        }
    }

    #[test]
    fn accounts() {
        let read = |text: &'static str| account(&HeaderValue::from_static(text));
        assert_eq!(read("AUTH_%C3%BC").expect("an account").as_str(), "AUTH_ü");
        assert!(read("").is_err() && read("a/b").is_err() && read("%ff").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(value in "[a-c/%0-9\\x80-\\xff]{0,20}") {
            if let Ok((container, object)) = read(&value) {
                prop_assert!(!container.contains('/') && !object.is_empty());
            }
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            let _ = account(&value);
        }
    }
}

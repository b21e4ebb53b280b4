//! The ACL of an account: who may do what in all of it. Swift: common/middleware/acl.py, `format_acl` version 2, and
//! tempauth.py, `extract_acl_and_report_errors`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// As it is stored, in the account's system metadata. The order of the fields is that of their names, in which
/// clients see them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AccountAcl {
    /// Who counts as an owner.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) admin: Vec<String>,
    /// Who may look at everything.
    #[serde(rename = "read-only", skip_serializing_if = "Vec::is_empty")]
    pub(crate) read_only: Vec<String>,
    /// Who may do anything with containers and objects, and look at the account.
    #[serde(rename = "read-write", skip_serializing_if = "Vec::is_empty")]
    pub(crate) read_write: Vec<String>,
}

const LISTS: [&str; 3] = ["admin", "read-write", "read-only"];

impl AccountAcl {
    /// Reads a stored one; `None` when there is none, or nothing that is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What is wrong with one that a client wants to set. Nothing at all takes the ACL away.
    pub(crate) fn check(text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let Ok(Value::Object(lists)) = serde_json::from_str(text) else {
            return Err(format!("Syntax error in input ('{text}')"));
        };
        for (name, list) in &lists {
            let quoted = Value::from(name.as_str());
            if !LISTS.contains(&name.as_str()) {
                return Err(format!("Key {quoted} not recognized"));
            }
            let Value::Array(list) = list else {
                return Err(format!("Value for key {quoted} must be a list"));
            };
            if !list.iter().all(Value::is_string) {
                return Err(format!("Elements of {quoted} list must be strings"));
            }
        }
        Ok(())
    }

    /// As owners see it: JSON in ASCII without spaces, or nothing when it lets nobody in.
    pub(crate) fn shown(&self) -> Option<String> {
        let json = serde_json::to_string(self).ok().filter(|json| json != "{}")?;
        Some(ascii(&json))
    }

    pub(crate) fn makes_owner(&self, groups: &[String]) -> bool {
        groups.iter().any(|group| self.admin.contains(group))
    }

    pub(crate) fn allows(&self, groups: &[String], reads: bool, has_container: bool) -> bool {
        let among = |list: &[String]| groups.iter().any(|group| list.contains(group));
        (has_container || reads) && among(&self.read_write) || reads && among(&self.read_only)
    }
}

/// JSON in which what is not ASCII is escaped, as header values can hold it.
fn ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit).ok().filter(u8::is_ascii) {
            Some(byte) => ascii.push(char::from(byte)),
            None => ascii.push_str(&format!("\\u{unit:04x}")),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_three_lists_allow() {
        let acl = r#"{"admin": ["a"], "read-write": ["w"], "read-only": ["r"], "other": 1}"#;
        let acl = AccountAcl::parse(acl).expect("an ACL");
        let may = |who: &str, reads, inside| acl.allows(&[who.to_owned()], reads, inside);
        assert!(acl.makes_owner(&["a".to_owned()]) && !acl.makes_owner(&["w".to_owned()]));
        assert!(may("w", false, true) && may("w", true, false) && !may("w", false, false));
        assert!(may("r", true, true) && may("r", true, false) && !may("r", false, true));
        assert!(!may("x", true, true));
        assert_eq!(AccountAcl::parse("1"), None);
        assert_eq!(AccountAcl::parse(r#"{"admin": 1}"#), None);
    }

    #[test]
    fn what_is_set_must_mean_something() {
        for good in ["", "{}", r#"{"admin":["a"],"read-only":[]}"#] {
            assert_eq!(AccountAcl::check(good), Ok(()), "{good}");
        }
        let wrong = |text: &str| AccountAcl::check(text).expect_err("refused");
        assert_eq!(wrong("yuck"), "Syntax error in input ('yuck')");
        assert_eq!(wrong("[]"), "Syntax error in input ('[]')");
        assert_eq!(wrong(r#"{"owner":[]}"#), "Key \"owner\" not recognized");
        assert_eq!(wrong(r#"{"admin":"a"}"#), "Value for key \"admin\" must be a list");
        assert_eq!(wrong(r#"{"admin":[1]}"#), "Elements of \"admin\" list must be strings");
    }

    #[test]
    fn owners_see_it_in_ascii() {
        let shown = |text: &str| AccountAcl::parse(text).and_then(|acl| acl.shown());
        let acl = r#"{"read-write": ["é😀"], "admin": ["a"]}"#;
        let expected = r#"{"admin":["a"],"read-write":["\u00e9\ud83d\ude00"]}"#;
        assert_eq!(shown(acl).as_deref(), Some(expected));
        assert_eq!(shown("{}"), None);
    }

    proptest! {
        #[test]
        fn never_panics_and_what_passes_can_be_read(
            text in "\\PC{0,40}|\\{\"(admin|read-only|x)\": ?(\\[(\"a\")?\\]|1)\\}"
        ) {
            if AccountAcl::check(&text).is_ok() && !text.is_empty() {
                prop_assert!(AccountAcl::parse(&text).is_some());
            }
        }
    }
}

//! The ACL of an account: who may do what in all of it. Swift: common/middleware/acl.py, `format_acl` version 2.

use serde::Deserialize;

/// As it is stored, in the account's system metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccountAcl {
    /// Who counts as an owner.
    pub(crate) admin: Vec<String>,
    /// Who may do anything with containers and objects, and look at the account.
    #[serde(rename = "read-write")]
    pub(crate) read_write: Vec<String>,
    /// Who may look at everything.
    #[serde(rename = "read-only")]
    pub(crate) read_only: Vec<String>,
}

impl AccountAcl {
    /// Reads a stored one; `None` when there is none, or nothing that is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(crate) fn makes_owner(&self, groups: &[String]) -> bool {
        groups.iter().any(|group| self.admin.contains(group))
    }

    pub(crate) fn allows(&self, groups: &[String], reads: bool, has_container: bool) -> bool {
        let among = |list: &[String]| groups.iter().any(|group| list.contains(group));
        (has_container || reads) && among(&self.read_write) || reads && among(&self.read_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_three_lists_allow() {
        let acl = r#"{"admin": ["a"], "read-write": ["w"], "read-only": ["r"]}"#;
        let acl = AccountAcl::parse(acl).expect("an ACL");
        let may = |who: &str, reads, inside| acl.allows(&[who.to_owned()], reads, inside);
        assert!(acl.makes_owner(&["a".to_owned()]) && !acl.makes_owner(&["w".to_owned()]));
        assert!(may("w", false, true) && may("w", true, false) && !may("w", false, false));
        assert!(may("r", true, true) && may("r", true, false) && !may("r", false, true));
        assert!(!may("x", true, true));
        assert_eq!(AccountAcl::parse("\"a\""), None);
        assert_eq!(AccountAcl::parse(r#"{"owner": []}"#), None);
    }
}

//! What storage accounts start with. Swift: common/utils/config.py, `config_read_reseller_options`.

use super::users::ConfigError;
use std::collections::BTreeMap;

/// The reseller prefixes, each with its underscore, and the groups that their accounts ask for.
pub(super) struct Prefixes {
    all: Vec<Prefix>,
}

struct Prefix {
    text: String,
    require_group: Option<String>,
}

/// The reseller prefix as accounts and tokens have it.
fn with_underscore(prefix: &str) -> String {
    match prefix {
        "" | "''" => String::new(),
        prefix => format!("{}_", prefix.trim_end_matches('_')),
    }
}

impl Prefixes {
    /// Of a list with commas, in which `''` is the empty one.
    pub(super) fn new(
        list: &str,
        require_group: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let mut all: Vec<Prefix> = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let text = with_underscore(name);
            if all.iter().all(|known| known.text != text) {
                all.push(Prefix { text, require_group: None });
            }
        }
        if all.is_empty() {
            all.push(Prefix { text: String::new(), require_group: None });
        }
        for (name, group) in require_group {
            let text = with_underscore(name);
            let known = all.iter_mut().find(|known| known.text == text);
            let known = known.ok_or_else(|| ConfigError::RequireGroup { prefix: name.clone() })?;
            known.require_group = Some(group.clone()).filter(|group| !group.is_empty());
        }
        Ok(Prefixes { all })
    }

    /// That of users' own accounts, and of tokens.
    pub(super) fn first(&self) -> &str {
        self.all.first().map_or("", |prefix| prefix.text.as_str())
    }

    /// Those that are not empty.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|prefix| prefix.text.as_str()).filter(|text| !text.is_empty())
    }

    /// The one that an account starts with. The empty one fits all that no other does.
    fn find(&self, account: &str) -> Option<&Prefix> {
        let named = |prefix: &&Prefix| !prefix.text.is_empty() && account.starts_with(&prefix.text);
        let empty = || self.all.iter().find(|prefix| prefix.text.is_empty());
        self.all.iter().find(named).or_else(empty)
    }

    /// As a piece of the account's name.
    pub(super) fn of<'a>(&self, account: &'a str) -> Option<&'a str> {
        account.get(..self.find(account)?.text.len())
    }

    /// The group whose members alone administer an account.
    pub(super) fn required_group(&self, account: &str) -> Option<&str> {
        self.find(account)?.require_group.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_one() {
        let rules = BTreeMap::from([("SERVICE".to_owned(), "service".to_owned())]);
        let prefixes = Prefixes::new("AUTH, SERVICE_,AUTH", &rules).expect("valid");
        assert_eq!(prefixes.first(), "AUTH_");
        assert_eq!(prefixes.named().collect::<Vec<_>>(), ["AUTH_", "SERVICE_"]);
        assert_eq!(prefixes.of("SERVICE_x"), Some("SERVICE_"));
        assert_eq!(prefixes.of("OTHER_x"), None);
        assert_eq!(prefixes.required_group("SERVICE_x"), Some("service"));
        assert_eq!(prefixes.required_group("AUTH_x"), None);
        let unknown = Prefixes::new("AUTH", &rules).err().map(|error| error.to_string());
        assert!(unknown.unwrap_or_default().contains("SERVICE"));
    }

    #[test]
    fn the_empty_one_fits_what_no_other_does() {
        let prefixes = Prefixes::new("AUTH,''", &BTreeMap::new()).expect("valid");
        assert_eq!((prefixes.of("AUTH_x"), prefixes.of("x")), (Some("AUTH_"), Some("")));
        let none = Prefixes::new("", &BTreeMap::new()).expect("valid");
        assert_eq!((none.first(), none.of("x"), none.named().count()), ("", Some(""), 0));
    }
}

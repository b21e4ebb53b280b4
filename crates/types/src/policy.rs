//! Storage policies: kinds of keeping objects, by name. Swift: common/storage_policy.py.

use crate::PolicyIndex;
use serde::Deserialize;

/// A storage policy: its objects have a ring of their own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its number on storage nodes, for ever.
    pub index: PolicyIndex,
    /// What clients call it in `X-Storage-Policy`, without regard to case.
    pub name: String,
    /// What they may call it as well.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Whether containers get it that ask for none.
    #[serde(default)]
    pub default: bool,
    /// Whether no new container may get it.
    #[serde(default)]
    pub deprecated: bool,
}

impl Policy {
    /// All its names, its own first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// Why policies cannot be those of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// What was stored before there were policies belongs to 0.
    #[error("there is no policy with index 0")]
    NoZero,
    /// A number that two have.
    #[error("two policies have the index {0}")]
    SameIndex(PolicyIndex),
    /// A name that two have.
    #[error("two policies are called {0}")]
    SameName(String),
    /// Names stand in headers.
    #[error("the policy name \"{0}\" may have only letters, digits and dashes")]
    Name(String),
    /// More than one would be taken for containers that ask for none.
    #[error("more than one policy is the default")]
    Defaults,
    /// No container could be made.
    #[error("the default policy is deprecated")]
    DefaultDeprecated,
}

/// The policies of a cluster. There is always one with index 0, and a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    /// By index.
    all: Vec<Policy>,
    default: usize,
}

impl Default for Policies {
    /// What a cluster has that names none.
    fn default() -> Self {
        let only = Policy {
            index: PolicyIndex(0),
            name: "Policy-0".to_owned(),
            aliases: Vec::new(),
            default: true,
            deprecated: false,
        };
        Policies { all: vec![only], default: 0 }
    }
}

impl Policies {
    /// Of a configuration; an empty one means the default.
    pub fn new(mut all: Vec<Policy>) -> Result<Self, PolicyError> {
        if all.is_empty() {
            return Ok(Policies::default());
        }
        all.sort_by_key(|policy| policy.index);
        if all[0].index != PolicyIndex(0) {
            return Err(PolicyError::NoZero);
        }
        if let Some(pair) = all.windows(2).find(|pair| pair[0].index == pair[1].index) {
            return Err(PolicyError::SameIndex(pair[0].index));
        }
        let mut seen: Vec<String> = Vec::new();
        for name in all.iter().flat_map(Policy::names) {
            let valid = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if name.is_empty() || !name.chars().all(valid) {
                return Err(PolicyError::Name(name.to_owned()));
            }
            let lower = name.to_ascii_lowercase();
            if seen.contains(&lower) {
                return Err(PolicyError::SameName(name.to_owned()));
            }
            seen.push(lower);
        }
        let marked = all.iter().filter(|policy| policy.default).count();
        if marked > 1 {
            return Err(PolicyError::Defaults);
        }
        // Policy 0 stands first, and is the default where none says that it is.
        let default = all.iter().position(|policy| policy.default).unwrap_or(0);
        if all[default].deprecated {
            return Err(PolicyError::DefaultDeprecated);
        }
        all[default].default = true;
        Ok(Policies { all, default })
    }

    /// All of them, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.all.iter()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The one that containers get which ask for none.
    pub fn default_policy(&self) -> &Policy {
        &self.all[self.default]
    }

    /// The one with a number.
    pub fn get(&self, index: PolicyIndex) -> Option<&Policy> {
        self.all.iter().find(|policy| policy.index == index)
    }

    /// The one with a name.
    pub fn by_name(&self, name: &str) -> Option<&Policy> {
        self.all.iter().find(|policy| policy.names().any(|known| known.eq_ignore_ascii_case(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(index: u32, name: &str) -> Policy {
        let name = name.to_owned();
        let index = PolicyIndex(index);
        Policy { index, name, aliases: Vec::new(), default: false, deprecated: false }
    }

    #[test]
    fn the_first_is_the_default_unless_another_says_so() {
        let policies = Policies::new(vec![policy(1, "gold"), policy(0, "base")]).expect("valid");
        assert_eq!(policies.default_policy().name, "base");
        let gold = Policy { default: true, ..policy(1, "gold") };
        let policies = Policies::new(vec![policy(0, "base"), gold]).expect("valid");
        assert_eq!(policies.default_policy().name, "gold");
        assert_eq!(Policies::new(Vec::new()).expect("valid"), Policies::default());
    }

    #[test]
    fn names_are_found_without_regard_to_case() {
        let gold = Policy { aliases: vec!["Au".into()], ..policy(1, "Gold") };
        let policies = Policies::new(vec![policy(0, "base"), gold]).expect("valid");
        for name in ["gold", "GOLD", "au"] {
            assert_eq!(policies.by_name(name).map(|policy| policy.index), Some(PolicyIndex(1)));
        }
        assert_eq!(policies.by_name("silver"), None);
        assert_eq!(policies.get(PolicyIndex(1)).map(|policy| policy.name.as_str()), Some("Gold"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |all: Vec<Policy>| Policies::new(all).expect_err("refused");
        assert_eq!(refused(vec![policy(1, "a")]), PolicyError::NoZero);
        let zero = PolicyIndex(0);
        assert_eq!(refused(vec![policy(0, "a"), policy(0, "b")]), PolicyError::SameIndex(zero));
        assert_eq!(
            refused(vec![policy(0, "a"), policy(1, "A")]),
            PolicyError::SameName("A".into())
        );
        assert_eq!(refused(vec![policy(0, "a b")]), PolicyError::Name("a b".into()));
        let marked = |index, name| Policy { default: true, ..policy(index, name) };
        assert_eq!(refused(vec![marked(0, "a"), marked(1, "b")]), PolicyError::Defaults);
        let gone = Policy { deprecated: true, ..policy(0, "a") };
        assert_eq!(refused(vec![gone]), PolicyError::DefaultDeprecated);
    }
}

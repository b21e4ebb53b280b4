//! The table `[identity]` of a node's configuration.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A text that never shows in logs and debug output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One user of [`crate::tempauth`]: Swift's `user_<account>_<user> = <key> [group…] [url]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The account, without the reseller prefix: `test`.
    pub account: String,
    /// The user's name within the account: `tester`.
    pub user: String,
    /// What the user proves who they are with.
    pub key: Secret,
    /// `.admin` for all rights in the own account, `.reseller_admin` for all rights in every account, and
    /// names by which ACLs may mean several users. `.reseller_reader` may read in every account.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Where the user's storage is, when it is not `$HOST/v1/<prefix>_<account>`. `$HOST` stands for scheme
    /// and host of the request; what follows the last `/` is the storage account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Another number than before revokes all tokens of the user, and leaves the key as it is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub token_generation: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The scheme of the storage URLs that clients are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UrlScheme {
    /// The one this process serves, which is `http`.
    #[default]
    Default,
    /// `http`, whatever the user's `url` says.
    Http,
    /// `https`, because something in front of this process speaks TLS.
    Https,
}

impl UrlScheme {
    /// The scheme that replaces another, if one shall.
    pub(crate) fn forced(self) -> Option<&'static str> {
        match self {
            UrlScheme::Default => None,
            UrlScheme::Http => Some("http"),
            UrlScheme::Https => Some("https"),
        }
    }
}

/// The table `[identity]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who may get a token.
    pub users: Vec<User>,
    /// What storage accounts start with; an underscore follows it. Of several, with commas between them, the first
    /// is that of users' own accounts and of tokens; `''` is the empty one.
    pub reseller_prefix: String,
    /// By prefix, the group that somebody must be in to administer an account: `SERVICE = "service"`.
    pub require_group: BTreeMap<String, String>,
    /// How long a token is valid.
    pub token_life_seconds: u64,
    /// What tokens are signed with; the same on all nodes of a cluster. There is no default: a node that is
    /// given none makes a random one and keeps it in its data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret: Option<Secret>,
    /// The scheme of storage URLs.
    pub storage_url_scheme: UrlScheme,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            users: Vec::new(),
            reseller_prefix: "AUTH".to_owned(),
            require_group: BTreeMap::new(),
            token_life_seconds: 86_400,
            token_secret: None,
            storage_url_scheme: UrlScheme::Default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_toml_and_hides_what_is_secret() {
        let text = r#"
            token_secret = "hush, this is hidden"
            storage_url_scheme = "https"
            [[users]]
            account = "test"
            user = "tester"
            key = "testing"
            groups = [".admin"]
        "#;
        let config: Config = toml::from_str(text).expect("valid");
        assert_eq!((config.reseller_prefix.as_str(), config.token_life_seconds), ("AUTH", 86_400));
        assert_eq!(config.users[0].key.expose(), "testing");
        let shown = format!("{config:?}");
        assert!(shown.contains("tester"));
        assert!(!shown.contains("testing") && !shown.contains("hush"), "{shown}");
        assert!(toml::from_str::<Config>("tokenlife = 3").is_err());
    }
}

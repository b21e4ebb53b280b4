//! The users of the configuration, checked once.

use super::prefixes::Prefixes;
use super::token::{Fingerprint, Signer, UserId};
use crate::config::User;
use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use wire::{Caller, Owned};

/// Why the table `[identity]` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Tokens cannot be signed.
    #[error("identity.token_secret is missing; it must be the same on all nodes of a cluster")]
    SecretMissing,
    /// Tokens could be forged.
    #[error("identity.token_secret is too short; give it at least {bytes_min} random characters")]
    SecretShort {
        /// How many are enough.
        bytes_min: usize,
    },
    /// Tokens would expire when they are made.
    #[error("identity.token_life_seconds is 0; tokens need some time to be used")]
    TokenLife,
    /// A group is asked for of accounts that there cannot be.
    #[error("identity.require_group names {prefix}, which is no reseller prefix")]
    RequireGroup {
        /// As it is written there.
        prefix: String,
    },
    /// A user cannot be.
    #[error("in identity.users, the user {name}: {detail}")]
    User {
        /// `account:user`.
        name: String,
        /// What is wrong.
        detail: &'static str,
    },
}

/// A user who may get a token.
pub(super) struct Known {
    pub(super) id: UserId,
    pub(super) fingerprint: Fingerprint,
    /// What tokens are bound to: the key, and how often all tokens were revoked.
    pub(super) token_key: Fingerprint,
    pub(super) caller: Caller,
    /// Where the storage is, with `$HOST` in it perhaps.
    pub(super) url: String,
}

/// All of them.
pub(super) struct Users {
    by_id: HashMap<UserId, Known>,
}

impl Users {
    pub(super) fn new(
        users: &[User],
        prefixes: &Prefixes,
        signer: &Signer,
    ) -> Result<Self, ConfigError> {
        let mut by_id = HashMap::with_capacity(users.len());
        for user in users {
            let name = format!("{}:{}", user.account, user.user);
            let refuse = |detail| ConfigError::User { name: name.clone(), detail };
            let known = known(user, &name, prefixes, signer).map_err(refuse)?;
            if by_id.insert(known.id, known).is_some() {
                return Err(refuse("is there twice"));
            }
        }
        Ok(Users { by_id })
    }

    pub(super) fn by_id(&self, id: &UserId) -> Option<&Known> {
        self.by_id.get(id)
    }
}

fn known(
    user: &User,
    name: &str,
    prefixes: &Prefixes,
    signer: &Signer,
) -> Result<Known, &'static str> {
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    if !plain(&user.account) || user.account.contains([':', '/']) {
        return Err("the account must be a name without colon, slash and control characters");
    }
    if !plain(&user.user) {
        return Err("the name must be a text without control characters");
    }
    if user.key.expose().is_empty() {
        return Err("the key is empty");
    }
    let own = format!("{}{}", prefixes.first(), user.account);
    let url = match &user.url {
        None => format!("$HOST/v1/{}", wire::encode_segment(&own)),
        Some(url) if http::HeaderValue::from_str(url).is_ok() => url.clone(),
        Some(_) => return Err("the url holds characters that no URL has"),
    };
    let rights = Rights::of(user)?;
    let storage = storage_account(&url)?;
    let mut groups = vec![name.to_owned(), user.account.clone()];
    groups.extend(rights.groups);
    if rights.admin {
        groups.extend(prefixes.named().map(|prefix| format!("{prefix}{}", user.account)));
        groups.push(storage.clone());
    }
    let mut seen = std::collections::HashSet::new();
    groups.retain(|group| seen.insert(group.clone()));
    let fingerprint = signer.fingerprint(user.key.expose().as_bytes());
    let owns = owned(&groups, &storage, rights.admin, prefixes);
    Ok(Known {
        id: signer.user_id(name),
        fingerprint,
        token_key: signer.token_key(&fingerprint, user.token_generation),
        caller: Caller {
            user: name.to_owned(),
            account: storage,
            groups,
            owns,
            reseller_admin: rights.reseller_admin,
            reseller_reader: rights.reseller_reader,
        },
        url,
    })
}

/// Who has the name of an account as a group administers it: that is what `.admin` stands for.
fn owned(groups: &[String], storage: &str, admin: bool, prefixes: &Prefixes) -> Vec<Owned> {
    let is_account = |group: &&String| {
        let named = prefixes.named().any(|prefix| group.starts_with(prefix));
        named || admin && *group == storage
    };
    let owned = groups.iter().filter(is_account).map(|account| {
        let require_group = prefixes.required_group(account).map(str::to_owned);
        Owned { account: account.clone(), require_group }
    });
    owned.collect()
}

fn storage_account(url: &str) -> Result<String, &'static str> {
    let last = url.rsplit_once('/').map_or("", |(_, last)| last);
    let decoded = percent_decode_str(last).decode_utf8();
    match decoded {
        Ok(account) if !account.is_empty() && !account.contains(['/', '\0']) => Ok(account.into()),
        _ => Err("the url must end with /v1/ and the storage account"),
    }
}

#[derive(Default)]
struct Rights {
    admin: bool,
    reseller_admin: bool,
    reseller_reader: bool,
    groups: Vec<String>,
}

impl Rights {
    /// Groups that start with a dot are rights; a misspelt one must not pass as the name of a group.
    fn of(user: &User) -> Result<Self, &'static str> {
        let mut rights = Rights::default();
        for group in &user.groups {
            match group.as_str() {
                ".admin" => rights.admin = true,
                ".reseller_admin" => rights.reseller_admin = true,
                ".reseller_reader" => rights.reseller_reader = true,
                other if other.starts_with('.') => {
                    return Err(
                        "of the groups with a dot only .admin, .reseller_admin and .reseller_reader are known",
                    );
                }
                other if other.is_empty() || other.contains([',', ' ']) => {
                    return Err("the name of a group must not be empty nor hold commas or spaces");
                }
                other => rights.groups.push(other.to_owned()),
            }
        }
        Ok(rights)
    }
}

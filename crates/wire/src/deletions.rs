//! Deletions that somebody asked for and does not wait for: rows in containers of the account `.expiring_objects`, as
//! Swift's expirer knows them (obj/expirer.py; container_deleter.py writes such rows). Who asks puts them there with UPDATE; a
//! replicator finds them by listing, deletes the objects, and then the rows.
//!
//! A row of an object that expires by itself, as Swift's object servers write them, has another content type. Here they
//! need none.

use crate::row::MergedRow;
use types::{AccountName, ContainerName, NameError, ObjectHash, ObjectName, Timestamp};

/// Whose containers these are.
pub const ACCOUNT: &str = ".expiring_objects";
/// The content type of such a row.
pub const CONTENT_TYPE: &str = "application/async-deleted";
/// For how long containers of one name take rows, in seconds.
pub const DIVISOR_S: u64 = 86_400;
/// Over so many containers the rows of that time are spread.
const CONTAINERS: u64 = 100;
const MD5_OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// An object that is to be deleted as it was at a moment: what is newer stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The moment.
    pub at: Timestamp,
    /// Whose object.
    pub account: AccountName,
    /// In which container.
    pub container: ContainerName,
    /// Which.
    pub object: ObjectName,
}

impl Deletion {
    /// The name of its row: `1735689600.12345-AUTH_test/segments/1`.
    pub fn name(&self) -> String {
        let (account, container) = (self.account.as_str(), self.container.as_str());
        format!("{}-{account}/{container}/{}", self.at.normal(), self.object.as_str())
    }

    /// Reads such a name. `None` if it is none.
    pub fn parse(name: &str) -> Option<Self> {
        let (at, path) = name.split_once('-')?;
        let mut names = path.splitn(3, '/');
        Some(Deletion {
            at: Timestamp::parse(at).ok()?,
            account: AccountName::parse(names.next()?).ok()?,
            container: ContainerName::parse(names.next()?).ok()?,
            object: ObjectName::parse(names.next()?).ok()?,
        })
    }

    /// Its row.
    pub fn row(&self) -> MergedRow {
        MergedRow {
            name: self.name(),
            created_at: self.at.internal(),
            size: 0,
            content_type: CONTENT_TYPE.to_owned(),
            etag: MD5_OF_NOTHING.to_owned(),
            deleted: 0,
            storage_policy_index: 0,
        }
    }
}

/// The container for what is asked for at a moment; an object's hash chooses one of those of that day.
pub fn container(at: Timestamp, hash: &ObjectHash) -> Result<ContainerName, NameError> {
    let folded = hash.0.iter().fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % CONTAINERS);
    let day = at.seconds() / DIVISOR_S * DIVISOR_S;
    ContainerName::parse(format!("{:010}", day.saturating_sub(folded)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_swifts() {
        let deletion = Deletion {
            at: Timestamp::parse("1735689600.12345").expect("a timestamp"),
            account: AccountName::parse("AUTH_test").expect("a name"),
            container: ContainerName::parse("c").expect("a name"),
            object: ObjectName::parse("o/p-q").expect("a name"),
        };
        assert_eq!(deletion.name(), "1735689600.12345-AUTH_test/c/o/p-q");
        assert_eq!(Deletion::parse(&deletion.name()), Some(deletion));
        for bad in ["", "-", "1-a/c", "x-a/c/o", "1-a/c/", "1-//o", "1"] {
            assert_eq!(Deletion::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn containers_are_swifts() {
        // Swift: ExpirerConfig({}).get_expirer_container(1735700000, …) for hashes of these values.
        let at = Timestamp::from_seconds(1_735_700_000);
        let name =
            |hash: u128| container(at, &ObjectHash(hash.to_be_bytes())).map(|n| n.to_string());
        assert_eq!(name(0).as_deref(), Ok("1735689600"));
        assert_eq!(name(99).as_deref(), Ok("1735689501"));
        assert_eq!(name(100).as_deref(), Ok("1735689600"));
        assert_eq!(name(u128::MAX).as_deref(), Ok("1735689545"));
        assert_eq!(
            container(Timestamp::default(), &ObjectHash([9; 16])).map(|n| n.to_string()).as_deref(),
            Ok("0000000000")
        );
    }

    proptest! {
        #[test]
        fn names_are_read_again(at in 0u64..2_000_000_000_000_000, account in "[^/\\x00]{1,9}", object in "[^\\x00]{1,20}") {
            let parsed = (AccountName::parse(&account), ObjectName::parse(&object));
            let (Ok(account), Ok(object)) = parsed else { return Ok(()) };
            let at = Timestamp::from_raw(at);
            let container = ContainerName::parse("c").expect("a name");
            let deletion = Deletion { at, account, container, object };
            prop_assert_eq!(Deletion::parse(&deletion.name()), Some(deletion));
        }

        #[test]
        fn never_panics(name in "\\PC{0,40}") {
            let _ = Deletion::parse(&name);
        }
    }
}

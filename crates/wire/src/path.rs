//! Paths of the backend API: `/<device>/<partition>[/<account>[/<container>[/<object>]]]`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;
use types::{AccountName, ContainerName, NameError, ObjectName, Partition};

/// What Python's `urllib.parse.quote` leaves as it is, slash included.
const KEPT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// Percent-encodes a name as Swift does; slashes stay.
pub fn encode_segment(name: &str) -> String {
    utf8_percent_encode(name, KEPT).to_string()
}

/// Where a backend request goes on a storage node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendPath {
    /// The device's name in the ring.
    pub device: String,
    /// The partition the sender placed the entity in.
    pub partition: Partition,
    /// The account, when the path goes that far.
    pub account: Option<AccountName>,
    /// The container, when the path goes that far.
    pub container: Option<ContainerName>,
    /// The object, when the path goes that far.
    pub object: Option<ObjectName>,
}

/// Why a path is none of the backend API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Device or partition missing or malformed.
    #[error("the path is not /<device>/<partition>/…")]
    Shape,
    /// A name in it is no name.
    #[error("in the path, {0}")]
    Name(#[from] NameError),
    /// A reserved object belongs into a reserved container, and nothing else does.
    #[error("Invalid {object}-namespace object in {container}-namespace container")]
    Namespace {
        /// Whose namespace the object's name is of.
        object: &'static str,
        /// Whose the container's is of.
        container: &'static str,
    },
}

impl BackendPath {
    /// Percent-encoded text of the path.
    pub fn encode(&self) -> String {
        let mut out = format!("/{}/{}", encode_segment(&self.device), self.partition);
        let names = [
            self.account.as_ref().map(AccountName::as_str),
            self.container.as_ref().map(ContainerName::as_str),
            self.object.as_ref().map(ObjectName::as_str),
        ];
        for name in names.into_iter().flatten() {
            out.push('/');
            out.push_str(&encode_segment(name));
        }
        out
    }

    /// Parses the percent-encoded path of a request.
    pub fn decode(path: &str) -> Result<Self, PathError> {
        let path = path.strip_prefix('/').ok_or(PathError::Shape)?;
        // As in Swift, a slash may follow an account or a container. That of an object is in its name.
        let path = match path.strip_suffix('/') {
            Some(shorter) if (2..=3).contains(&shorter.matches('/').count()) => shorter,
            _ => path,
        };
        let mut parts = path.splitn(5, '/');
        let mut next = || parts.next().map(|part| Cow::<[u8]>::from(percent_decode_str(part)));
        let device = next()
            .and_then(|device| String::from_utf8(device.into_owned()).ok())
            .filter(|device| !device.is_empty() && !device.contains(['/', '\0']))
            .ok_or(PathError::Shape)?;
        let partition = next()
            .and_then(|partition| std::str::from_utf8(&partition).ok()?.parse().ok())
            .ok_or(PathError::Shape)?;
        let path = BackendPath {
            device,
            partition,
            account: next().map(AccountName::parse).transpose()?,
            container: next().map(ContainerName::parse).transpose()?,
            object: next().map(ObjectName::parse).transpose()?,
        };
        path.check_namespaces()?;
        Ok(path)
    }

    /// Accounts of the cluster itself name their objects as they need (Swift: common/request_helpers.py,
    /// `validate_internal_obj`).
    fn check_namespaces(&self) -> Result<(), PathError> {
        let (Some(account), Some(container), Some(object)) =
            (&self.account, &self.container, &self.object)
        else {
            return Ok(());
        };
        let space = |reserved| if reserved { "reserved" } else { "user" };
        if account.as_str().starts_with('.') || container.is_reserved() == object.is_reserved() {
            return Ok(());
        }
        let (object, container) = (space(object.is_reserved()), space(container.is_reserved()));
        Err(PathError::Namespace { object, container })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_malformed_paths() {
        for bad in ["", "/", "/sda", "/sda/x", "//1/a", "sda/1/a", "/sda/-1/a"] {
            assert_eq!(BackendPath::decode(bad), Err(PathError::Shape), "{bad}");
        }
        assert_eq!(BackendPath::decode("/sda/1/a/c/o%00"), Err(PathError::Name(NameError::Nul)));
        assert_eq!(BackendPath::decode("/sda/1/a//o"), Err(PathError::Name(NameError::Empty)));
        assert_eq!(BackendPath::decode("/sda/1/a//"), Err(PathError::Name(NameError::Empty)));
        assert!(BackendPath::decode("/sda/1/").is_err());
    }

    #[test]
    fn a_slash_may_follow() {
        let same = |with: &str, without: &str| {
            assert_eq!(BackendPath::decode(with), BackendPath::decode(without), "{with}");
            assert!(BackendPath::decode(with).is_ok(), "{with}");
        };
        same("/sda/1/a/", "/sda/1/a");
        same("/sda/1/a/c/", "/sda/1/a/c");
        let object =
            |path| BackendPath::decode(path).expect("a path").object.map(|o| o.to_string());
        assert_eq!(object("/sda/1/a/c/o/").as_deref(), Some("o/"));
        assert_eq!(object("/sda/1/a/c//").as_deref(), Some("/"));
    }

    #[test]
    fn reserved_objects_are_in_reserved_containers() {
        assert!(BackendPath::decode("/sda/1/a/%00c/%00o").is_ok());
        assert!(BackendPath::decode("/sda/1/.expiring/c/%00o").is_ok());
        let sentence = |path| BackendPath::decode(path).expect_err("refused").to_string();
        assert_eq!(
            sentence("/sda/1/a/c/%00o"),
            "Invalid reserved-namespace object in user-namespace container"
        );
        assert_eq!(
            sentence("/sda/1/a/%00c/o"),
            "Invalid user-namespace object in reserved-namespace container"
        );
    }

    proptest! {
        #[test]
        fn round_trips(device in "[a-z0-9]{1,8}", part: u32, c in "[^/\0]{1,20}", o in "[^\0]{1,40}") {
            let path = BackendPath {
                device,
                partition: Partition(part),
                account: AccountName::parse("AUTH_test").ok(),
                container: ContainerName::parse(&c).ok(),
                object: ObjectName::parse(&o).ok(),
            };
            prop_assert_eq!(BackendPath::decode(&path.encode()), Ok(path));
        }

        #[test]
        fn never_panics(path in ".{0,60}") {
            let _ = BackendPath::decode(&path);
        }
    }
}

//! Names of accounts, containers and objects, valid by construction.
//!
//! A name is UTF-8; account and container names hold no `/`. How long a name may be is a cluster's setting and
//! judged by the proxy (see [`crate::Limits`]); whether it is a name at all is judged here.
//!
//! A name that begins with NUL is *reserved* (Swift: `RESERVED_BYTE`): the cluster keeps things under it that belong to
//! users and that no user reaches by a path. Only such a name may hold NUL; its parts stand behind one each.

use std::fmt;

/// Why some bytes are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("the name is empty")]
    Empty,
    /// Not UTF-8.
    #[error("the name is not valid UTF-8")]
    NotUtf8,
    /// Holds a NUL byte, and does not begin with one.
    #[error("the name contains a NUL byte")]
    Nul,
    /// Holds a slash where none may be.
    #[error("the name contains a slash")]
    Slash,
}

/// What a reserved name begins with, and what stands before each of its parts.
pub const RESERVED: char = '\0';

/// The reserved name of some parts; `None` when one of them holds NUL itself (Swift: `get_reserved_name`).
pub fn reserved_name(parts: &[&str]) -> Option<String> {
    let mut name = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for part in parts {
        if part.contains(RESERVED) {
            return None;
        }
        name.push(RESERVED);
        name.push_str(part);
    }
    Some(name)
}

/// The parts of a reserved name; none of any other (Swift: `split_reserved_name`).
pub fn reserved_parts(name: &str) -> Vec<&str> {
    name.strip_prefix(RESERVED).map(|parts| parts.split(RESERVED).collect()).unwrap_or_default()
}

fn checked(bytes: &[u8], slash_allowed: bool) -> Result<&str, NameError> {
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    let name = std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8)?;
    if name.contains(RESERVED) && !name.starts_with(RESERVED) {
        return Err(NameError::Nul);
    }
    if !slash_allowed && name.contains('/') {
        return Err(NameError::Slash);
    }
    Ok(name)
}

macro_rules! name {
    ($type:ident, $what:literal, $slash:literal) => {
        #[doc = concat!("The name of ", $what, ".")]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Box<str>);

        impl $type {
            #[doc = concat!("Parses the name of ", $what, " from decoded bytes.")]
            pub fn parse(bytes: impl AsRef<[u8]>) -> Result<Self, NameError> {
                checked(bytes.as_ref(), $slash).map(|name| $type(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether users cannot name it.
            pub fn is_reserved(&self) -> bool {
                self.0.starts_with(RESERVED)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(AccountName, "an account", false);
name!(ContainerName, "a container", false);
name!(ObjectName, "an object", true);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_swift_accepts() {
        for name in ["a", "..", "a//b/", "ü", " ", "a\nb"] {
            assert_eq!(ObjectName::parse(name).map(|n| n.to_string()), Ok(name.into()));
        }
        assert!(AccountName::parse("AUTH_test").is_ok());
    }

    #[test]
    fn refuses_what_is_no_name() {
        assert_eq!(ObjectName::parse(""), Err(NameError::Empty));
        assert_eq!(ObjectName::parse("a\0b"), Err(NameError::Nul));
        assert_eq!(ObjectName::parse(b"a\xff"), Err(NameError::NotUtf8));
        assert_eq!(ContainerName::parse("a/b"), Err(NameError::Slash));
        assert_eq!(AccountName::parse("a/b"), Err(NameError::Slash));
    }

    #[test]
    fn reserved_names_begin_with_nul() {
        let name = reserved_name(&["versions", "c"]).expect("parts");
        assert_eq!(name, "\0versions\0c");
        assert!(ContainerName::parse(&name).is_ok_and(|name| name.is_reserved()));
        assert!(ObjectName::parse("o").is_ok_and(|name| !name.is_reserved()));
        assert_eq!(reserved_parts(&name), ["versions", "c"]);
        assert_eq!(reserved_parts("\0o\0"), ["o", ""]);
        assert!(reserved_parts("versions").is_empty());
        assert_eq!(reserved_name(&["a\0b"]), None);
    }
}

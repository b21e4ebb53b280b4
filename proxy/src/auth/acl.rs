//! The ACLs of containers: a list of groups, and of hosts that may refer. Swift: common/middleware/acl.py.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Why an ACL is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AclError {
    /// Who may write cannot depend on a header that anybody can make up.
    #[error("Referrers not allowed in write ACL: '{0}'")]
    ReferrerInWrite(String),
    /// `.r:` and nothing after it.
    #[error("No host/domain value after referrer designation in ACL: '{0}'")]
    NoHost(String),
    /// A word with a dot that means nothing.
    #[error("Unknown designator '{designator}' in ACL: '{item}'")]
    UnknownDesignator {
        /// The word.
        designator: String,
        /// Where it stands.
        item: String,
    },
}

/// An ACL in the form in which it is stored.
pub(crate) fn clean(acl: &str, for_writing: bool) -> Result<String, AclError> {
    let mut items: Vec<Cow<'_, str>> = Vec::new();
    for item in acl.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        items.push(clean_item(item, for_writing)?);
    }
    Ok(items.join(","))
}

fn clean_item(item: &str, for_writing: bool) -> Result<Cow<'_, str>, AclError> {
    let Some((first, second)) = item.split_once(':') else { return Ok(item.into()) };
    let (first, second) = (first.trim(), second.trim());
    if !first.starts_with('.') {
        return Ok(item.into());
    }
    if !matches!(first, ".r" | ".ref" | ".referer" | ".referrer") {
        let (designator, item) = (first.to_owned(), item.to_owned());
        return Err(AclError::UnknownDesignator { designator, item });
    }
    if for_writing {
        return Err(AclError::ReferrerInWrite(item.to_owned()));
    }
    let (negation, host) = match second.strip_prefix('-') {
        Some(host) => ("-", host.trim()),
        None => ("", second),
    };
    // `*.example.com` means the same as `.example.com`.
    let host = match host.strip_prefix('*') {
        Some(domain) if !domain.is_empty() => domain.trim(),
        _ => host,
    };
    if host.is_empty() || host == "." {
        return Err(AclError::NoHost(item.to_owned()));
    }
    Ok(format!(".r:{negation}{host}").into())
}

/// A stored ACL.
pub(crate) struct Acl<'a> {
    referrers: Vec<&'a str>,
    groups: Vec<Cow<'a, str>>,
}

impl<'a> Acl<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut acl = Acl { referrers: Vec::new(), groups: Vec::new() };
        for item in text.split(',').filter(|item| !item.is_empty()) {
            match item.strip_prefix(".r:") {
                Some(host) => acl.referrers.push(host),
                None => acl.groups.push(percent_decode_str(item).decode_utf8_lossy()),
            }
        }
        acl
    }

    /// Whether readers may also list.
    pub(crate) fn allows_listing(&self) -> bool {
        self.groups.iter().any(|group| group == ".rlistings")
    }

    /// Whether somebody is meant who has one of these names. `*:*` means everybody with a valid token.
    pub(crate) fn allows_any_of(&self, names: &[String]) -> bool {
        self.groups.iter().any(|group| {
            // Words with a dot are directives, never names.
            !group.starts_with('.') && (group == "*:*" || names.iter().any(|name| name == group))
        })
    }

    /// Whether somebody is meant who comes from there; the last matching host decides.
    pub(crate) fn allows_referer(&self, referer: Option<&str>) -> bool {
        if self.referrers.is_empty() {
            return false;
        }
        let host = referer.and_then(host_of).unwrap_or_else(|| "unknown".to_owned());
        let matches = |pattern: &str| {
            pattern == host || (pattern.starts_with('.') && host.ends_with(pattern))
        };
        let mut allowed = false;
        for pattern in &self.referrers {
            match pattern.strip_prefix('-') {
                Some(pattern) if matches(pattern) => allowed = false,
                Some(_) => {}
                None if *pattern == "*" || matches(pattern) => allowed = true,
                None => {}
            }
        }
        allowed
    }
}

/// The host of a URL, in lower case and without user and port.
fn host_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("//")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host_port.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => host_port.split_once(':').map_or(host_port, |(host, _)| host),
    };
    (!host.is_empty()).then(|| host.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cleans_as_swift_documents_it() {
        let cases = [
            ("bob, sue", "bob,sue"),
            ("bob , sue", "bob,sue"),
            ("bob,,,sue", "bob,sue"),
            (".referrer : *", ".r:*"),
            (".ref:*.example.com", ".r:.example.com"),
            (".r:*, .rlistings", ".r:*,.rlistings"),
            (".r:-*.thief.com", ".r:-.thief.com"),
            (".r:**.", ".r:*."),
            ("a:b", "a:b"),
            ("", ""),
        ];
        for (raw, cleaned) in cases {
            assert_eq!(clean(raw, false).as_deref(), Ok(cleaned), "{raw}");
        }
    }

    #[test]
    fn refuses_what_means_nothing() {
        for bad in [".r:", ".r:-", ".r:*.", ".r: - "] {
            assert!(matches!(clean(bad, false), Err(AclError::NoHost(_))), "{bad}");
        }
        assert!(matches!(clean(".r:*", true), Err(AclError::ReferrerInWrite(_))));
        let unknown = clean("a,.unknown:x", false);
        assert!(matches!(unknown, Err(AclError::UnknownDesignator { .. })), "{unknown:?}");
    }

    #[test]
    fn referrers_in_their_order() {
        let allows = |acl: &str, referer| Acl::parse(acl).allows_referer(referer);
        assert!(allows(".r:*", None));
        assert!(!allows("", Some("http://a.com/")));
        assert!(allows(".r:.example.com", Some("https://www.example.com:8080/x")));
        assert!(!allows(".r:.example.com", Some("https://example.com/")));
        assert!(!allows(".r:*,.r:-.thief.com", Some("http://www.thief.com")));
        assert!(allows(".r:-.thief.com,.r:*", Some("http://www.thief.com")));
        assert!(!allows(".r:example.com", Some("http://example.com@evil.org/")));
        assert!(!allows(".r:example.com", None));
    }

    #[test]
    fn directives_are_no_names() {
        let acl = Acl::parse(".rlistings,a%2Cb");
        assert!(acl.allows_listing());
        assert!(acl.allows_any_of(&["a,b".to_owned()]));
        assert!(!acl.allows_any_of(&[".rlistings".to_owned()]));
    }

    proptest! {
        #[test]
        fn never_panics_and_cleaning_is_stable(text in "\\PC{0,40}", write: bool) {
            let _ = Acl::parse(&text).allows_referer(Some(&text));
            if let Ok(cleaned) = clean(&text, write) {
                prop_assert_eq!(clean(&cleaned, write), Ok(cleaned));
            }
        }

        #[test]
        fn hosts_never_panic(url in "(http:)?//[a-z@:\\[\\]/.?#é]{0,20}") {
            let _ = host_of(&url);
        }
    }
}

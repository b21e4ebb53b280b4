//! Paths of client requests: `/v1/{account}[/{container}[/{object}]]`.

use http::StatusCode;
use percent_encoding::percent_decode_str;
use types::{AccountName, ContainerName, NameError, ObjectName, RESERVED};

use super::error::Refusal;
use crate::store::Entity;

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// What the cluster can do.
    Info,
    /// Something stored.
    Entity(Entity),
}

/// What no client can name.
pub(crate) fn not_text() -> Refusal {
    let sentence = "Invalid UTF8 or contains NULL";
    Refusal::Sentence(StatusCode::PRECONDITION_FAILED, sentence.into())
}

/// Parses the percent-encoded path of a request. An encoded slash is a slash. What is reserved has no path, unless
/// it is `allowed`.
pub(crate) fn route(path: &str, versions: &[String], allowed: bool) -> Result<Route, Refusal> {
    if path == "/info" {
        return Ok(Route::Info);
    }
    let decoded = percent_decode_str(path).decode_utf8();
    let path = decoded.map_err(|_| not_text())?;
    if path.contains(RESERVED) && !allowed {
        return Err(not_text());
    }
    entity(path.strip_prefix('/').ok_or_else(Refusal::not_found)?, versions)
}

fn entity(path: &str, versions: &[String]) -> Result<Route, Refusal> {
    let mut segments = path.splitn(4, '/');
    let mut next = || segments.next().unwrap_or_default();
    let (version, account, container, object) = (next(), next(), next(), next());
    // An empty segment that something follows is no path; one at the end is a trailing slash.
    let gap = version.is_empty()
        || (account.is_empty() && path.matches('/').count() > 1)
        || (container.is_empty() && path.splitn(4, '/').count() == 4);
    if gap {
        return Err(Refusal::not_found());
    }
    if account.is_empty() {
        return Err(Refusal::Sentence(StatusCode::PRECONDITION_FAILED, "Bad URL".into()));
    }
    if !versions.iter().any(|valid| valid == version) {
        return Err(Refusal::Status(StatusCode::BAD_REQUEST));
    }
    let bad = |error: NameError| match error {
        NameError::Nul => Refusal::bad_request("Invalid reserved-namespace name"),
        // The text was checked above, so a name can only be empty.
        _ => Refusal::not_found(),
    };
    Ok(Route::Entity(Entity {
        account: AccountName::parse(account).map_err(bad)?,
        container: optional(container).map(ContainerName::parse).transpose().map_err(bad)?,
        object: optional(object).map(ObjectName::parse).transpose().map_err(bad)?,
    }))
}

fn optional(segment: &str) -> Option<&str> {
    (!segment.is_empty()).then_some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn routed(path: &str) -> Result<Route, u16> {
        let versions = ["v1".to_owned(), "v1.0".to_owned()];
        route(path, &versions, false)
            .map_err(|refusal| wire::Response::from(refusal).status().as_u16())
    }

    fn names(path: &str) -> Result<(String, String, String), u16> {
        match routed(path)? {
            Route::Entity(entity) => Ok((
                entity.account.to_string(),
                entity.container.map(|name| name.to_string()).unwrap_or_default(),
                entity.object.map(|name| name.to_string()).unwrap_or_default(),
            )),
            other => panic!("{path} leads to {other:?}"),
        }
    }

    #[test]
    fn leads_to_accounts_containers_and_objects() {
        let owned = |a: &str, c: &str, o: &str| Ok((a.into(), c.into(), o.into()));
        assert_eq!(names("/v1/a"), owned("a", "", ""));
        assert_eq!(names("/v1.0/a/"), owned("a", "", ""));
        assert_eq!(names("/v1/a/c"), owned("a", "c", ""));
        assert_eq!(names("/v1/a/c/"), owned("a", "c", ""));
        assert_eq!(names("/v1/a/c/o"), owned("a", "c", "o"));
        assert_eq!(names("/v1/a/c//o//"), owned("a", "c", "/o//"));
        assert_eq!(names("/v1/a/c/%2e%2E/%C3%BC"), owned("a", "c", "../ü"));
        assert_eq!(names("/v1/a%2Fc%2Fo"), owned("a", "c", "o"));
        assert_eq!(routed("/info"), Ok(Route::Info));
    }

    #[test]
    fn refuses_as_swift_does() {
        let cases = [
            ("/", 404),
            ("//a", 404),
            ("/v1", 412),
            ("/v1/", 412),
            ("/v1//c", 404),
            ("/v1/a//o", 404),
            ("/v2/a", 400),
            ("/v1/a/c/%00", 412),
            ("/v1/a/%FF", 412),
            ("", 404),
        ];
        for (path, status) in cases {
            assert_eq!(routed(path), Err(status), "{path}");
        }
    }

    #[test]
    fn reserved_names_have_paths_for_those_who_may() {
        let versions = ["v1".to_owned()];
        let allowed = |path| route(path, &versions, true).map_err(|_| ());
        let Ok(Route::Entity(entity)) = allowed("/v1/a/%00versions%00c/%00o") else {
            panic!("no entity")
        };
        assert!(entity.container.is_some_and(|name| name.is_reserved()));
        assert_eq!(allowed("/v1/a/c/o%00"), Err(()));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_gives_empty_names(path in "(/|%2f|%00|v1|a|é|\\.){0,12}") {
            if let Ok(Route::Entity(entity)) = routed(&path) {
                prop_assert!(!entity.account.as_str().is_empty());
                prop_assert!(entity.object.is_none() || entity.container.is_some());
            }
        }
    }
}

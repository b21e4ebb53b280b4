//! Where versions lie, and how links to them are written.
//!
//! The versions of what is in container `c` lie in `\0versions\0c`; that of the object `o` which was written at a moment is
//! `\0o\0` and the moment inverted, so that the latest is listed first. Swift: `build_versions_object_name` and others
//! in versioned_writes/object_versioning.py.

use percent_encoding::percent_decode_str;
use types::{ContainerName, ObjectName, RESERVED, Timestamp, reserved_name, reserved_parts};
use wire::encode_segment;

use crate::store::Entity;

const VERSIONS: &str = "versions";

/// Where versions of a container's objects lie; of a reserved container there are none.
pub(super) fn versions_container(container: &str) -> Option<String> {
    reserved_name(&[VERSIONS, container])
}

/// What the names of all containers of versions begin with.
pub(super) fn versions_containers() -> String {
    [RESERVED.to_string().as_str(), VERSIONS].concat()
}

/// The container whose versions lie in a container.
pub(super) fn user_container(versions: &str) -> Option<&str> {
    match reserved_parts(versions).as_slice() {
        [VERSIONS, container] => Some(container),
        _ => None,
    }
}

/// What the names of all versions of an object begin with.
pub(super) fn prefix(object: &str) -> Option<String> {
    reserved_name(&[object, ""])
}

/// The name of a version.
pub(super) fn version_name(object: &str, id: Timestamp) -> Option<String> {
    reserved_name(&[object, &id.inverted().internal()])
}

/// The object and the id of a version of that name.
pub(super) fn parse(name: &str) -> Option<(&str, String)> {
    match reserved_parts(name).as_slice() {
        [object, inverted] => {
            Some((object, Timestamp::parse(inverted).ok()?.inverted().internal()))
        }
        _ => None,
    }
}

/// The version of an object as an entity.
pub(super) fn version(of: &Entity, versions: &ContainerName, id: Timestamp) -> Option<Entity> {
    let name = version_name(of.object.as_ref()?.as_str(), id)?;
    Some(of.with_container(versions.clone()).with_object(ObjectName::parse(name).ok()?))
}

/// `container/object` as links have it.
pub(super) fn link_target(to: &Entity) -> String {
    let container = to.container.as_ref().map_or("", |name| name.as_str());
    let object = to.object.as_ref().map_or("", |name| name.as_str());
    encode_segment(&format!("{container}/{object}"))
}

/// Reads the name of a container as it is stored with another.
pub(super) fn stored_container(name: &str) -> Option<ContainerName> {
    let name = percent_decode_str(name).decode_utf8().ok()?;
    ContainerName::parse(name.split('/').next()?).ok()
}

/// Reads `container/object` of a link.
pub(super) fn parse_target(target: &str) -> Option<(String, String)> {
    let target = percent_decode_str(target).decode_utf8().ok()?;
    let (container, object) = target.split_once('/')?;
    Some((container.to_owned(), object.to_owned()))
}

/// Reads `/v1/account/container/object`, with or without a query.
pub(super) fn parse_path(path: &str) -> Option<(String, String, String)> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let mut parts = path.strip_prefix('/')?.splitn(4, '/').skip(1).map(str::to_owned);
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// Where clients find a version: the object, and the id as a parameter.
pub(super) fn path_of_version(account: &str, container: &str, object: &str, id: &str) -> String {
    let path = encode_segment(&format!("/v1/{account}/{container}/{object}"));
    format!("{path}?version-id={id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::entity;
    use proptest::prelude::*;

    #[test]
    fn names_are_swifts() {
        let id = Timestamp::parse("1402464677.04188").expect("a timestamp");
        let versions = ContainerName::parse(versions_container("c").expect("a name")).expect("ok");
        assert_eq!(versions.as_str(), "\0versions\0c");
        let version = version(&entity("a/c/o/p"), &versions, id).expect("a version");
        let name = version.object.as_ref().expect("an object").as_str();
        assert_eq!(name, "\0o/p\x008597535322.95811");
        assert_eq!(parse(name), Some(("o/p", id.internal())));
        assert_eq!(link_target(&version), "%00versions%00c/%00o/p%008597535322.95811");
        let (container, object) = parse_target(&link_target(&version)).expect("a target");
        assert_eq!((container.as_str(), object.as_str()), (versions.as_str(), name));
        assert_eq!(user_container(versions.as_str()), Some("c"));
        assert_eq!(user_container("\0other\0c"), None);
        assert_eq!(versions_container("\0c"), None);
        let path = path_of_version("a", "c", "o%", "1402464677.04188");
        assert_eq!(path, "/v1/a/c/o%25?version-id=1402464677.04188");
        assert_eq!(parse_path(&path), Some(("a".into(), "c".into(), "o%".into())));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[\\PC\0%0-9./]{0,40}") {
            let _ = parse(&text);
            let _ = parse_path(&text);
            let _ = parse_target(&text);
        }
    }
}

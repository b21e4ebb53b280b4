//! What a link is called: to clients `X-Symlink-…`, to storage nodes `X-Object-Sysmeta-Symlink-…`.

use http::header::HeaderMap;

/// `container/object`, percent-encoded.
pub(crate) const TARGET: &str = "x-symlink-target";
/// The target's account, percent-encoded, if it is not the link's own.
pub(crate) const TARGET_ACCOUNT: &str = "x-symlink-target-account";
/// The ETag that the target must have; only static links have it.
pub(crate) const TARGET_ETAG: &str = "x-symlink-target-etag";
/// The target's length; only static links have it.
pub(crate) const TARGET_BYTES: &str = "x-symlink-target-bytes";

/// See [`TARGET`].
pub(crate) const SYSMETA_TARGET: &str = "x-object-sysmeta-symlink-target";
/// See [`TARGET_ACCOUNT`].
pub(crate) const SYSMETA_TARGET_ACCOUNT: &str = "x-object-sysmeta-symlink-target-account";
/// See [`TARGET_ETAG`].
pub(crate) const SYSMETA_TARGET_ETAG: &str = "x-object-sysmeta-symlink-target-etag";
/// See [`TARGET_BYTES`].
pub(crate) const SYSMETA_TARGET_BYTES: &str = "x-object-sysmeta-symlink-target-bytes";

/// A link that does not count where links are counted.
pub(crate) const SYSMETA_SYMLOOP_EXTEND: &str = "x-object-sysmeta-symloop-extend";
/// A link of the cluster's own: it leads to reserved names, and whoever may read it may read what it leads to.
pub(crate) const SYSMETA_ALLOW_RESERVED_NAMES: &str = "x-object-sysmeta-allow-reserved-names";

/// What listings show instead of the object's own ETag.
pub(super) const OVERRIDE_ETAG: &str = "x-object-sysmeta-container-update-override-etag";

const PAIRS: [(&str, &str); 4] = [
    (TARGET, SYSMETA_TARGET),
    (TARGET_ACCOUNT, SYSMETA_TARGET_ACCOUNT),
    (TARGET_ETAG, SYSMETA_TARGET_ETAG),
    (TARGET_BYTES, SYSMETA_TARGET_BYTES),
];

/// Shows a link as such.
pub(super) fn show(headers: &mut HeaderMap) {
    for (name, sysmeta) in PAIRS {
        if let Some(value) = headers.remove(sysmeta) {
            headers.insert(name, value);
        }
    }
}

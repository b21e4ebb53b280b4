//! Header names of Swift's backend API, lower case.

/// When an account, container or object was written, or the moment of a request.
pub const X_TIMESTAMP: &str = "x-timestamp";
/// Timestamp of the state a storage node holds, also of a tombstone.
pub const X_BACKEND_TIMESTAMP: &str = "x-backend-timestamp";
/// Timestamp of an object's data.
pub const X_BACKEND_DATA_TIMESTAMP: &str = "x-backend-data-timestamp";
/// Timestamp of an object's durable data.
pub const X_BACKEND_DURABLE_TIMESTAMP: &str = "x-backend-durable-timestamp";
/// The storage policy a request or answer speaks of.
pub const X_BACKEND_STORAGE_POLICY_INDEX: &str = "x-backend-storage-policy-index";
/// Asks for all replicas and the newest answer.
pub const X_NEWEST: &str = "x-newest";
/// The transaction a request belongs to.
pub const X_TRANS_ID: &str = "x-trans-id";
/// The same, under the name that all of OpenStack uses.
pub const X_OPENSTACK_REQUEST_ID: &str = "x-openstack-request-id";
/// Opens an object whose X-Delete-At has passed.
pub const X_BACKEND_OPEN_EXPIRED: &str = "x-backend-open-expired";
/// Marks a request of a replicator: expired objects are open to it.
pub const X_BACKEND_REPLICATION: &str = "x-backend-replication";
/// Names headers to be stored as metadata beyond the usual ones.
pub const X_BACKEND_REPLICATION_HEADERS: &str = "x-backend-replication-headers";
/// Says that metadata follows an object, in the body of its PUT.
pub const X_BACKEND_OBJ_METADATA_FOOTER: &str = "x-backend-obj-metadata-footer";
/// What stands between the two.
pub const X_BACKEND_OBJ_MULTIPART_MIME_BOUNDARY: &str = "x-backend-obj-multipart-mime-boundary";
/// How long the object in such a body is.
pub const X_BACKEND_OBJ_CONTENT_LENGTH: &str = "x-backend-obj-content-length";
/// Of a POST: when the content type was set, if that was not now.
pub const CONTENT_TYPE_TIMESTAMP: &str = "content-type-timestamp";
/// Deletes only when the stored X-Delete-At is this one.
pub const X_IF_DELETE_AT: &str = "x-if-delete-at";
/// When an object expires, in seconds since 1970.
pub const X_DELETE_AT: &str = "x-delete-at";
/// Names the metadata that holds the ETag to judge conditions by.
pub const X_BACKEND_ETAG_IS_AT: &str = "x-backend-etag-is-at";
/// Names metadata; an object that has any of it is sent whole, whatever ranges are asked for.
pub const X_BACKEND_IGNORE_RANGE_IF_METADATA_PRESENT: &str =
    "x-backend-ignore-range-if-metadata-present";
/// The content type that counts, in the answer to a POST.
pub const X_BACKEND_CONTENT_TYPE: &str = "x-backend-content-type";

/// Lets a path name what is reserved, and a listing show it.
pub const X_BACKEND_ALLOW_RESERVED_NAMES: &str = "x-backend-allow-reserved-names";

/// Size of an object, in a row update.
pub const X_SIZE: &str = "x-size";
/// ETag of an object, in a row update.
pub const X_ETAG: &str = "x-etag";
/// Content type of an object, in a row update.
pub const X_CONTENT_TYPE: &str = "x-content-type";
/// When the content type was set.
pub const X_CONTENT_TYPE_TIMESTAMP: &str = "x-content-type-timestamp";
/// When the metadata was set.
pub const X_META_TIMESTAMP: &str = "x-meta-timestamp";

/// When a container was created, in an update to its account.
pub const X_PUT_TIMESTAMP: &str = "x-put-timestamp";
/// When a container was deleted, in an update to its account.
pub const X_DELETE_TIMESTAMP: &str = "x-delete-timestamp";
/// Objects in a container, in an update to its account.
pub const X_OBJECT_COUNT: &str = "x-object-count";
/// Bytes in a container, in an update to its account.
pub const X_BYTES_USED: &str = "x-bytes-used";
/// Takes the row even when the account has been deleted.
pub const X_ACCOUNT_OVERRIDE_DELETED: &str = "x-account-override-deleted";

/// `X-Container-Host` and the like: prefixes of the headers that name update targets.
pub const CONTAINER: &str = "x-container";
/// See [`CONTAINER`].
pub const ACCOUNT: &str = "x-account";

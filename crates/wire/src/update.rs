//! Listing updates: what an object server tells a container server, and a container server an account server.

use crate::{BackendPath, Body, Endpoint, Request, headers};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use types::{AccountName, ContainerName, ObjectName, Partition, PolicyIndex, Timestamp};

/// Why a request is no update.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// A header is missing.
    #[error("header {0} is missing")]
    Missing(&'static str),
    /// A header does not hold what it must.
    #[error("header {0} is malformed")]
    Malformed(&'static str),
    /// The lists of hosts, devices and partitions do not fit together.
    #[error("the update targets named in the {0}-… headers do not fit together")]
    Targets(&'static str),
}

/// One server that is to receive an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateTarget {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Which of its devices holds the listing.
    pub device: String,
}

/// The servers that are to receive an update, as the proxy names them in `X-Container-*` or `X-Account-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateTargets {
    /// The partition of the listing.
    pub partition: Partition,
    /// The servers.
    pub targets: Vec<UpdateTarget>,
}

impl UpdateTargets {
    /// Writes `<prefix>-partition`, `-host` and `-device`; see [`headers::CONTAINER`].
    pub fn encode(&self, prefix: &str, into: &mut HeaderMap) {
        let join = |part: fn(&UpdateTarget) -> String| {
            self.targets.iter().map(part).collect::<Vec<_>>().join(",")
        };
        let values = [
            ("partition", self.partition.to_string()),
            ("host", join(|t| t.endpoint.to_string())),
            ("device", join(|t| t.device.clone())),
        ];
        for (name, value) in values {
            let name = HeaderName::try_from(format!("{prefix}-{name}"));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                into.insert(name, value);
            }
        }
    }

    /// Reads what [`UpdateTargets::encode`] writes. `None` when the sender wants no update.
    pub fn decode(prefix: &'static str, from: &HeaderMap) -> Result<Option<Self>, UpdateError> {
        let text = |name: &str| match from.get(format!("{prefix}-{name}")) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).map_err(|_| UpdateError::Targets(prefix)),
        };
        let (Some(hosts), Some(devices), Some(partition)) =
            (text("host")?, text("device")?, text("partition")?)
        else {
            return Ok(None);
        };
        if hosts.trim().is_empty() {
            return Ok(None);
        }
        let malformed = UpdateError::Targets(prefix);
        let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
        let devices: Vec<_> = devices.split(',').map(str::trim).collect();
        if hosts.len() != devices.len() {
            return Err(malformed);
        }
        let targets = hosts.into_iter().zip(devices).map(|(host, device)| {
            let endpoint = host.parse().map_err(|_| malformed.clone())?;
            Ok(UpdateTarget { endpoint, device: device.to_owned() })
        });
        Ok(Some(UpdateTargets {
            targets: targets.collect::<Result<_, UpdateError>>()?,
            partition: partition.parse().map_err(|_| malformed.clone())?,
        }))
    }
}

/// An object appeared, changed or went away: a row for its container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectUpdate {
    /// Whose object.
    pub account: AccountName,
    /// In which container.
    pub container: ContainerName,
    /// Which object.
    pub object: ObjectName,
    /// True when the object was deleted.
    pub deleted: bool,
    /// When its data was written, or it was deleted.
    pub timestamp: Timestamp,
    /// When its content type was set, if that is another moment.
    pub content_type_timestamp: Option<Timestamp>,
    /// When its metadata was set, if that is another moment.
    pub meta_timestamp: Option<Timestamp>,
    /// Length in bytes.
    pub size: u64,
    /// Content type.
    pub content_type: String,
    /// ETag without quotes.
    pub etag: String,
    /// Storage policy it lies in.
    pub policy: PolicyIndex,
    /// When it expires, in seconds; 0 for never. Goes with the metadata. Swift's container servers ignore it.
    pub delete_at: u64,
}

impl ObjectUpdate {
    /// A row is to be gone, whatever it was.
    pub fn deletion(
        account: AccountName,
        container: ContainerName,
        object: ObjectName,
        timestamp: Timestamp,
    ) -> Self {
        ObjectUpdate {
            account,
            container,
            object,
            deleted: true,
            timestamp,
            content_type_timestamp: None,
            meta_timestamp: None,
            size: 0,
            content_type: String::new(),
            etag: String::new(),
            policy: PolicyIndex::default(),
            delete_at: 0,
        }
    }

    /// The request that tells one container server.
    pub fn encode(&self, device: &str, partition: Partition, trans_id: &str) -> Request {
        let path = BackendPath {
            device: device.to_owned(),
            partition,
            account: Some(self.account.clone()),
            container: Some(self.container.clone()),
            object: Some(self.object.clone()),
        };
        let method = if self.deleted { Method::DELETE } else { Method::PUT };
        let mut out = Headers::new();
        out.put(headers::X_TIMESTAMP, &self.timestamp.internal());
        out.put(headers::X_BACKEND_STORAGE_POLICY_INDEX, &self.policy.to_string());
        out.put(headers::X_TRANS_ID, trans_id);
        if !self.deleted {
            out.put(headers::X_SIZE, &self.size.to_string());
            out.put(headers::X_CONTENT_TYPE, &self.content_type);
            out.put(headers::X_ETAG, &self.etag);
            if self.delete_at != 0 {
                out.put(headers::X_DELETE_AT, &self.delete_at.to_string());
            }
            if let Some(ts) = self.content_type_timestamp {
                out.put(headers::X_CONTENT_TYPE_TIMESTAMP, &ts.internal());
            }
            if let Some(ts) = self.meta_timestamp {
                out.put(headers::X_META_TIMESTAMP, &ts.internal());
            }
        }
        out.request(method, &path.encode())
    }

    /// Reads a row update whose path has been parsed and names an object.
    pub fn decode(
        method: &Method,
        path: &BackendPath,
        from: &HeaderMap,
    ) -> Result<Self, UpdateError> {
        let (Some(account), Some(container), Some(object)) =
            (path.account.clone(), path.container.clone(), path.object.clone())
        else {
            return Err(UpdateError::Malformed("path"));
        };
        let deleted = method == Method::DELETE;
        let put = !deleted;
        let timestamp = required(from, headers::X_TIMESTAMP)?;
        Ok(ObjectUpdate {
            account,
            container,
            object,
            deleted,
            timestamp,
            content_type_timestamp: optional(from, headers::X_CONTENT_TYPE_TIMESTAMP)?,
            meta_timestamp: optional(from, headers::X_META_TIMESTAMP)?,
            size: if put { required(from, headers::X_SIZE)? } else { 0 },
            content_type: if put { text(from, headers::X_CONTENT_TYPE)? } else { String::new() },
            etag: if put { text(from, headers::X_ETAG)? } else { String::new() },
            policy: optional(from, headers::X_BACKEND_STORAGE_POLICY_INDEX)?.unwrap_or_default(),
            delete_at: optional(from, headers::X_DELETE_AT)?.unwrap_or_default(),
        })
    }
}

/// A container appeared, changed its totals or went away: a row for its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountUpdate {
    /// Whose container.
    pub account: AccountName,
    /// Which container.
    pub container: ContainerName,
    /// When it was created last.
    pub put_timestamp: Timestamp,
    /// When it was deleted last.
    pub delete_timestamp: Timestamp,
    /// Objects in it.
    pub object_count: u64,
    /// Bytes in it.
    pub bytes_used: u64,
    /// Its storage policy.
    pub policy: PolicyIndex,
}

impl AccountUpdate {
    /// The request that tells one account server.
    pub fn encode(&self, device: &str, partition: Partition, trans_id: &str) -> Request {
        let path = BackendPath {
            device: device.to_owned(),
            partition,
            account: Some(self.account.clone()),
            container: Some(self.container.clone()),
            object: None,
        };
        let mut out = Headers::new();
        out.put(headers::X_PUT_TIMESTAMP, &self.put_timestamp.internal());
        out.put(headers::X_DELETE_TIMESTAMP, &self.delete_timestamp.internal());
        out.put(headers::X_OBJECT_COUNT, &self.object_count.to_string());
        out.put(headers::X_BYTES_USED, &self.bytes_used.to_string());
        out.put(headers::X_BACKEND_STORAGE_POLICY_INDEX, &self.policy.to_string());
        out.put(headers::X_TRANS_ID, trans_id);
        out.request(Method::PUT, &path.encode())
    }

    /// Reads a row update whose path has been parsed and names a container.
    pub fn decode(path: &BackendPath, from: &HeaderMap) -> Result<Self, UpdateError> {
        let (Some(account), Some(container)) = (path.account.clone(), path.container.clone())
        else {
            return Err(UpdateError::Malformed("path"));
        };
        Ok(AccountUpdate {
            account,
            container,
            put_timestamp: required(from, headers::X_PUT_TIMESTAMP)?,
            delete_timestamp: required(from, headers::X_DELETE_TIMESTAMP)?,
            object_count: required(from, headers::X_OBJECT_COUNT)?,
            bytes_used: required(from, headers::X_BYTES_USED)?,
            policy: optional(from, headers::X_BACKEND_STORAGE_POLICY_INDEX)?.unwrap_or_default(),
        })
    }
}

fn text(from: &HeaderMap, name: &'static str) -> Result<String, UpdateError> {
    let value = from.get(name).ok_or(UpdateError::Missing(name))?;
    String::from_utf8(value.as_bytes().to_vec()).map_err(|_| UpdateError::Malformed(name))
}

fn required<T: std::str::FromStr>(from: &HeaderMap, name: &'static str) -> Result<T, UpdateError> {
    text(from, name)?.parse().map_err(|_| UpdateError::Malformed(name))
}

fn optional<T: std::str::FromStr>(
    from: &HeaderMap,
    name: &'static str,
) -> Result<Option<T>, UpdateError> {
    if from.contains_key(name) { required(from, name).map(Some) } else { Ok(None) }
}

/// Collects headers; a value that no header may hold is left out, and its absence is refused by the reader.
struct Headers(HeaderMap);

impl Headers {
    fn new() -> Self {
        Headers(HeaderMap::with_capacity(8))
    }

    fn put(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.0.insert(HeaderName::from_static(name), value);
        }
    }

    fn request(self, method: Method, path: &str) -> Request {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.headers_mut() = self.0;
        // Percent-encoded by `BackendPath::encode`, so always a URI.
        *request.uri_mut() = path.parse().unwrap_or_default();
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(deleted: bool) -> ObjectUpdate {
        ObjectUpdate {
            account: AccountName::parse("AUTH_test").expect("name"),
            container: ContainerName::parse("c ü").expect("name"),
            object: ObjectName::parse("a/b?c#d").expect("name"),
            deleted,
            timestamp: Timestamp { raw: 140_246_467_704_188, offset: 2 },
            content_type_timestamp: (!deleted).then(|| Timestamp::from_seconds(5)),
            meta_timestamp: None,
            size: if deleted { 0 } else { 7 },
            content_type: if deleted { String::new() } else { "text/plain; x=ü".into() },
            etag: if deleted { String::new() } else { "d41d8cd98f00b204e9800998ecf8427e".into() },
            policy: PolicyIndex(1),
            delete_at: 0,
        }
    }

    #[test]
    fn object_updates_round_trip() {
        for deleted in [false, true] {
            let update = update(deleted);
            let request = update.encode("d1", Partition(3), "tx1");
            let path = BackendPath::decode(request.uri().path()).expect("a path");
            assert_eq!(path.device, "d1");
            let back = ObjectUpdate::decode(request.method(), &path, request.headers());
            assert_eq!(back, Ok(update));
        }
    }

    #[test]
    fn object_update_names_the_bad_header() {
        let request = update(false).encode("d1", Partition(3), "tx1");
        let path = BackendPath::decode(request.uri().path()).expect("a path");
        let mut headers = request.headers().clone();
        headers.remove(headers::X_SIZE);
        let decode = |headers: &HeaderMap| ObjectUpdate::decode(&Method::PUT, &path, headers);
        assert_eq!(decode(&headers), Err(UpdateError::Missing("x-size")));
        headers.insert(headers::X_SIZE, HeaderValue::from_static("-1"));
        assert_eq!(decode(&headers), Err(UpdateError::Malformed("x-size")));
    }

    #[test]
    fn targets_round_trip_and_refuse_uneven_lists() {
        let target = |port, device: &str| UpdateTarget {
            endpoint: Endpoint::new("127.0.0.1", port),
            device: device.into(),
        };
        let targets = UpdateTargets {
            partition: Partition(9),
            targets: vec![target(1, "a"), target(2, "b")],
        };
        let mut map = HeaderMap::new();
        targets.encode(headers::CONTAINER, &mut map);
        assert_eq!(UpdateTargets::decode(headers::CONTAINER, &map), Ok(Some(targets)));
        map.insert("x-container-device", HeaderValue::from_static("a"));
        assert!(UpdateTargets::decode(headers::CONTAINER, &map).is_err());
        assert_eq!(UpdateTargets::decode(headers::ACCOUNT, &map), Ok(None));
    }
}

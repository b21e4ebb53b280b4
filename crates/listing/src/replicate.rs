//! REPLICATE between databases: what Swift's replicators ask, and why they are told that it is not served.
//!
//! A call names a database by its hash and carries a JSON list: an operation, then its arguments (Swift:
//! common/db_replicator.py, `ReplicatorRpc`). What a replicator does next hangs on the status:
//!
//! - 2xx: it believes what it reads.
//! - 404: it takes the database for missing, and copies its own file, which nothing here could open.
//! - 507: it takes the device for gone, and brings the database to another one.
//! - anything else: it counts a failure, keeps what it has, and comes again.
//!
//! So the answer must be the last, and is 501. A device that is not here is answered 507, as it should be; what is no call
//! at all, 400.

use crate::devices::Devices;
use crate::refusal::Refusal;
use crate::request;
use crate::row::Row;
use serde_json::Value;
use wire::Request;

/// The method.
pub const REPLICATE: &str = "REPLICATE";

/// What Swift's servers can be told to do.
const OPERATIONS: [&str; 7] = [
    "complete_rsync",
    "get_shard_ranges",
    "merge_items",
    "merge_shard_ranges",
    "merge_syncs",
    "rsync_then_merge",
    "sync",
];

/// Why a call is refused.
pub async fn refusal<R: Row>(devices: &Devices<R>, request: Request) -> Refusal {
    match operation(devices, request).await {
        Ok(known) if OPERATIONS.contains(&known.as_str()) => {
            Refusal::NotImplemented("Databases are not replicated by this server.")
        }
        Ok(unknown) => Refusal::Invalid(format!("Invalid body: there is no operation {unknown}")),
        Err(refusal) => refusal,
    }
}

async fn operation<R: Row>(devices: &Devices<R>, request: Request) -> Result<String, Refusal> {
    // Where others have an account, stands the hash.
    let (path, _) = request::path(request.uri())?;
    if path.container.is_some() {
        return Err(request::invalid_path(request.uri()));
    }
    devices.get(&path.device)?;
    let call: Value = request::json(request.into_body()).await?;
    let operation = call.as_array().and_then(|call| call.first()).and_then(Value::as_str);
    operation.map(str::to_owned).ok_or_else(|| {
        Refusal::Invalid("Invalid body: a list that begins with an operation is expected".into())
    })
}

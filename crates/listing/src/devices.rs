//! The databases of all devices a server owns.

use crate::budget::Budget;
use crate::database::{Database, DatabaseOptions, OpenError};
use crate::refusal::Refusal;
use crate::row::Row;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Databases by their device's name in the ring. Clones share them.
pub struct Devices<R>(Arc<BTreeMap<String, Database<R>>>);

impl<R> Clone for Devices<R> {
    fn clone(&self) -> Self {
        Devices(Arc::clone(&self.0))
    }
}

impl<R: Row> Devices<R> {
    /// Opens one database per device under `directory`. Blocks.
    pub fn open(
        directory: &Path,
        names: &[String],
        budget: &Budget,
        options: &DatabaseOptions,
    ) -> Result<Self, OpenError> {
        let open = |name: &String| {
            let database = Database::open(&directory.join(name), budget, options)?;
            Ok((name.clone(), database))
        };
        Ok(Devices(Arc::new(names.iter().map(open).collect::<Result<_, OpenError>>()?)))
    }

    /// The database of a device.
    pub fn get(&self, name: &str) -> Result<&Database<R>, Refusal> {
        self.0.get(name).ok_or(Refusal::NoDevice)
    }

    /// Closes all.
    pub async fn close(&self) {
        for database in self.0.values() {
            database.close().await;
        }
    }
}

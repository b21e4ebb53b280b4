//! The keys of signatures: up to two of the account, and up to two of the container.
//! Swift: common/middleware/tempurl.py, `_get_keys`.

use std::sync::Arc;

use crate::store::{Entity, Store, Unavailable};

/// A key, and what may be reached with it.
pub(crate) struct ScopedKey {
    pub(crate) key: String,
    pub(crate) scope: Entity,
}

const NAMES: [&str; 2] = ["temp-url-key", "temp-url-key-2"];

/// Every key that opens something inside of the container of `entity`.
pub(crate) async fn keys_for(
    store: &Arc<Store>,
    entity: &Entity,
) -> Result<Vec<ScopedKey>, Unavailable> {
    let mut keys = Vec::with_capacity(2);
    let account = store.account_info(entity).await?;
    for key in NAMES.iter().filter_map(|name| account.meta(name)) {
        keys.push(ScopedKey { key: key.to_owned(), scope: entity.to_account() });
    }
    if let Some(container) = store.container_info(&entity.to_container()).await? {
        for key in NAMES.iter().filter_map(|name| container.meta(name)) {
            keys.push(ScopedKey { key: key.to_owned(), scope: entity.to_container() });
        }
    }
    Ok(keys)
}

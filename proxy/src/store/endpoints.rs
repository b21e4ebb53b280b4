//! Where things are kept, for those who want to ask there themselves.

use std::sync::Arc;
use types::PolicyIndex;

use super::entity::{Entity, Level};
use super::peers::Peer;
use super::{Store, Unavailable};

impl Store {
    /// The URLs of an entity on the devices that hold it, as the ring lists them; of an object, in its policy's ring.
    pub(crate) fn endpoints(
        &self,
        entity: &Entity,
        policy: PolicyIndex,
    ) -> Result<Vec<String>, Unavailable> {
        let place = match entity.level() {
            Level::Object => self.place_of_object(entity, policy)?,
            Level::Account | Level::Container => self.place(entity),
        };
        let (partition, path) = (place.partition, &place.path);
        let url = |peer: &Arc<Peer>| {
            format!("http://{}/{}/{partition}{path}", peer.endpoint, peer.device)
        };
        Ok(place.side.primaries(partition).iter().map(url).collect())
    }
}

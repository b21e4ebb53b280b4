//! Where things are kept, for those who want to ask there themselves.

use super::Store;
use super::entity::Entity;

impl Store {
    /// The URLs of an entity on the devices that hold it, as the ring lists them.
    pub(crate) fn endpoints(&self, entity: &Entity) -> Vec<String> {
        let place = self.place(entity);
        let primaries = place.side.primaries(place.partition);
        let (partition, path) = (place.partition, &place.path);
        let url = |peer: &std::sync::Arc<super::peers::Peer>| {
            format!("http://{}/{}/{partition}{path}", peer.endpoint, peer.device)
        };
        primaries.iter().map(url).collect()
    }
}

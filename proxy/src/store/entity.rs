//! What a request is about, and where it lives.

use std::sync::Arc;
use types::{AccountName, ContainerName, HashPaths, ObjectName, Partition};
use wire::encode_segment;

use super::peers::{RingSide, SharedCandidates};

/// An account, a container of it, or an object in that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Whose.
    pub account: AccountName,
    /// Which container, unless the account itself is meant.
    pub container: Option<ContainerName>,
    /// Which object, unless the container itself is meant.
    pub object: Option<ObjectName>,
}

/// Which of the three an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A list of containers.
    Account,
    /// A list of objects.
    Container,
    /// Bytes.
    Object,
}

impl Entity {
    /// Which of the three it is.
    pub fn level(&self) -> Level {
        match (&self.container, &self.object) {
            (None, _) => Level::Account,
            (Some(_), None) => Level::Container,
            (Some(_), Some(_)) => Level::Object,
        }
    }

    /// Whether one of its names is reserved for the cluster.
    pub fn is_reserved(&self) -> bool {
        self.account.is_reserved()
            || self.container.as_ref().is_some_and(|name| name.is_reserved())
            || self.object.as_ref().is_some_and(|name| name.is_reserved())
    }

    /// The account it belongs to.
    pub fn to_account(&self) -> Entity {
        Entity { account: self.account.clone(), container: None, object: None }
    }

    /// The container it is or belongs to; the account's own entity when there is none.
    pub fn to_container(&self) -> Entity {
        Entity { object: None, ..self.clone() }
    }

    /// The object of a name in the same container.
    pub fn with_object(&self, object: ObjectName) -> Entity {
        Entity { object: Some(object), ..self.clone() }
    }

    /// The container of a name in the same account.
    pub fn with_container(&self, container: ContainerName) -> Entity {
        Entity { account: self.account.clone(), container: Some(container), object: None }
    }

    /// Whether it is in an account, or in a container of it. An account itself is within nothing.
    pub fn is_within(&self, scope: &Entity) -> bool {
        let container = scope.container.is_none() || scope.container == self.container;
        self.container.is_some() && self.account == scope.account && container
    }

    /// Its path as clients name it, percent-encoded.
    pub(crate) fn path(&self) -> String {
        let mut path = format!("/v1/{}", encode_segment(self.account.as_str()));
        let names = [
            self.container.as_ref().map(|name| name.as_str()),
            self.object.as_ref().map(|name| name.as_str()),
        ];
        for name in names.into_iter().flatten() {
            path.push('/');
            path.push_str(&encode_segment(name).replace("%2F", "/"));
        }
        path
    }

    pub(crate) fn place(&self, side: &Arc<RingSide>, paths: &HashPaths) -> Place {
        let account = self.account.as_str();
        let mut path = String::with_capacity(64);
        path.push('/');
        path.push_str(&encode_segment(account));
        let hash = match (&self.container, &self.object) {
            (None, _) => paths.account(account),
            (Some(container), None) => {
                path.push('/');
                path.push_str(&encode_segment(container.as_str()));
                paths.container(account, container.as_str())
            }
            (Some(container), Some(object)) => {
                path.push('/');
                path.push_str(&encode_segment(container.as_str()));
                path.push('/');
                path.push_str(&encode_segment(object.as_str()));
                paths.object(account, container.as_str(), object.as_str())
            }
        };
        Place {
            partition: side.partition(&hash),
            side: Arc::clone(side),
            level: self.level(),
            path: path.into(),
        }
    }
}

/// Where an entity lives: its partition in its ring, and its path on the nodes.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) side: Arc<RingSide>,
    pub(crate) partition: Partition,
    pub(crate) level: Level,
    /// Percent-encoded, as it follows `/<device>/<partition>`.
    pub(crate) path: Arc<str>,
}

impl Place {
    /// The nodes to ask, and how many of them are primaries.
    pub(crate) fn nodes(&self) -> (SharedCandidates, usize) {
        let candidates = self.side.candidates(self.partition);
        let count = candidates.primary_count();
        (SharedCandidates::new(candidates), count)
    }
}

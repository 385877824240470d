//! What an agent is known to have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_core::base::{ServiceId, VersionId};
use skep_core::wire::api;

/// What an agent is known to have of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Has {
    /// Of the set in place; `None`: a set that is not whole, or not known.
    pub digest: Option<[u8; 32]>,
    /// Versions that it can still serve.
    pub versions: BTreeSet<VersionId>,
}

/// What may run on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placed {
    /// In the order of the ids.
    pub services: Vec<api::PlacedService>,
    /// Nothing may, whatever its placement.
    pub drained: bool,
}

/// What an agent is known to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// By service; a service that is not in it left nothing behind.
    pub sets: BTreeMap<ServiceId, Has>,
    /// The list of placed services that it was sent; `None`: none in this session.
    pub placed: Option<Arc<Placed>>,
}

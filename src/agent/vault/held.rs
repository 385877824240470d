//! What is on this node of a service.

use std::collections::BTreeSet;

use skep_core::base::{ServiceId, VersionId};

/// What a node has of one service, as it is told to a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which service.
    pub service: ServiceId,
    /// Of the set in place; `None`: what is in place is not a whole set.
    pub digest: Option<[u8; 32]>,
    /// Versions whose values need not be sent again.
    pub versions: BTreeSet<VersionId>,
}

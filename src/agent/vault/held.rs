//! What is on this node: the one shape in which `mount` tells it, `session` knows it and a
//! leader hears of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use skep_core::base::{BootTime, Revision, ServiceId, VersionId};

/// What is on this node, by service. Of a service that isn't in it nothing is here.
pub type Shelf = BTreeMap<ServiceId, Held>;

/// One service's files on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Of the set in place; `None`: what is in place is not a whole set, or not known.
    pub digest: Option<[u8; 32]>,
    /// Versions whose values need not be sent again.
    pub versions: BTreeSet<VersionId>,
    /// The generation in place: grows with each set, also across restarts. 0: there is none.
    pub generation: u64,
    /// How many files are in place.
    pub files: u32,
    /// The service's directory on the host, its owner's and 0750, if files are in place.
    pub path: Option<PathBuf>,
    /// Whether it is to be written down when a leader last confirmed the set.
    pub fresh: bool,
    /// What to bind into a workload, if files are in place: read-only, its root open to all
    /// (the files' own modes decide). The owner can reach it, too.
    pub live: Option<PathBuf>,
}

/// A leader's word that sets are what is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// As of which revision.
    pub revision: Revision,
    /// Which start of the machine the time is of.
    pub boot_id: String,
    /// When it was asked for.
    pub asked: BootTime,
}

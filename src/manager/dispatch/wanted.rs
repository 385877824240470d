//! What is due on a node, and the list of what is placed there. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::known::{Known, Placed};
use skep_core::base::{NodeId, Revision, ServiceId, VersionId};
use skep_core::domain::{Availability, FileAssignment, ServiceSet, State, assignments, placed};
use skep_core::wire::convert::write_placed;

/// One service's set with what is derived from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The set.
    pub set: ServiceSet,
    /// Its digest.
    pub digest: [u8; 32],
    /// The versions that it uses.
    pub versions: BTreeSet<VersionId>,
    /// The node is paused, and something of the service's set is kept from it.
    pub held_back: bool,
}

impl Due {
    pub(super) fn new(set: ServiceSet) -> Self {
        let digest = set.digest();
        let versions = set.files.iter().map(|file| file.version.id).collect();
        Self { set, digest, versions, held_back: false }
    }

    /// Whether it brings any byte.
    pub(super) fn brings(&self) -> bool {
        !self.set.files.is_empty()
    }
}

/// Everything due on one node at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// When.
    pub revision: Revision,
    /// What is placed there.
    pub placed: Arc<Placed>,
    /// What must be in place.
    pub sets: BTreeMap<ServiceId, Arc<Due>>,
}

/// What is due on `node` while it says that `running` run. A paused node gets
/// nothing new: of what is due only that stays which it has by `known`.
pub(super) fn wanted(
    state: &State,
    node: NodeId,
    running: &BTreeSet<ServiceId>,
    known: &Known,
) -> Wanted {
    let paused = state.nodes.get(&node).map(|node| node.availability) == Some(Availability::Pause);
    let mut sets = BTreeMap::new();
    for set in assignments(state, node, running) {
        let service = set.service;
        let due = if paused { paused_set(state, set, known) } else { Some(Due::new(set)) };
        sets.extend(due.map(|due| (service, Arc::new(due))));
    }
    let services = placed(state, node).into_iter().filter_map(|id| write_placed(state, id));
    let drained = state.nodes.get(&node).map(|node| node.availability) == Some(Availability::Drain);
    let placed = Arc::new(Placed { services: services.collect(), drained });
    Wanted { revision: state.revision, placed, sets }
}

/// What stays of a set on a paused node: each file with the version that is
/// there, none of those that are not.
fn paused_set(state: &State, mut set: ServiceSet, known: &Known) -> Option<Due> {
    let has = known.sets.get(&set.service)?;
    if has.digest.is_none() && has.versions.is_empty() {
        // It failed there: what stays is not known, and taking it all would be wrong.
        return Some(Due::new(set));
    }
    let there = |file: &FileAssignment| -> Option<FileAssignment> {
        if has.versions.contains(&file.version.id) {
            return Some(file.clone());
        }
        let versions = &state.secrets.get(&file.secret)?.versions;
        let (number, version) =
            versions.iter().rev().find(|(_, version)| has.versions.contains(&version.id))?;
        Some(FileAssignment { number: *number, version: Arc::clone(version), ..file.clone() })
    };
    let files: Vec<_> = set.files.iter().filter_map(there).collect();
    let held_back = files != set.files;
    set.files = files;
    Some(Due { held_back, ..Due::new(set) })
}

//! Where all managers are: told to every agent when it connects, and when that changes.

use tokio::sync::watch;

use crate::manager::core::Core;
use skep_core::domain::State;

/// What the sessions were, or are to be, told.
#[derive(Debug)]
pub(super) struct Managers(watch::Sender<Vec<String>>);

impl Default for Managers {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl Managers {
    /// Looks into the state, and tells the sessions of a change.
    pub(super) fn look(&self, core: &Core) {
        let now = core.consensus.read(addresses);
        self.0.send_if_modified(|told| {
            let changed = *told != now;
            *told = now;
            changed
        });
    }

    /// For a session.
    pub(super) fn told(&self) -> watch::Receiver<Vec<String>> {
        self.0.subscribe()
    }
}

/// The addresses of all managers. Each of them has a box of the cluster key.
pub(in crate::manager) fn addresses(state: &State) -> Vec<String> {
    let managers = state.cluster.iter().flat_map(|cluster| cluster.cluster_key.boxes.keys());
    let nodes = managers.filter_map(|manager| state.nodes.get(manager));
    nodes.flat_map(|node| node.addresses.iter().cloned()).collect()
}

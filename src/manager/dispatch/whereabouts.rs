//! Where all managers are and which issuing CAs are in use: told to every agent when it
//! connects, and when that changes.

use tokio::sync::watch;

use crate::manager::core::Core;
use skep_client::transport::Told;
use skep_core::base::Stamp;
use skep_core::domain::State;

/// What the sessions were, or are to be, told.
#[derive(Debug)]
pub(super) struct Managers(watch::Sender<Told>);

impl Default for Managers {
    fn default() -> Self {
        Self(watch::Sender::new(Told::default()))
    }
}

impl Managers {
    /// Looks into the state, and tells the sessions of a change.
    pub(super) fn look(&self, core: &Core) {
        let now = core.consensus.read(told);
        self.0.send_if_modified(|told| {
            let changed = *told != now;
            *told = now;
            changed
        });
    }

    /// For a session.
    pub(super) fn told(&self) -> watch::Receiver<Told> {
        self.0.subscribe()
    }
}

/// What all are told.
pub(in crate::manager) fn told(state: &State) -> Told {
    let issuers = state.cluster.as_ref().map(|cluster| cluster.issuers);
    let (issuer, oldest_issuer) =
        issuers.map_or((Stamp(0), Stamp(0)), |issuers| (issuers.current, issuers.oldest));
    Told { addresses: addresses(state), issuer, oldest_issuer }
}

/// The addresses of all managers. Each of them has a box of the cluster key.
fn addresses(state: &State) -> Vec<String> {
    let managers = state.cluster.iter().flat_map(|cluster| cluster.cluster_key.boxes.keys());
    let nodes = managers.filter_map(|manager| state.nodes.get(manager));
    nodes.flat_map(|node| node.addresses.iter().cloned()).collect()
}

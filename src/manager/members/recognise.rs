//! Members told from strangers before a connection costs anything.

use std::sync::Arc;

use crate::manager::running::Running;
use skep_client::ca::CertificateRole;
use skep_client::transport::Recognition;
use skep_core::base::NodeId;
use skep_core::domain::{NodeRole, State};

/// Whoever the state doesn't list is a stranger, but where this manager knows no state yet.
/// A manager may have been admitted since, and is one that has to be heard; the state
/// remembers those who were removed.
fn may_be(state: &State, role: CertificateRole) -> bool {
    let Some(cluster) = &state.cluster else { return true };
    let is = |id: NodeId, role| state.nodes.get(&id).is_some_and(|node| node.role == role);
    match role {
        CertificateRole::Manager(id) => !cluster.removed_managers.contains_key(&id),
        CertificateRole::Worker(id) => is(id, NodeRole::Worker),
        CertificateRole::Operator(id) => state.operators.contains_key(&id),
    }
}

/// How this manager's listener tells members from strangers.
pub(in crate::manager) fn recognition(running: &Running) -> Recognition {
    let core = running.core.clone();
    let listed = move |role| core.consensus.read(|state| may_be(state, role));
    let (hello, clock) = (running.identity.hello.clone(), running.core.clock.clone());
    Recognition::new(hello, running.core.node, clock, Arc::new(listed))
}

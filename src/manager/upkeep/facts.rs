//! What follows from what is applied: new keys are opened and sessions of removed
//! nodes are cut. Join tokens that have ended stay until there is no room for others: one that a
//! wrong clock ended is good again once the cluster's time is set back.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use crate::manager::members::belonging;
use crate::manager::problem;
use crate::manager::running::Running;
use skep_core::base::NodeId;
use skep_core::domain::{Fact, NodeRole, State};

/// Follows what is applied. A fact is a hint: whatever is missed is found by
/// comparing with the state.
pub(in crate::manager) async fn follow(running: Arc<Running>) {
    let mut facts = running.core.consensus.facts();
    let mut leadership = running.core.consensus.leadership();
    let mut known = nodes(&running);
    loop {
        running.core.open_key();
        let look_at_all = tokio::select! {
            () = running.stop.cancelled() => return,
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
                true
            }
            heard = facts.recv() => match heard {
                Ok((_, facts)) => facts.iter().any(changes_nodes),
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            },
        };
        if look_at_all {
            let now = nodes(&running);
            for (gone, role) in known.iter().filter(|(id, _)| !now.contains_key(id)) {
                tracing::info!(event = "node_removed", node = %gone);
                // An agent is told why its session ends, and has nothing else open.
                running.dispatch.cut(*gone);
                if *role == NodeRole::Manager {
                    running.cuts.cut(*gone.as_bytes());
                    running.peers.lost(*gone);
                }
            }
            let own = &running.core.node;
            if known.contains_key(own) && !now.contains_key(own) {
                return belonging::ended(&running, problem::life::was_removed());
            }
            known = now;
        }
    }
}

fn changes_nodes(fact: &Fact) -> bool {
    matches!(fact, Fact::NodeRemoved(_) | Fact::NodeRevised(_))
}

fn nodes(running: &Running) -> BTreeMap<NodeId, NodeRole> {
    let roles = |state: &State| state.nodes.iter().map(|(id, node)| (*id, node.role)).collect();
    running.core.consensus.read(roles)
}

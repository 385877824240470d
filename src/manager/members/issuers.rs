//! Who has not renewed under the issuing CA in use.
//!
//! Whoever is down is passed over: it comes back with a certificate that is good for asking
//! for another one, and for nothing else.

use std::collections::BTreeSet;

use crate::manager::members::standing::reachable;
use crate::manager::problem;
use crate::manager::running::Running;
use skep_core::base::{NodeId, OperatorId, Stamp};
use skep_core::domain::{Member, NodeRole, State};

/// A member with a certificate of an older issuing CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::manager) struct Lagging {
    /// Which.
    pub member: Member,
    /// Its name.
    pub name: String,
    /// A node's role.
    pub role: Option<NodeRole>,
    /// The older issuing CA is not retired before it has renewed.
    pub waited_for: bool,
}

/// How far a replacement of the issuing CA is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::manager) struct Progress {
    /// Nodes in all.
    pub nodes: usize,
    /// Members that have not renewed, those that are waited for first.
    pub lagging: Vec<Lagging>,
}

impl Progress {
    /// As the leader sees it; another manager knows not who is down, and calls all in touch.
    pub(in crate::manager) fn of(running: &Running) -> Self {
        let away: BTreeSet<NodeId> = away(running);
        let down = |node: NodeId, role: NodeRole| match role {
            NodeRole::Worker => running.dispatch.is_down(node),
            NodeRole::Manager => away.contains(&node),
        };
        let mut of = running.core.consensus.read(old);
        for lagging in &mut of.lagging {
            lagging.waited_for = match (lagging.member, lagging.role) {
                (Member::Node(node), Some(role)) => !down(node, role),
                // It is used now and then: nobody can wait for that.
                _ => false,
            };
        }
        of.lagging.sort_by_key(|lagging| !lagging.waited_for);
        of
    }
    /// Nodes that are waited for.
    pub(in crate::manager) fn waited_for(&self) -> usize {
        self.lagging.iter().filter(|lagging| lagging.waited_for).count()
    }
    /// Nodes whose certificate is of the issuing CA in use.
    pub(in crate::manager) fn renewed(&self) -> usize {
        let nodes = self.lagging.iter().filter(|lagging| lagging.role.is_some()).count();
        self.nodes.saturating_sub(nodes)
    }
}

impl Lagging {
    /// Why it has not renewed.
    pub(in crate::manager) fn why(&self, running: &Running) -> String {
        match (self.member, self.role) {
            (Member::Operator(_), _) => problem::issuer::why::next_command(),
            _ if self.waited_for => problem::issuer::why::told(),
            (Member::Node(node), Some(NodeRole::Worker)) => {
                problem::delivery::away(running.dispatch.seen(node).last_seen)
            }
            (Member::Node(_), _) => problem::issuer::why::away(),
        }
    }
}

/// Managers that are out of touch, or not members of consensus.
fn away(running: &Running) -> BTreeSet<NodeId> {
    let members = running.core.members();
    let here = |id: &NodeId| {
        let member = members.iter().find(|member| member.node == *id);
        *id == running.core.node || member.is_some_and(reachable)
    };
    running.core.consensus.read(|state| {
        let managers = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Manager);
        managers.map(|(id, _)| *id).filter(|id| !here(id)).collect()
    })
}

/// Members with certificates of older issuing CAs.
fn old(state: &State) -> Progress {
    let Some(cluster) = state.cluster.as_deref() else { return Progress::default() };
    let is_old = |issuer: Stamp| issuer < cluster.issuers.current;
    let nodes = state.nodes.iter().filter(|(_, node)| is_old(node.renewal.issuer));
    let nodes = nodes.map(|(id, node)| (Member::Node(*id), node.name.to_string(), Some(node.role)));
    let operators = state.operators.iter().filter(|(_, of)| is_old(of.renewal.issuer));
    let operator = |id: &OperatorId, name: String| (Member::Operator(*id), name, None);
    let operators = operators.map(|(id, of)| operator(id, of.name.to_string()));
    let lagging = nodes.chain(operators).map(|(member, name, role)| Lagging {
        member,
        name,
        role,
        waited_for: false,
    });
    Progress { nodes: state.nodes.len(), lagging: lagging.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::domain::testing::worker;
    use std::sync::Arc;

    #[test]
    fn whoever_has_an_older_certificate_lags() {
        let mut state = State::default();
        let mut node = |n: u8, issuer: u64| {
            let mut node = worker(&format!("n{n}"));
            node.renewal.issuer = Stamp(issuer);
            state.nodes.insert(NodeId::from_bytes([n; 16]), Arc::new(node));
        };
        node(1, 5);
        node(2, 9);
        assert_eq!(old(&state), Progress::default(), "no cluster");
        let mut cluster = skep_core::domain::testing::genesis().cluster;
        cluster.issuers.current = Stamp(9);
        state.cluster = Some(Arc::new(cluster));
        let of = old(&state);
        assert_eq!((of.nodes, of.renewed(), of.waited_for()), (2, 1, 0));
        assert_eq!(of.lagging[0].name, "n1");
    }
}

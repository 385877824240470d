//! What the state says of the holder of a verified certificate.
//!
//! A chain that ends in the root is necessary and not enough: on every call the
//! id *and* the public key must be those that the state lists, so that a removed
//! identity is refused from that revision on (P8).

use crate::manager::admit::policy::Who;
use crate::manager::problem;
use skep_client::ca::{CertificateRole, Leaf};
use skep_client::transport::Problem;
use skep_core::base::{ClusterId, NodeId, OperatorId};
use skep_core::domain::{Actor, NodeRole, OperatorRole, State};

/// What the state says of the holder of a verified certificate.
///
/// # Errors
/// What the caller is told whom it does not list.
pub(super) fn listed(
    leaf: &Leaf,
    cluster: ClusterId,
    state: &State,
) -> Result<(Who, Option<Actor>), Problem> {
    let removed = problem::access::not_listed;
    if leaf.subject.cluster != cluster {
        return Err(removed());
    }
    let found =
        match leaf.subject.role {
            CertificateRole::Manager(id) => node(state, id, NodeRole::Manager, &leaf.key)
                .then_some((Who::Manager, Actor::Node(id))),
            CertificateRole::Worker(id) => node(state, id, NodeRole::Worker, &leaf.key)
                .then_some((Who::Worker, Actor::Node(id))),
            CertificateRole::Operator(id) => operator(state, id, &leaf.key)
                .map(|role| (Who::Operator(role), Actor::Operator(id))),
        };
    let (who, actor) = found.ok_or_else(removed)?;
    Ok((who, Some(actor)))
}

fn node(state: &State, id: NodeId, role: NodeRole, key: &[u8; 32]) -> bool {
    state.nodes.get(&id).is_some_and(|node| node.role == role && node.shows(key))
}

fn operator(state: &State, id: OperatorId, key: &[u8; 32]) -> Option<OperatorRole> {
    state.operators.get(&id).filter(|operator| operator.key == *key).map(|operator| operator.role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::admit::tests::{CLUSTER, NODE, OPERATOR, leaf, state};

    #[test]
    fn id_and_key_must_be_those_of_the_state() {
        let state = state();
        let worker = listed(&leaf(CertificateRole::Worker(NODE), [1; 32]), CLUSTER, &state);
        assert_eq!(worker.expect("listed").0, Who::Worker);
        let editor = listed(&leaf(CertificateRole::Operator(OPERATOR), [7; 32]), CLUSTER, &state);
        assert_eq!(editor.expect("listed").1, Some(Actor::Operator(OPERATOR)));

        let refused = [
            leaf(CertificateRole::Worker(NODE), [9; 32]),
            leaf(CertificateRole::Manager(NODE), [1; 32]),
            leaf(CertificateRole::Worker(NodeId::from_bytes([8; 16])), [1; 32]),
            leaf(CertificateRole::Operator(OPERATOR), [1; 32]),
        ];
        for leaf in refused {
            assert!(listed(&leaf, CLUSTER, &state).is_err(), "{leaf:?}");
        }
        let elsewhere = ClusterId::from_bytes([5; 16]);
        let leaf = leaf(CertificateRole::Worker(NODE), [1; 32]);
        assert!(listed(&leaf, elsewhere, &state).is_err());
        assert!(listed(&leaf, CLUSTER, &State::default()).is_err(), "removed");
    }
}

//! A manager that goes on alone after the majority was lost, and what operators see of it first.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::node::{rekeyed, remember};
use crate::base::{NodeId, Revision};
use crate::domain::command::{Fact, Outcome, Recover};
use crate::domain::draft::Draft;
use crate::domain::named::Thing;
use crate::domain::refusal::Refusal;
use crate::domain::state::{Cluster, Node, NodeRole, Operator, Recovered};

/// Drops every other manager, every join token, and what other operators may do; nothing is
/// delivered until [`resume`].
pub(in crate::domain) fn recover(
    draft: &mut Draft<'_>,
    recover: &Recover,
) -> Result<Outcome, Refusal> {
    let state = draft.state();
    let Some(found) = state.cluster.as_deref() else { return Err(Refusal::NotInitialised) };
    let survives = |id| state.nodes.get(id).is_some_and(|node| node.role == NodeRole::Manager);
    if !survives(&recover.survivor) {
        return Err(Refusal::not_found(Thing::Node, recover.survivor));
    }
    if recover.epoch.counter != found.epoch.counter.saturating_add(1) {
        return Err(Refusal::Invalid("the next history has the next number".to_owned()));
    }
    let others: BTreeSet<NodeId> = state
        .nodes
        .iter()
        .filter(|(id, node)| **id != recover.survivor && node.role == NodeRole::Manager)
        .map(|(id, _)| *id)
        .collect();
    let mut cluster = Cluster::clone(found);
    match &recover.rekey {
        Some(rekey) => {
            cluster.cluster_key = rekeyed(state, &cluster, &others, rekey)?;
            cluster.issuing_key = rekey.issuing_key.clone();
        }
        None if others.is_empty() => {}
        None => {
            return Err(Refusal::Invalid("managers go with their cluster key".to_owned()));
        }
    }
    let named = others.iter().filter_map(|id| state.nodes.get(id)).map(|node| node.name.clone());
    let managers = named.collect();
    let tokens: Vec<_> = state.tokens.keys().copied().collect();
    let suspended: Vec<_> = state
        .operators
        .iter()
        .filter(|(id, of)| Some(**id) != recover.operator && !of.suspended)
        .map(|(id, of)| (*id, Operator { suspended: true, ..Operator::clone(of) }))
        .collect();
    for id in &others {
        remember(&mut cluster.removed_managers, *id, draft.now());
        cluster.anchors.remove(id);
    }
    cluster.epoch = recover.epoch;
    let before = Revision(draft.revision().0.saturating_sub(1));
    cluster.recovered = Some(Arc::new(Recovered {
        at: draft.now(),
        revision: before,
        managers,
        tokens: tokens.clone(),
    }));
    draft.put_cluster(cluster);
    for id in others {
        for pair in draft.pairs_of_node(id) {
            draft.put_exposure(pair, None);
        }
        draft.put_node(id, None);
    }
    let learner = draft.state().nodes.get(&recover.survivor).filter(|node| node.learner);
    if let Some(votes) = learner.map(|node| Node { learner: false, ..Node::clone(node) }) {
        draft.put_node(recover.survivor, Some(votes));
    }
    for id in tokens {
        draft.put_token(id, None);
    }
    for (id, operator) in suspended {
        draft.put_operator(id, Some(operator));
    }
    draft.fact(Fact::ClusterRevised);
    Ok(Outcome::Done)
}

/// All goes on.
pub(in crate::domain) fn resume(draft: &mut Draft<'_>) -> Result<Outcome, Refusal> {
    let state = draft.state();
    let Some(found) = state.cluster.as_deref() else { return Err(Refusal::NotInitialised) };
    if found.recovered.is_none() {
        return Ok(Outcome::Done);
    }
    let cluster = Cluster { recovered: None, ..found.clone() };
    let suspended: Vec<_> = state
        .operators
        .iter()
        .filter(|(_, of)| of.suspended)
        .map(|(id, of)| (*id, Operator { suspended: false, ..Operator::clone(of) }))
        .collect();
    draft.put_cluster(cluster);
    for (id, operator) in suspended {
        draft.put_operator(id, Some(operator));
    }
    draft.fact(Fact::ClusterRevised);
    Ok(Outcome::Done)
}

//! The cluster's time, set back after a wrong clock has carried it ahead.
//!
//! One rule holds for everything that has a beginning: what was made in the false
//! time was made now, and what ends keeps its length. What was made before stays as
//! it is, so that a token that only the false time had ended is good again.

use std::sync::Arc;

use crate::base::Stamp;
use crate::domain::command::Fact;
use crate::domain::keep;
use crate::domain::state::{Cluster, Node, Operator, Recovered, Secret, Service, State, Token};

/// Sets the state's time back to `now`, which must be before it: every remembered answer
/// goes, since its deadline lies in the false time.
pub(in crate::domain) fn reset(state: &mut State, now: Stamp) -> Vec<Fact> {
    state.stamp = now;
    let answered: Vec<_> = state.answers.keys().copied().collect();
    for request in answered {
        keep::answer(state, request, None);
    }
    cluster(state, now);
    let mut facts = members(state, now);
    values(state, now);
    facts.dedup();
    facts
}

fn cluster(state: &mut State, now: Stamp) {
    let Some(found) = state.cluster.as_deref() else { return };
    let recovered = found.recovered.as_deref().filter(|recovered| recovered.at > now);
    let late = found.created > now
        || found.issuers.rotating.is_some_and(|since| since > now)
        || recovered.is_some()
        || found.removed_managers.values().any(|at| *at > now);
    if late {
        let mut cluster = Cluster::clone(found);
        cluster.created = cluster.created.min(now);
        for at in cluster.removed_managers.values_mut() {
            *at = now.min(*at);
        }
        cluster.issuers.rotating = cluster.issuers.rotating.map(|since| since.min(now));
        if let Some(recovered) = recovered {
            cluster.recovered = Some(Arc::new(Recovered { at: now, ..recovered.clone() }));
        }
        keep::cluster(state, Some(Arc::new(cluster)));
    }
}

/// Nodes, operators and tokens: they have ends.
fn members(state: &mut State, now: Stamp) -> Vec<Fact> {
    let mut facts = Vec::new();
    let late = state.nodes.iter().filter(|(_, node)| node.joined > now);
    for (id, found) in late.map(|(id, node)| (*id, Arc::clone(node))).collect::<Vec<_>>() {
        let certificate_ends = moved(found.certificate_ends, found.joined, now);
        let node = Node { joined: now, certificate_ends, ..Node::clone(&found) };
        keep::node(state, id, Some(Arc::new(node)));
        facts.push(Fact::NodeRevised(id));
    }
    let late = state.operators.iter().filter(|(_, operator)| operator.created > now);
    for (id, found) in late.map(|(id, of)| (*id, Arc::clone(of))).collect::<Vec<_>>() {
        let certificate_ends = moved(found.certificate_ends, found.created, now);
        let ends = found.ends.map(|ends| moved(ends, found.created, now));
        let operator = Operator { created: now, certificate_ends, ends, ..Operator::clone(&found) };
        keep::operator(state, id, Some(Arc::new(operator)));
        facts.push(Fact::OperatorsRevised);
    }
    let late = state.tokens.iter().filter(|(_, token)| token.created > now);
    for (id, found) in late.map(|(id, token)| (*id, Arc::clone(token))).collect::<Vec<_>>() {
        let ends = moved(found.ends, found.created, now);
        let token = Token { created: now, ends, ..Token::clone(&found) };
        keep::token(state, id, Some(Arc::new(token)));
        facts.push(Fact::TokensRevised);
    }
    facts
}

/// Secrets and services: they have none.
fn values(state: &mut State, now: Stamp) {
    let late = |secret: &Secret| {
        secret.created.max(secret.updated) > now
            || secret.versions.values().any(|version| version.created > now)
    };
    let secrets = state.secrets.iter().filter(|(_, secret)| late(secret));
    for (id, found) in secrets.map(|(id, of)| (*id, Arc::clone(of))).collect::<Vec<_>>() {
        let mut secret = Secret::clone(&found);
        secret.created = secret.created.min(now);
        secret.updated = secret.updated.min(now);
        for version in secret.versions.values_mut().filter(|version| version.created > now) {
            Arc::make_mut(version).created = now;
        }
        keep::secret(state, id, Some(Arc::new(secret)));
    }
    let late = |service: &Service| service.created.max(service.updated) > now;
    let services = state.services.iter().filter(|(_, service)| late(service));
    for (id, found) in services.map(|(id, of)| (*id, Arc::clone(of))).collect::<Vec<_>>() {
        let (created, updated) = (found.created.min(now), found.updated.min(now));
        let service = Service { created, updated, ..Service::clone(&found) };
        // Its placement is the same: nothing is lost by it.
        drop(keep::service(state, id, Some(Arc::new(service))));
    }
}

/// The end of what began at `began` and now begins at `now`: as long as it was to last.
fn moved(end: Stamp, began: Stamp, now: Stamp) -> Stamp {
    now.plus_ms(end.0.saturating_sub(began.0))
}

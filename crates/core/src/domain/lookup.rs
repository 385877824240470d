//! From what was typed to the one thing it means, and from facts to nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::assignment::{is_due, nodes_of};
use super::command::Fact;
use super::named::Thing;
use super::scope::Scope;
use super::state::{NameIndex, Nodes, Secret, Service, State};
use crate::base::{Name, NodeId, OperatorId, SecretId, ServiceId, TokenId};

/// Nothing, or more than one thing, answers to what was typed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOne {
    /// Nothing does.
    #[error("{thing} {what} not found")]
    NotFound {
        /// What was looked for.
        thing: Thing,
        /// What was typed.
        what: String,
    },
    /// Several ids begin so.
    #[error("{thing} {what} is ambiguous ({matches} matches found)")]
    Ambiguous {
        /// What was looked for.
        thing: Thing,
        /// What was typed.
        what: String,
        /// How many begin so.
        matches: usize,
    },
}

/// The secret within this scope with this full id, this name (ignoring case), or the only
/// one whose id begins so; in that order. What lies outside is not there.
///
/// # Errors
/// [`NotOne`].
pub fn secret_by(state: &State, scope: &Scope, what: &str) -> Result<SecretId, NotOne> {
    let holds = |secret: &Arc<Secret>| scope.holds(&secret.name);
    by(Thing::Secret, (&state.secrets, holds), Some(&state.indexes.secrets), what)
}

/// The service meant; as [`secret_by`].
///
/// # Errors
/// [`NotOne`].
pub fn service_by(state: &State, scope: &Scope, what: &str) -> Result<ServiceId, NotOne> {
    let holds = |service: &Arc<Service>| scope.holds(&service.name);
    by(Thing::Service, (&state.services, holds), Some(&state.indexes.services), what)
}

/// The node meant; as [`secret_by`].
///
/// # Errors
/// [`NotOne`].
pub fn node_by(state: &State, what: &str) -> Result<NodeId, NotOne> {
    by(Thing::Node, (&state.nodes, |_: &_| true), Some(&state.indexes.nodes), what)
}

/// The operator meant; as [`secret_by`].
///
/// # Errors
/// [`NotOne`].
pub fn operator_by(state: &State, what: &str) -> Result<OperatorId, NotOne> {
    by(Thing::Operator, (&state.operators, |_: &_| true), Some(&state.indexes.operators), what)
}

/// The join token meant: a full id or the beginning of only one.
///
/// # Errors
/// [`NotOne`].
pub fn token_by(state: &State, what: &str) -> Result<TokenId, NotOne> {
    by(Thing::Token, (&state.tokens, |_: &_| true), None, what)
}

fn by<Id, T>(
    thing: Thing,
    (things, holds): (&BTreeMap<Id, T>, impl Fn(&T) -> bool),
    names: Option<&NameIndex<Id>>,
    what: &str,
) -> Result<Id, NotOne>
where
    Id: Copy + Ord + FromStr + fmt::Display,
{
    if let Ok(id) = what.parse::<Id>()
        && things.get(&id).is_some_and(&holds)
    {
        return Ok(id);
    }
    let name = what.parse::<Name>().ok();
    if let Some(id) = name.and_then(|name| names?.get(&name.key()))
        && things.get(id).is_some_and(&holds)
    {
        return Ok(*id);
    }
    // Written ids sort as the ids do, so those that begin so stand together; the
    // first possible one is the beginning filled up with the digit 0, an `a`.
    let first = format!("{what:a<26}").parse::<Id>();
    let mut matches = 0;
    let mut found = None;
    if let Ok(first) = first
        && !what.is_empty()
    {
        let begin = |id: &Id| id.to_string().starts_with(what);
        let those = things.range(first..).take_while(|(id, _)| begin(id));
        for (id, _) in those.filter(|(_, thing)| holds(thing)) {
            matches += 1;
            found = Some(*id);
        }
    }
    match (found, matches) {
        (Some(id), 1) => Ok(id),
        (None, _) => Err(NotOne::NotFound { thing, what: what.to_owned() }),
        _ => Err(NotOne::Ambiguous { thing, what: what.to_owned(), matches }),
    }
}

/// The nodes for which something may have changed: where to look after a fact.
#[must_use]
pub fn nodes_touched(state: &State, fact: &Fact) -> Nodes {
    match fact {
        Fact::Founded | Fact::ClusterRevised | Fact::TokensRevised | Fact::OperatorsRevised => {
            Nodes::new()
        }
        Fact::SecretRevised(secret) => {
            let services = state.indexes.granted.get(secret).into_iter().flatten();
            services.flat_map(|(service, _)| reached(state, *service)).collect()
        }
        Fact::ServiceRevised(service) | Fact::GrantRevoked(service, _) => reached(state, *service),
        Fact::NodeRevised(node) | Fact::NodeRemoved(node) | Fact::PairRevised(node, _) => {
            Nodes::from([*node])
        }
    }
}

/// Where a service may run, and where its bytes still are.
fn reached(state: &State, service: ServiceId) -> Nodes {
    let mut nodes = nodes_of(state, service);
    nodes.extend(state.indexes.exposed_of.get(&service).into_iter().flatten());
    nodes
}

/// Which pairs may hold a secret, and whether it was taken from them: then the node has not
/// confirmed that. Those are the exposed pairs of the services that are granted it, and of those
/// that were, until they confirm.
#[must_use]
pub fn holders(state: &State, secret: SecretId) -> BTreeMap<(NodeId, ServiceId), bool> {
    let exposed = |service: ServiceId| {
        let nodes = state.indexes.exposed_of.get(&service).into_iter().flatten();
        nodes
            .filter_map(move |node| Some(((*node, service), state.exposed.get(&(*node, service))?)))
    };
    let granted = state.indexes.granted.get(&secret).into_iter().flatten();
    let granted = granted.flat_map(|(service, _)| exposed(*service));
    let mut holders: BTreeMap<_, _> =
        granted.map(|(pair, _)| (pair, !is_due(state, pair.0, pair.1))).collect();
    let first = (secret, ServiceId::from_bytes([0; 16]));
    let taken_from = state.indexes.taken_from.range(first..);
    for (_, service) in taken_from.take_while(|(of, _)| *of == secret) {
        holders.extend(pending(state, *service, secret).map(|node| ((node, *service), true)));
    }
    holders
}

/// Whether a secret was taken from a service and a node has not confirmed that.
#[must_use]
pub fn is_pending(state: &State, service: ServiceId, secret: SecretId) -> bool {
    pending(state, service, secret).next().is_some()
}

fn pending(state: &State, service: ServiceId, secret: SecretId) -> impl Iterator<Item = NodeId> {
    let taken = state.taken.get(&(service, secret)).copied();
    let nodes = state.indexes.exposed_of.get(&service).filter(|_| taken.is_some());
    nodes.into_iter().flatten().copied().filter(move |node| {
        let exposure = state.exposed.get(&(*node, service));
        exposure.zip(taken).is_some_and(|(exposure, taken)| exposure.clear < taken)
    })
}

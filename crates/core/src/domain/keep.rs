//! The few places that write the maps of the state: each keeps indexes and the
//! byte total right, and gives back what stood there before, so that writing
//! that again undoes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::opened::{Lapsed, Opened, Reporter, Span};
use super::places::{Moved, There};
use super::spec::Grant;
use super::state::{Answer, Cluster, Exposure, Node, Operator, Secret, Service, State, Token};
use super::weight;
use crate::base::{
    NodeId, OperatorId, RequestId, Revision, SecretId, ServiceId, Stamp, Target, TokenId,
};

pub(super) fn cluster(state: &mut State, new: Option<Arc<Cluster>>) -> Option<Arc<Cluster>> {
    let old = std::mem::replace(&mut state.cluster, new);
    let new = state.cluster.as_deref().map_or(0, weight::cluster);
    count(&mut state.bytes, old.as_deref().map_or(0, weight::cluster), new);
    old
}

pub(super) fn operator(
    state: &mut State,
    id: OperatorId,
    new: Option<Arc<Operator>>,
) -> Option<Arc<Operator>> {
    let weight = new.as_deref().map_or(0, weight::operator);
    let name = new.as_ref().map(|new| new.name.key());
    let old = match new {
        Some(new) => state.operators.insert(id, new),
        None => state.operators.remove(&id),
    };
    if let Some(old) = &old {
        state.indexes.operators.remove(&old.name.key());
    }
    if let Some(name) = name {
        state.indexes.operators.insert(name, id);
    }
    count(&mut state.bytes, old.as_deref().map_or(0, weight::operator), weight);
    old
}

pub(super) fn token(state: &mut State, id: TokenId, new: Option<Arc<Token>>) -> Option<Arc<Token>> {
    let weight = new.as_deref().map_or(0, weight::token);
    let old = match new {
        Some(new) => state.tokens.insert(id, new),
        None => state.tokens.remove(&id),
    };
    state.indexes.token(id, old.as_deref(), state.tokens.get(&id).map(|token| &**token));
    count(&mut state.bytes, old.as_deref().map_or(0, weight::token), weight);
    old
}

pub(super) fn secret(
    state: &mut State,
    id: SecretId,
    new: Option<Arc<Secret>>,
) -> Option<Arc<Secret>> {
    let old = state.secrets.get(&id).cloned();
    state.indexes.secret(id, old.as_deref(), new.as_deref());
    state.indexes.resize(id, old.as_deref(), new.as_deref());
    let weights = [&old, &new].map(|of| of.as_deref().map_or(0, weight::secret));
    count(&mut state.bytes, weights[0], weights[1]);
    match new {
        Some(new) => state.secrets.insert(id, new),
        None => state.secrets.remove(&id),
    };
    old
}

/// Also gives where it may run no more, and how much was looked at to find out.
pub(super) fn service(
    state: &mut State,
    id: ServiceId,
    new: Option<Arc<Service>>,
) -> (Option<Arc<Service>>, Moved) {
    let old = state.services.get(&id).cloned();
    let bytes = new.as_deref().map_or(0, |new| bytes_of(&state.secrets, new));
    state.indexes.service(id, old.as_deref(), new.as_deref(), bytes);
    let weights = [&old, &new].map(|of| of.as_deref().map_or(0, weight::service));
    count(&mut state.bytes, weights[0], weights[1]);
    let placements = [&old, &new].map(|of| of.as_deref().map(|of| &of.spec.placement));
    let moved = if placements[0] == placements[1] {
        Moved::default()
    } else {
        let indexes = &mut state.indexes;
        let there = There { nodes: &state.nodes, names: &indexes.nodes };
        indexes.places.service(&there, id, placements[0], placements[1])
    };
    match new {
        Some(new) => state.services.insert(id, new),
        None => state.services.remove(&id),
    };
    (old, moved)
}

/// Costs what one grant costs, however many the service has.
pub(super) fn grant(
    state: &mut State,
    id: ServiceId,
    target: &Target,
    new: Option<Grant>,
) -> Option<Grant> {
    let service = Arc::make_mut(state.services.get_mut(&id)?);
    let old = match new {
        Some(new) => service.grants.insert(target.clone(), new),
        None => service.grants.remove(target),
    };
    let stand = [old.as_ref(), service.grants.get(target)];
    state.indexes.grant(id, service, stand[0], stand[1]);
    let sizes = stand.map(|of| of.and_then(|of| size_of(&state.secrets, of)).unwrap_or_default());
    state.indexes.bring(id, sizes[0], sizes[1]);
    let weights = stand.map(|of| of.map_or(0, |_| weight::grant(target)));
    count(&mut state.bytes, weights[0], weights[1]);
    old
}

/// When a service changed last. What stood there; `None`: there is no such service.
pub(super) fn revised(
    state: &mut State,
    id: ServiceId,
    (updated, revision): (Stamp, Revision),
) -> Option<(Stamp, Revision)> {
    let service = Arc::make_mut(state.services.get_mut(&id)?);
    let updated = std::mem::replace(&mut service.updated, updated);
    Some((updated, std::mem::replace(&mut service.revision, revision)))
}

/// Also gives how many services were looked at to find out which may run there.
pub(super) fn node(
    state: &mut State,
    id: NodeId,
    new: Option<Arc<Node>>,
) -> (Option<Arc<Node>>, usize) {
    let old = state.nodes.get(&id).cloned();
    state.indexes.node(id, old.as_deref(), new.as_deref());
    let weights = [&old, &new].map(|of| of.as_deref().map_or(0, weight::node));
    count(&mut state.bytes, weights[0], weights[1]);
    let read = [&old, &new].map(|of| of.as_deref().map(|of| (&of.name, of.role, &of.labels)));
    let looked = if read[0] == read[1] {
        0
    } else {
        state.indexes.places.node(&state.services, id, old.as_deref(), new.as_deref())
    };
    match new {
        Some(new) => state.nodes.insert(id, new),
        None => state.nodes.remove(&id),
    };
    (old, looked)
}

/// Bytes of values that a service brings to a node, a file counted once for each target.
pub(super) fn bytes_of(secrets: &BTreeMap<SecretId, Arc<Secret>>, service: &Service) -> u64 {
    service.grants.values().filter_map(|grant| size_of(secrets, grant)).sum()
}

fn size_of(secrets: &BTreeMap<SecretId, Arc<Secret>>, grant: &Grant) -> Option<u64> {
    let secret = secrets.get(&grant.secret)?;
    let version = secret.versions.get(&grant.pin.unwrap_or(secret.current))?;
    Some(u64::from(version.size))
}

pub(super) fn exposure(
    state: &mut State,
    pair: (NodeId, ServiceId),
    new: Option<Exposure>,
) -> Option<Exposure> {
    let old = match new {
        Some(new) => state.exposed.insert(pair, new),
        None => state.exposed.remove(&pair),
    };
    state.indexes.exposure(pair, old, new);
    let weights = [old, new].map(|of| of.map_or(0, |_| weight::PAIR));
    count(&mut state.bytes, weights[0], weights[1]);
    old
}

pub(super) fn taken(
    state: &mut State,
    key: (ServiceId, SecretId),
    new: Option<Revision>,
) -> Option<Revision> {
    let old = match new {
        Some(new) => state.taken.insert(key, new),
        None => state.taken.remove(&key),
    };
    state.indexes.taken(key, new.is_some());
    let weights = [old, new].map(|of| of.map_or(0, |_| weight::PAIR));
    count(&mut state.bytes, weights[0], weights[1]);
    old
}

pub(super) fn opened(
    state: &mut State,
    key: (NodeId, Revision),
    new: Option<Arc<[Opened]>>,
) -> Option<Arc<[Opened]>> {
    let weight = new.as_deref().map_or(0, weight::opened);
    let count_of_new = new.as_deref().map_or(0, <[Opened]>::len);
    let old = match new {
        Some(new) => state.opened.insert(key, new),
        None => state.opened.remove(&key),
    };
    state.indexes.opened(key.0, old.as_deref().map_or(0, <[Opened]>::len), count_of_new);
    count(&mut state.bytes, old.as_deref().map_or(0, weight::opened), weight);
    old
}

pub(super) fn reporter(state: &mut State, id: NodeId, new: Option<Reporter>) -> Option<Reporter> {
    let old = match new {
        Some(new) => state.reporters.insert(id, new),
        None => state.reporters.remove(&id),
    };
    let weights = [old, new].map(|of| of.map_or(0, |_| weight::PAIR));
    count(&mut state.bytes, weights[0], weights[1]);
    old
}

pub(super) fn lapse(state: &mut State, of: Lapsed, new: Option<Span>) -> Option<Span> {
    let old = match new {
        Some(new) => state.lapsed.insert(of, new),
        None => state.lapsed.remove(&of),
    };
    if let Some(old) = old {
        state.indexes.lapses.remove(&(old.ended, of));
    }
    if let Some(new) = new {
        state.indexes.lapses.insert((new.ended, of));
    }
    let weights = [old, new].map(|of| of.map_or(0, |_| weight::PAIR));
    count(&mut state.bytes, weights[0], weights[1]);
    old
}

pub(super) fn answer(state: &mut State, id: RequestId, new: Option<Answer>) -> Option<Answer> {
    let old = state.answers.remove(&id);
    state.indexes.answer(id, old.as_ref(), new.as_ref());
    let weights = [&old, &new].map(|of| of.as_ref().map_or(0, weight::answer));
    count(&mut state.bytes, weights[0], weights[1]);
    if let Some(new) = new {
        state.answers.insert(id, new);
    }
    old
}

fn count(bytes: &mut u64, old: u64, new: u64) {
    *bytes = bytes.saturating_add(new).saturating_sub(old);
}

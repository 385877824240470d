//! What people are shown of the state.

use std::ops::Bound;

use std::collections::{BTreeMap, BTreeSet};

use super::count;
use super::parts::{write_availability, write_grant, write_labels, write_role, write_spec};
use crate::base::{NodeId, SecretId, ServiceId, TokenId};
use crate::domain::{Availability, Exposure, Scope, State, WrittenBy, nodes_of, placed};
use crate::wire::api;

/// A secret, never its values; `None` for one that does not exist, or not within this scope.
#[must_use]
pub fn secret_view(state: &State, scope: &Scope, id: SecretId) -> Option<api::SecretView> {
    let secret = state.secrets.get(&id).filter(|secret| scope.holds(&secret.name))?;
    let (mut services, mut writers) = (BTreeSet::new(), BTreeSet::new());
    let mut pinned: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let mut pinned_outside: BTreeMap<u32, BTreeSet<ServiceId>> = BTreeMap::new();
    let mut outside = BTreeSet::new();
    for (granted, _) in state.indexes.granted.get(&id).into_iter().flatten() {
        let Some(service) = state.services.get(granted) else { continue };
        let grants = service.grants.values().filter(|grant| grant.secret == id);
        if !scope.holds(&service.name) {
            outside.insert(*granted);
            for pin in grants.filter_map(|grant| grant.pin) {
                pinned_outside.entry(pin).or_default().insert(*granted);
            }
            continue;
        }
        services.insert(service.name.to_string());
        for grant in grants {
            if let Some(pin) = grant.pin {
                pinned.entry(pin).or_default().insert(service.name.to_string());
            }
            if grant.write {
                writers.insert(service.name.to_string());
            }
        }
    }
    let versions = secret.versions.iter().map(|(number, version)| api::VersionView {
        number: *number,
        id: version.id.as_bytes().to_vec(),
        size: version.size,
        created: version.created.0,
        public: version.public.as_ref().map(ToString::to_string),
        repeats: version.repeats,
        pinned_by: pinned.remove(number).unwrap_or_default().into_iter().collect(),
        pinned_outside: pinned_outside.get(number).map_or(0, |of| count(of.len())),
        writer: version.written_by.map(|by| writer(state, scope, by)),
    });
    Some(api::SecretView {
        id: id.as_bytes().to_vec(),
        name: secret.name.to_string(),
        labels: write_labels(&secret.labels),
        created: secret.created.0,
        updated: secret.updated.0,
        revision: secret.revision.0,
        current: secret.current,
        versions: versions.collect(),
        services: services.into_iter().collect(),
        writers: writers.into_iter().collect(),
        forward_only: secret.forward_only,
        services_outside: count(outside.len()),
    })
}

fn writer(state: &State, scope: &Scope, by: WrittenBy) -> api::Writer {
    if !is_within(state, scope, by.service) {
        return api::Writer { outside: true, ..api::Writer::default() };
    }
    api::Writer {
        node: by.node.as_bytes().to_vec(),
        node_name: node_name(state, by.node),
        service: by.service.as_bytes().to_vec(),
        service_name: service_name(state, by.service),
        outside: false,
    }
}

/// Whether a service lies within a scope. Of one that is gone nobody knows by now.
#[must_use]
pub fn is_within(state: &State, scope: &Scope, id: ServiceId) -> bool {
    !scope.is_bounded() || state.services.get(&id).is_some_and(|of| scope.holds(&of.name))
}

/// A service; `running_on` is empty, for the leader alone knows it. `None` for
/// one that does not exist, or not within this scope.
#[must_use]
pub fn service_view(state: &State, scope: &Scope, id: ServiceId) -> Option<api::ServiceView> {
    let service = state.services.get(&id).filter(|service| scope.holds(&service.name))?;
    let grants = service.grants.values().filter_map(|grant| {
        let secret = state.secrets.get(&grant.secret);
        let is_within = secret.map_or(!scope.is_bounded(), |secret| scope.holds(&secret.name));
        is_within.then(|| api::GrantView {
            grant: Some(write_grant(grant)),
            secret_name: secret.map_or_else(String::new, |secret| secret.name.to_string()),
        })
    });
    let grants: Vec<_> = grants.collect();
    let nodes = nodes_of(state, id);
    let mut names: Vec<_> = nodes.iter().map(|node| node_name(state, *node)).collect();
    names.sort();
    Some(api::ServiceView {
        id: id.as_bytes().to_vec(),
        name: service.name.to_string(),
        spec: Some(write_spec(&service.spec)),
        grants_outside: count(service.grants.len().saturating_sub(grants.len())),
        grants,
        created: service.created.0,
        updated: service.updated.0,
        revision: service.revision.0,
        placed: count(names.len()),
        placed_on: names,
        running_on: Vec::new(),
    })
}

/// A node as the state knows it: its state is ready, paused or drained, and
/// what only a session tells is empty. `None` for one that does not exist.
#[must_use]
pub fn node_view(state: &State, id: NodeId) -> Option<api::NodeView> {
    let node = state.nodes.get(&id)?;
    let standing = match node.availability {
        Availability::Active => api::NodeState::Ready,
        Availability::Pause => api::NodeState::Paused,
        Availability::Drain => api::NodeState::Drained,
    };
    let mut services: Vec<_> =
        placed(state, id).into_iter().map(|service| service_name(state, service)).collect();
    services.sort();
    let pairs = state.exposed.range((id, ServiceId::from_bytes([0; 16]))..);
    let pairs = pairs.take_while(|((node, _), _)| *node == id);
    Some(api::NodeView {
        id: id.as_bytes().to_vec(),
        name: node.name.to_string(),
        role: write_role(node.role).into(),
        state: standing.into(),
        address: node.addresses.first().cloned().unwrap_or_default(),
        labels: write_labels(&node.labels),
        availability: write_availability(node.availability).into(),
        joined: node.joined.0,
        certificate_ends: node.certificate_ends.0,
        placed: services,
        pending: pairs
            .filter_map(|(pair, exposure)| pending_pair(state, *pair, *exposure))
            .collect(),
        refused_reads: state.reporters.get(&id).map_or(0, |reporter| reporter.refused),
        ..api::NodeView::default()
    })
}

/// A join token, never its secret part; `None` for one that does not exist.
#[must_use]
pub fn token_view(state: &State, id: TokenId) -> Option<api::TokenView> {
    let token = state.tokens.get(&id)?;
    Some(api::TokenView {
        id: id.as_bytes().to_vec(),
        role: write_role(token.role).into(),
        created: token.created.0,
        ends: token.ends.0,
        uses_left: token.uses_left,
        name_pattern: token.name_pattern.clone().unwrap_or_default(),
        labels: write_labels(&token.labels),
    })
}

/// Every pair from which something was taken and whose node has not confirmed
/// it; `why` is empty, for the leader alone knows it.
#[must_use]
pub fn pending(state: &State, most: usize) -> Vec<api::PendingPair> {
    let behind = state.indexes.behind.iter();
    let pair = |pair: &(NodeId, ServiceId)| pending_pair(state, *pair, *state.exposed.get(pair)?);
    behind.filter_map(pair).take(most).collect()
}

fn pending_pair(
    state: &State,
    (node, service): (NodeId, ServiceId),
    exposure: Exposure,
) -> Option<api::PendingPair> {
    Some(api::PendingPair {
        node: node.as_bytes().to_vec(),
        node_name: node_name(state, node),
        service: service.as_bytes().to_vec(),
        service_name: service_name(state, service),
        behind: exposure.behind?.0,
        why: String::new(),
    })
}

/// Who may hold a secret, as far as it is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holders {
    /// By node and service; files, versions and `why` are empty, for the leader alone knows them.
    pub page: Vec<api::HolderView>,
    /// Whether there are more.
    pub more: bool,
    /// Pairs whose services lie outside of the scope.
    pub outside: u64,
}

/// Who may hold a secret: of the services within this scope at most `limit` pairs behind `after`.
#[must_use]
pub fn holders(
    state: &State,
    scope: &Scope,
    secret: SecretId,
    after: Option<(NodeId, ServiceId)>,
    limit: usize,
) -> Holders {
    let view = |((node, service), taken): ((NodeId, ServiceId), bool)| api::HolderView {
        node: node.as_bytes().to_vec(),
        node_name: node_name(state, node),
        service: service.as_bytes().to_vec(),
        service_name: service_name(state, service),
        state: if taken { api::HolderState::Pending } else { api::HolderState::Held }.into(),
        may_write: may_write(state, service, secret),
        ..api::HolderView::default()
    };
    let mut all = crate::domain::holders(state, secret);
    let before = all.len();
    all.retain(|(_, service), _| is_within(state, scope, *service));
    let outside = u64::from(count(before.saturating_sub(all.len())));
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = all.range((from, Bound::Unbounded)).map(|(pair, taken)| (*pair, *taken));
    let page = rest.by_ref().take(limit).map(view).collect();
    Holders { page, more: rest.next().is_some(), outside }
}

fn may_write(state: &State, service: ServiceId, secret: SecretId) -> bool {
    let service = state.services.get(&service);
    let mut grants = service.into_iter().flat_map(|service| service.grants.values());
    grants.any(|grant| grant.secret == secret && grant.write)
}

/// A node's name; its id, where it is gone.
pub(super) fn node_name(state: &State, id: NodeId) -> String {
    state.nodes.get(&id).map_or_else(|| id.to_string(), |node| node.name.to_string())
}

/// A service's name; its id, where it is gone.
pub(super) fn service_name(state: &State, id: ServiceId) -> String {
    state.services.get(&id).map_or_else(|| id.to_string(), |service| service.name.to_string())
}

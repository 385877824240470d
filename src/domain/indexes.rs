//! What is derived from the state and kept beside it.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Answer, Exposure, NameIndex, Node, Nodes, Secret, Service, State};
use crate::base::{NodeId, OperatorId, RequestId, SecretId, ServiceId, Stamp};

/// Derived maps, equal to [`Indexes::of`] the state after every command. A set
/// that is empty is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// Secrets by name.
    pub secrets: NameIndex<SecretId>,
    /// Services by name.
    pub services: NameIndex<ServiceId>,
    /// Nodes by name.
    pub nodes: NameIndex<NodeId>,
    /// Operators by name.
    pub operators: NameIndex<OperatorId>,
    /// The services that are granted a secret.
    pub granted: BTreeMap<SecretId, BTreeSet<ServiceId>>,
    /// The nodes that a service's placement allows, whatever they take now
    /// (`nodes_of` asks that too).
    pub placed: BTreeMap<ServiceId, Nodes>,
    /// The services whose placement allows a node, whatever it takes now
    /// (`placed` asks that too).
    pub placed_on: BTreeMap<NodeId, BTreeSet<ServiceId>>,
    /// The nodes to which bytes of a service were sent.
    pub exposed_of: BTreeMap<ServiceId, Nodes>,
    /// The pairs of which something taken is not confirmed.
    pub behind: BTreeSet<(NodeId, ServiceId)>,
    /// How many of them a service has.
    pub behind_of: BTreeMap<ServiceId, usize>,
    /// How many opens of a node are on record.
    pub opened_on: BTreeMap<NodeId, usize>,
    /// Remembered answers by their deadline.
    pub deadlines: BTreeSet<(Stamp, RequestId)>,
}

impl Indexes {
    /// The indexes of a state, made anew.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut indexes = Self::default();
        for (id, operator) in &state.operators {
            indexes.operators.insert(operator.name.key(), *id);
        }
        for (id, secret) in &state.secrets {
            indexes.secret(*id, None, Some(secret));
        }
        for (id, service) in &state.services {
            indexes.service(*id, None, Some(service));
        }
        for (id, node) in &state.nodes {
            indexes.nodes.insert(node.name.key(), *id);
            for (service, found) in &state.services {
                if found.spec.placement.allows(*id, node) {
                    put(&mut indexes.placed, *service, *id);
                    put(&mut indexes.placed_on, *id, *service);
                }
            }
        }
        for (pair, exposure) in &state.exposed {
            indexes.exposure(*pair, None, Some(*exposure));
        }
        for ((node, _), list) in &state.opened {
            indexes.opened(*node, 0, list.len());
        }
        for (request, answer) in &state.answers {
            indexes.answer(*request, None, Some(answer));
        }
        indexes
    }

    /// A secret was `old` and is `new`.
    pub(super) fn secret(&mut self, id: SecretId, old: Option<&Secret>, new: Option<&Secret>) {
        if let Some(old) = old {
            self.secrets.remove(&old.name.key());
        }
        if let Some(new) = new {
            self.secrets.insert(new.name.key(), id);
        }
    }

    /// A service was `old` and is `new`: its name and grants. Where it may run
    /// depends on the nodes too and is [`Self::place`]'s.
    pub(super) fn service(&mut self, id: ServiceId, old: Option<&Service>, new: Option<&Service>) {
        if let Some(old) = old {
            self.services.remove(&old.name.key());
            for grant in old.grants.values() {
                take(&mut self.granted, &grant.secret, &id);
            }
        }
        if let Some(new) = new {
            self.services.insert(new.name.key(), id);
            for grant in new.grants.values() {
                put(&mut self.granted, grant.secret, id);
            }
        }
    }

    /// A node's name was `old`'s and is `new`'s.
    pub(super) fn node(&mut self, id: NodeId, old: Option<&Node>, new: Option<&Node>) {
        if let Some(old) = old {
            self.nodes.remove(&old.name.key());
        }
        if let Some(new) = new {
            self.nodes.insert(new.name.key(), id);
        }
    }

    /// A service may (or may not) run on a node. Says whether that is new.
    pub(super) fn place(&mut self, node: NodeId, service: ServiceId, allowed: bool) -> bool {
        if allowed {
            put(&mut self.placed_on, node, service);
            put(&mut self.placed, service, node)
        } else {
            take(&mut self.placed_on, &node, &service);
            take(&mut self.placed, &service, &node)
        }
    }

    /// A pair was `old` and is `new`.
    pub(super) fn exposure(
        &mut self,
        pair: (NodeId, ServiceId),
        old: Option<Exposure>,
        new: Option<Exposure>,
    ) {
        if old.is_some() {
            take(&mut self.exposed_of, &pair.1, &pair.0);
        }
        if new.is_some() {
            put(&mut self.exposed_of, pair.1, pair.0);
        }
        let count = self.behind_of.entry(pair.1).or_default();
        if new.is_some_and(|new| new.behind.is_some()) {
            *count = count.saturating_add(usize::from(self.behind.insert(pair)));
        } else {
            *count = count.saturating_sub(usize::from(self.behind.remove(&pair)));
        }
        if *count == 0 {
            self.behind_of.remove(&pair.1);
        }
    }

    /// `old` records of a node's opens went and `new` ones came.
    pub(super) fn opened(&mut self, node: NodeId, old: usize, new: usize) {
        let count = self.opened_on.entry(node).or_default();
        *count = count.saturating_add(new).saturating_sub(old);
        if *count == 0 {
            self.opened_on.remove(&node);
        }
    }

    /// An answer was `old` and is `new`.
    pub(super) fn answer(&mut self, id: RequestId, old: Option<&Answer>, new: Option<&Answer>) {
        if let Some(old) = old {
            self.deadlines.remove(&(old.deadline, id));
        }
        if let Some(new) = new {
            self.deadlines.insert((new.deadline, id));
        }
    }
}

fn put<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: K, value: V) -> bool {
    map.entry(key).or_default().insert(value)
}

fn take<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) -> bool {
    let Some(set) = map.get_mut(key) else { return false };
    let was = set.remove(value);
    if set.is_empty() {
        map.remove(key);
    }
    was
}

//! What is derived from the state and kept beside it.

use std::collections::{BTreeMap, BTreeSet};

use super::command::Actor;
use super::opened::Lapsed;
use super::places::{Places, There};
use super::spec::Grant;
use super::state::{Answer, Exposure, NameIndex, Node, Nodes, Secret, Service, State, Token};
use super::{keep, weight};
use crate::base::{NameKey, NodeId, OperatorId, RequestId, SecretId, ServiceId, Stamp, TokenId};

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
    /// The services that are granted a secret, each with under how many targets its current
    /// version.
    pub granted: BTreeMap<SecretId, BTreeMap<ServiceId, u64>>,
    /// Which versions are pinned, and by which services.
    pub pinned: BTreeSet<(SecretId, u32, ServiceId)>,
    /// Bytes of values that a service brings to a node, where it brings any.
    pub service_bytes: BTreeMap<ServiceId, u64>,
    /// How many versions' data keys are wrapped under which cluster key.
    pub wrapped: BTreeMap<u64, usize>,
    /// Where services may run by their placement, whatever the nodes take now (`nodes_of` and
    /// `placed` ask that too).
    pub places: Places,
    /// Join tokens by their end.
    pub token_ends: BTreeSet<(Stamp, TokenId)>,
    /// Join tokens that are for one name.
    pub bound: BTreeSet<(NameKey, TokenId)>,
    /// From which services a secret was taken, as long as one of their pairs is pending.
    pub taken_from: BTreeSet<(SecretId, ServiceId)>,
    /// The nodes to which bytes of a service were sent.
    pub exposed_of: BTreeMap<ServiceId, Nodes>,
    /// The pairs of which something taken is not confirmed.
    pub behind: BTreeSet<(NodeId, ServiceId)>,
    /// How many of them a service has.
    pub behind_of: BTreeMap<ServiceId, usize>,
    /// How many opens of a node are on record.
    pub opened_on: BTreeMap<NodeId, usize>,
    /// Those nodes by how many.
    pub opened_most: BTreeSet<(usize, NodeId)>,
    /// How many opens are on record.
    pub opened: usize,
    /// What ended, by when.
    pub lapses: BTreeSet<(Stamp, Lapsed)>,
    /// Remembered answers by their deadline.
    pub deadlines: BTreeSet<(Stamp, RequestId)>,
    /// How many answers are remembered for a caller, and their bytes.
    pub answered: BTreeMap<Actor, (usize, u64)>,
    /// How many units services name, all together.
    pub units: usize,
    /// Bytes of all remembered answers.
    pub answer_bytes: u64,
}

impl Indexes {
    /// The indexes of a state, made anew.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut indexes = Self::default();
        for (id, operator) in &state.operators {
            indexes.operators.insert(operator.name.key(), *id);
        }
        for (id, token) in &state.tokens {
            indexes.token(*id, None, Some(token));
        }
        for (id, secret) in &state.secrets {
            indexes.secret(*id, None, Some(secret));
        }
        for (id, node) in &state.nodes {
            indexes.node(*id, None, Some(node));
            // No service is filed yet.
            indexes.places.node(&BTreeMap::new(), *id, None, Some(node));
        }
        for (id, service) in &state.services {
            let bytes = keep::bytes_of(&state.secrets, service);
            indexes.service(*id, None, Some(service), bytes);
            let there = There { nodes: &state.nodes, names: &indexes.nodes };
            indexes.places.service(&there, *id, None, Some(&service.spec.placement));
        }
        for key in state.taken.keys() {
            indexes.taken(*key, true);
        }
        for (pair, exposure) in &state.exposed {
            indexes.exposure(*pair, None, Some(*exposure));
        }
        for ((node, _), list) in &state.opened {
            indexes.opened(*node, 0, list.len());
        }
        indexes.lapses = state.lapsed.iter().map(|(of, span)| (span.ended, *of)).collect();
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
        for version in old.into_iter().flat_map(|old| old.versions.values()) {
            let number = version.data_key.number;
            let count = self.wrapped.entry(number).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.wrapped.remove(&number);
            }
        }
        for version in new.into_iter().flat_map(|new| new.versions.values()) {
            let count = self.wrapped.entry(version.data_key.number).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// A secret was `old` and is `new`: what services that have it bring to a node.
    pub(super) fn resize(&mut self, id: SecretId, old: Option<&Secret>, new: Option<&Secret>) {
        let [old, new] = [old, new].map(|secret| {
            let current = secret.and_then(|secret| secret.versions.get(&secret.current));
            current.map_or(0, |version| u64::from(version.size))
        });
        if old == new {
            return;
        }
        let services: Vec<_> = self.granted.get(&id).into_iter().flatten().collect();
        let services: Vec<_> = services.into_iter().map(|(id, times)| (*id, *times)).collect();
        for (service, times) in services {
            self.bring(service, old.saturating_mul(times), new.saturating_mul(times));
        }
    }

    /// A part of what a service brings to a node had `old` bytes and has `new`.
    pub(super) fn bring(&mut self, service: ServiceId, old: u64, new: u64) {
        let bytes = self.service_bytes.entry(service).or_default();
        *bytes = bytes.saturating_add(new).saturating_sub(old);
        if *bytes == 0 {
            self.service_bytes.remove(&service);
        }
    }

    /// One grant of a service was `old` and is `new`; `service` is as it is now.
    pub(super) fn grant(
        &mut self,
        id: ServiceId,
        service: &Service,
        old: Option<&Grant>,
        new: Option<&Grant>,
    ) {
        if let Some(old) = old {
            let mut left = service.grants.values().filter(|grant| grant.secret == old.secret);
            match old.pin {
                Some(pin) if !left.clone().any(|grant| grant.pin == Some(pin)) => {
                    self.pinned.remove(&(old.secret, pin, id));
                }
                Some(_) => {}
                None => {
                    let services = self.granted.get_mut(&old.secret);
                    if let Some(times) = services.and_then(|services| services.get_mut(&id)) {
                        *times = times.saturating_sub(1);
                    }
                }
            }
            if left.next().is_none()
                && let Some(services) = self.granted.get_mut(&old.secret)
            {
                services.remove(&id);
                if services.is_empty() {
                    self.granted.remove(&old.secret);
                }
            }
        }
        if let Some(new) = new {
            let times = self.granted.entry(new.secret).or_default().entry(id).or_default();
            match new.pin {
                None => *times = times.saturating_add(1),
                Some(pin) => drop(self.pinned.insert((new.secret, pin, id))),
            }
        }
    }

    /// A service was `old` and is `new`, which brings so many bytes: its name and grants. Where
    /// it may run depends on the nodes too and is [`Places::service`]'s.
    pub(super) fn service(
        &mut self,
        id: ServiceId,
        old: Option<&Service>,
        new: Option<&Service>,
        bytes: u64,
    ) {
        let units = [old, new].map(|of| of.map_or(0, |of| of.spec.units.len()));
        self.units = self.units.saturating_add(units[1]).saturating_sub(units[0]);
        if let Some(old) = old {
            self.services.remove(&old.name.key());
            for grant in old.grants.values() {
                if let Some(services) = self.granted.get_mut(&grant.secret) {
                    services.remove(&id);
                    if services.is_empty() {
                        self.granted.remove(&grant.secret);
                    }
                }
                if let Some(pin) = grant.pin {
                    self.pinned.remove(&(grant.secret, pin, id));
                }
            }
        }
        if let Some(new) = new {
            self.services.insert(new.name.key(), id);
            for grant in new.grants.values() {
                let times = self.granted.entry(grant.secret).or_default().entry(id).or_default();
                match grant.pin {
                    None => *times = times.saturating_add(1),
                    Some(pin) => drop(self.pinned.insert((grant.secret, pin, id))),
                }
            }
        }
        if bytes == 0 {
            self.service_bytes.remove(&id);
        } else {
            self.service_bytes.insert(id, bytes);
        }
    }

    /// A token was `old` and is `new`.
    pub(super) fn token(&mut self, id: TokenId, old: Option<&Token>, new: Option<&Token>) {
        if let Some(old) = old {
            self.token_ends.remove(&(old.ends, id));
            if let Some(name) = old.only_name() {
                self.bound.remove(&(name.key(), id));
            }
        }
        if let Some(new) = new {
            self.token_ends.insert((new.ends, id));
            self.bound.extend(new.only_name().map(|name| (name.key(), id)));
        }
    }

    /// The join tokens that are for this name alone.
    pub(super) fn bound_to(&self, name: &NameKey) -> impl Iterator<Item = TokenId> {
        let first = (name.clone(), TokenId::from_bytes([0; 16]));
        let last = (name.clone(), TokenId::from_bytes([u8::MAX; 16]));
        self.bound.range(first..=last).map(|(_, id)| *id)
    }

    /// A service lost a secret, or nobody has it any more.
    pub(super) fn taken(&mut self, (service, secret): (ServiceId, SecretId), taken: bool) {
        if taken {
            self.taken_from.insert((secret, service));
        } else {
            self.taken_from.remove(&(secret, service));
        }
    }

    /// A service that pins a version of a secret.
    pub(super) fn pinning(&self, secret: SecretId, number: u32) -> Option<ServiceId> {
        let first = (secret, number, ServiceId::from_bytes([0; 16]));
        let found = self.pinned.range(first..).next();
        found.filter(|(of, at, _)| (*of, *at) == (secret, number)).map(|(.., service)| *service)
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
        self.opened = self.opened.saturating_add(new).saturating_sub(old);
        let count = self.opened_on.entry(node).or_default();
        self.opened_most.remove(&(*count, node));
        *count = count.saturating_add(new).saturating_sub(old);
        if *count == 0 {
            self.opened_on.remove(&node);
        } else {
            self.opened_most.insert((*count, node));
        }
    }

    /// An answer was `old` and is `new`.
    pub(super) fn answer(&mut self, id: RequestId, old: Option<&Answer>, new: Option<&Answer>) {
        if let Some(old) = old {
            self.deadlines.remove(&(old.deadline, id));
            let bytes = weight::answer(old);
            self.answer_bytes = self.answer_bytes.saturating_sub(bytes);
            if let Some(of) = self.answered.get_mut(&old.actor) {
                *of = (of.0.saturating_sub(1), of.1.saturating_sub(bytes));
                if of.0 == 0 {
                    self.answered.remove(&old.actor);
                }
            }
        }
        if let Some(new) = new {
            self.deadlines.insert((new.deadline, id));
            let bytes = weight::answer(new);
            self.answer_bytes = self.answer_bytes.saturating_add(bytes);
            let of = self.answered.entry(new.actor.clone()).or_default();
            *of = (of.0.saturating_add(1), of.1.saturating_add(bytes));
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

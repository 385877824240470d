//! Where services may run by their placement, indexed so that a change costs what it touches.
//!
//! A service is filed under what a node must have for it (a name, an id, a label), and a node
//! is found by the same; so a service that names a node looks at that node, and a node that
//! gets a label at the services that ask for it. Whatever is found so is asked whether all of
//! the placement holds. A service that may run on every worker without a condition is not
//! listed node by node: ten thousand of them on ten thousand nodes are ten thousand entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::spec::{Attribute, Placement};
use super::state::{NameIndex, Node, NodeRole, Nodes, Service};
use crate::audit::Digest;
use crate::base::{Name, NameKey, NodeId, ServiceId};

/// What a node must have for a service that is filed there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Drawer {
    Name(NameKey),
    Id(NodeId),
    /// A hash of key and value: whether it is that label is asked again.
    Label(u64),
    /// Nothing that could be looked up: each worker is asked.
    Any,
}

/// The nodes as a service's change finds them.
pub(super) struct There<'a> {
    pub(super) nodes: &'a BTreeMap<NodeId, Arc<Node>>,
    pub(super) names: &'a NameIndex<NodeId>,
}

/// What came of a service's change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// Where it may run no more.
    pub(super) lost: Vec<NodeId>,
    /// How many nodes were looked at.
    pub(super) looked: usize,
}

/// Which services may run on which nodes, whatever the nodes take now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    workers: Nodes,
    everywhere: BTreeSet<ServiceId>,
    /// The nodes of each other service.
    of: BTreeMap<ServiceId, Nodes>,
    /// The same by node.
    on: BTreeMap<NodeId, BTreeSet<ServiceId>>,
    /// How many pairs that is.
    pairs: usize,
    labelled: BTreeSet<(u64, NodeId)>,
    filed: BTreeSet<(Drawer, ServiceId)>,
    /// The names that constraints ask for.
    named: BTreeSet<(NameKey, ServiceId)>,
}

impl Places {
    /// Whether a service may run on a node.
    #[must_use]
    pub fn allow(&self, node: NodeId, service: ServiceId) -> bool {
        if self.everywhere.contains(&service) {
            return self.workers.contains(&node);
        }
        self.on.get(&node).is_some_and(|services| services.contains(&service))
    }

    /// The services that may run on a node, in no order.
    pub fn on(&self, node: NodeId) -> impl Iterator<Item = ServiceId> {
        let everywhere = self.workers.contains(&node).then_some(&self.everywhere);
        let listed = self.on.get(&node);
        everywhere.into_iter().chain(listed).flatten().copied()
    }

    /// The nodes on which a service may run, in the order of their ids.
    pub fn of(&self, service: ServiceId) -> impl Iterator<Item = NodeId> {
        self.nodes_of(service).into_iter().flatten().copied()
    }

    /// How many that are.
    #[must_use]
    pub fn count_of(&self, service: ServiceId) -> usize {
        self.nodes_of(service).map_or(0, BTreeSet::len)
    }

    fn nodes_of(&self, service: ServiceId) -> Option<&Nodes> {
        if self.everywhere.contains(&service) {
            return Some(&self.workers);
        }
        self.of.get(&service)
    }

    /// How many pairs are listed one by one.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Whether a service is placed by this name of a node.
    #[must_use]
    pub fn mention(&self, name: &NameKey) -> bool {
        let first = ServiceId::from_bytes([0; 16]);
        let named = self.named.range((name.clone(), first)..).next();
        named.is_some_and(|(of, _)| of == name)
            || self.filed(Drawer::Name(name.clone())).next().is_some()
    }

    /// A service's placement was `old` and is `new`.
    pub(super) fn service(
        &mut self,
        there: &There<'_>,
        id: ServiceId,
        old: Option<&Placement>,
        new: Option<&Placement>,
    ) -> Moved {
        for drawer in old.into_iter().flat_map(drawers) {
            self.filed.remove(&(drawer, id));
        }
        for name in old.into_iter().flat_map(named) {
            self.named.remove(&(name, id));
        }
        self.named.extend(new.into_iter().flat_map(named).map(|name| (name, id)));
        let drawers: Vec<Drawer> = new.into_iter().flat_map(drawers).collect();
        let (after, mut looked) = match new {
            Some(new) => self.found(there, new, &drawers),
            None => (Nodes::new(), 0),
        };
        self.filed.extend(drawers.into_iter().map(|drawer| (drawer, id)));
        let was_everywhere = self.everywhere.remove(&id);
        let is_everywhere = new.is_some_and(says_everywhere);
        if is_everywhere {
            self.everywhere.insert(id);
        }
        let before = self.of.remove(&id).unwrap_or_default();
        self.pairs = self.pairs.saturating_add(after.len()).saturating_sub(before.len());
        for node in before.difference(&after) {
            take(&mut self.on, node, &id);
        }
        for node in after.difference(&before) {
            self.on.entry(*node).or_default().insert(id);
        }
        let lost = match (was_everywhere, is_everywhere) {
            (_, true) => Vec::new(),
            (true, false) => {
                if new.is_some() {
                    looked = looked.saturating_add(self.workers.len());
                }
                self.workers.difference(&after).copied().collect()
            }
            (false, false) => before.difference(&after).copied().collect(),
        };
        if !after.is_empty() {
            self.of.insert(id, after);
        }
        Moved { lost, looked }
    }

    /// Where a placement holds, and how many nodes were asked.
    fn found(&self, there: &There<'_>, new: &Placement, drawers: &[Drawer]) -> (Nodes, usize) {
        let mut looked = 0_usize;
        let mut found = Nodes::new();
        let mut ask = |node: NodeId| {
            looked = looked.saturating_add(1);
            if there.nodes.get(&node).is_some_and(|of| holds(new, node, of)) {
                found.insert(node);
            }
        };
        for drawer in drawers {
            match drawer {
                Drawer::Name(name) => there.names.get(name).copied().into_iter().for_each(&mut ask),
                Drawer::Id(node) => ask(*node),
                Drawer::Label(hash) => self.labelled(*hash).for_each(&mut ask),
                Drawer::Any => self.workers.iter().copied().for_each(&mut ask),
            }
        }
        (found, looked)
    }

    fn labelled(&self, hash: u64) -> impl Iterator<Item = NodeId> {
        let (first, last) = (NodeId::from_bytes([0; 16]), NodeId::from_bytes([u8::MAX; 16]));
        self.labelled.range((hash, first)..=(hash, last)).map(|(_, node)| *node)
    }

    fn filed(&self, drawer: Drawer) -> impl Iterator<Item = ServiceId> {
        let (first, last) = (ServiceId::from_bytes([0; 16]), ServiceId::from_bytes([u8::MAX; 16]));
        self.filed.range((drawer.clone(), first)..=(drawer, last)).map(|(_, service)| *service)
    }

    /// What a placement reads of a node was `old`'s and is `new`'s. Gives how many services
    /// were looked at.
    pub(super) fn node(
        &mut self,
        services: &BTreeMap<ServiceId, Arc<Service>>,
        id: NodeId,
        old: Option<&Node>,
        new: Option<&Node>,
    ) -> usize {
        for hash in old.into_iter().flat_map(hashes) {
            self.labelled.remove(&(hash, id));
        }
        self.workers.remove(&id);
        let mut asked = BTreeSet::new();
        if let Some(node) = new.filter(|node| node.role == NodeRole::Worker) {
            self.workers.insert(id);
            let drawers = [Drawer::Name(node.name.key()), Drawer::Id(id), Drawer::Any];
            let labels: Vec<u64> = hashes(node).collect();
            let drawers = drawers.into_iter().chain(labels.iter().copied().map(Drawer::Label));
            for drawer in drawers {
                asked.extend(self.filed(drawer));
            }
            self.labelled.extend(labels.into_iter().map(|hash| (hash, id)));
        }
        let looked = asked.len();
        let allowed = |service: &ServiceId| {
            let node = new.zip(services.get(service));
            node.is_some_and(|(node, service)| holds(&service.spec.placement, id, node))
        };
        let after: BTreeSet<ServiceId> = asked.into_iter().filter(allowed).collect();
        let before = self.on.remove(&id).unwrap_or_default();
        self.pairs = self.pairs.saturating_add(after.len()).saturating_sub(before.len());
        for service in before.difference(&after) {
            take(&mut self.of, service, &id);
        }
        for service in after.difference(&before) {
            self.of.entry(*service).or_default().insert(id);
        }
        if !after.is_empty() {
            self.on.insert(id, after);
        }
        looked
    }
}

fn says_everywhere(placement: &Placement) -> bool {
    placement.everywhere && placement.nodes.is_empty() && placement.constraints.is_empty()
}

/// Whether a placement holds for a node that its drawers led to: that the node is named, if any
/// is, is known by then.
fn holds(placement: &Placement, id: NodeId, node: &Node) -> bool {
    node.role == NodeRole::Worker
        && placement.constraints.iter().all(|constraint| constraint.holds(id, node))
}

/// Under what a service is filed: a node on which it may run has one of these.
fn drawers(placement: &Placement) -> Vec<Drawer> {
    if !placement.nodes.is_empty() {
        return placement.nodes.iter().map(|name| Drawer::Name(name.key())).collect();
    }
    if placement.constraints.is_empty() {
        return Vec::new();
    }
    let Some(equal) = placement.constraints.iter().find(|constraint| constraint.equal) else {
        return vec![Drawer::Any];
    };
    let drawer = match &equal.attribute {
        Attribute::Id => equal.value.parse().ok().map(Drawer::Id),
        Attribute::Name => equal.value.parse().ok().map(|name: Name| Drawer::Name(name.key())),
        Attribute::Label(key) => Some(Drawer::Label(hash(key, &equal.value))),
    };
    // What is no id or name, no node has.
    drawer.into_iter().collect()
}

/// The names that its constraints ask for.
fn named(placement: &Placement) -> impl Iterator<Item = NameKey> {
    let equal = placement.constraints.iter().filter(|constraint| constraint.equal);
    let names = equal.filter(|constraint| constraint.attribute == Attribute::Name);
    names.filter_map(|constraint| Some(constraint.value.parse::<Name>().ok()?.key()))
}

fn hashes(node: &Node) -> impl Iterator<Item = u64> {
    node.labels.iter().map(|(key, value)| hash(key, value))
}

fn hash(key: &str, value: &str) -> u64 {
    let mut hash = Digest::new("skep 1 label");
    hash.bytes(key.as_bytes());
    hash.bytes(value.as_bytes());
    u64::from_le_bytes(hash.end().first_chunk().copied().unwrap_or_default())
}

fn take<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

//! The core against a reference model: a few plain tables and the rules written
//! down a second time, as simply as can be and at any cost. Both are given the
//! same acts; they must agree on what is refused and on what stands afterwards.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::base::{Labels, NodeId, Revision, limits};
use crate::domain::testing::{
    World, everywhere, grant, name, node_id, secret_id, service_id, version,
};
use crate::domain::{
    Act, Availability, Change, Confirmation, Fact, Grant, Placement, ServiceSpec, State,
    assignments, holders, nodes_touched, placed,
};

/// Where the services of this test may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Everywhere,
    On(u8),
    Zone(bool),
}

/// The changes of this test, over three of each kind.
#[derive(Clone, Copy, Debug)]
enum Op {
    CreateSecret(u8, u8),
    UpdateSecret(u8, Option<u32>),
    RemoveSecret(u8),
    RemoveVersion(u8, u32),
    CreateService(u8, u8, Place),
    UpdateService(u8, Place),
    RemoveService(u8),
    Grant(u8, u8, u8, Option<u32>),
    Revoke(u8, u8),
    Label(u8, bool),
    Availability(u8, Availability),
    RemoveNode(u8, bool),
}

#[derive(Clone, Debug)]
enum Doing {
    Change(Vec<Op>),
    Expose(Vec<(u8, u8)>),
    /// Pair, how many revisions ago, gone.
    Confirm((u8, u8), u64, bool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Secret {
    name: u8,
    current: u32,
    versions: BTreeSet<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Service {
    name: u8,
    place: Place,
    /// Target to secret and pin.
    grants: BTreeMap<u8, (u8, Option<u32>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    since: u64,
    behind: Option<u64>,
    /// Secrets that it lost, may have yet, and is not granted again.
    lost: BTreeSet<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    secrets: BTreeMap<u8, Secret>,
    services: BTreeMap<u8, Service>,
    nodes: BTreeMap<u8, (bool, Option<Availability>)>,
    exposed: BTreeMap<(u8, u8), Pair>,
}

/// The model does not say why.
struct No;

impl Model {
    fn due(&self, node: u8, service: u8) -> bool {
        let (Some(found), Some((zone, availability))) =
            (self.services.get(&service), self.nodes.get(&node))
        else {
            return false;
        };
        let placed = match found.place {
            Place::Nowhere => false,
            Place::Everywhere => true,
            Place::On(only) => only == node,
            Place::Zone(of) => of == *zone,
        };
        placed
            && match availability {
                Some(Availability::Drain) => false,
                Some(Availability::Pause) => self.exposed.contains_key(&(node, service)),
                _ => true,
            }
    }

    fn pins(&self, secret: u8) -> BTreeSet<u32> {
        let grants = self.services.values().flat_map(|service| service.grants.values());
        grants.filter(|grant| grant.0 == secret).filter_map(|grant| grant.1).collect()
    }

    fn act(&mut self, ops: &[Op], revision: u64) -> Result<(), No> {
        let mut after = self.clone();
        for op in ops {
            let before = after.clone();
            after.op(*op)?;
            after.prune();
            // Whatever was due and is not any more was taken; so was a revoked secret.
            for pair in after.exposed.clone().into_keys() {
                let undue = before.due(pair.0, pair.1) && !after.due(pair.0, pair.1);
                let left = |model: &Self| -> BTreeSet<u8> {
                    let service = model.services.get(&pair.1).into_iter();
                    service.flat_map(|of| of.grants.values()).map(|grant| grant.0).collect()
                };
                let lost: Vec<_> = left(&before).difference(&left(&after)).copied().collect();
                let removed = matches!(op, Op::RemoveService(service) if *service == pair.1);
                let pair = after.exposed.get_mut(&pair).expect("there");
                if undue || removed || !lost.is_empty() {
                    pair.behind = Some(revision);
                    pair.lost.extend(lost);
                }
            }
        }
        *self = after;
        Ok(())
    }

    fn prune(&mut self) {
        for id in 1..=3 {
            let pins = self.pins(id);
            let Some(secret) = self.secrets.get_mut(&id) else { continue };
            while secret.versions.len() > limits::VERSIONS {
                let spare = |n: &&u32| **n != secret.current && !pins.contains(n);
                let Some(oldest) = secret.versions.iter().find(spare).copied() else { break };
                secret.versions.remove(&oldest);
            }
        }
    }

    fn op(&mut self, op: Op) -> Result<(), No> {
        let ok = |holds: bool| if holds { Ok(()) } else { Err(No) };
        match op {
            Op::CreateSecret(id, name) => {
                ok(!self.secrets.contains_key(&id))?;
                ok(self.secrets.values().all(|other| other.name != name))?;
                let versions = BTreeSet::from([1]);
                self.secrets.insert(id, Secret { name, current: 1, versions });
            }
            Op::UpdateSecret(id, expect) => {
                let secret = self.secrets.get_mut(&id).ok_or(No)?;
                ok(expect.is_none_or(|expect| expect == secret.current))?;
                secret.current += 1;
                secret.versions.insert(secret.current);
            }
            Op::RemoveSecret(id) => {
                let mut grants = self.services.values().flat_map(|service| service.grants.values());
                ok(grants.all(|grant| grant.0 != id))?;
                self.secrets.remove(&id).ok_or(No)?;
            }
            Op::RemoveVersion(id, number) => {
                let pinned = self.pins(id).contains(&number);
                let secret = self.secrets.get_mut(&id).ok_or(No)?;
                ok(!pinned && secret.current != number && secret.versions.remove(&number))?;
            }
            Op::CreateService(id, name, place) => {
                ok(!self.services.contains_key(&id))?;
                ok(self.exposed.keys().all(|(_, service)| *service != id))?;
                ok(self.services.values().all(|other| other.name != name))?;
                self.services.insert(id, Service { name, place, grants: BTreeMap::new() });
            }
            Op::UpdateService(id, place) => self.services.get_mut(&id).ok_or(No)?.place = place,
            Op::RemoveService(id) => drop(self.services.remove(&id).ok_or(No)?),
            Op::Grant(id, secret, target, pin) => {
                let versions = &self.secrets.get(&secret).ok_or(No)?.versions;
                ok(pin.is_none_or(|pin| versions.contains(&pin)))?;
                let service = self.services.get_mut(&id).ok_or(No)?;
                ok(service.grants.get(&target).is_none_or(|there| there.0 == secret))?;
                service.grants.insert(target, (secret, pin));
                let pairs = self.exposed.iter_mut().filter(|((_, service), _)| *service == id);
                for (_, pair) in pairs {
                    pair.lost.remove(&secret);
                }
            }
            Op::Revoke(id, secret) => {
                ok(self.secrets.contains_key(&secret))?;
                let service = self.services.get_mut(&id).ok_or(No)?;
                service.grants.retain(|_, grant| grant.0 != secret);
            }
            Op::Label(id, zone) => self.nodes.get_mut(&id).ok_or(No)?.0 = zone,
            Op::Availability(id, word) => self.nodes.get_mut(&id).ok_or(No)?.1 = Some(word),
            Op::RemoveNode(id, force) => {
                ok(force || self.exposed.keys().all(|(node, _)| *node != id))?;
                self.nodes.remove(&id).ok_or(No)?;
                self.exposed.retain(|(node, _), _| *node != id);
            }
        }
        Ok(())
    }

    fn expose(&mut self, pairs: &[(u8, u8)], revision: u64) {
        for pair in pairs {
            if self.due(pair.0, pair.1) {
                let lost = BTreeSet::new();
                self.exposed.entry(*pair).or_insert(Pair { since: revision, behind: None, lost });
            }
        }
    }

    fn confirm(&mut self, pair: (u8, u8), at: u64, gone: bool) {
        let due = self.due(pair.0, pair.1);
        let Some(found) = self.exposed.get_mut(&pair) else { return };
        if at < found.since || found.behind.is_some_and(|behind| behind > at) {
            return;
        }
        if gone {
            self.exposed.remove(&pair);
        } else if due {
            found.behind = None;
            found.lost.clear();
        }
    }
}

fn spec(place: Place) -> ServiceSpec {
    let placement = match place {
        Place::Nowhere => Placement::default(),
        Place::Everywhere => return everywhere(),
        Place::On(node) => {
            Placement { nodes: vec![name(&format!("N{node}"))], ..Placement::default() }
        }
        Place::Zone(zone) => {
            let text = if zone { "node.labels.zone==eu" } else { "node.labels.zone != eu" };
            let constraints = vec![text.parse().expect("a constraint")];
            Placement { constraints, ..Placement::default() }
        }
    };
    ServiceSpec { placement, ..ServiceSpec::default() }
}

fn change(op: Op, drawn: u64) -> Change {
    match op {
        Op::CreateSecret(id, called) => Change::CreateSecret {
            id: secret_id(id),
            // The case differs with the id: names are unique without it.
            name: name(&format!("{}{called}", if id == 1 { "S" } else { "s" })),
            labels: Labels::default(),
            version: version(drawn),
        },
        Op::UpdateSecret(id, expect) => {
            Change::UpdateSecret { id: secret_id(id), expect, version: version(drawn) }
        }
        Op::RemoveSecret(id) => Change::RemoveSecret { id: secret_id(id) },
        Op::RemoveVersion(id, number) => Change::RemoveVersion { id: secret_id(id), number },
        Op::CreateService(id, called, place) => Change::CreateService {
            id: service_id(id),
            name: name(&format!("web{called}")),
            spec: spec(place),
        },
        Op::UpdateService(id, place) => {
            Change::UpdateService { id: service_id(id), expect: None, spec: spec(place) }
        }
        Op::RemoveService(id) => Change::RemoveService { id: service_id(id) },
        Op::Grant(service, secret, target, pin) => Change::Grant {
            service: service_id(service),
            grant: Grant { pin, ..grant(secret, &format!("t{target}")) },
        },
        Op::Revoke(service, secret) => {
            Change::Revoke { service: service_id(service), secret: secret_id(secret) }
        }
        Op::Label(id, zone) => {
            let put = if zone { vec!["zone=eu".parse().expect("a label")] } else { Vec::new() };
            let gone = if zone { Vec::new() } else { vec!["zone".to_owned()] };
            Change::UpdateNode { id: node_id(id), put, gone, availability: None }
        }
        Op::Availability(id, word) => Change::UpdateNode {
            id: node_id(id),
            put: Vec::new(),
            gone: Vec::new(),
            availability: Some(word),
        },
        Op::RemoveNode(id, force) => Change::RemoveNode { id: node_id(id), force },
    }
}

/// What the model knows, read from the state.
fn seen(state: &State) -> Model {
    let index = |bytes: &[u8; 16]| bytes[0];
    let digit = |text: &str| text.bytes().last().expect("a digit") - b'0';
    let mut model = Model::default();
    for (id, secret) in &state.secrets {
        let versions = secret.versions.keys().copied().collect();
        let name = digit(secret.name.as_str());
        let secret = Secret { name, current: secret.current, versions };
        model.secrets.insert(index(id.as_bytes()), secret);
    }
    for (id, service) in &state.services {
        let place = [Place::Nowhere, Place::Everywhere, Place::Zone(true), Place::Zone(false)]
            .into_iter()
            .chain((1..=3).map(Place::On))
            .find(|place| spec(*place) == service.spec)
            .expect("a known place");
        let grants = service.grants.iter().map(|(target, grant)| {
            (digit(target.as_str()), (index(grant.secret.as_bytes()), grant.pin))
        });
        let name = digit(service.name.as_str());
        let service = Service { name, place, grants: grants.collect() };
        model.services.insert(index(id.as_bytes()), service);
    }
    for (id, node) in &state.nodes {
        if *id != crate::domain::testing::MANAGER {
            let node = (node.labels.get("zone") == Some("eu"), Some(node.availability));
            model.nodes.insert(index(id.as_bytes()), node);
        }
    }
    for ((node, service), exposure) in &state.exposed {
        let pair = (index(node.as_bytes()), index(service.as_bytes()));
        let behind = exposure.behind.map(|behind| behind.0);
        let granted = |secret: u8| {
            let granted = state.indexes.granted.get(&secret_id(secret));
            granted.is_some_and(|services| services.contains_key(service))
        };
        let held =
            |secret: &u8| holders(state, secret_id(*secret)).contains_key(&(*node, *service));
        let lost = (1..=3).filter(|secret| held(secret) && !granted(*secret)).collect();
        model.exposed.insert(pair, Pair { since: exposure.since.0, behind, lost });
    }
    model
}

/// All that a node could be told.
fn told(state: &State, node: NodeId) -> Vec<[u8; 32]> {
    let all = placed(state, node);
    assignments(state, node, &all).iter().map(crate::domain::ServiceSet::digest).collect()
}

fn facts_lead_everywhere(before: &State, after: &State, facts: &[Fact]) {
    let touched: BTreeSet<NodeId> =
        facts.iter().flat_map(|fact| nodes_touched(after, fact)).collect();
    for node in (1..=3).map(node_id) {
        let same =
            told(before, node) == told(after, node) && placed(before, node) == placed(after, node);
        assert!(same || touched.contains(&node), "{node} is not told: {facts:?}");
    }
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Nowhere),
        Just(Place::Everywhere),
        (1..=3_u8).prop_map(Place::On),
        any::<bool>().prop_map(Place::Zone),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let one = || 1..=3_u8;
    let word = prop_oneof![
        Just(Availability::Active),
        Just(Availability::Pause),
        Just(Availability::Drain),
    ];
    prop_oneof![
        3 => (one(), one()).prop_map(|(id, name)| Op::CreateSecret(id, name)),
        4 => one().prop_map(|id| Op::UpdateSecret(id, None)),
        2 => Just(Op::UpdateSecret(1, None)),
        1 => (one(), 1..5_u32).prop_map(|(id, expect)| Op::UpdateSecret(id, Some(expect))),
        1 => one().prop_map(Op::RemoveSecret),
        1 => (one(), 1..14_u32).prop_map(|(id, number)| Op::RemoveVersion(id, number)),
        3 => (one(), one(), places()).prop_map(|(id, name, at)| Op::CreateService(id, name, at)),
        2 => (one(), places()).prop_map(|(id, at)| Op::UpdateService(id, at)),
        1 => one().prop_map(Op::RemoveService),
        5 => (one(), one(), one(), proptest::option::weighted(0.3, 1..5_u32))
            .prop_map(|(id, secret, target, pin)| Op::Grant(id, secret, target, pin)),
        2 => (one(), one()).prop_map(|(id, secret)| Op::Revoke(id, secret)),
        1 => (one(), any::<bool>()).prop_map(|(id, zone)| Op::Label(id, zone)),
        1 => (one(), word).prop_map(|(id, word)| Op::Availability(id, word)),
        1 => (Just(3_u8), any::<bool>()).prop_map(|(id, force)| Op::RemoveNode(id, force)),
    ]
}

fn doings() -> impl Strategy<Value = Doing> {
    let pair = || (1..=3_u8, 1..=3_u8);
    prop_oneof![
        6 => proptest::collection::vec(ops(), 1..=3).prop_map(Doing::Change),
        2 => proptest::collection::vec(pair(), 1..=4).prop_map(Doing::Expose),
        1 => (pair(), 0..6_u64, any::<bool>())
            .prop_map(|(pair, ago, gone)| Doing::Confirm(pair, ago, gone)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn it_does_what_the_model_does(doings in proptest::collection::vec(doings(), 1..120)) {
        let mut world = World::with_workers(3);
        let mut model = seen(&world.state);
        let mut drawn = 0;
        for doing in doings {
            let before = world.state.clone();
            let revision = before.revision.0 + 1;
            let agrees = match &doing {
                Doing::Change(ops) => {
                    let list = ops.iter().map(|op| { drawn += 1; change(*op, drawn) }).collect();
                    let applied = world.act(Act::Change(list));
                    facts_lead_everywhere(&before, &world.state, &applied.facts);
                    applied.outcome.is_ok() == model.act(ops, revision).is_ok()
                }
                Doing::Expose(pairs) => {
                    let list = pairs.iter().map(|(node, service)| (node_id(*node), service_id(*service)));
                    let applied = world.act(Act::Expose(list.collect()));
                    model.expose(pairs, revision);
                    applied.outcome.is_ok()
                }
                Doing::Confirm(pair, ago, gone) => {
                    let at = revision - ago;
                    let (node, service) = (node_id(pair.0), service_id(pair.1));
                    let revision = Revision(at);
                    let one = Confirmation { node, service, revision, gone: *gone };
                    let applied = world.act(Act::Confirm(vec![one]));
                    model.confirm(*pair, at, *gone);
                    applied.outcome.is_ok()
                }
            };
            prop_assert!(agrees, "{:?}", doing);
            prop_assert_eq!(seen(&world.state), model.clone(), "after {:?}", doing);
        }
    }
}

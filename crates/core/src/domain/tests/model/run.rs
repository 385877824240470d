//! The core and the model are given the same acts.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Doing, Model, Node, Op, Pair, Place, Secret, Service};
use crate::base::{Labels, NodeId, Revision, TokenId};
use crate::domain::testing::{
    TOKEN, World, everywhere, grant, join, name, node_id, secret_id, service_id, token, version,
};
use crate::domain::{
    Act, Availability, Change, Confirmation, Fact, GrantAsked, Join, Pin, Placement, Put, PutValue,
    ServiceSpec, State, Token, Version, assignments, is_pending, nodes_touched, placed,
};

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
        Op::CreateSecret(id, called, forward_only) => Change::CreateSecret {
            id: secret_id(id),
            // The case differs with the id: names are unique without it.
            name: name(&format!("{}{called}", if id == 1 { "S" } else { "s" })),
            labels: Labels::default(),
            forward_only,
            version: version(drawn),
        },
        Op::UpdateSecret(id, expect) => {
            Change::UpdateSecret { id: secret_id(id), expect, version: version(drawn) }
        }
        Op::RollBack(id, expect, to) => Change::RollBackSecret { id: secret_id(id), expect, to },
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
        Op::Grant(service, secret, target, pin, write, replace) => {
            let pin = pin.map(Pin::read);
            let asked = GrantAsked::from(grant(secret, &format!("t{target}")));
            let grant = GrantAsked { pin, write, replace, ..asked };
            Change::Grant { service: service_id(service), grant }
        }
        Op::Revoke(service, secret, target) => {
            let (service, secret) = (service_id(service), secret_id(secret));
            let target = target.map(|target| format!("t{target}").parse().expect("a target"));
            Change::Revoke { service, secret, target }
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
        Op::Bind(called) => {
            let token = Token { name_pattern: Some(format!("N{called}")), ..token() };
            Change::CreateToken { id: bound(called), token }
        }
        Op::Unbind(called) => Change::RemoveToken { id: bound(called) },
    }
}

/// The token that is for one name.
fn bound(called: u8) -> TokenId {
    TokenId::from_bytes([called; 16])
}

/// A machine has a key of its own, and joins under any name.
fn machine(id: u8, called: u8, by_name: bool) -> Join {
    let token = if by_name { bound(called) } else { TOKEN };
    Join { token, ..join(id, &format!("n{called}")) }
}

/// What the model knows, read from the state.
fn seen(state: &State) -> Model {
    let index = |bytes: &[u8; 16]| bytes[0];
    let digit = |text: &str| text.bytes().last().expect("a digit") - b'0';
    let mut model = Model::default();
    for (id, secret) in &state.secrets {
        let first = |(number, version): (&u32, &Arc<Version>)| {
            (*number, version.repeats.unwrap_or(*number))
        };
        let versions = secret.versions.iter().map(first).collect();
        let name = digit(secret.name.as_str());
        let (current, forward_only) = (secret.current, secret.forward_only);
        let secret = Secret { name, forward_only, current, versions };
        model.secrets.insert(index(id.as_bytes()), secret);
    }
    for (id, service) in &state.services {
        let place = [Place::Nowhere, Place::Everywhere, Place::Zone(true), Place::Zone(false)]
            .into_iter()
            .chain((1..=3).map(Place::On))
            .find(|place| spec(*place) == service.spec)
            .expect("a known place");
        let grants = service.grants.iter().map(|(target, grant)| {
            let secret = index(grant.secret.as_bytes());
            (digit(target.as_str()), (secret, grant.pin, grant.write))
        });
        let name = digit(service.name.as_str());
        let service = Service { name, place, grants: grants.collect() };
        model.services.insert(index(id.as_bytes()), service);
    }
    for (id, node) in &state.nodes {
        if *id != crate::domain::testing::MANAGER {
            let zone = node.labels.get("zone") == Some("eu");
            let (name, availability) = (digit(node.name.as_str()), node.availability);
            model.nodes.insert(index(id.as_bytes()), Node { name, zone, availability });
        }
    }
    let tokens = state.tokens.keys().filter(|id| **id != TOKEN);
    model.bound = tokens.map(|id| index(id.as_bytes())).collect();
    for ((node, service), exposure) in &state.exposed {
        let pair = (index(node.as_bytes()), index(service.as_bytes()));
        let behind = exposure.behind.map(|behind| behind.0);
        let taken = |secret: &u8| {
            let taken = state.taken.get(&(*service, secret_id(*secret)));
            taken.is_some_and(|taken| *taken > exposure.clear)
        };
        let lost: BTreeSet<u8> = (1..=3).filter(taken).collect();
        assert!(lost.iter().all(|secret| is_pending(state, *service, secret_id(*secret))));
        model.exposed.insert(pair, Pair { since: exposure.since.0, behind, lost });
    }
    model
}

/// Ids of nodes that there may be; they have three names among them.
const NODES: u8 = 5;

/// All that a node could be told.
fn told(state: &State, node: NodeId) -> Vec<[u8; 32]> {
    let all = placed(state, node);
    assignments(state, node, &all).iter().map(crate::domain::ServiceSet::digest).collect()
}

fn facts_lead_everywhere(before: &State, after: &State, facts: &[Fact]) {
    let touched: BTreeSet<NodeId> =
        facts.iter().flat_map(|fact| nodes_touched(after, fact)).collect();
    for node in (1..=NODES).map(node_id) {
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
        3 => (one(), one(), proptest::bool::weighted(0.3))
            .prop_map(|(id, name, forward)| Op::CreateSecret(id, name, forward)),
        2 => (one(), proptest::option::weighted(0.3, 1..5_u32), 1..14_u32)
            .prop_map(|(id, expect, to)| Op::RollBack(id, expect, to)),
        4 => one().prop_map(|id| Op::UpdateSecret(id, None)),
        2 => Just(Op::UpdateSecret(1, None)),
        1 => (one(), 1..5_u32).prop_map(|(id, expect)| Op::UpdateSecret(id, Some(expect))),
        1 => one().prop_map(Op::RemoveSecret),
        1 => (one(), 1..14_u32).prop_map(|(id, number)| Op::RemoveVersion(id, number)),
        3 => (one(), one(), places()).prop_map(|(id, name, at)| Op::CreateService(id, name, at)),
        2 => (one(), places()).prop_map(|(id, at)| Op::UpdateService(id, at)),
        1 => one().prop_map(Op::RemoveService),
        5 => (one(), one(), one(), proptest::option::weighted(0.5, 0..5_u32), any::<(Option<bool>, bool)>())
            .prop_map(|(id, secret, target, pin, (write, over))| {
                Op::Grant(id, secret, target, pin, write, over)
            }),
        3 => (one(), one(), proptest::option::of(one()))
            .prop_map(|(id, secret, target)| Op::Revoke(id, secret, target)),
        1 => (1..=NODES, any::<bool>()).prop_map(|(id, zone)| Op::Label(id, zone)),
        1 => (1..=NODES, word).prop_map(|(id, word)| Op::Availability(id, word)),
        1 => (3..=NODES, any::<bool>()).prop_map(|(id, force)| Op::RemoveNode(id, force)),
        1 => one().prop_map(Op::Bind),
        1 => one().prop_map(Op::Unbind),
    ]
}

fn doings() -> impl Strategy<Value = Doing> {
    let pair = || (1..=NODES, 1..=3_u8);
    prop_oneof![
        6 => proptest::collection::vec(ops(), 1..=3).prop_map(Doing::Change),
        2 => proptest::collection::vec(pair(), 1..=4).prop_map(Doing::Expose),
        1 => (pair(), 0..6_u64, any::<bool>())
            .prop_map(|(pair, ago, gone)| Doing::Confirm(pair, ago, gone)),
        1 => (3..=NODES, 1..=3_u8, any::<bool>())
            .prop_map(|(id, name, by_name)| Doing::Join(id, name, by_name)),
        2 => (pair(), proptest::collection::vec((1..=3_u8, 1..5_u32), 1..=2))
            .prop_map(|(pair, values)| Doing::Put(pair, values)),
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
                Doing::Put(pair, written) => {
                    let values = written.iter().map(|(secret, expect)| {
                        drawn += 1;
                        let version = version(drawn);
                        PutValue { secret: secret_id(*secret), expect: *expect, version }
                    });
                    let (node, service) = (node_id(pair.0), service_id(pair.1));
                    let put = Put { node, service, values: values.collect() };
                    let applied = world.act(Act::Put(Box::new(put)));
                    facts_lead_everywhere(&before, &world.state, &applied.facts);
                    applied.outcome.is_ok() == model.put(*pair, written).is_ok()
                }
                Doing::Join(id, name, by_name) => {
                    let applied = world.act(Act::Join(Box::new(machine(*id, *name, *by_name))));
                    facts_lead_everywhere(&before, &world.state, &applied.facts);
                    applied.outcome.is_ok() == model.join(*id, *name, *by_name).is_ok()
                }
            };
            prop_assert!(agrees, "{:?}", doing);
            prop_assert_eq!(seen(&world.state), model.clone(), "after {:?}", doing);
        }
    }
}

//! Where services may run: found by the indexes as by asking everybody, and at the cost of
//! what a change touches.

use proptest::prelude::*;

use crate::base::{Label, NodeId, Revision, ServiceId, TokenId, limits};
use crate::domain::testing::{
    TOKEN, World, everywhere, grant, join, name, node_id, secret_id, service_id, steps_of, token,
    version,
};
use crate::domain::{
    Act, Applied, Change, Counted, Join, Placement, Refusal, ServiceSpec, State, Token, apply,
    invariant,
};

fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

fn constrained(list: &[&str]) -> ServiceSpec {
    let constraints = list.iter().map(|text| text.parse().expect("a constraint")).collect();
    let placement = Placement { constraints, ..Placement::default() };
    ServiceSpec { placement, ..ServiceSpec::default() }
}

fn named(names: impl IntoIterator<Item = String>) -> ServiceSpec {
    let nodes = names.into_iter().map(|text| name(&text)).collect();
    let placement = Placement { nodes, ..Placement::default() };
    ServiceSpec { placement, ..ServiceSpec::default() }
}

/// What everybody who is asked says.
fn asked(state: &State) -> Vec<(NodeId, ServiceId)> {
    let pairs = state.nodes.iter().flat_map(|(id, node)| {
        let allowed = state.services.iter();
        let allowed = allowed.filter(move |(_, of)| of.spec.placement.allows(*id, node));
        allowed.map(|(service, _)| (*id, *service))
    });
    pairs.collect()
}

/// What the indexes say, by either way.
fn found(state: &State) -> Vec<(NodeId, ServiceId)> {
    let places = &state.indexes.places;
    let mut by_node: Vec<_> = state
        .nodes
        .keys()
        .flat_map(|node| places.on(*node).map(|service| (*node, service)))
        .collect();
    by_node.sort_unstable();
    let mut by_service: Vec<_> = state
        .services
        .keys()
        .flat_map(|service| places.of(*service).map(|node| (node, *service)))
        .collect();
    by_service.sort_unstable();
    assert_eq!(by_node, by_service);
    assert!(by_node.iter().all(|(node, service)| places.allow(*node, *service)));
    by_node
}

const CONSTRAINTS: &[&str] = &[
    "node.labels.zone==eu",
    "node.labels.zone==us",
    "node.labels.zone!=eu",
    "node.labels.disk==fast",
    "node.name==N2",
    "node.name!=n1",
    "node.name!=no name",
    "node.id!=no id",
];
const LABELS: &[&str] = &["zone=eu", "zone=us", "disk=fast"];

fn spec() -> impl Strategy<Value = ServiceSpec> {
    let by_id = (1..=4_u8).prop_map(|n| format!("node.id=={}", node_id(n)));
    let text = prop_oneof![prop::sample::select(CONSTRAINTS).prop_map(str::to_owned), by_id];
    let constraints = prop::collection::vec(text, 0..3);
    let names = prop::collection::vec(prop::sample::select(&["n1", "N2", "n3", "n9"][..]), 0..3);
    (constraints, names, any::<bool>()).prop_map(|(constraints, names, everywhere)| {
        let list: Vec<&str> = constraints.iter().map(String::as_str).collect();
        let mut spec = constrained(&list);
        spec.placement.nodes = names.into_iter().map(name).collect();
        spec.placement.everywhere = everywhere && spec.placement.nodes.is_empty();
        spec
    })
}

fn change() -> impl Strategy<Value = Change> {
    let put = prop::collection::vec(prop::sample::select(LABELS), 0..3);
    let gone = prop::collection::vec(prop::sample::select(&["zone", "disk"][..]), 0..2);
    prop_oneof![
        (1..=4_u8, spec()).prop_map(|(n, spec)| {
            Change::CreateService { id: service_id(n), name: name(&format!("s{n}")), spec }
        }),
        (1..=4_u8, spec()).prop_map(|(n, spec)| {
            Change::UpdateService { id: service_id(n), expect: None, spec }
        }),
        (1..=4_u8).prop_map(|n| Change::RemoveService { id: service_id(n) }),
        (1..=4_u8, put, gone).prop_map(|(n, put, gone)| Change::UpdateNode {
            id: node_id(n),
            put: put.into_iter().map(label).collect(),
            gone: gone.into_iter().map(str::to_owned).collect(),
            availability: None,
        }),
        (1..=4_u8).prop_map(|n| Change::RemoveNode { id: node_id(n), force: true }),
    ]
}

proptest! {
    #[test]
    fn the_indexes_say_what_everybody_says(
        list in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..30),
    ) {
        let mut world = World::with_workers(3);
        for (n, pattern) in [(8, "n9"), (9, "n*")] {
            let token = Token { name_pattern: Some(pattern.to_owned()), ..token() };
            let id = TokenId::from_bytes([n; 16]);
            world.one(Change::CreateToken { id, token }).expect("a token");
        }
        for changes in list {
            // Refused ones too: what they wrote is undone.
            let _outcome = world.change(changes);
            prop_assert_eq!(found(&world.state), asked(&world.state));
        }
        // A node comes back under its name.
        let token = TokenId::from_bytes([9; 16]);
        let _outcome = world.act(Act::Join(Box::new(Join { token, ..join(9, "n2") })));
        prop_assert_eq!(found(&world.state), asked(&world.state));
    }
}

/// So many workers and services, each service on one node by its name; the invariants are
/// looked at by whoever calls, once.
fn many(count: u16) -> World {
    let mut world = World::founded();
    for n in 0..count {
        let [high, low] = n.to_be_bytes();
        let mut id = [7; 16];
        id[..2].copy_from_slice(&[high, low]);
        let join =
            Join { node: NodeId::from_bytes(id), key: id_key(n), ..join(1, &format!("w{n}")) };
        raw(&mut world, Act::Join(Box::new(Join { token: TOKEN, ..join })))
            .outcome
            .expect("joined");
        let create = Change::CreateService {
            id: ServiceId::from_bytes(id),
            name: name(&format!("s{n}")),
            spec: named([format!("w{n}")]),
        };
        raw(&mut world, Act::Change(vec![create])).outcome.expect("made");
    }
    world
}

fn id_key(n: u16) -> [u8; 32] {
    let mut key = [3; 32];
    key[..2].copy_from_slice(&n.to_be_bytes());
    key
}

fn raw(world: &mut World, act: Act) -> Applied {
    let command = world.command(act);
    let revision = Revision(world.state.revision.0 + 1);
    apply(&mut world.state, revision, &command).applied
}

/// Steps of an act with `count` nodes and services around.
fn cost(count: u16, act: impl Fn(&World) -> Act) -> usize {
    let mut world = many(count);
    let act = act(&world);
    let (applied, steps) = steps_of(|| raw(&mut world, act));
    applied.outcome.expect("applied");
    assert_eq!(invariant::broken(&world.state), Vec::<&str>::new());
    steps
}

type Asks<'a> = &'a dyn Fn(&World) -> Act;

#[test]
fn a_change_costs_what_it_touches() {
    let first = |world: &World| *world.state.services.keys().next().expect("one");
    let node = |world: &World| *world.state.indexes.nodes.get(&name("w7").key()).expect("one");
    let update = |spec: ServiceSpec| {
        move |world: &World| {
            let one = Change::UpdateService { id: first(world), expect: None, spec: spec.clone() };
            Act::Change(vec![one])
        }
    };
    let relabel = |world: &World| {
        let put = vec![label("zone=eu")];
        Act::Change(vec![Change::UpdateNode {
            id: node(world),
            put,
            gone: Vec::new(),
            availability: None,
        }])
    };
    let leave =
        |world: &World| Act::Change(vec![Change::RemoveNode { id: node(world), force: true }]);
    let gone = |world: &World| Act::Change(vec![Change::RemoveService { id: first(world) }]);
    let enter = |_: &World| Act::Join(Box::new(join(200, "w99999")));
    let by_name = update(named((0..30).map(|n| format!("w{n}"))));
    let by_label = update(constrained(&["node.labels.zone==eu", "node.name!=w3"]));
    let to_all = update(everywhere());
    let acts: [(&str, Asks<'_>); 7] = [
        ("by name", &by_name),
        ("by label", &by_label),
        ("to all", &to_all),
        ("relabel", &relabel),
        ("leave", &leave),
        ("gone", &gone),
        ("enter", &enter),
    ];
    for (what, act) in acts {
        let (few, many) = (cost(40, act), cost(400, act));
        assert_eq!(few, many, "{what}: ten times as many others cost nothing");
        assert!(few <= 31, "{what}: {few}");
    }
    // Only what no index can tell is asked of everybody, and that is counted.
    let by_difference = update(constrained(&["node.labels.zone!=eu"]));
    assert_eq!((cost(40, &by_difference), cost(400, &by_difference)), (40, 400));
}

#[test]
fn one_act_looks_at_so_much_and_no_more() {
    let mut world = World::founded();
    let (count, each) = (2_100_u16, 64);
    for n in 0..count {
        let mut id = [7; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let join =
            Join { node: NodeId::from_bytes(id), key: id_key(n), ..join(1, &format!("w{n}")) };
        raw(&mut world, Act::Join(Box::new(join))).outcome.expect("joined");
    }
    world.state.stamp = world.state.stamp.plus_ms(limits::DEADLINE_MS + 1);
    let create = |n: u8| Change::CreateService {
        id: service_id(n),
        name: name(&format!("s{n}")),
        spec: constrained(&["node.labels.zone!=eu"]),
    };
    let before = world.state.clone();
    let refused = raw(&mut world, Act::Change((1..=each).map(create).collect())).outcome;
    let what = Counted::LookedAt;
    assert!(matches!(refused, Err(Refusal::Limit { what: found, .. }) if found == what));
    assert_eq!(world.state.indexes.places, before.indexes.places, "all of it is undone");
    raw(&mut world, Act::Change((1..=20).map(create).collect())).outcome.expect("fewer at a time");
    assert_eq!(world.state.indexes.places.pairs(), 20 * usize::from(count));
    assert_eq!(invariant::broken(&world.state), Vec::<&str>::new());
}

#[test]
fn a_secret_of_many_services_is_updated_at_their_number() {
    let mut world = World::with_workers(1);
    world.secret(1, "db");
    for n in 1..=200 {
        world.service(n, &format!("s{n}"), everywhere());
        let target = grant(1, "db");
        raw(
            &mut world,
            Act::Change(vec![Change::Grant { service: service_id(n), grant: target.into() }]),
        );
    }
    for n in 0..20 {
        let update =
            Change::UpdateSecret { id: secret_id(1), expect: None, version: version(50 + n) };
        world.one(update).expect("updated");
    }
    assert_eq!(world.state.secrets[&secret_id(1)].versions.len(), limits::VERSIONS);
    assert_eq!(world.state.indexes.service_bytes.len(), 200);
}

//! Names stand for one thing.

use crate::base::{Labels, Stamp, TokenId};
use crate::domain::testing::{
    World, everywhere, genesis, join, join_manager, name, node_id, secret_id, service_id, token,
    version,
};
use crate::domain::{
    Act, Change, Join, NodeRole, Outcome, Placement, Refusal, ServiceSpec, Thing, Token, nodes_of,
};

fn on(nodes: &[&str], constraints: &[&str]) -> ServiceSpec {
    let placement = Placement {
        nodes: nodes.iter().map(|text| name(text)).collect(),
        constraints: constraints.iter().map(|text| text.parse().expect("one")).collect(),
        everywhere: false,
    };
    ServiceSpec { placement, ..ServiceSpec::default() }
}

fn bind(world: &mut World, n: u8, pattern: &str, of: Token) -> TokenId {
    let id = TokenId::from_bytes([n; 16]);
    let token = Token { name_pattern: Some(pattern.to_owned()), ..of };
    world.one(Change::CreateToken { id, token }).expect("a token");
    id
}

fn joined(world: &mut World, join: Join) -> Result<Outcome, Refusal> {
    world.act(Act::Join(Box::new(join))).outcome
}

#[test]
fn what_reads_as_an_id_is_no_name() {
    let mut world = World::with_workers(1);
    world.secret(1, "db");
    let ids = [secret_id(1).to_string(), secret_id(7).to_string().to_uppercase()];
    for called in ids.iter().map(|id| name(id)) {
        let is_id = |refused| assert_eq!(refused, Refusal::NameIsId { name: called.clone() });
        let (labels, version) = (Labels::default(), version(9));
        let id = secret_id(2);
        let create =
            Change::CreateSecret { id, name: called.clone(), labels, forward_only: false, version };
        is_id(world.one(create).expect_err("no name"));
        let spec = everywhere();
        let create = Change::CreateService { id: service_id(2), name: called.clone(), spec };
        is_id(world.one(create).expect_err("no name"));
        is_id(joined(&mut world, Join { name: called.clone(), ..join(2, "x") }).expect_err("no"));
        let mut first = genesis();
        first.node.name = called.clone();
        is_id(World::default().act(Act::Genesis(Box::new(first))).outcome.expect_err("no name"));
    }
    // The last character of an id holds two bits that are 0.
    world.secret(2, "productiondatabasepassword");
}

#[test]
fn a_name_that_is_taken_is_told_as_it_is_written() {
    let mut world = World::with_workers(1);
    world.secret(1, "Db");
    let (labels, version) = (Labels::default(), version(9));
    let create = Change::CreateSecret {
        id: secret_id(2),
        name: name("dB"),
        labels,
        forward_only: false,
        version,
    };
    assert_eq!(world.one(create).expect_err("taken").to_string(), "secret Db already exists");
    world.service(1, "Web", everywhere());
    let spec = everywhere();
    let create = Change::CreateService { id: service_id(2), name: name("web"), spec };
    assert_eq!(world.one(create).expect_err("taken").to_string(), "service Web already exists");
    let refused = joined(&mut world, join(2, "N1")).expect_err("taken");
    assert_eq!(refused.to_string(), "node n1 already exists");
}

#[test]
fn a_service_is_placed_on_workers_that_are_there_or_awaited() {
    let mut world = World::with_workers(2);
    let create = |n: u8, spec: ServiceSpec| Change::CreateService {
        id: service_id(n),
        name: name(&format!("s{n}")),
        spec,
    };
    let (stranger, id) = (format!("node.id=={}", node_id(9)), node_id(9).to_string());
    for (spec, what) in [
        (on(&["n1", "typo"], &[]), "typo"),
        (on(&["m1"], &[]), "m1"),
        (on(&[], &["node.name==typo"]), "typo"),
        (on(&[], &["node.name==no name"]), "no name"),
        (on(&[], &[stranger.as_str()]), id.as_str()),
        (on(&[], &["node.labels.x==y", "node.name==typo"]), "typo"),
    ] {
        let refused = world.one(create(1, spec)).expect_err("nobody");
        assert_eq!(refused, Refusal::NotFound { thing: Thing::Worker, what: what.to_owned() });
    }
    world.one(create(1, on(&["N1"], &["node.name!=typo"]))).expect("it is there");
    let awaited = bind(&mut world, 8, "Typo", token());
    world.one(create(2, on(&["typo"], &[]))).expect("a token is made for it");
    world.one(Change::RemoveToken { id: awaited }).expect("gone");
    assert!(world.one(create(3, on(&["typo"], &[]))).is_err(), "nobody is awaited any more");
    for (n, pattern, of) in [
        (
            1,
            "typo",
            Token { uses_left: Some(1), ends: Stamp(world.state.stamp.0 + 2_000), ..token() },
        ),
        (2, "typo*", token()),
        (3, "typo", Token { role: NodeRole::Manager, ..token() }),
    ] {
        bind(&mut world, n, pattern, of);
    }
    world.state.stamp = Stamp(world.state.stamp.0 + 5_000);
    assert!(world.one(create(3, on(&["typo"], &[]))).is_err(), "ended, for many, for managers");
    // What stands may stay, also when nobody is awaited any more; no more may come.
    let update = |spec| Change::UpdateService { id: service_id(2), expect: None, spec };
    world.one(update(on(&["TYPO", "n2"], &[]))).expect("the one that is new is there");
    assert!(world.one(update(on(&["typo", "typo2"], &[]))).is_err());
}

#[test]
fn a_name_that_services_are_placed_by_is_given_by_a_token_for_it() {
    let mut world = World::with_workers(3);
    world.service(1, "a", on(&["n1"], &[]));
    world.service(2, "b", on(&[], &["node.labels.x!=y", "node.name==n2"]));
    world.service(3, "c", on(&[], &["node.name!=n3"]));
    for n in 1..=3 {
        world.one(Change::RemoveNode { id: node_id(n), force: true }).expect("gone");
    }
    let all = bind(&mut world, 7, "**", token());
    let some = bind(&mut world, 8, "n*", token());
    for n in 1..=2 {
        let called = format!("N{n}");
        let by = |token| Join { token, ..join(10 + n, &called) };
        for token in [join(10 + n, &called), by(all), by(some)] {
            let refused = joined(&mut world, token).expect_err("by a token for many names");
            assert_eq!(refused, Refusal::Reserved { name: name(&called) });
        }
        assert_eq!(nodes_of(&world.state, service_id(n)).len(), 0, "nobody's");
        let its = bind(&mut world, 20 + n, &called, token());
        joined(&mut world, by(its)).expect("a token for it");
        assert!(nodes_of(&world.state, service_id(n)).contains(&node_id(10 + n)));
    }
    joined(&mut world, join(13, "n3")).expect("who is not to run a service gets nothing");
    let only = bind(&mut world, 9, "n4", Token { uses_left: Some(1), ..token() });
    assert!(joined(&mut world, join(14, "n4")).is_err(), "another is awaited");
    joined(&mut world, Join { token: only, ..join(14, "n4") }).expect("who is awaited");
    world.one(Change::RemoveNode { id: node_id(14), force: true }).expect("gone");
    joined(&mut world, join(15, "n4")).expect("nobody is awaited, no service is placed by it");
    world.one(Change::RemoveService { id: service_id(1) }).expect("gone");
    world.one(Change::RemoveNode { id: node_id(11), force: true }).expect("gone");
    joined(&mut world, join(16, "n1")).expect("no service is placed by it any more");
}

#[test]
fn a_token_for_a_name_goes_with_the_node_that_had_it() {
    let mut world = World::with_workers(1);
    let (its, other) = (bind(&mut world, 7, "n9", token()), bind(&mut world, 8, "n8", token()));
    world.service(1, "a", on(&["n9"], &[]));
    joined(&mut world, Join { token: its, ..join(9, "n9") }).expect("joined");
    let stamp = world.state.stamp;
    let later = Token { created: Stamp(stamp.0 + 60_000), ..token() };
    world.state.stamp = later.created;
    let next = bind(&mut world, 9, "N9", Token { ends: Stamp(stamp.0 + 90_000), ..later });
    world.one(Change::RemoveNode { id: node_id(9), force: true }).expect("gone");
    let stand = [its, other, next].map(|id| world.state.tokens.contains_key(&id));
    assert_eq!(stand, [false, true, true]);
    joined(&mut world, Join { token: its, ..join(10, "n9") })
        .expect_err("by what lies on its disk");
    joined(&mut world, Join { token: next, ..join(10, "n9") }).expect("who comes next");
}

#[test]
fn a_manager_may_have_any_name() {
    let mut world = World::with_workers(1);
    world.service(1, "a", on(&["n1"], &[]));
    world.one(Change::RemoveNode { id: node_id(1), force: true }).expect("gone");
    let id = TokenId::from_bytes([7; 16]);
    let token = Token { role: NodeRole::Manager, ..token() };
    world.one(Change::CreateToken { id, token }).expect("a token");
    let manager = Join { name: name("n1"), ..join_manager(2, id, 1) };
    joined(&mut world, manager).expect("joined");
    assert_eq!(nodes_of(&world.state, service_id(1)).len(), 0, "it runs nothing");
}

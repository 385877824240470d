//! What workloads may write, and where it is refused.

use crate::base::{WrappedKey, limits};
use crate::domain::testing::{
    World, everywhere, grant, node_id, secret_id, service_id, sized_version, version,
};
use crate::domain::{
    Act, Availability, Change, Changed, Grant, Outcome, Put, PutValue, Refusal, Thing, WrittenBy,
};

/// Service 1 may write secret 1 and read secret 2, is on node 1 and could be on node 2; secret 3
/// is nobody's.
fn world() -> World {
    let mut world = World::with_workers(2);
    for (n, called) in [(1, "db"), (2, "tls"), (3, "other")] {
        world.secret(n, called);
    }
    world.service(1, "web", everywhere());
    for (secret, write) in [(1, true), (2, false)] {
        let grant = Grant { write, ..grant(secret, &format!("t{secret}")) };
        world.one(Change::Grant { service: service_id(1), grant: grant.into() }).expect("granted");
    }
    world.expose(1, 1);
    world
}

fn value(secret: u8, expect: u32, drawn: u64) -> PutValue {
    PutValue { secret: secret_id(secret), expect, version: version(drawn) }
}

fn put(world: &mut World, node: u8, values: Vec<PutValue>) -> Result<Vec<Changed>, Refusal> {
    let put = Put { node: node_id(node), service: service_id(1), values };
    match world.act(Act::Put(Box::new(put))).outcome? {
        Outcome::Changed(list) => Ok(list.iter().cloned().collect()),
        other => panic!("{other:?}"),
    }
}

fn current(world: &World, secret: u8) -> u32 {
    world.state.secrets[&secret_id(secret)].current
}

#[test]
fn a_workload_writes_what_its_service_may_write() {
    let mut world = world();
    let added = |number| vec![Changed::Version { secret: secret_id(1), number }];
    assert_eq!(put(&mut world, 1, vec![value(1, 1, 900)]), Ok(added(2)));
    assert_eq!(put(&mut world, 1, vec![value(1, 2, 901)]), Ok(added(3)));
    let secret = &world.state.secrets[&secret_id(1)];
    let by = Some(WrittenBy { node: node_id(1), service: service_id(1) });
    assert_eq!((secret.current, secret.versions[&3].written_by), (3, by));
    assert_eq!(secret.versions[&1].written_by, None, "an operator wrote the first one");
    assert_eq!(world.pair(1, 1), Some(false), "nothing was taken");
}

#[test]
fn it_names_what_it_replaces() {
    let mut world = world();
    put(&mut world, 1, vec![value(1, 1, 900)]).expect("put");
    let late = put(&mut world, 1, vec![value(1, 1, 901)]);
    assert!(matches!(late, Err(Refusal::Conflict { expected: 1, found: 2, .. })), "{late:?}");
    assert_eq!(current(&world, 1), 2);
}

#[test]
fn what_it_only_reads_it_does_not_write() {
    let mut world = world();
    let refused = put(&mut world, 1, vec![value(2, 1, 900)]).expect_err("read only");
    assert_eq!(refused.to_string(), "service web may read secret tls and not write it");
    // All of it or nothing.
    let both = put(&mut world, 1, vec![value(1, 1, 901), value(2, 1, 902)]);
    assert!(matches!(both, Err(Refusal::NotWritable { .. })), "{both:?}");
    assert_eq!((current(&world, 1), current(&world, 2)), (1, 1));
}

#[test]
fn what_it_may_not_know_of_is_not_there() {
    let mut world = world();
    let others = put(&mut world, 1, vec![value(3, 1, 900)]);
    assert!(matches!(others, Err(Refusal::NotFound { thing: Thing::Secret, .. })), "{others:?}");
    let none = put(&mut world, 1, vec![value(9, 1, 900)]);
    assert!(matches!(none, Err(Refusal::NotFound { thing: Thing::Secret, .. })), "{none:?}");
}

#[test]
fn a_node_that_has_nothing_of_the_service_writes_nothing() {
    let mut world = world();
    let not_there = |refused: Result<_, Refusal>| {
        matches!(refused, Err(Refusal::NotFound { thing: Thing::Service, .. }))
    };
    assert!(not_there(put(&mut world, 2, vec![value(1, 1, 900)])), "placed, and never there");
    assert!(not_there(put(&mut world, 9, vec![value(1, 1, 900)])), "no such node");
    world.expose(2, 1);
    put(&mut world, 2, vec![value(1, 1, 900)]).expect("now it is");
    let drain = Change::UpdateNode {
        id: node_id(1),
        put: Vec::new(),
        gone: Vec::new(),
        availability: Some(Availability::Drain),
    };
    world.one(drain).expect("drained");
    assert_eq!(world.pair(1, 1), Some(true), "it may have the files yet");
    assert!(not_there(put(&mut world, 1, vec![value(1, 2, 901)])), "and writes no more");
}

#[test]
fn a_revoke_ends_it_and_so_does_leave_to_read_alone() {
    let mut world = world();
    let only_read = Change::Grant { service: service_id(1), grant: grant(1, "t1").into() };
    world.one(only_read).expect("changed");
    let refused = put(&mut world, 1, vec![value(1, 1, 900)]);
    assert!(matches!(refused, Err(Refusal::NotWritable { .. })), "{refused:?}");
    let again = Grant { write: true, ..grant(1, "t1") };
    world.one(Change::Grant { service: service_id(1), grant: again.into() }).expect("changed");
    put(&mut world, 1, vec![value(1, 1, 900)]).expect("again");
    let (service, secret) = (service_id(1), secret_id(1));
    world.one(Change::Revoke { service, secret, target: None }).expect("revoked");
    let refused = put(&mut world, 1, vec![value(1, 2, 901)]);
    assert!(matches!(refused, Err(Refusal::NotFound { thing: Thing::Secret, .. })), "{refused:?}");
}

#[test]
fn a_value_is_checked_as_an_operators_is() {
    let mut world = world();
    let sized = |size| PutValue { version: sized_version(900, size), ..value(1, 1, 900) };
    let most = u32::try_from(limits::VALUE_BYTES).expect("small");
    assert!(matches!(put(&mut world, 1, vec![sized(most + 1)]), Err(Refusal::Invalid(_))));
    let mut retired = value(1, 1, 900);
    retired.version.data_key = WrappedKey { number: 2, bytes: vec![3; 80] };
    assert!(matches!(put(&mut world, 1, vec![retired]), Err(Refusal::Retired { .. })));
    assert_eq!(put(&mut world, 1, Vec::new()), Err(Refusal::BadAct));
    let many = (0..=limits::CHANGES).map(|n| value(1, 1, u64::try_from(n).expect("small")));
    assert_eq!(put(&mut world, 1, many.collect()), Err(Refusal::BadAct));
    put(&mut world, 1, vec![sized(most)]).expect("the largest");
}

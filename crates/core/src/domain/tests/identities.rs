//! Certificates are renewed, issuing CAs replaced, and a cluster recovered.

use std::sync::Arc;

use crate::base::{OperatorId, Stamp, TokenId, WrappedKey, limits};
use crate::domain::Refusal;
use crate::domain::testing::{MANAGER, World, join, join_manager, node_id, recovery, rekey, token};
use crate::domain::{Act, Change, Join, Member, NodeRole, Recover, Rekey, Token};

const ADMIN: OperatorId = OperatorId::from_bytes([15; 16]);
const TOKEN: TokenId = TokenId::from_bytes([4; 16]);

fn renew(key: u8, issuer: u64) -> Act {
    let member = Member::Node(node_id(1));
    Act::Renew { member, key: [key; 32], certificate_ends: Stamp(99), issuer: Stamp(issuer) }
}

fn renewed(key: u8) -> Act {
    Act::Renewed { member: Member::Node(node_id(1)), key: [key; 32] }
}

fn rotate(begins: u64) -> Act {
    let issuing_key = WrappedKey { number: 1, bytes: vec![1; 80] };
    Act::RotateIssuer { issuing: Arc::from([2; 9]), issuing_key, begins: Stamp(begins) }
}

#[test]
fn both_keys_are_listed_until_the_new_one_is_seen() {
    let mut world = World::with_workers(1);
    let node = |world: &World| Arc::clone(&world.state.nodes[&node_id(1)]);
    let first = node(&world).key;
    assert!(world.act(renew(8, 0)).outcome.is_ok());
    assert_eq!((node(&world).key, node(&world).renewal.next_key), (first, Some([8; 32])));
    assert_eq!(node(&world).certificate_ends, Stamp(99));
    // The answer was lost: asked again with the same key, and with another one.
    assert!(world.act(renew(8, 0)).facts.is_empty());
    assert!(world.act(renew(9, 0)).outcome.is_ok());
    assert!(world.act(renewed(8)).outcome.is_err(), "that one is listed no more");
    assert!(world.act(renewed(9)).outcome.is_ok());
    assert_eq!((node(&world).key, node(&world).renewal.next_key), ([9; 32], None));
    assert!(world.act(renewed(9)).outcome.is_ok(), "seen twice");
    assert!(world.act(renew(9, 0)).outcome.is_ok(), "the same key, another end");
    assert_eq!(node(&world).renewal.next_key, None);
    assert!(world.act(renew(9, 5)).outcome.is_err(), "an issuing CA that is not in use");
}

#[test]
fn a_member_is_readmitted_for_a_day() {
    let mut world = World::with_workers(1);
    for member in [Member::Node(node_id(1)), Member::Operator(ADMIN)] {
        world.one(Change::Readmit { member }).expect("readmitted");
    }
    let until = Some(world.state.nodes[&node_id(1)].renewal.readmitted_until.expect("until"));
    assert!(until > Some(world.state.stamp));
    assert!(until <= Some(world.state.stamp.plus_ms(limits::READMITTED_MS)));
    assert!(world.state.operators[&ADMIN].renewal.readmitted_until.is_some());
    assert!(world.one(Change::Readmit { member: Member::Node(node_id(9)) }).is_err());
    assert!(world.act(renew(8, 0)).outcome.is_ok());
    assert_eq!(world.state.nodes[&node_id(1)].renewal.readmitted_until, until, "may ask again");
    assert!(world.act(renewed(8)).outcome.is_ok());
    assert_eq!(world.state.nodes[&node_id(1)].renewal.readmitted_until, None);
}

#[test]
fn a_later_issuing_ca_takes_the_place_of_an_earlier_one() {
    let mut world = World::with_workers(1);
    let issuers = |world: &World| world.state.cluster.as_deref().expect("a cluster").issuers;
    assert!(world.act(rotate(7)).outcome.is_ok());
    assert_eq!((issuers(&world).current, issuers(&world).oldest), (Stamp(7), Stamp(0)));
    assert!(issuers(&world).rotating.is_some());
    assert!(world.act(rotate(7)).outcome.is_err(), "not a later one");
    assert!(world.act(renew(8, 0)).outcome.is_err(), "the earlier one signs no more");
    assert!(world.act(Act::Join(Box::new(join(3, "n3")))).outcome.is_err());
    assert!(world.act(renew(8, 7)).outcome.is_ok());
    assert_eq!(world.state.nodes[&node_id(1)].renewal.issuer, Stamp(7));
    assert!(world.act(Act::RetireIssuers { begins: Stamp(0) }).outcome.is_err());
    assert!(world.act(Act::RetireIssuers { begins: Stamp(7) }).outcome.is_ok());
    assert_eq!((issuers(&world).oldest, issuers(&world).rotating), (Stamp(7), None));
    assert!(world.act(Act::RetireIssuers { begins: Stamp(7) }).facts.is_empty(), "once");
}

#[test]
fn a_removal_that_knows_an_earlier_issuing_ca_is_refused() {
    let mut world = World::founded();
    let manager = Token { role: NodeRole::Manager, ..token() };
    world.one(Change::CreateToken { id: TOKEN, token: manager }).expect("a token");
    assert!(world.act(Act::Join(Box::new(join_manager(2, TOKEN, 1)))).outcome.is_ok());
    assert!(world.act(rotate(7)).outcome.is_ok());
    let key = |world: &World| world.state.cluster.as_deref().expect("one").issuing_key.clone();
    let before = key(&world);
    let remove = |issuer| Change::RemoveManager {
        id: node_id(2),
        rekey: Box::new(Rekey { issuer: Stamp(issuer), ..rekey(2, [MANAGER]) }),
    };
    assert!(world.one(remove(0)).is_err(), "its key isn't that of the certificate in use");
    assert_eq!(key(&world), before);
    assert!(world.one(remove(7)).is_ok());
    assert_eq!(key(&world).number, 2);
}

#[test]
fn a_survivor_goes_on_alone_and_operators_see_it_first() {
    let mut world = with_learner();

    let unsound = [
        Recover { survivor: node_id(9), ..recovery(MANAGER) },
        Recover { survivor: node_id(1), ..recovery(MANAGER) },
        Recover { rekey: None, ..recovery(MANAGER) },
        Recover { rekey: Some(rekey(2, [MANAGER, node_id(2)])), ..recovery(MANAGER) },
        Recover { epoch: world.state.cluster.as_deref().expect("one").epoch, ..recovery(MANAGER) },
    ];
    for recover in unsound {
        assert!(world.act(Act::Recover(Box::new(recover.clone()))).outcome.is_err(), "{recover:?}");
    }
    assert!(world.act(Act::Recover(Box::new(recovery(MANAGER)))).outcome.is_ok());
    let cluster = world.state.cluster.clone().expect("a cluster");
    let recovered = cluster.recovered.as_deref().expect("not seen yet");
    assert_eq!(cluster.epoch, recovery(MANAGER).epoch);
    assert_eq!((cluster.cluster_key.number, cluster.cluster_key.boxes.len()), (2, 1));
    assert!(cluster.removed_managers.contains_key(&node_id(2)));
    assert_eq!(recovered.managers.len(), 1);
    assert!(recovered.tokens.contains(&TOKEN));
    assert!(world.state.tokens.is_empty(), "join tokens are void");
    assert!(world.state.operators.values().all(|operator| operator.suspended));
    assert!(world.state.nodes.contains_key(&node_id(1)), "agents stay");
    assert!(!world.state.nodes.contains_key(&node_id(2)));

    assert!(world.act(Act::Resume).outcome.is_ok());
    assert!(world.state.operators.values().all(|operator| !operator.suspended));
    assert!(world.state.cluster.as_deref().expect("a cluster").recovered.is_none());
    assert!(world.act(Act::Resume).facts.is_empty(), "there is nothing to see");
}

/// A manager that votes, one that learns, and a worker.
fn with_learner() -> World {
    let mut world = World::with_workers(1);
    let manager = Token { role: NodeRole::Manager, uses_left: Some(2), ..token() };
    world.one(Change::CreateToken { id: TOKEN, token: manager }).expect("a token");
    let learner = Join { learner: true, ..join_manager(2, TOKEN, 1) };
    assert!(world.act(Act::Join(Box::new(learner))).outcome.is_ok());
    assert!(world.state.nodes[&node_id(2)].learner);
    world
}

#[test]
fn a_learner_goes_and_never_stays_alone_unless_it_survives() {
    let mut world = with_learner();
    let remove = |id, rekey| Change::RemoveManager { id, rekey: Box::new(rekey) };
    let last = world.one(remove(MANAGER, rekey(2, [node_id(2)])));
    assert!(matches!(last, Err(Refusal::LastManager { .. })), "nobody would vote");
    world.one(remove(node_id(2), rekey(2, [MANAGER]))).expect("a learner goes");
    let mut world = with_learner();
    assert!(world.act(Act::Recover(Box::new(recovery(node_id(2))))).outcome.is_ok());
    assert!(!world.state.nodes[&node_id(2)].learner, "who survives votes");
}

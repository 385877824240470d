//! The rules of every kind of thing, one by one.

use std::collections::BTreeSet;

use crate::base::{Label, Labels, Revision, Stamp, TokenId, limits};
use crate::domain::testing::{
    MANAGER, TOKEN, World, everywhere, grant, join, join_manager, name, node_id, rekey, secret_id,
    service_id, sized_version, token, version,
};
use crate::domain::{
    Act, Availability, Change, Changed, Confirmation, Counted, Fact, Grant, NO_ONE, NodeRole,
    NotOne, OfflinePolicy, Outcome, Owner, Placement, Refusal, Rekey, Scope, ServiceSpec, Thing,
    Token, assignments, node_by, nodes_of, placed, secret_by, set_of,
};

fn update(n: u8, number: u64) -> Change {
    Change::UpdateSecret { id: secret_id(n), expect: None, version: version(number) }
}

fn give(service: u8, grant: Grant) -> Change {
    Change::Grant { service: service_id(service), grant: grant.into() }
}

fn set_availability(n: u8, availability: Availability) -> Change {
    let availability = Some(availability);
    Change::UpdateNode { id: node_id(n), put: Vec::new(), gone: Vec::new(), availability }
}

/// One secret `db` granted to `web`, everywhere on three workers.
fn granted() -> World {
    let mut world = World::with_workers(3);
    world.secret(1, "db");
    world.service(1, "web", everywhere());
    world.one(give(1, grant(1, "db"))).expect("granted");
    world
}

#[test]
fn versions_are_numbered_kept_and_pruned() {
    let mut world = granted();
    world.one(give(1, Grant { pin: Some(1), ..grant(1, "old") })).expect("pinned");
    for number in 2..=14 {
        let changed = world.one(update(1, number.into()));
        assert_eq!(changed, Ok(Changed::Version { secret: secret_id(1), number }));
    }
    let kept = |world: &World| -> Vec<u32> {
        world.state.secrets[&secret_id(1)].versions.keys().copied().collect()
    };
    assert_eq!(kept(&world), [1, 6, 7, 8, 9, 10, 11, 12, 13, 14], "the pinned one stays");
    let remove = |number| Change::RemoveVersion { id: secret_id(1), number };
    assert!(matches!(world.one(remove(1)), Err(Refusal::VersionInUse { .. })));
    assert!(matches!(world.one(remove(14)), Err(Refusal::VersionInUse { .. })));
    assert!(matches!(world.one(remove(2)), Err(Refusal::NotFound { .. })));
    assert_eq!(world.one(remove(9)), Ok(Changed::Done));
    let expect = Change::UpdateSecret { id: secret_id(1), expect: Some(13), version: version(99) };
    assert!(matches!(world.one(expect), Err(Refusal::Conflict { expected: 13, found: 14, .. })));
    let again = version(14);
    let again = Change::UpdateSecret { id: secret_id(1), expect: None, version: again };
    assert!(matches!(world.one(again), Err(Refusal::Invalid(_))), "a version's id is its own");
}

#[test]
fn a_granted_secret_stays() {
    let mut world = granted();
    let refused = world.one(Change::RemoveSecret { id: secret_id(1) }).expect_err("granted");
    assert_eq!(refused.to_string(), "secret 'db' is in use by the following service: web");
    let revoke = Change::Revoke { service: service_id(1), secret: secret_id(1), target: None };
    assert_eq!(world.one(revoke.clone()), Ok(Changed::Service(service_id(1))));
    assert!(matches!(world.one(revoke), Err(Refusal::NotGranted { .. })));
    assert_eq!(world.one(Change::RemoveSecret { id: secret_id(1) }), Ok(Changed::Done));
}

#[test]
fn a_refusal_names_a_few_and_a_count() {
    let mut world = World::with_workers(1);
    world.secret(1, "db");
    for n in 1..=12 {
        world.service(n, &format!("s{n:02}"), everywhere());
        world.one(give(n, grant(1, "db"))).expect("granted");
        world.expose(1, n);
    }
    let in_use = world.one(Change::RemoveSecret { id: secret_id(1) }).expect_err("granted");
    let first = "s01, s02, s03, s04, s05, s06, s07, s08, s09, s10 and 2 more";
    let text = format!("secret 'db' is in use by the following services: {first}");
    assert_eq!(in_use.to_string(), text);
    let remove = |force| Change::RemoveNode { id: node_id(1), force };
    let holds = world.one(remove(false)).expect_err("it may hold secrets");
    assert_eq!(holds.to_string(), format!("node n1 may still hold secrets of {first}"));
    assert_eq!(world.one(remove(true)), Ok(Changed::Done));
}

#[test]
fn a_version_that_is_pinned_stays_and_there_are_only_so_many() {
    let mut world = World::with_workers(1);
    world.secret(1, "db");
    world.service(1, "web", everywhere());
    let mut number = 1;
    let refused = loop {
        let pin = Grant { pin: Some(number), ..grant(1, &format!("t{number}")) };
        world.one(give(1, pin)).expect("pinned");
        match world.one(update(1, 5_000 + u64::from(number))) {
            Ok(_) => number += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refused, Refusal::Limit { what: Counted::Pinned, .. }), "{refused:?}");
    assert_eq!(usize::try_from(number), Ok(limits::PINNED_VERSIONS));
    world
        .one(Change::Revoke { service: service_id(1), secret: secret_id(1), target: None })
        .expect("revoked");
    assert_eq!(world.state.secrets[&secret_id(1)].versions.len(), limits::VERSIONS);
}

#[test]
fn grants_are_replaced_refused_and_counted() {
    let mut world = granted();
    world.secret(2, "tls");
    assert_eq!(world.one(give(1, grant(1, "db"))), Ok(Changed::Already));
    let private = Grant { mode: 0o400, ..grant(1, "db") };
    assert_eq!(world.one(give(1, private)), Ok(Changed::Service(service_id(1))));
    assert!(matches!(world.one(give(1, grant(2, "db"))), Err(Refusal::TargetTaken { .. })));
    let unpinnable = Grant { pin: Some(2), ..grant(1, "x") };
    assert!(matches!(
        world.one(give(1, unpinnable)),
        Err(Refusal::NotFound { thing: Thing::Version, .. })
    ));
    let set_uid = Grant { mode: 0o4755, ..grant(1, "x") };
    assert!(matches!(world.one(give(1, set_uid)), Err(Refusal::Invalid(_))));
    assert!(matches!(world.one(give(1, grant(9, "x"))), Err(Refusal::NotFound { .. })));
    for n in 1..limits::GRANTS {
        world.state.stamp.0 += 60_000; // answers would pile up
        world.one(give(1, grant(2, &format!("t{n}")))).expect("below the limit");
    }
    assert!(matches!(world.one(give(1, grant(2, "more"))), Err(Refusal::Limit { .. })));
}

#[test]
fn a_service_brings_64_mib_at_most() {
    let mut world = World::with_workers(1);
    world.service(1, "web", everywhere());
    world.secret(1, "db");
    for n in 0..132 {
        world.one(give(1, grant(1, &format!("t{n}")))).expect("small files");
    }
    let id = secret_id(1);
    let large = |n| Change::UpdateSecret { id, expect: None, version: sized_version(n, 511_999) };
    assert!(matches!(
        world.one(large(5)),
        Err(Refusal::Limit { limit: limits::SERVICE_BYTES, .. })
    ));
    world.one(give(1, Grant { pin: Some(1), ..grant(1, "t0") })).expect("pinned to the small one");
    world.one(large(6)).expect("131 files of 511,999 bytes fit");
    assert!(matches!(world.one(give(1, grant(1, "t0"))), Err(Refusal::Limit { .. })));
}

#[test]
fn what_is_taken_from_an_exposed_pair_is_pending() {
    let mut world = granted();
    world.expose(1, 1);
    world.expose(2, 1);
    let regrant = Grant { mode: 0o400, ..grant(1, "db") };
    world.one(give(1, regrant)).expect("another mode");
    assert_eq!(world.pair(1, 1), Some(false), "nothing was taken");
    world
        .one(Change::Revoke { service: service_id(1), secret: secret_id(1), target: None })
        .expect("revoked");
    assert_eq!(
        (world.pair(1, 1), world.pair(2, 1), world.pair(3, 1)),
        (Some(true), Some(true), None)
    );
    let at = world.state.revision;
    let confirm = |node, revision, gone| {
        let (node, service) = (node_id(node), service_id(1));
        Act::Confirm(vec![Confirmation { node, service, revision, gone }])
    };
    world.act(confirm(1, Revision(at.0 - 1), true));
    assert_eq!(world.pair(1, 1), Some(true), "what it confirms is older than the revoke");
    world.act(confirm(1, at, false));
    assert_eq!(world.pair(1, 1), Some(false));
    world.act(confirm(2, at, true));
    assert_eq!(world.pair(2, 1), None);
    world.expose(2, 1);
    world.act(confirm(2, at, true));
    assert_eq!(world.pair(2, 1), Some(false), "of bytes sent before the pair began anew");
}

#[test]
fn placement_and_availability_take_too() {
    let named = |text: &str| ServiceSpec {
        placement: Placement { nodes: vec![name(text)], ..Placement::default() },
        ..ServiceSpec::default()
    };
    let mut world = granted();
    for n in 1..=3 {
        world.expose(n, 1);
    }
    let to = |spec| Change::UpdateService { id: service_id(1), expect: None, spec };
    assert_eq!(world.one(to(everywhere())), Ok(Changed::Already));
    world.one(to(named("N1"))).expect("moved");
    assert_eq!((world.pair(1, 1), world.pair(2, 1)), (Some(false), Some(true)));
    world.one(set_availability(1, Availability::Pause)).expect("paused");
    assert_eq!(world.pair(1, 1), Some(false), "what is there stays");
    world.one(set_availability(1, Availability::Drain)).expect("drained");
    assert_eq!(world.pair(1, 1), Some(true));
    let gone = Act::Confirm(vec![Confirmation {
        node: node_id(1),
        service: service_id(1),
        revision: world.state.revision,
        gone: false,
    }]);
    world.act(gone);
    assert_eq!(world.pair(1, 1), Some(true), "of a pair that is not due nothing may stay");
    world.one(to(ServiceSpec::default())).expect("nowhere");
    world.one(Change::RemoveService { id: service_id(1) }).expect("removed");
    assert_eq!(world.pair(3, 1), Some(true), "a pair outlives its service");
}

#[test]
fn labels_move_services() {
    let mut world = World::with_workers(2);
    let eu = ServiceSpec {
        placement: Placement {
            constraints: vec!["node.labels.zone==eu".parse().expect("a constraint")],
            ..Placement::default()
        },
        ..ServiceSpec::default()
    };
    world.service(1, "web", eu);
    assert!(nodes_of(&world.state, service_id(1)).is_empty());
    let label = |put: Vec<Label>, gone: Vec<String>| Change::UpdateNode {
        id: node_id(1),
        put,
        gone,
        availability: None,
    };
    let put = label(vec!["zone=eu".parse().expect("a label")], Vec::new());
    assert_eq!(world.one(put.clone()), Ok(Changed::Done));
    assert_eq!(world.one(put), Ok(Changed::Already));
    assert_eq!(nodes_of(&world.state, service_id(1)), BTreeSet::from([node_id(1)]));
    world.expose(1, 1);
    world.one(label(Vec::new(), vec!["zone".to_owned()])).expect("unlabelled");
    assert_eq!(world.pair(1, 1), Some(true));
}

#[test]
fn what_is_due_depends_on_running_and_availability() {
    let mut world = granted();
    let running = BTreeSet::from([service_id(1)]);
    let due = |world: &World, node| assignments(&world.state, node_id(node), &running);
    assert!(assignments(&world.state, node_id(1), &BTreeSet::new()).is_empty(), "idle");
    assert_eq!(due(&world, 1).len(), 1);
    assert_eq!(due(&world, 1)[0].files[0].number, 1);
    let digest = set_of(&world.state, service_id(1)).expect("a set").digest();
    world.one(update(1, 50)).expect("updated");
    assert_ne!(set_of(&world.state, service_id(1)).expect("a set").digest(), digest);
    assert!(assignments(&world.state, MANAGER, &running).is_empty(), "managers run nothing");
    world.expose(1, 1);
    for n in [1, 2] {
        world.one(set_availability(n, Availability::Pause)).expect("paused");
    }
    assert_eq!((due(&world, 1).len(), due(&world, 2).len()), (1, 0), "nothing new arrives");
    world.expose(2, 1);
    assert_eq!(world.pair(2, 1), None);
    world.one(set_availability(1, Availability::Drain)).expect("drained");
    assert!(placed(&world.state, node_id(1)).is_empty());
}

#[test]
fn nodes_leave_when_nothing_is_left_on_them() {
    let mut world = granted();
    world.expose(1, 1);
    let remove = |id, force| Change::RemoveNode { id, force };
    let refused = world.one(remove(node_id(1), false)).expect_err("it holds a secret");
    assert_eq!(refused.to_string(), "node n1 may still hold secrets of web");
    world.one(remove(node_id(1), true)).expect("written off");
    assert_eq!(world.pair(1, 1), None);
    world.one(remove(node_id(2), false)).expect("nothing there");
    let last = Change::RemoveManager { id: MANAGER, rekey: Box::new(rekey(2, [])) };
    assert!(matches!(world.one(last), Err(Refusal::LastManager { .. })));
}

#[test]
fn a_token_admits_whom_it_names() {
    let mut world = World::founded();
    let id = TokenId::from_bytes([0x77; 16]);
    let labels = Labels::new(["zone=eu".parse().expect("a label")]).expect("labels");
    let ends = Stamp(world.state.stamp.0 + 60_000);
    let pattern = Some("db*".to_owned());
    let token = Token {
        labels,
        name_pattern: pattern,
        uses_left: Some(1),
        ends,
        digest: [9; 32],
        ..token()
    };
    world.one(Change::CreateToken { id, token }).expect("a token");
    let by =
        |n, called: &str| crate::domain::Join { token: id, digest: [9; 32], ..join(n, called) };
    let mut refused =
        |join| world.act(Act::Join(Box::new(join))).outcome.expect_err("no").to_string();
    assert_eq!(refused(by(1, "web1")), "the join token is not for the name web1");
    let forged = crate::domain::Join { digest: [8; 32], ..by(1, "db1") };
    assert_eq!(refused(forged), "the join token is not known");
    let manager = crate::domain::Join { role: NodeRole::Manager, ..by(1, "db1") };
    assert_eq!(refused(manager), "the join token is for a worker");
    assert!(world.act(Act::Join(Box::new(by(1, "DB1")))).outcome.is_ok());
    assert_eq!(world.state.nodes[&node_id(1)].labels.get("zone"), Some("eu"));
    // The answer was lost: whoever has the same key asks again, and is the same node.
    let again = crate::domain::Join { node: node_id(5), ..by(1, "DB1") };
    let Ok(Outcome::Joined(node)) = world.act(Act::Join(Box::new(again))).outcome else {
        panic!("not the same node")
    };
    assert_eq!((&*node, world.state.nodes.len()), (&*world.state.nodes[&node_id(1)], 2));
    assert_eq!(world.state.tokens[&id].uses_left, Some(0));
    let mut refused =
        |join| world.act(Act::Join(Box::new(join))).outcome.expect_err("no").to_string();
    assert_eq!(refused(by(2, "db2")), "the join token is used up");
    let second = crate::domain::Join { token: TOKEN, digest: [16; 32], ..by(2, "db1") };
    assert_eq!(refused(second), "node DB1 already exists");
    world.state.stamp = ends;
    let late = world.act(Act::Join(Box::new(by(2, "db2")))).outcome.expect_err("late");
    assert_eq!(late.to_string(), "the join token has ended");
}

#[test]
fn a_manager_is_reached_where_it_says() {
    let mut world = World::with_workers(1);
    let at = |world: &World| world.state.nodes[&MANAGER].addresses.clone();
    let to = |manager, addresses: &[&str]| Act::Move {
        manager,
        addresses: addresses.iter().map(ToString::to_string).collect(),
    };
    let moved = world.act(to(MANAGER, &["m1:1", "m1:2"]));
    assert_eq!(moved.facts, [Fact::NodeRevised(MANAGER)]);
    assert_eq!(at(&world), ["m1:1", "m1:2"]);
    let again = world.act(to(MANAGER, &["m1:1", "m1:2"]));
    assert_eq!((again.outcome.is_ok(), again.facts.len()), (true, 0), "nothing to do");
    let long = "a".repeat(limits::ADDRESS_BYTES + 1);
    for addresses in [vec![], vec!["a"; limits::ADDRESSES + 1], vec![long.as_str()]] {
        assert!(world.act(to(MANAGER, &addresses)).outcome.is_err(), "{addresses:?}");
    }
    assert!(world.act(to(node_id(1), &["w:1"])).outcome.is_err(), "a worker has none");
    assert!(world.act(to(node_id(9), &["m9:1"])).outcome.is_err(), "there is none");
    assert_eq!(at(&world), ["m1:1", "m1:2"]);
}

#[test]
fn managers_join_with_their_box_and_leave_without_it() {
    let mut world = World::founded();
    let id = TokenId::from_bytes([0x77; 16]);
    let token = Token { role: NodeRole::Manager, ..token() };
    world.one(Change::CreateToken { id, token }).expect("a token");
    let by = |n, number| join_manager(n, id, number);
    let stale = world.act(Act::Join(Box::new(by(2, 7)))).outcome;
    assert!(matches!(stale, Err(Refusal::Invalid(_))), "a box of another cluster key");
    for n in 2..=7 {
        assert!(world.act(Act::Join(Box::new(by(n, 1)))).outcome.is_ok());
    }
    let eighth = world.act(Act::Join(Box::new(by(8, 1)))).outcome;
    assert_eq!(eighth, Err(Refusal::Limit { what: Counted::Managers, limit: 7 }));
    let staying = || (2..=7).map(node_id);
    let bare = world.one(Change::RemoveNode { id: MANAGER, force: true });
    assert!(matches!(bare, Err(Refusal::Invalid(_))), "without a new cluster key");
    let gone = |rekey: Rekey| Change::RemoveManager { id: MANAGER, rekey: Box::new(rekey) };
    for number in [1, 3] {
        let stale = world.one(gone(rekey(number, staying())));
        assert_eq!(stale, Err(Refusal::Retired { found: number, wanted: 2 }));
    }
    let too_few = world.one(gone(rekey(2, staying().skip(1))));
    assert!(matches!(too_few, Err(Refusal::Invalid(_))), "a manager without a box");
    let too_many = world.one(gone(rekey(2, staying().chain([MANAGER]))));
    assert!(matches!(too_many, Err(Refusal::Invalid(_))), "a box for whom it is to be kept from");
    world.one(gone(rekey(2, staying()))).expect("others are left");
    let cluster = world.state.cluster.as_deref().expect("a cluster");
    assert_eq!((cluster.cluster_key.number, cluster.issuing_key.number), (2, 2));
    assert!(!cluster.cluster_key.boxes.contains_key(&MANAGER));
    assert!(cluster.removed_managers.contains_key(&MANAGER));
}

#[test]
fn older_cluster_keys_stay_as_long_as_a_data_key_needs_them() {
    let mut world = World::founded();
    let id = TokenId::from_bytes([0x77; 16]);
    let manager = Token { role: NodeRole::Manager, ..token() };
    world.one(Change::CreateToken { id, token: manager }).expect("a token");
    world.secret(1, "db");
    let kept = |world: &World| -> Vec<u64> {
        let cluster = world.state.cluster.as_deref().expect("a cluster");
        cluster.cluster_key.previous.keys().copied().collect()
    };
    for number in 1..=4 {
        let n = u8::try_from(number + 1).expect("small");
        assert!(world.act(Act::Join(Box::new(join_manager(n, id, number)))).outcome.is_ok());
        let rekey = Box::new(rekey(number + 1, [MANAGER]));
        world.one(Change::RemoveManager { id: node_id(n), rekey }).expect("removed");
        assert_eq!(kept(&world), (1..=number).collect::<Vec<_>>());
    }
    let update = |version| Change::UpdateSecret { id: secret_id(1), expect: None, version };
    let stale = world.one(update(version(100)));
    assert_eq!(stale, Err(Refusal::Retired { found: 1, wanted: 5 }));
    let mut fresh = version(101);
    fresh.data_key.number = 5;
    world.one(update(fresh)).expect("under the key in use");
    world.one(Change::RemoveVersion { id: secret_id(1), number: 1 }).expect("the old one goes");
    assert!(world.act(Act::Join(Box::new(join_manager(9, id, 5)))).outcome.is_ok());
    let rekey = Box::new(rekey(6, [MANAGER]));
    world.one(Change::RemoveManager { id: node_id(9), rekey }).expect("removed");
    assert_eq!(kept(&world), [5], "nothing needs the others");
    let removed = &world.state.cluster.as_deref().expect("a cluster").removed_managers;
    assert_eq!(removed.len(), 5);
}

#[test]
fn nothing_is_given_to_whom_no_node_can_give_it() {
    let mut world = World::with_workers(1);
    world.secret(1, "db");
    world.service(1, "web", ServiceSpec::default());
    let invalid = |refused: Result<_, Refusal>| matches!(refused, Err(Refusal::Invalid(_)));
    for (uid, gid) in [(NO_ONE, 0), (0, NO_ONE)] {
        let grant = Grant { uid, gid, ..grant(1, "db") };
        assert!(invalid(world.one(Change::Grant { service: service_id(1), grant: grant.into() })));
        let spec = ServiceSpec { owner: Owner { uid, gid }, ..ServiceSpec::default() };
        let create = |n| Change::CreateService {
            id: service_id(n),
            name: name("other"),
            spec: spec.clone(),
        };
        assert!(invalid(world.one(create(2))));
        let update = Change::UpdateService { id: service_id(1), expect: None, spec: spec.clone() };
        assert!(invalid(world.one(update)));
    }
    for age in [0, limits::OFFLINE_S + 1, u64::MAX] {
        let spec = ServiceSpec { offline: OfflinePolicy::MaxAge(age), ..ServiceSpec::default() };
        let update = Change::UpdateService { id: service_id(1), expect: None, spec };
        assert!(invalid(world.one(update)));
    }
    let grant = Grant { uid: NO_ONE - 1, ..grant(1, "db") };
    assert!(world.one(Change::Grant { service: service_id(1), grant: grant.into() }).is_ok());
}

#[test]
fn things_are_found_by_id_name_and_beginning() {
    let mut world = World::with_workers(1);
    world.secret(0x10, "db");
    world.secret(0x11, "aaaa");
    let (db, other) = (secret_id(0x10), secret_id(0x11));
    let by = |what: &str| secret_by(&world.state, &Scope::everything(), what);
    assert_eq!((by("DB"), by("aaaa")), (Ok(db), Ok(other)));
    assert_eq!(by(&db.to_string()), Ok(db));
    let text = db.to_string();
    let (shared, own) = text.split_at(1);
    assert_eq!(by(&format!("{shared}{}", own.get(..3).expect("long"))), Ok(db));
    let ambiguous = by(shared).expect_err("two begin so");
    assert_eq!(ambiguous.to_string(), format!("secret {shared} is ambiguous (2 matches found)"));
    assert_eq!(by("").map_err(|error| error.to_string()), Err("secret  not found".to_owned()));
    assert_eq!(
        node_by(&world.state, "n9"),
        Err(NotOne::NotFound { thing: Thing::Node, what: "n9".to_owned() })
    );
}

#[test]
fn labels_of_a_secret_change_and_its_versions_stay() {
    let mut world = World::founded();
    world.secret(1, "db");
    let label = |put: &[&str], gone: &[&str]| Change::LabelSecret {
        id: secret_id(1),
        put: put.iter().map(|text| text.parse().expect("a label")).collect(),
        gone: gone.iter().map(ToString::to_string).collect(),
    };
    let before = world.state.secrets[&secret_id(1)].clone();
    assert_eq!(world.one(label(&["team=db", "x=y"], &[])), Ok(Changed::Done));
    assert_eq!(world.one(label(&["team=db"], &["z"])), Ok(Changed::Already));
    assert_eq!(world.one(label(&["team=web"], &["x"])), Ok(Changed::Done));
    let now = world.state.secrets[&secret_id(1)].clone();
    let labels: Vec<_> = now.labels.iter().collect();
    assert_eq!(labels, [("team", "web")]);
    assert_eq!((now.current, &now.versions), (before.current, &before.versions));
    assert!(now.revision > before.revision);
    // Together with a new value they are one act: refused whole, or done whole.
    let update = |expect| Change::UpdateSecret { id: secret_id(1), expect, version: version(9) };
    let refused = world.act(Act::Change(vec![label(&["a=b"], &[]), update(Some(7))]));
    assert!(refused.outcome.is_err());
    assert_eq!(world.state.secrets[&secret_id(1)].labels, now.labels);
    assert!(world.act(Act::Change(vec![update(Some(1)), label(&["a=b"], &[])])).outcome.is_ok());
    assert_eq!(world.state.secrets[&secret_id(1)].current, 2);
    assert_eq!(world.state.secrets[&secret_id(1)].labels.iter().count(), 2);
    let missing = Change::LabelSecret { id: secret_id(9), put: Vec::new(), gone: Vec::new() };
    assert!(matches!(world.one(missing), Err(Refusal::NotFound { .. })));
}

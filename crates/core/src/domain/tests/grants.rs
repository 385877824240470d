//! What a service has, and how it loses it.

use crate::domain::testing::{World, everywhere, grant, node_id, secret_id, service_id, version};
use crate::domain::{
    Act, Change, Changed, Confirmation, Grant, GrantAsked, Pin, Refusal, holders, is_pending,
};

/// Two secrets, and a service that has the first as `a` and `b`, on one node.
fn world() -> World {
    let mut world = World::with_workers(1);
    world.secret(1, "db");
    world.secret(2, "tls");
    let version = version(99);
    world.one(Change::UpdateSecret { id: secret_id(1), expect: None, version }).expect("two");
    world.service(1, "web", everywhere());
    for target in ["a", "b"] {
        let private = Grant { uid: 33, gid: 34, mode: 0o400, pin: Some(1), ..grant(1, target) };
        give(&mut world, private.into()).expect("granted");
    }
    world.expose(1, 1);
    world
}

/// Nothing of a grant is said but which one.
fn bare(secret: u8, target: &str) -> GrantAsked {
    let full = GrantAsked::from(grant(secret, target));
    GrantAsked { uid: None, gid: None, mode: None, pin: None, write: None, ..full }
}

fn give(world: &mut World, grant: GrantAsked) -> Result<Changed, Refusal> {
    world.one(Change::Grant { service: service_id(1), grant })
}

fn revoke(world: &mut World, secret: u8, target: Option<&str>) -> Result<Changed, Refusal> {
    let (service, secret) = (service_id(1), secret_id(secret));
    let target = target.map(|target| target.parse().expect("a target"));
    world.one(Change::Revoke { service, secret, target })
}

fn stands(world: &World, target: &str) -> Option<Grant> {
    let target = target.parse().expect("a target");
    world.state.services[&service_id(1)].grants.get(&target).cloned()
}

fn confirm(world: &mut World) {
    let (node, service, revision) = (node_id(1), service_id(1), world.state.revision);
    let done = Confirmation { node, service, revision, gone: false };
    assert!(world.act(Act::Confirm(vec![done])).outcome.is_ok());
}

#[test]
fn what_a_repeated_grant_does_not_say_stays() {
    let mut world = world();
    assert_eq!(give(&mut world, bare(1, "a")), Ok(Changed::Already));
    let asked = GrantAsked { mode: Some(0o440), ..bare(1, "a") };
    give(&mut world, asked).expect("changed");
    let wanted = Grant { uid: 33, gid: 34, mode: 0o440, pin: Some(1), ..grant(1, "a") };
    assert_eq!(stands(&world, "a"), Some(wanted.clone()));
    give(&mut world, GrantAsked { pin: Some(Pin::Current), ..bare(1, "a") }).expect("changed");
    assert_eq!(stands(&world, "a"), Some(Grant { pin: None, ..wanted }));
    give(&mut world, bare(1, "new")).expect("granted");
    assert_eq!(stands(&world, "new"), Some(grant(1, "new")), "the usual where it is new");
    assert_eq!(world.pair(1, 1), Some(false), "nothing was taken");
}

#[test]
fn a_secret_takes_the_target_of_another_in_one_act() {
    let mut world = world();
    assert!(matches!(give(&mut world, bare(2, "a")), Err(Refusal::TargetTaken { .. })));
    give(&mut world, GrantAsked { replace: true, ..bare(2, "a") }).expect("replaced");
    let wanted = Grant { uid: 33, gid: 34, mode: 0o400, ..grant(2, "a") };
    assert_eq!(stands(&world, "a"), Some(wanted), "the file's owner stays, another's pin does not");
    assert_eq!(world.pair(1, 1), Some(true), "the other was taken");
    confirm(&mut world);
    assert_eq!(world.pair(1, 1), Some(false));
}

#[test]
fn one_target_of_several_is_taken() {
    let mut world = world();
    revoke(&mut world, 1, Some("a")).expect("revoked");
    assert!(stands(&world, "a").is_none() && stands(&world, "b").is_some());
    assert_eq!(world.pair(1, 1), Some(true));
    assert!(holders(&world.state, secret_id(1))[&(node_id(1), service_id(1))], "pending");
    assert_eq!(revoke(&mut world, 1, Some("a")), Ok(Changed::Already), "it is waited for again");
    confirm(&mut world);
    assert!(!is_pending(&world.state, service_id(1), secret_id(1)));
    let refused = revoke(&mut world, 1, Some("a")).expect_err("done");
    assert_eq!(refused.to_string(), "secret db is not granted to service web as a");
    assert!(!holders(&world.state, secret_id(1))[&(node_id(1), service_id(1))], "held as b");
}

#[test]
fn what_is_not_granted_is_not_revoked() {
    let mut world = world();
    let refused = revoke(&mut world, 2, None).expect_err("never granted");
    assert_eq!(refused.to_string(), "secret tls is not granted to service web");
    assert!(matches!(revoke(&mut world, 2, Some("a")), Err(Refusal::NotGranted { .. })));
    revoke(&mut world, 1, None).expect("revoked");
    assert_eq!(revoke(&mut world, 1, None), Ok(Changed::Already), "pending on a node");
    assert!(revoke(&mut world, 2, None).is_err(), "what is pending is of another secret");
    confirm(&mut world);
    assert!(matches!(revoke(&mut world, 1, None), Err(Refusal::NotGranted { .. })), "all done");
}

#[test]
fn leave_to_write_is_of_one_secret_and_stays_until_it_is_taken() {
    let mut world = world();
    let writes = |world: &World| stands(world, "a").is_some_and(|grant| grant.write);
    assert!(!writes(&world));
    give(&mut world, GrantAsked { write: Some(true), ..bare(1, "a") }).expect("changed");
    assert!(writes(&world));
    assert_eq!(give(&mut world, bare(1, "a")), Ok(Changed::Already), "it stays");
    give(&mut world, GrantAsked { write: Some(false), ..bare(1, "a") }).expect("changed");
    assert!(!writes(&world));
    give(&mut world, GrantAsked { write: Some(true), ..bare(1, "a") }).expect("changed");
    give(&mut world, GrantAsked { replace: true, ..bare(2, "a") }).expect("replaced");
    assert!(!writes(&world), "another secret is not written for that one's sake");
}

//! An older version that is current again, and secrets of which none ever is.

use crate::base::{Labels, limits};
use crate::domain::testing::{
    World, everywhere, grant, name, node_id, secret_id, service_id, sized_version, version,
};
use crate::domain::{
    Change, Changed, Counted, Fact, Grant, Refusal, Secret, Thing, Version, set_of,
};

fn update(number: u64) -> Change {
    Change::UpdateSecret { id: secret_id(1), expect: None, version: version(number) }
}

fn back(expect: Option<u32>, to: u32) -> Change {
    Change::RollBackSecret { id: secret_id(1), expect, to }
}

fn give(grant: Grant) -> Change {
    Change::Grant { service: service_id(1), grant: grant.into() }
}

/// The secret `db` with two values, granted to a service.
fn world(forward_only: bool) -> World {
    let mut world = World::with_workers(1);
    let (id, name, labels) = (secret_id(1), name("db"), Labels::default());
    let create = Change::CreateSecret { id, name, labels, forward_only, version: version(70) };
    world.one(create).expect("new");
    world.one(update(71)).expect("a second value");
    world.service(1, "web", everywhere());
    world.one(give(grant(1, "db"))).expect("granted");
    world
}

fn secret(world: &World) -> &Secret {
    &world.state.secrets[&secret_id(1)]
}

fn number(number: u32) -> Changed {
    Changed::Version { secret: secret_id(1), number }
}

#[test]
fn an_older_value_comes_back_under_the_next_number() {
    let mut world = world(false);
    let due = |world: &World| {
        let files = set_of(&world.state, service_id(1)).expect("there").files;
        (files[0].number, files[0].version.id)
    };
    let first = secret(&world).versions[&1].id;
    let command = world.command(crate::domain::Act::Change(vec![back(Some(2), 1)]));
    let applied = world.apply(&command);
    assert!(applied.facts.contains(&Fact::SecretRevised(secret_id(1))), "{:?}", applied.facts);
    assert_eq!(due(&world), (3, first));
    let repeats = |world: &World| {
        let of = |(number, version): (&u32, &std::sync::Arc<Version>)| (*number, version.repeats);
        secret(world).versions.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(repeats(&world), [(1, None), (2, None), (3, Some(1))]);
    // What is current already, under whichever number.
    for same in [1, 3] {
        assert_eq!(world.one(back(None, same)), Ok(Changed::Already));
    }
    assert_eq!(world.one(back(None, 2)), Ok(number(4)), "and forth");
    // What is repeated is the first of its kind, and a new value goes on from the last.
    assert_eq!(world.one(back(None, 3)), Ok(number(5)));
    assert_eq!(repeats(&world)[3..], [(4, Some(2)), (5, Some(1))]);
    assert_eq!(world.one(update(72)), Ok(number(6)));
}

#[test]
fn it_is_refused_where_something_else_stands() {
    let mut world = world(false);
    let before = secret(&world).clone();
    let late = world.one(back(Some(1), 1)).expect_err("two is current");
    assert_eq!(late.to_string(), "secret db has changed: expected 1, found 2");
    for missing in [0, 3] {
        let refused = world.one(back(None, missing)).expect_err("there is none");
        assert_eq!(refused.to_string(), format!("version {missing} of secret db not found"));
    }
    let other = Change::RollBackSecret { id: secret_id(9), expect: None, to: 1 };
    let refused = world.one(other);
    assert!(matches!(refused, Err(Refusal::NotFound { thing: Thing::Secret, .. })), "{refused:?}");
    assert_eq!(*secret(&world), before);
}

#[test]
fn what_comes_back_counts_as_any_version_does() {
    let mut world = world(false);
    for n in 0..20 {
        world.one(back(None, secret(&world).current - 1)).expect("there and back");
        assert!(secret(&world).versions.len() <= limits::VERSIONS, "{n}");
    }
    // One that is larger than what a node may have of a service is not taken back either.
    let large = sized_version(900, 511_999);
    world.one(Change::UpdateSecret { id: secret_id(1), expect: None, version: large }).expect("ok");
    let large = secret(&world).current;
    world.one(update(901)).expect("small again");
    for n in 0..200 {
        world.one(give(grant(1, &format!("t{n}")))).expect("granted");
    }
    let refused = world.one(back(None, large)).expect_err("too much");
    assert!(matches!(refused, Refusal::Limit { what: Counted::ServiceBytes, .. }), "{refused}");
    assert_eq!(world.one(back(None, large + 1)), Ok(Changed::Already), "nothing was done");
}

#[test]
fn what_is_forward_only_is_neither_rolled_back_nor_pinned() {
    let mut world = world(true);
    let before = (secret(&world).clone(), world.state.services.clone());
    let refused = world.one(back(Some(2), 1)).expect_err("forward only");
    let text = "secret db is forward-only: it can't be rolled back, nor a grant of it be pinned";
    assert_eq!(refused.to_string(), text);
    // The newest is not the newest for ever.
    for pin in [1, 2] {
        for target in ["db", "other"] {
            let refused = world.one(give(Grant { pin: Some(pin), ..grant(1, target) }));
            assert_eq!(refused.expect_err("pinned").to_string(), text);
        }
    }
    assert_eq!((secret(&world).clone(), world.state.services.clone()), before);
    // It goes on, and stays so.
    assert_eq!(world.one(update(72)), Ok(number(3)));
    let label = Change::LabelSecret {
        id: secret_id(1),
        put: vec!["a=b".parse().expect("a label")],
        gone: Vec::new(),
    };
    world.one(label).expect("labelled");
    assert!(world.one(back(None, 1)).is_err());
    world.expose(1, 1);
    assert!(world.state.exposed.contains_key(&(node_id(1), service_id(1))));
}

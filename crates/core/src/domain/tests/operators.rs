//! Operators come, act within their roles, and go.

use crate::base::{Stamp, limits};
use crate::domain::testing::{
    World, everywhere, genesis, list_operator, name, node_id, operator, operator_id, secret_id,
    version,
};
use crate::domain::{
    Act, Actor, Applied, Change, Counted, Fact, Member, Operator, OperatorRole, Refusal, Thing,
};

const ADMIN: u8 = 15;

fn create(n: u8, of: Operator) -> Change {
    Change::CreateOperator { id: operator_id(n), operator: Box::new(of) }
}

fn remove(n: u8) -> Change {
    Change::RemoveOperator { id: operator_id(n) }
}

/// An act of that operator.
fn by(world: &mut World, n: u8, act: Act) -> Applied {
    let mut command = world.command(act);
    command.actor = Actor::Operator(operator_id(n));
    world.apply(&command)
}

fn change(world: &mut World, n: u8, change: Change) -> Result<(), Refusal> {
    by(world, n, Act::Change(vec![change])).outcome.map(drop)
}

fn of(n: u8, role: OperatorRole) -> Operator {
    operator(n, role, &[], &[])
}

#[test]
fn an_operator_has_a_name_and_a_key_of_its_own() {
    let mut world = World::founded();
    world.one(create(1, of(1, OperatorRole::Editor))).expect("made");
    let again =
        world.one(create(2, Operator { name: name("OPERATOR-1"), ..of(2, OperatorRole::Viewer) }));
    let taken = Refusal::Exists { thing: Thing::Operator, name: name("operator-1") };
    assert_eq!(again, Err(taken), "two of one name");
    let same_key = Operator { key: [1; 32], ..of(2, OperatorRole::Viewer) };
    assert!(matches!(world.one(create(2, same_key)), Err(Refusal::Invalid(_))));
    assert!(matches!(world.one(create(1, of(2, OperatorRole::Viewer))), Err(Refusal::Invalid(_))));
    let as_id = Operator { name: name(&operator_id(9).to_string()), ..of(2, OperatorRole::Viewer) };
    assert!(matches!(world.one(create(2, as_id)), Err(Refusal::NameIsId { .. })));
    let unbound = operator(2, OperatorRole::Editor, &[], &["node.name==n1"]);
    assert!(matches!(world.one(create(2, unbound)), Err(Refusal::Invalid(_))));
    let suspended = Operator { suspended: true, ..of(2, OperatorRole::Admin) };
    assert!(matches!(world.one(create(2, suspended)), Err(Refusal::Invalid(_))));
    let over = Operator { ends: Some(world.state.stamp), ..of(2, OperatorRole::Viewer) };
    assert!(matches!(world.one(create(2, over)), Err(Refusal::Invalid(_))));
    let made = world.act(Act::Change(vec![create(2, of(2, OperatorRole::Viewer))]));
    assert!(made.facts.contains(&Fact::OperatorsRevised));
    assert_eq!(world.state.operators.len(), 3);
    assert!(world.one(remove(2)).is_ok());
    assert!(matches!(world.one(remove(2)), Err(Refusal::NotFound { thing: Thing::Operator, .. })));
}

#[test]
fn there_are_so_many_operators_and_those_that_have_ended_make_room() {
    let mut world = World::founded();
    let many = u8::try_from(limits::OPERATORS.min(200)).expect("small");
    let end = world.state.stamp.plus_ms(50_000);
    let ends = Some(end);
    for n in 100..many {
        list_operator(&mut world.state, n, Operator { ends, ..of(n, OperatorRole::Viewer) });
    }
    let same = Operator { name: name("operator-100"), ..of(1, OperatorRole::Viewer) };
    assert!(matches!(world.one(create(1, same.clone())), Err(Refusal::Exists { .. })));
    while world.state.stamp <= end {
        world.one(create(2, of(2, OperatorRole::Viewer))).expect("made");
        world.one(remove(2)).expect("removed");
    }
    world.one(create(1, same)).expect("the other's time is over");
    assert!(!world.state.operators.contains_key(&operator_id(100)));
    assert!(world.state.operators.contains_key(&operator_id(101)), "nobody's way");
    let full = Refusal::Limit { what: Counted::Operators, limit: 1_000 };
    assert_eq!(full.to_string(), "too many operators: at most 1000");
}

#[test]
fn the_last_admin_of_all_stays() {
    let mut world = World::founded();
    let last = |world: &mut World| world.one(remove(ADMIN));
    assert!(matches!(last(&mut world), Err(Refusal::LastAdmin { .. })));
    let ends = Some(world.state.stamp.plus_ms(10_000_000));
    let others = [
        of(1, OperatorRole::Editor),
        operator(2, OperatorRole::Admin, &["a."], &[]),
        Operator { ends, ..of(3, OperatorRole::Admin) },
    ];
    for (n, other) in (1..).zip(others) {
        world.one(create(n, other)).expect("made");
    }
    assert!(matches!(last(&mut world), Err(Refusal::LastAdmin { .. })), "none of them lasts");
    world.one(create(4, of(4, OperatorRole::Admin))).expect("made");
    last(&mut world).expect("another one stays");
    assert!(matches!(world.one(remove(4)), Err(Refusal::LastAdmin { .. })));
}

#[test]
fn whoever_was_removed_or_has_ended_does_nothing_any_more() {
    let mut world = World::founded();
    let secret = |n: u8| Change::CreateSecret {
        id: secret_id(n),
        name: name(&format!("s{n}")),
        forward_only: false,
        labels: crate::base::Labels::default(),
        version: version(u64::from(n)),
    };
    let end = world.state.stamp.plus_ms(50_000);
    let ends = Some(end);
    world.one(create(1, Operator { ends, ..of(1, OperatorRole::Editor) })).expect("made");
    change(&mut world, 1, secret(1)).expect("its time is not over");
    while world.state.stamp < end {
        world.act(Act::Resume);
    }
    assert!(matches!(change(&mut world, 1, secret(2)), Err(Refusal::NotAllowed(_))));
    assert!(matches!(change(&mut world, 9, secret(2)), Err(Refusal::NotAllowed(_))), "not listed");
    let renew = Act::Renew {
        member: Member::Operator(operator_id(1)),
        key: [1; 32],
        certificate_ends: Stamp(99),
        issuer: Stamp(0),
    };
    assert!(by(&mut world, 1, renew.clone()).outcome.is_err(), "nor gets it another certificate");
    assert!(by(&mut world, ADMIN, renew).outcome.is_err(), "nor for somebody else");
    assert_eq!(world.state.secrets.len(), 1);
}

#[test]
fn a_role_holds_when_a_command_is_applied() {
    let mut world = World::with_workers(1);
    for (n, role) in
        [(1, OperatorRole::Editor), (2, OperatorRole::Viewer), (3, OperatorRole::Auditor)]
    {
        world.one(create(n, of(n, role))).expect("made");
    }
    let service = |n: u8| Change::CreateService {
        id: crate::domain::testing::service_id(n),
        name: name(&format!("w{n}")),
        spec: everywhere(),
    };
    assert!(change(&mut world, 1, service(1)).is_ok());
    let node = Change::RemoveNode { id: node_id(1), force: true };
    let changes = [
        node,
        create(9, of(9, OperatorRole::Viewer)),
        remove(2),
        Change::Readmit { member: Member::Operator(operator_id(2)) },
        Change::RemoveToken { id: crate::domain::testing::TOKEN },
    ];
    for refused in changes {
        let answer = change(&mut world, 1, refused.clone());
        assert!(matches!(answer, Err(Refusal::NotAllowed(_))), "{refused:?}: {answer:?}");
    }
    for n in [2, 3] {
        assert!(matches!(change(&mut world, n, service(2)), Err(Refusal::NotAllowed(_))));
    }
    let stamp = world.state.stamp;
    for act in [Act::ResetTime, Act::Resume, Act::Expose(Vec::new())] {
        let mut command = world.command(act);
        (command.actor, command.stamp) = (Actor::Operator(operator_id(1)), Stamp(1));
        command.deadline = command.stamp.plus_ms(limits::DEADLINE_MS);
        assert!(world.apply(&command).outcome.is_err());
        assert_eq!(world.state.stamp, stamp, "the time is not set back for it either");
    }
    assert!(by(&mut world, ADMIN, Act::Resume).outcome.is_ok());
    assert!(matches!(
        by(&mut world, ADMIN, Act::Expose(Vec::new())).outcome,
        Err(Refusal::NotAllowed(_))
    ));
    assert_eq!(genesis().admin.role, OperatorRole::Admin);
}

#[test]
fn whom_an_unlock_key_made_stays_on_record_for_a_week() {
    let mut world = World::founded();
    let created = world.state.stamp;
    let made = Operator { recovered: true, created, ..of(1, OperatorRole::Admin) };
    world.one(create(1, made)).expect("made");
    world.one(remove(1)).expect("removed");
    let kept = &world.state.operators[&operator_id(1)];
    assert!(kept.has_ended(world.state.stamp) && kept.is_recovered(world.state.stamp));
    assert!(matches!(change(&mut world, 1, remove(ADMIN)), Err(Refusal::NotAllowed(_))));
    let again = Operator { name: name("operator-1"), ..of(2, OperatorRole::Viewer) };
    assert!(world.one(create(2, again)).is_err(), "nobody takes its place on record");
    assert!(
        !world.state.operators[&operator_id(1)].is_recovered(created.plus_ms(limits::RECOVERED_MS))
    );
}

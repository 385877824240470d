//! Request ids, deadlines, order, wholeness, the audit head and the totals.

use std::sync::Arc;

use crate::base::{Labels, Revision, SealedValue, Stamp, limits};
use crate::domain::testing::{
    World, everywhere, genesis, grant, name, secret_id, service_id, sized_version, version,
};
use crate::domain::{Act, Change, Changed, Refusal, apply, invariant};

fn create(n: u8, called: &str) -> Change {
    let version = version(u64::from(n) + 7_000);
    Change::CreateSecret {
        id: secret_id(n),
        name: name(called),
        labels: Labels::default(),
        forward_only: false,
        version,
    }
}

#[test]
fn a_repeated_request_gets_the_first_answer() {
    let mut world = World::founded();
    let command = world.command(Act::Change(vec![create(1, "db")]));
    let first = world.apply(&command);
    let again = world.apply(&command);
    assert_eq!(again.outcome, first.outcome);
    assert_eq!(again.revision, first.revision);
    assert_eq!(again.facts, Vec::new());
    assert_eq!(world.state.secrets.len(), 1);
    assert!(world.state.revision > first.revision);

    let refused = world.command(Act::Change(vec![create(2, "DB")]));
    let first = world.apply(&refused);
    assert!(matches!(first.outcome, Err(Refusal::Exists { .. })));
    world.one(Change::RemoveSecret { id: secret_id(1) }).expect("removed");
    assert_eq!(world.apply(&refused).outcome, first.outcome, "a refusal is an answer too");
}

#[test]
fn answers_go_with_their_deadline() {
    let mut world = World::founded();
    let mut command = world.command(Act::Change(vec![create(1, "db")]));
    world.apply(&command);
    // Asked again shortly before, it is remembered for as long again.
    command.stamp = command.deadline;
    command.deadline = command.stamp.plus_ms(limits::DEADLINE_MS);
    assert!(world.apply(&command).outcome.is_ok());
    let mut later = command.clone();
    later.stamp = command.deadline;
    assert!(world.apply(&later).outcome.is_ok());
    later.stamp = command.deadline.plus_ms(1);
    assert_eq!(world.apply(&later).outcome, Err(Refusal::TooLate));
    assert!(world.state.answers.is_empty(), "all are past their deadline");
}

#[test]
fn deadlines_are_kept() {
    let mut world = World::founded();
    let mut late = world.command(Act::Change(vec![create(1, "db")]));
    late.deadline = Stamp(world.state.stamp.0 - 1);
    assert_eq!(world.apply(&late).outcome, Err(Refusal::TooLate));
    let mut long = world.command(Act::Change(vec![create(1, "db")]));
    long.deadline = long.deadline.plus_ms(1);
    assert!(matches!(world.apply(&long).outcome, Err(Refusal::Invalid(_))));
    assert!(world.state.secrets.is_empty());
}

#[test]
fn time_never_runs_backwards() {
    let mut world = World::founded();
    let before = world.state.stamp;
    let mut command = world.command(Act::Change(vec![create(1, "db")]));
    command.stamp = Stamp(before.0 - 500);
    command.deadline = command.stamp.plus_ms(limits::DEADLINE_MS);
    assert!(world.apply(&command).outcome.is_ok());
    assert_eq!(world.state.stamp, before);
    assert_eq!(world.state.secrets[&secret_id(1)].created, before);
}

#[test]
fn an_act_is_applied_whole_or_not_at_all() {
    let mut world = World::with_workers(2);
    world.secret(1, "db");
    world.service(1, "web", everywhere());
    world
        .one(Change::Grant { service: service_id(1), grant: grant(1, "db").into() })
        .expect("granted");
    world.expose(1, 1);
    let before = world.state.clone();
    let refused = world.change(vec![
        create(2, "other"),
        Change::UpdateSecret { id: secret_id(1), expect: None, version: version(99) },
        Change::Revoke { service: service_id(1), secret: secret_id(1), target: None },
        Change::RemoveSecret { id: secret_id(1) },
        Change::RemoveService { id: service_id(1) },
        Change::RemoveService { id: service_id(1) },
    ]);
    assert!(matches!(refused, Err(Refusal::NotFound { .. })), "{refused:?}");
    let after = &world.state;
    assert_eq!((&after.secrets, &after.services), (&before.secrets, &before.services));
    let content = |world: &crate::domain::State| world.bytes - world.indexes.answer_bytes;
    assert_eq!((&after.exposed, content(after)), (&before.exposed, content(&before)));
    assert_eq!(after.indexes.places, before.indexes.places);
    assert_ne!(after.audit_head, before.audit_head, "a refused command is in the chain too");
}

#[test]
fn acts_are_bounded() {
    let mut world = World::founded();
    assert_eq!(world.change(Vec::new()), Err(Refusal::BadAct));
    let remove = Change::RemoveSecret { id: secret_id(1) };
    assert_eq!(world.change(vec![remove; 65]), Err(Refusal::BadAct));
    let big = |n: u8| Change::CreateSecret {
        id: secret_id(n),
        name: name(&format!("big{n}")),
        labels: Labels::default(),
        forward_only: false,
        version: sized_version(n.into(), 511_999),
    };
    assert!(world.change((1..=8).map(big).collect()).is_ok());
    assert_eq!(world.change((11..=19).map(big).collect()), Err(Refusal::BadAct));
}

#[test]
fn nothing_comes_before_genesis_and_none_after_it() {
    let mut world = World::default();
    assert_eq!(world.change(vec![create(1, "db")]), Err(Refusal::NotInitialised));
    let founding = || Act::Genesis(Box::new(genesis()));
    assert!(world.act(founding()).outcome.is_ok());
    assert_eq!(world.state.level, 1);
    assert_eq!(world.act(founding()).outcome, Err(Refusal::AlreadyInitialised));
}

#[test]
fn replicas_agree_and_a_different_command_shows() {
    let mut one = World::founded();
    let mut two = one.clone();
    let command = one.command(Act::Change(vec![create(1, "db")]));
    let revision = Revision(one.state.revision.0 + 1);
    assert_eq!(
        apply(&mut one.state, revision, &command),
        apply(&mut two.state, revision, &command)
    );
    assert_eq!(one.state.audit_head, two.state.audit_head);
    let mut other = World::founded();
    let mut changed = command;
    changed.act = Act::Change(vec![create(1, "dc")]);
    apply(&mut other.state, revision, &changed);
    assert_ne!(one.state.audit_head, other.state.audit_head);
}

#[test]
fn a_full_state_admits_removals_alone() {
    let mut world = World::founded();
    // Values share their bytes here, as they do in a snapshot; they count all the same.
    let sealed = SealedValue(Arc::from(vec![0; 511_999]));
    let mut filled = 0_u64;
    let refused = loop {
        let mut id = [0xcc; 16];
        id[..8].copy_from_slice(&filled.to_le_bytes());
        let mut version = version(filled);
        version.size = 511_999;
        version.value = sealed.clone();
        let change = Change::CreateSecret {
            id: crate::base::SecretId::from_bytes(id),
            name: name(&format!("s{filled}")),
            labels: Labels::default(),
            forward_only: false,
            version,
        };
        let command = world.command(Act::Change(vec![change]));
        let revision = Revision(world.state.revision.0 + 1);
        match apply(&mut world.state, revision, &command).applied.outcome {
            Ok(_) => filled += 1,
            Err(refusal) => break refusal,
        }
    };
    let limit = limits::STATE_BYTES / 10 * 9;
    assert!(matches!(refused, Refusal::Limit { limit: at, .. } if at.abs_diff(limit) < 100));
    assert!((1_880..1_890).contains(&filled), "{filled}");
    assert_eq!(invariant::broken(&world.state), Vec::<&str>::new());
    let first = *world.state.secrets.keys().next().expect("one");
    assert_eq!(world.one(Change::RemoveSecret { id: first }), Ok(Changed::Done));
}

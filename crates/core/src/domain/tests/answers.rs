//! Answers are bounded for each caller and in all, by number and bytes, and nothing is done
//! twice for that.

use crate::base::{Labels, NodeId, OperatorId, RequestId, Revision, Stamp, limits};
use crate::domain::testing::{
    self, World, everywhere, grant, name, node_id, remember, secret_id, service_id, version,
};
use crate::domain::{
    Act, Actor, Answer, Applied, Change, Changed, ChangedList, Confirmation, Counted, Few,
    OperatorRole, Outcome, Refusal, State, apply, invariant,
};

fn operator(n: u8) -> Actor {
    Actor::Operator(OperatorId::from_bytes([n; 16]))
}

fn ask(world: &mut World, actor: &Actor, act: Act) -> Applied {
    let mut command = world.command(act);
    // All within a moment.
    command.stamp = world.state.stamp;
    command.deadline = command.stamp.plus_ms(limits::DEADLINE_MS);
    command.actor = actor.clone();
    if let Actor::Operator(id) = actor
        && !world.state.operators.contains_key(id)
    {
        let n = id.as_bytes()[0];
        let of = testing::operator(n, OperatorRole::Admin, &[], &[]);
        testing::list_operator(&mut world.state, n, of);
    }
    let revision = Revision(world.state.revision.0 + 1);
    apply(&mut world.state, revision, &command).applied
}

/// A caller's answers as many small commands leave them.
fn fill(state: &mut State, actor: &Actor, count: usize, outcome: &Result<Outcome, Refusal>) {
    let OperatorIds(first) = OperatorIds::of(actor);
    let (deadline, revision) = (state.stamp.plus_ms(limits::DEADLINE_MS), state.revision);
    for n in 0..u64::try_from(count).expect("small") {
        let mut request = [first; 16];
        request[..8].copy_from_slice(&n.to_le_bytes());
        let actor = actor.clone();
        let answer = Answer { deadline, revision, actor, outcome: outcome.clone() };
        remember(state, RequestId::from_bytes(request), answer);
    }
}

struct OperatorIds(u8);

impl OperatorIds {
    fn of(actor: &Actor) -> Self {
        let Actor::Operator(id) = actor else { panic!("an operator") };
        Self(id.as_bytes()[0])
    }
}

fn create(n: u8) -> Act {
    let labels = Labels::default();
    let name = name(&format!("s{n}"));
    let version = version(u64::from(n) + 9_000);
    Act::Change(vec![Change::CreateSecret {
        id: secret_id(n),
        name,
        labels,
        forward_only: false,
        version,
    }])
}

fn revoke(n: u8) -> Change {
    Change::Revoke { service: service_id(1), secret: secret_id(n), target: None }
}

/// A service that has secret 1; that it lost secret 2 is pending on a node.
fn world() -> World {
    let mut world = World::with_workers(1);
    world.secret(1, "one");
    world.secret(2, "two");
    world.service(1, "web", everywhere());
    for (n, target) in [(1, "one"), (2, "two")] {
        let grant = Change::Grant { service: service_id(1), grant: grant(n, target).into() };
        world.one(grant).expect("granted");
    }
    world.expose(1, 1);
    world.one(revoke(2)).expect("revoked");
    world
}

#[test]
fn an_answer_to_what_changed_nothing_is_small() {
    let mut world = world();
    let before = world.state.indexes.answer_bytes;
    let applied = ask(&mut world, &operator(1), Act::Change(vec![revoke(2); limits::CHANGES]));
    let Ok(Outcome::Changed(list)) = &applied.outcome else { panic!("{applied:?}") };
    assert_eq!(list.iter().count(), limits::CHANGES);
    assert!(list.iter().all(|changed| *changed == Changed::Already));
    assert_eq!(list.runs().len(), 1);
    assert!(world.state.indexes.answer_bytes - before < 300);
    let bytes = world.state.bytes;
    ask(&mut world, &operator(1), Act::Change(vec![revoke(2); limits::CHANGES]));
    assert!(world.state.bytes > bytes, "answers count in the state's bytes");
    assert_eq!(invariant::broken(&world.state), Vec::<&str>::new());
}

#[test]
fn a_list_of_outcomes_reads_as_it_was() {
    let (one, two) = (Changed::Service(service_id(1)), Changed::Service(service_id(2)));
    let all = [&one, &one, &two, &one, &Changed::Already, &Changed::Already];
    let list: ChangedList = all.into_iter().cloned().collect();
    assert_eq!(list.iter().collect::<Vec<_>>(), all);
    assert_eq!(ChangedList::from_runs(list.runs().to_vec()), Some(list));
    for bad in [
        Vec::new(),
        vec![(Changed::Done, 0)],
        vec![(Changed::Done, 65)],
        vec![(Changed::Done, 32), (Changed::Already, 33)],
        vec![(Changed::Done, 1), (Changed::Done, 1)],
        vec![(Changed::Done, u32::MAX), (Changed::Already, u32::MAX)],
    ] {
        assert_eq!(ChangedList::from_runs(bad.clone()), None, "{bad:?}");
    }
}

#[test]
fn a_caller_at_its_bound_is_refused_and_others_are_not() {
    let (one, other) = (operator(1), operator(2));
    let mut world = world();
    let share = limits::ANSWERS_OF_ONE / 100 * usize::from(limits::ANSWERS_FULL_PERCENT);
    fill(&mut world.state, &one, share, &Ok(Outcome::Done));
    let before = world.state.answers.len();
    let refused = ask(&mut world, &one, create(3));
    let what = Counted::AnswersOfOne;
    assert!(matches!(refused.outcome, Err(Refusal::Busy { what: found, .. }) if found == what));
    assert_eq!(world.state.answers.len(), before, "and nothing is kept of that");
    assert!(ask(&mut world, &other, create(3)).outcome.is_ok());
    let nothing = ask(&mut world, &one, Act::Change(vec![revoke(2)])).outcome;
    assert!(nothing.is_ok(), "a share is kept for removals: {nothing:?}");

    fill(&mut world.state, &one, limits::ANSWERS_OF_ONE, &Ok(Outcome::Done));
    let kept = world.state.answers.len();
    for _ in 0..3 {
        let nothing = ask(&mut world, &one, Act::Change(vec![revoke(2)])).outcome;
        assert!(matches!(nothing, Err(Refusal::Busy { .. })), "{nothing:?}");
        let gone = Change::RemoveSecret { id: secret_id(99) };
        let gone = ask(&mut world, &one, Act::Change(vec![gone])).outcome;
        assert!(matches!(gone, Err(Refusal::Busy { .. })), "{gone:?}");
    }
    assert_eq!(world.state.answers.len(), kept);
    let taken = ask(&mut world, &one, Act::Change(vec![revoke(2), revoke(1)]));
    let Ok(Outcome::Changed(list)) = &taken.outcome else { panic!("{taken:?}") };
    let wanted = [Changed::Already, Changed::Service(service_id(1))];
    assert_eq!(list.iter().cloned().collect::<Vec<_>>(), wanted);
    assert_eq!(world.state.answers.len(), kept + 1, "it is remembered: done once, answered twice");

    world.state.stamp = world.state.stamp.plus_ms(limits::DEADLINE_MS + 1);
    assert!(ask(&mut world, &one, create(4)).outcome.is_ok(), "a minute later there is room");
    assert_eq!(world.state.answers.len(), 1);
    assert_eq!(invariant::broken(&world.state), Vec::<&str>::new());
}

#[test]
fn bytes_count_too_and_so_do_all_callers_together() {
    let mut world = world();
    // The largest refusal that there is.
    let names = (0..10).map(|_| name(&"x".repeat(64)));
    let long = Refusal::InUse { secret: name(&"x".repeat(64)), services: Few::of(names, 99) };
    let before = world.state.indexes.answer_bytes;
    fill(&mut world.state, &operator(1), 1, &Err(long.clone()));
    let each = world.state.indexes.answer_bytes - before;
    assert!((256..2_000).contains(&each), "{each}");
    let count = usize::try_from(limits::ANSWER_BYTES_OF_ONE / each).expect("small");
    assert!(count < limits::ANSWERS_OF_ONE, "bytes come first");
    fill(&mut world.state, &operator(1), count, &Err(long.clone()));
    let refused = ask(&mut world, &operator(1), create(5)).outcome;
    let what = Counted::AnswerBytesOfOne;
    assert!(matches!(refused, Err(Refusal::Busy { what: found, .. }) if found == what));
    fill(&mut world.state, &operator(2), count, &Err(long));
    let refused = ask(&mut world, &operator(3), create(5)).outcome;
    let what = Counted::AnswerBytes;
    assert!(matches!(refused, Err(Refusal::Busy { what: found, .. }) if found == what));
    let effect = ask(&mut world, &operator(3), Act::Change(vec![revoke(1)])).outcome;
    assert!(effect.is_ok(), "{effect:?}");
    assert!(world.state.bytes > limits::ANSWER_BYTES * 9 / 10);
}

#[test]
fn what_is_the_same_twice_is_not_remembered() {
    let mut world = world();
    let before = world.state.answers.len();
    let (node, service) = (node_id(1), service_id(1));
    let leader = Actor::Leader(NodeId::from_bytes([0xaa; 16]));
    let exposed = ask(&mut world, &leader, Act::Expose(vec![(node, service)]));
    assert!(exposed.outcome.is_ok());
    let revision = world.state.revision;
    let confirm = Confirmation { node, service, revision, gone: true };
    for expected in [None, None] {
        assert!(ask(&mut world, &leader, Act::Confirm(vec![confirm])).outcome.is_ok());
        assert_eq!(world.pair(1, 1), expected);
    }
    // Begun anew: what was confirmed before says nothing of it.
    ask(&mut world, &leader, Act::Expose(vec![(node, service)]));
    ask(&mut world, &leader, Act::Confirm(vec![confirm]));
    assert_eq!(world.pair(1, 1), Some(false));
    assert_eq!(world.state.answers.len(), before);
    assert!(world.state.stamp > Stamp(0));
}

//! Each command has a line of the audit log, and how far managers' own chains reach is kept.

use crate::audit::{Deed, Head, Line, head_of};
use crate::base::{Labels, Revision, Stamp};
use crate::domain::testing::{
    MANAGER, World, everywhere, grant, list_operator, name, node_id, opens, operator, operator_id,
    secret_id, service_id, version,
};
use crate::domain::{Act, Actor, Anchor, Change, Command, OperatorRole, Recorded, Refusal, apply};

/// What is applied, and its line, read.
fn recorded(world: &mut World, command: &Command) -> (Recorded, Line) {
    let before = world.state.audit_head;
    let revision = Revision(world.state.revision.0 + 1);
    let recorded = apply(&mut world.state, revision, command);
    let line = Line::read(recorded.line.text.as_bytes()).expect("a line");
    assert_eq!(recorded.line.prev, before, "it follows the one before");
    assert_eq!(line.prev(), Ok(before));
    assert_eq!(recorded.line.head, head_of(recorded.line.text.as_bytes()));
    assert_eq!(world.state.audit_head, recorded.line.head);
    assert_eq!((recorded.line.number, line.n), (revision.0, revision.0));
    (recorded, line)
}

fn of(world: &mut World, changes: Vec<Change>) -> Line {
    let command = world.command(Act::Change(changes));
    recorded(world, &command).1
}

fn deed(act: &str, secret: &str, service: &str) -> Deed {
    Deed { secret: secret.into(), service: service.into(), ..Deed::new(act) }
}

#[test]
fn p10_a_line_says_who_did_what_by_the_names_of_that_time() {
    let mut world = World::with_workers(1);
    list_operator(&mut world.state, 7, operator(7, OperatorRole::Editor, &[], &[]));
    let mut command = world.command(Act::Change(vec![
        Change::CreateSecret {
            id: secret_id(1),
            name: name("db"),
            labels: Labels::default(),
            forward_only: false,
            version: version(1),
        },
        Change::CreateService { id: service_id(1), name: name("web"), spec: everywhere() },
        Change::Grant { service: service_id(1), grant: grant(1, "db").into() },
    ]));
    command.actor = Actor::Operator(operator_id(7));
    command.from = Some([192, 0, 2, 7].into());
    let (_, line) = recorded(&mut world, &command);
    assert_eq!((line.who.kind.as_str(), line.who.name.as_str()), ("operator", "operator-7"));
    assert_eq!((line.from.as_str(), line.outcome.as_str()), ("192.0.2.7", "done"));
    let created = Deed { version: 1, ..deed("secret.create", "db", "") };
    let granted = Deed { detail: "as db".into(), ..deed("service.grant", "db", "web") };
    assert_eq!(line.acts, [created, deed("service.create", "", "web"), granted]);

    // Asked again it is told so, and what it names has its name still once it is removed.
    let (_, again) = recorded(&mut world, &command);
    assert_eq!(again.outcome, "again");
    let line = of(&mut world, vec![Change::RemoveService { id: service_id(1) }]);
    assert_eq!(line.acts, [deed("service.remove", "", "web")]);
    let line = of(&mut world, vec![Change::RemoveSecret { id: secret_id(1) }]);
    assert_eq!(line.acts, [deed("secret.remove", "db", "")]);
    let line = of(&mut world, vec![Change::RemoveSecret { id: secret_id(1) }]);
    assert_eq!((line.outcome.as_str(), line.why.as_str()), ("refused", "not-found"));
    assert_eq!(line.acts[0].secret, secret_id(1).to_string(), "it has no name any more");
}

#[test]
fn p10_opens_belong_to_the_same_chain() {
    let mut world = World::with_readers(1);
    let command = world.command(Act::Opened(opens(1, 0, 2)));
    let (_, line) = recorded(&mut world, &command);
    assert_eq!(line.acts.len(), 2);
    let open = &line.acts[0];
    assert_eq!((open.act.as_str(), open.secret.as_str()), ("secret.open", "db"));
    assert_eq!((open.service.as_str(), open.node.as_str()), ("web", "n1"));
}

#[test]
fn another_line_is_another_head() {
    let (mut one, mut two) = (World::founded(), World::founded());
    let mut command = one.command(Act::ResetTime);
    let heads: Vec<Head> = [None, Some([192, 0, 2, 1].into())]
        .into_iter()
        .zip([&mut one, &mut two])
        .map(|(from, world)| {
            command.from = from;
            recorded(world, &command).0.line.head
        })
        .collect();
    assert_ne!(heads[0], heads[1], "from where it came is chained too");
}

#[test]
fn a_managers_own_chain_never_gets_shorter() {
    let mut world = World::founded();
    let mut to = |manager, number| {
        let anchor = Anchor { number, head: [u8::try_from(number).expect("small"); 32] };
        world.act(Act::Anchor { manager, anchor }).outcome
    };
    assert!(to(MANAGER, 7).is_ok());
    assert!(matches!(to(MANAGER, 7), Err(Refusal::Invalid(_))));
    assert!(matches!(to(MANAGER, 6), Err(Refusal::Invalid(_))));
    assert!(matches!(to(node_id(9), 1), Err(Refusal::NotFound { .. })));
    assert!(to(MANAGER, 8).is_ok());
    let cluster = world.state.cluster.as_deref().expect("a cluster");
    assert_eq!(cluster.anchors[&MANAGER], Anchor { number: 8, head: [8; 32] });
}

#[test]
fn a_line_of_any_time_is_written() {
    let mut world = World::founded();
    world.state.stamp = Stamp(u64::MAX - 100_000);
    let command = world.command(Act::Resume);
    let (_, line) = recorded(&mut world, &command);
    assert_eq!(line.at, "9999-12-30T22:00:00.999Z");
}

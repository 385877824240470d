//! A clock that was years ahead: what it leaves, and how the time is set back.

use crate::base::{Labels, Stamp, TokenId, limits};
use crate::domain::testing::{TOKEN, World, everywhere, join, name, secret_id, token, version};
use crate::domain::{Act, Actor, Change, Command, NodeRole, Outcome, Refusal, Token, Unfit};

const DECADE_MS: u64 = 10 * 365 * 86_400_000;
const HOUR_MS: u64 = 3_600_000;

/// The command that sets the time back to `now`.
fn reset(world: &mut World, now: Stamp) -> Command {
    let (stamp, deadline) = (now, now.plus_ms(limits::DEADLINE_MS));
    let command = world.command(Act::ResetTime);
    Command { stamp, deadline, ..command }
}

/// A cluster in which things were made before and while the clock was ahead, and the true time.
fn poisoned() -> (World, Stamp) {
    let mut world = World::with_workers(1);
    world.secret(1, "before");
    let now = world.state.stamp.plus_ms(5_000);
    let mut ahead = world.command(Act::Change(vec![Change::CreateSecret {
        id: secret_id(2),
        name: name("amid"),
        labels: Labels::default(),
        forward_only: false,
        version: version(7_000),
    }]));
    ahead.stamp = now.plus_ms(DECADE_MS);
    ahead.deadline = ahead.stamp.plus_ms(limits::DEADLINE_MS);
    assert!(world.apply(&ahead).outcome.is_ok());
    (world, now)
}

#[test]
fn a_token_made_in_the_false_time_admits_and_keeps_its_length() {
    let (mut world, now) = poisoned();
    let refused = world.act(Act::Join(Box::new(join(3, "n3")))).outcome;
    assert_eq!(refused, Err(Refusal::Token { role: NodeRole::Worker, why: Unfit::Ended }));
    // Its end is computed from the cluster's time, so that it is good at once.
    let id = TokenId::from_bytes([9; 16]);
    let created = world.state.stamp;
    let made = Token { created, ends: created.plus_ms(HOUR_MS), ..token() };
    world.one(Change::CreateToken { id, token: made }).expect("a token");
    let by = |token| crate::domain::Join { token, ..join(3, "n3") };
    assert!(world.act(Act::Join(Box::new(by(id)))).outcome.is_ok());
    assert!(world.state.tokens.contains_key(&TOKEN), "the other one only seems to have ended");

    let command = reset(&mut world, now);
    let applied = world.apply(&command);
    assert_eq!(applied.outcome, Ok(Outcome::Done));
    assert!(!applied.facts.is_empty(), "tokens and nodes have changed");
    let state = &world.state;
    assert_eq!(state.stamp, now);
    assert_eq!(state.answers.len(), 1, "its own answer alone is remembered");
    assert_eq!((state.tokens[&id].created, state.tokens[&id].ends), (now, now.plus_ms(HOUR_MS)));
    assert_eq!(state.tokens[&TOKEN].ends, token().ends, "made before: it stays as it is");
    let joined = &state.nodes[&state.indexes.nodes[&name("n3").key()]];
    assert_eq!(joined.joined, now);
    assert!(joined.certificate_ends <= now.plus_ms(join(3, "n3").certificate_ends.0));
    let secret = &state.secrets[&secret_id(2)];
    assert_eq!((secret.created, secret.versions[&1].created), (now, now));
    assert!(state.secrets[&secret_id(1)].created < now);
    let again = crate::domain::Join { node: crate::domain::testing::node_id(4), ..join(4, "n4") };
    assert!(world.act(Act::Join(Box::new(again))).outcome.is_ok(), "good again");
}

#[test]
fn the_time_is_set_back_once_and_only_back() {
    let (mut world, now) = poisoned();
    let command = reset(&mut world, now);
    let head = world.state.audit_head;
    assert!(world.apply(&command).outcome.is_ok());
    assert_ne!(world.state.audit_head, head, "the act is in the audit head");
    world.service(1, "later", everywhere());
    let after = world.state.stamp;
    assert!(world.apply(&command).outcome.is_ok(), "the same request is answered alike");
    assert_eq!(world.state.stamp, after, "and sets nothing back again");
    // Where the time is not ahead there is nothing to set back, and it goes on.
    let next = after.plus_ms(10);
    let again = reset(&mut world, next);
    assert_eq!(world.apply(&again).outcome, Ok(Outcome::Done));
    assert_eq!(world.state.stamp, next);
    // A deadline that can't be is refused before anything is set back.
    let mut unsound = reset(&mut world, now);
    unsound.deadline = unsound.stamp.plus_ms(limits::DEADLINE_MS + 1);
    assert!(world.apply(&unsound).outcome.is_err());
    assert_eq!(world.state.stamp, next);
    let mut nothing = World::default();
    let early = reset(&mut nothing, Stamp(5));
    assert_eq!(nothing.apply(&early).outcome, Err(Refusal::NotInitialised));
    assert!(matches!(early.actor, Actor::Leader(_)));
}

#[test]
fn ended_tokens_make_room_where_there_is_none() {
    let mut world = World::founded();
    let id = |n: usize| {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&u64::try_from(n).expect("small").to_le_bytes());
        TokenId::from_bytes(id)
    };
    let ends = world.state.stamp.plus_ms(2_000_000);
    for n in 1..limits::TOKENS {
        let token = Token { ends, ..token() };
        world.one(Change::CreateToken { id: id(n), token }).expect("a token");
    }
    let one_more = Change::CreateToken { id: id(0), token: token() };
    assert!(matches!(world.one(one_more.clone()), Err(Refusal::Limit { .. })), "all are good");
    let command = world.command(Act::Change(vec![one_more]));
    let deadline = ends.plus_ms(limits::DEADLINE_MS);
    assert!(world.apply(&Command { stamp: ends, deadline, ..command }).outcome.is_ok(), "room");
    assert_eq!(world.state.tokens.len(), 2);
}

//! The one way in which the state changes.

use super::answers::{self, Room, always_admitted};
use super::command::{Act, Actor, Command, Fact, Outcome};
use super::draft::Draft;
use super::named::Counted;
use super::refusal::Refusal;
use super::state::{Answer, State};
use super::{changes, deeds, keep, record, rights, weight};
use crate::audit;
use crate::base::{Revision, limits};

/// The newest behaviour that this binary knows.
pub const LEVEL: u32 = 1;

/// What came of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The revision at which it was applied; for a repeated request, that of the first.
    pub revision: Revision,
    /// The answer. A refusal changes nothing but stamp, revision, audit head and answers.
    pub outcome: Result<Outcome, Refusal>,
    /// Where to look.
    pub facts: Vec<Fact>,
}

/// What came of one command, and its line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What came of it.
    pub applied: Applied,
    /// The line.
    pub line: audit::Written,
}

/// Applies the command at log index `revision`.
///
/// Whole or not at all: a refused command leaves everything as it was but the
/// stamp, the revision, the audit head and the remembered answers.
pub fn apply(state: &mut State, revision: Revision, command: &Command) -> Recorded {
    let line = deeds::line(state, revision, command);
    state.revision = state.revision.max(revision);
    let facts = if sets_back(state, command) {
        changes::reset_time(state, command.stamp)
    } else {
        state.stamp = state.stamp.max(command.stamp);
        Vec::new()
    };
    forget(state);
    let answered = state.answers.get(&command.request).cloned();
    let again = answered.is_some();
    let mut applied = match answered {
        Some(answer) => repeat(state, command, answer),
        None => first(state, revision, command),
    };
    applied.facts.extend(facts);
    let (asked, came) = (record::command(command), record::outcome(&applied.outcome));
    let line = deeds::end(line, state, (&asked, &came), &applied.outcome, again);
    let line = line.write(state.audit_head);
    state.audit_head = line.head;
    Recorded { applied, line }
}

/// Whether a command sets the state's time back: one that was answered does so only once.
fn sets_back(state: &State, command: &Command) -> bool {
    command.act == Act::ResetTime
        && state.cluster.is_some()
        && command.stamp < state.stamp
        && (command.stamp..=command.stamp.plus_ms(limits::DEADLINE_MS)).contains(&command.deadline)
        && !state.answers.contains_key(&command.request)
        && rights::may_act(state, &command.actor, &command.act).is_ok()
}

/// Forgets the answers whose deadline has passed: a repeat is now too late; and what ended
/// so long ago that opens of it are not taken any more.
fn forget(state: &mut State) {
    while let Some((deadline, request)) = state.indexes.deadlines.first().copied()
        && deadline < state.stamp
    {
        keep::answer(state, request, None);
    }
    while let Some((ended, of)) = state.indexes.lapses.first().copied()
        && ended.plus_ms(limits::OPENED_LATE_MS) < state.stamp
    {
        keep::lapse(state, of, None);
    }
}

/// A request that was answered. Asked again with a later deadline, it is
/// remembered until that, lest a third asking be taken for the first.
fn repeat(state: &mut State, command: &Command, mut answer: Answer) -> Applied {
    let latest = command.stamp.plus_ms(limits::DEADLINE_MS);
    if command.deadline > answer.deadline && command.deadline <= latest {
        answer.deadline = command.deadline;
        keep::answer(state, command.request, Some(answer.clone()));
    }
    Applied { revision: answer.revision, outcome: answer.outcome, facts: Vec::new() }
}

fn first(state: &mut State, revision: Revision, command: &Command) -> Applied {
    // Not remembered: it would be refused again, or could stay for ever.
    let refused = |refusal| Applied { revision, outcome: Err(refusal), facts: Vec::new() };
    let room = in_time(state, command);
    let room = room.and_then(|()| answers::room(state, &command.actor, &command.act));
    let room = match room {
        Ok(room) => room,
        Err(refusal) => return refused(refusal),
    };
    let before = Before { bytes: state.bytes, placements: state.indexes.places.pairs() };
    let mut draft = Draft::new(state);
    let outcome = act(&mut draft, &command.actor, &command.act)
        .and_then(|outcome| fits(draft.state(), &before, &command.act).map(|()| outcome))
        .map_err(|refusal| rights::told(draft.state(), &command.actor, refusal));
    if let Room::ForTaking(refusal) = room
        && !(outcome.is_ok() && draft.has_written())
    {
        draft.undo();
        return refused(refusal);
    }
    let facts = if outcome.is_ok() {
        draft.keep()
    } else {
        draft.undo();
        Vec::new()
    };
    if answers::is_remembered(&command.act) {
        let (deadline, actor) = (command.deadline, command.actor.clone());
        let answer = Answer { deadline, revision, actor, outcome: outcome.clone() };
        keep::answer(state, command.request, Some(answer));
    }
    Applied { revision, outcome, facts }
}

/// What an act is compared with.
struct Before {
    bytes: u64,
    placements: usize,
}

fn in_time(state: &State, command: &Command) -> Result<(), Refusal> {
    if command.deadline < state.stamp {
        return Err(Refusal::TooLate);
    }
    if command.deadline > command.stamp.plus_ms(limits::DEADLINE_MS) {
        return Err(Refusal::Invalid("a deadline is at most 60 seconds ahead".to_owned()));
    }
    Ok(())
}

fn act(draft: &mut Draft<'_>, actor: &Actor, act: &Act) -> Result<Outcome, Refusal> {
    if let Act::Genesis(genesis) = act {
        return changes::genesis(draft, genesis);
    }
    if draft.state().cluster.is_none() {
        return Err(Refusal::NotInitialised);
    }
    rights::may_act(draft.state(), actor, act)?;
    match act {
        Act::Genesis(_) => Err(Refusal::AlreadyInitialised),
        Act::Change(list) => {
            let bytes = list.iter().map(weight::change).fold(0, u64::saturating_add);
            let sound = (1..=limits::CHANGES).contains(&list.len())
                && bytes <= weight::long(limits::CHANGE_BYTES);
            if !sound {
                return Err(Refusal::BadAct);
            }
            let changed = list.iter().map(|change| {
                rights::may_change(draft.state(), actor, change)?;
                let changed = changes::change(draft, change)?;
                draft.within_looks()?;
                Ok(changed)
            });
            changed.collect::<Result<_, _>>().map(Outcome::Changed)
        }
        Act::Join(join) => changes::join(draft, join),
        Act::Expose(pairs) => changes::expose(draft, pairs),
        Act::Confirm(list) => changes::confirm(draft, list),
        Act::Opened(handed) => changes::opened(draft, handed),
        // Where the time was ahead, it was set back before.
        Act::ResetTime => Ok(Outcome::Done),
        Act::Move { manager, addresses } => changes::moved(draft, *manager, addresses),
        Act::Renew { member, key, certificate_ends, issuer } => {
            changes::renew(draft, *member, *key, *certificate_ends, *issuer)
        }
        Act::Renewed { member, key } => changes::renewed(draft, *member, *key),
        Act::RotateIssuer { issuing, issuing_key, begins } => {
            changes::rotate(draft, issuing, issuing_key, *begins)
        }
        Act::RetireIssuers { begins } => changes::retire(draft, *begins),
        Act::Recover(recover) => changes::recover(draft, recover),
        Act::Resume => changes::resume(draft),
        Act::Put(put) => changes::put(draft, put),
        Act::Anchor { manager, anchor } => changes::anchor(draft, *manager, *anchor),
    }
}

/// Beyond 90 % of the state's bytes only what takes something away, and
/// membership, may still make it grow.
fn fits(state: &State, before: &Before, act: &Act) -> Result<(), Refusal> {
    let places = state.indexes.places.pairs();
    if places > limits::PLACEMENTS && places > before.placements {
        return Err(Refusal::limit(Counted::Placements, limits::PLACEMENTS));
    }
    let percent = match act {
        // Deliveries have no end that removals have: each may be one more pair.
        Act::Expose(_) => limits::STATE_EXPOSED_PERCENT,
        _ if always_admitted(act) => return Ok(()),
        Act::Genesis(_)
        | Act::Change(_)
        | Act::Join(_)
        | Act::Confirm(_)
        | Act::Opened(_)
        | Act::ResetTime
        | Act::Move { .. }
        | Act::Renew { .. }
        | Act::Renewed { .. }
        | Act::RotateIssuer { .. }
        | Act::RetireIssuers { .. }
        | Act::Recover(_)
        | Act::Resume
        | Act::Put(_)
        | Act::Anchor { .. } => limits::STATE_FULL_PERCENT,
    };
    let most = limits::STATE_BYTES / 100 * percent;
    if state.bytes <= most || state.bytes <= before.bytes {
        return Ok(());
    }
    Err(Refusal::Limit { what: Counted::StateBytes, limit: most })
}

//! How many answers are remembered, and for whom.
//!
//! A command that is asked again gets the first one's answer until its deadline: for a minute,
//! for whoever asks whatever. That is what bounds it: answers count, by number and bytes, for
//! each caller and in all. A caller that is at its bound is refused, for forgetting an answer
//! early could do the same thing twice. A share is kept for removals; beyond that too a removal
//! that takes something away is admitted, for there is only so much to take.

use super::command::{Act, Actor, Change};
use super::named::Counted;
use super::refusal::Refusal;
use super::state::State;
use crate::base::limits;

/// Whether the answer to an act is remembered. These are the same whether they are done once or
/// twice: they say up to where something is known, a pair that stands is not begun again, and a manager that has moved
/// is there.
pub(super) fn is_remembered(act: &Act) -> bool {
    match act {
        // Asked again, the time is not set back again.
        Act::Genesis(_)
        | Act::Change(_)
        | Act::Join(_)
        | Act::ResetTime
        | Act::RotateIssuer { .. }
        | Act::Recover(_)
        | Act::Resume
        | Act::Put(_) => true,
        Act::Expose(_)
        | Act::Confirm(_)
        | Act::Opened(_)
        | Act::Move { .. }
        | Act::Renew { .. }
        | Act::Renewed { .. }
        | Act::RetireIssuers { .. }
        | Act::Anchor { .. } => false,
    }
}

/// Whether there is room for the answer to an act, and if not, whether it may be done all the
/// same where it takes something away.
///
/// # Errors
/// What a caller is told for whom there is none.
pub(super) fn room(state: &State, actor: &Actor, act: &Act) -> Result<Room, Refusal> {
    if !is_remembered(act) {
        return Ok(Room::There);
    }
    if state.answers.len() >= limits::REMEMBERED {
        return Err(busy(Counted::Answers, limits::REMEMBERED));
    }
    let share = if always_admitted(act) { 100 } else { limits::ANSWERS_FULL_PERCENT };
    match within(state, actor, share) {
        Ok(()) => Ok(Room::There),
        Err(refusal) if only_takes(act) => Ok(Room::ForTaking(refusal)),
        Err(refusal) => Err(refusal),
    }
}

/// What [`room`] found.
pub(super) enum Room {
    /// There is.
    There,
    /// For what takes something away; anything else is refused so.
    ForTaking(Refusal),
}

fn within(state: &State, actor: &Actor, percent: u8) -> Result<(), Refusal> {
    let (count, bytes) = state.indexes.answered.get(actor).copied().unwrap_or_default();
    let all = (state.answers.len(), state.indexes.answer_bytes);
    let counts = [
        (count, limits::ANSWERS_OF_ONE, Counted::AnswersOfOne),
        (all.0, limits::ANSWERS, Counted::Answers),
    ];
    for (found, most, what) in counts {
        if found >= most / 100 * usize::from(percent) {
            return Err(busy(what, most));
        }
    }
    let bytes = [
        (bytes, limits::ANSWER_BYTES_OF_ONE, Counted::AnswerBytesOfOne),
        (all.1, limits::ANSWER_BYTES, Counted::AnswerBytes),
    ];
    for (found, most, what) in bytes {
        if found >= most / 100 * u64::from(percent) {
            return Err(Refusal::Busy { what, limit: most });
        }
    }
    Ok(())
}

fn busy(what: Counted, limit: usize) -> Refusal {
    Refusal::Busy { what, limit: super::weight::long(limit) }
}

/// Whether each of its changes takes something away that was put there before, so that no
/// caller can go on with them for ever.
fn only_takes(act: &Act) -> bool {
    let Act::Change(list) = act else { return false };
    list.iter().all(|change| match change {
        Change::RemoveSecret { .. }
        | Change::RemoveVersion { .. }
        | Change::RemoveService { .. }
        | Change::Revoke { .. }
        | Change::RemoveToken { .. }
        | Change::RemoveNode { .. }
        | Change::RemoveManager { .. }
        | Change::RemoveOperator { .. } => true,
        Change::CreateSecret { .. }
        | Change::UpdateSecret { .. }
        | Change::RollBackSecret { .. }
        | Change::LabelSecret { .. }
        | Change::CreateService { .. }
        | Change::UpdateService { .. }
        | Change::Grant { .. }
        | Change::CreateToken { .. }
        | Change::UpdateNode { .. }
        | Change::CreateOperator { .. }
        | Change::Readmit { .. } => false,
    })
}

/// Whether an act is admitted however little room there is: it takes something
/// away, or is about who takes part.
#[must_use]
pub fn always_admitted(act: &Act) -> bool {
    let list = match act {
        Act::Change(list) => list,
        // What does not fit waits on its node.
        Act::Opened(_) | Act::Put(_) => return false,
        Act::Genesis(_)
        | Act::Join(_)
        | Act::Expose(_)
        | Act::Confirm(_)
        | Act::ResetTime
        | Act::Move { .. }
        | Act::Renew { .. }
        | Act::Renewed { .. }
        | Act::RotateIssuer { .. }
        | Act::RetireIssuers { .. }
        | Act::Recover(_)
        | Act::Resume
        | Act::Anchor { .. } => return true,
    };
    list.iter().all(|change| match change {
        Change::RemoveSecret { .. }
        | Change::RemoveVersion { .. }
        | Change::RemoveService { .. }
        | Change::Revoke { .. }
        | Change::RemoveToken { .. }
        | Change::UpdateNode { .. }
        | Change::RemoveNode { .. }
        | Change::RemoveManager { .. }
        | Change::Readmit { .. }
        | Change::CreateOperator { .. }
        | Change::RemoveOperator { .. }
        | Change::CreateToken { .. } => true,
        Change::CreateSecret { .. }
        | Change::UpdateSecret { .. }
        | Change::RollBackSecret { .. }
        | Change::LabelSecret { .. }
        | Change::CreateService { .. }
        | Change::UpdateService { .. }
        | Change::Grant { .. } => false,
    })
}

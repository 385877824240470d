//! What was opened on the nodes.

use std::sync::Arc;

use crate::base::{NodeId, Revision, Stamp, limits, shows_itself};
use crate::domain::command::Outcome;
use crate::domain::draft::Draft;
use crate::domain::named::{Counted, Thing};
use crate::domain::opened::{Lapsed, Opened, OpenedList, Reporter, Span};
use crate::domain::refusal::Refusal;
use crate::domain::state::{Node, NodeRole, State};

/// Takes those that are not here yet and may be true, and counts the others; the oldest ones
/// of the node that has most make room.
pub(in crate::domain) fn opened(
    draft: &mut Draft<'_>,
    handed: &OpenedList,
) -> Result<Outcome, Refusal> {
    let node = handed.node;
    let worker = |found: &Arc<Node>| found.role == NodeRole::Worker;
    if !draft.state().nodes.get(&node).is_some_and(worker) {
        return Err(Refusal::not_found(Thing::Node, node));
    }
    let after = sound(handed)?;
    let last = draft.state().reporters.get(&node).copied();
    let known = last.filter(|last| last.origin == handed.origin);
    let before = match (last, known) {
        (_, Some(known)) => known.dropped_before,
        (Some(last), None) => last.dropped_before.saturating_add(last.dropped),
        (None, None) => 0,
    };
    let next = known.map_or(0, |known| known.next);
    let there = usize::try_from(next.saturating_sub(handed.first)).unwrap_or(usize::MAX);
    let fresh = handed.list.get(there..).unwrap_or_default();
    let state = draft.state();
    let taken: Vec<Opened> =
        fresh.iter().filter(|one| may_be_true(state, node, one)).cloned().collect();
    let refused = u64::try_from(fresh.len().saturating_sub(taken.len())).unwrap_or(u64::MAX);
    if !taken.is_empty() {
        draft.put_opened((node, draft.revision()), Some(Arc::from(taken)));
    }
    let reporter = Reporter {
        origin: handed.origin,
        next: next.max(after),
        dropped: known.map_or(0, |known| known.dropped).max(handed.dropped),
        dropped_before: before,
        refused: last.map_or(0, |last| last.refused).saturating_add(refused),
    };
    draft.put_reporter(node, Some(reporter));
    make_room(draft);
    Ok(Outcome::Done)
}

/// The number after the last one.
fn sound(handed: &OpenedList) -> Result<u64, Refusal> {
    if handed.list.len() > limits::OPENED_BATCH {
        return Err(Refusal::limit(Counted::Opened, limits::OPENED_BATCH));
    }
    let count = u64::try_from(handed.list.len()).unwrap_or(u64::MAX);
    let after = handed.first.checked_add(count);
    after.ok_or_else(|| Refusal::Invalid("records are counted from 0".to_owned()))
}

/// A node says what it likes. Taken is what could be: an open of a secret that this service
/// has, on a node that has the service, or within an hour after that; at a time at which it
/// had it; by a program whose name shows itself.
fn may_be_true(state: &State, node: NodeId, of: &Opened) -> bool {
    let named =
        of.executable.len() <= limits::EXECUTABLE_BYTES && of.executable.chars().all(shows_itself);
    named && of.at <= late(state.stamp) && of_its_pair(state, node, of) && of_its_secret(state, of)
}

/// A time, as the fastest clock of a node may show it.
fn late(of: Stamp) -> Stamp {
    of.plus_ms(limits::OPENED_CLOCK_MS)
}

fn within(span: Span, at: Stamp) -> bool {
    span.began <= late(at) && at <= late(span.ended)
}

fn of_its_pair(state: &State, node: NodeId, of: &Opened) -> bool {
    let exposed = state.exposed.get(&(node, of.service));
    let lapsed = state.lapsed.get(&Lapsed::Pair(node, of.service));
    // Where the managers' time was set back, a pair began in the future.
    exposed.is_some_and(|pair| pair.began.min(state.stamp) <= late(of.at))
        || lapsed.is_some_and(|span| within(*span, of.at))
}

/// What was taken and is still there is opened as before.
fn of_its_secret(state: &State, of: &Opened) -> bool {
    let service = state.services.get(&of.service);
    let granted =
        service.is_some_and(|service| service.grants.values().any(|it| it.secret == of.secret));
    let lapsed = state.lapsed.get(&Lapsed::Grant(of.service, of.secret));
    let had = granted
        || state.taken.contains_key(&(of.service, of.secret))
        || lapsed.is_some_and(|span| within(*span, of.at));
    // A version that was pruned, and all of a secret that went, can't be looked at any more.
    let version = state.secrets.get(&of.secret).is_none_or(|secret| {
        secret.versions.get(&of.number).map_or(of.number < secret.current, |it| it.id == of.version)
    });
    had && of.number > 0 && version
}

/// A node that opens without end pushes out its own records, and nobody else's.
fn make_room(draft: &mut Draft<'_>) {
    let mut over = draft.state().indexes.opened.saturating_sub(limits::OPENED);
    while over > 0 {
        let most = draft.state().indexes.opened_most.last().map(|(_, node)| *node);
        let Some((key, count)) = most.and_then(|node| oldest(draft, node)) else { return };
        draft.put_opened(key, None);
        over = over.saturating_sub(count);
    }
}

fn oldest(draft: &Draft<'_>, node: NodeId) -> Option<((NodeId, Revision), usize)> {
    let mut batches = draft.state().opened.range((node, Revision(0))..);
    batches.next().filter(|((of, _), _)| *of == node).map(|(key, list)| (*key, list.len()))
}

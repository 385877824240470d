//! What was opened on the nodes.

use std::sync::Arc;

use crate::base::{NodeId, Revision, limits};
use crate::domain::command::Outcome;
use crate::domain::draft::Draft;
use crate::domain::opened::{Opened, OpenedList, Reporter};
use crate::domain::refusal::{Refusal, words};
use crate::domain::state::{Node, NodeRole};

/// Takes those that are not here yet; the oldest ones of the node that has most make room.
pub(in crate::domain) fn opened(
    draft: &mut Draft<'_>,
    handed: &OpenedList,
) -> Result<Outcome, Refusal> {
    let node = handed.node;
    let worker = |found: &Arc<Node>| found.role == NodeRole::Worker;
    if !draft.state().nodes.get(&node).is_some_and(worker) {
        return Err(Refusal::not_found(words::NODE, node));
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
    if !fresh.is_empty() {
        draft.put_opened((node, draft.revision()), Some(Arc::from(fresh)));
    }
    let reporter = Reporter {
        origin: handed.origin,
        next: next.max(after),
        dropped: known.map_or(0, |known| known.dropped).max(handed.dropped),
        dropped_before: before,
    };
    draft.put_reporter(node, Some(reporter));
    make_room(draft);
    Ok(Outcome::Done)
}

/// The number after the last one.
fn sound(handed: &OpenedList) -> Result<u64, Refusal> {
    if handed.list.len() > limits::OPENED_BATCH {
        return Err(Refusal::limit(words::OPENED, limits::OPENED_BATCH));
    }
    let named = |one: &Opened| {
        one.executable.len() <= limits::EXECUTABLE_BYTES
            && !one.executable.chars().any(char::is_control)
    };
    if !handed.list.iter().all(named) {
        return Err(Refusal::Invalid("a record of an open names no executable".to_owned()));
    }
    let count = u64::try_from(handed.list.len()).unwrap_or(u64::MAX);
    let after = handed.first.checked_add(count);
    after.ok_or_else(|| Refusal::Invalid("records are counted from 0".to_owned()))
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

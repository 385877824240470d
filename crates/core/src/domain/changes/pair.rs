//! Which nodes may hold bytes of which services.

use crate::base::{NodeId, ServiceId};
use crate::domain::assignment::is_due;
use crate::domain::command::{Confirmation, Outcome};
use crate::domain::draft::Draft;
use crate::domain::named::Counted;
use crate::domain::refusal::Refusal;
use crate::domain::state::Exposure;

/// Pairs of one act: a batch, whose log entry stays below the 4 MiB of changes.
const PAIRS: usize = 65_536;

/// A pair that is not due any more is left out, for the leader proposed before
/// it knew: whoever sends looks at the state again and finds no such pair.
pub(in crate::domain) fn expose(
    draft: &mut Draft<'_>,
    pairs: &[(NodeId, ServiceId)],
) -> Result<Outcome, Refusal> {
    if pairs.len() > PAIRS {
        return Err(Refusal::limit(Counted::Pairs, PAIRS));
    }
    for (node, service) in pairs.iter().copied() {
        let state = draft.state();
        let there = state.exposed.contains_key(&(node, service));
        if !there && is_due(state, node, service) {
            let now = draft.revision();
            let began = draft.now();
            let exposure = Exposure { since: now, began, behind: None, clear: now };
            draft.put_exposure((node, service), Some(exposure));
        }
    }
    Ok(Outcome::Done)
}

/// A confirmation older than the pair is of bytes sent before it began and says
/// nothing of those sent since; one of a pair that is not due stays pending until
/// nothing of it is left.
pub(in crate::domain) fn confirm(
    draft: &mut Draft<'_>,
    list: &[Confirmation],
) -> Result<Outcome, Refusal> {
    if list.len() > PAIRS {
        return Err(Refusal::limit(Counted::Pairs, PAIRS));
    }
    for confirmation in list {
        let pair = (confirmation.node, confirmation.service);
        let Some(exposure) = draft.state().exposed.get(&pair).copied() else { continue };
        let covers = confirmation.revision >= exposure.since
            && exposure.behind.is_none_or(|behind| behind <= confirmation.revision);
        if !covers {
            continue;
        }
        if confirmation.gone {
            draft.put_exposure(pair, None);
        } else if let Some(clear) = exposure.behind
            && is_due(draft.state(), pair.0, pair.1)
        {
            draft.put_exposure(pair, Some(Exposure { behind: None, clear, ..exposure }));
        }
    }
    Ok(Outcome::Done)
}

//! Changes to secrets, services, tokens and nodes: read, checked against the policy one by
//! one, their data keys re-wrapped, proposed whole.

use crate::manager::admit::caller::Admitted;
use crate::manager::changes::rewrap;
use crate::manager::members::removal::{self, manager_removed};
use crate::manager::problem::Explain;
use crate::manager::running::Running;
use skep_client::transport::{KeptAgreement, Problem};
use skep_core::base::{NodeId, RequestId, limits};
use skep_core::domain::{Act, Actor, Change, Outcome, Placement, Refusal, State};
use skep_core::wire::api;
use skep_core::wire::convert::{read_change, read_id, write_changed};

/// Applies 1 to 64 changes, or none of them. What the values' keys are sent under, the caller's
/// connection keeps.
pub(in crate::manager) async fn apply(
    running: &Running,
    admitted: &Admitted,
    agreement: KeptAgreement,
    request: api::ApplyRequest,
) -> Result<api::ApplyReply, Problem> {
    let id: RequestId = read_id("request_id", &request.request_id).map_err(Explain::explain)?;
    if !(1..=limits::CHANGES).contains(&request.changes.len()) {
        return Err(Refusal::BadAct.explain());
    }
    let actor = admitted.actor()?;
    let mut changes = Vec::with_capacity(request.changes.len());
    for change in request.changes {
        let mut change = read_change(change).map_err(Explain::explain)?;
        running.core.consensus.read(|state| {
            bind(state, &actor, &mut change);
            admitted.may_change(state, &change)
        })?;
        changes.push(change);
    }
    running.core.leads()?;
    let removed = manager_removed(running, &changes)?;
    let mut changes = rewrap::rewrap_all(&running.core, agreement, changes).await?;
    // Should the removal itself be refused then, the vote is given back.
    let retired = match removed {
        Some(manager) => {
            let retired = removal::retire(running, manager).await?;
            removal::rekey(running, manager, &mut changes)?;
            Some(retired)
        }
        None => None,
    };
    let (revision, outcome) = running.propose(id, admitted.origin()?, Act::Change(changes)).await?;
    drop(retired);
    let reply = match outcome {
        Outcome::Changed(each) => each.iter().map(write_changed).collect(),
        Outcome::Done | Outcome::Joined(_) => Vec::new(),
    };
    Ok(api::ApplyReply { revision: revision.0, changed: reply })
}

/// The removal of a node, as a client asks for it.
pub(in crate::manager) fn removal_of(node: NodeId) -> api::Change {
    let removal = api::RemoveNode { id: node.as_bytes().to_vec(), force: false };
    api::Change { of: Some(api::change::Of::RemoveNode(removal)) }
}

/// A service that an operator with constraints of its own places anew is placed within them.
fn bind<K>(state: &State, actor: &Actor, change: &mut Change<K>) {
    let Actor::Operator(id) = actor else { return };
    let Some(of) = state.operators.get(id).filter(|of| of.scope.is_bounded()) else { return };
    let (before, placement) = match change {
        Change::CreateService { spec, .. } => (None, &mut spec.placement),
        Change::UpdateService { id, spec, .. } => {
            let found = state.services.get(id).map(|found| &found.spec.placement);
            (found, &mut spec.placement)
        }
        _ => return,
    };
    let is_nowhere = *placement == Placement::default();
    if is_nowhere || before == Some(placement) {
        return;
    }
    for constraint in &of.constraints {
        if !placement.constraints.contains(constraint) {
            placement.constraints.push(constraint.clone());
        }
    }
}

//! Changes to secrets, services, tokens and nodes: read, checked against the policy one by
//! one, their data keys re-wrapped, proposed whole.

use crate::manager::admit::caller::Admitted;
use crate::manager::admit::policy::{Method, Resource, ResourceKind};
use crate::manager::changes::rewrap;
use crate::manager::members::removal::{self, manager_removed};
use crate::manager::problem::Explain;
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::{NodeId, RequestId, limits};
use skep_core::domain::{Act, Change, Member, Outcome, Refusal, State};
use skep_core::wire::api;
use skep_core::wire::convert::{read_change, read_id, write_changed};

/// Applies 1 to 64 changes, or none of them.
pub(in crate::manager) async fn apply(
    running: &Running,
    admitted: &Admitted,
    request: api::ApplyRequest,
) -> Result<api::ApplyReply, Problem> {
    let id: RequestId = read_id("request_id", &request.request_id).map_err(Explain::explain)?;
    if !(1..=limits::CHANGES).contains(&request.changes.len()) {
        return Err(Refusal::BadAct.explain());
    }
    let mut changes = Vec::with_capacity(request.changes.len());
    for change in request.changes {
        let change = read_change(change).map_err(Explain::explain)?;
        allowed(running, admitted, &change)?;
        changes.push(change);
    }
    running.core.leads()?;
    let removed = manager_removed(running, &changes)?;
    let mut changes = rewrap::rewrap_all(&running.core, changes).await?;
    // Should the removal itself be refused then, the vote is given back.
    let retired = match removed {
        Some(manager) => {
            let retired = removal::retire(running, manager).await?;
            removal::rekey(running, manager, &mut changes)?;
            Some(retired)
        }
        None => None,
    };
    let (revision, outcome) = running.propose(id, admitted.actor()?, Act::Change(changes)).await?;
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

/// Asks the policy for one change, now that it is known to what.
fn allowed<K>(running: &Running, admitted: &Admitted, change: &Change<K>) -> Result<(), Problem> {
    running.core.consensus.read(|state| {
        let (method, on) = concerns(state, change);
        admitted.may_change(method, &on)
    })
}

/// What the policy calls a change, and to what it is one.
fn concerns<'a, K>(state: &'a State, change: &'a Change<K>) -> (Method, Resource<'a>) {
    let (method, kind, name) = match change {
        Change::CreateSecret { name, .. } => {
            (Method::WriteSecrets, ResourceKind::Secret, Some(name))
        }
        Change::UpdateSecret { id, .. }
        | Change::RollBackSecret { id, .. }
        | Change::LabelSecret { id, .. }
        | Change::RemoveSecret { id }
        | Change::RemoveVersion { id, .. } => {
            let name = state.secrets.get(id).map(|secret| &secret.name);
            (Method::WriteSecrets, ResourceKind::Secret, name)
        }
        Change::CreateService { name, .. } => {
            (Method::WriteServices, ResourceKind::Service, Some(name))
        }
        Change::UpdateService { id, .. }
        | Change::RemoveService { id }
        | Change::Grant { service: id, .. }
        | Change::Revoke { service: id, .. } => {
            let name = state.services.get(id).map(|service| &service.name);
            (Method::WriteServices, ResourceKind::Service, name)
        }
        Change::CreateToken { .. } | Change::RemoveToken { .. } => {
            (Method::WriteTokens, ResourceKind::Token, None)
        }
        Change::Readmit { member: Member::Operator(_) } => {
            (Method::WriteNodes, ResourceKind::Node, None)
        }
        Change::UpdateNode { id, .. }
        | Change::Readmit { member: Member::Node(id) }
        | Change::RemoveNode { id, .. }
        | Change::RemoveManager { id, .. } => {
            (Method::WriteNodes, ResourceKind::Node, state.nodes.get(id).map(|node| &node.name))
        }
    };
    (method, Resource { kind, name })
}

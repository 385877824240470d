//! Removing a manager, as the leader does it: the managers that stay must be able
//! to go on, a leader that is to go hands the lead over first, and the vote is
//! taken away before the state says that it is gone.
//!
//! A removed manager ends when it sees its removal. A change of voters that still
//! needed its word would then never be committed, and the rest had no majority.

use crate::manager::problem::{self, Explain};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::MutexGuard;

use crate::consensus::Member;
use crate::manager::members::standing::reachable;
use crate::manager::members::voters;
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::NodeId;
use skep_core::domain::{Change, NodeRole, Refusal, State};

/// How long another manager may take to take the lead.
const HAND_OVER: Duration = Duration::from_secs(5);

/// A manager that votes no more and may now be removed. As long as this lives nobody
/// else changes who votes: dropped without the removal, the vote is given back.
#[derive(Debug)]
pub(in crate::manager) struct Retired<'a> {
    _turn: MutexGuard<'a, ()>,
}

/// The manager that these changes remove, if they remove one.
///
/// # Errors
/// More than one: each takes a majority of its own.
pub(in crate::manager) fn manager_removed<K>(
    running: &Running,
    changes: &[Change<K>],
) -> Result<Option<NodeId>, Problem> {
    let manager = |id: &NodeId| {
        let listed =
            |state: &State| state.nodes.get(id).is_some_and(|node| node.role == NodeRole::Manager);
        running.core.consensus.read(listed)
    };
    let removed: BTreeSet<NodeId> = changes
        .iter()
        .filter_map(|change| match change {
            Change::RemoveNode { id, .. } if manager(id) => Some(*id),
            _ => None,
        })
        .collect();
    if removed.len() > 1 {
        return Err(problem::members::one_at_a_time());
    }
    Ok(removed.first().copied())
}

/// Takes the vote from a manager that is about to be removed. Where it is this one,
/// which leads, the lead is handed over and the answer says to whom.
///
/// # Errors
/// What the caller is told: nothing was removed.
pub(in crate::manager) async fn retire(
    running: &Running,
    manager: NodeId,
) -> Result<Retired<'_>, Problem> {
    let turn = running.voting.lock().await;
    running.core.leads()?;
    let own = running.core.node;
    let members = running.core.members();
    if !majority_stays(&members, own, manager) {
        return Err(problem::members::no_majority_stays());
    }
    if manager == own && members.iter().any(|member| member.voter && member.node != own) {
        return Err(hand_over(running).await);
    }
    voters::retire(running, manager).await.map_err(|error| running.core.problem(error))?;
    Ok(Retired { _turn: turn })
}

/// Makes the removal of a manager one with the next cluster key, for those that stay.
///
/// # Errors
/// What the caller is told: nothing was removed.
pub(in crate::manager) fn rekey(
    running: &Running,
    manager: NodeId,
    changes: &mut [Change],
) -> Result<(), Problem> {
    let core = &running.core;
    core.open_key();
    let (cluster, staying, voters) = core.consensus.read(|state| {
        let others = state.nodes.iter().filter(|(id, _)| **id != manager);
        let staying: BTreeMap<_, _> =
            others.filter_map(|(id, node)| Some((*id, node.box_key?))).collect();
        let votes = |id: &NodeId| state.nodes.get(id).is_some_and(|node| !node.learner);
        let voters = staying.keys().filter(|id| votes(id)).count();
        (state.cluster.clone(), staying, voters)
    });
    let cluster = cluster.ok_or(Refusal::NotInitialised).map_err(Explain::explain)?;
    if voters == 0 {
        return Err(last_manager(running, manager));
    }
    let rekey = core.keys.rekey(&mut *(core.dice)(), &cluster, &staying);
    let rekey = rekey.map_err(Explain::explain)?;
    for change in changes {
        if matches!(change, Change::RemoveNode { id, .. } if *id == manager) {
            *change = Change::RemoveManager { id: manager, rekey: Box::new(rekey.clone()) };
        }
    }
    Ok(())
}

fn last_manager(running: &Running, manager: NodeId) -> Problem {
    let found = |state: &State| state.nodes.get(&manager).map(|node| node.name.clone());
    let name = running.core.consensus.read(found);
    name.map_or(Refusal::BadAct, |node| Refusal::LastManager { node }).explain()
}

/// Hands the lead over and answers who has it: the caller asks there again.
async fn hand_over(running: &Running) -> Problem {
    let own = running.core.node;
    if !running.core.consensus.hand_over(HAND_OVER, None).await {
        return problem::members::not_handed_over();
    }
    let mut leadership = running.core.consensus.leadership();
    let led = leadership.wait_for(|seen| seen.leader.is_some_and(|leader| leader != own));
    // Without one the caller asks again until there is one.
    drop(tokio::time::timeout(HAND_OVER, led).await);
    tracing::info!(event = "leadership_handed_over", why = "this manager is being removed");
    running.core.leads().err().unwrap_or_else(|| problem::not_leader(None))
}

/// Whether a majority of the voters that stay is in reach of this leader. A learner
/// costs none.
fn majority_stays(members: &[Member], own: NodeId, removed: NodeId) -> bool {
    let voters = || members.iter().filter(|member| member.voter);
    if !voters().any(|member| member.node == removed) {
        return true;
    }
    let staying = || voters().filter(|member| member.node != removed);
    let reached = staying().filter(|member| member.node == own || reachable(member)).count();
    // The last one is refused with a text of its own.
    staying().count() == 0 || reached > staying().count() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_those_that_stay_is_in_reach() {
        let id = |n| NodeId::from_bytes([n; 16]);
        let member = |n, last_contact_ms| Member {
            node: id(n),
            addresses: Vec::new(),
            voter: true,
            last_contact_ms: Some(last_contact_ms),
            behind: Some(0),
            acknowledges: true,
        };
        let whole = [member(1, 0), member(2, 10), member(3, 10)];
        assert!(majority_stays(&whole, id(1), id(2)));
        assert!(majority_stays(&whole, id(1), id(1)), "the leader itself");
        let one_away = [member(1, 0), member(2, 10), member(3, 60_000)];
        assert!(!majority_stays(&one_away, id(1), id(2)));
        assert!(!majority_stays(&one_away, id(1), id(1)));
        assert!(majority_stays(&one_away, id(1), id(3)));
        assert!(majority_stays(&one_away, id(1), id(9)), "no voter");
        let learner = Member { voter: false, ..member(3, 60_000) };
        assert!(majority_stays(&[member(1, 0), learner], id(1), id(3)));
        assert!(majority_stays(&[member(1, 0)], id(1), id(1)), "told otherwise");
    }
}

//! A manager that is reached elsewhere than the cluster has on record says so itself.
//!
//! It can reach the others when they can't reach it, so it asks each of them until one that
//! leads takes it. The leader commits it, has the members follow, and connects there; agents
//! and operators hear of it as of any change of managers.

use std::sync::Arc;
use std::time::Duration;

use crate::manager::members::belonging;
use crate::manager::peers::PeerClient;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::{NodeId, RequestId};
use skep_core::domain::{Act, Actor};
use skep_core::wire::api;

/// How often a manager compares what is on record with where it is.
const LOOK: Duration = Duration::from_millis(500);
/// How long one of the others may take: the leader commits before it answers.
const ANSWER: Duration = Duration::from_secs(5);

/// Where this manager is on record, if it is not there.
pub(in crate::manager) fn on_record(running: &Running) -> Option<Vec<String>> {
    let own = running.core.node;
    let stands =
        running.core.consensus.read(|state| Some(state.nodes.get(&own)?.addresses.clone()));
    stands.filter(|stands| *stands != running.reached_at)
}

/// Has the cluster know where this manager is, whenever that is not what is on record.
pub(in crate::manager) async fn keep(running: Arc<Running>) {
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = running.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        if running.is_behind() {
            continue;
        }
        if let Some(from) = on_record(&running) {
            let (from, to) = (from.join(","), running.reached_at.join(","));
            if tell(&running).await {
                tracing::info!(event = "address_changed", ends = "address_not_changed", from, to);
            } else {
                tracing::warn!(event = "address_not_changed", from, to);
            }
        }
    }
}

/// Whether a leader has it on record.
async fn tell(running: &Arc<Running>) -> bool {
    let own = running.core.node;
    if running.core.leads().is_ok() {
        let moved = taken(running, Actor::Node(own), running.reached_at.clone()).await;
        return moved.is_ok();
    }
    for (node, addresses) in belonging::others(running) {
        let addresses_now = running.reached_at.clone();
        let ask = |mut peer: PeerClient| async move {
            peer.r#move(api::MoveRequest { addresses: addresses_now }).await
        };
        if running.peers.ask(node, &addresses, ANSWER, ask).await.is_some() {
            return true;
        }
    }
    false
}

/// The leader commits that a manager is elsewhere.
///
/// # Errors
/// What the caller is told.
pub(in crate::manager) async fn taken(
    running: &Running,
    actor: Actor,
    addresses: Vec<String>,
) -> Result<(), Problem> {
    running.core.leads()?;
    let Actor::Node(manager) = actor else {
        return Err(problem::members::moved_by_another());
    };
    if on_record_of(running, manager).is_some_and(|stands| stands == addresses) {
        return Ok(());
    }
    for address in &addresses {
        skep_client::read_own_address(address).map_err(problem::members::moved_nowhere)?;
    }
    let request = RequestId::draw(&mut *(running.core.dice)());
    let act = Act::Move { manager, addresses };
    // Little as it is, it is membership: also where the disk is nearly full.
    let applied = running.core.propose(request, Actor::Node(manager), act).await;
    let applied = applied.map_err(|error| running.core.problem(error))?;
    applied.outcome.map(drop).map_err(Explain::explain)
}

fn on_record_of(running: &Running, manager: NodeId) -> Option<Vec<String>> {
    running.core.consensus.read(|state| Some(state.nodes.get(&manager)?.addresses.clone()))
}

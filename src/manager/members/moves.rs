//! A manager that is reached elsewhere than the cluster has on record.
//!
//! Where it was started with another address than the last time, it says so itself: it can
//! reach the others when they can't reach it, so it asks each of them until one that leads
//! takes it. An operator says it of any manager, also of one that is down; that is not
//! contradicted by what the manager was started with and has told before. The leader commits
//! it, has the members follow, and connects there; agents and operators hear of it as of any
//! change of managers.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::manager::admit::caller::Admitted;
use crate::manager::core::Origin;
use crate::manager::members::belonging;
use crate::manager::peers::PeerClient;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::{NodeId, RequestId};
use skep_core::domain::{Act, Actor, NodeRole, Refusal, Thing};
use skep_core::wire::api;
use skep_core::wire::convert::read_id;

/// How often a manager compares what is on record with where it is.
const LOOK: Duration = Duration::from_millis(500);
/// How long one of the others may take: the leader commits before it answers.
const ANSWER: Duration = Duration::from_secs(5);

/// Where this manager is on record, if it is not there and has not told anybody.
pub(in crate::manager) fn on_record(running: &Running) -> Option<Vec<String>> {
    if running.has_told() {
        return None;
    }
    let stands = on_record_of(running, running.core.node);
    stands.filter(|stands| *stands != running.reached_at)
}

/// Has the cluster know where this manager is, once where that is not what it told before;
/// `tells` writes down that it did.
pub(in crate::manager) async fn keep(
    running: Arc<Running>,
    tells: impl Future<Output = io::Result<()>> + Send + 'static,
) {
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !running.has_told() {
        tokio::select! {
            () = running.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        if running.is_behind() {
            continue;
        }
        let Some(from) = on_record_of(&running, running.core.node) else { continue };
        if from == running.reached_at {
            break;
        }
        let (from, to) = (from.join(","), running.reached_at.join(","));
        if tell(&running).await {
            tracing::info!(event = "address_changed", ends = "address_not_changed", from, to);
            break;
        }
        tracing::warn!(event = "address_not_changed", from, to);
    }
    if running.has_told() {
        return;
    }
    running.tells();
    if let Err(error) = tells.await {
        // At the next start it is told once more, over what an operator may say meanwhile.
        tracing::warn!(event = "address_not_kept", why = %error);
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
    commit(running, Actor::Node(manager).into(), manager, addresses).await
}

/// An operator says where a manager is. One that answers where it is on record goes nowhere
/// where it doesn't: a typing error could cost a majority, and then nobody corrects it.
///
/// # Errors
/// What the caller is told.
pub(in crate::manager) async fn by_an_operator(
    running: &Running,
    admitted: &Admitted,
    asked: api::MoveManagerRequest,
) -> Result<api::MoveManagerReply, Problem> {
    running.core.leads()?;
    let manager: NodeId = read_id("node_id", &asked.node_id).map_err(Explain::explain)?;
    let found = running.core.consensus.read(|state| state.nodes.get(&manager).cloned());
    let found = found.ok_or_else(|| {
        Refusal::NotFound { thing: Thing::Node, what: manager.to_string() }.explain()
    })?;
    if found.role != NodeRole::Manager {
        return Err(problem::members::no_address(&found.name));
    }
    let read = |address: &String| {
        skep_client::read_own_address(address).map_err(problem::members::moved_nowhere)
    };
    let addresses = asked.addresses.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let there = |addresses: Vec<String>| async move {
        let looked = running.peers.reaches(manager, &addresses);
        tokio::time::timeout(ANSWER, looked).await.unwrap_or(false)
    };
    let reached = there(addresses.clone()).await;
    let is_own = manager == running.core.node;
    if !reached && (is_own || there(found.addresses.clone()).await) {
        return Err(problem::members::not_there(&found.name, addresses.join(", ")));
    }
    let (from, to) = (found.addresses.join(","), addresses.join(","));
    commit(running, admitted.origin()?, manager, addresses).await?;
    tracing::info!(event = "manager_moved", node = %manager, name = %found.name, from, to, reached);
    Ok(api::MoveManagerReply { reached })
}

async fn commit(
    running: &Running,
    origin: Origin,
    manager: NodeId,
    addresses: Vec<String>,
) -> Result<(), Problem> {
    let request = RequestId::draw(&mut *(running.core.dice)());
    let act = Act::Move { manager, addresses };
    // Little as it is, it is membership: also where the disk is nearly full.
    let applied = running.core.propose(request, origin, act).await;
    let applied = applied.map_err(|error| running.core.problem(error))?;
    applied.outcome.map(drop).map_err(Explain::explain)
}

fn on_record_of(running: &Running, manager: NodeId) -> Option<Vec<String>> {
    running.core.consensus.read(|state| Some(state.nodes.get(&manager)?.addresses.clone()))
}

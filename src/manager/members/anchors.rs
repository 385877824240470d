//! How far this manager's own chain of the audit log reaches is kept in the state, so that
//! nobody can cut it shorter on its disk without its being seen. One that can't record anything
//! any more leads no more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::manager::members::belonging;
use crate::manager::peers::PeerClient;
use crate::manager::problem::Explain;
use crate::manager::running::Running;
use crate::store::{AuditLog, Place};
use skep_client::transport::Problem;
use skep_core::audit::Chain;
use skep_core::base::{NodeId, RequestId};
use skep_core::domain::{Act, Actor, Anchor, State};
use skep_core::wire::api;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Lines after which the chain is anchored at once.
const LINES: u64 = 1_000;
/// How long a line may wait to be anchored.
const SOON: Duration = Duration::from_secs(10);
/// How long one of the others may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How far a manager's chain is known to reach.
fn anchored(state: &State, manager: NodeId) -> Place {
    let anchors = state.cluster.as_deref().map(|cluster| &cluster.anchors);
    let anchor = anchors.and_then(|anchors| anchors.get(&manager));
    anchor.map_or_else(Place::default, |of| Place { number: of.number, head: of.head })
}

/// Anchors this manager's chain as it grows.
pub(in crate::manager) async fn keep(running: Arc<Running>) {
    let Some(log) = running.core.audit.log().cloned() else { return };
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut waits: Option<Instant> = None;
    loop {
        tokio::select! {
            () = running.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        running.core.audit.settle(false).await;
        leave(&running).await;
        let known = running.core.consensus.read(|state| anchored(state, running.core.node));
        log.reaches(known);
        let lines = log.last(Chain::Acts).number.saturating_sub(known.number);
        if lines == 0 {
            waits = None;
            continue;
        }
        let since = *waits.get_or_insert_with(Instant::now);
        if lines >= LINES || since.elapsed() >= SOON {
            anchor(&running, &log).await;
            waits = None;
        }
    }
}

/// A leader that may do nothing lets another one lead.
async fn leave(running: &Running) {
    let core = &running.core;
    if core.audit.goes_on().is_err() && core.is_leader().is_ok() && core.members().len() > 1 {
        let moved = core.consensus.hand_over(ANSWER, None).await;
        tracing::warn!(event = "leadership_left", why = "the audit log can't be written", moved);
    }
}

async fn anchor(running: &Arc<Running>, log: &AuditLog) {
    let place = match log.sync().await {
        Ok(place) => place,
        Err(why) => {
            tracing::warn!(event = "audit_log_not_anchored", %why);
            return;
        }
    };
    let own = running.core.node;
    if running.core.leads().is_ok() {
        if let Err(why) = taken(running, Actor::Leader(own), own, place).await {
            tracing::debug!(event = "audit_log_not_anchored", why = why.text);
        }
        return;
    }
    let request = api::AnchorRequest { place: Some(written(place)) };
    for (node, addresses) in belonging::others(running) {
        let request = request.clone();
        let ask = |mut peer: PeerClient| async move { peer.anchor(request).await };
        if running.peers.ask(node, &addresses, ANSWER, ask).await.is_some() {
            return;
        }
    }
}

/// A place as it is sent.
pub(in crate::manager) fn written(place: Place) -> api::AuditPlace {
    api::AuditPlace { number: place.number, head: place.head.to_vec() }
}

/// The leader has the cluster keep how far a manager's chain reaches.
///
/// # Errors
/// What the manager is told.
pub(in crate::manager) async fn taken(
    running: &Running,
    actor: Actor,
    manager: NodeId,
    place: Place,
) -> Result<(), Problem> {
    running.core.leads()?;
    let request = RequestId::draw(&mut *(running.core.dice)());
    let anchor = Anchor { number: place.number, head: place.head };
    let act = Act::Anchor { manager, anchor };
    let applied = running.core.propose(request, actor, act).await;
    let applied = applied.map_err(|error| running.core.problem(error))?;
    applied.outcome.map(drop).map_err(Explain::explain)
}

//! What follows from what is applied: new keys are opened, and whatever removed nodes and
//! operators have open is cut, as it is of operators whose time is over. Join tokens that have ended stay until there is no room for others: one that a
//! wrong clock ended is good again once the cluster's time is set back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};

use crate::manager::members::belonging;
use crate::manager::problem;
use crate::manager::running::Running;
use skep_core::base::{NodeId, OperatorId};
use skep_core::domain::{Fact, NodeRole, State};

/// How long a removed worker may take to hear why its session ends, and an operator that removed
/// itself what came of it, before whatever it has open is cut: within the second that is promised.
const PARTING: Duration = Duration::from_millis(500);

/// Between two looks at whose time is over: within the second that is promised.
const LOOK: Duration = Duration::from_millis(400);

/// Follows what is applied. A fact is a hint: whatever is missed is found by
/// comparing with the state.
pub(in crate::manager) async fn follow(running: Arc<Running>) {
    let mut facts = running.core.consensus.facts();
    let mut leadership = running.core.consensus.leadership();
    let mut known = nodes(&running);
    let mut acting = operators(&running);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Workers and operators that were removed, and when what they have open is cut.
    let mut parting: VecDeque<(Instant, [u8; 16])> = VecDeque::new();
    loop {
        running.core.open_key();
        let look_at_all = tokio::select! {
            () = running.stop.cancelled() => return,
            () = first(&parting) => {
                if let Some((_, gone)) = parting.pop_front() {
                    running.cuts.cut(gone);
                }
                false
            }
            _ = looks.tick() => {
                for gone in ended(&running, &mut acting) {
                    running.cuts.cut(gone);
                }
                false
            }
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
                true
            }
            heard = facts.recv() => match heard {
                Ok((_, facts)) => {
                    if facts.contains(&Fact::OperatorsRevised) {
                        let now = Instant::now() + PARTING;
                        parting.extend(ended(&running, &mut acting).map(|gone| (now, gone)));
                    }
                    facts.iter().any(changes_nodes)
                }
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            },
        };
        if look_at_all {
            let now = nodes(&running);
            for (gone, role) in known.iter().filter(|(id, _)| !now.contains_key(id)) {
                tracing::info!(event = "node_removed", node = %gone);
                // An agent is told why its session ends.
                running.dispatch.cut(*gone);
                match role {
                    NodeRole::Manager => {
                        running.cuts.cut(*gone.as_bytes());
                        running.peers.lost(*gone);
                    }
                    NodeRole::Worker => {
                        parting.push_back((Instant::now() + PARTING, *gone.as_bytes()));
                    }
                }
            }
            let own = &running.core.node;
            if known.contains_key(own) && !now.contains_key(own) {
                return belonging::ended(&running, problem::life::was_removed());
            }
            known = now;
        }
    }
}

/// Operators that may do nothing any more since `acting` did: they were removed, or their time is
/// over. What they have open, as watches of deliveries, is to be cut.
fn ended(running: &Running, acting: &mut BTreeSet<OperatorId>) -> impl Iterator<Item = [u8; 16]> {
    let now = operators(running);
    let before = std::mem::replace(acting, now.clone());
    before.into_iter().filter(move |id| !now.contains(id)).map(|gone| {
        tracing::info!(event = "operator_ended", operator = %gone);
        *gone.as_bytes()
    })
}

/// Those that may act: by this manager's clock and by the cluster's time.
fn operators(running: &Running) -> BTreeSet<OperatorId> {
    let clock = running.core.clock.now();
    running.core.consensus.read(|state| {
        let now = clock.max(state.stamp);
        let acting = state.operators.iter().filter(|(_, of)| !of.suspended && !of.has_ended(now));
        acting.map(|(id, _)| *id).collect()
    })
}

/// When the first of them has had its time; never where there is none.
async fn first(parting: &VecDeque<(Instant, [u8; 16])>) {
    match parting.front() {
        Some((at, _)) => tokio::time::sleep_until(*at).await,
        None => std::future::pending().await,
    }
}

fn changes_nodes(fact: &Fact) -> bool {
    matches!(fact, Fact::NodeRemoved(_) | Fact::NodeRevised(_))
}

fn nodes(running: &Running) -> BTreeMap<NodeId, NodeRole> {
    let roles = |state: &State| state.nodes.iter().map(|(id, node)| (*id, node.role)).collect();
    running.core.consensus.read(roles)
}

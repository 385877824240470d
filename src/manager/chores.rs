//! What a manager does by itself: it opens new keys, cuts sessions of removed
//! nodes, and, where it leads, clears away join tokens that have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use super::Core;
use super::belonging;
use super::lifecycle::Manager;
use super::running::{Running, propose};
use crate::base::{NodeId, RequestId, Stamp, TokenId, limits};
use crate::domain::{Act, Actor, Change, Fact, NodeRole, State};

/// How often ended tokens are looked for. They admit nobody meanwhile: `apply`
/// reads their end.
const TOKENS_EVERY: Duration = Duration::from_mins(1);

/// Follows what is applied. A fact is a hint: whatever is missed is found by
/// comparing with the state.
pub(super) async fn follow_facts(manager: Manager, running: Arc<Running>) {
    let mut facts = running.core.consensus.facts();
    let mut leadership = running.core.consensus.leadership();
    let mut known = nodes(&running);
    loop {
        open_key(&running.core);
        let look_at_all = tokio::select! {
            () = running.stop.cancelled() => return,
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
                true
            }
            heard = facts.recv() => match heard {
                Ok((_, facts)) => facts.iter().any(changes_nodes),
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            },
        };
        if look_at_all {
            let now = nodes(&running);
            for (gone, role) in known.iter().filter(|(id, _)| !now.contains_key(id)) {
                tracing::info!(event = "node_removed", node = %gone);
                // An agent is told why its session ends, and has nothing else open.
                running.dispatch.cut(*gone);
                if *role == NodeRole::Manager {
                    running.cuts.cut(*gone.as_bytes());
                    running.peers.lost(*gone);
                }
            }
            let own = &running.core.node;
            if known.contains_key(own) && !now.contains_key(own) {
                return belonging::ended(&manager, &running);
            }
            known = now;
        }
    }
}

fn changes_nodes(fact: &Fact) -> bool {
    matches!(fact, Fact::NodeRemoved(_) | Fact::NodeRevised(_))
}

fn nodes(running: &Running) -> BTreeMap<NodeId, NodeRole> {
    let roles = |state: &State| state.nodes.iter().map(|(id, node)| (*id, node.role)).collect();
    running.core.consensus.read(roles)
}

/// Opens this manager's box of the cluster key in use.
pub(super) fn open_key(core: &Core) {
    let stands = core.consensus.read(|state| state.cluster.clone());
    let Some(cluster) = stands else { return };
    if let Err(error) = core.keys.follow(&cluster.cluster_key) {
        let number = cluster.cluster_key.number;
        tracing::error!(event = "cluster_key_closed", number, why = %error);
    }
}

/// Removes join tokens that have ended, while this manager leads.
pub(super) async fn expire_tokens(running: Arc<Running>) {
    let mut every = tokio::time::interval(TOKENS_EVERY);
    loop {
        tokio::select! {
            () = running.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        if running.leads().is_err() {
            continue;
        }
        let core = &running.core;
        let now = core.clock.now();
        let ended = core.consensus.read(|state| ended_tokens(state, now));
        if ended.is_empty() {
            continue;
        }
        let changes = ended.into_iter().map(|id| Change::RemoveToken { id }).collect();
        let request = RequestId::draw(&mut *(core.dice)());
        let act = Act::Change(changes);
        match propose(core, request, Actor::Leader(core.node), act).await {
            Ok(applied) if applied.outcome.is_ok() => {}
            // Somebody removed one of them, or another leads: the next round sees.
            Ok(_) | Err(_) => tracing::debug!(event = "tokens_not_cleared"),
        }
    }
}

/// As many as fit into one act.
fn ended_tokens(state: &State, now: Stamp) -> Vec<TokenId> {
    let ended = state.tokens.iter().filter(|(_, token)| token.ends <= now);
    ended.map(|(id, _)| *id).take(limits::CHANGES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Token;
    use crate::manager::testing::NOW;

    #[test]
    fn ended_tokens_go_as_many_as_an_act_holds() {
        let mut state = State::default();
        let token = |ends| {
            let labels = crate::base::Labels::default();
            let role = NodeRole::Worker;
            let created = Stamp(0);
            let (name_pattern, uses_left) = (None, None);
            Arc::new(Token {
                digest: [0; 32],
                role,
                labels,
                name_pattern,
                created,
                ends,
                uses_left,
            })
        };
        for n in 0..100 {
            state.tokens.insert(TokenId::from_bytes([n; 16]), token(NOW));
        }
        state.tokens.insert(TokenId::from_bytes([200; 16]), token(NOW.plus_ms(1)));
        assert_eq!(ended_tokens(&state, NOW).len(), limits::CHANGES);
        assert!(ended_tokens(&state, Stamp(NOW.0 - 1)).is_empty());
        assert_eq!(ended_tokens(&state, NOW.plus_ms(1)).len(), limits::CHANGES);
    }
}

//! How the other managers are: asked every few seconds, most of all for the time.
//!
//! A manager whose clock is far from the majority's would write wrong times into
//! the log and sign certificates that are not valid yet or end too soon. It finds
//! that out here, hands leadership over, stands for no election and says so.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::peers::Heard;
use super::running::Running;
use crate::base::NodeId;
use crate::domain::{NodeRole, State};
use crate::wire::api;

/// How often the others are asked.
const EVERY: Duration = Duration::from_secs(5);
/// How long one of them may take.
const ANSWER: Duration = Duration::from_secs(2);
/// What was said longer ago counts no more.
const FRESH_MS: u64 = 60_000;
/// How far a manager's clock may be from the majority's median.
pub(super) const MOST_MS: u64 = 5 * 60_000;
/// How long another manager may take to take the lead.
const STEP_DOWN: Duration = Duration::from_secs(5);

/// How far the median of the voters' clocks is ahead of this manager's, in
/// milliseconds. `ahead`: that of each other voter who said so. Whoever said nothing
/// counts as if it agreed, and of two values in the middle the nearer one holds: only
/// a majority that disagrees can tell a manager that it is the one that is wrong.
fn off_by(voters: usize, ahead: &[i64]) -> i64 {
    let mut all = ahead.to_vec();
    all.resize(voters.max(ahead.len()).max(1), 0);
    all.sort_unstable();
    let upper = all.len() / 2;
    let lower = (all.len() - 1) / 2;
    let at = |place: usize| all.get(place).copied().unwrap_or(0);
    if at(lower).unsigned_abs() <= at(upper).unsigned_abs() { at(lower) } else { at(upper) }
}

/// Asks the other managers as long as this one runs.
pub(super) async fn keep(running: Arc<Running>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = running.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let others = others(&running);
        let answers = join_all(others.iter().map(|node| ask(&running, *node)));
        tokio::select! {
            () = running.stop.cancelled() => return,
            _ = answers => {}
        }
        running.peers.keep_only(&others);
        judge(&running).await;
    }
}

fn others(running: &Running) -> Vec<NodeId> {
    let managers = |state: &State| {
        let managers = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Manager);
        managers.map(|(id, _)| *id).filter(|id| *id != running.core.node).collect()
    };
    running.core.consensus.read(managers)
}

/// Asks one for its status. The way there and back is taken to be equally long.
async fn ask(running: &Running, node: NodeId) {
    let clock = &running.core.clock;
    let sent = clock.boot();
    let asking = async {
        let client = running.peers.client(node, &running.addresses_of(node)).await;
        let reply = client.ok()?.status(api::StatusRequest {}).await;
        reply.ok().map(tonic::Response::into_inner)
    };
    let Ok(Some(reply)) = tokio::time::timeout(ANSWER, asking).await else {
        running.peers.lost(node);
        return;
    };
    let at = clock.boot();
    let half = at.0.saturating_sub(sent.0) / 2;
    let ahead_ms = difference(reply.now.saturating_add(half), clock.now().0);
    running.peers.heard(node, Heard { at, ahead_ms, version: reply.version });
}

/// How far the first time is ahead of the second.
pub(super) fn difference(one: u64, other: u64) -> i64 {
    let distance = i64::try_from(one.abs_diff(other)).unwrap_or(i64::MAX);
    if one >= other { distance } else { -distance }
}

/// What follows from what they said.
async fn judge(running: &Running) {
    let now = running.core.clock.boot();
    let members = running.members();
    let voters = members.iter().filter(|member| member.voter).map(|member| member.node);
    let voters: Vec<NodeId> = voters.collect();
    let fresh = |node: &NodeId| {
        let heard = running.peers.said(*node)?;
        (now.0.saturating_sub(heard.at.0) < FRESH_MS).then_some(heard.ahead_ms)
    };
    let ahead: Vec<i64> = voters.iter().filter_map(fresh).collect();
    let off = off_by(voters.len(), &ahead);
    let before = running.clock_off_ms();
    running.set_clock_off(off);
    let (was, is) = (before.is_some(), running.clock_off_ms().is_some());
    if was != is {
        running.core.consensus.stand_for_election(!is);
        if is {
            tracing::error!(event = "clock_off", median_ahead_ms = off);
        } else {
            tracing::info!(event = "clock_right");
        }
    }
    if is && running.is_leader().is_ok() {
        let moved = running.core.consensus.hand_over(STEP_DOWN, None).await;
        tracing::warn!(event = "leadership_handed_over", moved, why = "clock");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_tells_a_manager_that_its_clock_is_wrong() {
        assert_eq!(off_by(3, &[600, 610]), 600);
        assert_eq!(off_by(3, &[-610, -600]), -600);
        assert_eq!(off_by(3, &[600]), 0, "one of three is no majority");
        assert_eq!(off_by(3, &[600, -600]), 0, "they do not agree");
        assert_eq!(off_by(3, &[600, 3]), 3, "the other one is wrong");
        assert_eq!(off_by(2, &[600]), 0, "nobody knows who of two is wrong");
        assert_eq!(off_by(5, &[600, 600, 600]), 600);
        assert_eq!(off_by(5, &[600, 600]), 0);
        assert_eq!(off_by(1, &[]), 0);
        assert_eq!(off_by(0, &[]), 0);
    }

    #[test]
    fn differences_have_a_sign() {
        assert_eq!(difference(7, 5), 2);
        assert_eq!(difference(5, 7), -2);
        assert_eq!(difference(u64::MAX, 0), i64::MAX);
    }
}

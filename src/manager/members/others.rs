//! How the other managers are, and what time it is there: each is asked for its status.

use std::time::Duration;

use futures_util::future::join_all;

use crate::manager::peers::{Heard, PeerClient};
use crate::manager::problem;
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::{BootTime, NodeId};
use skep_core::domain::{NodeRole, State};
use skep_core::wire::api;

/// How long one of them may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Milliseconds by which the voters' clocks may be from the leader's for the cluster's time to
/// be set to it: as long as a command may be under way.
const AGREE_MS: u64 = 60_000;

/// Asks one manager for its status, for `limit` at most: what it says, and by how many
/// milliseconds its clock is ahead of this one's. The way there and back is taken to be
/// equally long.
pub(in crate::manager) async fn status_of(
    running: &Running,
    node: NodeId,
    limit: Duration,
) -> Option<(api::StatusReply, i64)> {
    let clock = &running.core.clock;
    let sent = clock.boot();
    let addresses = running.core.addresses_of(node);
    let ask = |mut peer: PeerClient| async move { peer.status(api::StatusRequest {}).await };
    let reply = running.peers.ask(node, &addresses, limit, ask).await?;
    let half = clock.boot().0.saturating_sub(sent.0) / 2;
    let ahead_ms = difference(reply.now.saturating_add(half), clock.now().0);
    Some((reply, ahead_ms))
}

/// Asks all the others, and keeps what each says of itself.
pub(in crate::manager) async fn ask_all(running: &Running) {
    let others = others(running);
    join_all(others.iter().map(|node| ask(running, *node))).await;
    running.peers.keep_only(&others);
}

/// Whether a majority of the managers, asked now, has the time of this one: the leader's
/// clock may then become the cluster's time.
///
/// # Errors
/// Too few of them, or none.
pub(in crate::manager) async fn agree(running: &Running) -> Result<(), Problem> {
    let since = running.core.clock.boot();
    ask_all(running).await;
    if sharing(running, since, AGREE_MS).is_some() {
        return Ok(());
    }
    Err(problem::members::clocks_differ())
}

/// When it was found last that a majority of the voters, this manager included, has its time
/// within so many milliseconds, as they said since then.
pub(in crate::manager) fn sharing(
    running: &Running,
    since: BootTime,
    most_ms: u64,
) -> Option<BootTime> {
    let members = running.core.members();
    let voters = members.iter().filter(|member| member.voter);
    let count = voters.clone().count();
    let shares = |node: NodeId| {
        if node == running.core.node {
            return true;
        }
        let heard = running.peers.said(node);
        heard.is_some_and(|heard| heard.at >= since && heard.ahead_ms.unsigned_abs() <= most_ms)
    };
    let sharing = voters.filter(|member| shares(member.node)).count();
    (sharing > count / 2).then(|| running.core.clock.boot())
}

fn others(running: &Running) -> Vec<NodeId> {
    let managers = |state: &State| {
        let managers = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Manager);
        managers.map(|(id, _)| *id).filter(|id| *id != running.core.node).collect()
    };
    running.core.consensus.read(managers)
}

async fn ask(running: &Running, node: NodeId) {
    let Some((reply, ahead_ms)) = status_of(running, node, ANSWER).await else { return };
    let at = running.core.clock.boot();
    running.peers.heard(node, Heard { at, ahead_ms, version: reply.version });
    // Whoever leads no more calls nobody else, and would never hear that this one is back.
    tracing::info!(event = "peer_back", ends = "peer_unreachable", peer = %node);
}

/// Milliseconds by which the first time is ahead of the second.
fn difference(one: u64, other: u64) -> i64 {
    let distance = i64::try_from(one.abs_diff(other)).unwrap_or(i64::MAX);
    if one >= other { distance } else { -distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_a_sign() {
        assert_eq!(difference(7, 5), 2);
        assert_eq!(difference(5, 7), -2);
        assert_eq!(difference(u64::MAX, 0), i64::MAX);
    }
}

//! A leader whose process has ended is not waited for as long as one that is silent.
//!
//! Where the machine of a leader refuses connections, nothing of that leader runs any more. Then
//! a follower need not wait for the silence that a stalled machine is granted: it stands for
//! election once the lease is over that every member has given to that leader. Whether the
//! others see it so, a round before the vote finds out, which changes nothing where they don't.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

use super::gate::Gate;
use super::machine::Replica;
use super::start::{HEARTBEAT, LEASE};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// A leader that has said nothing for so long is looked at.
const QUIET: Duration = HEARTBEAT.saturating_mul(2);
/// How long an address may take to refuse.
const REFUSES: Duration = Duration::from_millis(200);
/// What is waited for after the lease: the others have heard that leader a moment later, maybe.
const MARGIN: Duration = Duration::from_millis(20);
/// By so much each candidate stands later than the one whose id is before its own: together they
/// would take each other's votes.
const APART: Duration = Duration::from_millis(60);

/// Looks after the leader as long as this runs.
pub(super) async fn watch(gate: Gate, shared: Arc<Replica>) {
    loop {
        sleep(LOOK).await;
        let Some(heard) = shared.heard_at().filter(|at| at.elapsed() >= QUIET) else { continue };
        let Some((addresses, turn)) = of_leader(&gate) else { continue };
        if !refused(&addresses).await {
            continue;
        }
        sleep_until(heard + LEASE + MARGIN + APART * turn).await;
        let as_before = shared.heard_at() == Some(heard);
        if as_before && gate.stands() && of_leader(&gate).is_some() {
            tracing::debug!(event = "leader_gone");
            // Its only error is that Raft has ended.
            gate.raft.trigger().elect(true).await.ok();
        }
    }
}

/// Where the leader is that this voter follows, and how many candidates come before this one.
fn of_leader(gate: &Gate) -> Option<(Vec<String>, u32)> {
    let metrics = gate.raft.metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader.filter(|leader| *leader != gate.node)?;
    let members = metrics.membership_config.membership();
    let mut candidates = members.voter_ids().filter(|voter| *voter != leader);
    let turn = candidates.position(|voter| voter == gate.node)?;
    let addresses = members.get_node(&leader)?.0.clone();
    Some((addresses, u32::try_from(turn).unwrap_or(u32::MAX).min(8)))
}

/// Whether each of these addresses says that nobody listens there.
async fn refused(addresses: &[String]) -> bool {
    for address in addresses {
        match timeout(REFUSES, TcpStream::connect(address)).await {
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {}
            Ok(_) | Err(_) => return false,
        }
    }
    !addresses.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_address_that_refuses_is_nobodys() {
        let here = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listens = here.local_addr().unwrap().to_string();
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refuses = gone.local_addr().unwrap().to_string();
        drop(gone);
        assert!(refused(std::slice::from_ref(&refuses)).await);
        assert!(!refused(&[refuses.clone(), listens]).await);
        assert!(!refused(&[refuses, "no.such.name.invalid:1".to_owned()]).await);
        assert!(!refused(&[]).await);
    }
}

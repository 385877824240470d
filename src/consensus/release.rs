//! Taking a member whose disk is behind out of the members, so that its log can be
//! emptied: what it had acknowledged does not count on it any more.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Raft};
use tokio::time::Instant;
use tonic::Status;

use super::gate::{ANSWER, Gate};
use super::machine::Machine;
use super::problem;
use super::progress;
use super::types::TypeConfig;
use skep_client::transport::Expect;
use skep_core::base::NodeId;
use skep_core::wire::raft as proto;

/// How long a change of the members may take.
const CHANGE: Duration = Duration::from_secs(5);
/// Between two looks whether another change is through.
const LOOK: Duration = Duration::from_millis(50);
/// A member that answered within this many milliseconds is there.
const CONTACT_MS: u64 = 2_000;
/// How long a leader is looked for.
const LEADER: Duration = Duration::from_secs(10);
/// One answer: a change and a connection.
const CALL: Duration = Duration::from_secs(8);
/// Managers that are asked in one round.
const ASKED: usize = 16;

/// Why a member was not taken out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The others can't do without it.
    #[error("{0}")]
    Refused(String),
    /// Nobody who leads was reached.
    #[error("no manager that leads could be reached ({0})")]
    NoLeader(String),
}

fn refused(why: &str) -> proto::ReleaseReply {
    use proto::release_reply::Of;
    proto::ReleaseReply { of: Some(Of::Refused(why.to_owned())) }
}

fn released(peer: NodeId) -> proto::ReleaseReply {
    use proto::release_reply::Of;
    tracing::info!(event = "member_released", node = %peer);
    proto::ReleaseReply { of: Some(Of::Released(true)) }
}

/// The leader's side: takes `peer` out, and answers once that is committed.
pub(super) async fn release(
    own: NodeId,
    raft: &Raft<TypeConfig, Machine>,
    peer: NodeId,
) -> Result<proto::ReleaseReply, Status> {
    use proto::release_reply::Of;
    let until = Instant::now() + CHANGE;
    loop {
        let metrics = raft.metrics().borrow_watched().clone();
        let members = metrics.membership_config.membership();
        if !metrics.state.is_leader() {
            let leader = metrics.current_leader.filter(|leader| *leader != own);
            let at = leader.and_then(|id| Some((id, members.get_node(&id)?.0.clone())));
            let of = at.map(|(id, addresses)| {
                Of::Leader(proto::Member { id: id.as_bytes().to_vec(), addresses })
            });
            return Ok(proto::ReleaseReply { of });
        }
        if let Some(why) = indispensable(own, raft, peer) {
            return Ok(refused(&why));
        }
        let gone = members.get_node(&peer).is_none();
        let committed =
            metrics.membership_config.log_id().as_ref() <= metrics.last_applied.as_ref();
        if gone && committed {
            return Ok(released(peer));
        }
        if !gone {
            let only = BTreeSet::from([peer]);
            let change = if members.voter_ids().any(|voter| voter == peer) {
                ChangeMembers::RemoveVoters(only)
            } else {
                ChangeMembers::RemoveNodes(only)
            };
            let changed = raft.change_membership(change, false);
            match tokio::time::timeout_at(until, changed).await {
                // Committed: what happens to it from now on is a new member's story.
                Ok(Ok(_)) => return Ok(released(peer)),
                // Another change is under way, or the leader just changed: look again.
                Ok(Err(RaftError::APIError(
                    ClientWriteError::ForwardToLeader(_)
                    | ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)),
                ))) => {}
                Ok(Err(error)) => return Err(problem::not_now(error).into()),
                // It may still be committed: whoever asks again hears.
                Err(_late) => {
                    return Err(problem::not_confirmed().into());
                }
            }
        }
        if Instant::now() >= until {
            return Err(problem::another_change().into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Why the others can't do without `peer`, if so.
fn indispensable(own: NodeId, raft: &Raft<TypeConfig, Machine>, peer: NodeId) -> Option<String> {
    let members = progress::members(own, raft, None);
    let voters = members.iter().filter(|member| member.voter);
    let all = voters.clone().count();
    if !voters.clone().any(|member| member.node == peer) {
        return None;
    }
    let there = voters.filter(|member| {
        member.node != peer && member.last_contact_ms.is_some_and(|ago| ago <= CONTACT_MS)
    });
    let there = there.count();
    let needed = all / 2 + 1;
    (there < needed)
        .then(|| format!("{there} of {all} managers are there without it, and {needed} must be"))
}

/// The side of the member that is behind: finds the leader, also by `more`
/// addresses, and asks it.
pub(super) async fn ask(gate: &Gate, more: Vec<String>) -> Result<(), ReleaseError> {
    let until = Instant::now() + LEADER;
    let mut why = "no other manager is known".to_owned();
    loop {
        let known = gate.others().into_iter().map(|(node, at)| (Expect::Manager(node), at));
        let named = more.iter().map(|address| (Expect::AnyManager, vec![address.clone()]));
        let mut left: Vec<_> = named.chain(known).collect();
        let mut asked = 0;
        while let Some((expect, addresses)) = left.pop()
            && asked < ASKED
        {
            asked += 1;
            match ask_one(gate, expect, addresses).await {
                Said::Released => return Ok(()),
                Said::Refused(why) => return Err(ReleaseError::Refused(why)),
                Said::Elsewhere(leader, addresses) => {
                    left.push((Expect::Manager(leader), addresses));
                }
                Said::NotNow(now) => why = now,
            }
        }
        if Instant::now() >= until {
            return Err(ReleaseError::NoLeader(why));
        }
        tokio::time::sleep(LOOK * 4).await;
    }
}

enum Said {
    Released,
    Refused(String),
    Elsewhere(NodeId, Vec<String>),
    NotNow(String),
}

async fn ask_one(gate: &Gate, expect: Expect, addresses: Vec<String>) -> Said {
    use proto::release_reply::Of;
    let mut client = gate.network.client(expect, addresses);
    // What it remembers of our starts decides the number of the next one.
    let _told_or_away = client.remember(ANSWER).await;
    match client.release(CALL).await {
        Err(why) => Said::NotNow(why.to_string()),
        Ok(reply) => match reply.of {
            Some(Of::Released(true)) => Said::Released,
            Some(Of::Refused(why)) => Said::Refused(why),
            Some(Of::Leader(member)) => match NodeId::try_from(member.id.as_slice()) {
                Ok(node) => Said::Elsewhere(node, member.addresses),
                Err(_) => Said::NotNow("the answer names no leader".to_owned()),
            },
            Some(Of::Released(false)) | None => Said::NotNow("it knows no leader".to_owned()),
        },
    }
}

//! openraft's messages in our own shapes (`proto/raft.proto`) and back. Its own
//! layouts are neither stored nor sent: they change from one alpha to the next.

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::vote::{RaftLeaderId, leader_id_std};

use super::types::{
    Addresses, LogEntry, LogId, Membership, Proposal, SnapshotMeta, StoredMembership, TypeConfig,
    Vote,
};
use skep_core::base::NodeId;
use skep_core::base::limits::MANAGERS;
use skep_core::wire::raft as proto;

/// Bytes that are no message of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid raft message: {0}")]
pub(super) struct BadMessage(pub(super) &'static str);

type Result<T> = std::result::Result<T, BadMessage>;

/// While a membership changes there are two sets of voters, and learners beside them.
const MOST_MEMBERS: usize = 4 * MANAGERS;
const MOST_ADDRESSES: usize = 16;

pub(super) fn id_to(id: &LogId) -> proto::LogId {
    proto::LogId { term: **id.committed_leader_id(), leader: Vec::new(), index: id.index() }
}

pub(super) fn id_from(id: &proto::LogId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

pub(super) fn node_from(bytes: &[u8]) -> Result<NodeId> {
    NodeId::try_from(bytes).ok().ok_or(BadMessage("a node id has 16 bytes"))
}

pub(super) fn vote_to(vote: &Vote) -> proto::Vote {
    proto::Vote {
        term: vote.leader_id.term(),
        node: vote.leader_id.node_id().as_bytes().to_vec(),
        committed: vote.committed,
    }
}

pub(super) fn vote_from(vote: Option<&proto::Vote>) -> Result<Vote> {
    let vote = vote.ok_or(BadMessage("no vote"))?;
    let leader_id = leader_id_std::LeaderId::new(vote.term, node_from(&vote.node)?);
    Ok(Vote { leader_id, committed: vote.committed })
}

pub(super) fn membership_to(membership: &Membership) -> proto::Membership {
    let set = |ids: &BTreeSet<NodeId>| proto::VoterSet {
        ids: ids.iter().map(|id| id.as_bytes().to_vec()).collect(),
    };
    let member = |(id, at): (&NodeId, &Addresses)| proto::Member {
        id: id.as_bytes().to_vec(),
        addresses: at.0.clone(),
    };
    proto::Membership {
        configs: membership.get_joint_config().iter().map(set).collect(),
        nodes: membership.nodes().map(member).collect(),
    }
}

pub(super) fn membership_from(membership: &proto::Membership) -> Result<Membership> {
    let sizes = membership.configs.iter().map(|set| set.ids.len());
    if membership.configs.len() > 2
        || membership.nodes.len() > MOST_MEMBERS
        || sizes.max().unwrap_or(0) > MOST_MEMBERS
        || membership.nodes.iter().any(|member| member.addresses.len() > MOST_ADDRESSES)
    {
        return Err(BadMessage("too many members or addresses"));
    }
    let mut configs = Vec::new();
    for set in &membership.configs {
        configs.push(set.ids.iter().map(|id| node_from(id)).collect::<Result<BTreeSet<_>>>()?);
    }
    let mut nodes = BTreeMap::new();
    for member in &membership.nodes {
        nodes.insert(node_from(&member.id)?, Addresses(member.addresses.clone()));
    }
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).ok().ok_or(BadMessage("a membership that cannot be"))
}

pub(super) fn payload_to(entry: &LogEntry) -> proto::entry::Payload {
    match &entry.payload {
        EntryPayload::Blank => proto::entry::Payload::Blank(true),
        EntryPayload::Normal(proposal) => proto::entry::Payload::Command(proposal.bytes.clone()),
        EntryPayload::Membership(membership) => {
            proto::entry::Payload::Membership(membership_to(membership))
        }
    }
}

pub(super) fn entry_to(entry: &LogEntry) -> proto::Entry {
    proto::Entry { id: Some(id_to(&entry.log_id)), payload: Some(payload_to(entry)) }
}

/// An entry whose place is known otherwise.
pub(super) fn entry_at(log_id: LogId, entry: proto::Entry) -> Result<LogEntry> {
    let payload = match entry.payload.ok_or(BadMessage("an entry without payload"))? {
        proto::entry::Payload::Blank(_) => EntryPayload::Blank,
        proto::entry::Payload::Command(bytes) => EntryPayload::Normal(Proposal::received(bytes)),
        proto::entry::Payload::Membership(membership) => {
            EntryPayload::Membership(membership_from(&membership)?)
        }
    };
    Ok(LogEntry { log_id, payload })
}

pub(super) fn append_to(request: &AppendEntriesRequest<TypeConfig>) -> proto::AppendRequest {
    proto::AppendRequest {
        vote: Some(vote_to(&request.vote)),
        prev: request.prev_log_id.as_ref().map(id_to),
        entries: request.entries.iter().map(entry_to).collect(),
        leader_commit: request.leader_commit.as_ref().map(id_to),
    }
}

pub(super) fn append_from(
    request: proto::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>> {
    let vote = vote_from(request.vote.as_ref())?;
    let prev_log_id = request.prev.as_ref().map(id_from);
    let mut entries: Vec<LogEntry> = Vec::with_capacity(request.entries.len());
    let mut last = prev_log_id;
    for entry in request.entries {
        let id = id_from(entry.id.as_ref().ok_or(BadMessage("an entry without id"))?);
        let expected = last.map_or(0, |last| last.index.saturating_add(1));
        if id.index != expected || Some(id) <= last {
            return Err(BadMessage("entries out of order"));
        }
        last = Some(id);
        entries.push(entry_at(id, entry)?);
    }
    let leader_commit = request.leader_commit.as_ref().map(id_from);
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub(super) fn appended_to(reply: &AppendEntriesResponse<TypeConfig>) -> proto::AppendReply {
    use proto::append_reply::Of;
    let of = match reply {
        AppendEntriesResponse::Success => Of::Success(true),
        AppendEntriesResponse::PartialSuccess(Some(id)) => Of::Partial(id_to(id)),
        // Nothing matched: openraft then asks again from the start.
        AppendEntriesResponse::PartialSuccess(None) | AppendEntriesResponse::Conflict => {
            Of::Conflict(true)
        }
        AppendEntriesResponse::HigherVote(vote) => Of::HigherVote(vote_to(vote)),
    };
    proto::AppendReply { of: Some(of) }
}

pub(super) fn appended_from(
    reply: &proto::AppendReply,
) -> Result<AppendEntriesResponse<TypeConfig>> {
    use proto::append_reply::Of;
    Ok(match reply.of.as_ref().ok_or(BadMessage("an empty reply"))? {
        Of::Success(_) => AppendEntriesResponse::Success,
        Of::Partial(id) => AppendEntriesResponse::PartialSuccess(Some(id_from(id))),
        Of::Conflict(_) => AppendEntriesResponse::Conflict,
        Of::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_from(Some(vote))?),
    })
}

pub(super) fn ask_to(request: &VoteRequest<TypeConfig>, pre_vote: bool) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(vote_to(&request.vote)),
        last: request.last_log_id.as_ref().map(id_to),
        pre_vote,
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn ask_from(request: &proto::VoteRequest) -> Result<VoteRequest<TypeConfig>> {
    Ok(VoteRequest {
        vote: vote_from(request.vote.as_ref())?,
        last_log_id: request.last.as_ref().map(id_from),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(super) fn voted_to(reply: &VoteResponse<TypeConfig>) -> proto::VoteReply {
    proto::VoteReply {
        vote: Some(vote_to(&reply.vote)),
        granted: reply.vote_granted,
        last: reply.last_log_id.as_ref().map(id_to),
    }
}

pub(super) fn voted_from(reply: &proto::VoteReply) -> Result<VoteResponse<TypeConfig>> {
    let vote = vote_from(reply.vote.as_ref())?;
    Ok(VoteResponse::new(vote, reply.last.as_ref().map(id_from), reply.granted))
}

pub(super) fn transfer_to(
    request: &TransferLeaderRequest<TypeConfig>,
) -> proto::TransferLeaderRequest {
    proto::TransferLeaderRequest {
        from: Some(vote_to(request.from_leader())),
        to: request.to_node_id().as_bytes().to_vec(),
        last: request.last_log_id().map(id_to),
    }
}

pub(super) fn transfer_from(
    request: &proto::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>> {
    let from = vote_from(request.from.as_ref())?;
    let last = request.last.as_ref().map(id_from);
    Ok(TransferLeaderRequest::new(from, node_from(&request.to)?, last))
}

/// A snapshot's head; in a file it has no vote.
pub(super) fn head_to(meta: &SnapshotMeta, vote: Option<&Vote>, bytes: u64) -> proto::SnapshotHead {
    proto::SnapshotHead {
        vote: vote.map(vote_to),
        last: meta.last_log_id.as_ref().map(id_to),
        membership_id: meta.last_membership.log_id().as_ref().map(id_to),
        membership: Some(membership_to(meta.last_membership.membership())),
        id: String::new(),
        bytes,
    }
}

pub(super) fn head_from(head: &proto::SnapshotHead) -> Result<SnapshotMeta> {
    let membership = head.membership.as_ref().ok_or(BadMessage("no membership"))?;
    let membership = membership_from(membership)?;
    let last_membership =
        StoredMembership::new(head.membership_id.as_ref().map(id_from), membership);
    Ok(SnapshotMeta { last_log_id: head.last.as_ref().map(id_from), last_membership })
}

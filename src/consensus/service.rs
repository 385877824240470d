//! Answering peers.

use std::sync::Arc;

use futures_util::StreamExt;
use openraft::Raft;
use openraft::raft::AppendEntriesResponse;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::convert::{self, BadMessage};
use super::machine::{Machine, Replica};
use super::peers::{Peers, Untaken};
use super::problem;
use super::release;
use super::types::{Snapshot, SnapshotState, TypeConfig};
use super::vouching::{Decision, Vouching};
use crate::store::Incarnation;
use skep_client::ca::{CertificateRole, Leaf};
use skep_client::transport::{Caller, rpc::raft::raft_server};
use skep_core::base::{NodeId, limits};
use skep_core::wire::raft as proto;

/// Answers managers that the state lists, and nobody else.
pub struct RaftService {
    raft: Raft<TypeConfig, Machine>,
    shared: Arc<Replica>,
    peers: Arc<Peers>,
    vouching: Vouching,
    node: NodeId,
}

/// A manager that calls, and which start of it.
#[derive(Clone, Copy)]
struct Calling {
    node: NodeId,
    start: Option<Incarnation>,
}

impl std::fmt::Debug for RaftService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RaftService")
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    problem::not_now(error).into()
}

fn bad(error: BadMessage) -> Status {
    problem::malformed(error).into()
}

impl RaftService {
    pub(super) fn new(
        node: NodeId,
        raft: Raft<TypeConfig, Machine>,
        shared: Arc<Replica>,
        peers: Arc<Peers>,
        vouching: Vouching,
    ) -> Self {
        Self { raft, shared, peers, vouching, node }
    }

    /// The manager that calls, once what it remembers of us was compared.
    async fn heard<T>(&self, request: &Request<T>) -> Result<Calling, Status> {
        let denied = || Status::from(problem::no_member());
        let (node, leaf) = caller(request.extensions()).ok_or_else(denied)?;
        match self.vouching.decide(node, leaf).await {
            Decision::Heard => {}
            Decision::Compared => {
                let compared = self.peers.compare_with(node, request.metadata());
                compared.map_err(|untaken| self.untaken(node, untaken))?;
                return Err(denied());
            }
            Decision::Removed => return Err(problem::removed().into()),
            Decision::Denied => return Err(denied()),
        }
        let start = self.peers.hear(node, request.metadata());
        let start = start.map_err(|untaken| self.untaken(node, untaken))?;
        Ok(Calling { node, start })
    }

    /// The same, for messages of Raft: they wait until we are sound.
    async fn calling<T>(&self, request: &Request<T>) -> Result<Calling, Status> {
        let calling = self.heard(request).await?;
        self.peers.sound().map_err(|untaken| self.untaken(calling.node, untaken))?;
        Ok(calling)
    }

    /// A refusal says what we remember too: it is how a caller finds out.
    fn untaken(&self, peer: NodeId, untaken: Untaken) -> Status {
        let mut status = Status::from(problem::not_now(untaken));
        self.peers.say(peer, status.metadata_mut());
        status
    }

    fn answer<T>(&self, peer: NodeId, message: T) -> Response<T> {
        let mut response = Response::new(message);
        self.peers.say(peer, response.metadata_mut());
        response
    }

    /// Who speaks in a vote's name must be whom the vote is for.
    fn speaks_for(peer: NodeId, vote: Option<&proto::Vote>) -> Result<(), Status> {
        let vote = convert::vote_from(vote).map_err(bad)?;
        if vote.leader_id.voted_for == peer { Ok(()) } else { Err(problem::not_its_vote().into()) }
    }

    async fn receive(
        &self,
        calling: Calling,
        mut chunks: Streaming<proto::SnapshotChunk>,
    ) -> Result<proto::SnapshotReply, Status> {
        use proto::snapshot_chunk::Of;
        let malformed = || Status::from(problem::malformed("not a snapshot"));
        let first = chunks.next().await.ok_or_else(malformed)??;
        let Some(Of::Head(head)) = first.of else { return Err(malformed()) };
        Self::speaks_for(calling.node, head.vote.as_ref())?;
        let vote = convert::vote_from(head.vote.as_ref()).map_err(bad)?;
        let meta = convert::head_from(&head).map_err(bad)?;
        // openraft panics on a snapshot that its sender cannot have made.
        if meta.last_log_id.is_none_or(|last| **last.committed_leader_id() > vote.leader_id.term) {
            return Err(malformed());
        }
        let bytes = usize::try_from(head.bytes).ok().ok_or_else(malformed)?;
        if head.bytes > limits::STATE_BYTES.saturating_mul(2) {
            return Err(malformed());
        }
        let mut state = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let Some(Of::Data(data)) = chunk?.of else { return Err(malformed()) };
            if data.len() > bytes - state.len() {
                return Err(malformed());
            }
            state.extend_from_slice(&data);
        }
        if state.len() != bytes {
            return Err(malformed());
        }
        self.peers.voted(calling.node, calling.start, vote.leader_id.term);
        let snapshot = Snapshot { meta, snapshot: SnapshotState::Received(state.into()) };
        let done = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(proto::SnapshotReply { vote: Some(convert::vote_to(&done.vote)) })
    }
}

#[tonic::async_trait]
impl raft_server::Raft for RaftService {
    async fn append(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Result<Response<proto::AppendReply>, Status> {
        let calling = self.calling(&request).await?;
        let audited = Peers::audited(request.metadata());
        let led_ago = Peers::led_ago(request.metadata());
        let message = request.into_inner();
        Self::speaks_for(calling.node, message.vote.as_ref())?;
        if let Some((index, head)) = audited {
            self.shared.compare_audit(index, &head).map_err(stopped)?;
        }
        let request = convert::append_from(message).map_err(bad)?;
        self.peers.voted(calling.node, calling.start, request.vote.leader_id.term);
        let reply = self.raft.append_entries(request).await.map_err(stopped)?;
        if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
            self.shared.hear();
            let led_at = led_ago.and_then(|ago| tokio::time::Instant::now().checked_sub(ago));
            if let Some(at) = led_at {
                self.shared.led_at(at);
            }
        }
        Ok(self.answer(calling.node, convert::appended_to(&reply)))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteReply>, Status> {
        let calling = self.calling(&request).await?;
        let message = request.into_inner();
        Self::speaks_for(calling.node, message.vote.as_ref())?;
        let request = convert::ask_from(&message).map_err(bad)?;
        let reply = if message.pre_vote {
            // The vote of a pre-vote is one that it would give itself, on no disk yet.
            self.raft.pre_vote(request).await
        } else {
            self.peers.voted(calling.node, calling.start, request.vote.leader_id.term);
            self.raft.vote(request).await
        };
        Ok(self.answer(calling.node, convert::voted_to(&reply.map_err(stopped)?)))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Result<Response<proto::TransferLeaderReply>, Status> {
        let calling = self.calling(&request).await?;
        let message = request.into_inner();
        Self::speaks_for(calling.node, message.from.as_ref())?;
        let request = convert::transfer_from(&message).map_err(bad)?;
        let answer = self.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        answer.map_err(problem::no_transfer)?;
        Ok(self.answer(calling.node, proto::TransferLeaderReply {}))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotChunk>>,
    ) -> Result<Response<proto::SnapshotReply>, Status> {
        let calling = self.calling(&request).await?;
        let reply = self.receive(calling, request.into_inner()).await?;
        Ok(self.answer(calling.node, reply))
    }

    async fn remember(
        &self,
        request: Request<proto::RememberRequest>,
    ) -> Result<Response<proto::RememberReply>, Status> {
        let calling = self.heard(&request).await?;
        Ok(self.answer(calling.node, proto::RememberReply {}))
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseReply>, Status> {
        let calling = self.calling(&request).await?;
        let reply = release::release(self.node, &self.raft, calling.node).await?;
        Ok(self.answer(calling.node, reply))
    }

    async fn vouch(
        &self,
        request: Request<proto::VouchRequest>,
    ) -> Result<Response<proto::VouchReply>, Status> {
        // One that is not known itself is told nothing, and nobody is asked about it.
        let (node, leaf) = caller(request.extensions()).ok_or_else(problem::no_member)?;
        if !self.vouching.lists(node, leaf) {
            return Err(problem::no_member().into());
        }
        let known = self.vouching.knows(node, request.get_ref()).map_err(bad)?;
        Ok(self.answer(node, proto::VouchReply { known }))
    }
}

/// The manager whose certificate was shown.
fn caller(extensions: &Extensions) -> Option<(NodeId, &Leaf)> {
    let Some(Caller::Peer(peer)) = extensions.get::<Caller>() else { return None };
    match peer.leaf().subject.role {
        CertificateRole::Manager(node) => Some((node, peer.leaf())),
        CertificateRole::Worker(_) | CertificateRole::Operator(_) => None,
    }
}

//! Answering peers.

use std::sync::Arc;

use futures_util::StreamExt;
use openraft::Raft;
use openraft::raft::AppendEntriesResponse;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{self, BadMessage};
use super::machine::{Machine, Replica};
use super::peers::{Peers, Untaken};
use super::problem;
use super::release;
use super::types::{Snapshot, TypeConfig};
use crate::store::Incarnation;
use skep_client::ca::{CertificateRole, Leaf};
use skep_client::transport::{Caller, rpc::raft::raft_server};
use skep_core::base::{NodeId, limits};
use skep_core::domain::{NodeRole, State};
use skep_core::wire::raft as proto;

/// Answers managers that the state lists, and nobody else.
pub struct RaftService {
    raft: Raft<TypeConfig, Machine>,
    shared: Arc<Replica>,
    peers: Arc<Peers>,
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

/// How long before its act of joining a manager's certificate may start: what the
/// issuer puts it back by, and the longest that the act may be under way.
const ISSUED_BEFORE_MS: u64 = 2 * 60_000;

/// A manager may call if the state lists it with the key it showed. A member that
/// is behind does not know who joined since: it takes entries from a manager whose
/// certificate is younger than what it knows. The certificate of one that was
/// removed is older than its removal.
fn allowed(state: &State, node: NodeId, leaf: &Leaf) -> bool {
    matches!(listing(state, node, leaf), Listing::Listed | Listing::Unknown)
}

/// How a manager stands by its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The state lists it.
    Listed,
    /// The state may be behind and not know it yet.
    Unknown,
    /// It was removed: ids are never used again.
    Removed,
    /// That id is somebody else's.
    Another,
}

/// How the manager with this certificate stands, as this state knows.
#[must_use]
pub fn listing(state: &State, node: NodeId, leaf: &Leaf) -> Listing {
    if let Some(listed) = state.nodes.get(&node) {
        let same = listed.role == NodeRole::Manager && listed.key == leaf.key;
        return if same { Listing::Listed } else { Listing::Another };
    }
    let cluster = state.cluster.as_deref();
    let removed = cluster.is_some_and(|cluster| cluster.removed_managers.contains_key(&node));
    let young = leaf.starts.plus_ms(ISSUED_BEFORE_MS) >= state.stamp;
    if young && !removed { Listing::Unknown } else { Listing::Removed }
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
    ) -> Self {
        Self { raft, shared, peers, node }
    }

    /// The manager that calls, once what it remembers of us was compared.
    fn heard<T>(&self, request: &Request<T>) -> Result<Calling, Status> {
        let node = self.peer(request)?;
        let start = self.peers.hear(node, request.metadata());
        let start = start.map_err(|untaken| self.untaken(node, untaken))?;
        Ok(Calling { node, start })
    }

    /// The same, for messages of Raft: they wait until we are sound.
    fn calling<T>(&self, request: &Request<T>) -> Result<Calling, Status> {
        let calling = self.heard(request)?;
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

    /// The manager that calls.
    fn peer<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let denied = || problem::no_member().into();
        let Some(Caller::Peer(peer)) = request.extensions().get::<Caller>() else {
            return Err(denied());
        };
        let leaf = peer.leaf();
        match leaf.subject.role {
            CertificateRole::Manager(node)
                if self.shared.read(|state| allowed(state, node, leaf)) =>
            {
                Ok(node)
            }
            CertificateRole::Manager(node)
                if self.shared.read(|state| listing(state, node, leaf)) == Listing::Removed =>
            {
                Err(problem::removed().into())
            }
            CertificateRole::Manager(_)
            | CertificateRole::Worker(_)
            | CertificateRole::Operator(_) => Err(denied()),
        }
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
        let snapshot = Snapshot { meta, snapshot: state.into() };
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
        let calling = self.calling(&request)?;
        let audited = Peers::audited(request.metadata());
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
        }
        Ok(self.answer(calling.node, convert::appended_to(&reply)))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteReply>, Status> {
        let calling = self.calling(&request)?;
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
        let calling = self.calling(&request)?;
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
        let calling = self.calling(&request)?;
        let reply = self.receive(calling, request.into_inner()).await?;
        Ok(self.answer(calling.node, reply))
    }

    async fn remember(
        &self,
        request: Request<proto::RememberRequest>,
    ) -> Result<Response<proto::RememberReply>, Status> {
        let calling = self.heard(&request)?;
        Ok(self.answer(calling.node, proto::RememberReply {}))
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseReply>, Status> {
        let calling = self.calling(&request)?;
        let reply = release::release(self.node, &self.raft, calling.node).await?;
        Ok(self.answer(calling.node, reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_client::ca::Subject;
    use skep_core::base::{ClusterId, Stamp};
    use skep_core::domain::testing::worker;

    #[test]
    fn a_member_that_is_behind_hears_managers_younger_than_what_it_knows() {
        let node = NodeId::from_bytes([1; 16]);
        let leaf = |starts| Leaf {
            subject: Subject {
                cluster: ClusterId::from_bytes([2; 16]),
                role: CertificateRole::Manager(node),
                name: "m".parse().expect("a name"),
            },
            key: [1; 32],
            starts: Stamp(starts),
            ends: Stamp(u64::MAX),
        };
        let mut state = State::default();
        assert!(allowed(&state, node, &leaf(0)), "it knows nobody yet");
        state.stamp = Stamp(1_000_000);
        assert!(allowed(&state, node, &leaf(1_000_000 - ISSUED_BEFORE_MS)));
        assert!(!allowed(&state, node, &leaf(1_000_000 - ISSUED_BEFORE_MS - 1)), "removed");
        let mut cluster = skep_core::domain::testing::genesis().cluster;
        cluster.removed_managers.insert(node, Stamp(999_999));
        state.cluster = Some(Arc::new(cluster));
        assert_eq!(listing(&state, node, &leaf(1_000_000)), Listing::Removed, "a young one");
        state.cluster = None;
        let mut listed = worker("m");
        listed.role = NodeRole::Manager;
        listed.key = [1; 32];
        state.nodes.insert(node, Arc::new(listed.clone()));
        assert!(allowed(&state, node, &leaf(0)), "listed");
        listed.key = [2; 32];
        state.nodes.insert(node, Arc::new(listed));
        assert!(!allowed(&state, node, &leaf(1_000_000)), "another key");
    }
}

//! Calling peers: one connection each for entries, for votes and heartbeats, and
//! for snapshots, so that none waits behind another.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream};
use openraft::entry::RaftEntry;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkV2};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Request;
use tonic::transport::Channel;

use super::convert;
use super::log_store::id_to;
use super::peers::Peers;
use super::types::{Addresses, Snapshot, SnapshotState, TypeConfig, Vote};
use crate::store::Incarnation;
use skep_client::ca::CertificateRole;
use skep_client::transport::{ClientTls, Expect, connect, rpc::raft::raft_client::RaftClient};
use skep_core::base::NodeId;
use skep_core::wire::raft as proto;

/// Bytes of a message between managers: 4 MiB of entries, or one entry with an act of 4 MiB.
pub(super) const MOST_MESSAGE: usize = 16 * 1024 * 1024;
/// Bytes of a snapshot in one message.
const SNAPSHOT_CHUNK: usize = 256 * 1024;
/// How long a handshake may take.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection that has answered nothing for so long is made anew.
const SILENT: Duration = Duration::from_secs(1);
/// Entries wait for the follower's disk, which may be slower than a heartbeat.
const APPEND: Duration = Duration::from_secs(2);
/// A whole snapshot: 1 GiB over a slow line.
const SNAPSHOT: Duration = Duration::from_mins(10);

/// Makes clients.
#[derive(Clone)]
pub(super) struct Network {
    /// `None`: a test of one voter, with nobody to call.
    pub(super) tls: Option<ClientTls>,
    pub(super) peers: Arc<Peers>,
    /// The connections for votes: a vote is asked for by a client of its own, in less time
    /// than a handshake may take.
    pub(super) voting: Voting,
}

/// A client for votes to each peer, kept between elections.
pub(super) type Voting =
    Arc<Mutex<BTreeMap<NodeId, (Vec<String>, Arc<tokio::sync::Mutex<Client>>)>>>;

impl Network {
    /// A connection to one peer, made when it is needed.
    pub(super) fn client(&self, expect: Expect, addresses: Vec<String>) -> Client {
        let (tls, peers) = (self.tls.clone(), Arc::clone(&self.peers));
        let (open, making, answered) = (None, None, Instant::now());
        let (shows, renewing) = (0, None);
        Client {
            tls,
            peers,
            expect,
            addresses,
            open,
            shows,
            making,
            renewing,
            answered,
            voting: None,
        }
    }

    /// That for votes; another one if the peer has moved.
    fn voting(&self, target: NodeId, addresses: &[String]) -> Arc<tokio::sync::Mutex<Client>> {
        let new = || {
            let client = self.client(Expect::Manager(target), addresses.to_vec());
            (addresses.to_vec(), Arc::new(tokio::sync::Mutex::new(client)))
        };
        let mut voting = self.voting.lock();
        let (at, client) = voting.entry(target).or_insert_with(new);
        if at != addresses {
            (*at, *client) = new();
        }
        Arc::clone(client)
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, node: &Addresses) -> Client {
        let voting = Some(self.voting(target, &node.0));
        Client { voting, ..self.client(Expect::Manager(target), node.0.clone()) }
    }
}

/// One connection to one peer, made when it is needed.
pub(super) struct Client {
    tls: Option<ClientTls>,
    peers: Arc<Peers>,
    expect: Expect,
    addresses: Vec<String>,
    open: Option<PeerClient>,
    /// How often our certificate had been swapped when that was made.
    shows: u64,
    /// One that is being made, also while no call waits for it: a heartbeat's time
    /// is shorter than a handshake over a long line.
    making: Option<JoinHandle<Result<PeerClient, Failed>>>,
    /// One with our next certificate, made while the one that is open serves on.
    renewing: Option<(u64, JoinHandle<Result<PeerClient, Failed>>)>,
    /// When an answer came last over the one that is open.
    answered: Instant,
    /// Over which votes are asked for; `None`: over this one.
    voting: Option<Arc<tokio::sync::Mutex<Client>>>,
}

pub(super) type Failed = RPCError<TypeConfig>;
/// A connection and who is at its other end.
type PeerClient = (NodeId, RaftClient<Channel>);

/// What a peer answered.
pub(super) struct Answer<T> {
    pub(super) peer: NodeId,
    /// The start of it that speaks; `None` of a version that doesn't say.
    pub(super) start: Option<Incarnation>,
    pub(super) message: T,
}

fn unreachable(why: impl ToString) -> Failed {
    RPCError::Unreachable(Unreachable::from_string(why))
}

fn garbled(why: convert::BadMessage) -> Failed {
    RPCError::Network(NetworkError::new(&why))
}

/// Connects to the first address at which a manager answers.
async fn open(
    tls: Option<ClientTls>,
    peers: Arc<Peers>,
    expect: Expect,
    addresses: Vec<String>,
) -> Result<PeerClient, Failed> {
    let tls = tls.ok_or_else(|| unreachable("this member has no network"))?;
    let mut last = unreachable("no address is known");
    for address in &addresses {
        match connect(address, &tls, expect, CONNECT).await {
            Ok((channel, peer)) => {
                let CertificateRole::Manager(node) = peer.leaf().subject.role else {
                    last = unreachable("not a manager");
                    continue;
                };
                // A certificate is necessary and not enough: the key is the one on record.
                if !peers.may_show(node, &peer.leaf().key) {
                    last = unreachable("it shows another key than the cluster lists");
                    continue;
                }
                let client = RaftClient::new(channel)
                    .max_decoding_message_size(MOST_MESSAGE)
                    .max_encoding_message_size(MOST_MESSAGE);
                return Ok((node, client));
            }
            Err(error) => last = unreachable(error),
        }
    }
    Err(last)
}

/// A state in pieces of a message each. They end early where it can't be read, so that who gets
/// them takes none.
fn pieces(state: SnapshotState, peers: Arc<Peers>) -> impl Stream<Item = Bytes> {
    stream::unfold((state, Bytes::new()), move |(mut state, mut rest)| {
        let peers = Arc::clone(&peers);
        async move {
            while rest.is_empty() {
                let reading = tokio::task::spawn_blocking(move || (state.next_piece(), state));
                let (read, after) = reading.await.ok()?;
                state = after;
                rest = read.map_err(|error| peers.unreadable(error)).ok()??;
            }
            Some((rest.split_to(rest.len().min(SNAPSHOT_CHUNK)), (state, rest)))
        }
    })
}

impl Client {
    async fn client(&mut self) -> Result<PeerClient, Failed> {
        self.renew().await;
        if self.open.is_none() {
            let shows = self.swapped();
            if self.making.is_none() {
                self.making = Some(self.begin());
            }
            let Some(making) = &mut self.making else { return Err(unreachable("not connected")) };
            let made = making.await;
            self.making = None;
            self.shows = shows;
            let made = made.map_err(unreachable).flatten();
            self.tell(&made);
            self.open = Some(made?);
            self.answered = Instant::now();
        }
        self.open.clone().ok_or_else(|| unreachable("not connected"))
    }

    fn swapped(&self) -> u64 {
        self.tls.as_ref().map_or(0, ClientTls::swapped)
    }

    /// Begins to make a connection.
    fn begin(&self) -> JoinHandle<Result<PeerClient, Failed>> {
        let (tls, mut addresses) = (self.tls.clone(), self.addresses.clone());
        if let Expect::Manager(peer) = self.expect {
            let now = self.peers.addresses_of(peer);
            addresses.retain(|address| !now.contains(address));
            addresses.splice(0..0, now);
        }
        tokio::spawn(open(tls, Arc::clone(&self.peers), self.expect, addresses))
    }

    /// Takes a connection that shows our next certificate in the place of the one that is open,
    /// once it is there: no call waits for it, so that no vote and no heartbeat is late.
    async fn renew(&mut self) {
        let shows = self.swapped();
        if self.open.is_none() || self.shows == shows {
            self.renewing = None;
            return;
        }
        let (of, made) = match self.renewing.take() {
            Some((of, making)) if of == shows && making.is_finished() => (of, making.await),
            Some(making) if making.0 == shows => {
                self.renewing = Some(making);
                return;
            }
            _ => {
                self.renewing = Some((shows, self.begin()));
                return;
            }
        };
        // One that failed is begun again by the next call.
        if let Ok(Ok(next)) = made {
            (self.open, self.shows) = (Some(next), of);
        }
    }

    /// Says that the peer is away, or back.
    fn tell(&self, made: &Result<PeerClient, Failed>) {
        let Expect::Manager(peer) = self.expect else { return };
        match made {
            Ok(_) => tracing::info!(event = "peer_back", ends = "peer_unreachable", %peer),
            Err(error) => tracing::warn!(event = "peer_unreachable", %peer, %error),
        }
    }

    /// Calls within `limit`; a connection that fails, or is silent for long, is made
    /// anew by the next call. One late answer is no reason: a handshake would make
    /// a busy peer later still.
    async fn call<M, T, F>(
        &mut self,
        limit: Duration,
        message: M,
        call: impl FnOnce(RaftClient<Channel>, Request<M>) -> F,
    ) -> Result<Answer<T>, Failed>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        self.peers.sound().map_err(unreachable)?;
        self.call_anyhow(limit, message, call).await
    }

    /// The same also while we are not sound.
    async fn call_anyhow<M, T, F>(
        &mut self,
        limit: Duration,
        message: M,
        call: impl FnOnce(RaftClient<Channel>, Request<M>) -> F,
    ) -> Result<Answer<T>, Failed>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let peers = Arc::clone(&self.peers);
        let attempt = async {
            let (peer, client) = self.client().await?;
            let mut request = Request::new(message);
            peers.say(peer, request.metadata_mut());
            let answered = call(client, request).await;
            let said = match &answered {
                Ok(response) => response.metadata(),
                Err(status) => status.metadata(),
            };
            let heard = peers.hear(peer, said);
            let message = answered.map_err(unreachable)?.into_inner();
            Ok(Answer { peer, start: heard.map_err(unreachable)?, message })
        };
        let Ok(answer) = tokio::time::timeout(limit, attempt).await else {
            if self.answered.elapsed() >= SILENT {
                self.open = None;
            }
            return Err(unreachable("no answer in time"));
        };
        match &answer {
            Ok(_) => self.answered = Instant::now(),
            Err(_) => self.open = None,
        }
        answer
    }

    /// Asks what the peer remembers of us, and tells what we remember of it.
    pub(super) async fn remember(&mut self, limit: Duration) -> Result<NodeId, Failed> {
        let ask = |mut client: RaftClient<Channel>, request| async move {
            match client.remember(request).await {
                // A version that remembers nothing.
                Err(status) if status.code() == tonic::Code::Unimplemented => {
                    Ok(tonic::Response::new(proto::RememberReply {}))
                }
                answered => answered,
            }
        };
        Ok(self.call_anyhow(limit, proto::RememberRequest {}, ask).await?.peer)
    }

    /// Asks to be taken out of the members.
    pub(super) async fn release(&mut self, limit: Duration) -> Result<proto::ReleaseReply, Failed> {
        let attempt = async {
            let (_, mut client) = self.client().await?;
            // We are behind, and say nothing of ourselves.
            let answered = client.release(proto::ReleaseRequest {}).await;
            answered.map(tonic::Response::into_inner).map_err(unreachable)
        };
        tokio::time::timeout(limit, attempt)
            .await
            .unwrap_or_else(|_| Err(unreachable("no answer in time")))
    }

    /// Asks whether the peer knows somebody as a manager.
    pub(super) async fn vouch(
        &mut self,
        limit: Duration,
        of: proto::VouchRequest,
    ) -> Result<bool, Failed> {
        let ask =
            |mut client: RaftClient<Channel>, request| async move { client.vouch(request).await };
        // Also of a member that is still comparing: it asks for itself.
        Ok(self.call_anyhow(limit, of, ask).await?.message.known)
    }

    /// Asks for a vote over the connection that is kept for that, before whoever asks gives
    /// up on it.
    async fn ask_for_vote(
        &mut self,
        request: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        limit: Duration,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let Some(kept) = self.voting.clone() else {
            return self.ask(request, pre_vote, limit).await;
        };
        let mut kept = kept.lock().await;
        let used_before = kept.open.is_some();
        let answer = kept.ask(request, pre_vote, limit).await;
        // It has lain idle since the last election, and the peer may have started anew.
        if answer.is_err() && used_before && kept.open.is_none() {
            return kept.ask(request, pre_vote, limit).await;
        }
        answer
    }

    async fn ask(
        &mut self,
        request: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        limit: Duration,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let message = convert::ask_to(request, pre_vote);
        let call =
            |mut client: RaftClient<Channel>, request| async move { client.vote(request).await };
        let Answer { peer, start, message } = self.call(limit, message, call).await?;
        let reply = convert::voted_from(&message).map_err(garbled)?;
        if reply.vote_granted && !pre_vote {
            self.peers.voted(peer, start, request.vote.leader_id.term);
        }
        Ok(reply)
    }

    async fn send(
        &mut self,
        vote: &Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<TypeConfig>, Failed> {
        use proto::snapshot_chunk::Of;
        let last = snapshot.meta.last_log_id.as_ref().map(id_to);
        let head = convert::head_to(&snapshot.meta, Some(vote), snapshot.snapshot.bytes());
        let head = stream::once(future::ready(proto::SnapshotChunk { of: Some(Of::Head(head)) }));
        let data = pieces(snapshot.snapshot, Arc::clone(&self.peers))
            .map(|data| proto::SnapshotChunk { of: Some(Of::Data(data)) });
        let chunks = head.chain(data);
        let call = |mut client: RaftClient<Channel>, request| async move {
            client.snapshot(request).await
        };
        let Answer { peer, start, message } = self.call(SNAPSHOT, chunks, call).await?;
        let theirs = convert::vote_from(message.vote.as_ref()).map_err(garbled)?;
        if let Some(last) = last.filter(|_| theirs == *vote) {
            self.peers.acked(peer, start, vote.leader_id.term, last);
        }
        Ok(SnapshotResponse::new(theirs))
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotState;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failed> {
        let limit = if request.entries.is_empty() {
            option.hard_ttl()
        } else {
            option.hard_ttl().max(APPEND)
        };
        let message = convert::append_to(&request);
        let call =
            |mut client: RaftClient<Channel>, request| async move { client.append(request).await };
        let Answer { peer, start, message } = self.call(limit, message, call).await?;
        let reply = convert::appended_from(&message).map_err(garbled)?;
        let last = request.entries.last().map(RaftEntry::log_id).or(request.prev_log_id);
        let acked = match &reply {
            AppendEntriesResponse::Success => last,
            AppendEntriesResponse::PartialSuccess(upto) => *upto,
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => None,
        };
        if let Some(acked) = acked {
            self.peers.acked(peer, start, request.vote.leader_id.term, id_to(&acked));
        }
        Ok(reply)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        self.ask_for_vote(&request, false, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        self.ask_for_vote(&request, true, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send(&vote, snapshot) => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failed> {
        let message = convert::transfer_to(&request);
        let call = |mut client: RaftClient<Channel>, request| async move {
            client.transfer_leader(request).await
        };
        self.call(option.hard_ttl(), message, call).await?;
        Ok(Ok(()))
    }
}

//! Calling peers: one connection each for entries, for votes and heartbeats, and
//! for snapshots, so that none waits behind another.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkV2};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::convert;
use super::types::{Addresses, Snapshot, TypeConfig, Vote};
use crate::base::NodeId;
use crate::transport::{ClientTls, Expect, connect, rpc::raft::raft_client::RaftClient};
use crate::wire::raft as proto;

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
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, node: &Addresses) -> Client {
        let (tls, addresses) = (self.tls.clone(), node.0.clone());
        Client { tls, target, addresses, open: None, making: None, answered: Instant::now() }
    }
}

/// One connection to one peer, made when it is needed.
pub(super) struct Client {
    tls: Option<ClientTls>,
    target: NodeId,
    addresses: Vec<String>,
    open: Option<RaftClient<Channel>>,
    /// One that is being made, also while no call waits for it: a heartbeat's time
    /// is shorter than a handshake over a long line.
    making: Option<JoinHandle<Result<RaftClient<Channel>, Failed>>>,
    /// When an answer came last over the one that is open.
    answered: Instant,
}

type Failed = RPCError<TypeConfig>;

fn unreachable(why: impl ToString) -> Failed {
    RPCError::Unreachable(Unreachable::from_string(why))
}

fn garbled(why: convert::BadMessage) -> Failed {
    RPCError::Network(NetworkError::new(&why))
}

/// Connects to the first address that answers.
async fn open(
    tls: Option<ClientTls>,
    target: NodeId,
    addresses: Vec<String>,
) -> Result<RaftClient<Channel>, Failed> {
    let tls = tls.ok_or_else(|| unreachable("this member has no network"))?;
    let mut last = unreachable("no address is known");
    for address in &addresses {
        match connect(address, &tls, Expect::Manager(target), CONNECT).await {
            Ok((channel, _)) => {
                return Ok(RaftClient::new(channel)
                    .max_decoding_message_size(MOST_MESSAGE)
                    .max_encoding_message_size(MOST_MESSAGE));
            }
            Err(error) => last = unreachable(error),
        }
    }
    Err(last)
}

impl Client {
    async fn client(&mut self) -> Result<&mut RaftClient<Channel>, Failed> {
        if self.open.is_none() {
            let making = self.making.get_or_insert_with(|| {
                let (tls, addresses) = (self.tls.clone(), self.addresses.clone());
                tokio::spawn(open(tls, self.target, addresses))
            });
            let made = making.await;
            self.making = None;
            self.open = Some(made.map_err(unreachable)??);
            self.answered = Instant::now();
        }
        self.open.as_mut().ok_or_else(|| unreachable("not connected"))
    }

    /// Calls within `limit`; a connection that fails, or is silent for long, is made
    /// anew by the next call. One late answer is no reason: a handshake would make
    /// a busy peer later still.
    async fn call<T, F>(
        &mut self,
        limit: Duration,
        call: impl FnOnce(RaftClient<Channel>) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let attempt = async {
            let client = self.client().await?.clone();
            call(client).await.map(tonic::Response::into_inner).map_err(unreachable)
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

    async fn ask(
        &mut self,
        request: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        limit: Duration,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let message = convert::ask_to(request, pre_vote);
        let reply =
            self.call(limit, |mut client| async move { client.vote(message).await }).await?;
        convert::voted_from(&reply).map_err(garbled)
    }

    async fn send(
        &mut self,
        vote: &Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<TypeConfig>, Failed> {
        use proto::snapshot_chunk::Of;
        let bytes = u64::try_from(snapshot.snapshot.len()).unwrap_or(u64::MAX);
        let head = convert::head_to(&snapshot.meta, Some(vote), bytes);
        let head = stream::once(future::ready(proto::SnapshotChunk { of: Some(Of::Head(head)) }));
        let data = stream::unfold(snapshot.snapshot, |mut rest: Bytes| async move {
            if rest.is_empty() {
                return None;
            }
            let data = rest.split_to(rest.len().min(SNAPSHOT_CHUNK));
            Some((proto::SnapshotChunk { of: Some(Of::Data(data)) }, rest))
        });
        let chunks = head.chain(data);
        let reply =
            self.call(SNAPSHOT, |mut client| async move { client.snapshot(chunks).await }).await?;
        let vote = convert::vote_from(reply.vote.as_ref()).map_err(garbled)?;
        Ok(SnapshotResponse::new(vote))
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = Bytes;

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
        let reply =
            self.call(limit, |mut client| async move { client.append(message).await }).await?;
        convert::appended_from(&reply).map_err(garbled)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        self.ask(&request, false, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        self.ask(&request, true, option.hard_ttl()).await
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
        self.call(
            option.hard_ttl(),
            |mut client| async move { client.transfer_leader(message).await },
        )
        .await?;
        Ok(Ok(()))
    }
}

//! The RPC side: who may have a session, how one is refused, and leaving.

use crate::manager::problem::{self, Explain};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::Shared;
use super::ledger::Misbehaved;
use super::session::{self, Agent};
use super::table::Cut;
use crate::consensus::ProposeError;
use crate::manager::admit::caller::Admitted;
use crate::manager::admit::policy::Method;
use crate::manager::core::Unproposed;
use skep_client::transport::rpc::api::delivery_server::Delivery;
use skep_client::transport::{Caller, Problem, caller};
use skep_core::base::NodeId;
use skep_core::domain::{Act, Actor, Change, NodeRole, Refusal, State};
use skep_core::wire::api;
use skep_core::wire::convert::read_opened;

/// Messages on their way to one agent: the next waits until it has taken these.
const UNDER_WAY: usize = 2;
/// How long it may take to be sure that a node is not listed.
const SURE: Duration = Duration::from_secs(2);

/// Why a session did not begin, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ending {
    /// The agent has ended it, or the connection is gone.
    #[error("the agent left")]
    Left,
    /// The state does not list it.
    #[error("this node was removed from the cluster")]
    Removed,
    /// The same agent has a newer session.
    #[error("a newer session of this agent has taken its place")]
    Replaced,
    /// Another agent has a session.
    #[error("another machine with this node's identity has a session")]
    Taken,
    /// This manager does not lead.
    #[error("this manager is not the leader")]
    Deposed,
    /// It does not keep to the protocol.
    #[error("the agent {0}")]
    Misbehaved(&'static str),
}

impl From<Cut> for Ending {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Replaced => Self::Replaced,
            Cut::Removed => Self::Removed,
            Cut::Deposed => Self::Deposed,
        }
    }
}

impl From<Misbehaved> for Ending {
    fn from(Misbehaved(what): Misbehaved) -> Self {
        Self::Misbehaved(what)
    }
}

/// Answers agents.
#[derive(Debug)]
pub struct DeliveryService {
    shared: Arc<Shared>,
}

impl DeliveryService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The node behind a request that the gate admitted.
    fn agent<T>(request: &Request<T>) -> Result<Agent, Status> {
        let admitted = Admitted::of(request.extensions(), Method::Session)?;
        let Some(Caller::Peer(peer)) = caller(request.extensions()) else { return Err(nobody()) };
        let Actor::Node(node) = admitted.actor()? else { return Err(nobody()) };
        let address = request.remote_addr().map(|address| address.to_string());
        Ok(Agent { node, key: peer.leaf().key, address: address.unwrap_or_default() })
    }
}

impl Shared {
    /// The agent that calls, where this manager leads and the state lists it. For a node
    /// it is the end to be told that it was removed, and no outdated state must say so.
    pub(super) async fn admit(&self, extensions: &Extensions) -> Result<Admitted, Status> {
        let consensus = &self.core.consensus;
        consensus.led_soon().await;
        if !self.table.leading() {
            return Err(self.status(&Ending::Deposed));
        }
        if !self.lists(extensions) {
            if consensus.linearize(SURE).await.is_err() {
                return Err(self.status(&Ending::Deposed));
            }
            if !self.lists(extensions) {
                return Err(self.status(&Ending::Removed));
            }
        }
        let cluster = self.core.cluster;
        let ask = |state: &State| Admitted::remote(extensions, cluster, state, Method::Session);
        Ok(consensus.read(ask)?)
    }
    /// Whether the state lists whoever called.
    pub(super) fn lists(&self, extensions: &Extensions) -> bool {
        let cluster = self.core.cluster;
        self.core.consensus.read(|state| !Admitted::unlisted(extensions, cluster, state))
    }
}

#[tonic::async_trait]
impl Delivery for DeliveryService {
    type SessionStream = ReceiverStream<Result<api::FromLeader, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<api::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let agent = Self::agent(&request)?;
        let (out, messages) = mpsc::channel(UNDER_WAY);
        let shared = Arc::clone(&self.shared);
        // The answer's head goes out before the hello is read: an agent may wait for it.
        tokio::spawn(session::run(shared, agent, request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn report_opened(
        &self,
        request: Request<api::ReportOpenedRequest>,
    ) -> Result<Response<api::ReportOpenedReply>, Status> {
        let Agent { node, .. } = Self::agent(&request)?;
        if self.shared.reports.check_key(&node).is_err() {
            let text = "this node reports opens too often";
            return Err(Problem::too_many(text).into());
        }
        let opened = read_opened(node, request.into_inner()).map_err(Explain::explain)?;
        let proposed = self.shared.propose(Actor::Node(node), Act::Opened(opened)).await;
        match proposed.map_err(|error| self.shared.unproposed(&error))?.outcome {
            Ok(_) => Ok(Response::new(api::ReportOpenedReply {})),
            Err(refusal) => Err(refusal.explain().into()),
        }
    }

    async fn leave(
        &self,
        request: Request<api::LeaveRequest>,
    ) -> Result<Response<api::LeaveReply>, Status> {
        let Agent { node: id, .. } = Self::agent(&request)?;
        // An agent wipes before it leaves, and says so by leaving: what is still
        // recorded is then written off.
        for force in [false, true] {
            let act = Act::Change(vec![Change::RemoveNode { id, force }]);
            match self.shared.propose(Actor::Node(id), act).await {
                Ok(applied) => match applied.outcome {
                    Ok(_) | Err(Refusal::NotFound { .. }) => break,
                    Err(Refusal::Holds { .. }) if !force => {}
                    Err(refusal) => {
                        return Err(refusal.explain().into());
                    }
                },
                Err(error) => return Err(self.shared.unproposed(&error)),
            }
        }
        if let Some(live) = self.shared.table.live(id) {
            live.cut(Cut::Removed);
        }
        Ok(Response::new(api::LeaveReply {}))
    }
}

/// Whether the state lists this worker with this key.
pub(super) fn listed(state: &State, node: NodeId, key: [u8; 32]) -> bool {
    state.nodes.get(&node).is_some_and(|node| node.role == NodeRole::Worker && node.key == key)
}

fn nobody() -> Status {
    Problem::not_allowed("only a node's agent may call this").into()
}

impl Shared {
    /// How an ending is told to the agent.
    pub(super) fn status(&self, end: &Ending) -> Status {
        let text = end.to_string();
        let problem = match end {
            Ending::Left => Problem::cancelled(text),
            Ending::Removed => Problem::identity_ended(text)
                .hint("wipe its data directory and join it again with a new token"),
            Ending::Replaced => Problem::replaced(text),
            Ending::Taken => Problem::taken(text)
                .hint("an identity belongs to one machine: join the other one by itself"),
            Ending::Deposed => {
                let problem = Problem::unavailable(text).hint("ask the leader");
                match self.leader() {
                    Some((leader, addresses)) => problem.led_by(leader, addresses),
                    None => problem,
                }
            }
            Ending::Misbehaved(_) => {
                Problem::bad_input(text).hint("use the same version of skep everywhere")
            }
        };
        problem.into()
    }

    /// How a proposal's failure is told.
    fn unproposed(&self, error: &Unproposed) -> Status {
        match error {
            Unproposed::Consensus(ProposeError::NotLeader(_)) => self.status(&Ending::Deposed),
            other => problem::of_proposal(other.clone(), |_| Vec::new()).into(),
        }
    }
}

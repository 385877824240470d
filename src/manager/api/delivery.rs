//! The Delivery service: a node's session, what was opened on it, and its leaving.

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::manager::admit::AGENT_BYTES;
use crate::manager::admit::caller::{Admitted, source};
use crate::manager::dispatch::{Agent, Dispatch};
use crate::manager::problem;
use skep_client::transport::rpc::api::delivery_server::{Delivery, DeliveryServer};
use skep_client::transport::{Caller, Problem, caller};
use skep_core::domain::{Actor, Method};
use skep_core::wire::api;

/// Bytes of one message to an agent.
const LEADER_MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// Answers agents.
#[derive(Debug)]
pub(in crate::manager) struct DeliveryService {
    dispatch: Dispatch,
}

impl DeliveryService {
    /// The service, bounded.
    #[must_use]
    pub(in crate::manager) fn server(dispatch: Dispatch) -> DeliveryServer<Self> {
        DeliveryServer::new(Self { dispatch })
            .max_decoding_message_size(AGENT_BYTES)
            .max_encoding_message_size(LEADER_MESSAGE_BYTES)
    }
    /// The node behind a request that the gate admitted.
    fn agent<T>(request: &Request<T>) -> Result<Agent, Problem> {
        let admitted = Admitted::of(request.extensions(), Method::Session)?;
        let nobody = problem::access::no_agent;
        let Actor::Node(node) = admitted.actor()? else { return Err(nobody()) };
        let address = request.remote_addr().map(|address| address.to_string());
        let exchange = match caller(request.extensions()) {
            Some(Caller::Peer(peer)) => peer.key_exchange(),
            _ => None,
        };
        Ok(Agent { node, address: address.unwrap_or_default(), exchange })
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
        let messages = self.dispatch.session(agent, request.into_inner());
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn report_opened(
        &self,
        request: Request<api::ReportOpenedRequest>,
    ) -> Result<Response<api::ReportOpenedReply>, Status> {
        let Agent { node, .. } = Self::agent(&request)?;
        let from = source(request.extensions());
        self.dispatch.report_opened((node, from), request.into_inner()).await?;
        Ok(Response::new(api::ReportOpenedReply {}))
    }

    async fn leave(
        &self,
        request: Request<api::LeaveRequest>,
    ) -> Result<Response<api::LeaveReply>, Status> {
        let Agent { node, .. } = Self::agent(&request)?;
        self.dispatch.leave(node, source(request.extensions())).await?;
        Ok(Response::new(api::LeaveReply {}))
    }
}

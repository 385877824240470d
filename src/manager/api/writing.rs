//! The Writing service: what workloads write, by their node's agent.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tonic::{Extensions, Request, Response, Status};

use super::reads;
use super::records::Records;
use crate::manager::admit::AGENT_BYTES;
use crate::manager::admit::caller::{Admitted, source};
use crate::manager::changes::put;
use crate::manager::life::lifecycle::Manager;
use crate::manager::problem;
use crate::manager::running::Running;
use crate::manager::task::to_the_end;
use skep_client::transport::rpc::api::writing_server::{Writing, WritingServer};
use skep_client::transport::{KeptAgreement, Problem};
use skep_core::base::NodeId;
use skep_core::domain::{Member, Method};
use skep_core::wire::api;

/// Puts of a node within a second.
const PUTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
/// Puts of a node at once.
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);

/// Answers agents whose workloads write.
#[derive(Debug)]
pub(in crate::manager) struct WritingService {
    manager: Manager,
    /// How often each node may write.
    puts: DefaultKeyedRateLimiter<NodeId>,
    records: Records,
}

impl WritingService {
    /// The service, bounded.
    #[must_use]
    pub(in crate::manager) fn server(manager: Manager) -> WritingServer<Self> {
        let puts = RateLimiter::keyed(Quota::per_second(PUTS).allow_burst(AT_ONCE));
        let records = Records::default();
        WritingServer::new(Self { manager, puts, records }).max_decoding_message_size(AGENT_BYTES)
    }

    /// A running manager that leads, and the node that asks it.
    fn node(&self, extensions: &Extensions) -> Result<(Arc<Running>, NodeId), Problem> {
        let Member::Node(node) = Admitted::of(extensions, Method::Put)?.member()? else {
            return Err(problem::access::no_agent());
        };
        let running = self.manager.0.running()?;
        running.core.leads()?;
        Ok((running, node))
    }
}

#[tonic::async_trait]
impl Writing for WritingService {
    async fn put_intake(
        &self,
        request: Request<api::IntakeRequest>,
    ) -> Result<Response<api::IntakeReply>, Status> {
        let (running, _) = self.node(request.extensions())?;
        Ok(Response::new(reads::intake(&running)?))
    }

    async fn put(
        &self,
        request: Request<api::PutRequest>,
    ) -> Result<Response<api::PutReply>, Status> {
        let (running, node) = self.node(request.extensions())?;
        if self.puts.check_key(&node).is_err() {
            return Err(problem::request::puts_too_often().into());
        }
        let from = source(request.extensions());
        let agreement = KeptAgreement::of(request.extensions());
        let request = request.into_inner();
        // Whether the agent waits for it or not.
        let put = to_the_end("a put", async move {
            put::put(&running, (node, from), agreement, request).await
        });
        Ok(Response::new(put.await?))
    }

    async fn anchor_record(
        &self,
        request: Request<api::AnchorRecordRequest>,
    ) -> Result<Response<api::AnchorRecordReply>, Status> {
        let (running, node) = self.node(request.extensions())?;
        let from = source(request.extensions());
        self.records.anchor(&running, (node, from), request.get_ref()).await?;
        Ok(Response::new(api::AnchorRecordReply {}))
    }
}

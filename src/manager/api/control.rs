//! The Control service: served on the control socket in every phase, and over
//! mTLS once unlocked. It recognises the caller, asks policy and phase, and
//! leaves the work to its parts.

use std::sync::Arc;

use super::onward::{At, Broken};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status};

use super::{onward::Onward, opened, reads, status, time, writes};
use crate::manager::admit;
use crate::manager::admit::caller::{Admitted, LocalUser};
use crate::manager::admit::policy::Method;
use crate::manager::life::lifecycle::Manager;
use crate::manager::life::phase::Needs;
use crate::manager::members::belonging;
use crate::manager::peers::PeerClient;
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_client::transport::rpc::api::control_server::{Control, ControlServer};
use skep_core::wire::api;

/// Answers operators.
#[derive(Clone, Debug)]
pub struct ControlService {
    manager: Manager,
}

impl ControlService {
    /// The service, bounded.
    #[must_use]
    pub fn server(manager: Manager) -> ControlServer<Self> {
        ControlServer::new(Self { manager }).max_decoding_message_size(admit::ACT_BYTES)
    }
    /// A user of the control socket, for what only they may do.
    fn local(extensions: &Extensions, method: Method) -> Result<LocalUser, Problem> {
        let user = Admitted::of(extensions, method)?.local();
        user.ok_or_else(|| Problem::bug("a call for the control socket came another way"))
    }
    /// The running manager, and whoever asks it.
    fn running(
        &self,
        extensions: &Extensions,
        method: Method,
    ) -> Result<(Arc<Running>, Admitted), Problem> {
        let admitted = Admitted::of(extensions, method)?;
        let running = self.manager.0.running()?;
        let admitted = admitted.at(running.core.node);
        Ok((running, admitted))
    }
}

impl ControlService {
    /// Where a request is answered that needs the leader: here, unless it came over
    /// the control socket of a manager that knows of another leader.
    async fn place<T: Sync>(&self, request: &Request<T>, method: Method) -> Result<At, Problem> {
        let (running, admitted) = self.running(request.extensions(), method)?;
        if let Some(user) = admitted.local() {
            running.core.consensus.led_soon().await;
            if let Some(leader) = running.other_leader() {
                return Ok(At::There(Onward { running, leader, behalf: user.behalf() }));
            }
        }
        running.core.consensus.led_soon().await;
        Ok(At::Here(running, admitted))
    }
    /// The same for a read, which any manager answers that need not be up to date.
    async fn place_read<T: Sync>(
        &self,
        request: &Request<T>,
        method: Method,
        stale: bool,
    ) -> Result<At, Problem> {
        if !stale {
            return self.place(request, method).await;
        }
        let (running, admitted) = self.running(request.extensions(), method)?;
        Ok(At::Here(running, admitted))
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Control for ControlService {
    type WatchDeliveryStream = ReceiverStream<Result<api::DeliveryProgress, Status>>;

    async fn status(&self, request: Request<api::StatusRequest>) -> Answer<api::StatusReply> {
        let shared = &self.manager.0;
        // Another manager wants to know of this one alone: nobody asks in circles.
        let ask = !Admitted::of(request.extensions(), Method::Status)?.is_manager();
        Ok(Response::new(status::status(shared, ask).await))
    }

    async fn prepare_init(
        &self,
        request: Request<api::PrepareInitRequest>,
    ) -> Answer<api::PrepareInitReply> {
        Self::local(request.extensions(), Method::Init)?;
        Ok(Response::new(self.manager.prepare_init().await?))
    }

    async fn commit_init(
        &self,
        request: Request<api::CommitInitRequest>,
    ) -> Answer<api::CommitInitReply> {
        let user = Self::local(request.extensions(), Method::Init)?;
        Ok(Response::new(self.manager.commit_init(user, request.into_inner()).await?))
    }

    async fn join_cluster(
        &self,
        request: Request<api::JoinClusterRequest>,
    ) -> Answer<api::JoinClusterReply> {
        Self::local(request.extensions(), Method::Enter)?;
        Ok(Response::new(self.manager.join_cluster(request.into_inner()).await?))
    }

    async fn leave_cluster(
        &self,
        request: Request<api::LeaveClusterRequest>,
    ) -> Answer<api::LeaveClusterReply> {
        let user = Self::local(request.extensions(), Method::Leave)?;
        self.manager.leave(user, request.into_inner().force).await?;
        Ok(Response::new(api::LeaveClusterReply {}))
    }

    async fn belonging(
        &self,
        request: Request<api::BelongingRequest>,
    ) -> Answer<api::BelongingReply> {
        let (running, _) = self.running(request.extensions(), Method::Raft)?;
        Ok(Response::new(belonging::answer(&running, request.extensions())?))
    }

    async fn step_down(
        &self,
        request: Request<api::StepDownRequest>,
    ) -> Answer<api::StepDownReply> {
        match self.place(&request, Method::StepDown).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.step_down(request).await
                };
                onward.ask(request, Broken::Unknown, ask).await
            }
            At::Here(running, _) => {
                running.step_down(&request.into_inner().to).await?;
                Ok(Response::new(api::StepDownReply {}))
            }
        }
    }

    async fn reset_time(
        &self,
        request: Request<api::ResetTimeRequest>,
    ) -> Answer<api::ResetTimeReply> {
        match self.place(&request, Method::ResetTime).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.reset_time(request).await
                };
                onward.ask(request, Broken::Unknown, ask).await
            }
            At::Here(running, admitted) => {
                Ok(Response::new(time::reset(&running, &admitted, request.into_inner()).await?))
            }
        }
    }

    async fn unlock_header(
        &self,
        request: Request<api::UnlockHeaderRequest>,
    ) -> Answer<api::UnlockHeaderReply> {
        Self::local(request.extensions(), Method::Unlock)?;
        Ok(Response::new(self.manager.unlock_header()?))
    }

    async fn unlock(&self, request: Request<api::UnlockRequest>) -> Answer<api::UnlockReply> {
        Self::local(request.extensions(), Method::Unlock)?;
        Ok(Response::new(self.manager.unlock(request.into_inner()).await?))
    }

    async fn lock(&self, request: Request<api::LockRequest>) -> Answer<api::LockReply> {
        Admitted::of(request.extensions(), Method::Lock)?;
        self.manager.phase().admits(Needs::Initialised).map_err(Status::from)?;
        Ok(Response::new(self.manager.lock().await?))
    }

    async fn repair(&self, request: Request<api::RepairRequest>) -> Answer<api::RepairReply> {
        Self::local(request.extensions(), Method::Repair)?;
        Ok(Response::new(self.manager.repair(request.into_inner()).await?))
    }

    async fn intake(&self, request: Request<api::IntakeRequest>) -> Answer<api::IntakeReply> {
        match self.place(&request, Method::Intake).await? {
            At::There(onward) => {
                let ask =
                    |mut leader: PeerClient, request| async move { leader.intake(request).await };
                onward.ask(request, Broken::NothingDone, ask).await
            }
            At::Here(running, _) => Ok(Response::new(writes::intake(&running)?)),
        }
    }

    async fn apply(&self, request: Request<api::ApplyRequest>) -> Answer<api::ApplyReply> {
        // Each change is asked for once it is read.
        match self.place(&request, Method::Intake).await? {
            At::There(onward) => onward.apply(request).await,
            At::Here(running, admitted) => {
                let request = request.into_inner();
                Ok(Response::new(writes::apply(&running, &admitted, request).await?))
            }
        }
    }

    async fn create_token(
        &self,
        request: Request<api::CreateTokenRequest>,
    ) -> Answer<api::CreateTokenReply> {
        match self.place(&request, Method::WriteTokens).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.create_token(request).await
                };
                onward.ask(request, Broken::Unknown, ask).await
            }
            At::Here(running, admitted) => {
                let request = request.into_inner();
                Ok(Response::new(writes::create_token(&running, &admitted, request).await?))
            }
        }
    }

    async fn watch_delivery(
        &self,
        request: Request<api::WatchDeliveryRequest>,
    ) -> Answer<Self::WatchDeliveryStream> {
        match self.place(&request, Method::Watch).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.watch_delivery(request).await
                };
                let stream = onward.ask(request, Broken::NothingDone, ask).await?;
                Ok(onward.hand_on(stream))
            }
            At::Here(running, admitted) => {
                Ok(Response::new(reads::watch(&running, &admitted, &request.into_inner())?))
            }
        }
    }

    async fn list_secrets(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListSecretsReply> {
        match self.place_read(&request, Method::Read, request.get_ref().stale).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.list_secrets(request).await
                };
                onward.ask(request, Broken::NothingDone, ask).await
            }
            At::Here(running, _) => {
                Ok(Response::new(reads::secrets(&running, &request.into_inner()).await?))
            }
        }
    }

    async fn list_services(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListServicesReply> {
        match self.place_read(&request, Method::Read, request.get_ref().stale).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.list_services(request).await
                };
                onward.ask(request, Broken::NothingDone, ask).await
            }
            At::Here(running, _) => {
                Ok(Response::new(reads::services(&running, &request.into_inner()).await?))
            }
        }
    }

    async fn list_nodes(&self, request: Request<api::ListRequest>) -> Answer<api::ListNodesReply> {
        match self.place_read(&request, Method::Read, request.get_ref().stale).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.list_nodes(request).await
                };
                onward.ask(request, Broken::NothingDone, ask).await
            }
            At::Here(running, _) => {
                Ok(Response::new(reads::nodes(&running, &request.into_inner()).await?))
            }
        }
    }

    async fn list_tokens(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListTokensReply> {
        match self.place_read(&request, Method::ReadTokens, request.get_ref().stale).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.list_tokens(request).await
                };
                onward.ask(request, Broken::NothingDone, ask).await
            }
            At::Here(running, _) => {
                Ok(Response::new(reads::tokens(&running, &request.into_inner()).await?))
            }
        }
    }

    async fn list_holders(
        &self,
        request: Request<api::ListHoldersRequest>,
    ) -> Answer<api::ListHoldersReply> {
        match self.place_read(&request, Method::Read, request.get_ref().stale).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.list_holders(request).await
                };
                onward.ask(request, Broken::NothingDone, ask).await
            }
            At::Here(running, _) => {
                Ok(Response::new(reads::holders(&running, &request.into_inner()).await?))
            }
        }
    }

    async fn list_reads(
        &self,
        request: Request<api::ListReadsRequest>,
    ) -> Answer<api::ListReadsReply> {
        match self.place_read(&request, Method::Read, request.get_ref().stale).await? {
            At::There(onward) => {
                let ask = |mut leader: PeerClient, request| async move {
                    leader.list_reads(request).await
                };
                onward.ask(request, Broken::NothingDone, ask).await
            }
            At::Here(running, _) => {
                Ok(Response::new(opened::reads(&running, &request.into_inner()).await?))
            }
        }
    }

    async fn recipients(
        &self,
        request: Request<api::RecipientsRequest>,
    ) -> Answer<api::RecipientsReply> {
        let (running, _) = self.running(request.extensions(), Method::Recipients)?;
        Ok(Response::new(reads::recipients(&running)?))
    }
}

//! The Control service: served on the control socket in every phase, and over
//! mTLS once unlocked. It recognises the caller, asks policy and phase, and
//! leaves the work to its parts.

use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status};

use super::{audit, authority, holders, opened, reads, status};
use crate::manager::admit;
use crate::manager::admit::caller::Admitted;
use crate::manager::admit::local::LocalUser;
use crate::manager::changes::{apply, issuer, operators, resume, time, tokens};
use crate::manager::forward::{Broken, Led};
use crate::manager::life::leave;
use crate::manager::life::lifecycle::Manager;
use crate::manager::life::phase::Needs;
use crate::manager::members::{belonging, moves};
use crate::manager::problem;
use crate::manager::running::Running;
use skep_client::ca::CertificateRole;
use skep_client::transport::rpc::api::control_server::{Control, ControlServer};
use skep_client::transport::{Caller, KeptAgreement, Problem, caller};
use skep_core::domain::Method;
use skep_core::wire::api;

/// Answers operators.
#[derive(Clone, Debug)]
pub(in crate::manager) struct ControlService {
    manager: Manager,
}

impl ControlService {
    /// The service, bounded.
    #[must_use]
    pub(in crate::manager) fn server(manager: Manager) -> ControlServer<Self> {
        ControlServer::new(Self { manager }).max_decoding_message_size(admit::ACT_BYTES)
    }
    /// A user of the control socket, for what only they may do.
    fn local(extensions: &Extensions, method: Method) -> Result<LocalUser, Problem> {
        let user = Admitted::of(extensions, method)?.local();
        user.ok_or_else(problem::access::not_by_the_socket)
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
    /// A request for the leader, in which `broken` says what silence of the leader means.
    fn led<T>(
        &self,
        request: Request<T>,
        method: Method,
        broken: Broken,
    ) -> Result<Led<T>, Problem> {
        let (running, admitted) = self.running(request.extensions(), method)?;
        Ok(Led { running, admitted, request, stale: false, broken })
    }
    /// The same for a read, which any manager answers that need not be up to date.
    fn read<T>(&self, request: Request<T>, method: Method, stale: bool) -> Result<Led<T>, Problem> {
        Ok(Led { stale, ..self.led(request, method, Broken::NothingDone)? })
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Control for ControlService {
    type WatchDeliveryStream = ReceiverStream<Result<api::DeliveryProgress, Status>>;

    async fn status(&self, request: Request<api::StatusRequest>) -> Answer<api::StatusReply> {
        let life = &self.manager.0;
        // Another manager wants to know of this one alone: nobody asks in circles.
        let admitted = Admitted::of(request.extensions(), Method::Status)?;
        let ask = !admitted.is_manager();
        Ok(Response::new(status::status(life, ask, admitted.scope()).await))
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
        let Some(Caller::Peer(peer)) = caller(request.extensions()) else {
            return Err(problem::access::no_caller().into());
        };
        let CertificateRole::Manager(node) = peer.leaf().subject.role else {
            return Err(problem::access::no_manager().into());
        };
        Ok(Response::new(belonging::answer(&running, node, peer.leaf()).await))
    }

    async fn r#move(&self, request: Request<api::MoveRequest>) -> Answer<api::MoveReply> {
        let (running, admitted) = self.running(request.extensions(), Method::Raft)?;
        moves::taken(&running, admitted.actor()?, request.into_inner().addresses).await?;
        Ok(Response::new(api::MoveReply {}))
    }

    async fn step_down(
        &self,
        request: Request<api::StepDownRequest>,
    ) -> Answer<api::StepDownReply> {
        self.led(request, Method::StepDown, Broken::Unknown)?
            .answer(
                |mut leader, request| async move { leader.step_down(request).await },
                |running, _, request| async move {
                    running.step_down(&request.to).await.map(|()| api::StepDownReply {})
                },
            )
            .await
    }

    async fn move_manager(
        &self,
        request: Request<api::MoveManagerRequest>,
    ) -> Answer<api::MoveManagerReply> {
        self.led(request, Method::WriteNodes, Broken::Unknown)?
            .answer(
                |mut leader, request| async move { leader.move_manager(request).await },
                |running, admitted, request| async move {
                    moves::by_an_operator(&running, &admitted, request).await
                },
            )
            .await
    }

    async fn reset_time(
        &self,
        request: Request<api::ResetTimeRequest>,
    ) -> Answer<api::ResetTimeReply> {
        self.led(request, Method::ResetTime, Broken::Unknown)?
            .answer(
                |mut leader, request| async move { leader.reset_time(request).await },
                |running, admitted, request| async move {
                    time::reset(&running, &admitted, request).await
                },
            )
            .await
    }

    async fn resume(&self, request: Request<api::ResumeRequest>) -> Answer<api::ResumeReply> {
        self.led(request, Method::Resume, Broken::Unknown)?
            .answer(
                |mut leader, request| async move { leader.resume(request).await },
                |running, admitted, request| async move {
                    resume::resume(&running, &admitted, request).await
                },
            )
            .await
    }

    async fn prepare_issuer(
        &self,
        request: Request<api::PrepareIssuerRequest>,
    ) -> Answer<api::PrepareIssuerReply> {
        self.led(request, Method::RotateIssuer, Broken::NothingDone)?
            .answer(
                |mut leader, request| async move { leader.prepare_issuer(request).await },
                |running, _, _| async move { issuer::prepare(&running).await },
            )
            .await
    }

    async fn commit_issuer(
        &self,
        request: Request<api::CommitIssuerRequest>,
    ) -> Answer<api::CommitIssuerReply> {
        self.led(request, Method::RotateIssuer, Broken::Unknown)?
            .answer(
                |mut leader, request| async move { leader.commit_issuer(request).await },
                |running, admitted, request| async move {
                    issuer::commit(running, admitted, request).await
                },
            )
            .await
    }

    async fn show_ca(&self, request: Request<api::ShowCaRequest>) -> Answer<api::ShowCaReply> {
        let stale = request.get_ref().stale;
        self.read(request, Method::ReadNodes, stale)?
            .answer(
                |mut leader, request| async move { leader.show_ca(request).await },
                |running, _, request| async move { authority::show(&running, request.stale).await },
            )
            .await
    }

    async fn read_audit(
        &self,
        request: Request<api::ReadAuditRequest>,
    ) -> Answer<api::ReadAuditReply> {
        let (running, admitted) = self.running(request.extensions(), Method::ReadAudit)?;
        audit::read(running, admitted, request).await
    }

    async fn anchor(&self, request: Request<api::AnchorRequest>) -> Answer<api::AnchorReply> {
        let (running, admitted) = self.running(request.extensions(), Method::Raft)?;
        Ok(Response::new(audit::anchor(&running, &admitted, request.into_inner()).await?))
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
        self.led(request, Method::Intake, Broken::NothingDone)?
            .answer(
                |mut leader, request| async move { leader.intake(request).await },
                |running, _, _| async move { reads::intake(&running) },
            )
            .await
    }

    async fn apply(&self, request: Request<api::ApplyRequest>) -> Answer<api::ApplyReply> {
        let (running, admitted) = self.running(request.extensions(), Method::Intake)?;
        if let Some(user) = admitted.local()
            && leave::is_removal_of(running.core.node, request.get_ref())
        {
            return Ok(Response::new(self.manager.remove_itself(user).await?));
        }
        let agreement = KeptAgreement::of(request.extensions());
        // Each change is asked for once it is read.
        self.led(request, Method::Intake, Broken::Unknown)?
            .answer(
                |mut leader, request| async move { leader.apply(request).await },
                |running, admitted, request| async move {
                    apply::apply(&running, &admitted, agreement, request).await
                },
            )
            .await
    }

    async fn create_token(
        &self,
        request: Request<api::CreateTokenRequest>,
    ) -> Answer<api::CreateTokenReply> {
        self.led(request, Method::WriteTokens, Broken::Unknown)?
            .answer(
                |mut leader, request| async move { leader.create_token(request).await },
                |running, admitted, request| async move {
                    tokens::create_token(&running, &admitted, request).await
                },
            )
            .await
    }

    async fn create_operator(
        &self,
        request: Request<api::CreateOperatorRequest>,
    ) -> Answer<api::CreateOperatorReply> {
        self.led(request, Method::WriteOperators, Broken::Unknown)?
            .answer(
                |mut leader, request| async move { leader.create_operator(request).await },
                |running, admitted, request| async move {
                    operators::create(&running, &admitted, request).await
                },
            )
            .await
    }

    async fn prepare_recover(
        &self,
        request: Request<api::PrepareRecoverRequest>,
    ) -> Answer<api::PrepareRecoverReply> {
        self.led(request, Method::RecoverOperator, Broken::NothingDone)?
            .answer(
                |mut leader, request| async move { leader.prepare_recover(request).await },
                |running, _, _| async move { operators::prepare_recover(&running) },
            )
            .await
    }

    async fn recover_operator(
        &self,
        request: Request<api::RecoverOperatorRequest>,
    ) -> Answer<api::CreateOperatorReply> {
        self.led(request, Method::RecoverOperator, Broken::Unknown)?
            .answer(
                |mut leader, request| async move { leader.recover_operator(request).await },
                |running, admitted, request| async move {
                    operators::recover(&running, &admitted, request).await
                },
            )
            .await
    }

    async fn watch_delivery(
        &self,
        request: Request<api::WatchDeliveryRequest>,
    ) -> Answer<Self::WatchDeliveryStream> {
        self.led(request, Method::Watch, Broken::NothingDone)?
            .answer_stream(
                |mut leader, request| async move { leader.watch_delivery(request).await },
                |running, admitted, request| async move { reads::watch(&running, &admitted, &request) },
            )
            .await
    }

    async fn list_secrets(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListSecretsReply> {
        let stale = request.get_ref().stale;
        self.read(request, Method::Read, stale)?
            .answer(
                |mut leader, request| async move { leader.list_secrets(request).await },
                |running, admitted, request| async move {
                    reads::secrets(&running, admitted.scope(), &request).await
                },
            )
            .await
    }

    async fn list_services(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListServicesReply> {
        let stale = request.get_ref().stale;
        self.read(request, Method::Read, stale)?
            .answer(
                |mut leader, request| async move { leader.list_services(request).await },
                |running, admitted, request| async move {
                    reads::services(&running, admitted.scope(), &request).await
                },
            )
            .await
    }

    async fn list_nodes(&self, request: Request<api::ListRequest>) -> Answer<api::ListNodesReply> {
        let stale = request.get_ref().stale;
        self.read(request, Method::ReadNodes, stale)?
            .answer(
                |mut leader, request| async move { leader.list_nodes(request).await },
                |running, _, request| async move { reads::nodes(&running, &request).await },
            )
            .await
    }

    async fn list_tokens(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListTokensReply> {
        let stale = request.get_ref().stale;
        self.read(request, Method::ReadTokens, stale)?
            .answer(
                |mut leader, request| async move { leader.list_tokens(request).await },
                |running, _, request| async move { reads::tokens(&running, &request).await },
            )
            .await
    }

    async fn list_operators(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListOperatorsReply> {
        let stale = request.get_ref().stale;
        self.read(request, Method::ReadOperators, stale)?
            .answer(
                |mut leader, request| async move { leader.list_operators(request).await },
                |running, _, request| async move { reads::operators(&running, &request).await },
            )
            .await
    }

    async fn list_holders(
        &self,
        request: Request<api::ListHoldersRequest>,
    ) -> Answer<api::ListHoldersReply> {
        let stale = request.get_ref().stale;
        self.read(request, Method::Read, stale)?
            .answer(
                |mut leader, request| async move { leader.list_holders(request).await },
                |running, admitted, request| async move {
                    holders::holders(&running, admitted.scope(), &request).await
                },
            )
            .await
    }

    async fn list_reads(
        &self,
        request: Request<api::ListReadsRequest>,
    ) -> Answer<api::ListReadsReply> {
        let stale = request.get_ref().stale;
        self.read(request, Method::Read, stale)?
            .answer(
                |mut leader, request| async move { leader.list_reads(request).await },
                |running, admitted, request| async move {
                    opened::reads(&running, admitted.scope(), &request).await
                },
            )
            .await
    }

    async fn recipients(
        &self,
        request: Request<api::RecipientsRequest>,
    ) -> Answer<api::RecipientsReply> {
        let (running, _) = self.running(request.extensions(), Method::Recipients)?;
        Ok(Response::new(reads::recipients(&running)?))
    }
}

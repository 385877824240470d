//! The Control service: served on the control socket in every phase, and over
//! mTLS once unlocked. It recognises the caller, asks policy and phase, and
//! leaves the work to its parts.

mod reads;
mod status;
mod writes;

use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status};

use super::caller::{Admitted, LocalUser};
use super::lifecycle::Manager;
use super::phase::Needs;
use super::policy::Method;
use super::problem::Problem;
use super::running::Running;
use crate::base::limits;
use crate::transport::rpc::api::control_server::{Control, ControlServer};
use crate::wire::api;

/// Bytes of a message to this service: the largest act and its frame.
const MESSAGE_BYTES: usize = limits::CHANGE_BYTES + 64 * 1024;

/// Answers operators.
#[derive(Clone, Debug)]
pub struct ControlService {
    manager: Manager,
}

impl ControlService {
    /// The service, bounded.
    #[must_use]
    pub fn server(manager: Manager) -> ControlServer<Self> {
        ControlServer::new(Self { manager }).max_decoding_message_size(MESSAGE_BYTES)
    }
    /// A user of the control socket, for what only they may do.
    fn local(&self, extensions: &Extensions, method: Method) -> Result<LocalUser, Problem> {
        let user = self.manager.0.setup.local.user(extensions)?;
        let user = user.ok_or_else(|| {
            Problem::not_allowed("that is for the manager's own control socket alone")
                .hint("call it on the manager's machine, without --host")
        })?;
        user.may(method)?;
        Ok(user)
    }
    /// The running manager, and whoever asks it.
    fn running(
        &self,
        extensions: &Extensions,
        method: Method,
    ) -> Result<(Arc<Running>, Admitted), Problem> {
        let shared = &self.manager.0;
        if let Some(user) = shared.setup.local.user(extensions)? {
            user.may(method)?;
            let running = shared.running()?;
            let admitted = user.admitted(running.core.node);
            return Ok((running, admitted));
        }
        let running = shared.running()?;
        let core = &running.core;
        let (admitted, unlisted) = core.consensus.read(|state| {
            let admitted = Admitted::remote(extensions, core.cluster, state, method);
            (admitted, Admitted::unlisted(extensions, core.cluster, state))
        });
        if unlisted {
            // Who is behind may not know somebody who was admitted since.
            running.leads()?;
        }
        Ok((running, admitted?))
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Control for ControlService {
    type WatchDeliveryStream = ReceiverStream<Result<api::DeliveryProgress, Status>>;

    async fn status(&self, request: Request<api::StatusRequest>) -> Answer<api::StatusReply> {
        let shared = &self.manager.0;
        match shared.setup.local.user(request.extensions())? {
            Some(user) => user.may(Method::Status)?,
            None => drop(self.running(request.extensions(), Method::Status)?),
        }
        Ok(Response::new(status::status(shared)))
    }

    async fn prepare_init(
        &self,
        request: Request<api::PrepareInitRequest>,
    ) -> Answer<api::PrepareInitReply> {
        self.local(request.extensions(), Method::Init)?;
        Ok(Response::new(self.manager.prepare_init().await?))
    }

    async fn commit_init(
        &self,
        request: Request<api::CommitInitRequest>,
    ) -> Answer<api::CommitInitReply> {
        let user = self.local(request.extensions(), Method::Init)?;
        Ok(Response::new(self.manager.commit_init(user, request.into_inner()).await?))
    }

    async fn join_cluster(
        &self,
        request: Request<api::JoinClusterRequest>,
    ) -> Answer<api::JoinClusterReply> {
        self.local(request.extensions(), Method::Enter)?;
        Ok(Response::new(self.manager.join_cluster(request.into_inner()).await?))
    }

    async fn step_down(
        &self,
        request: Request<api::StepDownRequest>,
    ) -> Answer<api::StepDownReply> {
        let (running, _) = self.running(request.extensions(), Method::StepDown)?;
        running.step_down(&request.into_inner().to).await?;
        Ok(Response::new(api::StepDownReply {}))
    }

    async fn unlock_header(
        &self,
        request: Request<api::UnlockHeaderRequest>,
    ) -> Answer<api::UnlockHeaderReply> {
        self.local(request.extensions(), Method::Unlock)?;
        Ok(Response::new(self.manager.unlock_header()?))
    }

    async fn unlock(&self, request: Request<api::UnlockRequest>) -> Answer<api::UnlockReply> {
        self.local(request.extensions(), Method::Unlock)?;
        Ok(Response::new(self.manager.unlock(request.into_inner()).await?))
    }

    async fn lock(&self, request: Request<api::LockRequest>) -> Answer<api::LockReply> {
        match self.manager.0.setup.local.user(request.extensions())? {
            Some(user) => user.may(Method::Lock)?,
            None => drop(self.running(request.extensions(), Method::Lock)?),
        }
        self.manager.phase().admits(Needs::Initialised).map_err(Status::from)?;
        Ok(Response::new(self.manager.lock().await?))
    }

    async fn repair(&self, request: Request<api::RepairRequest>) -> Answer<api::RepairReply> {
        self.local(request.extensions(), Method::Repair)?;
        Ok(Response::new(self.manager.repair(request.into_inner()).await?))
    }

    async fn intake(&self, request: Request<api::IntakeRequest>) -> Answer<api::IntakeReply> {
        let (running, _) = self.running(request.extensions(), Method::Intake)?;
        Ok(Response::new(writes::intake(&running)?))
    }

    async fn apply(&self, request: Request<api::ApplyRequest>) -> Answer<api::ApplyReply> {
        // Whoever may write nothing at all is refused here; each change is checked
        // for itself once it is read.
        let (running, admitted) = self.running(request.extensions(), Method::Intake)?;
        Ok(Response::new(writes::apply(&running, &admitted, request.into_inner()).await?))
    }

    async fn create_token(
        &self,
        request: Request<api::CreateTokenRequest>,
    ) -> Answer<api::CreateTokenReply> {
        let (running, admitted) = self.running(request.extensions(), Method::WriteTokens)?;
        Ok(Response::new(writes::create_token(&running, &admitted, request.into_inner()).await?))
    }

    async fn watch_delivery(
        &self,
        request: Request<api::WatchDeliveryRequest>,
    ) -> Answer<Self::WatchDeliveryStream> {
        let (running, _) = self.running(request.extensions(), Method::Watch)?;
        Ok(Response::new(reads::watch(&running, &request.into_inner())?))
    }

    async fn list_secrets(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListSecretsReply> {
        let (running, _) = self.running(request.extensions(), Method::Read)?;
        Ok(Response::new(reads::secrets(&running, &request.into_inner()).await?))
    }

    async fn list_services(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListServicesReply> {
        let (running, _) = self.running(request.extensions(), Method::Read)?;
        Ok(Response::new(reads::services(&running, &request.into_inner()).await?))
    }

    async fn list_nodes(&self, request: Request<api::ListRequest>) -> Answer<api::ListNodesReply> {
        let (running, _) = self.running(request.extensions(), Method::Read)?;
        Ok(Response::new(reads::nodes(&running, &request.into_inner()).await?))
    }

    async fn list_tokens(
        &self,
        request: Request<api::ListRequest>,
    ) -> Answer<api::ListTokensReply> {
        let (running, _) = self.running(request.extensions(), Method::ReadTokens)?;
        Ok(Response::new(reads::tokens(&running, &request.into_inner()).await?))
    }

    async fn list_holders(
        &self,
        request: Request<api::ListHoldersRequest>,
    ) -> Answer<api::ListHoldersReply> {
        let (running, _) = self.running(request.extensions(), Method::Read)?;
        Ok(Response::new(reads::holders(&running, &request.into_inner()).await?))
    }

    async fn recipients(
        &self,
        request: Request<api::RecipientsRequest>,
    ) -> Answer<api::RecipientsReply> {
        let (running, _) = self.running(request.extensions(), Method::Recipients)?;
        Ok(Response::new(reads::recipients(&running)?))
    }
}

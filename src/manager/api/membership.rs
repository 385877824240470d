//! The Membership service: the one call without a certificate, and those of certificates that
//! are renewed.

use std::num::NonZeroU32;
use std::sync::Arc;

use tonic::{Extensions, Request, Response, Status};

use crate::manager::admit::caller::{Admitted, source};
use crate::manager::life::lifecycle::Manager;
use crate::manager::members::join::{self, Asked, Known};
use crate::manager::members::renew;
use crate::manager::problem;
use crate::manager::running::Running;
use crate::manager::task::to_the_end;
use skep_client::transport::rpc::api::membership_server::{Membership, MembershipServer};
use skep_client::transport::{Caller, KeepSeat, Peer, Problem, Rate, caller};
use skep_core::base::{Exit, limits};
use skep_core::domain::{Member, Method};
use skep_core::wire::api;

/// Tokens that admit nobody which an address may show at once.
const BAD_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// The same each second after that.
const BAD_A_SECOND: NonZeroU32 = NonZeroU32::MIN;

/// Answers machines that want to join, and members that renew.
#[derive(Debug)]
pub(in crate::manager) struct MembershipService {
    manager: Manager,
    /// How often an address may show a join token that doesn't admit it.
    bad_tokens: Rate,
}

impl MembershipService {
    /// The service, bounded.
    #[must_use]
    pub(in crate::manager) fn server(manager: Manager) -> MembershipServer<Self> {
        let bad_tokens = Rate::new(BAD_AT_ONCE, BAD_A_SECOND);
        let service = Self { manager, bad_tokens };
        MembershipServer::new(service).max_decoding_message_size(limits::JOIN_BYTES)
    }
    /// A running manager that leads, and a token that is good.
    async fn known(
        &self,
        extensions: &Extensions,
        asked: &api::JoinRequest,
    ) -> Result<(Arc<Running>, Known), Problem> {
        Admitted::of(extensions, Method::Join)?;
        let running = self.manager.0.running()?;
        running.core.leads()?;
        let asked = Asked::read(asked, source(extensions))?;
        match join::judge(&running, asked).await {
            Ok(known) => Ok((running, known)),
            // Whatever the reason is, or which one it is would be told by what is counted.
            Err(refused) if refused.exit == Exit::Refused => Err(self.counted(extensions, refused)),
            Err(problem) => Err(problem),
        }
    }
    /// A running manager that leads, and the member that asks it for its next certificate, with
    /// the one that it shows.
    fn renewing(&self, extensions: &Extensions) -> Result<(Arc<Running>, Member, Peer), Problem> {
        let member = Admitted::of(extensions, Method::Renew)?.member()?;
        let running = self.manager.0.running()?;
        running.core.leads()?;
        match caller(extensions) {
            Some(Caller::Peer(peer) | Caller::Expired(peer)) => Ok((running, member, peer.clone())),
            Some(Caller::Anonymous) | None => Err(problem::access::no_identity()),
        }
    }
    /// Whoever shows bad tokens too often is told that alone.
    fn counted(&self, extensions: &Extensions, unknown: Problem) -> Problem {
        if source(extensions).is_none_or(|from| self.bad_tokens.passes(from)) {
            return unknown;
        }
        problem::access::too_many_bad_tokens()
    }
}

#[tonic::async_trait]
impl Membership for MembershipService {
    async fn join(
        &self,
        request: Request<api::JoinRequest>,
    ) -> Result<Response<api::JoinReply>, Status> {
        let (running, known) = self.known(request.extensions(), request.get_ref()).await?;
        // From here on nobody else takes this connection's place.
        let kept = request.extensions().get::<KeepSeat>().and_then(KeepSeat::keep);
        let asked = request.into_inner();
        let joining = async move {
            let _kept = kept;
            join::join(&running, known, &asked).await
        };
        Ok(Response::new(to_the_end("join", joining).await?))
    }

    async fn renew(
        &self,
        request: Request<api::RenewRequest>,
    ) -> Result<Response<api::RenewReply>, Status> {
        let (running, member, shown) = self.renewing(request.extensions())?;
        let again = renew::again(&running, member, &shown, request.get_ref()).await?;
        if let Some(reply) = again {
            return Ok(Response::new(reply));
        }
        let turn = running.core.renewing.enter(member)?;
        // One whose certificate has ended is a guest, and its place is kept from here on.
        let kept = request.extensions().get::<KeepSeat>().and_then(KeepSeat::keep);
        let asked = request.into_inner();
        let renewing = async move {
            let _kept = kept;
            renew::renew(&running, &turn, shown.leaf().key, &asked).await
        };
        Ok(Response::new(to_the_end("renew", renewing).await?))
    }

    async fn renewed(
        &self,
        request: Request<api::RenewedRequest>,
    ) -> Result<Response<api::RenewedReply>, Status> {
        let (running, member, shown) = self.renewing(request.extensions())?;
        running.core.seen(member, shown.leaf().key).await?;
        Ok(Response::new(api::RenewedReply {}))
    }
}

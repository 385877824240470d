//! Asking managers to be admitted, once round: the same for managers and agents.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};

use crate::ca::{CaError, JoinToken, PrivateKey, certificate_request};
use crate::transport::rpc::api::membership_client::MembershipClient;
use crate::transport::{ClientTls, ConnectError, Expect, Problem, connect, read_problem};
use skep_core::base::{Clock, Exit, Name};
use skep_core::domain::NodeRole;
use skep_core::wire::{api, convert::write_role};

/// One try to connect.
const CONNECT: Duration = Duration::from_secs(2);
/// The answer to a join: it is committed by then.
const ANSWER: Duration = Duration::from_secs(15);
/// Managers asked in one round, those that were pointed at included.
const HOPS: usize = 16;

/// What is asked for. Whoever asks again with the same keys is answered the same.
#[derive(Debug)]
pub struct Application<'a> {
    /// The token.
    pub token: &'a JoinToken,
    /// What the caller will be.
    pub role: NodeRole,
    /// The name asked for.
    pub name: &'a Name,
    /// The key of the certificate.
    pub key: &'a PrivateKey,
    /// A manager's public key for what is boxed to it.
    pub box_key: Option<[u8; 32]>,
    /// Where a manager will be reached, each `host:port`.
    pub addresses: Vec<String>,
    /// Whether it is a manager that never votes.
    pub learner: bool,
}

/// Why nobody admitted the caller.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// Nobody to ask.
    #[error("no address is known")]
    Nobody,
    /// No connection.
    #[error("{0}")]
    NotReached(ConnectError),
    /// The connection broke after the application was sent: it may have been admitted.
    #[error("{address}: {why}")]
    Unknown {
        /// Who was asked.
        address: String,
        /// What is known.
        why: String,
    },
    /// A manager can't admit anybody now, or another one leads that was not reached.
    #[error("{0}")]
    NotNow(Problem),
    /// Refused for good.
    #[error("{0}")]
    Refused(Problem),
    /// No proof of the key could be made.
    #[error("{0}")]
    NoProof(CaError),
}

impl NotAdmitted {
    fn may_be_admitted(&self) -> bool {
        match self {
            Self::Unknown { .. } => true,
            Self::NotNow(problem) => problem.exit == Exit::Unknown,
            Self::Nobody | Self::NotReached(_) | Self::Refused(_) | Self::NoProof(_) => false,
        }
    }
}

/// How a round ended without an admission.
#[derive(Debug)]
pub struct Round {
    /// Why: the last word, but for what may have been done.
    pub why: NotAdmitted,
    /// A manager closed its connection, for want of a place or because it ends: asked again
    /// it may have one.
    pub closed: bool,
}

/// What one manager said that is not "yes".
enum Answered {
    Elsewhere(Problem),
    No(NotAdmitted),
}

impl Application<'_> {
    /// Asks the managers in turn, once round, each once, following where they point to.
    ///
    /// # Errors
    /// [`Round`].
    pub async fn ask_round(
        &self,
        managers: &[String],
        clock: &Arc<dyn Clock>,
    ) -> Result<api::JoinReply, Round> {
        let tls = ClientTls::anonymous(self.token.fingerprint, Arc::clone(clock));
        let mut asked: Vec<String> = Vec::new();
        let mut to_ask: Vec<String> = managers.iter().rev().cloned().collect();
        let mut round = Round { why: NotAdmitted::Nobody, closed: false };
        while let Some(address) = to_ask.pop() {
            if asked.contains(&address) || asked.len() >= HOPS {
                continue;
            }
            asked.push(address.clone());
            let why = match self.ask_one(&address, &tls).await {
                Ok(reply) => return Ok(reply),
                Err(Answered::Elsewhere(problem)) => {
                    to_ask.extend(problem.leader_addresses.iter().rev().cloned());
                    NotAdmitted::NotNow(problem)
                }
                Err(Answered::No(why)) => why,
            };
            round.closed |= match &why {
                NotAdmitted::NotReached(error) => error.was_closed(),
                NotAdmitted::Unknown { .. } => true,
                _ => false,
            };
            if matches!(why, NotAdmitted::Refused(_) | NotAdmitted::NoProof(_)) {
                return Err(Round { why, ..round });
            }
            // What may have been done remains so, whoever can't be reached after that.
            if !round.why.may_be_admitted() {
                round.why = why;
            }
        }
        Err(round)
    }

    async fn ask_one(&self, address: &str, tls: &ClientTls) -> Result<api::JoinReply, Answered> {
        let no = Answered::No;
        let connected = connect(address, tls, Expect::AnyManager, CONNECT).await;
        let (channel, _) = connected.map_err(|error| no(NotAdmitted::NotReached(error)))?;
        let proof = certificate_request(self.key);
        let request = api::JoinRequest {
            token_id: self.token.id.as_bytes().to_vec(),
            token_secret: self.token.secret.expose().to_vec(),
            role: write_role(self.role).into(),
            name: self.name.to_string(),
            public_key: self.key.public(),
            proof: proof.map_err(|error| no(NotAdmitted::NoProof(error)))?,
            box_key: self.box_key.map(|key| key.to_vec()).unwrap_or_default(),
            addresses: self.addresses.clone(),
            learner: self.learner,
        };
        let mut client = MembershipClient::new(channel);
        match tokio::time::timeout(ANSWER, client.join(request)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(answered(address, &status)),
            Err(_late) => {
                let why = "no answer in time".to_owned();
                Err(no(NotAdmitted::Unknown { address: address.to_owned(), why }))
            }
        }
    }
}

fn answered(address: &str, status: &Status) -> Answered {
    let about_us = matches!(
        status.code(),
        Code::PermissionDenied
            | Code::Unauthenticated
            | Code::InvalidArgument
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Unimplemented
    );
    match read_problem(status) {
        Some(problem) if !problem.leader_addresses.is_empty() => Answered::Elsewhere(problem),
        // What a manager says about the application is final; about itself, it is not.
        Some(problem) if about_us && matches!(problem.exit, Exit::Refused | Exit::Usage) => {
            Answered::No(NotAdmitted::Refused(problem))
        }
        Some(problem) => Answered::No(NotAdmitted::NotNow(problem)),
        None if about_us => Answered::No(NotAdmitted::Refused(Problem::of_another(status))),
        None => {
            let why = status.message().to_owned();
            Answered::No(NotAdmitted::Unknown { address: address.to_owned(), why })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::NodeId;

    fn said(problem: Problem) -> Answered {
        answered("a:1", &problem.into())
    }

    #[test]
    fn what_is_said_of_the_application_is_final_and_of_the_manager_not() {
        let refused = said(Problem::refused("the join token has ended"));
        assert!(matches!(refused, Answered::No(NotAdmitted::Refused(_))));
        for of_itself in [Problem::locked("x"), Problem::unavailable("x"), Problem::too_often("x")]
        {
            assert!(matches!(said(of_itself), Answered::No(NotAdmitted::NotNow(_))));
        }
        let leader = NodeId::from_bytes([1; 16]);
        let elsewhere = Problem::unavailable("x").led_by(leader, vec!["b:1".to_owned()]);
        assert!(matches!(said(elsewhere), Answered::Elsewhere(_)));
    }

    #[test]
    fn it_may_be_admitted_where_the_connection_broke() {
        let may = |answered| match answered {
            Answered::No(why) => why.may_be_admitted(),
            Answered::Elsewhere(_) => false,
        };
        assert!(may(answered("a:1", &Status::unavailable("reset"))));
        assert!(may(said(Problem::unknown("x"))));
        assert!(!may(said(Problem::unavailable("x"))));
        assert!(!may(answered("a:1", &Status::permission_denied("no"))));
    }
}

//! What a manager's status means for a connection.

use tonic::Status;

use crate::agent::session::problem;
use crate::agent::session::{Cause, Refused};
use skep_client::transport::read_problem;
use skep_core::base::Exit;

/// Why a session is refused whose certificate has to be renewed first: the next connection does.
pub(super) const RENEW: &str = "the certificate has ended";

/// There is no value of it: a connection only ever ends with a cause.
pub(super) enum Never {}

/// What it says, for people.
pub(super) fn refused_of(status: &Status) -> Refused {
    match read_problem(status) {
        Some(problem) => problem::of_manager(problem.text, problem.hint),
        None => problem::of_another(status.message()),
    }
}

/// What a status of the session's call means.
pub(super) fn cause_of(status: &Status) -> Cause {
    let Some(problem) = read_problem(status) else {
        return match status.code() {
            tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => {
                Cause::Refused(status.message().to_owned())
            }
            _ => Cause::Lost(format!("the session ended: {}", status.message())),
        };
    };
    if problem.is_certificate_over() {
        return Cause::Over(refused_of(status));
    }
    if problem.exit == Exit::IdentityEnded {
        return Cause::Removed(refused_of(status));
    }
    if problem.wants_renewal() {
        return Cause::Refused(RENEW.to_owned());
    }
    if problem.is_elsewhere() {
        return Cause::NotLeader(problem.leader_addresses);
    }
    match status.code() {
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => {
            Cause::Refused(problem.text)
        }
        // Another machine has this identity: what to do is all that helps.
        tonic::Code::AlreadyExists => Cause::Refused(format!("{}; {}", problem.text, problem.hint)),
        _ => Cause::Lost(problem.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_client::transport::Problem;
    use skep_core::base::NodeId;

    #[test]
    fn statuses_are_told_apart() {
        let of = |problem: Problem| cause_of(&problem.into());
        let leader = vec!["b:1".to_owned()];
        let id = NodeId::from_bytes([1; 16]);
        let not_leader = Problem::unavailable("not the leader").led_by(id, leader.clone());
        assert_eq!(of(not_leader), Cause::NotLeader(leader));
        assert_eq!(of(Problem::unavailable("none")), Cause::Lost("none".to_owned()));
        let removed = of(Problem::identity_ended("removed").hint("join again"));
        assert!(matches!(removed, Cause::Removed(refused) if refused.hint == "join again"));
        let over = of(Problem::certificate_over("over").hint("readmit"));
        assert!(matches!(over, Cause::Over(refused) if refused.hint == "readmit"));
        assert_eq!(of(Problem::certificate_ended("x")), Cause::Refused(RENEW.to_owned()));
        let taken = of(Problem::taken("taken").hint("join"));
        assert_eq!(taken, Cause::Refused("taken; join".to_owned()));
        assert_eq!(of(Problem::not_allowed("no")), Cause::Refused("no".to_owned()));
        assert!(matches!(cause_of(&Status::unavailable("reset")), Cause::Lost(_)));
    }
}

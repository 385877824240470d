//! What a process of this machine is told when its call to the agent fails.

use skep_client::transport::Problem;
use skep_core::base::BadName;

use crate::agent::session::{Refused, RefusedKind};

/// A method that the agent doesn't have.
pub(in crate::agent) fn not_served() -> Problem {
    Problem::not_served("the agent knows no such method")
}

/// The agent has no identity yet; `why` is empty where no try to get one has failed.
pub(in crate::agent) fn not_joined(why: &str) -> Problem {
    let text = "this agent has not joined a cluster yet";
    let text = if why.is_empty() { text.to_owned() } else { format!("{text}: {why}") };
    Problem::unavailable(text).hint("look at the agent's log")
}

/// The agent ends.
pub(in crate::agent) fn stopping() -> Problem {
    Problem::unavailable("the agent is stopping")
}

/// A call that came by no socket.
pub(in crate::agent) fn no_caller() -> Problem {
    Problem::bug("a call without a caller")
}

/// Somebody else than root asks for what is root's.
pub(in crate::agent) fn root_only() -> Problem {
    Problem::not_allowed("only root may ask the agent for this").hint("try again with sudo")
}

/// What should name a service is no name.
pub(in crate::agent) fn bad_service(error: BadName) -> Problem {
    Problem::bad_input(format!("the service: {error}"))
        .hint("`skep agent status` lists the services of this node")
}

/// A claim was refused.
pub(in crate::agent) fn refused(refused: &Refused) -> Problem {
    let text = refused.text.as_str();
    let problem = match refused.kind {
        RefusedKind::No => Problem::refused(text),
        RefusedKind::Late => Problem::not_in_time(text),
        RefusedKind::Away => Problem::unavailable(text),
    };
    problem.hint(refused.hint.as_str())
}

//! What a process of this machine is told when its call to the agent fails.

use skep_client::transport::Problem;
use skep_core::base::{BadName, limits};
use skep_core::domain::BadHook;

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

/// How a process wants to be told of changes is none of the ways.
pub(in crate::agent) fn bad_wish(error: BadHook) -> Problem {
    Problem::bad_input(format!("--signal-on-change: {error}"))
}

/// A claim was refused.
pub(in crate::agent) fn refused(refused: &Refused) -> Problem {
    let text = refused.text.as_str();
    let problem = match refused.kind {
        RefusedKind::No => Problem::refused(text),
        RefusedKind::Late => Problem::not_in_time(text),
        RefusedKind::Away => Problem::unavailable(text),
        RefusedKind::Changed => Problem::newer(text),
    };
    problem.hint(refused.hint.as_str())
}

/// A field of what is written is unsound.
pub(in crate::agent) fn bad_put(what: &str) -> Problem {
    Problem::bad_input(format!("what is written: {what}"))
        .hint(format!("1 to {} files are written at once", limits::PUT_FILES))
}

/// A service's workloads write more often than they may.
pub(in crate::agent) fn puts_too_often() -> Problem {
    Problem::too_often("the service's processes on this node write too often")
        .hint("nothing was done; one write a second is let through")
}

/// How far a record reaches is unsound.
pub(in crate::agent) fn bad_record(why: &dyn std::fmt::Display) -> Problem {
    Problem::bad_input(format!("the record: {why}"))
}

/// A service's workloads say more often than they may how far their records reach.
pub(in crate::agent) fn anchors_too_often() -> Problem {
    Problem::too_often("it is too soon to say how far this service's records reach")
        .hint("once in ten seconds is enough; what is said next holds for what came before")
}

/// How far a record reaches was not handed on.
pub(in crate::agent) fn anchor_not_sent() -> Problem {
    Problem::unavailable("no manager was reached in time")
        .hint("say it again in some seconds; `skep agent status` shows why")
}

/// No leader answered, and something was on its way.
pub(in crate::agent) fn put_unknown() -> Problem {
    Problem::unknown("the outcome is unknown: it may have been written")
        .hint("no manager answered in time: look at the file before repeating")
}

/// No leader was reached.
pub(in crate::agent) fn put_not_sent() -> Problem {
    Problem::unavailable("no manager was reached in time")
        .hint("nothing was written; `skep agent status` shows why")
}

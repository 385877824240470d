//! What a caller is told when a call fails: a status for its process, one line
//! that says what is wrong, and one that says what to do.

pub(in crate::manager) mod access;
pub(in crate::manager) mod audit;
pub(in crate::manager) mod delivery;
pub(in crate::manager) mod issuer;
pub(in crate::manager) mod life;
pub(in crate::manager) mod members;
pub(in crate::manager) mod request;
pub(in crate::manager) mod warning;

use std::fmt;
use std::path::Path;

use tonic::Code;

use crate::consensus::ProposeError;
use crate::manager::keys::NoKey;
use crate::manager::steady::Doubt;
use crate::manager::unproposed::Unproposed;
use skep_client::join::NotAdmitted;
pub(in crate::manager) use skep_client::transport::span;
use skep_client::transport::{Problem, SET_THE_CLOCK};
use skep_core::base::NodeId;
use skep_core::domain::{NotOne, Refusal, Thing};
use skep_core::seal::SealError;
use skep_core::wire::convert::BadMessage;

/// What can't be, was: `text` says what.
pub(in crate::manager) fn bug(text: impl fmt::Display) -> Problem {
    Problem::bug(text.to_string())
}

/// The manager is locked.
pub(crate) fn locked() -> Problem {
    Problem::locked("this manager is locked").hint("skep unlock")
}

/// This manager's certificate is past its end, and nobody has signed another.
pub(crate) fn expired() -> Problem {
    Problem::identity_ended("this manager's certificate has ended and can't be renewed").hint(
        "check the machine's clock; where it reaches other managers, `skep node readmit NAME` \
         there and `skep unlock` here within a day; else `skep leave --force` here, \
         `skep node rm NAME` there, and join anew",
    )
}

/// This manager's disk was put back to an older state.
pub(crate) fn rolled_back() -> Problem {
    Problem::refused("this manager's disk was put back to an older state: it takes no part")
        .hint("put the newer disk back, or give the old state up: `skep manager repair`")
}

/// It may have been done.
pub(crate) fn unknown() -> Problem {
    Problem::unknown("the outcome is unknown: it may have been done")
        .hint("look before repeating: `skep secret ls`, `skep service ls`, `skep node ls`")
}

/// The key that a client sealed to is in use no more.
pub(crate) fn retired() -> Problem {
    Problem::retired("the intake key has changed since the value was sealed")
        .hint("repeat the command: it seals to the new key")
}

/// Another manager leads, or none.
pub(crate) fn not_leader(leader: Option<(NodeId, Vec<String>)>) -> Problem {
    match leader {
        Some((leader, addresses)) => Problem::unavailable("this manager is not the leader")
            .hint(format!("the leader is at {}", addresses.join(", ")))
            .led_by(leader, addresses),
        None => Problem::unavailable("the cluster has no leader now; nothing was done")
            .hint("`skep status` shows which managers can be reached"),
    }
}

/// Another manager delivers, or none: an agent goes to it.
pub(in crate::manager) fn delivered_elsewhere(leader: Option<(NodeId, Vec<String>)>) -> Problem {
    let problem = Problem::unavailable("this manager is not the leader").hint("ask the leader");
    match leader {
        Some((leader, addresses)) => problem.led_by(leader, addresses),
        None => problem,
    }
}

/// The node that asks was removed: its agent ends.
pub(in crate::manager) fn node_removed() -> Problem {
    Problem::identity_ended("this node was removed from the cluster")
        .hint("wipe its data directory and join it again with a new token")
}

/// An `init` died before its end; `folder` is the data folder.
pub(in crate::manager) fn init_unfinished(folder: &Path) -> Problem {
    Problem::refused("`skep init` did not come to its end on this manager; nothing is stored in it")
        .hint(format!(
            "stop the manager, remove {}, start it and run `skep init` again",
            folder.display()
        ))
}

/// This manager's clock is too far from the majority's: `off_ms`, that is ahead.
pub(crate) fn clock_off(off_ms: i64) -> Problem {
    let (off, which) =
        (span(off_ms.unsigned_abs()), if off_ms > 0 { "behind" } else { "ahead of" });
    let text = format!("this manager's clock is {off} {which} the cluster's");
    Problem::unavailable(text).hint(
        "a majority of the managers has another time: set the clock of its machine \
         (`timedatectl`); it neither leads nor signs until then",
    )
}

/// This manager's clock is in doubt: nothing was done.
pub(in crate::manager) fn clock_doubted(doubt: Doubt) -> Problem {
    let text = match doubt {
        Doubt::Fresh => {
            let text = "this manager has just started, and no majority of the managers \
                        shares its time";
            return Problem::unavailable(text)
                .hint("nothing was done; check time synchronisation on the managers' machines");
        }
        Doubt::Stepped(by_ms) => {
            let way = if by_ms > 0 { "forwards" } else { "backwards" };
            format!("the clock of this manager stepped by {} {way}", span(by_ms.unsigned_abs()))
        }
        Doubt::FarAhead(by_ms) => format!(
            "the clock of this manager was {} ahead of the cluster's time when it started",
            span(by_ms.unsigned_abs())
        ),
    };
    Problem::unavailable(text).hint(
        "nothing was done; check time synchronisation on that machine. A new time counts once \
         a majority of the managers shares it, or the only manager has kept it for a minute",
    )
}

/// The connection was made while this manager's clock was wrong.
pub(in crate::manager) fn connected_in_doubt() -> Problem {
    let text = "this manager's clock was wrong when the connection was made";
    Problem::unavailable(text).hint("nothing was done; connect again")
}

/// What becomes of a proposal that was not applied; `addresses` are those of a
/// manager.
pub(in crate::manager) fn of_proposal(
    error: impl Into<Unproposed>,
    addresses: impl FnOnce(NodeId) -> Vec<String>,
) -> Problem {
    let error = match error.into() {
        Unproposed::Clock(doubt) => return clock_doubted(doubt),
        Unproposed::Consensus(error) => error,
    };
    match error {
        ProposeError::NotLeader(leader) => not_leader(leader.map(|node| (node, addresses(node)))),
        ProposeError::Unknown => unknown(),
        ProposeError::Unfit(why) => Problem::bad_input(format!("this can't be recorded: {why}")),
        ProposeError::Stopped(why) => {
            Problem::unavailable(format!("this manager is stopping: {why}"))
                .hint("its log says why; ask another manager")
        }
    }
}

/// What a caller is told about an error of the rings below.
pub(in crate::manager) trait Explain {
    /// In words, with a status and a hint.
    fn explain(self) -> Problem;
}

impl Explain for BadMessage {
    fn explain(self) -> Problem {
        Problem::bad_input(self.to_string())
    }
}

impl Explain for NoKey {
    fn explain(self) -> Problem {
        match self {
            NoKey::NotOpen(_) => Problem::unavailable("this manager has no cluster key yet")
                .hint("it is catching up; repeat it in a moment"),
            NoKey::Seal(SealError::Retired { .. }) => retired(),
            NoKey::Seal(_) | NoKey::Issuer(_) => Problem::bug(self.to_string()),
        }
    }
}

/// The same where a caller gave what did not fit: `what` names it.
pub(in crate::manager) fn of_key_given(error: NoKey, what: &str) -> Problem {
    match error {
        NoKey::Seal(SealError::Retired { .. }) | NoKey::NotOpen(_) | NoKey::Issuer(_) => {
            error.explain()
        }
        NoKey::Seal(error) => Problem::bad_input(format!("{what} {error}")),
    }
}

impl Explain for NotAdmitted {
    fn explain(self) -> Problem {
        match self {
            NotAdmitted::Nobody => Problem::unavailable("no manager could be reached"),
            NotAdmitted::NotReached(error) if error.may_be_the_clock() => {
                Problem::unavailable(error.to_string()).hint(SET_THE_CLOCK)
            }
            NotAdmitted::NotReached(error) => Problem::unavailable(error.to_string())
                .hint("is it a manager of the token's cluster, and unlocked?"),
            NotAdmitted::Unknown { .. } => unknown(),
            NotAdmitted::NoProof(error) => Problem::bug(error.to_string()),
            NotAdmitted::NotNow(problem) | NotAdmitted::Refused(problem) => match problem.code {
                Code::Unavailable | Code::ResourceExhausted => {
                    Problem::unavailable(problem.text).hint(problem.hint)
                }
                Code::InvalidArgument => Problem::bad_input(problem.text).hint(problem.hint),
                Code::Unknown => unknown(),
                _ => Problem::refused(problem.text).hint(problem.hint),
            },
        }
    }
}

impl Explain for NotOne {
    fn explain(self) -> Problem {
        let text = self.to_string();
        match self {
            NotOne::NotFound { thing, .. } => Problem::refused(text).hint(listing(thing)),
            NotOne::Ambiguous { .. } => Problem::refused(text).hint("give more of the id"),
        }
    }
}

impl Explain for Refusal {
    fn explain(self) -> Problem {
        let text = self.to_string();
        match self {
            Refusal::BadAct | Refusal::Invalid(_) => Problem::bad_input(text),
            Refusal::Retired { .. } => retired(),
            Refusal::Busy { .. } => {
                Problem::too_often(text).hint("nothing was done; repeat it within a minute")
            }
            Refusal::TooLate => Problem::unavailable(text).hint("nothing was done; repeat it"),
            Refusal::AlreadyInitialised => Problem::refused(text).hint("skep status"),
            Refusal::NotInitialised => Problem::refused(text).hint("skep init"),
            Refusal::Exists { thing: Thing::Secret, name } => {
                Problem::refused(text).hint(format!("a new value: `skep secret update {name} FILE`"))
            }
            Refusal::Exists { thing: Thing::Service, .. } => {
                Problem::refused(text).hint("`skep service update --help` shows how to change it")
            }
            Refusal::Exists { thing: Thing::Node, name } => Problem::refused(text).hint(format!(
                "choose another name; one that an earlier attempt left behind: `skep node rm {name}`"
            )),
            Refusal::Exists { thing: Thing::Operator, name } => Problem::refused(text).hint(format!(
                "choose another name, or remove that one first: `skep operator rm {name}`"
            )),
            Refusal::Exists { .. } => Problem::refused(text).hint("choose another name"),
            Refusal::NotFound { thing: Thing::Worker, what } => Problem::refused(text).hint(format!(
                "`skep node ls` shows the workers there are; for one that is yet to join make its \
                 token first: `skep join-token worker --name {what}`"
            )),
            Refusal::NotFound { thing, .. } => Problem::refused(text).hint(listing(thing)),
            Refusal::InUse { secret, services } => {
                let service = services.names().first().map_or_else(|| "SERVICE".into(), ToString::to_string);
                Problem::refused(text).hint(format!("skep service revoke {service} {secret}"))
            }
            Refusal::VersionInUse { secret, .. } => {
                Problem::refused(text).hint(format!("skep secret versions {secret}"))
            }
            Refusal::Conflict { .. } => Problem::newer(text).hint("look at it again, then repeat"),
            Refusal::NotWritable { service, secret } => Problem::refused(text)
                .hint(format!("to allow it: `skep service grant --write {service} {secret}`")),
            Refusal::ForwardOnly { secret } => Problem::refused(text)
                .hint(format!("a new value comes by `skep secret update {secret} FILE`; grants follow it without --pin")),
            Refusal::TargetTaken { secret, .. } => Problem::refused(text).hint(format!(
                "another file name (SECRET:TARGET), or --replace, which takes it from {secret}"
            )),
            Refusal::NotGranted { service, .. } => Problem::refused(text).hint(format!(
                "no node holds it for {service} either; `skep service inspect {service}` shows what is granted"
            )),
            Refusal::NameIsId { .. } => {
                Problem::refused(text).hint("choose another name: what is looked up is looked up by its id first")
            }
            Refusal::Reserved { name } => Problem::refused(text).hint(format!(
                "make a token for this name on a manager: `skep join-token worker --name {name}`"
            )),
            Refusal::Limit { .. } => Problem::refused(text).hint("remove what is not needed any more"),
            // The same words whatever the reason is: a stranger learns nothing of tokens.
            Refusal::Token { .. } => Problem::refused("the join token was not accepted").hint(
                "ask an operator: `skep join-token ls` shows the tokens there are, and the \
                 leader's log has a line join_refused that says why",
            ),
            Refusal::Holds { node, .. } => Problem::refused(text).hint(format!(
                "drain it first (`skep node update {node} --availability drain`), or write off what it holds with --force"
            )),
            Refusal::LastManager { .. } => {
                Problem::refused(text).hint("without a manager the cluster's secrets would be lost")
            }
            Refusal::LastAdmin { .. } => Problem::refused(text)
                .hint("make another one first: `skep operator create NAME --role admin`"),
            Refusal::NotAllowed(_) => Problem::not_allowed(text)
                .hint("docs/operate/operators.md says who may do what; an admin makes operators"),
            Refusal::OutOfScope { .. } => Problem::not_allowed(text)
                .hint("begin the name as the scope does, or ask an admin"),
            Refusal::HoldsOutside { .. } => Problem::not_allowed(text).hint(
                "of its spec only labels can be changed by this identity: ask whoever granted them",
            ),
            Refusal::TargetTakenOutside { .. } => {
                Problem::refused(text).hint("another file name: SECRET:TARGET")
            }
        }
    }
}

/// The command that shows what there is of a kind.
fn listing(thing: Thing) -> &'static str {
    match thing {
        Thing::Secret => "`skep secret ls` shows the secrets there are",
        Thing::Version => "`skep secret versions NAME` shows the versions there are",
        Thing::Service => "`skep service ls` shows the services there are",
        Thing::Node | Thing::Worker => "`skep node ls` shows the nodes there are",
        Thing::Token => "`skep join-token ls` shows the tokens there are",
        Thing::Operator => "`skep operator ls` shows the operators there are",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_client::transport::read_problem;
    use skep_core::base::Exit;
    use skep_core::domain::Few;
    use tonic::Status;

    fn sent(problem: Problem) -> (Code, u8, String) {
        let status = Status::from(problem);
        let read = read_problem(&status).expect("carries a problem");
        (status.code(), read.exit.code(), read.hint)
    }

    #[test]
    fn each_kind_has_its_status() {
        let name = |text: &str| text.parse().expect("a name");
        assert_eq!(sent(locked()), (Code::FailedPrecondition, 4, "skep unlock".into()));
        let exists = Refusal::Exists { thing: Thing::Secret, name: name("db") };
        let (code, exit, hint) = sent(exists.explain());
        assert_eq!((code, exit), (Code::FailedPrecondition, 1));
        assert!(hint.contains("skep secret update db"), "{hint}");
        assert_eq!(sent(Refusal::Invalid("mode".into()).explain()).1, 2);
        assert_eq!(sent(Refusal::TooLate.explain()).1, 3);
        assert_eq!(sent(unknown()).0, Code::Unknown);
        assert_eq!(sent(unknown()).1, 6);
        assert_eq!(sent(retired()).0, Code::Aborted);
        let in_use = Refusal::InUse { secret: name("db"), services: Few::of([name("web")], 1) };
        assert_eq!(sent(in_use.explain()).2, "skep service revoke web db");
    }

    #[test]
    fn a_follower_says_who_leads() {
        let leader = NodeId::from_bytes([3; 16]);
        let error = ProposeError::NotLeader(Some(leader));
        let status = Status::from(of_proposal(error, |_| vec!["m2:4440".into()]));
        let problem = read_problem(&status).expect("carries a problem");
        assert_eq!((status.code(), problem.exit), (Code::Unavailable, Exit::Unreachable));
        assert_eq!(problem.leader, Some(leader));
        assert_eq!(problem.leader_addresses, ["m2:4440"]);
        let none = of_proposal(ProposeError::NotLeader(None), |_| Vec::new());
        assert_eq!(none.exit, Exit::Unreachable);
        assert!(none.text.contains("no leader"));
    }
}

//! What a caller is told when a call fails: a status for its process, one line
//! that says what is wrong, and one that says what to do.

use tonic::{Code, Status};

use super::core::Unproposed;
use super::steady::Doubt;
use crate::consensus::ProposeError;
use skep_client::transport::problem_status;
use skep_core::base::NodeId;
use skep_core::domain::{NotOne, Refusal};
use skep_core::wire::convert::BadMessage;

/// Why a call failed. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    code: Code,
    exit: u8,
    text: String,
    hint: String,
    leader: Option<(NodeId, Vec<String>)>,
}

impl Problem {
    fn new(code: Code, exit: u8, text: impl Into<String>) -> Self {
        Self { code, exit, text: text.into(), hint: String::new(), leader: None }
    }
    /// Refused: it exists, is in use, is not found, does not fit the state.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, 1, text)
    }
    /// Whoever asks may not do that.
    pub(crate) fn not_allowed(text: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, 1, text)
    }
    /// The daemon that asks has no identity any more, and ends for it.
    pub(crate) fn gone(text: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, 24, text)
    }
    /// What was sent is unsound.
    pub(crate) fn bad_input(text: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, 2, text)
    }
    /// Nothing was done, and later or elsewhere it may be.
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, 3, text)
    }
    /// More than this caller may ask at a time; nothing was done.
    pub(crate) fn too_often(text: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, 3, text)
    }
    /// The manager is locked.
    pub(crate) fn locked() -> Self {
        Self::new(Code::FailedPrecondition, 4, "this manager is locked").hint("skep unlock")
    }
    /// It may have been done.
    pub(crate) fn unknown() -> Self {
        Self::new(Code::Unknown, 6, "the outcome is unknown: it may have been done")
            .hint("look before repeating: skep secret ls, skep service ls, skep node ls")
    }
    /// A wrong unlock key.
    pub(crate) fn wrong_key(text: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, 7, text)
    }
    /// The key that a client sealed to is in use no more: it fetches the new one
    /// and seals again. The code says so; no other problem has it.
    pub(crate) fn retired() -> Self {
        Self::new(Code::Aborted, 1, "the intake key has changed since the value was sealed")
            .hint("repeat the command: it seals to the new key")
    }
    /// The daemon ends for this, with the same status.
    pub(crate) fn fatal(exit: u8, text: impl Into<String>) -> Self {
        Self::new(Code::DataLoss, exit, text)
    }
    /// A broken invariant of ours.
    pub(crate) fn bug(text: impl Into<String>) -> Self {
        Self::new(Code::Internal, 70, text)
            .hint("this is a bug of skep: please report it with the manager's log")
    }
    /// The same with what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
    /// Another manager leads, or none.
    pub(crate) fn not_leader(leader: Option<(NodeId, Vec<String>)>) -> Self {
        let mut problem = match &leader {
            Some((_, addresses)) => Self::unavailable("this manager is not the leader")
                .hint(format!("the leader is at {}", addresses.join(", "))),
            None => Self::unavailable("the cluster has no leader now; nothing was done")
                .hint("skep status shows which managers can be reached"),
        };
        problem.leader = leader;
        problem
    }
    /// This manager's clock is too far from the majority's: `off_ms`, that is ahead.
    pub(crate) fn clock_off(off_ms: i64) -> Self {
        let (minutes, which) =
            (off_ms.unsigned_abs() / 60_000, if off_ms > 0 { "behind" } else { "ahead of" });
        let text = format!("this manager's clock is {minutes} minutes {which} the majority's");
        Self::unavailable(text)
            .hint("set its machine's clock; it neither leads nor signs until then")
    }
    /// This manager's clock is in doubt: nothing was done.
    pub(super) fn clock_doubted(doubt: Doubt) -> Self {
        let text = match doubt {
            Doubt::Fresh => {
                let text = "this manager has just started, and no majority of the managers \
                            shares its time";
                return Self::unavailable(text).hint(
                    "nothing was done; check time synchronisation on the managers' machines",
                );
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
        Self::unavailable(text).hint(
            "nothing was done; check time synchronisation on that machine. A new time counts once \
             a majority of the managers shares it, or the only manager has kept it for a minute",
        )
    }
    /// The connection was made while this manager's clock was wrong.
    pub(super) fn connected_in_doubt() -> Self {
        let text = "this manager's clock was wrong when the connection was made";
        Self::unavailable(text).hint("nothing was done; connect again")
    }
    /// What becomes of a proposal that was not applied; `addresses` are those of a
    /// manager.
    pub(super) fn of_proposal(
        error: impl Into<Unproposed>,
        addresses: impl FnOnce(NodeId) -> Vec<String>,
    ) -> Self {
        let error = match error.into() {
            Unproposed::Clock(doubt) => return Self::clock_doubted(doubt),
            Unproposed::Consensus(error) => error,
        };
        match error {
            ProposeError::NotLeader(leader) => {
                Self::not_leader(leader.map(|node| (node, addresses(node))))
            }
            ProposeError::Unknown => Self::unknown(),
            ProposeError::Unfit(why) => Self::bad_input(format!("this can't be recorded: {why}")),
            ProposeError::Stopped(why) => {
                Self::unavailable(format!("this manager is stopping: {why}"))
                    .hint("its log says why; ask another manager")
            }
        }
    }
    /// The caller's exit status.
    #[must_use]
    pub fn exit(&self) -> u8 {
        self.exit
    }
    /// What is wrong, in one line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
    /// What to do; empty where nothing is known.
    #[must_use]
    pub fn advice(&self) -> &str {
        &self.hint
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let leader = problem.leader.as_ref().map(|(node, addresses)| (*node, addresses.as_slice()));
        problem_status(problem.code, problem.exit, &problem.text, &problem.hint, leader)
    }
}

impl From<BadMessage> for Problem {
    fn from(bad: BadMessage) -> Self {
        Self::bad_input(bad.to_string())
    }
}

impl From<NotOne> for Problem {
    fn from(not_one: NotOne) -> Self {
        let text = not_one.to_string();
        match not_one {
            NotOne::NotFound { kind, .. } => Self::refused(text).hint(listing(kind)),
            NotOne::Ambiguous { .. } => Self::refused(text).hint("give more of the id"),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::BadAct | Refusal::Invalid(_) => Self::bad_input(text),
            Refusal::Retired { .. } => Self::retired(),
            Refusal::Busy { .. } => {
                Self::too_often(text).hint("nothing was done; repeat it within a minute")
            }
            Refusal::TooLate => Self::unavailable(text).hint("nothing was done; repeat it"),
            Refusal::AlreadyInitialised => Self::refused(text).hint("skep status"),
            Refusal::NotInitialised => Self::refused(text).hint("skep init"),
            Refusal::Exists { kind: "secret", name } => {
                Self::refused(text).hint(format!("a new value: skep secret update {name}"))
            }
            Refusal::Exists { kind: "service", name } => {
                Self::refused(text).hint(format!("change it: skep service update {name}"))
            }
            Refusal::Exists { kind: "node", name } => Self::refused(text).hint(format!(
                "choose another name; one that an earlier attempt left behind: skep node rm {name}"
            )),
            Refusal::Exists { .. } => Self::refused(text).hint("choose another name"),
            Refusal::NotFound { kind, .. } => Self::refused(text).hint(listing(kind)),
            Refusal::InUse { secret, services } => {
                let service = services.names().first().map_or_else(|| "SERVICE".into(), ToString::to_string);
                Self::refused(text).hint(format!("skep service revoke {service} {secret}"))
            }
            Refusal::VersionInUse { secret, .. } => {
                Self::refused(text).hint(format!("skep secret versions {secret}"))
            }
            Refusal::Conflict { .. } => Self::refused(text).hint("look at it again, then repeat"),
            Refusal::TargetTaken { service, secret, .. } => Self::refused(text)
                .hint(format!("another file name (SECRET:TARGET), or skep service revoke {service} {secret}")),
            Refusal::Limit { .. } => Self::refused(text).hint("remove what is not needed any more"),
            Refusal::Token { .. } => {
                Self::refused(text).hint("make another on a manager: skep join-token worker")
            }
            Refusal::Holds { node, .. } => Self::refused(text).hint(format!(
                "drain it first (skep node update {node} --availability drain), or write off what it holds with --force"
            )),
            Refusal::LastManager { .. } => {
                Self::refused(text).hint("without a manager the cluster's secrets would be lost")
            }
        }
    }
}

/// A span of time for people, in the largest unit of which it has two.
pub(super) fn span(ms: u64) -> String {
    let units = [(86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes")];
    let unit = units.into_iter().find(|(length, _)| ms >= 2 * length);
    let (length, unit) = unit.unwrap_or((1_000, "seconds"));
    // A second more or less makes no day of it.
    format!("{} {unit}", (ms + length / 2) / length)
}

/// The command that shows what there is of a kind.
fn listing(kind: &str) -> &'static str {
    match kind {
        "secret" => "skep secret ls shows the secrets there are",
        "version" => "skep secret versions NAME shows the versions there are",
        "service" => "skep service ls shows the services there are",
        "node" => "skep node ls shows the nodes there are",
        "token" => "skep join-token ls shows the tokens there are",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_client::transport::read_problem;
    use skep_core::domain::Few;

    fn sent(problem: Problem) -> (Code, u32, String) {
        let status = Status::from(problem);
        let read = read_problem(&status).expect("carries a problem");
        (status.code(), read.exit, read.hint)
    }

    #[test]
    fn each_kind_has_its_status() {
        let name = |text: &str| text.parse().expect("a name");
        assert_eq!(sent(Problem::locked()), (Code::FailedPrecondition, 4, "skep unlock".into()));
        let exists = Refusal::Exists { kind: "secret", name: name("db") };
        let (code, exit, hint) = sent(exists.into());
        assert_eq!((code, exit), (Code::FailedPrecondition, 1));
        assert!(hint.contains("skep secret update db"), "{hint}");
        assert_eq!(sent(Refusal::Invalid("mode".into()).into()).1, 2);
        assert_eq!(sent(Refusal::TooLate.into()).1, 3);
        assert_eq!(sent(Problem::unknown()).0, Code::Unknown);
        assert_eq!(sent(Problem::unknown()).1, 6);
        assert_eq!(sent(Problem::retired()).0, Code::Aborted);
        let in_use = Refusal::InUse { secret: name("db"), services: Few::of([name("web")], 1) };
        assert_eq!(sent(in_use.into()).2, "skep service revoke web db");
    }

    #[test]
    fn a_follower_says_who_leads() {
        let leader = NodeId::from_bytes([3; 16]);
        let error = ProposeError::NotLeader(Some(leader));
        let status = Status::from(Problem::of_proposal(error, |_| vec!["m2:4440".into()]));
        let problem = read_problem(&status).expect("carries a problem");
        assert_eq!((status.code(), problem.exit), (Code::Unavailable, 3));
        assert_eq!(problem.leader_id, leader.as_bytes());
        assert_eq!(problem.leader_addresses, ["m2:4440"]);
        let none = Problem::of_proposal(ProposeError::NotLeader(None), |_| Vec::new());
        assert_eq!(none.exit(), 3);
        assert!(none.text().contains("no leader"));
    }
}

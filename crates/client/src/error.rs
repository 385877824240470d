//! What a call to the managers came to when it was not done.

use std::path::PathBuf;
use std::time::Duration;

use humantime::format_duration;
use skep_core::base::{Exit, Failure, limits};
use skep_core::seal::SealError;

use crate::transport::SET_THE_CLOCK;

/// Why a call was not done, or is not known to be. It never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No manager at any address accepted a connection: nothing was done.
    #[error("no manager reached: {}", why_none(.tried))]
    NotReached {
        /// What came of each address, with the address before it.
        tried: Vec<String>,
        /// Whether somebody at one of them said that the manager is locked.
        locked: bool,
        /// Whether one of them has a certificate that is right but for the time, so that a
        /// clock has to be looked at.
        clock: bool,
    },
    /// No manager answers at this socket: nothing was done.
    #[error("no manager reached: {}: {why}", .socket.display())]
    SocketNotReached {
        /// The socket's path.
        socket: PathBuf,
        /// What the system says.
        why: String,
    },
    /// This user may not connect to the manager's socket.
    #[error("{}: permission denied", .socket.display())]
    SocketDenied {
        /// The socket's path.
        socket: PathBuf,
    },
    /// A manager elsewhere is only spoken to with an identity.
    #[error("a manager elsewhere is only spoken to with an identity")]
    NoIdentity,
    /// A manager answered: no, or not now. The words are the manager's.
    #[error("{}", .0.text)]
    Answered(Failure),
    /// The connection broke before a call that changes nothing was answered.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The time was over before anybody was asked: nothing was done.
    #[error("no {} was reached within {}", if *.reached { "leader" } else { "manager" }, format_duration(*.after))]
    NotInTime {
        /// How long it was tried.
        after: Duration,
        /// Whether a manager was reached, which named no leader.
        reached: bool,
    },
    /// A manager took a call that changes nothing, and did not answer in time.
    #[error("no answer within {}", format_duration(*.0))]
    NoAnswer(Duration),
    /// It may have been done.
    #[error("the outcome is unknown: {why}")]
    Unknown {
        /// Why it is not known.
        why: String,
        /// How a person finds out, in the caller's words.
        look: String,
    },
    /// The manager is of another cluster than the identity.
    #[error("this manager is of another cluster")]
    OtherCluster,
    /// What a manager sent is unsound.
    #[error("the manager's {0} is malformed")]
    Malformed(&'static str),
    /// A manager sent pages of a list without end.
    #[error("the list does not end")]
    EndlessList,
    /// There is no such thing.
    #[error("{kind} {what} not found")]
    NotFound {
        /// `secret`, `service`, `node`, `join token`.
        kind: &'static str,
        /// What was asked for.
        what: String,
    },
    /// What was asked for is the beginning of several ids.
    #[error("{kind} {what} is ambiguous ({matches} matches found)")]
    Ambiguous {
        /// `secret`, `service`, `node`, `join token`.
        kind: &'static str,
        /// What was asked for.
        what: String,
        /// How many there are.
        matches: usize,
    },
    /// What was asked for is only the beginning of an id.
    #[error("{kind} {what} not found")]
    NotExact {
        /// `secret`, `service`, `node`, `join token`.
        kind: &'static str,
        /// What was asked for.
        what: String,
    },
    /// More changes than one act holds.
    #[error("{0} changes in one act: at most {most}", most = limits::CHANGES)]
    TooManyChanges(usize),
    /// A value was not sealed: nothing was sent.
    #[error("the value was not sealed: what was sealed {0}")]
    NotSealed(SealError),
    /// A broken invariant of ours.
    #[error("{0}")]
    Bug(&'static str),
}

fn why_none(tried: &[String]) -> String {
    if tried.is_empty() { "no address is known".to_owned() } else { tried.join("; ") }
}

impl CallError {
    /// What a process ends with that can't go on without the call.
    /// [`Exit::Unreachable`]: nothing was done; [`Exit::Unknown`]: it may have been done.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotReached { .. }
            | Self::SocketNotReached { .. }
            | Self::Broken(_)
            | Self::NotInTime { .. }
            | Self::NoAnswer(_) => Exit::Unreachable,
            Self::Answered(failure) => failure.exit,
            Self::Unknown { .. } => Exit::Unknown,
            Self::NoIdentity | Self::TooManyChanges(_) => Exit::Usage,
            Self::SocketDenied { .. }
            | Self::OtherCluster
            | Self::Malformed(_)
            | Self::EndlessList
            | Self::NotFound { .. }
            | Self::Ambiguous { .. }
            | Self::NotExact { .. } => Exit::Refused,
            Self::NotSealed(_) | Self::Bug(_) => Exit::Bug,
        }
    }

    /// The failure that a process ends with: the text is its own, the hint is what helps a
    /// person who typed a command.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let mut failure = Failure::new(self.exit(), self);
        let hint = match self {
            Self::Answered(answered) => {
                failure.hint.clone_from(&answered.hint);
                None
            }
            Self::NotReached { clock: true, .. } => {
                Some(format!("{SET_THE_CLOCK}; nothing was done"))
            }
            Self::NotReached { locked: true, .. } => Some(
                "`skep unlock` on its machine; --host or SKEP_HOST names others; nothing was done"
                    .to_owned(),
            ),
            Self::NotReached { .. } => {
                Some("--host or SKEP_HOST names others; nothing was done".to_owned())
            }
            Self::SocketNotReached { .. } => {
                Some("is `skep manager run` running here? Else: --host and --identity".to_owned())
            }
            Self::SocketDenied { .. } => Some(
                "run it as root or as the manager's user, or show an identity with --identity"
                    .to_owned(),
            ),
            Self::NoIdentity => Some("give --identity FILE or SKEP_IDENTITY".to_owned()),
            Self::NotInTime { .. } => Some(
                "nothing was done; --timeout gives it longer, --host names other managers"
                    .to_owned(),
            ),
            Self::NoAnswer(_) => {
                Some("--timeout gives it longer; --host names other managers".to_owned())
            }
            Self::Unknown { look, .. } => {
                Some(format!("it may have been done: look with `{look}` before you repeat it"))
            }
            Self::OtherCluster => {
                Some("the identity names the cluster's fingerprint; check --host".to_owned())
            }
            Self::NotFound { kind, .. } => {
                Some(format!("`skep {} ls` lists all", kind.replace(' ', "-")))
            }
            Self::Ambiguous { .. } => Some("give the full name or id".to_owned()),
            Self::NotExact { .. } => {
                Some("this takes the full name or id, not the beginning of one".to_owned())
            }
            Self::TooManyChanges(_) => Some("do it in several commands".to_owned()),
            Self::NotSealed(_) => {
                Some("nothing was sent; this machine's memory may be faulty".to_owned())
            }
            Self::Broken(_) | Self::Malformed(_) | Self::EndlessList | Self::Bug(_) => None,
        };
        if hint.is_some() {
            failure.hint = hint;
        }
        failure
    }

    pub(crate) fn unknown(why: &str, look: &str) -> Self {
        // A manager that doesn't know says so in the same words.
        let why = why.strip_prefix("the outcome is unknown: ").unwrap_or(why);
        Self::Unknown { why: why.to_owned(), look: look.to_owned() }
    }
}

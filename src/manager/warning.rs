//! What in a status deserves attention, and how each is told.
//!
//! Each has a code that scripts may read; docs/operate/warnings.md says of each what to do.

use std::fmt;
use std::path::PathBuf;

use crate::manager::problem::{self, span};
use crate::manager::steady::Doubt;
use skep_client::transport::Problem;
use skep_core::base::limits;
use skep_core::wire::api;

/// What deserves attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Warning {
    /// No majority is reached.
    NoQuorum,
    /// The manager of this name has not answered for a while.
    ManagerUnreachable(String),
    /// One more loss stops all changes.
    NoLossToSpare,
    /// Milliseconds by which the majority's clocks are ahead of this manager's.
    ClockOff(i64),
    /// This manager's clock was set.
    ClockStepped(Doubt),
    /// Milliseconds by which this manager's clock is ahead of the leader's.
    ClockDrifts(i64),
    /// Milliseconds by which the cluster's time is ahead of this manager's clock.
    TimeAhead(u64),
    /// A certificate ends in so many days.
    CertificateEnds(Certificate, u64),
    /// This manager's certificate is past its end.
    CertificateEnded,
    /// The cluster key of this number is not open here.
    ClusterKeyClosed(u64),
    /// Pairs of node and service that have not confirmed what was taken from them.
    Pending(u64),
    /// The leader does not answer.
    LeaderSilent,
    /// This manager's disk was put back: who remembers what it lacks, where that is known.
    RolledBack(Option<String>),
    /// No unlock key file opens this manager.
    LockedByOperator,
    /// Bytes of the state, which is nearly as large as it may be.
    StateFull(u64),
    /// So little room is left that only removals are admitted.
    DiskFull,
    /// Bytes that are free on the disk.
    DiskLow(u64),
    /// An `init` died before its end, in this data folder.
    InitUnfinished(PathBuf),
}

/// Whose end is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Certificate {
    /// This manager's own.
    Manager,
    /// The issuing CA's.
    Issuing,
    /// The root CA's.
    Root,
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manager => "manager",
            Self::Issuing => "issuing CA",
            Self::Root => "root CA",
        })
    }
}

impl Warning {
    /// What scripts read.
    fn code(&self) -> &'static str {
        match self {
            Self::NoQuorum => "no-quorum",
            Self::ManagerUnreachable(_) => "manager-unreachable",
            Self::NoLossToSpare => "no-loss-to-spare",
            Self::ClockOff(_) => "clock-off",
            Self::ClockStepped(_) => "clock-stepped",
            Self::ClockDrifts(_) => "clock-drifts",
            Self::TimeAhead(_) => "time-ahead",
            Self::CertificateEnds(..) => "certificate-ends",
            Self::CertificateEnded => "certificate-ended",
            Self::ClusterKeyClosed(_) => "cluster-key-closed",
            Self::Pending(_) => "pending",
            Self::LeaderSilent => "leader-silent",
            Self::RolledBack(_) => "rolled-back",
            Self::LockedByOperator => "locked-by-operator",
            Self::StateFull(_) => "state-full",
            Self::DiskFull => "disk-full",
            Self::DiskLow(_) => "disk-low",
            Self::InitUnfinished(_) => "init-unfinished",
        }
    }

    /// The warning as it is sent.
    pub(in crate::manager) fn tell(&self) -> api::Warning {
        let (text, hint) = self.words();
        api::Warning { code: self.code().to_owned(), text, hint }
    }

    fn words(&self) -> (String, String) {
        let told = |problem: Problem| (problem.text, problem.hint);
        let (text, hint) = match self {
            Self::NoQuorum => (
                "no majority of the managers can be reached: nothing can be changed".to_owned(),
                "start or unlock the other managers",
            ),
            Self::ManagerUnreachable(name) => (
                format!("manager {name} is not reached"),
                "start or unlock it; gone for good: skep node rm",
            ),
            Self::NoLossToSpare => (
                "the loss of one more manager stops all changes".to_owned(),
                "bring managers back, or add one: skep join",
            ),
            Self::ClockOff(off) => return told(problem::clock_off(*off)),
            Self::ClockStepped(doubt) => return told(problem::clock_doubted(*doubt)),
            Self::ClockDrifts(ahead) => {
                let which = if *ahead > 0 { "ahead of" } else { "behind" };
                let seconds = ahead.unsigned_abs() / 1000;
                (
                    format!("this manager's clock is {seconds} s {which} the leader's"),
                    "see why its machine's clock is not kept right (chrony, ntpd)",
                )
            }
            Self::TimeAhead(ahead) => (
                format!("the cluster's time is {} ahead of this manager's clock", span(*ahead)),
                "if the clocks are right: skep cluster reset-time; join tokens and answers end \
                 early",
            ),
            Self::CertificateEnds(which, days) => (
                format!("the certificate of the {which} ends in {days} days"),
                match which {
                    Certificate::Manager => {
                        "remove this manager and let it join anew in time: its certificate isn't \
                         renewed"
                    }
                    Certificate::Issuing | Certificate::Root => {
                        "a new cluster must take this one's place in time: a CA isn't renewed"
                    }
                },
            ),
            Self::CertificateEnded => return told(problem::expired()),
            Self::ClusterKeyClosed(number) => (
                format!("cluster key {number} is not open on this manager"),
                "its log says why; it can't lead a write until then",
            ),
            Self::Pending(pairs) => (
                format!(
                    "{pairs} pairs of node and service have not confirmed what was taken from \
                     them"
                ),
                "skep node ls; a node that is gone for good: skep node rm --force",
            ),
            Self::LeaderSilent => (
                "the leader does not answer: how the other managers are is not known here"
                    .to_owned(),
                "repeat it; if it stays: skep status on the other managers",
            ),
            Self::RolledBack(lacks) => {
                let problem = problem::rolled_back();
                return (lacks.clone().unwrap_or(problem.text), problem.hint);
            }
            Self::LockedByOperator => (
                "an operator locked this manager: no unlock key file opens it".to_owned(),
                "skep unlock",
            ),
            Self::StateFull(bytes) => (
                format!("the state has {} MiB of {}", bytes >> 20, limits::STATE_BYTES >> 20),
                "remove secrets or versions that are not needed any more",
            ),
            Self::DiskFull => (
                "this manager's disk is nearly full: where it leads, only removals are admitted"
                    .to_owned(),
                "make room on it, or: skep manager step-down",
            ),
            Self::DiskLow(free) => (
                format!("{} MiB are free on the manager's disk", free >> 20),
                "make room: the first failed write ends the manager",
            ),
            Self::InitUnfinished(folder) => return told(problem::init_unfinished(folder)),
        };
        (text, hint.to_owned())
    }
}

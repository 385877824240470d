//! What in a status deserves attention, and how each is told.
//!
//! Each has a code; docs/operate/warnings.md says of each what to do.

use std::path::PathBuf;

use crate::manager::problem::{self, span};
use crate::manager::steady::Doubt;
use skep_client::transport::Problem;
use skep_core::base::{OperatorId, Stamp, limits};
use skep_core::wire::api::{self, CertificateHolder, WarningCode};

/// What deserves attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Warning {
    /// No majority is reached.
    NoQuorum,
    /// The manager of this name has not answered for a while.
    ManagerUnreachable(String),
    /// Where the others look for this manager, and where it is.
    Moved(String, String),
    /// One more loss stops all changes.
    NoLossToSpare,
    /// So many managers vote, which is an even number.
    EvenVoters(usize),
    /// Another machine uses the identity of the worker of this name: when and from where.
    IdentityCopied(String, String),
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
    /// Milliseconds for which the issuing CA has been being replaced, and nodes in touch that
    /// have not renewed.
    IssuerRotating(u64, usize),
    /// This manager's certificate is past its end, and there is no other for it.
    CertificateEnded,
    /// The certificate of another member ends in so many days, and it has not renewed it.
    MemberEnds(Holder, u64),
    /// The certificate of another member is past its end.
    MemberEnded(Holder),
    /// More members whose certificates end soon or have ended.
    MoreMembersEnd(u64),
    /// The same of one that is locked: once it is unlocked it has another.
    EndedWhileLocked,
    /// The cluster key of this number is not open here.
    ClusterKeyClosed(u64),
    /// Pairs of node and service that have not confirmed what was taken from them.
    Pending(u64),
    /// A worker is down: its name, and since when.
    WorkerDown(String, String),
    /// More workers that are down.
    MoreWorkersDown(u64),
    /// A delivery that is not done: what, and why.
    DeliveryLags(String, String),
    /// One that was tried and failed: what, and why.
    DeliveryFailed(String, String),
    /// A set is in place, and what was to be done then failed: node, service, and why.
    HookFailed(String, String, String),
    /// More deliveries that are not done.
    MoreDeliveriesLag(u64),
    /// The cluster was recovered: its epoch since, and the revision that was kept.
    Recovered(u64, u64),
    /// An unlock key made this operator, at that time.
    OperatorRecovered(String, Stamp),
    /// Another manager is of a later history of this cluster: its epoch.
    OtherHistory(u64),
    /// The leader does not answer.
    LeaderSilent,
    /// This manager's disk was put back: who remembers what it lacks, where that is known.
    RolledBack(Option<String>),
    /// It was removed from the cluster, and its data is still here.
    Removed,
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
    /// Why the audit log can't be written.
    AuditFailing(String),
    /// Acts since the start that have no line in it.
    AuditLost(u64),
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

/// Another member whose certificate ends, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Holder {
    /// A node.
    Node(String),
    /// An operator, and its id.
    Operator(String, OperatorId),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::Operator(name, _) => write!(f, "operator {name}"),
        }
    }
}

fn at_time(at: Stamp) -> String {
    super::delivery::written(at).map_or_else(String::new, |at| format!(" at {at}"))
}

impl From<Certificate> for CertificateHolder {
    fn from(of: Certificate) -> Self {
        match of {
            Certificate::Manager => Self::Manager,
            Certificate::Issuing => Self::Issuing,
            Certificate::Root => Self::Root,
        }
    }
}

impl Warning {
    fn code(&self) -> WarningCode {
        match self {
            Self::NoQuorum => WarningCode::NoQuorum,
            Self::ManagerUnreachable(_) => WarningCode::ManagerUnreachable,
            Self::Moved(..) => WarningCode::AddressNotOnRecord,
            Self::NoLossToSpare => WarningCode::NoLossToSpare,
            Self::EvenVoters(_) => WarningCode::EvenVoters,
            Self::IdentityCopied(..) => WarningCode::IdentityCopied,
            Self::ClockOff(_) => WarningCode::ClockOff,
            Self::ClockStepped(_) => WarningCode::ClockStepped,
            Self::ClockDrifts(_) => WarningCode::ClockDrifts,
            Self::TimeAhead(_) => WarningCode::TimeAhead,
            Self::CertificateEnds(..) | Self::MemberEnds(..) | Self::MoreMembersEnd(_) => {
                WarningCode::CertificateEnds
            }
            Self::IssuerRotating(..) => WarningCode::IssuerRotating,
            Self::CertificateEnded | Self::EndedWhileLocked | Self::MemberEnded(_) => {
                WarningCode::CertificateEnded
            }
            Self::ClusterKeyClosed(_) => WarningCode::ClusterKeyClosed,
            Self::Pending(_) => WarningCode::Pending,
            Self::WorkerDown(..) | Self::MoreWorkersDown(_) => WarningCode::WorkerDown,
            Self::DeliveryLags(..) | Self::MoreDeliveriesLag(_) => WarningCode::DeliveryLags,
            Self::DeliveryFailed(..) => WarningCode::DeliveryFailed,
            Self::HookFailed(..) => WarningCode::HookFailed,
            Self::Recovered(..) => WarningCode::Recovered,
            Self::OperatorRecovered(..) => WarningCode::OperatorRecovered,
            Self::OtherHistory(_) => WarningCode::OtherHistory,
            Self::LeaderSilent => WarningCode::LeaderSilent,
            Self::RolledBack(_) => WarningCode::RolledBack,
            Self::Removed => WarningCode::Removed,
            Self::LockedByOperator => WarningCode::LockedByOperator,
            Self::StateFull(_) => WarningCode::StateFull,
            Self::DiskFull => WarningCode::DiskFull,
            Self::DiskLow(_) => WarningCode::DiskLow,
            Self::InitUnfinished(_) => WarningCode::InitUnfinished,
            Self::AuditFailing(_) => WarningCode::AuditFailing,
            Self::AuditLost(_) => WarningCode::AuditLost,
        }
    }

    /// Whether it names another member than a manager that votes.
    pub(in crate::manager) fn names_a_member(&self) -> bool {
        matches!(
            self,
            Self::MemberEnds(..)
                | Self::MemberEnded(_)
                | Self::IdentityCopied(..)
                | Self::OperatorRecovered(..)
        )
    }

    /// The warning as it is sent.
    pub(in crate::manager) fn tell(&self) -> api::Warning {
        let (text, hint) = self.told();
        api::Warning { code: self.code().into(), text, hint }
    }

    fn told(&self) -> (String, String) {
        let of = |problem: Problem| (problem.text, problem.hint);
        let (text, hint) = match self {
            Self::NoQuorum => (
                "no majority of the managers can be reached: nothing can be changed".to_owned(),
                "start or unlock the other managers",
            ),
            Self::ManagerUnreachable(name) => (
                format!("manager {name} is not reached"),
                "start or unlock it; gone for good: `skep node rm NAME`",
            ),
            Self::Moved(from, to) => (
                format!("the other managers look for this one at {from}, and it is at {to}"),
                "it tells them as soon as it reaches one that knows a leader; where all have \
                 moved: give them their old addresses, then move one after the other",
            ),
            Self::NoLossToSpare => (
                "the loss of one more manager stops all changes".to_owned(),
                "bring managers back, or `skep join --token-file FILE HOST:PORT`",
            ),
            Self::EvenVoters(voters) => (
                format!("{voters} managers vote, and bear no more losses than {} do", voters - 1),
                "let one more join, or remove one; one that is to read alone: `skep join --learner \
                 --token-file FILE HOST:PORT`",
            ),
            Self::IdentityCopied(name, told) => (
                format!("another machine uses the identity of worker {name}: {told}"),
                "it is refused; give it its own: stop its agent, remove that agent's data \
                 directory, and start it with a token of `skep join-token worker`",
            ),
            Self::ClockOff(off) => return of(problem::clock_off(*off)),
            Self::ClockStepped(doubt) => return of(problem::clock_doubted(*doubt)),
            Self::ClockDrifts(ahead) => {
                let which = if *ahead > 0 { "ahead of" } else { "behind" };
                let seconds = ahead.unsigned_abs() / 1000;
                (
                    format!("this manager's clock is {seconds} s {which} the leader's"),
                    "see why its machine's clock is not kept right (chrony, ntpd)",
                )
            }
            Self::TimeAhead(ahead) => (
                format!("this manager's clock is {} behind the cluster's time", span(*ahead)),
                "set the clock of its machine (`timedatectl`); where it is right, the cluster's \
                 time is wrong, and join tokens and answers end early: `skep cluster reset-time`",
            ),
            Self::CertificateEnds(which, days) => (
                format!("the certificate of the {} ends in {days} days", words(*which)),
                match which {
                    Certificate::Manager => {
                        "it should have been renewed by now: this manager's log says why it wasn't"
                    }
                    Certificate::Issuing => "`skep ca rotate` puts another in its place",
                    Certificate::Root => {
                        "a new cluster must take this one's place in time: a root isn't replaced"
                    }
                },
            ),
            Self::IssuerRotating(ms, nodes) => (
                format!(
                    "the issuing CA has been being replaced for {}: {nodes} nodes in touch have \
                     not renewed",
                    span(*ms)
                ),
                "`skep ca show` names them; see their logs",
            ),
            Self::CertificateEnded => return of(problem::expired()),
            Self::MemberEnds(who, days) => (
                format!("the certificate of {who} ends in {days} days, and was not renewed"),
                match who {
                    Holder::Node(_) => {
                        "it is renewed as soon as it is in touch with the leader: see its log"
                    }
                    Holder::Operator(..) => {
                        "the next command that uses the identity renews it, where it may write the file"
                    }
                },
            ),
            Self::MemberEnded(who) => {
                let hint = match who {
                    Holder::Node(name) => format!(
                        "bring it in touch with the leader: it renews it by itself within 30 days \
                         of its end; after that: `skep node readmit {name}`"
                    ),
                    Holder::Operator(_, id) => format!(
                        "the next command that uses the identity renews it, within 30 days of its \
                         end; after that: `skep operator renew {id}`"
                    ),
                };
                return (format!("the certificate of {who} has ended"), hint);
            }
            Self::MoreMembersEnd(more) => (
                format!("the certificates of {more} more members end soon or have ended"),
                "`skep node ls --format json` shows when each ends",
            ),
            Self::EndedWhileLocked => (
                "this manager's certificate has ended: it is renewed when the manager is unlocked"
                    .to_owned(),
                "skep unlock",
            ),
            Self::ClusterKeyClosed(number) => (
                format!("cluster key {number} is not open on this manager"),
                "its log says why; it can't lead a write until then",
            ),
            Self::Pending(pairs) => (
                format!(
                    "{pairs} {} of node and service did not confirm what was taken",
                    if *pairs == 1 { "pair" } else { "pairs" }
                ),
                "`skep node ls` shows them; one that is gone for good: `skep node rm NAME --force`",
            ),
            Self::WorkerDown(name, why) => (
                format!("worker {name} is down: {why}"),
                "start its agent or its machine; gone for good: `skep node rm --force NODE`",
            ),
            Self::MoreWorkersDown(more) => {
                (format!("{more} more workers are down"), "`skep node ls`")
            }
            Self::DeliveryLags(what, why) => (
                format!("{what}: {why}"),
                "it is delivered when the node is in touch; `skep secret holders NAME` shows who has what",
            ),
            Self::DeliveryFailed(what, why) => (
                format!("{what}: {why}"),
                "see its agent's log; it is tried again, and nothing else waits for it",
            ),
            Self::HookFailed(node, service, why) => (
                format!("node {node} has the set of service {service}, and {why}"),
                "see its agent's log; it runs again with the next change of the set",
            ),
            Self::MoreDeliveriesLag(more) => (
                format!("{more} more deliveries are not done"),
                "`skep secret holders NAME` shows who has what",
            ),
            Self::Recovered(epoch, revision) => (
                format!(
                    "the cluster was recovered as of revision {revision}, epoch {epoch}: nothing \
                     is delivered, and nothing taken away, until it is resumed"
                ),
                "`skep cluster resume` on a manager's machine shows what was dropped, and asks",
            ),
            Self::OperatorRecovered(name, at) => (
                format!("an unlock key made operator {name}{}", at_time(*at)),
                "was that meant so? Else `skep operator rm NAME`, and see who has unlock keys",
            ),
            Self::OtherHistory(epoch) => (
                format!(
                    "the cluster was recovered without this manager, as epoch {epoch}: it goes on \
                     there once that is resumed, and this manager ends then"
                ),
                "`skep leave --force`, then join anew; or don't resume the other one",
            ),
            Self::LeaderSilent => (
                "the leader does not answer: how the other managers are is not known here"
                    .to_owned(),
                "repeat it; if it stays: `skep status` on the other managers",
            ),
            Self::RolledBack(lacks) => {
                let problem = problem::rolled_back();
                return (lacks.clone().unwrap_or(problem.text), problem.hint);
            }
            Self::Removed => return of(problem::life::removed()),
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
                "make room on it, or: `skep manager step-down`",
            ),
            Self::DiskLow(free) => (
                format!("{} MiB are free on the manager's disk", free >> 20),
                "make room: the first failed write ends the manager",
            ),
            Self::InitUnfinished(folder) => return of(problem::init_unfinished(folder)),
            Self::AuditFailing(why) => (
                format!("the audit log of this manager can't be written: {why}"),
                "make room on its disk: until then it does nothing that it would have to record",
            ),
            Self::AuditLost(count) => (
                format!("{count} acts since this manager's start have no line in its audit log"),
                "see why its disk failed; its audit log says how many were lost: `skep audit ls`",
            ),
        };
        (text, hint.to_owned())
    }
}

fn words(of: Certificate) -> &'static str {
    match of {
        Certificate::Manager => "manager",
        Certificate::Issuing => "issuing CA",
        Certificate::Root => "root CA",
    }
}

/// `node db3 has version 1 of file db-password of service web, and should have 2`
pub(in crate::manager) fn what_lags(lagging: &api::Lagging) -> String {
    let (node, service, file) = (&lagging.node_name, &lagging.service_name, &lagging.file);
    match (lagging.version, lagging.wanted) {
        (_, 0) => format!("node {node} has not the set of service {service} that is due"),
        (0, wanted) => {
            format!("node {node} has not file {file} of service {service}, version {wanted}")
        }
        (version, wanted) => format!(
            "node {node} has version {version} of file {file} of service {service}, and should \
             have {wanted}"
        ),
    }
}

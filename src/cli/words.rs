//! The words for states and roles, in tables and in JSON: scripts compare them.

use std::collections::BTreeMap;

use skep_core::domain;
use skep_core::wire::api::{
    Activation, Availability, CertificateHolder, HolderState, ManagerStanding, ManagerState, Mount,
    NodeRole, NodeState, OperatorRole, Reader, StatusReply, WarningCode,
};
use skep_core::wire::local::{AgentState, ServiceState};

/// How an agent stands with its cluster.
pub(super) fn agent_state(state: AgentState) -> &'static str {
    match state {
        AgentState::Unspecified => "unknown",
        AgentState::Joining => "joining",
        AgentState::Connected => "connected",
        AgentState::Offline => "offline",
        AgentState::Refused => "refused",
    }
}

/// What there is of a service on a machine.
pub(super) fn service_state(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Unspecified => "unknown",
        ServiceState::Idle => "idle",
        ServiceState::Waiting => "waiting",
        ServiceState::InPlace => "in-place",
        ServiceState::Failed => "failed",
    }
}

/// What a node is.
pub(super) fn role(of: NodeRole) -> &'static str {
    match of {
        NodeRole::Unspecified => "unknown",
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    }
}

/// What an operator may do.
pub(super) fn operator_role(of: OperatorRole) -> &'static str {
    match of {
        OperatorRole::Unspecified => "unknown",
        OperatorRole::Admin => "admin",
        OperatorRole::Editor => "editor",
        OperatorRole::Viewer => "viewer",
        OperatorRole::Auditor => "auditor",
    }
}

/// The same as it is typed.
pub(super) fn read_operator_role(text: &str) -> Option<domain::OperatorRole> {
    match text {
        "admin" => Some(domain::OperatorRole::Admin),
        "editor" => Some(domain::OperatorRole::Editor),
        "viewer" => Some(domain::OperatorRole::Viewer),
        "auditor" => Some(domain::OperatorRole::Auditor),
        _ => None,
    }
}

/// How a node does.
pub(super) fn node_state(of: NodeState) -> &'static str {
    match of {
        NodeState::Unspecified => "unknown",
        NodeState::Ready => "ready",
        NodeState::Paused => "paused",
        NodeState::Drained => "drained",
        NodeState::Down => "down",
    }
}

/// Whether a node gets services.
pub(super) fn availability(of: Availability) -> &'static str {
    match of {
        Availability::Unspecified => "unknown",
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    }
}

/// Where a service's files stand.
pub(super) fn mount(of: Mount) -> &'static str {
    match of {
        Mount::Unspecified => "unknown",
        Mount::Tmpfs => "tmpfs",
        Mount::Fuse => "fuse",
    }
}

/// When a node gets a service's files.
pub(super) fn activation(of: Activation) -> &'static str {
    match of {
        Activation::Unspecified => "unknown",
        Activation::Running => "running",
        Activation::Placed => "placed",
    }
}

/// Whether a node holds a secret.
pub(super) fn holder_state(of: HolderState) -> &'static str {
    match of {
        HolderState::Unspecified => "unknown",
        HolderState::Held => "held",
        HolderState::Pending => "pending",
        HolderState::Failed => "failed",
    }
}

/// Who opened a file.
pub(super) fn reader(of: Reader) -> &'static str {
    match of {
        Reader::Unspecified => "unknown",
        Reader::Workload => "workload",
        Reader::Host => "host",
        Reader::ByHand => "by hand",
        Reader::Refused => "refused",
    }
}

/// What a manager does.
pub(super) fn manager_state(of: ManagerState) -> &'static str {
    match of {
        ManagerState::Unspecified => "unknown",
        ManagerState::New => "new",
        ManagerState::Locked => "locked",
        ManagerState::Joining => "joining",
        ManagerState::Follower => "follower",
        ManagerState::Learner => "learner",
        ManagerState::Leader => "leader",
        ManagerState::NoQuorum => "no-quorum",
        ManagerState::RolledBack => "rolled-back",
        ManagerState::Expired => "expired",
        ManagerState::Removed => "removed",
    }
}

/// Whose certificate it is.
pub(super) fn certificate(of: CertificateHolder) -> &'static str {
    match of {
        CertificateHolder::Unspecified => "unknown",
        CertificateHolder::Manager => "manager",
        CertificateHolder::Issuing => "issuing CA",
        CertificateHolder::Root => "root CA",
    }
}

/// What deserves attention; docs/operate/warnings.md has a line for each.
pub(super) fn warning(of: WarningCode) -> &'static str {
    match of {
        WarningCode::Unspecified => "unknown",
        WarningCode::NoQuorum => "no-quorum",
        WarningCode::EvenVoters => "even-voters",
        WarningCode::IdentityCopied => "identity-copied",
        WarningCode::ManagerUnreachable => "manager-unreachable",
        WarningCode::NoLossToSpare => "no-loss-to-spare",
        WarningCode::ClockOff => "clock-off",
        WarningCode::Recovered => "recovered",
        WarningCode::OperatorRecovered => "operator-recovered",
        WarningCode::OtherHistory => "other-history",
        WarningCode::ClockStepped => "clock-stepped",
        WarningCode::ClockDrifts => "clock-drifts",
        WarningCode::TimeAhead => "time-ahead",
        WarningCode::CertificateEnds => "certificate-ends",
        WarningCode::CertificateEnded => "certificate-ended",
        WarningCode::ClusterKeyClosed => "cluster-key-closed",
        WarningCode::Pending => "pending",
        WarningCode::LeaderSilent => "leader-silent",
        WarningCode::RolledBack => "rolled-back",
        WarningCode::LockedByOperator => "locked-by-operator",
        WarningCode::StateFull => "state-full",
        WarningCode::DiskFull => "disk-full",
        WarningCode::DiskLow => "disk-low",
        WarningCode::InitUnfinished => "init-unfinished",
        WarningCode::AuditFailing => "audit-failing",
        WarningCode::AuditLost => "audit-lost",
        WarningCode::Removed => "removed",
        WarningCode::AddressNotOnRecord => "address-not-on-record",
        WarningCode::WorkerDown => "worker-down",
        WarningCode::DeliveryLags => "delivery-lags",
        WarningCode::DeliveryFailed => "delivery-failed",
        WarningCode::HookFailed => "hook-failed",
        WarningCode::IssuerRotating => "issuer-rotating",
    }
}

/// A manager's place in consensus; nothing for a worker.
pub(super) fn manager_standing(of: ManagerStanding) -> &'static str {
    match of {
        ManagerStanding::Unspecified => "",
        ManagerStanding::Leader => "leader",
        ManagerStanding::Follower => "follower",
        ManagerStanding::Learner => "learner",
        ManagerStanding::Unreachable => "unreachable",
    }
}

/// How the keys of the connections to managers were agreed on, a line for each way.
pub(super) fn peers(reply: &StatusReply) -> Vec<(&'static str, String)> {
    let mut by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for voter in reply.voters.iter().filter(|voter| !voter.key_exchange.is_empty()) {
        by.entry(&voter.key_exchange).or_default().push(&voter.name);
    }
    let line = |(by, names): (&str, Vec<&str>)| format!("keys by {by}: {}", names.join(", "));
    by.into_iter().map(|by| ("peers", line(by))).collect()
}

/// `12 ms ahead of the leader's`
pub(super) fn clock(ahead_ms: i64) -> String {
    let which = if ahead_ms < 0 { "behind" } else { "ahead of" };
    format!("{} {which} the leader's", span(ahead_ms.unsigned_abs()))
}

/// `until 2026-05-28T20:26:40Z`, of a certificate that ends then.
pub(super) fn until(ends: u64) -> String {
    format!("until {}", super::render::time(ends).as_str().unwrap_or("-"))
}

/// Milliseconds, as short as they can be read.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_say_of_every_warning_what_to_do() {
        let docs = include_str!("../../docs/operate/warnings.md");
        let codes: Vec<_> = (1..).map_while(|code| WarningCode::try_from(code).ok()).collect();
        assert!(codes.contains(&WarningCode::InitUnfinished), "{codes:?}");
        for code in codes {
            let row = format!("| `{}` |", warning(code));
            assert!(docs.contains(&row), "no row for {row}");
        }
    }

    #[test]
    fn spans_are_short() {
        let all = [0, 9_999, 10_000, 119_999, 120_000, 7_200_000].map(span);
        assert_eq!(all, ["0 ms", "9999 ms", "10 s", "119 s", "2 min", "2 h"]);
        assert_eq!(clock(-30_000), "30 s behind the leader's");
    }
}

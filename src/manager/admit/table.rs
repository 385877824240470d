//! Every method that a manager serves: what the policy calls it, and how large it may
//! be. What is not in this table is not served.

use skep_core::base::limits;
use skep_core::domain::Method;

const KIB: usize = 1024;
/// Bytes of a request that says at most whom or what it is about.
const SMALL: usize = 4 * KIB;
/// Bytes of a request with certificates, labels or addresses in it.
const MIDDLE: usize = 64 * KIB;
/// Bytes of a request that names services and nodes: 18 each, at their limits.
const NAMES: usize = 18 * (limits::SERVICES + limits::NODES);
/// Bytes of an act: the largest, and its frame.
pub(in crate::manager) const ACT: usize = limits::CHANGE_BYTES + 64 * KIB;
/// Bytes of what an agent says at once: a hello that names everything that a node at
/// the limits could have.
pub(in crate::manager) const AGENT: usize = 4 * 1024 * KIB;
/// Bytes of a message of Raft (`consensus` says the same to its own clients).
const RAFT: usize = 16 * 1024 * KIB;
/// Bytes of a page, and of the thing with which it is full.
const PAGE: usize = 2 * 1024 * KIB + 64 * KIB;

/// By what it is known who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The state lists the certificate, or the kernel says which user it is.
    State,
    /// Its certificate alone: whoever is behind doesn't know all members, and consensus
    /// looks more closely itself.
    Certificate,
}

/// One method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) path: &'static str,
    pub(super) method: Method,
    pub(super) by: By,
    /// The most bytes of one message of the request.
    pub(super) message: usize,
    /// The bytes that an answer may need until the caller has taken it.
    pub(super) reply: usize,
    /// Whether the request is a stream of messages.
    pub(super) stream: bool,
}

const fn row(path: &'static str, method: Method, message: usize, reply: usize) -> Row {
    Row { path, method, by: By::State, message, reply, stream: false }
}

const fn raft(path: &'static str, message: usize) -> Row {
    Row { by: By::Certificate, ..row(path, Method::Raft, message, SMALL) }
}

/// What is asked for by a stream has an answer whose bytes are counted elsewhere.
const fn stream(row: Row) -> Row {
    Row { stream: true, reply: 0, ..row }
}

pub(super) const TABLE: &[Row] = &[
    row("/skep.api.v1.Control/Status", Method::Status, SMALL, MIDDLE),
    row("/skep.api.v1.Control/PrepareInit", Method::Init, SMALL, MIDDLE),
    row("/skep.api.v1.Control/CommitInit", Method::Init, MIDDLE, MIDDLE),
    row("/skep.api.v1.Control/JoinCluster", Method::Enter, MIDDLE, SMALL),
    row("/skep.api.v1.Control/LeaveCluster", Method::Leave, SMALL, SMALL),
    raft("/skep.api.v1.Control/Belonging", SMALL),
    row("/skep.api.v1.Control/Move", Method::Raft, MIDDLE, SMALL),
    row("/skep.api.v1.Control/UnlockHeader", Method::Unlock, SMALL, MIDDLE),
    row("/skep.api.v1.Control/Unlock", Method::Unlock, SMALL, SMALL),
    row("/skep.api.v1.Control/Lock", Method::Lock, SMALL, SMALL),
    row("/skep.api.v1.Control/Repair", Method::Repair, MIDDLE, SMALL),
    row("/skep.api.v1.Control/MoveManager", Method::WriteNodes, MIDDLE, SMALL),
    row("/skep.api.v1.Control/StepDown", Method::StepDown, SMALL, SMALL),
    row("/skep.api.v1.Control/ResetTime", Method::ResetTime, SMALL, SMALL),
    row("/skep.api.v1.Control/PrepareIssuer", Method::RotateIssuer, SMALL, MIDDLE),
    row("/skep.api.v1.Control/CommitIssuer", Method::RotateIssuer, MIDDLE, SMALL),
    row("/skep.api.v1.Control/ShowCa", Method::ReadNodes, SMALL, MIDDLE),
    row("/skep.api.v1.Control/Resume", Method::Resume, SMALL, SMALL),
    row("/skep.api.v1.Control/Intake", Method::Intake, SMALL, SMALL),
    // Whoever may write nothing at all is refused here; each change is asked for once
    // it is read.
    row("/skep.api.v1.Control/Apply", Method::Intake, ACT, MIDDLE),
    row("/skep.api.v1.Control/CreateToken", Method::WriteTokens, MIDDLE, SMALL),
    row("/skep.api.v1.Control/CreateOperator", Method::WriteOperators, MIDDLE, MIDDLE),
    row("/skep.api.v1.Control/PrepareRecover", Method::RecoverOperator, SMALL, MIDDLE),
    row("/skep.api.v1.Control/RecoverOperator", Method::RecoverOperator, MIDDLE, MIDDLE),
    row("/skep.api.v1.Control/WatchDelivery", Method::Watch, NAMES, MIDDLE),
    row("/skep.api.v1.Control/ListSecrets", Method::Read, SMALL, PAGE),
    row("/skep.api.v1.Control/ListServices", Method::Read, SMALL, PAGE),
    row("/skep.api.v1.Control/ListNodes", Method::ReadNodes, SMALL, PAGE),
    row("/skep.api.v1.Control/ListTokens", Method::ReadTokens, SMALL, PAGE),
    row("/skep.api.v1.Control/ListOperators", Method::ReadOperators, SMALL, PAGE),
    row("/skep.api.v1.Control/ListHolders", Method::Read, SMALL, PAGE),
    row("/skep.api.v1.Control/ListReads", Method::Read, SMALL, PAGE),
    row("/skep.api.v1.Control/Recipients", Method::Recipients, SMALL, MIDDLE),
    row("/skep.api.v1.Control/ReadAudit", Method::ReadAudit, SMALL, PAGE),
    row("/skep.api.v1.Control/Anchor", Method::Raft, SMALL, SMALL),
    row("/skep.api.v1.Membership/Join", Method::Join, limits::JOIN_BYTES, 16 * KIB),
    row("/skep.api.v1.Membership/Renew", Method::Renew, SMALL, 16 * KIB),
    row("/skep.api.v1.Membership/Renewed", Method::Renew, SMALL, SMALL),
    stream(row("/skep.api.v1.Delivery/Session", Method::Session, AGENT, 0)),
    row("/skep.api.v1.Delivery/ReportOpened", Method::Session, AGENT, SMALL),
    row("/skep.api.v1.Delivery/Leave", Method::Session, SMALL, SMALL),
    row("/skep.api.v1.Writing/PutIntake", Method::Put, SMALL, SMALL),
    row("/skep.api.v1.Writing/Put", Method::Put, AGENT, SMALL),
    row("/skep.api.v1.Writing/AnchorRecord", Method::Put, SMALL, SMALL),
    raft("/skep.raft.v1.Raft/Append", RAFT),
    raft("/skep.raft.v1.Raft/Vote", SMALL),
    raft("/skep.raft.v1.Raft/TransferLeader", SMALL),
    stream(raft("/skep.raft.v1.Raft/Snapshot", RAFT)),
    raft("/skep.raft.v1.Raft/Remember", SMALL),
    raft("/skep.raft.v1.Raft/Release", SMALL),
    raft("/skep.raft.v1.Raft/Vouch", SMALL),
];

/// The method of this path.
pub(super) fn find(path: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::admit::budget::Lane;
    use crate::manager::admit::tests::every_method;
    use skep_core::domain::{OperatorRole, Policy, Who};

    #[test]
    fn every_method_of_the_proto_files_has_one_row() {
        let mut wanted = every_method();
        let shape = |row: &Row| format!("{}{}", row.path, if row.stream { " stream" } else { "" });
        let mut found: Vec<String> = TABLE.iter().map(shape).collect();
        wanted.sort();
        found.sort();
        assert!(wanted.len() > 20, "the .proto files were read");
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_page_about_operators_has_both_tables_as_they_are() {
        let page = include_str!("../../../docs/operate/operators.md");
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let page: Vec<String> = page.lines().map(squeezed).collect();
        let missing: Vec<String> =
            printed().into_iter().filter(|row| !page.contains(row)).collect();
        assert!(missing.is_empty(), "docs/operate/operators.md lacks:\n{}", missing.join("\n"));
        let is_row = |row: &&String| row.starts_with("| `") && row.matches('|').count() > 10;
        let rows = page.iter().filter(is_row).count();
        assert_eq!(rows, printed().len(), "it has rows that are no more");
    }

    /// The columns, as the page's head names them.
    const COLUMNS: [Who; 13] = [
        Who::Anonymous,
        Who::Expired,
        Who::Worker,
        Who::Manager,
        Who::Scoped(OperatorRole::Viewer),
        Who::Scoped(OperatorRole::Auditor),
        Who::Scoped(OperatorRole::Editor),
        Who::Scoped(OperatorRole::Admin),
        Who::Operator(OperatorRole::Viewer),
        Who::Operator(OperatorRole::Auditor),
        Who::Operator(OperatorRole::Editor),
        Who::Operator(OperatorRole::Admin),
        Who::Local,
    ];

    /// Calls, then what an act may hold: each with a mark for whoever may.
    fn printed() -> Vec<String> {
        let row = |name: &str, method: Method| {
            let marks = COLUMNS.map(|who| if Policy::allow(who, method) { "yes" } else { "-" });
            format!("| `{name}` | {} |", marks.join(" | "))
        };
        let calls = TABLE.iter().map(|of| {
            let (_, name) = of.path.rsplit_once('.').expect("a path");
            row(name, of.method)
        });
        let changes = [
            ("create, update, label, remove a secret", Method::WriteSecrets),
            ("create, update, remove a service; grant, revoke", Method::WriteServices),
            ("remove a join token", Method::WriteTokens),
            ("update, remove, readmit a node", Method::WriteNodes),
            ("remove, readmit an operator", Method::WriteOperators),
        ];
        calls.chain(changes.map(|(name, method)| row(name, method))).collect()
    }

    #[test]
    fn every_method_has_room_in_the_share_of_one_caller() {
        for row in TABLE {
            for lane in Lane::ALL {
                // Guests join or renew, and ask nothing else; Raft is asked for in its own lane.
                let asked = match lane {
                    Lane::Guests => matches!(row.method, Method::Join | Method::Renew),
                    Lane::Raft => row.by == By::Certificate,
                    _ => row.by == By::State,
                };
                let most = lane.most();
                assert!(!asked || row.message + row.reply <= most.one, "{row:?} {lane:?}");
                assert!(most.one <= most.all, "{lane:?}");
            }
        }
    }
}

//! Who may do what: one table, and nothing else decides it. To which things is for
//! [`super::may_change`] to say, where the table lets a call in.

use super::state::{Operator as Listed, OperatorRole};

/// Who asks, as far as it decides what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// No certificate.
    Anonymous,
    /// A member whose certificate has ended.
    Expired,
    /// An agent's certificate.
    Worker,
    /// A manager's certificate.
    Manager,
    /// An operator's certificate, or a group that `--socket-role` names.
    Operator(OperatorRole),
    /// The certificate of an operator with a scope: names beyond it are nothing to it.
    Scoped(OperatorRole),
    /// Uid 0 or the daemon's own, over the control socket.
    Local,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// How the manager and the cluster are.
    Status,
    /// Making a cluster.
    Init,
    /// Making this manager one of a cluster's.
    Enter,
    /// Letting a manager leave, on its own control socket.
    Leave,
    /// Handing leadership over.
    StepDown,
    /// Setting the cluster's time back.
    ResetTime,
    /// Replacing the issuing CA.
    RotateIssuer,
    /// Delivering what a recovery held back.
    Resume,
    /// Unlocking this manager.
    Unlock,
    /// Locking this manager.
    Lock,
    /// Giving up what is on this manager's disk.
    Repair,
    /// The key to which new values are sealed.
    Intake,
    /// Changing secrets and their versions.
    WriteSecrets,
    /// Changing services, granting and revoking.
    WriteServices,
    /// Making and removing join tokens.
    WriteTokens,
    /// Changing and removing nodes.
    WriteNodes,
    /// Making and removing operators.
    WriteOperators,
    /// Making an admin by an unlock key.
    RecoverOperator,
    /// Following what reaches the nodes.
    Watch,
    /// Listing secrets (never values), services and holders.
    Read,
    /// Listing nodes, and what the CA is.
    ReadNodes,
    /// Listing operators.
    ReadOperators,
    /// Listing join tokens, without their secret part.
    ReadTokens,
    /// Who can unlock.
    Recipients,
    /// Reading the audit log.
    ReadAudit,
    /// Becoming a node.
    Join,
    /// The next certificate of a member.
    Renew,
    /// An agent's session, and its leaving.
    Session,
    /// Next values of what a service of a node may write.
    Put,
    /// Raft.
    Raft,
    /// Asking the leader on behalf of a user of one's own control socket.
    Forward,
}

use OperatorRole::{Admin, Auditor, Editor, Viewer};
use Who::{Anonymous, Expired, Local, Manager, Operator, Scoped, Worker};

const OWNERS: &[Who] = &[Operator(Admin), Local];
const WRITERS: &[Who] = &[Operator(Admin), Operator(Editor), Scoped(Admin), Scoped(Editor), Local];
/// Whoever may see what there is, all of it.
const READERS: &[Who] =
    &[Operator(Admin), Operator(Editor), Operator(Viewer), Operator(Auditor), Local];
/// Whoever may see what lies within its scope.
const ALL_READERS: &[Who] = &[
    Operator(Admin),
    Operator(Editor),
    Operator(Viewer),
    Operator(Auditor),
    Scoped(Admin),
    Scoped(Editor),
    Scoped(Viewer),
    Scoped(Auditor),
    Local,
];

/// The table of who may do what.
#[derive(Clone, Copy, Debug)]
pub struct Policy;

impl Policy {
    /// Whether `who` may do this. What is not in the table is not allowed.
    #[must_use]
    pub fn allow(who: Who, method: Method) -> bool {
        let allowed: &[Who] = match method {
            Method::Status => {
                return who == Manager || ALL_READERS.contains(&who);
            }
            // Over the network nobody founds or unlocks: the manager has no
            // identity yet by which the caller could know it.
            Method::Init | Method::Enter | Method::Leave | Method::Unlock | Method::Repair => {
                &[Local]
            }
            Method::Lock
            | Method::StepDown
            | Method::ResetTime
            | Method::RotateIssuer
            | Method::Resume
            | Method::WriteTokens
            | Method::WriteNodes
            | Method::WriteOperators => OWNERS,
            Method::Intake | Method::WriteSecrets | Method::WriteServices => WRITERS,
            // Whoever else is in: the unlock key is asked for as well.
            Method::RecoverOperator => &[Local],
            Method::Watch | Method::Read => ALL_READERS,
            Method::ReadNodes | Method::ReadOperators | Method::ReadTokens | Method::Recipients => {
                READERS
            }
            Method::ReadAudit => {
                &[Operator(Admin), Operator(Auditor), Scoped(Admin), Scoped(Auditor), Local]
            }
            Method::Join => &[Anonymous],
            Method::Renew => {
                return matches!(who, Expired | Worker | Manager | Operator(_) | Scoped(_));
            }
            Method::Session | Method::Put => &[Worker],
            Method::Raft | Method::Forward => &[Manager],
        };
        allowed.contains(&who)
    }
}

impl Who {
    /// As what an operator acts that the state lists.
    #[must_use]
    pub fn of(operator: &Listed) -> Self {
        if operator.scope.is_bounded() { Scoped(operator.role) } else { Operator(operator.role) }
    }
    /// What it is called in messages.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Anonymous => "a caller without a certificate",
            Expired => "an expired identity",
            Worker => "a worker",
            Manager => "a manager",
            Operator(Admin) => "an admin",
            Operator(Editor) => "an editor",
            Operator(Viewer) => "a viewer",
            Operator(Auditor) => "an auditor",
            Scoped(Admin) => "an admin with a scope",
            Scoped(Editor) => "an editor with a scope",
            Scoped(Viewer) => "a viewer with a scope",
            Scoped(Auditor) => "an auditor with a scope",
            Local => "a local administrator",
        }
    }
}

impl Method {
    /// Whether it is for the manager's own control socket alone: over the network
    /// nobody may call it, nor a manager for somebody else.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self, Self::Init | Self::Enter | Self::Leave | Self::Unlock | Self::Repair)
    }
    /// What it is called in messages, after "may not".
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Status => "ask for the status",
            Self::Init => "initialise a cluster",
            Self::Enter => "let a manager join a cluster",
            Self::Leave => "let a manager leave its cluster",
            Self::StepDown => "hand leadership over",
            Self::ResetTime => "set the cluster's time back",
            Self::RotateIssuer => "replace the issuing CA",
            Self::Resume => "resume a recovered cluster",
            Self::Unlock => "unlock a manager",
            Self::Lock => "lock a manager",
            Self::Repair => "repair a manager",
            Self::Intake | Self::WriteSecrets => "change secrets",
            Self::WriteServices => "change services",
            Self::WriteTokens => "make or remove join tokens",
            Self::WriteNodes => "change nodes",
            Self::Watch => "follow deliveries",
            Self::WriteOperators => "make or remove operators",
            Self::RecoverOperator => "make an admin by an unlock key",
            Self::Read => "list secrets or services",
            Self::ReadNodes => "list nodes or show the CA",
            Self::ReadOperators => "list operators",
            Self::ReadTokens => "list join tokens",
            Self::Recipients => "list unlock keys",
            Self::ReadAudit => "read the audit log",
            Self::Join => "join",
            Self::Renew => "renew a certificate",
            Self::Session => "receive secrets",
            Self::Put => "write what a service may write",
            Self::Raft => "take part in consensus",
            Self::Forward => "ask on behalf of others",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Who; 13] = [
        Anonymous,
        Expired,
        Worker,
        Manager,
        Scoped(Viewer),
        Scoped(Auditor),
        Scoped(Editor),
        Scoped(Admin),
        Operator(Viewer),
        Operator(Auditor),
        Operator(Editor),
        Operator(Admin),
        Local,
    ];

    /// The table as people read it: `x` is allowed.
    const ROWS: [(Method, &str); 30] = [
        //                       anonymous
        //                       | expired
        //                       | | worker
        //                       | | | manager
        //                       | | | |   of those with a scope:
        //                       | | | |   viewer
        //                       | | | |   | auditor
        //                       | | | |   | | editor
        //                       | | | |   | | | admin
        //                       | | | |   | | | |   viewer
        //                       | | | |   | | | |   | auditor
        //                       | | | |   | | | |   | | editor
        //                       | | | |   | | | |   | | | admin
        //                       | | | |   | | | |   | | | | local
        (Method::Status, "       - - - x   x x x x   x x x x x"),
        (Method::Init, "         - - - -   - - - -   - - - - x"),
        (Method::Enter, "        - - - -   - - - -   - - - - x"),
        (Method::Leave, "        - - - -   - - - -   - - - - x"),
        (Method::StepDown, "     - - - -   - - - -   - - - x x"),
        (Method::ResetTime, "    - - - -   - - - -   - - - x x"),
        (Method::RotateIssuer, " - - - -   - - - -   - - - x x"),
        (Method::Resume, "       - - - -   - - - -   - - - x x"),
        (Method::Unlock, "       - - - -   - - - -   - - - - x"),
        (Method::Lock, "         - - - -   - - - -   - - - x x"),
        (Method::Repair, "       - - - -   - - - -   - - - - x"),
        (Method::Intake, "       - - - -   - - x x   - - x x x"),
        (Method::WriteSecrets, " - - - -   - - x x   - - x x x"),
        (Method::WriteServices, "- - - -   - - x x   - - x x x"),
        (Method::WriteTokens, "  - - - -   - - - -   - - - x x"),
        (Method::WriteNodes, "   - - - -   - - - -   - - - x x"),
        (Method::WriteOperators, "- - - -  - - - -   - - - x x"),
        (Method::RecoverOperator, "- - - -  - - - -   - - - - x"),
        (Method::Watch, "        - - - -   x x x x   x x x x x"),
        (Method::Read, "         - - - -   x x x x   x x x x x"),
        (Method::ReadNodes, "    - - - -   - - - -   x x x x x"),
        (Method::ReadOperators, "- - - -   - - - -   x x x x x"),
        (Method::ReadTokens, "   - - - -   - - - -   x x x x x"),
        (Method::Recipients, "   - - - -   - - - -   x x x x x"),
        (Method::ReadAudit, "    - - - -   - x - x   - x - x x"),
        (Method::Join, "         x - - -   - - - -   - - - - -"),
        (Method::Renew, "        - x x x   x x x x   x x x x -"),
        (Method::Session, "      - - x -   - - - -   - - - - -"),
        (Method::Put, "          - - x -   - - - -   - - - - -"),
        (Method::Raft, "         - - - x   - - - -   - - - - -"),
    ];

    #[test]
    fn the_table_cell_by_cell() {
        for (method, row) in ROWS {
            let marks: Vec<&str> = row.split_whitespace().collect();
            assert_eq!(marks.len(), COLUMNS.len(), "{method:?}");
            for (who, mark) in COLUMNS.into_iter().zip(marks) {
                assert_eq!(Policy::allow(who, method), mark == "x", "{who:?} {method:?}");
            }
        }
        let speaks: Vec<Who> =
            COLUMNS.into_iter().filter(|who| Policy::allow(*who, Method::Forward)).collect();
        assert_eq!(speaks, [Manager], "only managers speak for others");
    }
}

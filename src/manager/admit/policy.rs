//! Who may do what: one table, and nothing else decides it.

use skep_core::base::Name;
use skep_core::domain::OperatorRole;

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
    /// Following what reaches the nodes.
    Watch,
    /// Listing secrets (never values), services, nodes and holders.
    Read,
    /// Listing join tokens, without their secret part.
    ReadTokens,
    /// Who can unlock.
    Recipients,
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

/// Kinds of what can be changed or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// A secret, its versions included.
    Secret,
    /// A service, its grants included.
    Service,
    /// A join token.
    Token,
    /// A node.
    Node,
}

/// What a call turns out to be about, once its message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Of which kind.
    pub kind: ResourceKind,
    /// Which one; `None`: any, or one that does not exist.
    pub name: Option<&'a Name>,
}

use OperatorRole::{Admin, Auditor, Editor, Viewer};
use Who::{Anonymous, Expired, Local, Manager, Operator, Worker};

const OWNERS: &[Who] = &[Operator(Admin), Local];
const WRITERS: &[Who] = &[Operator(Admin), Operator(Editor), Local];
const READERS: &[Who] =
    &[Operator(Admin), Operator(Editor), Operator(Viewer), Operator(Auditor), Local];

/// The table of who may do what.
#[derive(Clone, Copy, Debug)]
pub struct Policy;

impl Policy {
    /// Whether `who` may do this. What is not in the table is not allowed.
    #[must_use]
    pub fn allow(who: Who, method: Method) -> bool {
        let allowed: &[Who] = match method {
            Method::Status => {
                return who == Manager || READERS.contains(&who);
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
            | Method::WriteNodes => OWNERS,
            Method::Intake | Method::WriteSecrets | Method::WriteServices => WRITERS,
            Method::Watch | Method::Read | Method::ReadTokens | Method::Recipients => READERS,
            Method::Join => &[Anonymous],
            Method::Renew => {
                return matches!(who, Expired | Worker | Manager | Operator(_));
            }
            Method::Session | Method::Put => &[Worker],
            Method::Raft | Method::Forward => &[Manager],
        };
        allowed.contains(&who)
    }
    /// Whether `who` may do this to one thing: asked once for each change, after
    /// [`Self::allow`] let the call in. No role is bound to names.
    #[must_use]
    pub fn allow_on(who: Who, method: Method, on: &Resource<'_>) -> bool {
        let fits = match method {
            Method::WriteSecrets => on.kind == ResourceKind::Secret,
            Method::WriteServices => on.kind == ResourceKind::Service,
            Method::WriteTokens => on.kind == ResourceKind::Token,
            Method::WriteNodes => on.kind == ResourceKind::Node,
            // What is not a change has no one thing that it is about.
            Method::Status
            | Method::Init
            | Method::Enter
            | Method::Leave
            | Method::StepDown
            | Method::ResetTime
            | Method::RotateIssuer
            | Method::Resume
            | Method::Unlock
            | Method::Lock
            | Method::Repair
            | Method::Intake
            | Method::Watch
            | Method::Read
            | Method::ReadTokens
            | Method::Recipients
            | Method::Join
            | Method::Renew
            | Method::Session
            | Method::Put
            | Method::Raft
            | Method::Forward => false,
        };
        fits && Self::allow(who, method)
    }
}

impl Who {
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
            Self::Read => "list secrets, services or nodes",
            Self::ReadTokens => "list join tokens",
            Self::Recipients => "list unlock keys",
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

    const COLUMNS: [Who; 9] = [
        Anonymous,
        Expired,
        Worker,
        Manager,
        Operator(Viewer),
        Operator(Auditor),
        Operator(Editor),
        Operator(Admin),
        Local,
    ];

    /// The table as people read it: `x` is allowed.
    const ROWS: [(Method, &str); 24] = [
        //                       anonymous
        //                       | expired
        //                       | | worker
        //                       | | | manager
        //                       | | | | viewer
        //                       | | | | | auditor
        //                       | | | | | | editor
        //                       | | | | | | | admin
        //                       | | | | | | | | local
        (Method::Status, "       - - - x x x x x x"),
        (Method::Init, "         - - - - - - - - x"),
        (Method::Enter, "        - - - - - - - - x"),
        (Method::Leave, "        - - - - - - - - x"),
        (Method::StepDown, "     - - - - - - - x x"),
        (Method::ResetTime, "    - - - - - - - x x"),
        (Method::RotateIssuer, " - - - - - - - x x"),
        (Method::Unlock, "       - - - - - - - - x"),
        (Method::Lock, "         - - - - - - - x x"),
        (Method::Intake, "       - - - - - - x x x"),
        (Method::WriteSecrets, " - - - - - - x x x"),
        (Method::WriteServices, "- - - - - - x x x"),
        (Method::WriteTokens, "  - - - - - - - x x"),
        (Method::WriteNodes, "   - - - - - - - x x"),
        (Method::Watch, "        - - - - x x x x x"),
        (Method::Read, "         - - - - x x x x x"),
        (Method::ReadTokens, "   - - - - x x x x x"),
        (Method::Recipients, "   - - - - x x x x x"),
        (Method::Join, "         x - - - - - - - -"),
        (Method::Renew, "        - x x x x x x x -"),
        (Method::Session, "      - - x - - - - - -"),
        (Method::Put, "          - - x - - - - - -"),
        (Method::Raft, "         - - - x - - - - -"),
        (Method::Forward, "      - - - x - - - - -"),
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
    }

    #[test]
    fn a_change_is_of_the_kind_that_its_method_is_for() {
        let pairs = [
            (Method::WriteSecrets, ResourceKind::Secret),
            (Method::WriteServices, ResourceKind::Service),
            (Method::WriteTokens, ResourceKind::Token),
            (Method::WriteNodes, ResourceKind::Node),
        ];
        for (method, kind) in pairs {
            for (_, other) in pairs {
                let on = Resource { kind: other, name: None };
                for who in COLUMNS {
                    let expected = kind == other && Policy::allow(who, method);
                    assert_eq!(Policy::allow_on(who, method, &on), expected, "{who:?} {method:?}");
                }
            }
            let on = Resource { kind, name: None };
            assert!(!Policy::allow_on(Local, Method::Read, &on), "no change");
        }
    }
}

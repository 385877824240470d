//! What an operator writes about a service.

use std::collections::BTreeSet;

use super::hook::{OnChange, UnitName};
use crate::base::{Labels, Name, SecretId, Target};

/// Where a service may run and how its secrets are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Which nodes it may run on. None, until it says so.
    pub placement: Placement,
    /// Which file system shows its secrets.
    pub mount: MountKind,
    /// When a node placed gets them.
    pub activation: Activation,
    /// Who owns the directory on the host.
    pub owner: Owner,
    /// How long they stay while managers are away.
    pub offline: OfflinePolicy,
    /// Whether its nodes write down when a manager last confirmed that they have what is due.
    pub fresh: bool,
    /// What its nodes do once its set there has changed.
    pub on_change: OnChange,
    /// The units of systemd that are this service where it is placed.
    pub units: BTreeSet<UnitName>,
    /// What operators wrote.
    pub labels: Labels,
}

/// Which nodes a service may run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Any of these node names; combined with `everywhere` this list is empty.
    pub nodes: Vec<Name>,
    /// All of these must hold.
    pub constraints: Vec<Constraint>,
    /// Every worker.
    pub everywhere: bool,
}

/// What a constraint reads: only what managers wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// `node.id`
    Id,
    /// `node.name`
    Name,
    /// `node.labels.K`
    Label(String),
}

/// `ATTRIBUTE == VALUE` or `ATTRIBUTE != VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// What it reads.
    pub attribute: Attribute,
    /// `==` (true) or `!=` (false).
    pub equal: bool,
    /// Compared exactly for ids and labels, ignoring case for names.
    pub value: String,
}

/// Which file system shows a service's secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountKind {
    /// Memory of its own, readable also when the agent is dead.
    #[default]
    Tmpfs,
    /// The agent itself, which decides and records each open.
    Fuse,
}

/// When a node placed gets a service's secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activation {
    /// While a workload runs there.
    #[default]
    Running,
    /// Always.
    Placed,
}

/// Who owns a service's directory on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What `chown` takes for "leave it as it is": no user and no group.
pub const NO_ONE: u32 = u32::MAX;

impl Owner {
    /// Whether there can be such a user and such a group.
    #[must_use]
    pub const fn can_own(&self) -> bool {
        self.uid != NO_ONE && self.gid != NO_ONE
    }
}

/// How long secrets stay on a node while managers are away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OfflinePolicy {
    /// For ever.
    #[default]
    Keep,
    /// This many seconds of boot time without a session.
    MaxAge(u64),
}

/// What is asked about a grant. What is left out stays as it is where the service has that target
/// already, and is the usual where it is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantAsked {
    /// Which secret.
    pub secret: SecretId,
    /// The file's name.
    pub target: Target,
    /// The file's owner.
    pub uid: Option<u32>,
    /// The file's group.
    pub gid: Option<u32>,
    /// The file's permissions, 0000 to 0777.
    pub mode: Option<u32>,
    /// Which version of it. A pin is of one secret: another one that takes its target is not
    /// pinned.
    pub pin: Option<Pin>,
    /// Whether the service's workloads may also write the secret's next values. Leave to write
    /// is of one secret: another one that takes its target may not be written.
    pub write: Option<bool>,
    /// Whether it takes the target from another secret that has it; refused otherwise.
    pub replace: bool,
}

/// Which version of a secret a service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The current one.
    Current,
    /// Always this one.
    Number(u32),
}

impl Pin {
    /// As it is written in one number: versions begin at 1, and 0 is the current one.
    #[must_use]
    pub fn written(self) -> u32 {
        match self {
            Self::Current => 0,
            Self::Number(number) => number,
        }
    }

    /// From that number.
    #[must_use]
    pub fn read(number: u32) -> Self {
        if number == 0 { Self::Current } else { Self::Number(number) }
    }
}

impl GrantAsked {
    /// A file's permissions where nobody says.
    pub const MODE: u32 = 0o444;

    /// The grant that comes of it where that one stands under the target.
    #[must_use]
    pub fn over(&self, there: Option<&Grant>) -> Grant {
        let kept = there.map_or((0, 0, Self::MODE), |there| (there.uid, there.gid, there.mode));
        let same = there.filter(|there| there.secret == self.secret);
        Grant {
            secret: self.secret,
            target: self.target.clone(),
            uid: self.uid.unwrap_or(kept.0),
            gid: self.gid.unwrap_or(kept.1),
            mode: self.mode.unwrap_or(kept.2),
            pin: match self.pin {
                None => same.and_then(|there| there.pin),
                Some(Pin::Current) => None,
                Some(Pin::Number(number)) => Some(number),
            },
            write: self.write.unwrap_or_else(|| same.is_some_and(|there| there.write)),
        }
    }
}

impl From<Grant> for GrantAsked {
    /// All of it is said.
    fn from(of: Grant) -> Self {
        Self {
            secret: of.secret,
            target: of.target,
            uid: Some(of.uid),
            gid: Some(of.gid),
            mode: Some(of.mode),
            pin: Some(of.pin.map_or(Pin::Current, Pin::Number)),
            write: Some(of.write),
            replace: false,
        }
    }
}

/// A service may have a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which secret.
    pub secret: SecretId,
    /// The file's name.
    pub target: Target,
    /// The file's owner.
    pub uid: u32,
    /// The file's group.
    pub gid: u32,
    /// The file's permissions, 0000 to 0777.
    pub mode: u32,
    /// Always this version; `None`: the current one.
    pub pin: Option<u32>,
    /// Whether the service's workloads may also write the secret's next values.
    pub write: bool,
}

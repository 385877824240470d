//! What a leader tells a node, once it was checked: after that nothing has a wrong length, and
//! a set is within this product's own limits, whoever the leader is.
//!
//! `convert` reads and writes it.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;

use crate::base::{
    BootTime, Epoch, Name, NodeId, Revision, SecretId, ServiceId, Target, VersionId, limits,
};
use crate::domain::{MountKind, OfflinePolicy, OnChange, Owner, UnitName};

/// A message that no manager of ours sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manager sent a malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// The answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Its half of the session key.
    pub session_public: [u8; 32],
    /// Who leads.
    pub leader: NodeId,
    /// The cluster's name, for people.
    pub cluster: String,
    /// All managers, `host:port`.
    pub addresses: Vec<String>,
    /// Which history.
    pub epoch: Epoch,
    /// What the leader has applied.
    pub revision: Revision,
}

/// A service that is placed on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: Name,
    /// Who may run it, beside root.
    pub owner_uid: u32,
    /// Due here even when nothing runs.
    pub always: bool,
    /// How many secrets it is granted.
    pub grants: u32,
    /// The units of systemd that are this service.
    pub units: Vec<UnitName>,
}

/// A set that stays unapplied: what it is about could be read, the rest not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which service.
    pub service: ServiceId,
    /// Why.
    pub why: BadSet,
}

/// A push, checked. What is taken comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// Its number in the session.
    pub number: u64,
    /// What was due then.
    pub revision: Revision,
    /// The whole list of what is placed on the node; `None`: as before.
    pub placed: Option<Vec<Placed>>,
    /// Whether nothing is placed there because the node is drained. With [`Self::placed`].
    pub drained: bool,
    /// Nothing may stay of these.
    pub gone: Vec<ServiceId>,
    /// New or changed.
    pub sets: Vec<ServiceFiles>,
    /// Sets that are outside the rules: reported, never applied.
    pub unreadable: Vec<Unreadable>,
    /// Sealed values of versions that are not there yet.
    pub values: Vec<SentValue>,
}

/// A sealed value on its way to a node.
#[derive(Clone, PartialEq, Eq)]
pub struct SentValue {
    /// The version whose value it is.
    pub version: VersionId,
    /// The value under its data key.
    pub sealed_value: Bytes,
    /// The data key under the session's key.
    pub sealed_key: Vec<u8>,
}

/// The answer to a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The push's number.
    pub push: u64,
    /// What of it was not carried out; the rest was.
    pub failed: Vec<Failed>,
    /// Services whose files showed just this before, byte by byte.
    pub unchanged: Vec<ServiceId>,
}

/// A service whose part of a push was not carried out whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which service.
    pub service: ServiceId,
    /// Why, in one line, without values.
    pub why: String,
    /// Trying the same again is no use.
    pub last: bool,
    /// The files that are not as they are due, at most [`FAILED_FILES`].
    pub files: Vec<FailedFile>,
    /// The versions that are there, where nothing else is: what was taken away is gone. `None`:
    /// that is not so, or not known.
    pub has: Option<BTreeSet<VersionId>>,
}

/// Files of one service that are named when they could not be made.
pub const FAILED_FILES: usize = 16;

/// A file that could not be made as it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedFile {
    /// Its name.
    pub target: Target,
    /// Why, in one line, without values.
    pub why: String,
}

impl Failed {
    /// A whole service failed, and what is there of it is not known.
    #[must_use]
    pub fn whole(service: ServiceId, why: String, last: bool) -> Self {
        Self { service, why, last, files: Vec::new(), has: None }
    }
}

/// Hooks that a node tells of, those that run before those that failed.
pub const HOOKS_TOLD: usize = 1_000;
/// Characters of why a hook failed.
pub const HOOK_WHY_CHARS: usize = 400;

/// How the hook of a service stands, once its set has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookStand {
    /// It runs.
    Running,
    /// The last one failed: why, in one line, without values.
    Failed(String),
}

/// A leader's word that sets are what is due, and are in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// When it was asked for, in the node's boot time.
    pub asked: BootTime,
    /// As of which revision.
    pub revision: Revision,
    /// Services with the digests of their sets.
    pub sets: Vec<(ServiceId, [u8; 32])>,
}

/// Everything that is due of one service on this node: one set, shown whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFiles {
    /// Which service.
    pub service: ServiceId,
    /// Its name: its directory on the host.
    pub name: Name,
    /// How it is shown.
    pub mount: MountKind,
    /// Who owns that directory.
    pub owner: Owner,
    /// How long the files stay without a session.
    pub offline: OfflinePolicy,
    /// Whether it is written down beside them when a leader last confirmed that they are due.
    pub fresh: bool,
    /// What is done once they have changed.
    pub on_change: OnChange,
    /// The leader's digest of this set; kept and sent back, never computed here.
    pub digest: [u8; 32],
    /// The files in the order of their targets; none of them twice.
    pub files: Vec<FileSpec>,
}

/// One file that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// Its name.
    pub target: Target,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions, 0000 to 0777.
    pub mode: u32,
    /// Which secret.
    pub secret: SecretId,
    /// The version's number, for people.
    pub number: u32,
    /// The version: what the value is known by.
    pub version: VersionId,
    /// Bytes of the value, 1 to [`limits::VALUE_BYTES`].
    pub size: u32,
}

/// A leader's set that is outside the rules: nothing of it is applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSet {
    /// An id, name, digest or target that isn't one.
    #[error("the leader sent a set with a malformed {0}")]
    Malformed(&'static str),
    /// A way of mounting that this version doesn't know.
    #[error("the leader sent a set to be mounted in a way that this agent does not know")]
    Mount,
    /// A hook that this version doesn't know.
    #[error("the leader sent a set with a hook that this agent does not know")]
    Hook,
    /// More files than a service may have.
    #[error("the leader sent a set of more than {} files", limits::GRANTS)]
    TooManyFiles,
    /// One name for two files.
    #[error("the leader sent a set with the target {0} twice")]
    Twice(Target),
    /// An empty value or one beyond the limit.
    #[error("the leader sent a value of {1} bytes for {0}: 1 to {max} are allowed", max = limits::VALUE_BYTES)]
    Size(Target, u32),
    /// Permissions beyond 0777.
    #[error("the leader sent a mode outside 0000 to 0777 for {0}")]
    Mode(Target),
    /// A user or group that can own nothing.
    #[error("the leader sent a user or group id that can own nothing")]
    Owner,
    /// More bytes than a service may bring to a node.
    #[error("the leader sent a set of more than {} bytes", limits::SERVICE_BYTES)]
    TooLarge,
}

impl ServiceFiles {
    /// Bytes of all values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| u64::from(file.size)).sum()
    }

    /// The secrets that the service has.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<SecretId> {
        self.files.iter().map(|file| file.secret).collect()
    }
}

impl SentValue {
    /// Bytes that it takes while it waits.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = self.sealed_value.len().saturating_add(self.sealed_key.len());
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for SentValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SentValue({}, {} bytes)", self.version, self.sealed_value.len())
    }
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "welcome from {} at {}", self.leader, self.revision)
    }
}

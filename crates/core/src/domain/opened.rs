//! What was opened on the nodes: the records that agents hand in of each open of a
//! file that is served by FUSE.

use crate::base::{NodeId, SecretId, ServiceId, Stamp, VersionId};

/// Who opened a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A process of a workload, which is known by its first process.
    Workload {
        /// That process's id.
        pid: u32,
        /// When it started: field 22 of `/proc/PID/stat`, in clock ticks since boot.
        started: u64,
    },
    /// A process of the host: root, or the owner of the service's directory.
    Host,
    /// Somebody, of a service that is up by hand.
    ByHand,
    /// Nobody who belongs to the service: it was refused.
    Stranger,
}

/// One open, as the node's agent saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// When, by the node's clock.
    pub at: Stamp,
    /// Of which service.
    pub service: ServiceId,
    /// Which secret.
    pub secret: SecretId,
    /// Which version.
    pub version: VersionId,
    /// The version's number.
    pub number: u32,
    /// Who; a stranger's open was refused.
    pub reader: Reader,
    /// Its user.
    pub uid: u32,
    /// Its process or thread id, as the node's kernel tells it.
    pub pid: u32,
    /// Its executable, at most `limits::EXECUTABLE_BYTES` of characters that show themselves
    /// (`base::shows_itself`); empty: it couldn't be told.
    pub executable: String,
}

/// Records that a node hands in. Handed in again, they are not taken twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedList {
    /// The node.
    pub node: NodeId,
    /// Drawn by its agent at each start: where its counting began.
    pub origin: [u8; 16],
    /// The number of the first one; they are counted from 0 without a gap.
    pub first: u64,
    /// How many there was no room for, since `origin`.
    pub dropped: u64,
    /// At most `limits::OPENED_BATCH`, oldest first.
    pub list: Vec<Opened>,
}

/// How far a node has handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// Of its agent's last start that handed something in.
    pub origin: [u8; 16],
    /// The number of the next record.
    pub next: u64,
    /// How many this start of the agent had no room for.
    pub dropped: u64,
    /// How many earlier starts had no room for.
    pub dropped_before: u64,
    /// How many of its records were not taken: of pairs or secrets that it has not, or that
    /// can't be true.
    pub refused: u64,
}

/// What ended a while ago; opens of it may still be handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lapsed {
    /// A node was exposed to a service.
    Pair(NodeId, ServiceId),
    /// A service was granted a secret, and one of its nodes had it.
    Grant(ServiceId, SecretId),
}

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began; 0, where that is not known.
    pub began: Stamp,
    /// When its end was confirmed.
    pub ended: Stamp,
}

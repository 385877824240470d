//! The types that openraft is told of.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::leader_id_std;
use openraft::type_config::alias::{
    EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};

use crate::store::{SnapshotReader, StoreError};
use skep_core::base::NodeId;
use skep_core::domain::{Applied, Command};
use skep_core::wire::stored::{BadStored, decode_command, encode_command};

openraft::declare_raft_types!(
    /// Skep's Raft.
    pub(super) TypeConfig:
        D = Proposal,
        R = Option<Applied>,
        NodeId = NodeId,
        Node = Addresses,
        LeaderId = leader_id_std::LeaderId<u64, NodeId>,
);

pub(super) type LogEntry = EntryOf<TypeConfig>;
pub(super) type LogId = LogIdOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<NodeId, Addresses>;
pub(super) type StoredMembership = StoredMembershipOf<TypeConfig>;
pub(super) type Vote = VoteOf<TypeConfig>;
pub(super) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;
pub(super) type Snapshot = SnapshotOf<TypeConfig, SnapshotState>;

/// The encoded state of a snapshot.
#[derive(Debug)]
pub(super) enum SnapshotState {
    /// As a leader sent it.
    Received(Bytes),
    /// As it lies in a file.
    Kept {
        /// The file.
        file: SnapshotReader,
        /// Bytes of the state.
        bytes: u64,
    },
}

impl SnapshotState {
    /// How many bytes there are in all.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Received(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Kept { bytes, .. } => *bytes,
        }
    }

    /// The next piece; none at the end. May block on the disk.
    pub(super) fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::Received(bytes) => {
                let all = std::mem::take(bytes);
                Ok((!all.is_empty()).then_some(all))
            }
            Self::Kept { file, .. } => file.next_piece(),
        }
    }
}

/// Where a member listens, as `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses(pub(super) Vec<String>);

/// A command as it travels and lies on disk; where it was proposed, the command
/// itself comes along and is not decoded again.
#[derive(Clone)]
pub(super) struct Proposal {
    pub(super) bytes: Bytes,
    command: Option<Arc<Command>>,
}

impl Proposal {
    /// An error where other managers could not read it.
    pub(super) fn of(command: Command) -> Result<Self, BadStored> {
        let bytes = encode_command(&command)?.into();
        Ok(Self { bytes, command: Some(Arc::new(command)) })
    }

    pub(super) fn received(bytes: Bytes) -> Self {
        Self { bytes, command: None }
    }

    /// The command; an error names what is wrong with the bytes.
    pub(super) fn command(&self) -> Result<Arc<Command>, BadStored> {
        match &self.command {
            Some(command) => Ok(Arc::clone(command)),
            None => decode_command(&self.bytes).map(Arc::new),
        }
    }
}

impl PartialEq for Proposal {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.bytes.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

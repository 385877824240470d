//! Why consensus did not start, and why a command was not applied.

use skep_core::base::NodeId;

/// Why consensus did not start. Carries the daemon's exit status.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Stored data damaged or tampered with: status 20.
    #[error("{0}")]
    Damaged(String),
    /// The disk failed: status 21.
    #[error("{0}")]
    Disk(std::io::Error),
    /// Written by a newer version: status 25.
    #[error("{0}")]
    Newer(String),
    /// Written by an unreleased build, which nothing reads any more: status 23.
    #[error("{0}")]
    Older(String),
    /// The state went another way than the leader's: status 70.
    #[error("after entry {0} this manager's audit head is another than the leader's")]
    Diverged(u64),
}

/// Why a command was not applied, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was done: other managers could not read it.
    #[error("this can't be recorded: {0}")]
    Unfit(String),
    /// Nothing was done; another manager leads, or none.
    #[error("this manager is not the leader")]
    NotLeader(Option<NodeId>),
    /// It may have been applied: look before repeating.
    #[error("the outcome is unknown")]
    Unknown,
    /// Consensus has stopped; the daemon ends.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

//! The one word for a manager's state.

use std::fmt;

use skep_core::wire::api;

/// The one word for a manager's state, the same in logs and to systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing on its disk.
    New,
    /// Its key file is closed.
    Locked,
    /// Unlocked, but the state does not list it yet.
    Joining,
    /// Another manager leads.
    Follower,
    /// Another manager leads, and this one never votes.
    Learner,
    /// It leads.
    Leader,
    /// It reaches no majority.
    NoQuorum,
    /// Its certificate is past its end.
    Expired,
    /// Its disk was put back to an older state: its peers remember more.
    RolledBack,
    /// The cluster has removed it: it ends.
    Removed,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Locked => "locked",
            Self::Joining => "joining",
            Self::Follower => "follower",
            Self::Learner => "learner",
            Self::Leader => "leader",
            Self::NoQuorum => "no-quorum",
            Self::Expired => "expired",
            Self::RolledBack => "rolled-back",
            Self::Removed => "removed",
        })
    }
}

impl From<Word> for api::ManagerState {
    fn from(word: Word) -> Self {
        match word {
            Word::New => Self::New,
            Word::Locked => Self::Locked,
            Word::Joining => Self::Joining,
            Word::Follower => Self::Follower,
            Word::Learner => Self::Learner,
            Word::Leader => Self::Leader,
            Word::NoQuorum => Self::NoQuorum,
            Word::Expired => Self::Expired,
            Word::RolledBack => Self::RolledBack,
            Word::Removed => Self::Removed,
        }
    }
}

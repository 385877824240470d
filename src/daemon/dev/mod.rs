//! `skep dev`: a whole cluster on this machine, for trying things and for tests.
//! Managers and agents are processes of their own, of the same binary, that speak
//! over loopback exactly as they would between machines.
//!
//! `plan` says what stands where and is pure; `folder` makes or finds the folder
//! that holds it all, and `leftover` what a start left in it that failed; `process` starts and ends one daemon; `start` founds a
//! cluster or brings one back; `life` is `skep dev` from its start to its end.
//! Whoever else needs a cluster on one machine (`cluster-tests`) starts it with
//! the same code.
//!
//! It deliberately prints nothing: what happens is told as an [`Event`].

mod folder;
mod leftover;
mod life;
mod look;
mod plan;
mod process;
mod start;

pub use folder::{Folder, Layout, make, unmount_below};
pub use life::{AGENTS, DevConfig, MANAGERS, run};
pub use look::free_ports;
pub use plan::{Member, MemberKind, Plan};
pub use process::{Ended, Launcher, Process};
pub use start::{Cluster, connected, give_token, join_manager, start, unlock_manager, up};

/// What happens, in the order in which it does.
#[derive(Debug)]
pub enum Event<'a> {
    /// What a start left that never was complete is taken away.
    Cleared {
        /// The folder.
        folder: &'a std::path::Path,
    },
    /// Processes start in this folder; it may hold a cluster of an earlier run.
    Starting {
        /// What stands where.
        plan: &'a Plan,
        /// Whether a cluster is brought back.
        again: bool,
    },
    /// The cluster is founded; the other managers and the agents join.
    Founded,
    /// The managers are unlocked and agreed on a leader; the agents start.
    Unlocked,
    /// A manager votes, or an agent is connected.
    Joined(&'a Member),
    /// Everything is up.
    Up(&'a Plan),
    /// A process ended by itself.
    Ended(&'a Member, &'a Ended),
    /// Everything is being ended.
    Ending,
    /// Everything has ended; the folder stays, or is gone.
    Over {
        /// The folder.
        folder: &'a std::path::Path,
        /// Why it is still there, if it is.
        stays: Option<Stays>,
    },
}

/// Why the folder is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It was asked for, and holds a cluster that can be brought back.
    Asked,
    /// It was asked for, and holds what a start that failed has left.
    Incomplete,
    /// It was there before, and holds nothing of this start.
    Emptied,
    /// Processes that somebody else started run on it.
    InUse(Vec<String>),
    /// It could not be removed.
    NotRemoved(String),
}

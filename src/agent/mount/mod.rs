//! Files for workloads: a tmpfs per service, or the agent itself as a file system (FUSE),
//! changed as one set.
//!
//! What a set takes away goes in any case; what it brings goes in as one generation, less the
//! files that can't be made; and nothing of it is ever on a disk or in swap. [`Mounts`] knows files, modes,
//! generations and time; it deliberately knows nothing of leaders, sessions, keys or
//! of how a workload is watched. Every call blocks (milliseconds; more for large sets):
//! an async caller puts it on a thread of its own. Time is an argument.

mod adopt;
mod backend;
mod brute;
mod build;
mod calls;
mod changed;
mod error;
mod files;
mod folder;
mod former;
mod fresh;
mod fuse;
mod holds;
mod kept;
mod look;
mod mounts;
mod notice;
mod put;
mod record;
mod removal;
mod same;
mod serve;
mod service;
mod set_files;
mod slot;
mod system;
mod take;
#[cfg(test)]
mod tests;
mod told;
mod values;
mod view;

pub use calls::Whereabouts;
pub use error::{Lacking, MountError, MountWarning};
pub use fuse::Needs;
pub(in crate::agent) use fuse::is_of_workload;
pub use mounts::Mounts;
pub use told::{InPlace, NotTold};
pub use values::NoValue;

use crate::agent::machine::Workload;
use skep_core::base::{BootTime, Name, ServiceId, limits};

/// How mounts are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that one service's mount may hold, all generations together.
    pub service_bytes: u64,
    /// Use ramfs even where tmpfs knows `noswap`.
    pub ramfs: bool,
    /// What it takes to serve files itself; none: FUSE is refused.
    pub fuse: Option<Needs>,
    /// Descriptors that may be used to hold files; beyond them mappings are.
    pub descriptors: usize,
}

/// Descriptors for files where nobody says how many there are: a quarter of the usual
/// limit of 1,024.
const DESCRIPTORS: usize = 256;

impl Default for Options {
    fn default() -> Self {
        Self {
            service_bytes: 3 * limits::SERVICE_BYTES,
            ramfs: false,
            fuse: None,
            descriptors: DESCRIPTORS,
        }
    }
}

/// A service whose files were already here when the agent started.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Which service.
    pub service: ServiceId,
    /// Its name.
    pub name: Name,
    /// The generation in place.
    pub generation: u64,
    /// Of the set in place; `None`: what is in place is not a whole set.
    pub digest: Option<[u8; 32]>,
    /// The processes that used it when it was last written down. Some may be gone.
    pub workloads: Vec<Workload>,
    /// Since when there has been no session, if that was written down.
    pub offline_since: Option<BootTime>,
}

/// What became of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in place.
    InPlace,
    /// What was in place shows it already, byte by byte: nothing was changed.
    Unchanged,
}

/// What [`Mounts::tick`] did and when it wants to be called next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// When something is due next.
    pub next: Option<BootTime>,
    /// Services whose offline time is over: wiped.
    pub expired: Vec<ServiceId>,
    /// Services that are served again: former views of them are dead.
    pub served_again: Vec<ServiceId>,
}

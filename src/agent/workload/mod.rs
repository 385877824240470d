//! Which processes use which service's secrets, until the last of them is gone.
//!
//! A process counts from its claim on. `skep exec` becomes the command in place,
//! so its pid stays; its private mount namespace tells which processes descend
//! from it: double forks and new sessions do not leave it, and no cgroup is
//! needed. Everything that is read of a process is hostile: it is bytes, and bounded. It deliberately decides nothing about secrets (`session`) and waits for
//! nothing (`workloads`).

mod census;
mod mounts;
mod process;
pub(super) mod roster;

pub(super) use census::Census;
pub(super) use process::NO_NAMESPACE;
pub use process::{Enclosure, Process, boot_id};
pub use roster::Record;

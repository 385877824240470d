//! Which processes use which service's secrets, until the last of them is gone.
//!
//! A process counts from its claim on. `skep exec` becomes the command in place,
//! so its pid stays; its private mount namespace tells which processes descend
//! from it: double forks and new sessions do not leave it, and no cgroup is
//! needed. It deliberately decides nothing about secrets (`session`) and waits for
//! nothing (`workloads`).

mod process;
pub(super) mod roster;

pub(super) use process::namespace_of;
pub use process::{Enclosure, Process, boot_id};
pub use roster::Record;

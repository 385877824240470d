//! Which processes use which service's secrets, until the last of them is gone.
//!
//! A process counts from its claim on. `skep exec` becomes the command in place,
//! so its pid stays; its private mount namespace tells which processes descend
//! from it: double forks and new sessions do not leave it, and no cgroup is
//! needed. It deliberately decides nothing about secrets (`session`) and waits for
//! nothing (`run::workloads`).

mod census;
mod enclosure;
pub(super) mod roster;

pub(super) use census::Census;
pub use enclosure::Enclosure;
pub use roster::Record;

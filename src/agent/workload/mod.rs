//! Which processes use which service's secrets, until the last of them is gone.
//!
//! A process counts from its claim on. `skep exec` becomes the command in place,
//! so its pid stays; its private mount namespace tells which processes descend
//! from it: double forks and new sessions do not leave it, and no cgroup is
//! needed. Of a container it is the engine that says when it mounts a volume and when it
//! has it no more (`volume`). It deliberately decides nothing about secrets (`session`) and waits for
//! nothing (`run::workloads`).

mod census;
mod enclosure;
pub(super) mod roster;
pub(super) mod volume;

pub(super) use census::Census;
pub use enclosure::Enclosure;
pub use roster::Record;
pub use volume::{BadMountId, MountId, Mounting, VOLUMES, VolumeList, VolumeMount};
